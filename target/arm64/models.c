/*
 * AArch64 CPU models. Values of real cores come from their technical reference manuals (DDI 0500
 * A53, DDI 0488 A57, 100095 A72, 100798 A76, 100616 Neoverse N1); features that are not implemented
 * here are taken out of the ID registers, so that a guest never sees what it cannot use.
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/arm64/cpu.h"
#include <string.h>

#define CTR_V8 0x8444c004ull /* 64-byte lines, PIPT instruction cache */
#define CTR_A76 0x9444c004ull
#define CLIDR2 0x0a200023ull /* L1 I + D, L2 unified, coherent at L2 */
#define CLIDR3 0xc3000123ull
/* CCSIDR: line 64 bytes; L1 data, L1 instruction, L2 */
#define CCSIDRS                                                                                    \
    {                                                                                              \
        0x700fe01a, 0x201fe012, 0x70ffe07a, 0x70ffe07a                                             \
    }

/* ISAR0: AES 7:4, SHA1 11:8, SHA2 15:12, CRC32 19:16, LSE 23:20, RDM 31:28, SHA3 35:32, DP 47:44,
 * FHM 51:48, TS 55:52, RNDR 63:60 */
#define ISAR0_V8 0x0000000000011120ull
#define ISAR0_V82 0x0000100010211120ull
#define ISAR0_MAX 0x1021100110212120ull
/* ISAR1: DPB 3:0, API 11:8 (impdef), JSCVT 15:12, FCMA 19:16, LRCPC 23:20, GPI 31:28, FRINTTS
 * 35:32, SB 39:36 */
#define ISAR1_V82 0x0000000000100001ull
#define ISAR1_MAX 0x0000001110211101ull
#define PFR0_V8 0x0000000000000011ull
#define PFR0_V82 0x1100000000000011ull /* CSV2, CSV3: no speculation past them */
#define PFR0_MAX 0x1101000000000011ull /* DIT 51:48 */
/* MMFR0: PARange 44 bits, ASID 16 bits, big-endian, 16K 64K 4K granules */
#define MMFR0_44 0x0000000000101124ull /* TGran16 at 23:20 = 1, TGran64 and TGran4 = 0 */
#define MMFR0_48 0x0000000000101125ull
#define MMFR0_40 0x0000000000001122ull
/* MMFR1: HAFDBS 3:0, VMIDBits 7:4, HPDS 15:12, PAN 23:20 */
#define MMFR1_V82 0x0000000000201002ull
#define MMFR2_V82 0x0000000000000010ull /* UAO 7:4 */

static const Arm64Model models[] = {
    {.name = "cortex-a53",
     .compatible = "arm,cortex-a53",
     .midr = 0x410fd034,
     .isar0 = ISAR0_V8,
     .pfr0 = PFR0_V8,
     .mmfr0 = MMFR0_40,
     .clidr = CLIDR2,
     .ctr = 0x84448004,
     .ccsidr = CCSIDRS},
    {.name = "cortex-a57",
     .compatible = "arm,cortex-a57",
     .midr = 0x411fd070,
     .isar0 = ISAR0_V8,
     .pfr0 = PFR0_V8,
     .mmfr0 = MMFR0_44 & ~0xf00000ull,
     .clidr = CLIDR2,
     .ctr = CTR_V8,
     .ccsidr = CCSIDRS},
    {.name = "cortex-a72",
     .compatible = "arm,cortex-a72",
     .midr = 0x410fd083,
     .isar0 = ISAR0_V8,
     .pfr0 = PFR0_V8,
     .mmfr0 = MMFR0_44 & ~0xf00000ull,
     .clidr = CLIDR2,
     .ctr = CTR_V8,
     .ccsidr = CCSIDRS},
    {.name = "cortex-a76",
     .compatible = "arm,cortex-a76",
     .midr = 0x414fd0b1,
     .isar0 = ISAR0_V82,
     .isar1 = ISAR1_V82,
     .pfr0 = PFR0_V82,
     .pfr1 = 0x10,
     .mmfr0 = MMFR0_40 | 0x100000,
     .mmfr1 = MMFR1_V82,
     .mmfr2 = MMFR2_V82,
     .clidr = CLIDR3,
     .ctr = CTR_A76,
     .ccsidr = CCSIDRS,
     .aff1 = true},
    {.name = "neoverse-n1",
     .compatible = "arm,neoverse-n1",
     .midr = 0x414fd0c1,
     .isar0 = ISAR0_V82,
     .isar1 = ISAR1_V82,
     .pfr0 = PFR0_V82,
     .pfr1 = 0x10,
     .mmfr0 = MMFR0_48,
     .mmfr1 = MMFR1_V82,
     .mmfr2 = MMFR2_V82,
     .clidr = CLIDR3,
     .ctr = CTR_A76,
     .ccsidr = CCSIDRS,
     .aff1 = true},
    {.name = "max",
     .compatible = "arm,armv8",
     .midr = 0x000f0510,
     .isar0 = ISAR0_MAX,
     .isar1 = ISAR1_MAX,
     .pfr0 = PFR0_MAX,
     .pfr1 = 0x20,
     .mmfr0 = MMFR0_48,
     .mmfr1 = MMFR1_V82,
     .mmfr2 = MMFR2_V82,
     .clidr = CLIDR2,
     .ctr = CTR_V8,
     .ccsidr = CCSIDRS},
};

