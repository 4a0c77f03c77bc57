/* A hart's saved state. */
#include "core/log.h"
#include "target/riscv/cpu.h"
#include "target/riscv/fp.h"

static const StateField f_fields[] = {STATE_U64(RiscvF, v), STATE_END_FIELD};
static const StateTable f_table = {.name = "f", .version = 1, .fields = f_fields};

static const StateField fields[] = {
    STATE_U64_ARRAY(RiscvCpu, x),
    STATE_U64(RiscvCpu, pc),
    STATE_U32(RiscvCpu, mxcsr),
    STATE_STRUCT_ARRAY(RiscvCpu, f, RiscvF, &f_table),
    STATE_U8(RiscvCpu, frm),
    STATE_U8(RiscvCpu, prv),
    STATE_U64(RiscvCpu, res_addr),
    STATE_U64(RiscvCpu, res_val),
    STATE_U64(RiscvCpu, mstatus),
    STATE_U64(RiscvCpu, mip),
    STATE_U64(RiscvCpu, mie),
    STATE_U64(RiscvCpu, mideleg),
    STATE_U64(RiscvCpu, medeleg),
    STATE_U64(RiscvCpu, mtvec),
    STATE_U64(RiscvCpu, mepc),
    STATE_U64(RiscvCpu, mcause),
    STATE_U64(RiscvCpu, mtval),
    STATE_U64(RiscvCpu, mscratch),
    STATE_U64(RiscvCpu, mcounteren),
    STATE_U64(RiscvCpu, stvec),
    STATE_U64(RiscvCpu, sepc),
    STATE_U64(RiscvCpu, scause),
    STATE_U64(RiscvCpu, stval),
    STATE_U64(RiscvCpu, sscratch),
    STATE_U64(RiscvCpu, scounteren),
    STATE_U64(RiscvCpu, satp),
    STATE_U64(RiscvCpu, menvcfg),
    STATE_U64(RiscvCpu, senvcfg),
    STATE_U64(RiscvCpu, stimecmp),
    STATE_U64(RiscvCpu, cycle_off),
    STATE_U64(RiscvCpu, instret_off),
    STATE_U8_ARRAY(RiscvCpu, pmpcfg),
    STATE_U64_ARRAY(RiscvCpu, pmpaddr),
    STATE_BOOL(RiscvCpu, ext_seip),
    STATE_BOOL(RiscvCpu, soft_seip),
    STATE_BOOL(RiscvCpu, vcpu.halted),
    STATE_TIMER(RiscvCpu, stimer),
    STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    RiscvCpu *c = obj;

    if (c->prv > PRV_M || c->prv == 2 || c->frm > 7) {
        return fail(err, "riscv: privilege %u or rounding mode %u cannot be", c->prv, c->frm);
    }
    c->mxcsr = 0x1f80 | (c->mxcsr & 0x603f);
    c->x[0] = 0;
    c->exc = -1;
    if (c->rv32) {
        for (unsigned i = 0; i < 32; i++) {
            c->x[i] = rv_sext(c, c->x[i]);
        }
        c->pc = (uint32_t)c->pc;
    }
    c->pc &= ~1ull;
    rv_pmp_update(c);
    rv_update_irq(c);
    return true;
}

const StateTable rv_state_table = {
    .name = "riscv-hart", .version = 1, .fields = fields, .post_load = post_load};
