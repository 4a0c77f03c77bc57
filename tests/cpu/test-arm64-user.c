/*
 * A64 instructions against another implementation: random instructions of each encoding class with
 * random registers, flags, FP control and memory run here (interpreted and translated) and in an
 * AArch64 Linux program under qemu-aarch64, a separate program. Everything must be the same
 * afterwards: registers, NZCV, FPSR, memory, or that the instruction is undefined.
 */
#include "accel/jit/jit.h"
#include "core/machine.h"
#include "target/arm64/arm64.h"
#include "target/arm64/cpu.h"
#include "tests/cpu/arm64-record.h"
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

enum { RAM_SIZE = 1 << 20, CODE = 0x40000000, VECTORS = 0x40010000 };

/* An encoding class: fixed bits, the rest is random. Register fields avoid x28…x30. */
typedef struct Class {
    const char *name;
    uint32_t value, mask; /* bits that are fixed */
    uint8_t kind;
} Class;
enum { ALU, MEM_BASE, FP };

static const Class classes[] = {
    {"add/sub immediate", 0x11000000, 0x1f800000, ALU},
    {"logical immediate", 0x12000000, 0x1f800000, ALU},
    {"move wide", 0x12800000, 0x1f800000, ALU},
    {"bitfield", 0x13000000, 0x1f800000, ALU},
    {"extract", 0x13800000, 0x1f800000, ALU},
    {"logical register", 0x0a000000, 0x1f000000, ALU},
    {"add/sub register", 0x0b000000, 0x1f000000, ALU},
    {"add/sub with carry", 0x1a000000, 0x1fe0fc00, ALU},
    {"flags", 0x1a000400, 0x1fe07c00, ALU},
    {"setf", 0x3a00080d, 0xffffbc1f, ALU},
    {"conditional compare", 0x1a400000, 0x1fe00000, ALU},
    {"conditional select", 0x1a800000, 0x1fe00000, ALU},
    {"two sources", 0x1ac00000, 0x7fe0c000, ALU},
    {"one source", 0x5ac00000, 0x7ffff000, ALU},
    {"three sources", 0x1b000000, 0x1f000000, ALU},
    {"load/store unsigned", 0x39000000, 0x3b000000, MEM_BASE},
    {"load/store imm9", 0x38000000, 0x3b200000, MEM_BASE},
    {"pairs", 0x28000000, 0x3a000000, MEM_BASE},
    {"LSE atomics", 0x38200000, 0x3f200c00, MEM_BASE},
    {"compare and swap", 0x08a07c00, 0x3fa07c00, MEM_BASE},
    {"ordered", 0x08808000, 0x3fa08000, MEM_BASE},
    {"SIMD multiple structures", 0x0c000000, 0xbfbf0000, MEM_BASE},
    {"SIMD single structure", 0x0d000000, 0xbf9f0000, MEM_BASE},
    {"SIMD structures, post-index", 0x0c9f0000, 0xbe9f0000, MEM_BASE},
    {"FP fixed point", 0x1e000000, 0x5f200000, FP},
    {"FP integer", 0x1e200000, 0x5f20fc00, FP},
    {"FP one source", 0x1e204000, 0xff207c00, FP},
    {"FP compare", 0x1e202000, 0xff20fc07, FP},
    {"FP immediate", 0x1e201000, 0xff201fe0, FP},
    {"FP conditional compare", 0x1e200400, 0xff200c00, FP},
    {"FP two sources", 0x1e200800, 0xff200c00, FP},
    {"FP select", 0x1e200c00, 0xff200c00, FP},
    {"FP three sources", 0x1f000000, 0xff000000, FP},
    {"SIMD three same", 0x0e200400, 0x9f200400, FP},
    {"SIMD three same, scalar", 0x5e200400, 0xdf200400, FP},
    {"SIMD three different", 0x0e200000, 0x9f200c00, FP},
    {"SIMD three different, scalar", 0x5e200000, 0xdf200c00, FP},
    {"SIMD three extra", 0x0e008400, 0x9f208400, FP},
    {"SIMD three extra, scalar", 0x5e008400, 0xdf208400, FP},
    {"SIMD two registers", 0x0e200800, 0x9f3e0c00, FP},
    {"SIMD two registers, scalar", 0x5e200800, 0xdf3e0c00, FP},
    {"SIMD across lanes", 0x0e300800, 0x9f3e0c00, FP},
    {"SIMD pairwise, scalar", 0x5e300800, 0xdf3e0c00, FP},
    {"SIMD by element", 0x0f000000, 0x9f000400, FP},
    {"SIMD by element, scalar", 0x5f000000, 0xdf000400, FP},
    {"SIMD shift", 0x0f000400, 0x9f800400, FP},
    {"SIMD shift, scalar", 0x5f000400, 0xdf800400, FP},
    {"SIMD immediate", 0x0f000400, 0x9ff80c00, FP},
    {"SIMD copy", 0x0e000400, 0x9fe08400, FP},
    {"SIMD copy, scalar", 0x5e000400, 0xdfe08400, FP},
    {"SIMD table", 0x0e000000, 0xbfe08c00, FP},
    {"SIMD permute", 0x0e000800, 0xbf208c00, FP},
    {"SIMD extract", 0x2e000000, 0xbfe08400, FP},
    {"AES", 0x4e280800, 0xffff8c00, FP},
    {"SHA three", 0x5e000000, 0xffe08c00, FP},
    {"SHA two", 0x5e280800, 0xffffcc00, FP},
    {"SHA512", 0xce608000, 0xffe0f000, FP},
    {"EOR3, BCAX", 0xce000000, 0xffc08000, FP},
    {"XAR", 0xce800000, 0xffe00000, FP},
};

