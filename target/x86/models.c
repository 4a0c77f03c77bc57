/*
 * -cpu: models and their options. The values of the named models are those of the processors'
 * CPUID as the reference emulator (Debian's 7.2, run as a black box) shows them.
 */
#include "target/x86/models.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/option.h"
#include "target/x86/sys.h"
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define INTEL "GenuineIntel"
#define AMD "AuthenticAMD"
#define HV (1u << BIT_HYPERVISOR)
#define VME (1u << 1)

static const X86Model models[] = {
    {"qemu64",
     "common 64-bit CPU (default)",
     AMD,
     NULL,
     0xd,
     0x8000000a,
     0x60fb1,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x2001,
      [FEAT_80000001_EDX] = 0x2193fbfd,
      [FEAT_80000001_ECX] = 0x1,
      [FEAT_80000007_EDX] = 1u << 8 /* docs/decisions/0003 */}},
    {"qemu32",
     "common 32-bit CPU",
     INTEL,
     NULL,
     4,
     0x80000004,
     0x663,
     32,
     false,
     {[FEAT_1_EDX] = 0x0781abfd, [FEAT_1_ECX] = HV | 0x1}},
    {"kvm64",
     "common 64-bit Intel-like CPU",
     INTEL,
     "Common KVM processor",
     0xd,
     0x80000008,
     0xf61,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd, [FEAT_1_ECX] = HV | 0x2001, [FEAT_80000001_EDX] = 0x20100800}},
    {"kvm32",
     "common 32-bit Intel-like CPU",
     INTEL,
     "Common 32-bit KVM processor",
     5,
     0x80000008,
     0xf61,
     36,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd, [FEAT_1_ECX] = HV | 0x1}},
    {"486",
     "Intel 80486",
     INTEL,
     NULL,
     1,
     0,
     0x480,
     32,
     false,
     {[FEAT_1_EDX] = 0x9, [FEAT_1_ECX] = HV}},
    {"pentium",
     "Intel Pentium MMX",
     INTEL,
     NULL,
     1,
     0,
     0x543,
     32,
     false,
     {[FEAT_1_EDX] = VME | 0x8003bd, [FEAT_1_ECX] = HV}},
    {"pentium2",
     "Intel Pentium II",
     INTEL,
     NULL,
     2,
     0,
     0x652,
     36,
     false,
     {[FEAT_1_EDX] = VME | 0x183fbfd, [FEAT_1_ECX] = HV}},
    {"pentium3",
     "Intel Pentium III",
     INTEL,
     NULL,
     3,
     0,
     0x673,
     36,
     false,
     {[FEAT_1_EDX] = VME | 0x383fbfd, [FEAT_1_ECX] = HV}},
    {"athlon",
     "AMD Athlon",
     AMD,
     NULL,
     2,
     0x80000008,
     0x623,
     36,
     false,
     {[FEAT_1_EDX] = VME | 0x783fbfd, [FEAT_1_ECX] = HV, [FEAT_80000001_EDX] = 0xc1c3f3fd}},
    {"n270",
     "Intel Atom N270",
     INTEL,
     "Intel(R) Atom(TM) CPU N270   @ 1.60GHz",
     0xa,
     0x80000008,
     0x106c2,
     32,
     false,
     {[FEAT_1_EDX] = VME | 0xfc9fbfd,
      [FEAT_1_ECX] = HV | 0x400209,
      [FEAT_80000001_EDX] = 0x100000,
      [FEAT_80000001_ECX] = 1}},
    {"coreduo",
     "Intel Core Duo T2600",
     INTEL,
     "Genuine Intel(R) CPU           T2600  @ 2.16GHz",
     0xa,
     0x80000008,
     0x6e8,
     32,
     false,
     {[FEAT_1_EDX] = VME | 0xfc9fbfd, [FEAT_1_ECX] = HV | 0x9, [FEAT_80000001_EDX] = 0x100000}},
    {"core2duo",
     "Intel Core 2 Duo T7700",
     INTEL,
     "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
     0xa,
     0x80000008,
     0x6fb,
     40,
     false,
     {[FEAT_1_EDX] = VME | 0xfcbfbfd,
      [FEAT_1_ECX] = HV | 0x2209,
      [FEAT_80000001_EDX] = 0x20100800,
      [FEAT_80000001_ECX] = 1}},
    {"Conroe",
     "Intel Celeron 4x0 (Conroe/Merom, Core 2)",
     INTEL,
     "Intel Celeron_4x0 (Conroe/Merom Class Core 2)",
     0xa,
     0x80000008,
     0x6f3,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x201,
      [FEAT_80000001_EDX] = 0x20100800,
      [FEAT_80000001_ECX] = 1}},
    {"Penryn",
     "Intel Core 2 Duo P9xxx (Penryn, Core 2)",
     INTEL,
     "Intel Core 2 Duo P9xxx (Penryn Class Core 2)",
     0xa,
     0x80000008,
     0x10673,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x82201,
      [FEAT_80000001_EDX] = 0x20100800,
      [FEAT_80000001_ECX] = 1}},
    {"Nehalem",
     "Intel Core i7 9xx (Nehalem)",
     INTEL,
     "Intel Core i7 9xx (Nehalem Class Core i7)",
     0xb,
     0x80000008,
     0x106a3,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x982201,
      [FEAT_80000001_EDX] = 0x20100800,
      [FEAT_80000001_ECX] = 1}},
    {"Westmere",
     "Intel Xeon 56xx (Westmere)",
     INTEL,
     "Westmere E56xx/L56xx/X56xx (Nehalem-C)",
     0xb,
     0x80000008,
     0x206c1,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x2982203,
      [FEAT_6_EAX] = 4,
      [FEAT_80000001_EDX] = 0x20100800,
      [FEAT_80000001_ECX] = 1}},
    {"Opteron_G1",
     "AMD Opteron 240",
     AMD,
     "AMD Opteron 240 (Gen 1 Class Opteron)",
     5,
     0x80000008,
     0xf61,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd, [FEAT_1_ECX] = HV | 0x1, [FEAT_80000001_EDX] = 0x2193fbfd}},
    {"Opteron_G2",
     "AMD Opteron 22xx",
     AMD,
     "AMD Opteron 22xx (Gen 2 Class Opteron)",
     5,
     0x8000000a,
     0xf61,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x2001,
      [FEAT_80000001_EDX] = 0x2193fbfd,
      [FEAT_80000001_ECX] = 0x5}},
    {"Opteron_G3",
     "AMD Opteron 23xx",
     AMD,
     "AMD Opteron 23xx (Gen 3 Class Opteron)",
     5,
     0x8000000a,
     0x100f23,
     40,
     false,
     {[FEAT_1_EDX] = 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x802009,
      [FEAT_80000001_EDX] = 0x2993fbfd,
      [FEAT_80000001_ECX] = 0xe5}},
    {"phenom",
     "AMD Phenom 9550",
     AMD,
     "AMD Phenom(tm) 9550 Quad-Core Processor",
     5,
     0x8000001a,
     0x100f23,
     40,
     false,
     {[FEAT_1_EDX] = VME | 0x078bfbfd,
      [FEAT_1_ECX] = HV | 0x802009,
      [FEAT_80000001_EDX] = 0xefd3fbfd,
      [FEAT_80000001_ECX] = 0x65}},
    {"max",
     "everything that is emulated",
     AMD,
     "Rhea CPU",
     0xd,
     0x8000001e,
     0x60fb1,
     40,
     true,
     {0}},
    {"host", "like max, with the host's identity", NULL, NULL, 0xd, 0x8000001e, 0, 40, true, {0}},
};

