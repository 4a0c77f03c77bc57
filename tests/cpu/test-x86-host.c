/*
 * Integer instructions against the host CPU. For each form (opcode, operand kinds, prefixes) random
 * encodings and operands run natively and as guest code of the interpreter and the translator, in
 * 64-bit and in 32-bit code; registers, defined flags, memory and exceptions must agree.
 *
 * X86_HOST_ENC=n, X86_HOST_ROUNDS=n: encodings per form, cases per encoding. X86_HOST_SEED=n.
 * X86_HOST_ONLY=text: forms whose name contains it. X86_HOST_CPU=interp or jit.
 */
#include "tests/cpu/x86-guest.c.inc"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

/* ---- running on the host ---- */

/* All below 2 GiB: instructions reach it with absolute addresses in both modes. */
#define CODE 0x10000000
#define CODE_SIZE 0x200000
#define DATA 0x10200000
#define DATA_SIZE 0x1000
#define CTX_ADDR 0x10300000
#define LOW32_ADDR 0x10301000 /* 32-bit parts of the stubs */
#define WINDOW (DATA + 0x800) /* operands */
#define STACK (DATA + 0x600)

typedef struct Ctx {
    uint64_t in[16];   /* 0 */
    uint64_t flags_in; /* 80 */
    uint64_t target;   /* 88 */
    uint64_t out[16];  /* 90 */
    uint64_t flags_out; /* 110 */
    uint64_t host_rsp; /* 118 */
    uint64_t exit_no;  /* 120 */
    uint32_t far_off, far_sel; /* 128: to the 32-bit entry */
    uint64_t exit64[2]; /* 130, 138 */
    uint32_t exit32[2]; /* 140, 144 */
    uint64_t back;      /* 148 */
    uint8_t low_stack[256];
    int trap;
    uint32_t trap_err;
    uint64_t trap_rip;
    bool running;
} Ctx;
#define ctx ((Ctx *)CTX_ADDR)
G_STATIC_ASSERT(offsetof(Ctx, back) == 0x148);

asm(".pushsection .text\n"
    ".set C, 0x10300000\n"
    ".macro saved_push\n push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    ".endm\n"
    "native64:\n"
    "saved_push\n"
    "mov %rsp, C+0x118\n"
    "pushq C+0x80\n popfq\n"
    "mov C+0x00, %rax\n mov C+0x08, %rcx\n mov C+0x10, %rdx\n mov C+0x18, %rbx\n"
    "mov C+0x20, %rsp\n mov C+0x28, %rbp\n mov C+0x30, %rsi\n mov C+0x38, %rdi\n"
    "mov C+0x40, %r8\n mov C+0x48, %r9\n mov C+0x50, %r10\n mov C+0x58, %r11\n"
    "mov C+0x60, %r12\n mov C+0x68, %r13\n mov C+0x70, %r14\n mov C+0x78, %r15\n"
    "jmp *C+0x88\n"
    "exit64_2:\n"
    "movq $1, C+0x120\n"
    "exit64_1:\n"
    "mov %rax, C+0x90\n mov %rcx, C+0x98\n mov %rdx, C+0xa0\n mov %rbx, C+0xa8\n"
    "mov %rsp, C+0xb0\n mov %rbp, C+0xb8\n mov %rsi, C+0xc0\n mov %rdi, C+0xc8\n"
    "mov %r8, C+0xd0\n mov %r9, C+0xd8\n mov %r10, C+0xe0\n mov %r11, C+0xe8\n"
    "mov %r12, C+0xf0\n mov %r13, C+0xf8\n mov %r14, C+0x100\n mov %r15, C+0x108\n"
    "mov C+0x118, %rsp\n"
    "pushfq\n popq C+0x110\n"
    "native_back:\n" /* from faults and from 32-bit code, too */
    "mov C+0x118, %rsp\n"
    "xor %eax, %eax\n mov %eax, %ds\n mov %eax, %es\n"
    "cld\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
    "ret\n"
    "native32:\n"
    "saved_push\n"
    "mov %rsp, C+0x118\n"
    "mov $0x2b, %eax\n mov %eax, %ds\n mov %eax, %es\n"
    "ljmpl *C+0x128\n"
    ".code32\n"
    "low32:\n"
    "mov $(C+0x240), %esp\n"
    "pushl C+0x80\n popfl\n"
    "mov C+0x00, %eax\n mov C+0x08, %ecx\n mov C+0x10, %edx\n mov C+0x18, %ebx\n"
    "mov C+0x20, %esp\n mov C+0x28, %ebp\n mov C+0x30, %esi\n mov C+0x38, %edi\n"
    "jmp *C+0x88\n"
    "low32_exit2:\n"
    "movl $1, C+0x120\n"
    "low32_exit1:\n"
    "mov %eax, C+0x90\n mov %ecx, C+0x98\n mov %edx, C+0xa0\n mov %ebx, C+0xa8\n"
    "mov %esp, C+0xb0\n mov %ebp, C+0xb8\n mov %esi, C+0xc0\n mov %edi, C+0xc8\n"
    "mov $(C+0x240), %esp\n"
    "pushfl\n popl C+0x110\n"
    "ljmp $0x33, $0x10301800\n" /* jmp *ctx.back there */
    "low32_end:\n"
    ".code64\n"
    ".popsection\n");
