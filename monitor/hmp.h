/*
 * HMP's command table and what commands use. Private to monitor/.
 */
#ifndef RHEA_MONITOR_HMP_H
#define RHEA_MONITOR_HMP_H

#include "core/machine.h"
#include "monitor/monitor.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* One command being run. */
typedef struct Hmp {
    Machine *m;
    int *cpu;
    GString *out;
} Hmp;

typedef struct HmpFormat {
    unsigned count;
    char format; /* x d u o c i */
    unsigned size;
} HmpFormat;

#define HMP_MAX_ARGS 8

typedef struct HmpArg {
    char name[16];
    bool present;
    char *text;
    uint64_t num;
} HmpArg;

typedef struct HmpArgs {
    unsigned n;
    HmpArg v[HMP_MAX_ARGS];
    HmpFormat fmt;
} HmpArgs;

typedef struct HmpCommand HmpCommand;
struct HmpCommand {
    const char *name; /* "cont|c" */
    /* "addr:l,size:i,file:s": s word, S rest of the line, i and l expressions of 32 and 64 bits,
     * b on/off, / a format, -x a flag. "?" behind the type: optional. */
    const char *args;
    const char *params, *help;
    void (*fn)(Hmp *h, const HmpArgs *a);
    bool on_cpu; /* runs on the current vCPU's thread, between instructions */
    const HmpCommand *sub;
    /* The i-th completion of an argument, NULL at the end. */
    const char *(*complete)(unsigned i);
};

/* Tables; each ends with .name == NULL. */
extern const HmpCommand hmp_control_commands[], hmp_memory_commands[], hmp_device_commands[],
    hmp_info_commands[], hmp_block_commands[];

void hmp_printf(Hmp *h, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Print and free what an info function returned. */
void hmp_take(Hmp *h, char *text);
/* "Error: …"; frees @err. */
void hmp_error(Hmp *h, GError *err);
/* The current vCPU, or NULL after a message. */
VCpu *hmp_vcpu(Hmp *h);

const HmpArg *hmp_arg(const HmpArgs *a, const char *name);
bool hmp_has(const HmpArgs *a, const char *name);
const char *hmp_text(const HmpArgs *a, const char *name); /* NULL when absent */
uint64_t hmp_num(const HmpArgs *a, const char *name, uint64_t def);

/* Parse an expression at *@p, which moves behind it; $names are registers of @cpu. */
bool hmp_expr(VCpu *cpu, const char **p, uint64_t *val, GError **err);
/* Run @fn on @cpu's thread between instructions, with the machine lock. */
void hmp_on_vcpu(Machine *m, VCpu *cpu, void (*fn)(VCpu *cpu, void *arg), void *arg);

/* hmp-block.c */
void hmp_change_medium(Hmp *h, const HmpArgs *a);
void hmp_info_block(Hmp *h, const HmpArgs *a);
void hmp_info_blockstats(Hmp *h, const HmpArgs *a);
void hmp_info_snapshots(Hmp *h, const HmpArgs *a);

/* Completions of @line as text up to its end; NULL-terminated, caller frees. */
char **hmp_complete(const char *line);
char *hmp_product(void);
const MonitorHooks *monitor_hooks(void);
void hmp_cleanup(void);

#endif
