/* The x86 targets as machines see them. See core/vcpu.h and core/intc.h. */
#ifndef RHEA_TARGET_X86_X86_H
#define RHEA_TARGET_X86_X86_H

#include "core/intc.h"
#include "core/vcpu.h"

extern const Target x86_64_target; /* long mode models; the default is qemu64 */
extern const Target i386_target;   /* the same CPUs without long mode; the default is qemu32 */

#endif