static const char default_brand[] = "Rhea Virtual CPU";

static const X86Model *find_model(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        size_t n = strlen(models[i].name);

        /* "-v1" is the first version of a model: there are no others. */
        if (!strncmp(models[i].name, name, n) && (!name[n] || !strcmp(name + n, "-v1"))) {
            return &models[i];
        }
    }
    return NULL;
}

char *x86_model_list(bool long_mode)
{
    GString *s = g_string_new("Available CPUs:\n");

    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        g_string_append_printf(s, "  %-12s %s\n", models[i].name, models[i].desc);
    }
    if (!long_mode) {
        g_string_append(s, "(here without long mode; the default is qemu32)\n");
    }
    g_string_append(s,
                    "\nOptions: +FEATURE -FEATURE FEATURE=on|off vendor= family= model= stepping= "
                    "level= xlevel=\n  model-id= phys-bits= tsc-frequency= check enforce\n"
                    "\nEmulated features:\n");
    x86_feature_list(s);
    return g_string_free(s, FALSE);
}

bool x86_is_intel(const X86Cpu *c)
{
    return !strcmp(c->vendor, INTEL);
}

bool x86_is_amd(const X86Cpu *c)
{
    return !strcmp(c->vendor, AMD);
}

/* ---- base values ---- */

static void host_identity(X86Cpu *c)
{
    g_strlcpy(c->vendor, AMD, sizeof(c->vendor));
    g_strlcpy(c->brand, default_brand, sizeof(c->brand));
    c->cpuid_version = 0x60fb1;
#if defined(__x86_64__)
    uint32_t r[4], b[12];

    if (__get_cpuid(0, &r[0], &r[1], &r[2], &r[3])) {
        memcpy(c->vendor, &r[1], 4);
        memcpy(c->vendor + 4, &r[3], 4);
        memcpy(c->vendor + 8, &r[2], 4);
    }
    if (__get_cpuid(1, &r[0], &r[1], &r[2], &r[3])) {
        c->cpuid_version = r[0];
    }
    if (__get_cpuid(0x80000004, &b[8], &b[9], &b[10], &b[11])) {
        __cpuid(0x80000002, b[0], b[1], b[2], b[3]);
        __cpuid(0x80000003, b[4], b[5], b[6], b[7]);
        memcpy(c->brand, b, 48);
    }
#endif
}

