/*
 * Ways between translated code and C. docs/jit-abi.md has the picture.
 */
#include "accel/jit/host/x86_64/gen.h"
#include "config.h"
#include <cpuid.h>
#include <xmmintrin.h>
#ifdef HAVE_CAPSTONE
#include <capstone/capstone.h>
#endif

#define HOT(field) (JIT_OFF_HOT + (int)offsetof(JitHot, field))

static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

static bool c_clobbers(int reg)
{
    return reg == RSI || reg == RDI || reg == R8 || reg == R9;
}

static void pins(JitGen *g, bool load, bool all)
{
    for (unsigned i = 0; i < g->n_pins; i++) {
        unsigned gl = g->pin_global[i];

        if (!all && !c_clobbers(g->pin_reg[gl])) {
            continue;
        }
        if (load) {
            x_load(&g->a, true, g->pin_reg[gl], R14, g->t->globals[gl].off);
        } else {
            x_store(&g->a, true, R14, g->t->globals[gl].off, g->pin_reg[gl]);
        }
    }
}

static void call_c(JitGen *g, const void *fn)
{
    x_mov_ri(&g->a, RAX, (uintptr_t)fn);
    x_rr(&g->a, 0xff, 2, RAX);
}

static const void *here(JitGen *g)
{
    while ((uintptr_t)g->a.p & 15) {
        a8(&g->a, 0xcc);
    }
    return g->a.p + g->rx;
}

static void thunk_enter(JitGen *g)
{
    g->j->thunk_enter = (void *)here(g);
    for (unsigned i = 0; i < G_N_ELEMENTS(callee_saved); i++) {
        if (callee_saved[i] >= 8) {
            a8(&g->a, 0x41);
        }
        a8(&g->a, 0x50 | (callee_saved[i] & 7));
    }
    x_alu_ri(&g->a, ALU_SUB, 8, RSP, G_FRAME);
    x_mov_rr(&g->a, true, R14, RDI);
    x_mov_rr(&g->a, true, R15, RDX);
    x_mov_rr(&g->a, true, RAX, RSI);
    x_store(&g->a, true, R14, HOT(frame_sp), RSP);
    pins(g, true, true);
    x_rr(&g->a, 0xff, 4, RAX);
}

static void thunk_exits(JitGen *g)
{
    uint8_t *common[G_N_ELEMENTS(g->j->thunk_exit)];

    for (unsigned r = 0; r < G_N_ELEMENTS(common); r++) {
        g->j->thunk_exit[r] = here(g);
        x_mov_ri(&g->a, RAX, r);
        common[r] = x_jmp(&g->a);
    }
    for (unsigned r = 0; r < G_N_ELEMENTS(common); r++) {
        x_fix(common[r], g->a.p);
    }
    pins(g, false, true);
    x_alu_ri(&g->a, ALU_ADD, 8, RSP, G_FRAME);
    for (unsigned i = G_N_ELEMENTS(callee_saved); i-- > 0;) {
        if (callee_saved[i] >= 8) {
            a8(&g->a, 0x41);
        }
        a8(&g->a, 0x58 | (callee_saved[i] & 7));
    }
    a8(&g->a, 0xc3);
}

static void thunk_link(JitGen *g)
{
    g->j->thunk_link = here(g);
    pins(g, false, true);
    x_load(&g->a, true, RSI, RSP, 0);
    x_alu_ri(&g->a, ALU_ADD, 8, RSP, 8);
    x_mov_rr(&g->a, true, RDI, R14);
    call_c(g, jit_link);
    pins(g, true, false);
    x_rr(&g->a, 0xff, 4, RAX);
}

/* What empty jump cache entries lead to: rdx is pc ^ ctx. */
static void thunk_empty(JitGen *g)
{
    int32_t d;
    uint8_t *at;

    g->j->thunk_empty = here(g);
    x_alu_rm(&g->a, ALU_XOR, 8, RDX, R14, HOT(ctx));
    x_store(&g->a, true, R14, g->t->pc_off, RDX);
    at = x_jmp(&g->a);
    d = (const uint8_t *)g->j->thunk_exit[JIT_EXIT_LOOKUP] - (at + 4 + g->rx);
    memcpy(at, &d, 4);
}

