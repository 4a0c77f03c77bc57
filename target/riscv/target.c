/*
 * The RISC-V targets: creation, reset, mode, and what boards may ask of a hart
 * (core/riscv-hart.h). State after reset: Privileged ISA, chapter 3.4.
 */
#include "core/machine.h"
#include "target/riscv/cpu.h"
#include "target/riscv/fp.h"
#include "target/riscv/helpers.h"
#include "target/riscv/riscv.h"
#include <string.h>

/* ---- mode ---- */

uint64_t rv_mode(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);
    unsigned fs = c->mstatus >> MST_FS_SHIFT & 3;

    return c->prv | rv_mmu_data(c) << RM_MMU_SHIFT | (fs == 0 ? RM_FS_OFF : 0) |
           (fs == 3 ? RM_FS_DIRTY : 0) | (unsigned)c->frm << RM_FRM_SHIFT;
}

static uint64_t linear_pc(VCpu *cpu, uint64_t pc, uint64_t mode)
{
    return pc;
}

/* Of code; only SUM and MXR, which do not matter to it, are as for data. */
static unsigned mmu_index(uint64_t mode)
{
    unsigned data = mode >> RM_MMU_SHIFT & 7, prv = mode & RM_PRV;

    if (prv == PRV_M) {
        return MMU_M;
    }
    return data;
}

const JitGlobal rv_globals[G_COUNT] = {
    [G_CC] = {"cc", IR_I32, 0, offsetof(RiscvCpu, cc)},
#define R(n, heat) [n] = {"x" #n, IR_I64, heat, offsetof(RiscvCpu, x) + (n)*8}
    R(1, 60),
    R(2, 85),
    R(3, 0),
    R(4, 5),
    R(5, 10),
    R(6, 10),
    R(7, 8),
    R(8, 65),
    R(9, 50),
    R(10, 100),
    R(11, 95),
    R(12, 90),
    R(13, 88),
    R(14, 93),
    R(15, 98),
    R(16, 30),
    R(17, 25),
    R(18, 35),
    R(19, 20),
    R(20, 15),
    R(21, 10),
    R(22, 8),
    R(23, 6),
    R(24, 5),
    R(25, 4),
    R(26, 3),
    R(27, 2),
    R(28, 8),
    R(29, 7),
    R(30, 6),
    R(31, 5),
#define F(n) [G_F0 + (n)] = {"f" #n, IR_V128, 0, offsetof(RiscvCpu, f) + (n)*16}
    F(0),
    F(1),
    F(2),
    F(3),
    F(4),
    F(5),
    F(6),
    F(7),
    F(8),
    F(9),
    F(10),
    F(11),
    F(12),
    F(13),
    F(14),
    F(15),
    F(16),
    F(17),
    F(18),
    F(19),
    F(20),
    F(21),
    F(22),
    F(23),
    F(24),
    F(25),
    F(26),
    F(27),
    F(28),
    F(29),
    F(30),
    F(31),
#undef R
#undef F
};

static const JitTarget jit_target = {
    .globals = rv_globals,
    .n_globals = G_COUNT,
    .flags_global = G_CC,
    .pc_off = offsetof(RiscvCpu, pc),
    .n_mmu = MMU_COUNT,
    .max_block = 64,
    .get_mode = rv_mode,
    .linear_pc = linear_pc,
    .mmu_index = mmu_index,
    .translate = rv_translate,
    .walk = rv_walk,
    .set_align_fault = rv_set_align_fault,
    .deliver = rv_deliver,
    .take_event = rv_take_event,
    .mxcsr_off = offsetof(RiscvCpu, mxcsr),
};

/* ---- life ---- */

static void stimer_fired(void *opaque)
{
    rv_stimer_update(opaque);
}

static void reset(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);

    vcpu_unsignal(cpu, VCPU_RESET | VCPU_IRQ);
    memset(c->x, 0, sizeof(c->x));
    memset(c->f, 0, sizeof(c->f));
    c->pc = c->start_pc;
    c->x[10] = cpu->index;
    c->x[11] = c->start_a1;
    c->mxcsr = 0x1f80;
    c->frm = 0;
    c->prv = PRV_M;
    c->res_addr = UINT64_MAX;
    c->mstatus = c->rv32 ? 0 : 2ull << 32 | 2ull << 34; /* UXL, SXL: 64 */
    if (!c->rv32 && !rv_has(c, RVE_S)) {
        c->mstatus &= ~MST_SXL;
    }
    if (!c->rv32 && !rv_has(c, RVE_U)) {
        c->mstatus = MST_MPP;
    }
    /* The pins stay as they are driven. */
    __atomic_and_fetch(&c->mip, 1u << IRQ_MSI | 1u << IRQ_MTI | 1u << IRQ_MEI | 1u << IRQ_SEI,
                       __ATOMIC_SEQ_CST);
    c->soft_seip = false;
    c->mie = c->mideleg = c->medeleg = 0;
    c->mtvec = c->mepc = c->mcause = c->mtval = c->mscratch = c->mcounteren = 0;
    c->stvec = c->sepc = c->scause = c->stval = c->sscratch = c->scounteren = c->satp = 0;
    c->menvcfg = c->senvcfg = 0;
    c->stimecmp = 0;
    c->cycle_off = c->instret_off = 0;
    memset(c->pmpcfg, 0, sizeof(c->pmpcfg));
    memset(c->pmpaddr, 0, sizeof(c->pmpaddr));
    rv_pmp_update(c);
    c->exc = -1;
    cpu->halted = false;
    if (c->stimer.clock) {
        timer_del(&c->stimer);
    }
    if (cpu->accel && cpu->accel->flush_tlb && cpu->accel_data) {
        cpu->accel->flush_tlb(cpu);
    }
}