static uint64_t seed = 0x123456789abcdefull;

static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1dull;
}

static unsigned pick(unsigned n)
{
    return (rnd() >> 33) % n;
}

/* Numbers near which things go wrong. */
static uint64_t value(void)
{
    static const uint64_t odd[] = {0,          1,          ~0ull,      1ull << 63,
                                   ~0ull >> 1, 0x80000000, 0x7fffffff, 0xff};

    switch (pick(4)) {
    case 0:
        return odd[pick(G_N_ELEMENTS(odd))];
    case 1:
        return (uint64_t)(int64_t)(int8_t)rnd();
    default:
        return rnd();
    }
}

static uint32_t fp32(void)
{
    static const uint32_t odd[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                                   0x7f800001, 0xffc12345, 0xff812345, 1,          0x807fffff,
                                   0x00800000, 0x80800001, 0x3f800000, 0xbf800000, 0x7f7fffff,
                                   0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000, 0x3fc00000};

    switch (pick(4)) {
    case 0:
        return odd[pick(G_N_ELEMENTS(odd))];
    case 1:
        return (rnd() & 0x80ffffff) | (120 + pick(14)) << 23;
    case 2:
        return (rnd() & 0x807fffff) | pick(70) << 23;
    default:
        return rnd();
    }
}

static uint64_t fp64(void)
{
    static const uint64_t odd[] = {0,
                                   1ull << 63,
                                   0x7ffull << 52,
                                   0xfffull << 52,
                                   0x7ff8ull << 48,
                                   0x7ff0000000000001ull,
                                   0xfff8123456789abcull,
                                   0xfff4123456789abcull,
                                   1,
                                   0x800fffffffffffffull,
                                   0x0010000000000000ull,
                                   0x8010000000000001ull,
                                   0x3ff0000000000000ull,
                                   0xbff0000000000000ull,
                                   0x7fefffffffffffffull,
                                   0x41e0000000000000ull,
                                   0xc3e0000000000000ull,
                                   0x43f0000000000000ull,
                                   0x3fe0000000000000ull,
                                   0x3ff8000000000000ull,
                                   0x380fffffe0000000ull};

    switch (pick(4)) {
    case 0:
        return odd[pick(G_N_ELEMENTS(odd))];
    case 1:
        return (rnd() & 0x800fffffffffffffull) | (uint64_t)(1015 + pick(30)) << 52;
    case 2:
        return (rnd() & 0x800fffffffffffffull) | (uint64_t)pick(600) << 52;
    default:
        return rnd();
    }
}

