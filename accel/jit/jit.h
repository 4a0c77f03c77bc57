/* The translating accelerator, as main and the monitor see it. */
#ifndef RHEA_ACCEL_JIT_JIT_H
#define RHEA_ACCEL_JIT_JIT_H

#include "core/vcpu.h"

extern const Accelerator jit_accel;
/* Text of `-accel jit,help`. Caller frees. */
char *jit_options_help(void);

#endif