static bool init(VCpu *cpu, const char *model, bool rv32, GError **err)
{
    RiscvCpu *c = riscv(cpu);
    Machine *m = cpu->machine;

    if (!rv_model_init(c, model, rv32, err)) {
        return false;
    }
    c->start_pc = 0x1000;
    if (m && m->virtual_clock) {
        timer_init(&c->stimer, m->virtual_clock, stimer_fired, c);
    }
    reset(cpu);
    return true;
}

static bool init64(VCpu *cpu, const char *model, GError **err)
{
    return init(cpu, model, false, err);
}

static bool init32(VCpu *cpu, const char *model, GError **err)
{
    return init(cpu, model, true, err);
}

static void fini(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);

    if (c->stimer.clock) {
        timer_del(&c->stimer);
    }
    g_free(c->isa);
    c->isa = NULL;
}

static char *models64(void)
{
    return rv_models(false);
}

static char *models32(void)
{
    return rv_models(true);
}

static uint64_t get_pc(VCpu *cpu)
{
    return riscv(cpu)->pc;
}

static void set_pc(VCpu *cpu, uint64_t pc)
{
    riscv(cpu)->pc = rv_zext(riscv(cpu), pc & ~1ull);
}

/* ---- core/riscv-hart.h ---- */

void riscv_set_time(VCpu *cpu, uint64_t (*time)(void *opaque), void *opaque)
{
    riscv(cpu)->time = time;
    riscv(cpu)->time_opaque = opaque;
}

static void time_changed(VCpu *cpu, void *arg)
{
    rv_stimer_update(riscv(cpu));
}

void riscv_time_changed(VCpu *cpu)
{
    if (cpu->started) {
        vcpu_queue(cpu, time_changed, NULL);
    } else {
        time_changed(cpu, NULL);
    }
}

void riscv_set_start(VCpu *cpu, uint64_t pc)
{
    riscv(cpu)->start_pc = pc;
    riscv(cpu)->pc = pc;
}

const char *riscv_isa(VCpu *cpu)
{
    return riscv(cpu)->isa;
}

const char *riscv_mmu_type(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);

    return !rv_has(c, RVE_MMU)   ? NULL
           : c->rv32             ? "riscv,sv32"
           : rv_has(c, RVE_SV57) ? "riscv,sv57"
           : rv_has(c, RVE_SV48) ? "riscv,sv48"
                                 : "riscv,sv39";
}

bool riscv_is_32(VCpu *cpu)
{
    return riscv(cpu)->rv32;
}

unsigned riscv_cbo_block(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);

    return rv_has(c, RVE_ZICBOM) || rv_has(c, RVE_ZICBOZ) ? RV_CBO_BLOCK : 0;
}

/* ---- the targets ---- */

#define COMMON                                                                                     \
    .default_machine = "virt", .disas = VCPU_DISAS_RISCV, .state_size = sizeof(RiscvCpu),          \
    .state_align = __alignof__(RiscvCpu), .max_vcpus = 512, .jit = &jit_target,                    \
    .state = &rv_state_table, .free = fini, .reset = reset, .has_work = rv_has_work,               \
    .get_pc = get_pc, .set_pc = set_pc, .debug_translate = rv_debug_translate, .dump = rv_dump,    \
    .dump_tlb = rv_dump_tlb, .get_reg = rv_get_reg, .gdb_read = rv_gdb_read,                       \
    .gdb_write = rv_gdb_write, .gdb_num_regs = RV_GDB_REGS

const Target riscv64_target = {
    COMMON,         .name = "riscv64",  .gdb_arch = "riscv:rv64", .gdb_xml = rv_gdb_xml64,
    .init = init64, .models = models64,
};

const Target riscv32_target = {
    COMMON,         .name = "riscv32",  .gdb_arch = "riscv:rv32", .gdb_xml = rv_gdb_xml32,
    .init = init32, .models = models32,
};
