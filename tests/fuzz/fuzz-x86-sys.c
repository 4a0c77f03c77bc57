/*
 * Fuzz target: the x86 CPU's system helpers on hostile descriptor tables, page tables and
 * registers. The input is memory followed by operations.
 */
#include "core/log.h"
#include "tests/cpu/x86-rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

typedef struct Input {
    const uint8_t *p;
    size_t len;
} Input;

static uint64_t take(Input *in, unsigned n)
{
    uint64_t v = 0;

    n = MIN(n, in->len);
    memcpy(&v, in->p, n);
    in->p += n;
    in->len -= n;
    return v;
}

/* Selectors that often exist, values near interesting ones. */
static uint64_t pick(Input *in)
{
    static const uint64_t values[] = {
        0,    3,    K_CODE, K_DATA, U_CODE, U_DATA, K_TSS,  K_CODE64, K_LDT, U_CODE64, FREE,
        0x68, 0x70, 0x78,   0x6b,   0x14,   PML4,   0x8000, 0xffff,   ~0ull, 1u << 31, 1ull << 47};
    unsigned k = take(in, 1);

    return k < G_N_ELEMENTS(values) ? values[k] : take(in, k & 8 ? 8 : 4);
}

#define H0(n) (void)x86_h_##n(&c->vcpu)
#define H1(n, a) (void)x86_h_##n(&c->vcpu, a)
#define H2(n, a, b) (void)x86_h_##n(&c->vcpu, a, b)

static uint64_t a, b, size;

static void far_op(unsigned op)
{
    switch (op) {
    case 0:
        c->rip = x86_h_far_jmp(&c->vcpu, a, b, size, c->rip + 7);
        break;
    case 1:
        c->rip = x86_h_far_call(&c->vcpu, a, b, size, c->rip + 7);
        break;
    case 2:
        c->rip = x86_h_far_ret(&c->vcpu, size, a & 0xffff);
        break;
    case 3:
        c->rip = x86_h_iret(&c->vcpu, size, c->rip + 1);
        break;
    case 4:
        c->rip = x86_h_syscall(&c->vcpu, c->rip + 2);
        break;
    case 5:
        c->rip = x86_h_sysret(&c->vcpu, size);
        break;
    case 6:
        c->rip = x86_h_sysenter(&c->vcpu, c->rip + 2);
        break;
    case 7:
        c->rip = x86_h_sysexit(&c->vcpu, size);
        break;
    case 8:
        c->rip = x86_h_rsm(&c->vcpu);
        break;
    case 9:
        x86_h_soft_int(&c->vcpu, a & 0xff, c->rip + 2, b & 3);
        break;
    }
}

static void other_op(unsigned op)
{
    static const uint8_t segs[] = {S_ES, S_SS, S_DS, S_FS, S_GS};

    switch (op) {
    case 0:
        H2(load_seg, segs[a % 5], b & 0xffff);
        break;
    case 1:
        H1(lldt, a);
        break;
    case 2:
        H1(ltr, a);
        break;
    case 3:
        H1(lar, a & 0xffff);
        H1(lsl, a & 0xffff);
        H1(verr, a & 0xffff);
        H1(verw, a & 0xffff);
        break;
    case 4:
        H2(lgdt, a & 0xffff, b);
        break;
    case 5:
        H2(lidt, a & 0xffff, b);
        break;
    case 6:
        H2(mov_to_cr, a & 15, b);
        break;
    case 7:
        H2(mov_to_dr, a & 15, b);
        break;
    case 8:
        c->regs[R_RCX] = a;
        H0(rdmsr);
        break;
    case 9:
        c->regs[R_RCX] = a;
        c->regs[R_RAX] = b;
        H0(wrmsr);
        break;
    case 10:
        H2(popf, a, size);
        break;
    case 11:
        H0(cli);
        H0(sti);
        break;
    case 12:
        H2(check_io, a & 0xffff, 1u << (b & 2));
        break;
    case 13:
        (void)x86_h_check_seg(&c->vcpu, a % 6, b, size, 1);
        break;
    case 14:
        H1(invlpg, a);
        H2(invpcid, a & 7, b);
        break;
    case 15:
        c->regs[R_RAX] = a;
        c->regs[R_RCX] = b;
        H0(cpuid);
        break;
    case 16:
        H1(hlt, c->rip + 1);
        break;
    case 17:
        H0(check_ibreak);
        (void)x86_h_check_dbreak(&c->vcpu, a, size, b & 1);
        break;
    case 18:
        H1(lmsw, a);
        break;
    case 19:
        H0(xsetbv);
        break;
    }
}

static void check_invariants(void)
{
    bool lma = c->efer & EFER_LMA;

    g_assert_false(c->in_delivery);
    g_assert_true(lma == ((c->cr0 & CR0_PG) && c->efer & EFER_LME) || !(c->cr0 & CR0_PE) || !lma);
    g_assert_true(!(c->eflags & EF_VM) || ((c->cr0 & CR0_PE) && !lma));
    g_assert_cmphex(c->eflags & EF_ARITH, ==, 0);
    g_assert_cmphex(c->cr4 & ~x86_cr4_mask(c), ==, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    Input in = {data, len};
    unsigned start = take(&in, 1), chunks = take(&in, 1) & 15;

    log_mask = 0;
    switch (start & 3) {
    case 0:
        rig_reset("max");
        break;
    case 1:
        rig_prot("max", start & 4 ? 3 : 0);
        break;
    default:
        rig_long(start & 8 ? "core2duo" : "max", start & 4 ? 3 : 0);
    }
    while (chunks--) {
        uint32_t at = take(&in, 2) << 2;

        for (unsigned i = 0; i < 4; i++) {
            wr(at + i * 4, take(&in, 4), 4);
        }
    }
    for (unsigned n = 0; n < 64 && in.len; n++) {
        unsigned op = take(&in, 1);
        int exc;

        size = (unsigned[]){2, 4, 8, 4}[op >> 6];
        op &= 63;
        a = pick(&in);
        b = pick(&in);
        if (op < 10) {
            exc = CATCH(far_op(op));
        } else if (op < 30) {
            exc = CATCH(other_op(op - 10));
        } else if (op < 36) {
            vcpu_signal(&c->vcpu, 1u << (op - 30));
            exc = NO_EXC;
        } else {
            c->regs[op & 15] = a;
            exc = NO_EXC;
        }
        if (exc >= 0) {
            rig_deliver();
        }
        if (c->vcpu.events) {
            rig_events();
        }
        check_invariants();
    }
    return 0;
}
