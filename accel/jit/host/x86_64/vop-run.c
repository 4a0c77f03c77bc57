/*
 * Vector operations for the interpreter: a stub of machine code for each (operation, type,
 * immediate), made from the columns of ir-vec.h. Stub: rdi = d, rsi = a, rdx = b, rcx = integer;
 * integer or packed-flags result in rax.
 */
#include "accel/jit/ir-vec.h"
#include "accel/jit/jit-internal.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct VopInfo {
    uint8_t prefix, map, opcode;
    uint32_t flags;
} VopInfo;

static const VopInfo vops[] = {
#define X(n, p, m, o, f) {p, m, o, f},
    IR_VOPS(X)
#undef X
};

enum { STUBS_SIZE = 1 << 18, STUB_MAX = 64, STUB_HASH = 8192 };

/* Process-wide cache of pure functions, filled on demand. */
static struct {
    GMutex lock;
    uint8_t *rw, *rx;
    size_t used;
    struct {
        uint32_t key;
        uint32_t off; /* + 1 */
    } hash[STUB_HASH];
} stubs;

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

/* One instruction with register operands: ModRM.reg = @reg, ModRM.rm = @rm. */
static uint8_t *put_op(uint8_t *p, const VopInfo *v, bool rexw, unsigned reg, unsigned rm)
{
    if (v->prefix) {
        *p++ = v->prefix;
    }
    if (rexw) {
        *p++ = 0x48;
    }
    *p++ = 0x0f;
    if (v->map != 0x0f) {
        *p++ = v->map;
    }
    *p++ = v->opcode;
    *p++ = 0xc0 | reg << 3 | rm;
    return p;
}

static void make(uint8_t *p, const VopInfo *v, IrOp op, IrType t, uint8_t imm)
{
    static const uint8_t load_a[] = {0x0f, 0x10, 0x06};  /* movups xmm0, [rsi] */
    static const uint8_t load_b[] = {0x0f, 0x10, 0x0a};  /* movups xmm1, [rdx] */
    static const uint8_t store_d[] = {0x0f, 0x11, 0x07}; /* movups [rdi], xmm0 */
    static const uint8_t pack[] = {0x9f, 0x0f, 0x90, 0xc0,
                                   0x0f, 0xb7, 0xc0}; /* lahf; seto al;
                                                 movzx eax, ax */
    bool rexw = (v->flags & IRVF_REXW_BY_TYPE) && t == IR_I64;
    bool has_imm = v->flags & (IRVF_IMM | IRVF_HAS_EXT);

    p = put(p, load_a, sizeof load_a);
    p = put(p, load_b, sizeof load_b);
    if (v->flags & IRVF_HAS_EXT) {
        p = put_op(p, v, false, v->flags >> IRVF_EXT_SHIFT & 7, 0);
    } else if (op == IR_VFROMI) {
        p = put_op(p, v, rexw, 0, 1); /* xmm0, rcx */
    } else if (op == IR_VTOI) {
        p = put_op(p, v, rexw, 0, 0); /* rax and xmm0, either way round */
    } else {
        p = put_op(p, v, false, 0, 1);
    }
    if (has_imm) {
        *p++ = imm;
    }
    if (op == IR_VCMPFLAGS) {
        p = put(p, pack, sizeof pack);
    } else if (op != IR_VTOI) {
        p = put(p, store_d, sizeof store_d);
    }
    *p = 0xc3;
}

static bool map_stubs(void)
{
    int fd = memfd_create("rhea-vop", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, STUBS_SIZE) < 0) {
        return false;
    }
    stubs.rw = mmap(NULL, STUBS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    stubs.rx = mmap(NULL, STUBS_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    close(fd);
    return stubs.rw != MAP_FAILED && stubs.rx != MAP_FAILED;
}

static void *find(uint32_t key, unsigned vop, IrOp op, IrType t, uint8_t imm)
{
    unsigned h = key * 2654435761u % STUB_HASH;

    if (!stubs.rw && !map_stubs()) {
        g_error("The host has no memory for vector stubs");
    }
    while (stubs.hash[h].off && stubs.hash[h].key != key) {
        h = (h + 1) % STUB_HASH;
    }
    if (!stubs.hash[h].off) {
        /* Dropping all is safe: stubs run under the lock. */
        if (stubs.used + STUB_MAX > STUBS_SIZE) {
            memset(stubs.hash, 0, sizeof stubs.hash);
            stubs.used = 0;
            h = key * 2654435761u % STUB_HASH;
        }
        make(stubs.rw + stubs.used, &vops[vop], op, t, imm);
        stubs.hash[h].key = key;
        stubs.hash[h].off = stubs.used + 1;
        stubs.used += STUB_MAX;
    }
    return stubs.rx + stubs.hash[h].off - 1;
}

uint64_t jit_vop_run(unsigned vop, IrOp op, IrType t, uint8_t imm, void *d, const void *a,
                     const void *b, uint64_t i)
{
    typedef uint64_t Stub(void *, const void *, const void *, uint64_t);
    uint32_t key = vop << 16 | t << 8 | imm;
    uint64_t r;

    g_mutex_lock(&stubs.lock);
    r = ((Stub *)find(key, vop, op, t, imm))(d, a, b, i);
    g_mutex_unlock(&stubs.lock);
    return r;
}