static uint32_t field(uint32_t insn, unsigned pos, unsigned r)
{
    return (insn & ~(31u << pos)) | r << pos;
}

static void make(const Class *k, Arm64Record *r)
{
    uint32_t insn = (rnd() & ~k->mask) | k->value;

    memset(r, 0, sizeof(*r));
    /* x28…x30 belong to the runner; 31 is sp in some places. */
    for (unsigned i = 0; i < 4; i++) {
        static const uint8_t pos[] = {0, 5, 16, 10};
        unsigned v = insn >> pos[i] & 31;

        if (k->mask >> pos[i] & 31 || (k->kind == FP && i == 3)) {
            continue;
        }
        if (v >= 28 && (k->kind != FP || strstr(k->name, "copy"))) {
            insn = field(insn, pos[i], pick(28));
        } else if (v >= 28 && i < 3 && (k->mask >> 24 & 0x5f) == 0x5f) {
            insn = field(insn, pos[i], pick(28));
        }
    }
    insn = (insn & ~k->mask) | k->value;
    for (unsigned i = 0; i < 28; i++) {
        r->x[i] = value();
    }
    for (unsigned i = 0; i < 32; i++) {
        for (unsigned j = 0; j < 4; j++) {
            uint32_t s = fp32();

            memcpy(r->v[i] + j * 4, &s, 4);
        }
        if (pick(2)) {
            uint64_t d[2] = {fp64(), fp64()};

            memcpy(r->v[i], d, 16);
        }
    }
    for (unsigned i = 0; i < sizeof(r->mem); i++) {
        r->mem[i] = rnd();
    }
    r->nzcv = rnd() & 0xf0000000;
    if (pick(2)) {
        r->fpcr = rnd() & (3u << 22);
    }
    if (!pick(6)) {
        r->fpcr |= rnd() & (FPCR_FZ | FPCR_DN | FPCR_AHP);
    }
    r->fpsr = pick(2) ? 0 : rnd() & 0x0800009f;
    r->insn = insn;
    if (k->kind == MEM_BASE) {
        unsigned rn = insn >> 5 & 31, rm = insn >> 16 & 31;

        /* The base points into the middle; a post-index register is small. */
        if (rm < 28) {
            r->x[rm] = pick(64) * 8;
        }
        r->x[rn < 28 ? rn : 0] = ARM64_TEST_MEM + 1056 + pick(6) * 16;
    }
}