extern const char native64[], native32[], exit64_1[], exit64_2[], native_back[];
extern const char low32[], low32_exit1[], low32_exit2[], low32_end[];

static void on_signal(int sig, siginfo_t *si, void *ucp)
{
    static const int map[16] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    };
    greg_t *r = ((ucontext_t *)ucp)->uc_mcontext.gregs;

    if (!ctx->running) {
        signal(sig, SIG_DFL);
        return;
    }
    for (unsigned i = 0; i < 16; i++) {
        ctx->out[i] = r[map[i]];
    }
    ctx->flags_out = r[REG_EFL];
    ctx->trap = r[REG_TRAPNO];
    ctx->trap_err = r[REG_ERR];
    ctx->trap_rip = r[REG_RIP];
    r[REG_RIP] = (uintptr_t)native_back;
    r[REG_EFL] = 0x202;
    r[REG_CSGSFS] = (r[REG_CSGSFS] & ~0xffffll) | 0x33;
}

static void map_at(uint64_t at, size_t size, int prot)
{
    void *p = mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    g_assert_true(p == (void *)at);
}

static void native_init(void)
{
    static const int sigs[] = {SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP};
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t ss = {.ss_sp = g_malloc(1 << 16), .ss_size = 1 << 16};
    uint8_t *low = (uint8_t *)LOW32_ADDR;
    uint32_t back = CTX_ADDR + offsetof(Ctx, back);

    map_at(CODE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    map_at(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
    map_at(CTX_ADDR, 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(low, low32, low32_end - low32);
    memcpy(low + 0x800, "\xff\x24\x25", 3);
    memcpy(low + 0x803, &back, 4);
    ctx->far_off = LOW32_ADDR;
    ctx->far_sel = 0x23;
    ctx->exit64[0] = (uintptr_t)exit64_1;
    ctx->exit64[1] = (uintptr_t)exit64_2;
    ctx->exit32[0] = LOW32_ADDR + (low32_exit1 - low32);
    ctx->exit32[1] = LOW32_ADDR + (low32_exit2 - low32);
    ctx->back = (uintptr_t)native_back;
    sigaltstack(&ss, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(sigs); i++) {
        sigaction(sigs[i], &sa, NULL);
    }
}

/* What a run leaves, of either kind. */
typedef struct Result {
    uint64_t gpr[16], rip, flags;
    int vec; /* X86G_END: reached one of the exits (rip says which) */
    uint32_t err;
} Result;

/* ---- forms ---- */

typedef enum {
    U_NONE,  /* all flags are defined */
    U_LOGIC, /* AF undefined */
    U_SHL,
    U_SHR,
    U_SAR,
    U_ROT,
    U_DBL,
    U_MUL,
    U_DIV,
    U_BT,
    U_SCAN,
    U_CNTZ, /* TZCNT, LZCNT */
    U_AAA,
    U_AAM,
    U_DAA,
} Undef;

enum {
    F_B = 1 << 0,     /* byte operand; else by prefixes */
    F_M = 1 << 1,     /* ModRM */
    F_MEM = 1 << 2,   /* memory only */
    F_REG = 1 << 3,   /* register only */
    F_I8 = 1 << 4,
    F_IZ = 1 << 5,    /* 2 or 4 bytes by operand size */
    F_IV = 1 << 6,    /* as wide as the operand (B8) */
    F_I16 = 1 << 7,
    F_LK = 1 << 8,  /* LOCK is allowed with memory */
    F_32 = 1 << 9,    /* not in 64-bit code */
    F_64 = 1 << 10,
    F_NO66 = 1 << 11, /* no operand size prefix */
    F_STACK = 1 << 12, /* rsp must point to the stack */
    F_STR = 1 << 13,  /* rsi, rdi to data; rcx small */
    F_REP = 1 << 14,  /* a repeat prefix now and then */
    F_BT = 1 << 15,   /* the register's bit offset must stay near */
    F_DIV = 1 << 16,  /* make quotients that fit likely */
    F_REL8 = 1 << 17, /* branch to the second exit */
    F_RELZ = 1 << 18,
    F_TGT = 1 << 19,  /* the operand is an exit's address */
    F_CMPX = 1 << 20, /* accumulator often equal to the operand */
    F_RET = 1 << 21,  /* an exit's address is on the stack */
    F_RBX = 1 << 22,  /* rbx points to data (XLAT) */
    F_RBP = 1 << 23,  /* rbp points to the stack */
    F_MOFFS = 1 << 24,
    F_R = 1 << 25,    /* register in the low bits of the opcode */
    F_NOW = 1 << 26,  /* no REX.W */
    F_POPF = 1 << 27, /* what is popped must be harmless flags */
    F_F3 = 1 << 28,   /* mandatory prefixes */
    F_F2 = 1 << 29,
    F_66 = 1 << 30,
    F_M16 = 1u << 31, /* m16 operand: memory has 2 bytes only in use */
};

typedef struct Spec {
    const char *name;
    uint8_t map, op;
    int8_t ext; /* ModRM.reg, or -1 */
    uint32_t f;
    Undef undef;
} Spec;

#include "tests/cpu/x86-forms.c.inc"

/* One encoding of a form. */
typedef struct Enc {
    const Spec *s;
    unsigned bits;
    uint8_t code[32];
    unsigned len;
    uint64_t at;
    uint8_t osz, asz;
    int8_t base, index; /* address registers, or -1 */
    uint8_t scale;
    int8_t reg, rm; /* operands; rm -1: memory */
    int64_t disp;
    int rep, imm;
} Enc;

static uint64_t rng;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned n)
{
    return (rnd() >> 33) % n;
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

static uint64_t rnd_val(void)
{
    static const uint64_t pool[] = {
        0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
        0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x99, 0x0f, 0x10,
        0xfffffffffffffffe, 31, 32, 33, 63, 64, 16, 8, 9, 17, 7, 15,
    };
    uint64_t v = rnd();

    switch (below(5)) {
    case 0:
        return pool[below(G_N_ELEMENTS(pool))];
    case 1:
        return v >> below(64);
    case 2:
        return (int64_t)v >> below(64);
    default:
        return v;
    }
}

static void put(Enc *e, uint64_t v, unsigned bytes)
{
    memcpy(e->code + e->len, &v, bytes);
    e->len += bytes;
}

static void encode_modrm(Enc *e, uint8_t *rex_bits)
{
    const Spec *s = e->s;
    unsigned regs = e->bits == 64 ? 16 : 8, mod, rm;

    e->reg = s->ext >= 0 ? s->ext : below(regs);
    *rex_bits = e->reg >> 3 << 2;
    if (s->f & F_REG || (!(s->f & F_MEM) && one_in(2))) {
        e->rm = below(regs);
        *rex_bits |= e->rm >> 3;
        put(e, 0xc0 | (e->reg & 7) << 3 | (e->rm & 7), 1);
        return;
    }
    e->rm = -1;
    if (e->asz == 2) { /* [disp16] cannot reach the data */
        g_assert_not_reached();
    }
    mod = below(3);
    e->base = below(regs);
    if (s->f & F_STACK && one_in(4)) {
        e->base = R_RSP;
    }
    rm = e->base & 7;
    *rex_bits |= e->base >> 3;
    if (one_in(8)) { /* no base */
        mod = 0;
        *rex_bits &= ~1;
        e->base = -1;
        if (e->bits == 32) {
            e->disp = WINDOW + below(32);
            put(e, (e->reg & 7) << 3 | 5, 1);
            put(e, e->disp, 4);
        } else if (one_in(2)) { /* [disp32] by SIB */
            put(e, (e->reg & 7) << 3 | 4, 1);
            e->disp = WINDOW + below(32);
            put(e, 0x25, 1);
            put(e, e->disp, 4);
        } else { /* relative to RIP: patched when the length is known */
            e->base = -2;
            put(e, (e->reg & 7) << 3 | 5, 1);
            e->disp = e->len;
            put(e, 0, 4);
        }
        return;
    }
    if (mod == 0 && rm == 5) {
        mod = 1;
    }
    if (rm == 4 || one_in(2)) {
        e->index = below(regs);
        if ((e->index & 7) == 4 && e->index < 8) {
            e->index = -1;
        }
        if (e->index == e->base) { /* the address would not be under control */
            e->index = -1;
        }
        e->scale = below(4);
        *rex_bits |= e->index >= 0 ? e->index >> 3 << 1 : 0;
        put(e, mod << 6 | (e->reg & 7) << 3 | 4, 1);
        put(e, e->scale << 6 | (e->index >= 0 ? e->index & 7 : 4) << 3 | rm, 1);
    } else {
        put(e, mod << 6 | (e->reg & 7) << 3 | rm, 1);
    }
    if (mod == 1) {
        e->disp = (int8_t)rnd();
        put(e, e->disp, 1);
    } else if (mod == 2) {
        e->disp = (int32_t)(rnd() % 0x100000) - 0x80000;
        if (e->base == R_RSP) { /* it may be used as stack pointer, too */
            e->disp &= 0x3f;
        }
        put(e, e->disp, 4);
    }
}

/* Immediates and branch distances. */
static void encode_imm(Enc *e)
{
    uint32_t f = e->s->f;
    unsigned z = e->osz == 2 ? 2 : 4;

    if (f & F_I16) {
        e->imm = below(64);
        put(e, e->imm, 2);
    }
    if (f & F_I8) {
        e->imm = one_in(2) ? rnd() & 0xff : below(70);
        if (f & F_RBP && f & F_I16) {
            e->imm = below(6);
        }
        put(e, e->imm, 1);
    }
    if (f & F_IZ) {
        put(e, rnd_val(), f & F_B ? 1 : z);
    }
    if (f & F_IV) {
        put(e, rnd_val(), f & F_B ? 1 : e->osz);
    }
    if (f & F_MOFFS) {
        put(e, WINDOW + below(64), e->asz);
    }
    if (f & F_REL8) {
        put(e, 8, 1);
    }
    if (f & F_RELZ) {
        put(e, 8, 4);
    }
}

/* A random encoding of @s for code of @bits at @at. */
static Enc encode(const Spec *s, unsigned bits, uint64_t at)
{
    Enc e = {.s = s, .bits = bits, .at = at, .base = -1, .index = -1, .reg = -1, .rm = -1};
    uint32_t f = s->f;
    bool p66 = f & F_66 || (!(f & (F_NO66 | F_B)) && one_in(4)), w, want_rex;
    uint8_t rex_bits = 0;
    unsigned rex_at, n;
    bool lock;

    w = bits == 64 && !(f & (F_NOW | F_B)) && one_in(3);
    e.osz = f & F_B ? 1 : w ? 8 : p66 ? 2 : 4;
    e.asz = bits == 64 ? 8 : 4;
    if (p66) {
        put(&e, 0x66, 1);
    }
    if (bits == 64 && one_in(12) && !(f & F_MOFFS)) {
        e.asz = 4;
        put(&e, 0x67, 1);
    }
    if (f & F_REP && one_in(2)) {
        e.rep = one_in(2) ? 0xf3 : 0xf2;
        put(&e, e.rep, 1);
    }
    if (f & F_F3) {
        put(&e, 0xf3, 1);
    }
    if (f & F_F2) {
        put(&e, 0xf2, 1);
    }
    lock = f & F_LK ? one_in(3) : one_in(64);
    if (lock && !(f & (F_STR | F_F2 | F_F3))) {
        put(&e, 0xf0, 1);
    }
    rex_at = e.len;
    if (bits == 64) {
        e.len++;
    }
    if (s->map) {
        put(&e, 0x0f, 1);
    }
    if (s->map == 2) {
        put(&e, 0x38, 1);
    }
    if (f & F_R) {
        e.reg = below(bits == 64 ? 16 : 8);
        rex_bits = e.reg >> 3;
        put(&e, s->op | (e.reg & 7), 1);
    } else {
        put(&e, s->op, 1);
    }
    if (f & F_M) {
        encode_modrm(&e, &rex_bits);
    }
    encode_imm(&e);
    want_rex = w || rex_bits || one_in(6);
    if (bits == 64) {
        if (want_rex) {
            e.code[rex_at] = 0x40 | w << 3 | rex_bits;
        } else {
            memmove(e.code + rex_at, e.code + rex_at + 1, e.len - rex_at - 1);
            e.len--;
            e.disp -= e.base == -2;
        }
    }
    if (e.base == -2) { /* relative to RIP */
        uint32_t rel;

        n = e.disp;
        e.disp = WINDOW + below(32);
        rel = e.disp - (at + e.len);
        memcpy(e.code + n, &rel, 4);
        e.base = -1;
    }
    return e;
}

static uint64_t exit_addr(const Enc *e, unsigned n)
{
    return e->at + e->len + n * 8;
}

/* ---- inputs ---- */

enum { RANDOM_FLAGS = EF_ARITH };

static void mem_set(uint64_t at, uint64_t v, unsigned bytes)
{
    memcpy((void *)at, &v, bytes);
}

static uint64_t operand_addr(const Enc *e, const uint64_t *r)
{
    uint64_t a = e->disp;

    a += e->base >= 0 ? r[e->base] : 0;
    a += e->index >= 0 ? r[e->index] << e->scale : 0;
    return e->asz == 8 ? a : (uint32_t)a;
}

static void make_input(const Enc *e, uint64_t *r, uint64_t *flags)
{
    uint32_t f = e->s->f;
    unsigned bytes = e->osz;

    for (unsigned i = 0; i < 16; i++) {
        r[i] = rnd_val();
    }
    for (unsigned i = 0; i < 16; i++) {
        mem_set(WINDOW + below(32) * 8, rnd_val(), 8);
    }
    *flags = 0x202 | (rnd() & RANDOM_FLAGS);
    r[R_RSP] = STACK + below(16) * 8;
    if (f & F_STR) {
        r[R_RSI] = WINDOW + below(128);
        r[R_RDI] = WINDOW + below(128);
        r[R_RCX] = below(24);
        if (one_in(2)) {
            *flags |= EF_DF;
        }
        if (one_in(2)) { /* equal stretches for CMPS and SCAS */
            memset((void *)(DATA + 0x800), 0x55, 0x100);
            r[R_RAX] = 0x5555555555555555;
            mem_set(WINDOW + below(128), 0x54, 1);
        }
    }
    if (f & F_RBX) {
        r[R_RBX] = WINDOW;
    }
    if (f & F_RBP) {
        r[R_RBP] = STACK + 0x40;
    }
    if (f & F_DIV && one_in(2)) {
        r[R_RDX] = one_in(2) ? 0 : below(1000);
        if (one_in(3)) {
            r[R_RDX] = -1;
        }
        if (bytes == 1) {
            r[R_RAX] = (int16_t)rnd() >> below(12);
        }
    }
    if (f & F_BT && e->rm < 0) {
        r[e->reg] = (int)below(2048) - 1024;
        if (bytes == 2) {
            r[e->reg] = (r[e->reg] & 0xffff) | (rnd() << 16);
        } else if (bytes == 4) {
            r[e->reg] = (uint32_t)r[e->reg] | rnd() << 32;
        }
    }
    /* The memory operand's address, after all else: it must be in the window. */
    if (e->index >= 0) {
        r[e->index] = below(16);
        if (f & F_BT && e->index == e->reg) {
            r[e->index] = below(16);
        }
    }
    if (e->base >= 0) {
        uint64_t off = e->disp + (e->index >= 0 ? r[e->index] << e->scale : 0);

        r[e->base] = WINDOW + below(64) - off;
        if (f & F_BT && e->base == e->reg) { /* its value is a bit offset, too: too far */
            r[e->base] = WINDOW - off;
        }
    }
    if (f & F_TGT) {
        uint64_t to = exit_addr(e, below(2));

        if (e->rm >= 0) {
            r[e->rm] = to;
        } else {
            mem_set(operand_addr(e, r), to, 8);
        }
    }
    if (f & F_RET) {
        mem_set(r[R_RSP], exit_addr(e, below(2)), e->bits / 8);
    }
    if (f & F_POPF) {
        mem_set(r[R_RSP], (rnd() & (EF_ARITH | EF_DF | EF_ID | EF_IF | EF_IOPL | 0x28)) | 2, 8);
    }
    if (f & F_CMPX && one_in(2)) {
        uint64_t v = 0;

        if (e->rm < 0) {
            memcpy(&v, (void *)operand_addr(e, r), 8);
        } else {
            v = r[e->rm];
        }
        if (e->base != R_RAX && e->index != R_RAX) {
            r[R_RAX] = v;
        }
        if (e->s->op == 0xc7 && e->base != R_RDX && e->index != R_RDX) {
            if (e->osz == 8) {
                memcpy(&r[R_RDX], (void *)(operand_addr(e, r) + 8), 8);
            } else {
                r[R_RDX] = v >> 32;
            }
        }
    }
    if (e->bits == 32) {
        for (unsigned i = 0; i < 16; i++) {
            r[i] = i < 8 ? (uint32_t)r[i] : 0;
        }
    }
}

/* Is this case one whose outcome the manual leaves open, or that would go astray? */
static bool skip_case(const Enc *e, const uint64_t *r)
{
    uint32_t f = e->s->f;

    if (f & F_BT && e->rm < 0 && (e->base == e->reg || e->index == e->reg)) {
        return true;
    }
    if (f & F_TGT && f & F_STACK && e->rm == R_RSP) { /* would push into the code */
        return true;
    }
    if (e->s->undef == U_DBL && e->osz == 2) {
        unsigned n = (e->s->op & 1 ? r[R_RCX] : e->imm) & 31;

        return n > 16;
    }
    return false;
}

/* Flags that the manual leaves undefined in this case. */
static uint32_t undefined_flags(const Enc *e, const uint64_t *r)
{
    unsigned w = e->osz * 8, n, masked;
    bool by_cl = e->s->map == 0 ? e->s->op >= 0xd2 : e->s->op & 1;
    bool by_1 = e->s->map == 0 && (e->s->op & 0xfe) == 0xd0;

    n = by_1 ? 1 : by_cl ? r[R_RCX] & 0xff : e->imm & 0xff;
    masked = n & (w == 64 ? 63 : 31);
    switch (e->s->undef) {
    case U_NONE:
        return 0;
    case U_LOGIC:
        return EF_AF;
    case U_SHL:
    case U_SHR:
    case U_SAR:
        return masked == 0 ? 0
                           : EF_AF | (masked != 1 ? EF_OF : 0) |
                                 (masked >= w && e->s->undef != U_SAR ? EF_CF : 0);
    case U_ROT:
        return masked > 1 ? EF_OF : 0;
    case U_DBL:
        return masked == 0 ? 0 : EF_AF | (masked != 1 ? EF_OF : 0);
    case U_MUL:
        return EF_SF | EF_ZF | EF_AF | EF_PF;
    case U_DIV:
        return EF_ARITH;
    case U_BT:
        return EF_OF | EF_SF | EF_AF | EF_PF;
    case U_SCAN:
        return EF_CF | EF_OF | EF_SF | EF_AF | EF_PF;
    case U_CNTZ:
        return EF_OF | EF_SF | EF_AF | EF_PF;
    case U_AAA:
        return EF_OF | EF_SF | EF_ZF | EF_PF;
    case U_AAM:
        return EF_OF | EF_AF | EF_CF;
    default:
        return EF_OF;
    }
}

/* ---- running both ---- */

static Result run_native(const Enc *e, const uint64_t *r, uint64_t flags)
{
    uint32_t go[2] = {CTX_ADDR + offsetof(Ctx, exit64[0]), CTX_ADDR + offsetof(Ctx, exit64[1])};
    uint8_t *p = (uint8_t *)e->at;
    Result out = {.vec = X86G_END};
    unsigned n = e->len;

    memcpy(p, e->code, n);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t to = e->bits == 64 ? go[i] : CTX_ADDR + offsetof(Ctx, exit32) + 4 * i;

        memcpy(p + n + i * 8, e->bits == 64 ? "\xff\x24\x25" : "\x90\xff\x25", 3);
        memcpy(p + n + i * 8 + 3, &to, 4);
    }
    memcpy(ctx->in, r, sizeof ctx->in);
    memset(ctx->out, 0, sizeof ctx->out);
    ctx->flags_in = flags;
    ctx->flags_out = 0;
    ctx->target = e->at;
    ctx->exit_no = 0;
    ctx->trap = -1;
    ctx->running = true;
    ((void (*)(void))(e->bits == 64 ? native64 : native32))();
    ctx->running = false;
    memcpy(out.gpr, ctx->out, sizeof out.gpr);
    out.flags = ctx->flags_out;
    out.rip = exit_addr(e, ctx->exit_no);
    if (ctx->trap >= 0) {
        out.vec = ctx->trap;
        out.err = ctx->trap_err;
        out.rip = ctx->trap_rip;
    }
    return out;
}

static Result run_guest(X86Guest *g, const Enc *e, const uint64_t *r, uint64_t flags)
{
    X86GState s = {.rip = e->at, .rflags = flags};
    Result out;

    memcpy(s.gpr, r, sizeof s.gpr);
    x86g_run(g, e->bits, &s);
    memcpy(out.gpr, s.gpr, sizeof out.gpr);
    out.vec = s.vec;
    out.err = s.err;
    out.flags = s.rflags;
    out.rip = s.vec == X86G_END ? s.rip - 2 : s.rip;
    return out;
}

static X86Guest *guest;
static unsigned n_forms, n_cases, n_failed;

static char *hex(const Enc *e)
{
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < e->len; i++) {
        g_string_append_printf(s, "%02x ", e->code[i]);
    }
    return g_string_free(s, FALSE);
}

static void report(const Enc *e, const uint64_t *r, uint64_t flags, const Result *want,
                   const Result *got, uint32_t mask)
{
    static const char *names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    g_autofree char *code = hex(e);

    n_failed++;
    if (n_failed > 40) {
        return;
    }
    printf("# %s, %u bits: %s\n", e->s->name, e->bits, code);
    printf("#   flags in %lx, host %lx, guest %lx, compared %x\n", flags, want->flags, got->flags,
           mask);
    printf("#   vector host %d (%x), guest %d (%x); rip host %lx, guest %lx (code at %lx)\n",
           want->vec, want->err, got->vec, got->err, want->rip, got->rip, e->at);
    for (unsigned i = 0; i < 16; i++) {
        if (want->gpr[i] != got->gpr[i] || (int)i == e->reg || (int)i == e->rm || i < 3 ||
            (int)i == e->base) {
            printf("#   %s in %lx, host %lx, guest %lx%s\n", names[i], r[i], want->gpr[i],
                   got->gpr[i], want->gpr[i] != got->gpr[i] ? "  <-" : "");
        }
    }
    for (unsigned i = 0; i < DATA_SIZE; i++) {
        if (((uint8_t *)DATA)[i] != x86g_ram(guest)[DATA + i]) {
            printf("#   memory at %x: host %02x, guest %02x\n", DATA + i, ((uint8_t *)DATA)[i],
                   x86g_ram(guest)[DATA + i]);
            break;
        }
    }
}

static void run_case(const Enc *e)
{
    uint32_t mask = EF_ARITH | EF_DF | EF_ID | EF_IF;
    uint64_t r[16], flags;
    uint8_t *mem = x86g_ram(guest) + DATA;
    Result want, got;
    bool same;

    make_input(e, r, &flags);
    if (skip_case(e, r)) {
        return;
    }
    memcpy(mem, (void *)DATA, DATA_SIZE);
    want = run_native(e, r, flags);
    got = run_guest(guest, e, r, flags);
    n_cases++;
    if (want.vec == X86G_END) {
        mask &= ~undefined_flags(e, r);
    } else if (want.vec == 0) {
        mask &= ~EF_ARITH;
    }
    if (e->bits == 32) {
        for (unsigned i = 8; i < 16; i++) {
            want.gpr[i] = got.gpr[i] = 0;
        }
        for (unsigned i = 0; i < 8; i++) {
            want.gpr[i] = (uint32_t)want.gpr[i];
            got.gpr[i] = (uint32_t)got.gpr[i];
        }
    }
    same = want.vec == got.vec && !((want.flags ^ got.flags) & mask) &&
           !memcmp(want.gpr, got.gpr, sizeof want.gpr) && want.rip == got.rip &&
           !memcmp(mem, (void *)DATA, DATA_SIZE);
    if (!same) {
        report(e, r, flags, &want, &got, mask);
        memcpy((void *)DATA, mem, DATA_SIZE);
    }
}

static unsigned env_number(const char *name, unsigned normal)
{
    const char *s = g_getenv(name);

    return s ? strtoul(s, NULL, 0) : normal;
}

static void run_forms(unsigned bits, const char *opts)
{
    unsigned encodings = env_number("X86_HOST_ENC", 24), rounds = env_number("X86_HOST_ROUNDS", 10);
    const char *only = g_getenv("X86_HOST_ONLY");
    uint64_t at = CODE;

    rng = env_number("X86_HOST_SEED", 1) * 0x9e3779b97f4a7c15ull + bits;
    guest = x86g_new(opts);
    add_features(x86g_cpu(guest));
    n_forms = n_cases = n_failed = 0;
    for (unsigned i = 0; i < n_specs; i++) {
        const Spec *s = &specs[i];

        if (s->f & (bits == 64 ? F_32 : F_64) || (only && !strstr(s->name, only))) {
            continue;
        }
        n_forms++;
        for (unsigned j = 0; j < encodings; j++) {
            Enc e = encode(s, bits, at);
            g_autofree char *code = g_test_verbose() ? hex(&e) : NULL;

            g_assert_cmpuint(at + 64, <, CODE + CODE_SIZE);
            memcpy(x86g_ram(guest) + at, e.code, e.len);
            memcpy(x86g_ram(guest) + exit_addr(&e, 0), "\xcd\x81\x90\x90\x90\x90\x90\x90\xcd\x81", 10);
            at += 48;
            if (code) {
                printf("# %s: %s\n", s->name, code);
                fflush(stdout);
            }
            for (unsigned k = 0; k < rounds; k++) {
                run_case(&e);
            }
        }
    }
    printf("# %s, %u bits: %u forms, %u cases, %u differ\n", opts, bits, n_forms, n_cases, n_failed);
    x86g_free(guest);
    g_assert_cmpuint(n_failed, ==, 0);
}

static void test_64(gconstpointer opts)
{
    run_forms(64, opts);
}

static void test_32(gconstpointer opts)
{
    run_forms(32, opts);
}

int main(int argc, char **argv)
{
    const char *cpu = g_getenv("X86_HOST_CPU");

    g_test_init(&argc, &argv, NULL);
    native_init();
    make_specs();
    if (!cpu || !strcmp(cpu, "interp")) {
        g_test_add_data_func("/x86-host/interp/64", "mode=interp", test_64);
        g_test_add_data_func("/x86-host/interp/32", "mode=interp", test_32);
    }
    if (!cpu || !strcmp(cpu, "jit")) {
        g_test_add_data_func("/x86-host/jit/64", "mode=jit", test_64);
        g_test_add_data_func("/x86-host/jit/32", "mode=jit", test_32);
    }
    return g_test_run();
}
