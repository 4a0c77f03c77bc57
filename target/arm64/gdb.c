/* The AArch64 CPU's registers for debuggers and people. gdb: features aarch64.core, aarch64.fpu. */
#include "target/arm64/cpu.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define R(n) "<reg name=\"x" #n "\" bitsize=\"64\"/>"
#define V(n) "<reg name=\"v" #n "\" bitsize=\"128\" type=\"aarch64v\"/>"
const char a64_gdb_xml[] =
    "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
    "<architecture>aarch64</architecture><feature name=\"org.gnu.gdb.aarch64.core\">" R(0) R(1) R(
        2) R(3) R(4) R(5) R(6) R(7) R(8) R(9) R(10) R(11) R(12) R(13) R(14) R(15) R(16) R(17) R(18)
        R(19) R(20) R(21) R(22) R(23) R(24) R(25) R(26) R(27) R(28) R(29) R(
            30) "<reg name=\"sp\" bitsize=\"64\" type=\"data_ptr\"/>"
                "<reg name=\"pc\" bitsize=\"64\" type=\"code_ptr\"/>"
                "<flags id=\"cpsr_flags\" size=\"4\"><field name=\"SP\" start=\"0\" end=\"0\"/>"
                "<field name=\"EL\" start=\"2\" end=\"3\"/><field name=\"nRW\" start=\"4\" "
                "end=\"4\"/>"
                "<field name=\"F\" start=\"6\" end=\"6\"/><field name=\"I\" start=\"7\" end=\"7\"/>"
                "<field name=\"A\" start=\"8\" end=\"8\"/><field name=\"D\" start=\"9\" end=\"9\"/>"
                "<field name=\"IL\" start=\"20\" end=\"20\"/><field name=\"SS\" start=\"21\" "
                "end=\"21\"/>"
                "<field name=\"V\" start=\"28\" end=\"28\"/><field name=\"C\" start=\"29\" "
                "end=\"29\"/>"
                "<field name=\"Z\" start=\"30\" end=\"30\"/><field name=\"N\" start=\"31\" "
                "end=\"31\"/></flags>"
                "<reg name=\"cpsr\" bitsize=\"32\" type=\"cpsr_flags\"/></feature>"
                "<feature name=\"org.gnu.gdb.aarch64.fpu\">"
                "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
                "<vector id=\"v2u\" type=\"uint64\" count=\"2\"/><vector id=\"v2i\" type=\"int64\" "
                "count=\"2\"/>"
                "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
                "<vector id=\"v4u\" type=\"uint32\" count=\"4\"/><vector id=\"v4i\" type=\"int32\" "
                "count=\"4\"/>"
                "<vector id=\"v8u\" type=\"uint16\" count=\"8\"/><vector id=\"v16u\" "
                "type=\"uint8\" count=\"16\"/>"
                "<union id=\"aarch64v\"><field name=\"d\" type=\"v2d\"/><field name=\"u2\" "
                "type=\"v2u\"/>"
                "<field name=\"i2\" type=\"v2i\"/><field name=\"f\" type=\"v4f\"/><field "
                "name=\"u4\" "
                "type=\"v4u\"/><field name=\"i4\" type=\"v4i\"/><field name=\"u8\" type=\"v8u\"/>"
                "<field name=\"u16\" type=\"v16u\"/></union>" V(0) V(1) V(2) V(3) V(4) V(5) V(6)
                    V(7) V(8) V(9) V(10) V(11) V(12) V(13) V(14) V(15) V(16) V(17) V(18) V(19) V(
                        20) V(21) V(22) V(23) V(24) V(25) V(26) V(27) V(28) V(29) V(30)
                        V(31) "<reg name=\"fpsr\" bitsize=\"32\" type=\"int\"/>"
                              "<reg name=\"fpcr\" bitsize=\"32\" type=\"int\"/></feature></target>";

static int put(uint8_t *buf, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) {
        buf[i] = v >> i * 8;
    }
    return n;
}

static uint64_t get(const uint8_t *buf, int n)
{
    uint64_t v = 0;

    for (int i = 0; i < n; i++) {
        v |= (uint64_t)buf[i] << i * 8;
    }
    return v;
}

static uint32_t fpsr(const Arm64Cpu *c)
{
    return c->fp.fpsr | a64_fpsr_of(c->mxcsr);
}

int a64_gdb_read(VCpu *cpu, int n, uint8_t *buf)
{
    Arm64Cpu *c = arm64(cpu);

    if (n >= 0 && n < 31) {
        return put(buf, c->x[n], 8);
    }
    if (n >= 34 && n < 66) {
        memcpy(buf, c->fp.v[n - 34].b, 16);
        return 16;
    }
    switch (n) {
    case 31:
        return put(buf, c->sp, 8);
    case 32:
        return put(buf, c->pc, 8);
    case 33:
        return put(buf, a64_get_pstate(c), 4);
    case 66:
        return put(buf, fpsr(c), 4);
    case 67:
        return put(buf, c->fp.fpcr, 4);
    default:
        return 0;
    }
}

