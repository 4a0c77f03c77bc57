/*
 * Sequences of integer instructions against the host CPU: flags that one leaves and a later one
 * reads, registers that several write, and exceptions in between, at which registers and flags
 * must be those of the instruction's start.
 *
 * X86_HOST_ENC=n, X86_HOST_ROUNDS=n: sequences, cases per sequence. X86_HOST_SEED=n.
 * X86_HOST_CPU=interp or jit.
 */
#include "tests/cpu/x86-host.c.inc"

enum { SLOT = 192, MAX_CODE = 120 };

static uint32_t cond_reads(unsigned cc)
{
    static const uint16_t reads[8] = {
        EF_OF, EF_CF, EF_ZF, EF_CF | EF_ZF, EF_SF, EF_PF, EF_SF | EF_OF, EF_SF | EF_OF | EF_ZF,
    };

    return reads[cc >> 1 & 7];
}

static bool is_shift(const Spec *s)
{
    return s->map == 0 && ((s->op & 0xfe) == 0xc0 || (s->op & 0xfc) == 0xd0);
}

static bool is_alu(const Spec *s, unsigned *op)
{
    if (s->map == 0 && s->op < 0x40 && (s->op & 7) < 6) {
        *op = s->op >> 3;
        return true;
    }
    if (s->map == 0 && s->op >= 0x80 && s->op <= 0x83) {
        *op = s->ext;
        return true;
    }
    return false;
}

/* Flags whose old value matters to the result. */
static uint32_t reads(const Spec *s)
{
    unsigned op;

    if (is_alu(s, &op)) {
        return op == 2 || op == 3 ? EF_CF : 0;
    }
    if (is_shift(s)) {
        return s->ext == 2 || s->ext == 3 ? EF_CF : 0;
    }
    if (s->map == 1 && ((s->op & 0xf0) == 0x40 || (s->op & 0xf0) == 0x90)) {
        return cond_reads(s->op);
    }
    if (s->map == 0 && s->op == 0x9f) {
        return EF_ARITH & ~EF_OF;
    }
    if (s->map == 0 && (s->op == 0xf5 || s->op == 0xd6)) {
        return EF_CF;
    }
    if (s->map == 2 && s->op == 0xf6) {
        return s->f & F_66 ? EF_CF : EF_OF;
    }
    if (s->map == 0 && s->f & F_32 && (s->op & 0xe7) == 0x27) { /* DAA… */
        return EF_CF | EF_AF;
    }
    return 0;
}

/* Flags that are surely written, defined or not. */
static uint32_t writes(const Enc *e)
{
    const Spec *s = e->s;
    unsigned op;

    if (is_alu(s, &op) || s->undef == U_MUL || s->undef == U_SCAN || s->undef == U_CNTZ ||
        s->undef == U_BMI || s->undef == U_BEXTR) {
        return EF_ARITH;
    }
    if (is_shift(s) || s->undef == U_DBL) {
        bool by_cl = s->map == 0 ? s->op >= 0xd2 : s->op & 1;
        unsigned n = s->map == 0 && (s->op & 0xfe) == 0xd0 ? 1 : e->imm;

        if (by_cl || (n & (e->osz == 8 ? 63 : 31)) == 0) {
            return 0;
        }
        return s->undef == U_ROT ? EF_CF | EF_OF : EF_ARITH;
    }
    if (s->undef == U_BT) {
        return EF_ARITH & ~EF_ZF;
    }
    if (s->map == 0) {
        switch (s->op) {
        case 0x84:
        case 0x85:
        case 0xa8:
        case 0xa9:
            return EF_ARITH;
        case 0xf6:
        case 0xf7:
            return s->ext == 2 ? 0 : EF_ARITH;
        case 0xfe:
        case 0xff:
        case 0x40:
        case 0x48:
            return EF_ARITH & ~EF_CF;
        case 0x9e:
            return EF_ARITH & ~EF_OF;
        case 0xf8:
        case 0xf9:
            return EF_CF;
        default:
            return 0;
        }
    }
    if (s->map == 1 && (s->op == 0xb8 || (s->op & 0xee) == 0xc0 || (s->op & 0xfe) == 0xb0)) {
        return s->op == 0xc8 ? 0 : EF_ARITH;
    }
    return 0;
}

/* Flags that may be undefined afterwards, whatever the operands. */
static uint32_t may_undefine(const Enc *e)
{
    uint64_t r[16] = {0};
    uint32_t u = 0;

    for (unsigned n = 0; n < 64; n++) {
        r[R_RCX] = n;
        u |= undefined_flags(e, r);
    }
    return u;
}

static bool fits(const Spec *s, unsigned bits)
{
    const uint32_t no = F_STACK | F_STR | F_REL8 | F_RELZ | F_TGT | F_RET | F_POPF | F_DIV |
                        F_MOFFS | F_RBX | F_RBP | F_BT | F_MEM;

    return !(s->f & no) && !(s->f & (bits == 64 ? F_32 : F_64)) && s->undef != U_TRAP &&
           strcmp(s->name, "arpl") && strcmp(s->name, "bswap") &&
           s->undef != U_AAM; /* AAM 0 faults */
}

