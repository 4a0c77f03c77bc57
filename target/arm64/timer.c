/*
 * The generic timer of AArch64: physical and virtual counter, five timers. DDI 0487 chapter D11.
 */
#include "core/machine.h"
#include "target/arm64/cpu.h"

enum { CTL_ENABLE = 1, CTL_IMASK = 2, CTL_ISTATUS = 4 };
enum { NS_PER_TICK = NS_PER_SEC / CNT_HZ };

uint64_t a64_count(Arm64Cpu *c)
{
    return c->clock ? (uint64_t)clock_now(c->clock) / NS_PER_TICK : 0;
}

static uint64_t offset(const Arm64Cpu *c, unsigned n)
{
    return n == ARM64_TIMER_VIRT && c->has_el2 ? c->cntvoff : 0;
}

static bool expired(Arm64Cpu *c, unsigned n)
{
    return (int64_t)(a64_count(c) - offset(c, n) - c->timer[n].cval) >= 0;
}

/* Machine lock. */
static void update_locked(Arm64Cpu *c, unsigned n)
{
    Arm64Timer *t = &c->timer[n];
    bool on = t->ctl & CTL_ENABLE, done = on && expired(c, n);
    bool level = done && !(t->ctl & CTL_IMASK);

    if (!c->clock) {
        return;
    }
    if (on && !done && !(t->ctl & CTL_IMASK)) {
        unsigned __int128 ns = (unsigned __int128)(t->cval + offset(c, n)) * NS_PER_TICK;
        uint64_t ticks = t->cval + offset(c, n);

        /* A deadline beyond the clock's range never comes. */
        if (ticks < t->cval || ns > INT64_MAX / 2) {
            timer_del(&t->timer);
        } else {
            timer_set(&t->timer, (int64_t)ns);
        }
    } else {
        timer_del(&t->timer);
    }
    if (level != t->level) {
        t->level = level;
        irq_set(&t->irq, level);
    }
}

void a64_timer_update(Arm64Cpu *c, unsigned n)
{
    bool held = machine_lock_held();
    uint32_t fp = fp_getcsr();

    if (!held) {
        machine_lock();
    }
    update_locked(c, n);
    if (!held) {
        machine_unlock();
    }
    fp_setcsr(fp);
}

#define FIRE(name, n)                                                                              \
    static void fire_##name(void *opaque)                                                          \
    {                                                                                              \
        update_locked(opaque, n);                                                                  \
    }
FIRE(phys, ARM64_TIMER_PHYS)
FIRE(virt, ARM64_TIMER_VIRT)
FIRE(hyp, ARM64_TIMER_HYP)
FIRE(sec, ARM64_TIMER_SEC)
FIRE(hypvirt, ARM64_TIMER_HYPVIRT)

void a64_timer_init(Arm64Cpu *c)
{
    static void (*const fire[ARM64_TIMERS])(void *) = {fire_phys, fire_virt, fire_hyp, fire_sec,
                                                       fire_hypvirt};

    for (unsigned i = 0; i < ARM64_TIMERS; i++) {
        timer_init(&c->timer[i].timer, c->clock, fire[i], c);
    }
}

void a64_timer_free(Arm64Cpu *c)
{
    for (unsigned i = 0; c->clock && i < ARM64_TIMERS; i++) {
        timer_del(&c->timer[i].timer);
    }
}

void a64_timer_reset(Arm64Cpu *c)
{
    for (unsigned i = 0; i < ARM64_TIMERS; i++) {
        c->timer[i].ctl = 0;
        c->timer[i].cval = 0;
        a64_timer_update(c, i);
    }
}

/* ---- registers ---- */

/* May EL0 use it? CNTKCTL_EL1: EL0PCTEN 0, EL0VCTEN 1, EL0VTEN 8, EL0PTEN 9. */
static void check_el0(Arm64Cpu *c, uint32_t reg, bool write, unsigned bits)
{
    if (c->el == 0 && !(c->cntkctl[1] & bits)) {
        uint32_t iss = (reg >> 14 & 3) << 20 | (reg & 7) << 17 | (reg >> 11 & 7) << 14 |
                       (reg >> 7 & 15) << 10 | (reg >> 3 & 15) << 1 | !write;

        a64_raise(c, esr_make(EC_MSR, iss));
    }
}

static bool counter(Arm64Cpu *c, uint32_t reg, bool write, uint64_t *val)
{
    switch (reg) {
    case SYSREG(3, 3, 14, 0, 0):
        if (write) {
            return c->el && c->el == (c->has_el3 ? 3 : c->has_el2 ? 2 : 1);
        }
        check_el0(c, reg, write, 3);
        *val = CNT_HZ;
        return true;
    case SYSREG(3, 3, 14, 0, 1):
        if (write) {
            return false;
        }
        check_el0(c, reg, write, 1);
        *val = a64_count(c);
        return true;
    case SYSREG(3, 3, 14, 0, 2):
        if (write) {
            return false;
        }
        check_el0(c, reg, write, 2);
        *val = a64_count(c) - offset(c, ARM64_TIMER_VIRT);
        return true;
    case SYSREG(3, 4, 14, 0, 3):
        if (c->el < 2 || !c->has_el2) {
            return false;
        }
        if (write) {
            c->cntvoff = *val;
            a64_timer_update(c, ARM64_TIMER_VIRT);
        } else {
            *val = c->cntvoff;
        }
        return true;
    case SYSREG(3, 4, 14, 1, 0):
        if (c->el < 2 || !c->has_el2) {
            return false;
        }
        if (write) {
            c->cntkctl[2] = *val;
        } else {
            *val = c->cntkctl[2];
        }
        return true;
    default:
        return false;
    }
}

bool a64_timer_sysreg(Arm64Cpu *c, uint32_t reg, bool write, uint64_t *val)
{
    unsigned n;
    Arm64Timer *t;

    switch (reg & ~7u) {
    case SYSREG(3, 3, 14, 2, 0):
        check_el0(c, reg, write, 1 << 9);
        n = ARM64_TIMER_PHYS;
        break;
    case SYSREG(3, 3, 14, 3, 0):
        check_el0(c, reg, write, 1 << 8);
        n = ARM64_TIMER_VIRT;
        break;
    case SYSREG(3, 4, 14, 2, 0):
        if (c->el < 2 || !c->has_el2) {
            return false;
        }
        n = ARM64_TIMER_HYP;
        break;
    case SYSREG(3, 7, 14, 2, 0):
        if (c->el < 3 && !(c->el == 1 && a64_secure(c))) {
            return false;
        }
        n = ARM64_TIMER_SEC;
        break;
    default:
        return counter(c, reg, write, val);
    }
    t = &c->timer[n];
    switch (reg & 7) {
    case 0:
        if (write) {
            t->cval = a64_count(c) - offset(c, n) + (int32_t)*val;
        } else {
            *val = (uint32_t)(t->cval - (a64_count(c) - offset(c, n)));
        }
        break;
    case 1:
        if (write) {
            t->ctl = *val & 3;
        } else {
            *val = t->ctl | (t->ctl & CTL_ENABLE && expired(c, n) ? CTL_ISTATUS : 0);
        }
        break;
    case 2:
        if (write) {
            t->cval = *val;
        } else {
            *val = t->cval;
        }
        break;
    default:
        return false;
    }
    if (write) {
        a64_timer_update(c, n);
    }
    return true;
}
