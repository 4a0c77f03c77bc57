/*
 * Integer instructions against the host CPU. For each form (opcode, operand kinds, prefixes) random
 * encodings and operands run natively and as guest code of the interpreter and the translator, in
 * 64-bit and in 32-bit code; registers, defined flags, memory and exceptions must agree.
 *
 * X86_HOST_ENC=n, X86_HOST_ROUNDS=n: encodings per form, cases per encoding. X86_HOST_SEED=n.
 * X86_HOST_ONLY=text: forms whose name contains it. X86_HOST_CPU=interp or jit.
 */
#include "tests/cpu/x86-host.c.inc"

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

static void run_case(const Enc *e)
{
    uint64_t r[16], flags;

    make_input(e, r, &flags);
    if (!skip_case(e, r)) {
        compare_runs(e, r, flags, EF_ARITH | EF_DF | EF_ID | EF_IF);
    }
}

static unsigned n_forms;

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
            Enc e = encode(s, bits, at, false);
            g_autofree char *code = g_test_verbose() ? hex(&e) : NULL;

            g_assert_cmpuint(at + 64, <, CODE + CODE_SIZE);
            memcpy(x86g_ram(guest) + at, e.code, e.len);
            memcpy(x86g_ram(guest) + exit_addr(&e, 0), "\xcd\x81\x90\x90\x90\x90\x90\x90\xcd\x81",
                   10);
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
    printf("# %s, %u bits: %u forms, %u cases, %u differ\n", opts, bits, n_forms, n_cases,
           n_failed);
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
