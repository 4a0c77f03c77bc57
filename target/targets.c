/* All targets: see targets.h. */
#include "target/targets.h"
#include "target/arm64/arm64.h"
#include "target/riscv/riscv.h"
#include "target/x86/x86.h"
#include <string.h>

const Target *const all_targets[] = {
    &x86_64_target, &i386_target, &arm64_target, &riscv64_target, &riscv32_target, NULL,
};

const Target *target_find(const char *name)
{
    for (const Target *const *t = all_targets; *t; t++) {
        if (!strcmp((*t)->name, name)) {
            return *t;
        }
    }
    return NULL;
}
