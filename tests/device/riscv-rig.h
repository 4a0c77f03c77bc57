/* A rig with RISC-V harts whose interrupt pins can be looked at. */
#ifndef RHEA_TESTS_RISCV_RIG_H
#define RHEA_TESTS_RISCV_RIG_H

#include "accel/jit/jit.h"
#include "harness.h"
#include "target/riscv/cpu.h"
#include "target/riscv/riscv.h"

/* Replaces the virtual clock of the machine by the rig's manual one until riscv_rig_close(). */
static inline Clock *riscv_rig_open(Rig *r, unsigned harts)
{
    GError *err = NULL;
    Clock *keep;

    rig_open(r);
    keep = r->m->virtual_clock;
    r->m->virtual_clock = r->clk;
    r->m->accel = &jit_accel;
    g_assert_true(jit_accel.init(r->m, "tb-size=2M", &err));
    for (unsigned i = 0; i < harts; i++) {
        g_assert_nonnull(vcpu_new(r->m, &riscv64_target, &jit_accel, i, NULL, &err));
    }
    return keep;
}

static inline void riscv_rig_close(Rig *r, Clock *keep)
{
    while (r->m->devices->len) {
        device_free(r->m->devices->pdata[r->m->devices->len - 1]);
    }
    while (r->m->n_vcpus) {
        vcpu_free(r->m->vcpus[r->m->n_vcpus - 1]);
    }
    r->m->virtual_clock = keep;
    jit_accel.fini(r->m);
    r->m->accel = NULL;
    rig_close(r);
}

static inline bool pin(Rig *r, unsigned hart, unsigned n)
{
    return riscv(r->m->vcpus[hart])->mip >> n & 1;
}

#endif
