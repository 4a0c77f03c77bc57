/* What QMP commands use. Private to monitor/. */
#ifndef RHEA_MONITOR_QMP_H
#define RHEA_MONITOR_QMP_H

#include "chardev/chardev.h"
#include "core/machine.h"
#include <glib.h>
#include <jansson.h>

/* One command being run. */
typedef struct QmpCall {
    Machine *m;
    int *cpu;
    ChardevFront *front;
    json_t *args; /* object or NULL */
    const char *class;
    char *desc; /* of the error */
} QmpCall;

typedef struct QmpCommand {
    const char *name;
    json_t *(*fn)(QmpCall *c); /* a new value, or NULL after qmp_error() */
} QmpCommand;

/* Ends with .name == NULL. */
extern const QmpCommand qmp_block_commands[];

/* Record an error; returns NULL for the handler to return. */
json_t *qmp_error(QmpCall *c, const char *class, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
json_t *qmp_gerror(QmpCall *c, GError *err); /* frees @err */
const char *qmp_str(QmpCall *c, const char *key);

#endif
