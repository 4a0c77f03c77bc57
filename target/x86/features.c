/*
 * Names of the CPUID feature bits, and which of them are emulated. Intel SDM volume 2, CPUID; AMD
 * APM volume 3, appendix E.
 */
#include "target/x86/models.h"
#include <string.h>

/* '|' separates other spellings. */
static const char *const names[FEAT_WORDS][32] = {
    [FEAT_1_EDX] = {"fpu", "vme",  "de",   "pse",   "tsc", "msr",           "pae",
                    "mce", "cx8",  "apic", NULL,    "sep", "mtrr",          "pge",
                    "mca", "cmov", "pat",  "pse36", "pn",  "clflush|clfsh", NULL,
                    "ds",  "acpi", "mmx",  "fxsr",  "sse", "sse2",          "ss",
                    "ht",  "tm",   "ia64", "pbe"},
    [FEAT_1_ECX] = {"pni|sse3",     "pclmulqdq|pclmuldq",
                    "dtes64",       "monitor",
                    "ds-cpl",       "vmx",
                    "smx",          "est",
                    "tm2",          "ssse3",
                    "cid",          NULL,
                    "fma",          "cx16",
                    "xtpr",         "pdcm",
                    NULL,           "pcid",
                    "dca",          "sse4.1|sse41",
                    "sse4.2|sse42", "x2apic",
                    "movbe",        "popcnt",
                    "tsc-deadline", "aes",
                    "xsave",        "osxsave",
                    "avx",          "f16c",
                    "rdrand",       "hypervisor"},
    [FEAT_7_EBX] = {"fsgsbase",
                    "tsc-adjust",
                    "sgx",
                    "bmi1",
                    "hle",
                    "avx2",
                    "fdp-excptn-only",
                    "smep",
                    "bmi2",
                    "erms",
                    "invpcid",
                    "rtm",
                    NULL,
                    "zero-fcs-fds",
                    "mpx",
                    NULL,
                    "avx512f",
                    "avx512dq",
                    "rdseed",
                    "adx",
                    "smap",
                    "avx512ifma",
                    "pcommit",
                    "clflushopt",
                    "clwb",
                    "intel-pt",
                    "avx512pf",
                    "avx512er",
                    "avx512cd",
                    "sha-ni",
                    "avx512bw",
                    "avx512vl"},
    [FEAT_7_ECX] = {NULL,         "avx512vbmi",  "umip",         "pku",       "ospke",
                    "waitpkg",    "avx512vbmi2", NULL,           "gfni",      "vaes",
                    "vpclmulqdq", "avx512vnni",  "avx512bitalg", NULL,        "avx512-vpopcntdq",
                    NULL,         "la57",        NULL,           NULL,        NULL,
                    NULL,         NULL,          "rdpid",        NULL,        "bus-lock-detect",
                    "cldemote",   NULL,          "movdiri",      "movdir64b", NULL,
                    "sgxlc",      "pks"},
    [FEAT_7_EDX] = {NULL,
                    NULL,
                    "avx512-4vnniw",
                    "avx512-4fmaps",
                    "fsrm",
                    NULL,
                    NULL,
                    NULL,
                    "avx512-vp2intersect",
                    NULL,
                    "md-clear",
                    NULL,
                    NULL,
                    NULL,
                    "serialize",
                    NULL,
                    "tsx-ldtrk",
                    NULL,
                    NULL,
                    "arch-lbr",
                    NULL,
                    NULL,
                    NULL,
                    "avx512-fp16",
                    NULL,
                    NULL,
                    "spec-ctrl",
                    "stibp",
                    NULL,
                    "arch-capabilities",
                    "core-capability",
                    "ssbd"},
    [FEAT_80000001_EDX] = {[11] = "syscall",
                           [19] = "mp",
                           [20] = "nx|xd",
                           [22] = "mmxext",
                           [25] = "fxsr-opt|ffxsr",
                           [26] = "pdpe1gb",
                           [27] = "rdtscp",
                           [29] = "lm|i64",
                           [30] = "3dnowext",
                           [31] = "3dnow"},
    [FEAT_80000001_ECX] = {"lahf-lm",   "cmp-legacy",  "svm",
                           "extapic",   "cr8legacy",   "abm",
                           "sse4a",     "misalignsse", "3dnowprefetch",
                           "osvw",      "ibs",         "xop",
                           "skinit",    "wdt",         NULL,
                           "lwp",       "fma4",        "tce",
                           NULL,        "nodeid-msr",  NULL,
                           "tbm",       "topoext",     "perfctr-core",
                           "perfctr-nb"},
    [FEAT_80000007_EDX] = {[8] = "invtsc"},
    [FEAT_6_EAX] = {[2] = "arat"},
    [FEAT_D_1_EAX] = {"xsaveopt", "xsavec", "xgetbv1", "xsaves"},
};