/* An access to what is mapped nowhere. */
static void put_fault(Enc *e)
{
    static const uint8_t ops[] = {0x8b, 0x89, 0x01, 0x03, 0xf7, 0x21, 0x39, 0x87, 0x11};

    put(e, ops[below(G_N_ELEMENTS(ops))], 1);
    if (e->bits == 64) {
        put(e, 0x1c, 1);
        put(e, 0x25, 1);
    } else {
        put(e, 0x1d, 1);
    }
    put(e, 0x7fff0000, 4);
}

/* A sequence; *undef: flags that are undefined at its end. */
static Enc make_seq(const Spec *name, unsigned bits, uint64_t at, uint32_t *undef)
{
    Enc q = {.s = name,
             .bits = bits,
             .at = at,
             .base = -1,
             .index = -1,
             .reg = -1,
             .rm = -1,
             .asz = bits == 64 ? 8 : 4,
             .osz = 4};
    unsigned n = 2 + below(10), fault = one_in(3) ? below(n) : n;

    *undef = 0;
    for (unsigned i = 0; i < n && q.len < MAX_CODE; i++) {
        const Spec *s = &specs[below(n_specs)];
        uint32_t now;
        Enc e;

        if (i == fault) {
            put_fault(&q);
            break;
        }
        /* Prefer what reads and writes flags. */
        if (!fits(s, bits) || reads(s) & *undef || (!reads(s) && one_in(3))) {
            i--;
            continue;
        }
        e = encode(s, bits, at + q.len, true);
        if (s->undef == U_DBL && e.osz == 2) { /* the result may be undefined */
            i--;
            continue;
        }
        memcpy(q.code + q.len, e.code, e.len);
        q.len += e.len;
        now = may_undefine(&e);
        *undef = (*undef & ~writes(&e)) | now;
    }
    return q;
}

static void seq_input(const Enc *e, uint64_t *r, uint64_t *flags)
{
    for (unsigned i = 0; i < 16; i++) {
        r[i] = rnd_val();
        mem_set(WINDOW + i * 8, rnd_val(), 8);
    }
    r[R_RSP] = STACK;
    r[SEQ_BASE(e->bits)] = WINDOW;
    *flags = 0x202 | (rnd() & RANDOM_FLAGS);
    for (unsigned i = 0; e->bits == 32 && i < 16; i++) {
        r[i] = i < 8 ? (uint32_t)r[i] : 0;
    }
}

static void run_seqs(unsigned bits, const char *opts)
{
    static const Spec name = {"sequence", 0, 0, -1, 0, U_NONE};
    unsigned n = env_number("X86_HOST_ENC", 5000), rounds = env_number("X86_HOST_ROUNDS", 6);
    uint64_t at = CODE;

    rng = env_number("X86_HOST_SEED", 1) * 0x9e3779b97f4a7c15ull + bits;
    guest = x86g_new(opts);
    add_features(x86g_cpu(guest));
    n_cases = n_failed = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t r[16], flags;
        uint32_t undef;
        Enc e;

        if (at + SLOT > CODE + CODE_SIZE) { /* all used: another CPU */
            x86g_free(guest);
            guest = x86g_new(opts);
            add_features(x86g_cpu(guest));
            at = CODE;
        }
        e = make_seq(&name, bits, at, &undef);

        memcpy(x86g_ram(guest) + at, e.code, e.len);
        memcpy(x86g_ram(guest) + exit_addr(&e, 0), "\xcd\x81", 2);
        at += SLOT;
        if (g_test_verbose()) {
            g_autofree char *code = hex(&e);

            printf("# %s\n", code);
            fflush(stdout);
        }
        for (unsigned k = 0; k < rounds; k++) {
            seq_input(&e, r, &flags);
            compare_runs(&e, r, flags, EF_ARITH & ~undef);
        }
    }
    printf("# %s, %u bits: %u sequences, %u cases, %u differ\n", opts, bits, n, n_cases, n_failed);
    x86g_free(guest);
    g_assert_cmpuint(n_failed, ==, 0);
}

static void test_64(gconstpointer opts)
{
    run_seqs(64, opts);
}

static void test_32(gconstpointer opts)
{
    run_seqs(32, opts);
}

int main(int argc, char **argv)
{
    const char *cpu = g_getenv("X86_HOST_CPU");

    g_test_init(&argc, &argv, NULL);
    native_init();
    make_specs();
    if (!cpu || !strcmp(cpu, "interp")) {
        g_test_add_data_func("/x86-seq/interp/64", "mode=interp", test_64);
        g_test_add_data_func("/x86-seq/interp/32", "mode=interp", test_32);
    }
    if (!cpu || !strcmp(cpu, "jit")) {
        g_test_add_data_func("/x86-seq/jit/64", "mode=jit", test_64);
        g_test_add_data_func("/x86-seq/jit/32", "mode=jit", test_32);
    }
    return g_test_run();
}