/* Encodings whose result is not defined, or that the two do not share. */
static bool skip(const Class *k, const Arm64Record *r)
{
    uint32_t i = r->insn;
    unsigned rt = i & 31, rn = i >> 5 & 31, rt2 = i >> 10 & 31, size = i >> 22 & 3;
    unsigned op4 = i >> 11 & 15, top4 = i >> 12 & 15, op6 = i >> 10 & 63;

    if (k->kind == MEM_BASE) {
        /* writeback into a register that is loaded or stored */
        if (strstr(k->name, "imm9") && !(i >> 26 & 1) && rt == rn) {
            return true;
        }
        if (strstr(k->name, "pairs") &&
            (rt == rt2 || (!(i >> 26 & 1) && (rt == rn || rt2 == rn)))) {
            return true;
        }
        if (strstr(k->name, "unsigned")) {
            unsigned scale = (i >> 30) + (i >> 26 & 1 && i >> 23 & 1 ? 4 : 0);

            if ((i >> 10 & 4095) << scale > 1000) {
                return true;
            }
        }
        if (rn >= 28 ||
            (strstr(k->name, "pairs") && i >> 30 == 1 && !(i >> 26 & 1) && !(i >> 22 & 1))) {
            return true; /* memory tags */
        }
        /* tags, 64-byte loads and other later extensions */
        if ((i & 0x3b200c00) == 0x38200000 && i >> 15 & 1 && (i >> 12 & 7)) {
            return true;
        }
    }
    if (strstr(k->name, "two sources") && i >> 24 == 0x9a &&
        (op6 == 0 || op6 == 4 || op6 == 5 || op6 == 12)) {
        return true; /* memory tags; the hash of PACGA is anybody's choice */
    }
    /* half precision, BF16, I8MM: not among our features */
    if (k->kind == FP) {
        if (strstr(k->name, "extra") && (op4 == 3 || op4 == 4 || op4 == 5 || op4 == 13 ||
                                         op4 == 15 || (size == 1 && op4 >= 8))) {
            return true;
        }
        if (strstr(k->name, "two registers") && size == 2 && (i >> 12 & 31) == 0x16) {
            return true;
        }
        if ((strstr(k->name, "across") || strstr(k->name, "pairwise")) && !(i >> 29 & 1) &&
            (top4 == 12 || top4 == 13 || top4 == 15) && !(i >> 16 & 1)) {
            return true;
        }
        if (strstr(k->name, "by element") &&
            ((size == 0 && (top4 == 1 || top4 == 5 || top4 == 9)) ||
             (size == 1 && i >> 29 & 1 && (top4 & 9) == 1) || (top4 == 15 && !(i >> 29 & 1)))) {
            return true;
        }
        if ((i & 0x9ff80c00) == 0x0f000c00) {
            return true;
        }
        if (strstr(k->name, "shift") && (i >> 20 & 7) == 1 && (i >> 11 & 31) >= 0x1c) {
            return true;
        }
        if (strstr(k->name, "one source") && size == 1 && (i >> 15 & 63) == 6) {
            return true;
        }
        if ((i & 0x5f000000) >= 0x1e000000 && (i & 0x5f000000) <= 0x1f000000 &&
            (i >> 22 & 3) == 3) {
            return true;
        }
        if ((i & 0x9f20f400) == 0x0e00f400 || (i & 0xdf20fc00) == 0x1e00fc00) {
            return true;
        }
    }
    return false;
}

/* ---- here ---- */

typedef struct Rig {
    Machine *m;
    MemRegion ram;
    Arm64Cpu *c;
} Rig;

static void rig_init(Rig *g, const char *opts)
{
    GError *err = NULL;
    static const uint32_t wfi = 0xd503207f;

    machine_lock();
    g->m = machine_new(NULL, NULL);
    g->m->accel = &jit_accel;
    g_assert_true(jit_accel.init(g->m, opts, &err));
    g_assert_true(mem_region_init_ram(&g->ram, "ram", RAM_SIZE, &err));
    mem_region_add(&g->m->memory_root, &g->ram, CODE, 0);
    g->c = (Arm64Cpu *)vcpu_new(g->m, &arm64_target, &jit_accel, 0, "max", &err);
    g_assert_no_error(err);
    machine_unlock();
    for (unsigned i = 0; i < 0x800; i += 4) {
        memcpy(g->ram.host + VECTORS - CODE + i, &wfi, 4);
    }
}

static void rig_free(Rig *g)
{
    machine_lock();
    vcpu_free(&g->c->vcpu);
    mem_region_destroy(&g->ram);
    jit_accel.fini(g->m);
    g->m->accel = NULL;
    machine_free(g->m);
    machine_unlock();
}

