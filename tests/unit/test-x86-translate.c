/*
 * The x86 decoder on its own: block ends, lengths, what is undefined, and that no byte sequence in
 * any mode makes IR that breaks the rules of accel/jit/ir.h. X86_TRANSLATE_N=n: random sequences.
 */
#include "tests/cpu/x86-guest.c.inc"

#include "accel/jit/jit-internal.h"
#include "target/x86/translate.h"
#include <stdlib.h>

enum { AT = 0x100000 };

static X86Guest *guest;
static IrBlock *block;

static const uint64_t modes[] = {
    M_PE | M_LMA | M_CODE64 | M_STACK32,
    M_PE | M_LMA | M_CODE64 | 3 | M_ALIGN,
    M_PE | M_CODE32 | M_STACK32,
    M_PE | M_CODE32 | M_STACK32 | M_ADDSEG | M_LIMITS | 3,
    M_ADDSEG | M_LIMITS | (0x1000ull << 32),
    M_PE,
    M_VM86 | 3 | M_ADDSEG | M_LIMITS,
    M_PE | M_CODE64 | M_LMA | M_TF,
    M_PE | M_CODE64 | M_LMA | M_SHADOW,
    M_PE | M_CODE32 | M_STACK32 | M_CSLIMIT | M_DEBUG,
    M_PE | M_CODE64 | M_LMA | M_RF,
    M_PE | M_CODE64 | M_LMA | M_AC_SMAP | M_OSFXSR | M_OSXSAVE,
    M_PE | M_CODE32 | M_STACK32 | M_CSLIMIT | M_TF | M_LIMITS,
    M_PE | M_CODE64 | M_LMA | M_OSFXSR | M_XMMEXC,
};

/* Translate @len bytes at linear address @at, followed by UD2. */
static void translate(uint64_t mode, uint64_t at, const void *code, unsigned len, unsigned max)
{
    JitCpu *j = guest->cpu->accel_data;
    uint64_t base = mode >> 32, pc = at - base;
    g_autofree char *msg = NULL;

    memcpy(x86g_ram(guest) + at, code, len);
    memcpy(x86g_ram(guest) + at + len, "\x0f\x0b", 2);
    j->fetch_page = UINT64_MAX; /* as the code cache begins a block */
    j->n_block_pages = 0;
    j->block_io = false;
    j->fetch_mmu = MMU_USER;
    j->block_lin = at;
    ir_begin(block, x86_64_target.jit, pc, mode);
    x86_translate(guest->cpu, block, max);
    msg = ir_verify(block);
    if (msg) {
        g_autofree char *text = ir_dump(block);

        g_test_message("mode %lx: %s\n%s", mode, msg, text);
    }
    g_assert_null(msg);
    g_assert_cmpuint(block->n_guest, >=, 1);
    g_assert_cmpuint(block->guest_bytes, >=, 1);
}

#define BYTES(s) s, sizeof(s) - 1

static const IrHelper *last_call(void)
{
    for (unsigned i = block->n_insns; i-- > 0;) {
        if (block->insns[i].op == IR_CALL) {
            return block->insns[i].helper;
        }
    }
    return NULL;
}

static unsigned count(IrOp op)
{
    unsigned n = 0;

    for (unsigned i = 0; i < block->n_insns; i++) {
        n += block->insns[i].op == op;
    }
    return n;
}

/* The only instruction raises @vec. */
static bool raises(uint64_t mode, const void *code, unsigned len, int vec)
{
    const IrHelper *h;
    const IrInsn *in;

    translate(mode, AT, code, len, 1);
    h = last_call();
    if (block->n_guest != 1 || (h != &x86_hd_raise && h != &x86_hd_raise_err)) {
        return false;
    }
    in = &block->insns[block->n_insns - 1];
    return block->vals[block->args[in->extra]].imm == (uint64_t)vec;
}

static void test_invalid(void)
{
    static const char gone[] =
        "\x06\x07\x0e\x16\x17\x1e\x1f\x27\x2f\x37\x3f\x60\x61\x62\x82\x9a\xc4"
        "\xc5\xce\xd4\xd5\xd6\xea";

    for (unsigned i = 0; i < sizeof gone - 1; i++) {
        char code[8] = {gone[i], 0x40};

        g_assert_true(raises(modes[0], code, 8, EXC_UD));
    }
    g_assert_true(raises(modes[0], BYTES("\xf0\x01\xc0"), EXC_UD));  /* lock add eax, eax */
    g_assert_true(raises(modes[0], BYTES("\xf0\x03\x00"), EXC_UD));  /* lock add eax, [rax] */
    g_assert_false(raises(modes[0], BYTES("\xf0\x01\x00"), EXC_UD)); /* lock add [rax], eax */
    g_assert_true(raises(modes[0], BYTES("\xf0\x90"), EXC_UD));      /* lock nop */
    g_assert_true(raises(modes[0], BYTES("\x8e\xc8"), EXC_UD));      /* mov cs, eax */
    g_assert_true(raises(modes[5], BYTES("\xc4\xc0"), EXC_UD));      /* les with a register */
    g_assert_true(raises(modes[4], BYTES("\x0f\x00\xc0"), EXC_UD));  /* sldt in real mode */
    g_assert_true(raises(modes[4], BYTES("\x63\xc0"), EXC_UD));      /* arpl in real mode */
    g_assert_true(raises(modes[1], BYTES("\xf4"), EXC_GP));          /* hlt at level 3 */
    g_assert_true(raises(modes[1], BYTES("\x0f\x01\xf8"), EXC_GP));  /* swapgs at level 3 */
    g_assert_true(raises(modes[2], BYTES("\x0f\x01\xf8"), EXC_UD));  /* not in 32-bit mode */
    g_assert_true(raises(modes[0], BYTES("\x0f\x20\x08"), EXC_UD));  /* mov rax, cr1 */
}

