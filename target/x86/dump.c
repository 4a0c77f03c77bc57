/* The x86 CPU as text: `info registers`. */
#include "target/x86/sys.h"
#include <inttypes.h>

static const char *const seg_names[S_COUNT] = {"ES ", "CS ", "SS ", "DS ",
                                               "FS ", "GS ", "LDT", "TR "};

/* "DPL=0 CS64 [-RA]" */
static void dump_type(GString *s, const X86Cpu *c, const X86Seg *seg)
{
    static const char *const sys64[16] = {"Reserved",   "Reserved",  "LDT",       "Reserved",
                                          "Reserved",   "Reserved",  "Reserved",  "Reserved",
                                          "Reserved",   "TSS64-avl", "Reserved",  "TSS64-busy",
                                          "CallGate64", "Reserved",  "IntGate64", "TrapGate64"};
    static const char *const sys32[16] = {"Reserved",   "TSS16-avl", "LDT",       "TSS16-busy",
                                          "CallGate16", "TaskGate",  "IntGate16", "TrapGate16",
                                          "Reserved",   "TSS32-avl", "Reserved",  "TSS32-busy",
                                          "CallGate32", "Reserved",  "IntGate32", "TrapGate32"};
    uint32_t a = seg->attr;

    if (!(c->cr0 & CR0_PE) || !(a & DESC_P)) {
        return;
    }
    g_string_append_printf(s, " DPL=%u ", a >> DESC_DPL_SHIFT & 3);
    if (!(a & DESC_S)) {
        g_string_append(s, (x86_lma(c) ? sys64 : sys32)[a >> DESC_TYPE_SHIFT & 15]);
    } else if (a & DESC_CODE) {
        g_string_append_printf(s, "CS%s [%c%c%c]",
                               a & DESC_L   ? "64"
                               : a & DESC_B ? "32"
                                            : "16",
                               a & DESC_C ? 'C' : '-', a & DESC_R ? 'R' : '-',
                               a & DESC_A ? 'A' : '-');
    } else {
        g_string_append_printf(s, "DS%s [%c%c%c]", a & DESC_B || x86_lma(c) ? "  " : "16",
                               a & DESC_E ? 'E' : '-', a & DESC_W ? 'W' : '-',
                               a & DESC_A ? 'A' : '-');
    }
}

static void dump_segs(GString *s, const X86Cpu *c, int w)
{
    for (unsigned i = 0; i < S_COUNT; i++) {
        const X86Seg *seg = &c->seg[i];

        g_string_append_printf(s, "%s=%04x %0*" PRIx64 " %08x %08x", seg_names[i], seg->sel, w,
                               seg->base, seg->limit, seg->attr);
        dump_type(s, c, seg);
        g_string_append_c(s, '\n');
    }
    g_string_append_printf(s, "GDT=     %0*" PRIx64 " %08x\n", w, c->gdt.base, c->gdt.limit);
    g_string_append_printf(s, "IDT=     %0*" PRIx64 " %08x\n", w, c->idt.base, c->idt.limit);
}

static void dump_flags(GString *s, X86Cpu *c)
{
    uint32_t f = x86_get_eflags(c);

    g_string_append_printf(s, "FL=%08x [%c%c%c%c%c%c%c] CPL=%u II=%d A20=%d SMM=%d HLT=%d\n", f,
                           f & EF_DF ? 'D' : '-', f & EF_OF ? 'O' : '-', f & EF_SF ? 'S' : '-',
                           f & EF_ZF ? 'Z' : '-', f & EF_AF ? 'A' : '-', f & EF_PF ? 'P' : '-',
                           f & EF_CF ? 'C' : '-', x86_cpl(c), c->shadow, !c->a20_off, c->in_smm,
                           c->vcpu.halted);
}

static void dump_fpu(GString *s, X86Cpu *c, unsigned n_xmm)
{
    g_string_append_printf(s, "FCW=%04x FSW=%04x [ST=%d] FTW=%02x MXCSR=%08x\n", c->fctrl,
                           c->fstat | c->ftop << 11, c->ftop, c->ftag_empty ^ 0xff, c->mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        g_string_append_printf(s, "FPR%u=%016" PRIx64 " %04x%c", i, c->fpr[i].mant, c->fpr[i].exp,
                               i & 1 ? '\n' : ' ');
    }
    for (unsigned i = 0; i < n_xmm; i++) {
        g_string_append_printf(s, "XMM%02u=%016" PRIx64 "%016" PRIx64 "%c", i, c->xmm[i].q[1],
                               c->xmm[i].q[0], i & 1 ? '\n' : ' ');
    }
}

char *x86_dump(VCpu *cpu, bool fpu)
{
    static const char *const names64[16] = {"RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP",
                                            "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static const uint8_t order[16] = {R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RBP, R_RSP,
                                      8,     9,     10,    11,    12,    13,    14,    15};
    X86Cpu *c = x86(cpu);
    bool wide = x86_lma(c);
    int w = wide ? 16 : 8;
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < (wide ? 16 : 8); i++) {
        g_string_append_printf(s, "%s%s=%0*" PRIx64 "%c", wide ? "" : "E",
                               wide ? names64[i] : names64[i] + 1, w, c->regs[order[i]],
                               i & 3 && (i & 3) == 3 ? '\n' : ' ');
    }
    g_string_append_printf(s, "%sIP=%0*" PRIx64 " %s", wide ? "R" : "E", w, c->rip,
                           wide ? "R" : "E");
    dump_flags(s, c);
    dump_segs(s, c, w);
    g_string_append_printf(s, "CR0=%08x CR2=%0*" PRIx64 " CR3=%0*" PRIx64 " CR4=%08x\n",
                           (uint32_t)c->cr0, w, c->cr2, w, c->cr3, (uint32_t)c->cr4);
    for (unsigned i = 0; i < 4; i++) {
        g_string_append_printf(s, "DR%u=%016" PRIx64 "%c", i, c->dr[i], i == 3 ? '\n' : ' ');
    }
    g_string_append_printf(s, "DR6=%016" PRIx64 " DR7=%016" PRIx64 "\n", c->dr[6], c->dr[7]);
    g_string_append_printf(s, "EFER=%016" PRIx64 "\n", c->efer);
    if (fpu) {
        dump_fpu(s, c, wide ? 16 : 8);
    }
    return g_string_free(s, FALSE);
}
