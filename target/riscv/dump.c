/* A hart as text, for the monitor, and its registers by name. */
#include "core/machine.h"
#include "target/riscv/cpu.h"
#include "target/riscv/fp.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const rv_xnames[32] = {"zero", "ra", "sp",  "gp",  "tp", "t0", "t1", "t2",
                                   "s0",   "s1", "a0",  "a1",  "a2", "a3", "a4", "a5",
                                   "a6",   "a7", "s2",  "s3",  "s4", "s5", "s6", "s7",
                                   "s8",   "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
const char *const rv_fnames[32] = {"ft0", "ft1", "ft2",  "ft3",  "ft4", "ft5", "ft6",  "ft7",
                                   "fs0", "fs1", "fa0",  "fa1",  "fa2", "fa3", "fa4",  "fa5",
                                   "fa6", "fa7", "fs2",  "fs3",  "fs4", "fs5", "fs6",  "fs7",
                                   "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};

static const struct {
    const char *name;
    uint16_t num;
} csrs[] = {
    {"mhartid", 0xf14}, {"mstatus", 0x300},  {"mip", 0x344},      {"mie", 0x304},
    {"mideleg", 0x303}, {"medeleg", 0x302},  {"mtvec", 0x305},    {"stvec", 0x105},
    {"mepc", 0x341},    {"sepc", 0x141},     {"mcause", 0x342},   {"scause", 0x142},
    {"mtval", 0x343},   {"stval", 0x143},    {"mscratch", 0x340}, {"sscratch", 0x140},
    {"satp", 0x180},    {"stimecmp", 0x14d}, {"menvcfg", 0x30a},  {"sstatus", 0x100},
};

char *rv_dump(VCpu *cpu, bool fpu)
{
    RiscvCpu *c = riscv(cpu);
    GString *s = g_string_new(NULL);
    int w = c->rv32 ? 8 : 16;

    g_string_append_printf(s, " pc       %0*" PRIx64 "\n priv     %c\n", w, c->pc,
                           "US?M"[c->prv & 3]);
    for (unsigned i = 0; i < G_N_ELEMENTS(csrs); i++) {
        uint64_t v;

        if (rv_csr_peek(c, csrs[i].num, &v)) {
            g_string_append_printf(s, " %-8s %0*" PRIx64 "\n", csrs[i].name, w, rv_zext(c, v));
        }
    }
    for (unsigned i = 0; i < 32; i++) {
        g_string_append_printf(s, " x%u/%s%*s %0*" PRIx64 "%s", i, rv_xnames[i],
                               (int)(6 - strlen(rv_xnames[i]) - (i > 9)), "", w,
                               rv_zext(c, c->x[i]), i % 4 == 3 ? "\n" : "");
    }
    for (unsigned i = 0; fpu && rv_has(c, RVE_F) && i < 32; i++) {
        g_string_append_printf(s, " f%u/%s%*s %016" PRIx64 "%s", i, rv_fnames[i],
                               (int)(6 - strlen(rv_fnames[i]) - (i > 9)), "", c->f[i].v,
                               i % 4 == 3 ? "\n" : "");
    }
    return g_string_free(s, FALSE);
}

bool rv_get_reg(VCpu *cpu, const char *name, uint64_t *val)
{
    RiscvCpu *c = riscv(cpu);

    if (!strcmp(name, "codebits")) {
        *val = c->rv32 ? 32 : 64;
        return true;
    }
    for (unsigned i = 0; i < 32; i++) {
        g_autofree char *num = g_strdup_printf("x%u", i);

        if (!strcmp(name, rv_xnames[i]) || !strcmp(name, num)) {
            *val = rv_zext(c, c->x[i]);
            return true;
        }
        if (!strcmp(name, rv_fnames[i])) {
            *val = c->f[i].v;
            return true;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(csrs); i++) {
        if (!strcmp(name, csrs[i].name)) {
            return rv_csr_peek(c, csrs[i].num, val);
        }
    }
    return false;
}
