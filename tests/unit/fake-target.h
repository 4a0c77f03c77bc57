/* A CPU that does nothing: four registers, identity mapping of the low megabyte. */
#ifndef RHEA_TESTS_FAKE_TARGET_H
#define RHEA_TESTS_FAKE_TARGET_H

#include "core/machine.h"
#include "core/vcpu.h"
#include <string.h>

typedef struct FakeCpu {
    VCpu cpu;
    uint64_t regs[4], pc;
} FakeCpu;

static inline uint64_t fake_get_pc(VCpu *cpu)
{
    return ((FakeCpu *)cpu)->pc;
}

static inline void fake_set_pc(VCpu *cpu, uint64_t pc)
{
    ((FakeCpu *)cpu)->pc = pc;
}

static inline uint64_t fake_translate(VCpu *cpu, uint64_t vaddr)
{
    return vaddr < 1 << 20 ? vaddr : UINT64_MAX;
}

static inline char *fake_dump(VCpu *cpu, bool fpu)
{
    return g_strdup_printf("R0=%016" G_GINT64_MODIFIER "x", ((FakeCpu *)cpu)->regs[0]);
}

static inline int fake_gdb_read(VCpu *cpu, int n, uint8_t *buf)
{
    FakeCpu *f = (FakeCpu *)cpu;

    if (n > 4) {
        return 0;
    }
    memcpy(buf, n < 4 ? &f->regs[n] : &f->pc, 8);
    return 8;
}

static inline int fake_gdb_write(VCpu *cpu, int n, const uint8_t *buf, int len)
{
    FakeCpu *f = (FakeCpu *)cpu;

    if (n > 4 || len < 8) {
        return 0;
    }
    memcpy(n < 4 ? &f->regs[n] : &f->pc, buf, 8);
    return 8;
}

static inline bool fake_get_reg(VCpu *cpu, const char *name, uint64_t *val)
{
    if (name[0] != 'r' || name[1] < '0' || name[1] > '3' || name[2]) {
        return false;
    }
    *val = ((FakeCpu *)cpu)->regs[name[1] - '0'];
    return true;
}

static inline bool fake_has_work(VCpu *cpu)
{
    return false;
}

static const Target fake_target = {
    .name = "fake",
    .state_size = sizeof(FakeCpu),
    .max_vcpus = 4,
    .gdb_arch = "fake",
    .has_work = fake_has_work,
    .get_pc = fake_get_pc,
    .set_pc = fake_set_pc,
    .debug_translate = fake_translate,
    .dump = fake_dump,
    .gdb_read = fake_gdb_read,
    .gdb_write = fake_gdb_write,
    .gdb_num_regs = 5,
    .get_reg = fake_get_reg,
};

/* A machine with 1 MiB of RAM and @n such CPUs, whose threads are not started. */
static inline Machine *fake_machine(MemRegion *ram, unsigned n)
{
    Machine *m = machine_new(NULL, NULL);

    mem_region_init_ram(ram, "ram", 1 << 20, NULL);
    mem_region_add(&m->memory_root, ram, 0, 0);
    for (unsigned i = 0; i < n; i++) {
        vcpu_new(m, &fake_target, NULL, i, NULL, NULL);
    }
    return m;
}

#endif