static uint32_t available(const X86Cpu *c, unsigned word)
{
    return c->kvm_limits ? c->kvm_limits->feat[word] : x86_features_implemented(word);
}

static void all_features(X86Cpu *c)
{
    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        c->feat[w] = available(c, w);
    }
    c->feat[FEAT_1_ECX] &= ~(1u << 3);                   /* MONITOR: waiting costs host time */
    c->feat[FEAT_7_EBX] &= ~(1u << 13);                  /* FCS and FDS are there */
    c->feat[FEAT_80000001_ECX] &= ~(1u << 22 | 1u << 1); /* follow the topology */
    c->feat[FEAT_1_EDX] &= ~(1u << 28);
}

static void load_model(X86Cpu *c, const X86Model *m)
{
    c->model = m;
    memcpy(c->feat, m->feat, sizeof(c->feat));
    if (m->all) {
        all_features(c);
    }
    c->cpuid_level = m->level;
    c->cpuid_xlevel = m->xlevel;
    c->cpuid_version = m->version;
    c->phys_bits = m->phys_bits;
    if (m->vendor) {
        g_strlcpy(c->vendor, m->vendor, sizeof(c->vendor));
        g_strlcpy(c->brand, m->brand ? m->brand : default_brand, sizeof(c->brand));
    } else {
        host_identity(c);
    }
}

/* ---- options ---- */

typedef struct CpuOptions {
    X86Cpu *c;
    uint32_t plus[FEAT_WORDS], minus[FEAT_WORDS];
    bool check, enforce;
    GError **err;
} CpuOptions;

static bool set_feature(CpuOptions *o, const char *name, bool on)
{
    unsigned word, bit;
    uint32_t b;

    if (!x86_feature_find(name, &word, &bit)) {
        return fail(o->err, "-cpu: there is no feature or option called \"%s\"", name);
    }
    b = 1u << bit;
    o->plus[word] = on ? o->plus[word] | b : o->plus[word] & ~b;
    o->minus[word] = on ? o->minus[word] & ~b : o->minus[word] | b;
    return true;
}

static bool uint_option(CpuOptions *o, const char *key, const char *val, uint64_t max,
                        uint64_t *out)
{
    g_autofree char *what = g_strdup_printf("-cpu %s", key);

    return parse_uint(what, val, max, out, o->err);
}

/* Family, model and stepping in the form of CPUID leaf 1. */
static void set_family(X86Cpu *c, unsigned family)
{
    c->cpuid_version &= ~0x0ff00f00u;
    c->cpuid_version |= family > 15 ? 0xf00 | (family - 15) << 20 : family << 8;
}

