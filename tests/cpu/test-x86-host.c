/*
 * Integer instructions against the host CPU. For each form (opcode, operand kinds, prefixes) random
 * encodings and operands run natively and as guest code of the interpreter and the translator, in
 * 64-bit and in 32-bit code; registers, defined flags, memory and exceptions must agree.
 *
 * X86_HOST_ENC=n, X86_HOST_ROUNDS=n: encodings per form, cases per encoding. X86_HOST_SEED=n.
 * X86_HOST_ONLY=text: forms whose name contains it. X86_HOST_CPU=interp or jit.
 */
#include "tests/cpu/x86-host.c.inc"

static void run_case(const Enc *e)
{
    uint64_t r[16], flags;

    make_input(e, r, &flags);
    if (!skip_case(e, r)) {
        compare_runs(e, r, flags, EF_ARITH | EF_DF | EF_ID | EF_IF);
    }
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
            Enc e = encode(s, bits, at, false);
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