#define B(n) (1u << (n))

static const uint32_t implemented[FEAT_WORDS] = {
    /* All but: serial number, debug store, thermal monitor, IA-64, PBE. HT follows the topology. */
    [FEAT_1_EDX] = 0x0fcbfbff & ~B(10),
    [FEAT_1_ECX] = B(0) | B(1) | B(3) | B(9) | B(13) | B(17) | B(19) | B(20) | B(21) | B(22) |
                   B(23) | B(24) | B(25) | B(26) | B(30) | B(31),
    [FEAT_7_EBX] = B(0) | B(1) | B(3) | B(7) | B(8) | B(9) | B(10) | B(13) | B(18) | B(19) | B(20) |
                   B(23) | B(24),
    [FEAT_7_ECX] = B(2) | B(22),
    [FEAT_7_EDX] = B(4),
    [FEAT_80000001_EDX] = FEAT_AMD_ALIAS | B(11) | B(20) | B(22) | B(25) | B(26) | B(27) | B(29),
    [FEAT_80000001_ECX] = B(0) | B(1) | B(4) | B(5) | B(8) | B(22),
    [FEAT_80000007_EDX] = B(8),
    [FEAT_6_EAX] = B(2),
    [FEAT_D_1_EAX] = B(0) | B(1) | B(2),
};

/* SIMD instructions run as host instructions of the same kind. */
static uint32_t host_lacks(unsigned word)
{
    uint32_t m = 0;

#if defined(__x86_64__)
    __builtin_cpu_init();
    if (word == FEAT_1_ECX) {
        m |= __builtin_cpu_supports("sse3") ? 0 : B(0);
        m |= __builtin_cpu_supports("pclmul") ? 0 : B(1);
        m |= __builtin_cpu_supports("ssse3") ? 0 : B(9);
        m |= __builtin_cpu_supports("sse4.1") ? 0 : B(19);
        m |= __builtin_cpu_supports("sse4.2") ? 0 : B(20);
        m |= __builtin_cpu_supports("aes") ? 0 : B(25);
    }
#endif
    return m;
}

uint32_t x86_features_implemented(unsigned word)
{
    return implemented[word] & ~host_lacks(word);
}

/* Does one of the spellings in @list equal @name? */
static bool spelled(const char *list, const char *name)
{
    while (list) {
        const char *end = strchr(list, '|');
        size_t n = end ? (size_t)(end - list) : strlen(list), i;

        for (i = 0; i < n; i++) {
            char a = list[i] == '.' ? '-' : list[i];
            char b = name[i] == '_' || name[i] == '.' ? '-' : name[i];

            if (a != b) {
                break;
            }
        }
        if (i == n && !name[n]) {
            return true;
        }
        list = end ? end + 1 : NULL;
    }
    return false;
}

bool x86_feature_find(const char *name, unsigned *word, unsigned *bit)
{
    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        for (unsigned b = 0; b < 32; b++) {
            if (spelled(names[w][b], name)) {
                *word = w;
                *bit = b;
                return true;
            }
        }
    }
    return false;
}

const char *x86_feature_name(unsigned word, unsigned bit)
{
    return names[word][bit];
}

void x86_feature_list(GString *s)
{
    unsigned col = 0;

    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        for (unsigned b = 0; b < 32; b++) {
            const char *n = names[w][b];
            int len = n ? (int)strcspn(n, "|") : 0;

            if (!len || !(x86_features_implemented(w) >> b & 1)) {
                continue;
            }
            if (col + len > 76) {
                g_string_append_c(s, '\n');
                col = 0;
            }
            g_string_append_printf(s, "%s%.*s", col ? " " : "  ", len, n);
            col += len + 2;
        }
    }
    g_string_append_c(s, '\n');
}