static bool number_option(CpuOptions *o, const char *key, const char *val, bool *known)
{
    X86Cpu *c = o->c;
    uint64_t n;

    *known = true;
    if (!strcmp(key, "family")) {
        if (!uint_option(o, key, val, 15 + 255, &n)) {
            return false;
        }
        set_family(c, n);
    } else if (!strcmp(key, "model")) {
        if (!uint_option(o, key, val, 255, &n)) {
            return false;
        }
        c->cpuid_version = (c->cpuid_version & ~0xf00f0u) | (n & 15) << 4 | (n >> 4) << 16;
    } else if (!strcmp(key, "stepping")) {
        if (!uint_option(o, key, val, 15, &n)) {
            return false;
        }
        c->cpuid_version = (c->cpuid_version & ~15u) | n;
    } else if (!strcmp(key, "level") || !strcmp(key, "min-level")) {
        if (!uint_option(o, key, val, 0x1f, &n)) {
            return false;
        }
        c->cpuid_level = key[0] == 'm' ? MAX(n, c->cpuid_level) : n;
    } else if (!strcmp(key, "xlevel") || !strcmp(key, "min-xlevel")) {
        if (!uint_option(o, key, val, 0x8000001f, &n)) {
            return false;
        }
        c->cpuid_xlevel = key[0] == 'm' ? MAX(n, c->cpuid_xlevel) : n;
    } else if (!strcmp(key, "phys-bits")) {
        if (!uint_option(o, key, val, 52, &n)) {
            return false;
        }
        if (n && n < 32) {
            return fail(o->err, "-cpu phys-bits must be 32 to 52");
        }
        c->phys_bits = n ? n : c->phys_bits;
    } else if (!strcmp(key, "tsc-frequency")) {
        if (!uint_option(o, key, val, 100 * NS_PER_SEC, &n)) {
            return false;
        }
        if (n && n < 1000000) {
            return fail(o->err, "-cpu tsc-frequency must be at least 1000000 (Hz)");
        }
        c->tsc_hz = n ? n : c->tsc_hz;
        c->tsc_set = n != 0;
    } else {
        *known = false;
    }
    return true;
}

/* Options that tune a hypervisor and change nothing that a guest here could see. */
static bool ignored_option(const char *key)
{
    static const char *const keys[] = {
        "kvm",      "migratable",     "host-cache-info",      "l3-cache",
        "pmu",      "host-phys-bits", "kvm-no-smi-migration", "lmce",
        "cpuid-0xb"};

    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!strcmp(key, keys[i])) {
            return true;
        }
    }
    return false;
}

static bool one_option(CpuOptions *o, const char *item)
{
    g_autofree char *key = g_strdup(item);
    char *val = strchr(key, '=');
    bool on = true, known;

    if (item[0] == '+' || item[0] == '-') {
        return set_feature(o, item + 1, item[0] == '+');
    }
    if (val) {
        *val++ = 0;
    }
    g_strdelimit(key, "_", '-');
    if (val && !strcmp(key, "vendor")) {
        if (strlen(val) != 12) {
            return fail(o->err, "-cpu vendor must be 12 characters, as in " INTEL);
        }
        g_strlcpy(o->c->vendor, val, sizeof(o->c->vendor));
        return true;
    }
    if (val && !strcmp(key, "model-id")) {
        memset(o->c->brand, 0, sizeof(o->c->brand));
        g_strlcpy(o->c->brand, val, sizeof(o->c->brand));
        return true;
    }
    if (val) {
        if (!number_option(o, key, val, &known)) {
            return false;
        }
        if (known) {
            return true;
        }
    }
    if (g_str_has_prefix(key, "hv-")) {
        warn_report("-cpu %s: Hyper-V interfaces are not emulated; ignored", key);
        return true;
    }
    if (val && !parse_bool(key, val, &on, o->err)) {
        return false;
    }
    if (!strcmp(key, "check")) {
        o->check = on;
    } else if (!strcmp(key, "enforce")) {
        o->enforce = on;
    } else if (!ignored_option(key)) {
        return set_feature(o, key, on);
    }
    return true;
}

/* Features that were asked for and are not emulated: gone, with a word about it. */
static bool filter(CpuOptions *o, bool long_mode)
{
    X86Cpu *c = o->c;
    uint32_t gone, quiet;

    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        c->feat[w] = (c->feat[w] | o->plus[w]) & ~o->minus[w];
        gone = c->feat[w] & ~available(c, w);
        c->feat[w] &= ~gone;
        quiet = o->check || o->enforce ? 0 : ~o->plus[w];
        for (unsigned b = 0; b < 32; b++) {
            const char *name = x86_feature_name(w, b);

            if (!(gone & ~quiet) || !((gone & ~quiet) >> b & 1) || !name) {
                continue;
            }
            if (o->enforce) {
                return fail(o->err, "-cpu enforce: the feature \"%.*s\" is not %s",
                            (int)strcspn(name, "|"), name,
                            c->kvm_limits ? "offered by this host's KVM" : "emulated");
            }
            if (c->vcpu.index == 0) {
                warn_report("-cpu: the feature \"%.*s\" is not %s and left out",
                            (int)strcspn(name, "|"), name,
                            c->kvm_limits ? "offered by this host's KVM" : "emulated");
            }
        }
    }
    if (!long_mode) {
        /* Intel has SYSCALL in 64-bit mode only. */
        c->feat[FEAT_80000001_EDX] &= ~(1u << 29 | (x86_is_intel(c) ? 1u << 11 : 0));
    }
    return true;
}

