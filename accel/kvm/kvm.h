/* KVM as an accelerator, as main and the monitor see it. */
#ifndef RHEA_ACCEL_KVM_KVM_H
#define RHEA_ACCEL_KVM_KVM_H

#include "core/vcpu.h"

/* It brings the jit along: the translator executes what the host's KVM cannot. */
extern const Accelerator kvm_accel;
/* Text of `-accel kvm,help`. Caller frees. */
char *kvm_options_help(void);
/* Change the accelerator of @m to "kvm", "jit" or "tcg", running or not; the guest goes on where
 * it is. One sentence when that cannot be, and nothing has changed. Main thread, machine lock
 * (given up while it waits for the vCPUs). */
bool accel_switch(Machine *m, const char *name, GError **err);
/* `info kvm`; also when KVM is not in use. Caller frees. */
char *kvm_info(Machine *m);

#endif
