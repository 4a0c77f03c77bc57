/*
 * Monitors: HMP for people (a command line) and QMP for programs (JSON), each on a chardev.
 * Machine lock, or before vCPUs run.
 */
#ifndef RHEA_MONITOR_H
#define RHEA_MONITOR_H

#include "chardev/chardev.h"
#include "core/machine.h"
#include <glib.h>
#include <stdbool.h>

/* Monitors live until monitor_cleanup(). */
bool monitor_attach_hmp(Machine *m, Chardev *chr, GError **err);
bool monitor_attach_qmp(Machine *m, Chardev *chr, GError **err);
/* Before chardev_cleanup() and machine_free(). */
void monitor_cleanup(void);

/* What monitors need of the parts above them; NULL members: the command says that it is not
 * there. Set once at start. */
typedef struct MonitorHooks {
    bool (*device_add)(Machine *m, const char *text, GError **err); /* as -device */
    bool (*usb_add)(Machine *m, const char *text, GError **err);    /* as -usbdevice */
    bool (*usb_del)(Machine *m, const char *name, GError **err);    /* BUS.NUMBER */
    bool (*gdbserver)(Machine *m, const char *spec, GError **err);
    bool (*boot_set)(Machine *m, const char *order, GError **err);
    const char *product; /* for banner and `info version`; NULL: "Rhea" and its version */
} MonitorHooks;
void monitor_set_hooks(const MonitorHooks *hooks);

/* Run one HMP line and return what it prints (lines end in \n); caller frees. *@cpu is the vCPU
 * that commands mean, and `cpu N` changes it. Main thread. */
char *monitor_hmp_line(Machine *m, int *cpu, const char *line);

/* A file descriptor that a client named with getfd (taken over by the caller), or -1. */
int monitor_take_fd(const char *name);

/* Send a QMP event to all QMP monitors; @data: a JSON object's text, or NULL. */
void monitor_qmp_event(const char *name, const char *data);

#endif