static void test_length(void)
{
    char code[20];

    memset(code, 0x66, sizeof code);
    code[14] = 0x90;
    g_assert_false(raises(modes[0], code, 15, EXC_GP));
    g_assert_cmpuint(block->guest_bytes, ==, 15);
    code[14] = 0x66;
    code[15] = 0x90;
    g_assert_true(raises(modes[0], code, 16, EXC_GP));
    /* ModRM forms */
    translate(modes[0], AT, BYTES("\x48\x81\x84\xc8\1\2\3\4\5\6\7\x08"), 1);
    g_assert_cmpuint(block->guest_bytes, ==, 12);
    translate(modes[0], AT, BYTES("\x48\xb8\1\2\3\4\5\6\7\x08"), 1);
    g_assert_cmpuint(block->guest_bytes, ==, 10);
    translate(modes[0], AT, BYTES("\x67\xa1\1\2\3\4"), 1);
    g_assert_cmpuint(block->guest_bytes, ==, 6);
    translate(modes[5], AT, BYTES("\x8b\x06\x34\x12"), 1); /* mov ax, [1234] in 16 bits */
    g_assert_cmpuint(block->guest_bytes, ==, 4);
    translate(modes[5], AT, BYTES("\x66\x67\x8b\x05\1\2\3\4"), 1);
    g_assert_cmpuint(block->guest_bytes, ==, 8);
    translate(modes[5], AT, BYTES("\xc8\x10\x00\x01"), 1);
    g_assert_cmpuint(block->guest_bytes, ==, 4);
}

static void test_block_end(void)
{
    char nops[64];

    memset(nops, 0x90, sizeof nops);
    translate(modes[0], AT, nops, sizeof nops, 10);
    g_assert_cmpuint(block->n_guest, ==, 10);
    g_assert_cmpint(block->insns[block->n_insns - 1].op, ==, IR_JMP);
    g_assert_cmpuint(block->insns[block->n_insns - 1].imm, ==, AT + 10);
    /* at a page's end, also when an instruction crosses it */
    translate(modes[0], AT + 0xff8, nops, sizeof nops, 100);
    g_assert_cmpuint(block->n_guest, ==, 8);
    translate(modes[0], AT + 0xffd, BYTES("\x90\xb8\1\2\3\4\x90\x90"), 100);
    g_assert_cmpuint(block->n_guest, ==, 2);
    g_assert_cmpuint(block->guest_bytes, ==, 6);
    /* at control flow */
    /* a conditional branch is left by a side exit and the block goes on behind it… */
    translate(modes[0], AT, BYTES("\x90\x74\x05\x90\xc3"), 100);
    g_assert_cmpuint(block->n_guest, ==, 4);
    g_assert_cmpuint(count(IR_BREXIT), ==, 1);
    g_assert_cmpint(block->insns[block->n_insns - 1].op, ==, IR_JMP_IND);
    /* …up to the third one, or a branch back to the block's start */
    translate(modes[0], AT, BYTES("\x74\x05\x74\x05\x74\x05\x90\xc3"), 100);
    g_assert_cmpuint(block->n_guest, ==, 3);
    g_assert_cmpuint(count(IR_BREXIT), ==, 3);
    g_assert_cmpuint(count(IR_JMP), ==, 1);
    translate(modes[0], AT, BYTES("\x90\x74\xfd\x90\xc3"), 100);
    g_assert_cmpuint(block->n_guest, ==, 2);
    g_assert_cmpuint(count(IR_BREXIT), ==, 1);
    g_assert_cmpuint(count(IR_JMP), ==, 1);
    translate(modes[0], AT, BYTES("\xc3\x90"), 100);
    g_assert_cmpint(block->insns[block->n_insns - 1].op, ==, IR_JMP_IND);
    g_assert_cmpint(block->insns[block->n_insns - 1].cc, ==, IRJ_RET);
    /* single step, shadow: one instruction, by EXIT */
    translate(modes[8], AT, BYTES("\x90\x90"), 100);
    g_assert_cmpuint(block->n_guest, ==, 1);
    g_assert_cmpint(block->insns[block->n_insns - 1].op, ==, IR_EXIT);
    translate(modes[7], AT, BYTES("\x90\x90"), 100);
    g_assert_cmpuint(block->n_guest, ==, 1);
    g_assert_true(last_call() == &x86_hd_single_step);
}