char *a64_model_list(void)
{
    GString *s = g_string_new("Available CPUs:\n");

    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        g_string_append_printf(s, "  %s%s\n", models[i].name,
                               strcmp(models[i].name, "max") ? "" : " (default: everything)");
    }
    return g_string_free(s, FALSE);
}

static uint32_t fp_features(const Arm64Cpu *c)
{
    unsigned aes = id_field(c->isar0, 4), sha2 = id_field(c->isar0, 12);

    return (aes ? FPF_AES : 0) | (aes >= 2 ? FPF_PMULL : 0) |
           (id_field(c->isar0, 8) ? FPF_SHA1 : 0) | (sha2 ? FPF_SHA256 : 0) |
           (sha2 >= 2 ? FPF_SHA512 : 0) | (id_field(c->isar0, 28) ? FPF_RDM : 0) |
           (id_field(c->isar0, 32) ? FPF_SHA3 : 0) | (id_field(c->isar0, 44) ? FPF_DP : 0) |
           (id_field(c->isar0, 48) ? FPF_FHM : 0) | (id_field(c->isar1, 12) ? FPF_JSCVT : 0) |
           (id_field(c->isar1, 16) ? FPF_FCMA : 0) | (id_field(c->isar1, 32) ? FPF_FRINT : 0);
}

/* What the switches of the machine make of the model. */
static void derive(Arm64Cpu *c)
{
    const Arm64Model *m = c->model;

    c->pfr0 = m->pfr0 | (c->has_el2 ? 0x100 : 0) | (c->has_el3 ? 0x1000 : 0);
    if (c->gic) {
        c->pfr0 |= 1 << 24;
    }
    c->dfr0 = 0x0000000000000106ull | (uint64_t)(BRPS - 1) << 12 | (uint64_t)(WRPS - 1) << 20 |
              1ull << 28;
}

bool a64_model_init(Arm64Cpu *c, const char *model, GError **err)
{
    unsigned i = c->vcpu.index;

    if (!model) {
        model = "max";
    }
    for (unsigned n = 0; n < G_N_ELEMENTS(models); n++) {
        const Arm64Model *m = &models[n];

        if (strcmp(model, m->name)) {
            continue;
        }
        c->model = m;
        c->isar0 = m->isar0;
        c->isar1 = m->isar1;
        c->pfr1 = m->pfr1;
        c->mmfr0 = m->mmfr0;
        c->mmfr1 = m->mmfr1;
        c->mmfr2 = m->mmfr2;
        c->fp.feat = fp_features(c);
        c->mpidr = 1ull << 31;
        /* Eight CPUs to a cluster, as GICv2 can address; simple models count in Aff0. */
        c->mpidr |= (i / 8) << 8 | i % 8;
        derive(c);
        return true;
    }
    return fail(err, "-cpu: there is no AArch64 CPU '%s'; see -cpu help", model);
}

void arm64_set_gic(VCpu *cpu, const Arm64Gic *gic, void *opaque)
{
    Arm64Cpu *c = arm64(cpu);

    c->gic = gic;
    c->gic_opaque = opaque;
    derive(c);
}

void arm64_set_levels(VCpu *cpu, bool el2, bool el3)
{
    Arm64Cpu *c = arm64(cpu);

    c->has_el2 = el2;
    c->has_el3 = el3;
    derive(c);
}

uint64_t arm64_mpidr(VCpu *cpu)
{
    return arm64(cpu)->mpidr & 0xff00ffffffull;
}

const char *arm64_compatible(VCpu *cpu)
{
    return arm64(cpu)->model->compatible;
}
