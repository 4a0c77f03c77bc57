/*
 * One vector operation at a time for the interpreter: a stub of a few host instructions for each
 * (operation, type, immediate), made from ir-vec.h's table when first used.
 */
#include "accel/jit/host/x86_64/gen.h"
#include <immintrin.h>
#include <sys/mman.h>

static const struct {
    uint8_t prefix, map, opcode;
    uint32_t flags;
} rows[IRVOP_COUNT] = {
#define X(n, p, m, o, f) {p, m, o, f},
    IR_VOPS(X)
#undef X
};

enum { STUB = 64 };

/* uint64_t stub(void *d, const void *a, const void *b, uint64_t i) */
static void emit_stub(Asm *a, unsigned vop, IrOp op, IrType t, uint8_t imm)
{
    uint32_t f = rows[vop].flags;
    uint32_t opc =
        (uint32_t)rows[vop].prefix << 16 | (uint32_t)rows[vop].map << 8 | rows[vop].opcode;

    if ((f & IRVF_REXW_BY_TYPE) && t == IR_I64) {
        opc |= XW;
    }
    switch (op) {
    case IR_VOP:
        x_rm(a, X0F | 0x10, 0, RSI, 0); /* movups xmm0, [a] */
        x_rm(a, X0F | 0x10, 1, RDX, 0);
        if (f & IRVF_HAS_EXT) {
            x_rr(a, opc, (f >> IRVF_EXT_SHIFT) & 7, 0);
        } else {
            x_rr(a, opc, 0, 1);
        }
        break;
    case IR_VFROMI:
        x_rm(a, X0F | 0x10, 0, RSI, 0);
        x_rr(a, opc, 0, RCX);
        break;
    case IR_VTOI:
        x_rm(a, X0F | 0x10, 0, RDX, 0);
        if (f & IRVF_REV) {
            x_rr(a, opc, 0, RAX);
        } else {
            x_rr(a, opc, RAX, 0);
        }
        break;
    default:
        x_rm(a, X0F | 0x10, 0, RSI, 0);
        x_rm(a, X0F | 0x10, 1, RDX, 0);
        x_rr(a, opc, 0, 1);
    }
    if (f & IRVF_IMM) {
        a8(a, imm);
    }
    if (op == IR_VCMPFLAGS) {
        a8(a, 0x9f);
        x_rr(a, X0F | 0x90 | XB, 0, RAX);
        x_rr(a, X0F | 0xb7, RAX, RAX);
    } else if (op != IR_VTOI) {
        x_rm(a, X0F | 0x11, 0, RDI, 0);
    }
    a8(a, 0xc3);
}

static void *make_stub(unsigned vop, IrOp op, IrType t, uint8_t imm)
{
    /* Reference path only: a page each would do; stubs of one operation share a mapping. */
    uint8_t *p = mmap(NULL, STUB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Asm a = {.p = p};

    g_assert(p != MAP_FAILED);
    emit_stub(&a, vop, op, t, imm);
    g_assert(mprotect(p, STUB, PROT_READ | PROT_EXEC) == 0);
    return p;
}

#define FMA_FORM(name, ins)                                                                        \
    static void name(__m128i *c, __m128i a, __m128i b)                                             \
    {                                                                                              \
        __m128i v = *c;                                                                            \
                                                                                                   \
        asm volatile(ins " %2, %1, %0" : "+x"(v) : "x"(a), "x"(b));                                \
        *c = v;                                                                                    \
    }
#define FMA_FORMS(w)                                                                               \
    FMA_FORM(fma_##w, "vfmadd231" #w)                                                              \
    FMA_FORM(fnma_##w, "vfnmadd231" #w)                                                            \
    FMA_FORM(fms_##w, "vfmsub231" #w)                                                              \
    FMA_FORM(fnms_##w, "vfnmsub231" #w)
FMA_FORMS(ps)
FMA_FORMS(pd)
FMA_FORMS(ss)
FMA_FORMS(sd)

void jit_vfma_run(unsigned kind, void *d, const void *a, const void *b, const void *c)
{
    static void (*const forms[16])(__m128i *, __m128i, __m128i) = {
        fma_ps, fma_pd, fma_ss, fma_sd, fnma_ps, fnma_pd, fnma_ss, fnma_sd,
        fms_ps, fms_pd, fms_ss, fms_sd, fnms_ps, fnms_pd, fnms_ss, fnms_sd,
    };
    __m128i v = _mm_loadu_si128(c);

    forms[kind & 15](&v, _mm_loadu_si128(a), _mm_loadu_si128(b));
    _mm_storeu_si128(d, v);
}

uint64_t jit_vop_run(JitMachine *m, unsigned vop, IrOp op, IrType t, uint8_t imm, void *d,
                     const void *a, const void *b, uint64_t i)
{
    uint64_t (*fn)(void *, const void *, const void *, uint64_t);
    uint32_t f = rows[vop].flags;
    guint key;

    if (!(f & IRVF_IMM)) {
        imm = 0;
    }
    key = vop << 12 | (t == IR_I64) << 8 | imm;
    g_mutex_lock(&m->vop_lock);
    if (!m->vop_stubs) {
        m->vop_stubs = g_hash_table_new(NULL, NULL);
    }
    fn = (uint64_t(*)(void *, const void *, const void *, uint64_t))g_hash_table_lookup(
        m->vop_stubs, GUINT_TO_POINTER(key));
    if (!fn) {
        /* The guest's MXCSR is loaded, and growing a GHashTable takes floating point. */
        uint32_t fp = jit_host_fp_begin();
        void *stub = make_stub(vop, op, t, imm);

        g_hash_table_insert(m->vop_stubs, GUINT_TO_POINTER(key), stub);
        jit_host_fp_end(fp);
        fn = (uint64_t(*)(void *, const void *, const void *, uint64_t))stub;
    }
    g_mutex_unlock(&m->vop_lock);
    return fn(d, a ? a : d, b ? b : d, i);
}

void jit_vop_free(JitMachine *m)
{
    GHashTableIter it;
    gpointer stub;

    if (m->vop_stubs) {
        g_hash_table_iter_init(&it, m->vop_stubs);
        while (g_hash_table_iter_next(&it, NULL, &stub)) {
            munmap(stub, STUB);
        }
        g_hash_table_destroy(m->vop_stubs);
    }
}
