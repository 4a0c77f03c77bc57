/* Ways to execute one guest instruction, for tests against the host CPU. */
#ifndef RHEA_TESTS_CPU_X86_EXEC_H
#define RHEA_TESTS_CPU_X86_EXEC_H

#include "tests/cpu/x86-native.h"

typedef struct X86Exec {
    const char *name;
    unsigned rounds; /* cases per form, by default */
    /* As x86n_run(): the code is that at @at in this process, @len bytes; guest memory at
     * X86N_DATA is read from and written to there. */
    void (*run)(uint64_t at, unsigned len, const X86NState *in, X86NState *out);
} X86Exec;

/* NULL-terminated. */
const X86Exec *const *x86_execs(void);

#endif