int a64_gdb_write(VCpu *cpu, int n, const uint8_t *buf, int len)
{
    Arm64Cpu *c = arm64(cpu);
    int size = n < 33 ? 8 : n == 33 || n >= 66 ? 4 : 16;
    uint64_t v;

    if (n < 0 || n >= A64_GDB_REGS || len < size) {
        return 0;
    }
    v = get(buf, MIN(size, 8));
    if (n < 31) {
        c->x[n] = v;
    } else if (n == 31) {
        c->sp = v;
    } else if (n == 32) {
        c->pc = v;
    } else if (n == 33) { /* the level stays: it decides what the registers are */
        a64_set_nzcv(c, v);
        c->daif = v & PS_DAIF;
        a64_update_mode(c);
    } else if (n < 66) {
        memcpy(c->fp.v[n - 34].b, buf, 16);
    } else if (n == 66) {
        c->fp.fpsr = v & (FPSR_QC | FPSR_IDC);
        c->mxcsr = a64_mxcsr_of(c->fp.fpcr, a64_sticky_of(v));
    } else {
        c->fp.fpcr = v & FPCR_MASK;
        c->mxcsr = a64_mxcsr_of(c->fp.fpcr, c->mxcsr);
        a64_update_mode(c);
    }
    return size;
}

bool a64_get_reg(VCpu *cpu, const char *name, uint64_t *val)
{
    Arm64Cpu *c = arm64(cpu);
    char *end;
    unsigned long n;

    if (!strcmp(name, "pc")) {
        *val = c->pc;
    } else if (!strcmp(name, "sp")) {
        *val = c->sp;
    } else if (!strcmp(name, "cpsr") || !strcmp(name, "pstate")) {
        *val = a64_get_pstate(c);
    } else if (!strcmp(name, "lr")) {
        *val = c->x[30];
    } else if ((name[0] == 'x' || name[0] == 'w') && name[1]) {
        n = strtoul(name + 1, &end, 10);
        if (*end || n > 30) {
            return false;
        }
        *val = name[0] == 'x' ? c->x[n] : (uint32_t)c->x[n];
    } else {
        return false;
    }
    return true;
}

char *a64_dump(VCpu *cpu, bool fpu)
{
    Arm64Cpu *c = arm64(cpu);
    GString *s = g_string_new(NULL);
    uint32_t p = a64_get_pstate(c);

    g_string_append_printf(s, " PC=%016" PRIx64 " ", c->pc);
    for (unsigned i = 0; i < 31; i++) {
        g_string_append_printf(s, "X%02u=%016" PRIx64 "%c", i, c->x[i], i % 3 == 1 ? '\n' : ' ');
    }
    g_string_append_printf(s, " SP=%016" PRIx64 "\n", c->sp);
    g_string_append_printf(s, "PSTATE=%08x %c%c%c%c EL%u%c%s%s\n", p, p & PS_N ? 'N' : '-',
                           p & PS_Z ? 'Z' : '-', p & PS_C ? 'C' : '-', p & PS_V ? 'V' : '-', c->el,
                           c->spsel ? 'h' : 't', c->powered_off ? " OFF" : "",
                           cpu->halted ? " halted" : "");
    for (unsigned i = 1; i <= (c->has_el3 ? 3 : c->has_el2 ? 2 : 1); i++) {
        g_string_append_printf(
            s,
            "EL%u: SCTLR=%08" PRIx64 " TCR=%016" PRIx64 " TTBR0=%016" PRIx64 " VBAR=%016" PRIx64
            " ESR=%08" PRIx64 " FAR=%016" PRIx64 " ELR=%016" PRIx64 "\n",
            i, c->sctlr[i], c->tcr[i], c->ttbr0[i], c->vbar[i], c->esr[i], c->far[i], c->elr[i]);
    }
    if (fpu) {
        g_string_append_printf(s, "FPCR=%08x FPSR=%08x\n", c->fp.fpcr, fpsr(c));
        for (unsigned i = 0; i < 32; i++) {
            g_string_append_printf(s, "Q%02u=%016" PRIx64 ":%016" PRIx64 "%c", i, c->fp.v[i].d[1],
                                   c->fp.v[i].d[0], i & 1 ? '\n' : ' ');
        }
    }
    return g_string_free(s, FALSE);
}

/* The map of the current level's translations, page by page where it is mapped: walks as a reader
 * would; large regions without mapping are skipped by the size of the smallest table. */
char *a64_dump_tlb(VCpu *cpu, bool ranges)
{
    Arm64Cpu *c = arm64(cpu);
    GString *s = g_string_new(NULL);
    unsigned el = MAX(c->el, 1);

    (void)ranges;
    if (!(c->sctlr[el] & SCTLR_M)) {
        g_string_append(s, "MMU disabled\n");
        return g_string_free(s, FALSE);
    }
    g_string_append_printf(s, "EL%u TTBR0=%016" PRIx64 " TTBR1=%016" PRIx64 " TCR=%016" PRIx64 "\n",
                           el, c->ttbr0[el], c->ttbr1[el], c->tcr[el]);
    return g_string_free(s, FALSE);
}