/* What follows from other choices. */
static void derive(X86Cpu *c)
{
    uint32_t *f = c->feat;
    unsigned per_socket = c->smp_cores * c->smp_threads;

    if (x86_is_amd(c)) {
        f[FEAT_80000001_EDX] &= ~FEAT_AMD_ALIAS;
        if (c->cpuid_xlevel >= 0x80000001) {
            f[FEAT_80000001_EDX] |= f[FEAT_1_EDX] & FEAT_AMD_ALIAS;
        }
    } else {
        f[FEAT_80000001_EDX] &= ~FEAT_AMD_ALIAS;
    }
    f[FEAT_1_EDX] &= ~(1u << 28);
    f[FEAT_80000001_ECX] &= ~(1u << 1);
    if (per_socket > 1) {
        f[FEAT_1_EDX] |= 1u << 28;
        f[FEAT_80000001_ECX] |= x86_is_amd(c) && c->cpuid_xlevel >= 0x80000001 ? 1u << 1 : 0;
    }
    /* Leaves that hold a feature must be reachable. */
    if (f[FEAT_7_EBX] | f[FEAT_7_ECX] | f[FEAT_7_EDX]) {
        c->cpuid_level = MAX(c->cpuid_level, 7);
    }
    if (f[FEAT_6_EAX]) {
        c->cpuid_level = MAX(c->cpuid_level, 6);
    }
    if (f[FEAT_1_ECX] >> 26 & 1) {
        c->cpuid_level = MAX(c->cpuid_level, 0xd);
    } else {
        f[FEAT_D_1_EAX] = 0;
    }
    if (f[FEAT_80000001_EDX] & ~FEAT_AMD_ALIAS || f[FEAT_80000001_ECX]) {
        c->cpuid_xlevel = MAX(c->cpuid_xlevel, 0x80000001);
    }
    if (f[FEAT_80000007_EDX]) {
        c->cpuid_xlevel = MAX(c->cpuid_xlevel, 0x80000008);
    }
    if (!(f[FEAT_80000001_EDX] >> 29 & 1) && !(f[FEAT_1_EDX] & (1u << 6 | 1u << 17))) {
        c->phys_bits = 32;
    }
    c->virt_bits = 48;
    if (c->kvm_limits && c->kvm_limits->phys_bits) {
        c->phys_bits = MIN(c->phys_bits, c->kvm_limits->phys_bits);
    }
}

/* A processor under KVM executes instructions that CPUID does not show, too, and a host without
 * hardware virtualisation may even show the guest its own CPUID. So does the translator then. */
static void show_features(X86Cpu *c, bool long_mode)
{
    memcpy(c->shown, c->feat, sizeof(c->shown));
    for (unsigned w = 0; w < FEAT_WORDS && c->kvm_limits && long_mode; w++) {
        c->feat[w] |= x86_features_implemented(w);
    }
    if (c->kvm_limits) {
        c->feat[FEAT_7_EBX] &= ~(1u << 13) | c->shown[FEAT_7_EBX]; /* FCS and FDS are gone */
    }
}

bool x86_model_init(X86Cpu *c, const char *text, bool long_mode, GError **err)
{
    g_auto(GStrv) items = g_strsplit(text && *text ? text
                                     : long_mode   ? "qemu64"
                                                   : "qemu32",
                                     ",", -1);
    CpuOptions o = {.c = c, .err = err};
    const X86Model *m = find_model(items[0]);

    if (!m) {
        return fail(err, "-cpu: there is no model called \"%s\" (-cpu help lists them)", items[0]);
    }
    load_model(c, m);
    for (unsigned i = 1; items[i]; i++) {
        if (!*items[i]) {
            return fail(err, "-cpu: an option is missing between commas");
        }
        if (!one_option(&o, items[i])) {
            return false;
        }
    }
    if (!filter(&o, long_mode)) {
        return false;
    }
    derive(c);
    show_features(c, long_mode);
    return true;
}
