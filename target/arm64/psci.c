/*
 * Power State Coordination Interface, version 1.1: Arm DEN 0022. Answered here when the machine
 * has no firmware that would.
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/arm64/cpu.h"

enum {
    PSCI_VERSION = 0x84000000,
    CPU_SUSPEND = 0x84000001,
    CPU_OFF = 0x84000002,
    CPU_ON = 0x84000003,
    AFFINITY_INFO = 0x84000004,
    MIGRATE_INFO_TYPE = 0x84000006,
    SYSTEM_OFF = 0x84000008,
    SYSTEM_RESET = 0x84000009,
    PSCI_FEATURES = 0x8400000a,
    SYSTEM_RESET2 = 0x84000012,
    SMCCC_VERSION = 0x80000000,
    SMCCC_ARCH_FEATURES = 0x80000001,
    SMC64 = 0x40000000,
    RET_NOT_SUPPORTED = -1,
    RET_INVALID = -2,
    RET_ALREADY_ON = -4,
};

static Arm64Cpu *by_mpidr(const Machine *m, uint64_t mpidr)
{
    for (unsigned i = 0; m && i < m->n_vcpus; i++) {
        Arm64Cpu *c = arm64(m->vcpus[i]);

        if ((c->mpidr & 0xff00ffffffull) == (mpidr & 0xff00ffffffull)) {
            return c;
        }
    }
    return NULL;
}

/* On the CPU that is switched on. */
static void power_on(VCpu *cpu, void *arg)
{
    Arm64Cpu *c = arm64(cpu);

    (void)arg;
    a64_power_on(c);
    c->el = c->has_el2 ? 2 : 1;
    c->spsel = true;
    c->pc = c->on_pc;
    c->x[0] = c->on_x0;
    a64_update_mode(c);
    a64_flush(c, false);
    __atomic_store_n(&c->powered_off, false, __ATOMIC_SEQ_CST);
    vcpu_signal(cpu, EV_WAKE);
}

static int64_t cpu_on(Arm64Cpu *c)
{
    Arm64Cpu *t = by_mpidr(c->vcpu.machine, c->x[1]);

    if (!t) {
        return RET_INVALID;
    }
    if (!__atomic_load_n(&t->powered_off, __ATOMIC_SEQ_CST) || t->start_on) {
        return RET_ALREADY_ON;
    }
    t->start_on = true; /* on its way */
    t->on_pc = c->x[2];
    t->on_x0 = c->x[3];
    vcpu_queue(&t->vcpu, power_on, NULL);
    return 0;
}

static bool known(uint32_t fn)
{
    switch (fn & ~(uint32_t)SMC64) {
    case PSCI_VERSION:
    case CPU_SUSPEND:
    case CPU_OFF:
    case CPU_ON:
    case AFFINITY_INFO:
    case MIGRATE_INFO_TYPE:
    case SYSTEM_OFF:
    case SYSTEM_RESET:
    case PSCI_FEATURES:
    case SMCCC_VERSION:
        return true;
    default:
        return false;
    }
}

void a64_psci(Arm64Cpu *c)
{
    VCpu *cpu = &c->vcpu;
    uint32_t fn = c->x[0];
    int64_t r = RET_NOT_SUPPORTED;
    Arm64Cpu *t;

    switch (fn) {
    case PSCI_VERSION:
        r = 0x10001;
        break;
    case SMCCC_VERSION:
        r = 0x10001;
        break;
    case MIGRATE_INFO_TYPE:
        r = 2; /* no trusted OS */
        break;
    case PSCI_FEATURES:
        r = known(c->x[1]) ? 0 : RET_NOT_SUPPORTED;
        break;
    case CPU_ON:
    case CPU_ON | SMC64:
        r = cpu_on(c);
        break;
    case AFFINITY_INFO:
    case AFFINITY_INFO | SMC64:
        t = by_mpidr(cpu->machine, c->x[1]);
        r = !t ? RET_INVALID : __atomic_load_n(&t->powered_off, __ATOMIC_SEQ_CST);
        break;
    case CPU_SUSPEND:
    case CPU_SUSPEND | SMC64: /* standby: an interrupt wakes it and the call returns */
        cpu->halted = !a64_has_work(cpu);
        r = 0;
        break;
    case CPU_OFF:
        c->start_on = false;
        __atomic_store_n(&c->powered_off, true, __ATOMIC_SEQ_CST);
        cpu->halted = true;
        break;
    case SYSTEM_OFF:
        machine_request_shutdown(cpu->machine, SHUTDOWN_GUEST_SHUTDOWN);
        cpu->halted = true;
        c->powered_off = true;
        break;
    case SYSTEM_RESET:
        machine_request_reset(cpu->machine, SHUTDOWN_GUEST_RESET);
        cpu->halted = true;
        c->powered_off = true;
        break;
    default:
        break;
    }
    c->x[0] = (uint64_t)r;
}