/* Each record has a place of its own, so that nothing is translated twice. */
static void run(Rig *g, Arm64Record *r, unsigned n)
{
    static const uint32_t wfi = 0xd503207f;
    Arm64Cpu *c = g->c;
    uint64_t at = 0x1000 + n % 4096 * 8;

    memcpy(g->ram.host + at, &r->insn, 4);
    memcpy(g->ram.host + at + 4, &wfi, 4);
    mem_set_dirty(&g->ram, at, 8);
    memcpy(g->ram.host + ARM64_TEST_MEM - CODE, r->mem, sizeof(r->mem));
    mem_set_dirty(&g->ram, ARM64_TEST_MEM - CODE, sizeof(r->mem));
    c->vcpu.target->reset(&c->vcpu);
    memcpy(c->x, r->x, sizeof(r->x));
    memcpy(c->fp.v, r->v, sizeof(r->v));
    a64_set_nzcv(c, r->nzcv);
    c->fp.fpcr = r->fpcr & FPCR_MASK;
    c->fp.fpsr = r->fpsr & (FPSR_QC | FPSR_IDC);
    c->mxcsr = a64_mxcsr_of(c->fp.fpcr, a64_sticky_of(r->fpsr));
    c->cpacr = 3 << 20;
    c->vbar[1] = VECTORS;
    c->pc = CODE + at;
    c->powered_off = c->vcpu.halted = false;
    c->vcpu.events = 0;
    c->vcpu.exit_request = 0;
    a64_update_mode(c);
    jit_accel.run(&c->vcpu);
    r->fault = c->esr[1] != 0;
    memcpy(r->x, c->x, sizeof(r->x));
    memcpy(r->v, c->fp.v, sizeof(r->v));
    r->nzcv = a64_get_nzcv(c);
    r->fpsr = c->fp.fpsr | a64_fpsr_of(c->mxcsr);
    memcpy(r->mem, g->ram.host + ARM64_TEST_MEM - CODE, sizeof(r->mem));
}

/* ---- the other ---- */

typedef struct Reference {
    char *dir, *runner;
} Reference;

static bool spawn(const char *const *argv)
{
    int status = -1;
    GError *err = NULL;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                      &status, &err)) {
        g_test_message("%s: %s", argv[0], err->message);
        g_clear_error(&err);
        return false;
    }
    return g_spawn_check_wait_status(status, NULL);
}

static void reference_init(Reference *f)
{
    g_autofree char *src = g_build_filename(g_getenv("RHEA_SRC") ? g_getenv("RHEA_SRC") : ".",
                                            "tests/cpu/arm64-runner.c.inc", NULL);
    g_autofree char *inc =
        g_strdup_printf("-I%s", g_getenv("RHEA_SRC") ? g_getenv("RHEA_SRC") : ".");

    f->dir = g_dir_make_tmp("rhea-arm64-XXXXXX", NULL);
    f->runner = g_build_filename(f->dir, "runner", NULL);
    const char *argv[] = {
        "aarch64-linux-gnu-gcc", "-O1", "-static", "-x", "c", inc, src, "-o", f->runner, NULL};
    g_assert_true(spawn(argv));
}

static void reference_run(Reference *f, Arm64Record *r, size_t n)
{
    g_autofree char *path = g_build_filename(f->dir, "records", NULL), *data = NULL;
    const char *argv[] = {"qemu-aarch64", "-cpu", "max", f->runner, path, NULL};
    gsize len;

    g_assert_true(g_file_set_contents(path, (const char *)r, n * sizeof(*r), NULL));
    g_assert_true(spawn(argv));
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    g_assert_cmpuint(len, ==, n * sizeof(*r));
    memcpy(r, data, len);
    g_remove(path);
}

static void reference_free(Reference *f)
{
    g_remove(f->runner);
    g_rmdir(f->dir);
    g_free(f->runner);
    g_free(f->dir);
}

/* ---- comparing ---- */