static void thunk_slow(JitGen *g, bool xmm)
{
    static const uint8_t temps[] = {RAX, R10, R11};

    g->j->thunk_slow[xmm] = here(g);
    for (unsigned i = 0; i < 3; i++) {
        x_store(&g->a, true, RSP, 8 + G_F_SAVE + i * 8, temps[i]);
    }
    pins(g, false, true);
    for (unsigned i = 0; xmm && i < 16; i++) {
        x_rm(&g->a, X0F | 0x11, i, RSP, 8 + G_F_XSAVE + i * 16);
    }
    x_mov_rr(&g->a, true, RSI, RDX);
    x_mov_rr(&g->a, true, RDX, RCX);
    x_load(&g->a, false, RCX, RSP, 8 + G_F_OP);
    x_mov_rr(&g->a, true, RDI, R14);
    x_alu_ri(&g->a, ALU_SUB, 8, RSP, 8);
    call_c(g, jit_slow);
    x_alu_ri(&g->a, ALU_ADD, 8, RSP, 8);
    x_mov_rr(&g->a, true, RCX, RAX);
    for (unsigned i = 0; i < 3; i++) {
        x_load(&g->a, true, temps[i], RSP, 8 + G_F_SAVE + i * 8);
    }
    pins(g, true, false);
    for (unsigned i = 0; xmm && i < 16; i++) {
        x_rm(&g->a, X0F | 0x10, i, RSP, 8 + G_F_XSAVE + i * 16);
    }
    a8(&g->a, 0xc3);
}

/* In: rax function, rcx, rdx first arguments, the others in the frame. */
static void thunk_call(JitGen *g, unsigned kind)
{
    bool all = kind & 1, writes = kind & 2, host_fp = kind & 4;

    g->j->thunk_call[kind] = here(g);
    pins(g, false, all);
    if (host_fp) {
        x_rm(&g->a, X0F | 0xae, 3, R14, HOT(mxcsr_tmp)); /* stmxcsr */
        if (g->t->mxcsr_off >= 0) {
            x_load(&g->a, false, R11, R14, HOT(mxcsr_tmp));
            x_alu_ri(&g->a, ALU_AND, 4, R11, 0x3f);
            x_rm(&g->a, 0x09, R11, R14, g->t->mxcsr_off);
        }
        x_rm(&g->a, X0F | 0xae, 2, R14, HOT(mxcsr_host)); /* ldmxcsr */
    }
    x_mov_rr(&g->a, true, RDI, R14);
    x_mov_rr(&g->a, true, RSI, RCX);
    x_load(&g->a, true, RCX, RSP, 8 + G_F_ARGS);
    x_load(&g->a, true, R8, RSP, 8 + G_F_ARGS + 8);
    x_load(&g->a, true, R9, RSP, 8 + G_F_ARGS + 16);
    x_alu_ri(&g->a, ALU_SUB, 8, RSP, 8);
    x_rr(&g->a, 0xff, 2, RAX);
    x_alu_ri(&g->a, ALU_ADD, 8, RSP, 8);
    if (host_fp) {
        x_rm(&g->a, X0F | 0xae, 2, R14, HOT(mxcsr_tmp));
    }
    pins(g, true, writes);
    a8(&g->a, 0xc3);
}

size_t jit_host_thunks(JitCpu *j, uint8_t *rw)
{
    JitGen *g = j->gen;

    g->a.p = rw;
    g->rx = j->code_rx - j->code_rw;
    thunk_enter(g);
    thunk_exits(g);
    thunk_link(g);
    thunk_empty(g);
    thunk_slow(g, false);
    thunk_slow(g, true);
    for (unsigned i = 0; i < 8; i++) {
        thunk_call(g, i);
    }
    jit_hot(j->cpu)->mxcsr_host = 0x1f80;
    return g->a.p - rw;
}

unsigned jit_host_enter(JitCpu *j, void *host, unsigned mmu)
{
    unsigned (*enter)(void *env, void *host, void *tlb);

    enter = (unsigned (*)(void *, void *, void *))j->thunk_enter;
    jit_host_fp_load(j, false);
    return enter(j->cpu, host, jit_tlb_array(j->cpu, mmu, false));
}

static uint32_t guest_mxcsr(const JitCpu *j)
{
    return *(const uint32_t *)((const char *)j->cpu + j->t->mxcsr_off);
}

