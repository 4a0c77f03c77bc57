/* CPU models: -cpu rv64|rv32|max[,EXT=on|off][,+EXT][,-EXT]. */
#include "core/log.h"
#include "core/option.h"
#include "target/riscv/cpu.h"
#include <string.h>

typedef struct Ext {
    const char *name;
    bool def;
} Ext;

static const Ext exts[RVE_COUNT] = {
#define X(n, name, def) [RVE_##n] = {name, def},
    RV_EXTS(X)
#undef X
};

char *rv_models(bool rv32)
{
    GString *s = g_string_new("Available CPUs:\n");

    g_string_append_printf(s, "  %s       RV%dGC with what this version has (default)\n",
                           rv32 ? "rv32" : "rv64", rv32 ? 32 : 64);
    g_string_append(s, "  max        the same\n\nExtensions, NAME=on|off:");
    for (unsigned i = 0; i < RVE_COUNT; i++) {
        g_string_append_printf(s, " %s%s", exts[i].name, exts[i].def ? "" : "(off)");
    }
    g_string_append_c(s, '\n');
    return g_string_free(s, FALSE);
}

static bool set_ext(RiscvCpu *c, const char *name, bool on, GError **err)
{
    for (unsigned i = 0; i < RVE_COUNT; i++) {
        if (!strcmp(exts[i].name, name)) {
            c->ext = (c->ext & ~(1ull << i)) | (uint64_t)on << i;
            return true;
        }
    }
    /* Part of every one of these CPUs. */
    if (on && (!strcmp(name, "i") || !strcmp(name, "g") || !strcmp(name, "zicsr") ||
               !strcmp(name, "zifencei") || !strcmp(name, "Zicsr") || !strcmp(name, "Zifencei"))) {
        return true;
    }
    /* Extensions that are not there are off already. */
    static const char *const absent[] = {"v", "h", "zve32f", "zve64f", "zve64d", "zicntr", "smaia"};
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        if (!strcmp(absent[i], name)) {
            return !on || fail(err, "-cpu: extension '%s' is not in this version", name);
        }
    }
    return fail(err, "-cpu: there is no extension '%s'; -cpu help lists them", name);
}

typedef struct Parse {
    RiscvCpu *c;
    GError **err;
    bool ok;
} Parse;

static void parse_option(const char *key, const char *value, void *arg)
{
    Parse *p = arg;
    bool on = true;

    if (!p->ok || !strcmp(key, "model")) {
        return;
    }
    if (*key == '+' || *key == '-') {
        p->ok = set_ext(p->c, key + 1, *key == '+', p->err);
    } else {
        g_autofree char *what = g_strdup_printf("-cpu %s", key);

        p->ok = parse_bool(what, value, &on, p->err) && set_ext(p->c, key, on, p->err);
    }
}

/* Words as users write them; a "+x" would otherwise read as x=on. */
static bool parse_model(RiscvCpu *c, const char *text, bool rv32, GError **err)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    const char *own = rv32 ? "rv32" : "rv64";
    Parse p = {c, err, true};

    if (strcmp(words[0], own) && strcmp(words[0], "max")) {
        return fail(err, "-cpu: there is no CPU model '%s'; use %s or max", words[0], own);
    }
    for (char **w = words + 1; *w && p.ok; w++) {
        char *eq = strchr(*w, '=');

        if (eq) {
            *eq = '\0';
        }
        parse_option(*w, eq ? eq + 1 : "on", &p);
    }
    return p.ok;
}

static bool check(RiscvCpu *c, GError **err)
{
    static const struct {
        uint8_t ext, needs;
    } deps[] = {{RVE_D, RVE_F},         {RVE_ZFHMIN, RVE_F},    {RVE_ZFH, RVE_ZFHMIN},
                {RVE_S, RVE_U},         {RVE_SSTC, RVE_S},      {RVE_SVADE, RVE_MMU},
                {RVE_SVINVAL, RVE_MMU}, {RVE_SVNAPOT, RVE_MMU}, {RVE_SVPBMT, RVE_MMU},
                {RVE_SV48, RVE_MMU},    {RVE_SV57, RVE_SV48},   {RVE_MMU, RVE_S},
                {RVE_ZAWRS, RVE_A}};

    for (unsigned i = 0; i < G_N_ELEMENTS(deps); i++) {
        if (rv_has(c, deps[i].ext) && !rv_has(c, deps[i].needs)) {
            /* What was switched off takes along what was on by default only. */
            c->ext &= ~(1ull << deps[i].ext);
        }
    }
    return true;
}

static char *isa_string(const RiscvCpu *c)
{
    static const uint8_t multi[] = {RVE_ZICBOM, RVE_ZICBOP, RVE_ZICBOZ, RVE_ZICOND};
    static const uint8_t after[] = {RVE_ZAWRS, RVE_ZFH,     RVE_ZFHMIN,  RVE_ZBA,
                                    RVE_ZBB,   RVE_ZBC,     RVE_ZBS,     RVE_SSTC,
                                    RVE_SVADE, RVE_SVINVAL, RVE_SVNAPOT, RVE_SVPBMT};
    GString *s = g_string_new(c->rv32 ? "rv32i" : "rv64i");

    for (unsigned i = RVE_M; i <= RVE_C; i++) {
        if (rv_has(c, i)) {
            g_string_append(s, exts[i].name);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(multi); i++) {
        if (rv_has(c, multi[i])) {
            g_string_append_printf(s, "_%s", exts[multi[i]].name);
        }
    }
    g_string_append(s, "_zicntr_zicsr_zifencei");
    for (unsigned i = 0; i < G_N_ELEMENTS(after); i++) {
        if (rv_has(c, after[i])) {
            g_string_append_printf(s, "_%s", exts[after[i]].name);
        }
    }
    return g_string_free(s, FALSE);
}

bool rv_model_init(RiscvCpu *c, const char *model, bool rv32, GError **err)
{
    c->rv32 = rv32;
    c->ext = 0;
    for (unsigned i = 0; i < RVE_COUNT; i++) {
        c->ext |= (uint64_t)exts[i].def << i;
    }
    if (model && !parse_model(c, model, rv32, err)) {
        return false;
    }
    if (rv32) { /* Sv32 has none of these */
        c->ext &= ~(1ull << RVE_SV48 | 1ull << RVE_SV57 | 1ull << RVE_SVNAPOT | 1ull << RVE_SVPBMT);
    }
    if (!check(c, err)) {
        return false;
    }
    c->isa = isa_string(c);
    return true;
}