static bool differ(const Class *k, const Arm64Record *in, const Arm64Record *want,
                   const Arm64Record *got, const char *how)
{
    GString *s = g_string_new(NULL);

    if (want->fault != got->fault) {
        g_string_append_printf(s, " %s", want->fault ? "should be undefined" : "is defined");
    } else if (!want->fault) {
        for (unsigned i = 0; i < 28; i++) {
            if (want->x[i] != got->x[i]) {
                g_string_append_printf(s, " x%u=%016lx not %016lx (was %016lx)", i, (long)got->x[i],
                                       (long)want->x[i], (long)in->x[i]);
            }
        }
        for (unsigned i = 0; i < 32; i++) {
            if (memcmp(want->v[i], got->v[i], 16)) {
                const uint64_t *a = (const void *)got->v[i], *b = (const void *)want->v[i];

                g_string_append_printf(s, " v%u=%016lx.%016lx not %016lx.%016lx", i, (long)a[1],
                                       (long)a[0], (long)b[1], (long)b[0]);
            }
        }
        if (want->nzcv != got->nzcv) {
            g_string_append_printf(s, " nzcv=%08x not %08x", (unsigned)got->nzcv,
                                   (unsigned)want->nzcv);
        }
        if (want->fpsr != got->fpsr) {
            g_string_append_printf(s, " fpsr=%08x not %08x", (unsigned)got->fpsr,
                                   (unsigned)want->fpsr);
        }
        if (memcmp(want->mem, got->mem, sizeof(want->mem))) {
            g_string_append(s, " memory");
        }
    }
    if (s->len) {
        const uint64_t *n = (const void *)in->v[in->insn >> 5 & 31],
                       *m = (const void *)in->v[in->insn >> 16 & 31];

        g_test_message("%s, %s: %08x fpcr %08x fpsr %08x nzcv %x vn %016lx.%016lx vm "
                       "%016lx.%016lx:%s",
                       k->name, how, in->insn, (unsigned)in->fpcr, (unsigned)in->fpsr,
                       (unsigned)(in->nzcv >> 28), (long)n[1], (long)n[0], (long)m[1], (long)m[0],
                       s->str);
    }
    bool bad = s->len;

    g_string_free(s, TRUE);
    return bad;
}

static void test_class(gconstpointer data)
{
    const Class *k = data;
    enum { N = 1500 };
    Arm64Record *in = g_new(Arm64Record, N), *want = g_new(Arm64Record, N), got;
    unsigned bad = 0, faults = 0, count = 0;
    Reference f;
    Rig jit, interp;

    seed = 0x9e3779b97f4a7c15ull + (uint64_t)(k - classes) * 7919;
    while (count < N) {
        make(k, &in[count]);
        count += !skip(k, &in[count]);
    }
    memcpy(want, in, N * sizeof(*in));
    reference_init(&f);
    reference_run(&f, want, N);
    reference_free(&f);
    rig_init(&jit, NULL);
    rig_init(&interp, "mode=interp");
    for (unsigned i = 0; i < N; i++) {
        faults += want[i].fault;
        got = in[i];
        run(&jit, &got, i);
        bad += differ(k, &in[i], &want[i], &got, "translated");
        if (bad > 12) {
            break;
        }
        got = in[i];
        run(&interp, &got, i);
        bad += differ(k, &in[i], &want[i], &got, "interpreted");
    }
    rig_free(&interp);
    rig_free(&jit);
    g_test_message("%u of %u undefined", faults, N);
    g_assert_cmpuint(bad, ==, 0);
    g_assert_cmpuint(faults, <, N);
    g_free(in);
    g_free(want);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (unsigned i = 0; i < G_N_ELEMENTS(classes); i++) {
        g_autofree char *path = g_strdup_printf("/arm64/user/%s", classes[i].name);

        for (char *p = path + 12; *p; p++) {
            if (*p == '/' || *p == ' ') {
                *p = '-';
            }
        }
        g_test_add_data_func(path, &classes[i], test_class);
    }
    return g_test_run();
}