static void test_fetch_fault(void)
{
    uint64_t end = 0x10000000, pde = X86G_PD + (end >> 21) * 8;

    /* The page behind @end is not there: a later instruction ends the block before it… */
    x86g_put(guest, pde, 0);
    jit_tlb_flush(guest->cpu, false);
    memcpy(x86g_ram(guest) + end - 3, "\x90\x90\xb8", 3);
    translate(modes[0], end - 8, BYTES("\x90\x90\x90"), 3);
    memcpy(x86g_ram(guest) + end - 3, "\x90\x90\xb8", 3);
    JitCpu *j = guest->cpu->accel_data;
    for (unsigned i = 0; i < 2; i++) {
        j->fetch_page = UINT64_MAX;
        j->n_block_pages = 0;
        ir_begin(block, x86_64_target.jit, end - 3 + i * 2, modes[0]);
        x86_translate(guest->cpu, block, 10);
        g_assert_null(ir_verify(block));
        if (i == 0) {
            g_assert_cmpuint(block->n_guest, ==, 2);
            g_assert_cmpint(block->insns[block->n_insns - 1].op, ==, IR_JMP);
            g_assert_false(block->transient);
        } else { /* …the first one raises the fault */
            g_assert_true(last_call() == &x86_hd_raise_fetch);
            g_assert_cmpuint(block->vals[block->args[0]].imm, ==, end);
            g_assert_true(block->transient);
        }
    }
    x86g_put(guest, pde, end | 0xe7);
    jit_tlb_flush(guest->cpu, false);
}

/* Flags that nobody reads cost nothing, a compare and branch is one BREXIT. */
static void test_flags(void)
{
    translate(modes[0], AT, BYTES("\x48\x39\xd8\x74\x05"), 2); /* cmp rax, rbx; jz */
    g_assert_cmpuint(count(IR_BREXIT), ==, 1);
    for (unsigned i = 0; i < block->n_insns; i++) {
        if (block->insns[i].op == IR_BREXIT) {
            const IrFlags *f = &block->flags[block->insns[i].extra];

            g_assert_cmpint(f->kind, ==, IRF_SUB);
            g_assert_cmpint(f->size, ==, 8);
            g_assert_cmpint(block->insns[i].cc, ==, IRFC_Z);
            g_assert_cmpint(block->vals[f->a].kind, ==, IRV_TEMP);
        }
    }
    translate(modes[0], AT, BYTES("\x48\x01\xd8\x48\x01\xd8\x48\x01\xd8\x48\x01\xd8"), 4);
    g_assert_cmpuint(count(IR_FLAGS), ==, 1);
}

static void test_random(void)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x2e,
                                       0x36, 0x48, 0x41, 0x4f, 0x44, 0xc4, 0xc5};
    const char *s = g_getenv("X86_TRANSLATE_N");
    unsigned n = s ? strtoul(s, NULL, 0) : 60000;
    X86Cpu *c = x86g_cpu(guest);
    uint32_t feat[FEAT_WORDS];
    GRand *r = g_rand_new_with_seed(1);
    uint8_t code[48];

    memcpy(feat, c->feat, sizeof feat);
    for (unsigned i = 0; i < n; i++) {
        uint64_t mode = modes[i % G_N_ELEMENTS(modes)];
        unsigned p = 0;

        for (unsigned k = 0; k < sizeof code; k++) {
            code[k] = g_rand_int(r) >> 8;
        }
        if (i & 1) { /* each opcode in turn, in both maps */
            for (unsigned k = g_rand_int(r) % 4; k > 0; k--) {
                code[p++] = prefixes[g_rand_int(r) % sizeof prefixes];
            }
            if (g_rand_boolean(r)) {
                code[p++] = 0x0f;
            }
            code[p] = i >> 4;
        }
        memset(c->feat, g_rand_int(r) % 4 ? 0xff : 0, sizeof c->feat);
        translate(mode, AT + (mode >> 32) + 0xfc0 + g_rand_int(r) % 64, code, sizeof code, 32);
    }
    memcpy(c->feat, feat, sizeof feat);
    g_rand_free(r);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    guest = x86g_new("mode=interp");
    block = g_new0(IrBlock, 1);
    memcpy(x86g_ram(guest) + AT, "\xcd\x81", 2); /* a first run: the accelerator takes the memory */
    x86g_run(guest, 64, &(X86GState){.rip = AT});
    g_test_add_func("/x86-translate/invalid", test_invalid);
    g_test_add_func("/x86-translate/length", test_length);
    g_test_add_func("/x86-translate/block-end", test_block_end);
    g_test_add_func("/x86-translate/fetch-fault", test_fetch_fault);
    g_test_add_func("/x86-translate/flags", test_flags);
    g_test_add_func("/x86-translate/random", test_random);
    ret = g_test_run();
    g_free(block);
    x86g_free(guest);
    return ret;
}