void jit_host_fp_load(JitCpu *j, bool fresh)
{
    uint32_t want;

    if (j->t->mxcsr_off < 0) {
        return;
    }
    /* Guests with unmasked exceptions get helpers for all floating point. */
    want = guest_mxcsr(j) | 0x1f80;
    if (fresh) {
        _mm_setcsr(want);
    } else if (want != j->fp_loaded) {
        /* Sticky flags that were raised since are not in the state yet. */
        _mm_setcsr(want | (_mm_getcsr() & 0x3f));
    }
    j->fp_loaded = want;
}

void jit_host_fp_sync(JitCpu *j)
{
    if (j->t->mxcsr_off >= 0) {
        *(uint32_t *)((char *)j->cpu + j->t->mxcsr_off) |= _mm_getcsr() & 0x3f;
    }
}

void jit_host_fp_unwind(JitCpu *j, bool host_fp)
{
    if (host_fp) {
        _mm_setcsr(jit_hot(j->cpu)->mxcsr_tmp);
    }
    jit_host_fp_sync(j);
}

uint32_t jit_host_fp_begin(void)
{
    uint32_t saved = _mm_getcsr();

    _mm_setcsr(0x1f80);
    return saved;
}

void jit_host_fp_end(uint32_t saved)
{
    _mm_setcsr(saved);
}

static uint64_t *frame(JitCpu *j)
{
    return (uint64_t *)(uintptr_t)jit_hot(j->cpu)->frame_sp;
}

const void *jit_host_call_site(JitCpu *j)
{
    return (const void *)(uintptr_t)frame(j)[-1];
}

uint64_t jit_host_saved_reg(JitCpu *j, int reg)
{
    unsigned i = reg == RAX ? 0 : reg == R10 ? 1 : 2;

    return frame(j)[G_F_SAVE / 8 + i];
}

uint64_t jit_host_slot(JitCpu *j, int off)
{
    return frame(j)[off / 8];
}

void *jit_host_vec_buf(JitCpu *j)
{
    return (char *)frame(j) + G_F_VEC;
}

uint64_t jit_host_expected(JitCpu *j)
{
    return frame(j)[G_F_ARGS / 8];
}

uint32_t jit_host_features(void)
{
    unsigned eax, ebx, ecx, edx;
    uint32_t f = 0;

    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        f |= ecx & bit_SSE3 ? IRVF_SSE3 : 0;
        f |= ecx & bit_SSSE3 ? IRVF_SSSE3 : 0;
        f |= ecx & bit_SSE4_1 ? IRVF_SSE41 : 0;
        f |= ecx & bit_SSE4_2 ? IRVF_SSE42 : 0;
        f |= ecx & bit_AES ? IRVF_AES : 0;
        f |= ecx & bit_PCLMUL ? IRVF_CLMUL : 0;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        f |= ebx & (1u << 29) ? IRVF_SHA : 0;
    }
    return f;
}

bool jit_host_has(uint32_t flags)
{
    uint32_t all =
        IRVF_SSE3 | IRVF_SSSE3 | IRVF_SSE41 | IRVF_SSE42 | IRVF_AES | IRVF_CLMUL | IRVF_SHA;

    if (flags & IRVF_FMA && !__builtin_cpu_supports("fma")) {
        return false;
    }
    return !(flags & all & ~jit_host_features());
}

char *jit_host_disas(const uint8_t *code, size_t n, uint64_t addr)
{
    GString *s = g_string_new(NULL);
#ifdef HAVE_CAPSTONE
    csh cs;
    cs_insn *insn;

    if (cs_open(CS_ARCH_X86, CS_MODE_64, &cs) == CS_ERR_OK) {
        size_t count = cs_disasm(cs, code, n, addr, 0, &insn);

        for (size_t i = 0; i < count; i++) {
            g_string_append_printf(s, "  %" G_GINT64_MODIFIER "x  %s %s\n", insn[i].address,
                                   insn[i].mnemonic, insn[i].op_str);
        }
        if (count) {
            cs_free(insn, count);
        }
        cs_close(&cs);
        return g_string_free(s, FALSE);
    }
#endif
    for (size_t i = 0; i < n; i++) {
        g_string_append_printf(s, "%02x%s", code[i], i % 32 == 31 || i + 1 == n ? "\n" : " ");
    }
    return g_string_free(s, FALSE);
}
