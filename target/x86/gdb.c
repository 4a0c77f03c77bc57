/*
 * The x86 CPU as gdb sees it. Target descriptions and register numbers: gdb manual, appendix G.5.
 * (standard target features, i386 features org.gnu.gdb.i386.core, .sse and .segments).
 */
#include "target/x86/sys.h"
#include <stdio.h>
#include <string.h>

#define HEAD(arch)                                                                                 \
    "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"                   \
    "<architecture>" arch "</architecture><feature name=\"org.gnu.gdb.i386.core\">"                \
    "<flags id=\"i386_eflags\" size=\"4\"><field name=\"CF\" start=\"0\" end=\"0\"/>"              \
    "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"         \
    "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"         \
    "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"         \
    "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"     \
    "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"     \
    "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"     \
    "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"   \
    "<field name=\"ID\" start=\"21\" end=\"21\"/></flags>"
#define R64(n) "<reg name=\"" n "\" bitsize=\"64\" type=\"int64\"/>"
#define R32(n) "<reg name=\"" n "\" bitsize=\"32\" type=\"int32\"/>"
#define P64(n, t) "<reg name=\"" n "\" bitsize=\"64\" type=\"" t "\"/>"
#define P32(n, t) "<reg name=\"" n "\" bitsize=\"32\" type=\"" t "\"/>"
#define FLAGS P32("eflags", "i386_eflags")
#define SEGS R32("cs") R32("ss") R32("ds") R32("es") R32("fs") R32("gs")
#define ST(n) "<reg name=\"st" n "\" bitsize=\"80\" type=\"i387_ext\"/>"
#define FCTL(n) "<reg name=\"" n "\" bitsize=\"32\" type=\"int\" group=\"float\"/>"
#define FPU                                                                                        \
    ST("0")                                                                                        \
    ST("1")                                                                                        \
    ST("2")                                                                                        \
    ST("3")                                                                                        \
    ST("4")                                                                                        \
    ST("5")                                                                                        \
    ST("6")                                                                                        \
    ST("7")                                                                                        \
    FCTL("fctrl")                                                                                  \
    FCTL("fstat")                                                                                  \
    FCTL("ftag") FCTL("fiseg") FCTL("fioff") FCTL("foseg") FCTL("fooff") FCTL("fop") "</feature>"
#define SSE_HEAD                                                                                   \
    "<feature name=\"org.gnu.gdb.i386.sse\"><vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>" \
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"                                        \
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"                                            \
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"                                            \
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"                                            \
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/><union id=\"vec128\">"                       \
    "<field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"              \
    "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"           \
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"           \
    "<field name=\"uint128\" type=\"uint128\"/></union>"                                           \
    "<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/>"               \
    "<field name=\"DE\" start=\"1\" end=\"1\"/><field name=\"ZE\" start=\"2\" end=\"2\"/>"         \
    "<field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" start=\"4\" end=\"4\"/>"         \
    "<field name=\"PE\" start=\"5\" end=\"5\"/><field name=\"DAZ\" start=\"6\" end=\"6\"/>"        \
    "<field name=\"IM\" start=\"7\" end=\"7\"/><field name=\"DM\" start=\"8\" end=\"8\"/>"         \
    "<field name=\"ZM\" start=\"9\" end=\"9\"/><field name=\"OM\" start=\"10\" end=\"10\"/>"       \
    "<field name=\"UM\" start=\"11\" end=\"11\"/><field name=\"PM\" start=\"12\" end=\"12\"/>"     \
    "<field name=\"FZ\" start=\"15\" end=\"15\"/></flags>"
#define XMM(n) "<reg name=\"xmm" n "\" bitsize=\"128\" type=\"vec128\"/>"
#define XMM8 XMM("0") XMM("1") XMM("2") XMM("3") XMM("4") XMM("5") XMM("6") XMM("7")
#define XMM16 XMM8 XMM("8") XMM("9") XMM("10") XMM("11") XMM("12") XMM("13") XMM("14") XMM("15")
#define MXCSR "<reg name=\"mxcsr\" bitsize=\"32\" type=\"i386_mxcsr\" group=\"vector\"/></feature>"

const char x86_gdb_xml64[] = HEAD("i386:x86-64") R64("rax") R64("rbx") R64("rcx") R64("rdx")
    R64("rsi") R64("rdi") P64("rbp", "data_ptr") P64("rsp", "data_ptr") R64("r8") R64("r9")
        R64("r10") R64("r11") R64("r12") R64("r13") R64("r14") R64("r15") P64("rip", "code_ptr")
            FLAGS SEGS FPU SSE_HEAD XMM16 MXCSR
    "<feature name=\"org.gnu.gdb.i386.segments\">" R64("fs_base")
        R64("gs_base") "</feature></target>";

const char x86_gdb_xml32[] = HEAD("i386") R32("eax") R32("ecx") R32("edx") R32("ebx")
    P32("esp", "data_ptr") P32("ebp", "data_ptr") R32("esi") R32("edi") P32("eip", "code_ptr")
        FLAGS SEGS FPU SSE_HEAD XMM8 MXCSR "</target>";

/* ---- numbers ---- */

typedef enum {
    GDB_GPR,
    GDB_PC,
    GDB_FLAGS,
    GDB_SEG,
    GDB_ST,
    GDB_FCTL,
    GDB_XMM,
    GDB_MXCSR,
    GDB_BASE,
    GDB_NONE
} GdbKind;

typedef struct GdbReg {
    GdbKind kind;
    unsigned n;
} GdbReg;

static const uint8_t seg_order[6] = {S_CS, S_SS, S_DS, S_ES, S_FS, S_GS};

static GdbReg locate(int n, bool wide)
{
    static const uint8_t gpr64[8] = {R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RBP, R_RSP};
    /* kind, how many */
    const struct {
        GdbKind kind;
        int count;
    } runs[] = {
        {GDB_GPR, wide ? 16 : 8},
        {GDB_PC, 1},
        {GDB_FLAGS, 1},
        {GDB_SEG, 6},
        {GDB_ST, 8},
        {GDB_FCTL, 8},
        {GDB_XMM, wide ? 16 : 8},
        {GDB_MXCSR, 1},
        {GDB_BASE, wide ? 2 : 0},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(runs) && n >= 0; i++) {
        if (n < runs[i].count) {
            unsigned r = n;

            if (runs[i].kind == GDB_GPR && wide && n < 8) {
                r = gpr64[n];
            } else if (runs[i].kind == GDB_SEG) {
                r = seg_order[n];
            }
            return (GdbReg){runs[i].kind, r};
        }
        n -= runs[i].count;
    }
    return (GdbReg){GDB_NONE, 0};
}

/* Two tag bits a register: valid, zero, special or empty. */
static uint16_t full_tags(const X86Cpu *c)
{
    uint16_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        unsigned exp = c->fpr[i].exp & 0x7fff, t = 0;

        if (c->ftag_empty >> i & 1) {
            t = 3;
        } else if (!exp && !c->fpr[i].mant) {
            t = 1;
        } else if (!exp || exp == 0x7fff || !(c->fpr[i].mant >> 63)) {
            t = 2;
        }
        tags |= t << (i * 2);
    }
    return tags;
}

static uint32_t read_fctl(const X86Cpu *c, unsigned n)
{
    switch (n) {
    case 0:
        return c->fctrl;
    case 1:
        return c->fstat | c->ftop << 11;
    case 2:
        return full_tags(c);
    case 3:
        return c->fcs;
    case 4:
        return c->fip;
    case 5:
        return c->fds;
    case 6:
        return c->fdp;
    default:
        return c->fop;
    }
}

static void write_fctl(X86Cpu *c, unsigned n, uint32_t v)
{
    switch (n) {
    case 0:
        c->fctrl = (v & 0x1f7f) | 0x40;
        break;
    case 1:
        c->ftop = v >> 11 & 7;
        c->fstat = v & 0xc7ff;
        break;
    case 2:
        c->ftag_empty = 0;
        for (unsigned i = 0; i < 8; i++) {
            c->ftag_empty |= ((v >> (i * 2) & 3) == 3) << i;
        }
        break;
    case 3:
        c->fcs = v;
        break;
    case 4:
        c->fip = v;
        break;
    case 5:
        c->fds = v;
        break;
    case 6:
        c->fdp = v;
        break;
    default:
        c->fop = v & 0x7ff;
        break;
    }
}

/* ---- values ---- */

static int put(uint8_t *buf, uint64_t v, int size)
{
    for (int i = 0; i < size; i++) {
        buf[i] = v >> (i * 8);
    }
    return size;
}

static uint64_t get(const uint8_t *buf, int size)
{
    uint64_t v = 0;

    for (int i = 0; i < size; i++) {
        v |= (uint64_t)buf[i] << (i * 8);
    }
    return v;
}

static int gdb_read(X86Cpu *c, GdbReg r, int word, uint8_t *buf)
{
    switch (r.kind) {
    case GDB_GPR:
        return put(buf, c->regs[r.n], word);
    case GDB_PC:
        return put(buf, c->rip, word);
    case GDB_FLAGS:
        return put(buf, x86_get_eflags(c), 4);
    case GDB_SEG:
        return put(buf, c->seg[r.n].sel, 4);
    case GDB_ST:
        memcpy(buf, c->fpr[(c->ftop + r.n) & 7].b, 10);
        return 10;
    case GDB_FCTL:
        return put(buf, read_fctl(c, r.n), 4);
    case GDB_XMM:
        memcpy(buf, c->xmm[r.n].b, 16);
        return 16;
    case GDB_MXCSR:
        return put(buf, c->mxcsr, 4);
    case GDB_BASE:
        return put(buf, c->seg[S_FS + r.n].base, 8);
    default:
        return 0;
    }
}

static void write_flags(X86Cpu *c, uint32_t v)
{
    /* VM stays: it decides what the segments are. */
    x86_set_eflags(c, (v & ~(uint32_t)EF_VM) | (c->eflags & EF_VM));
}

/* Selectors are loaded as the guest would in real mode; else the write is dropped: a debugger must
 * not fault. */
static void write_seg(X86Cpu *c, unsigned seg, uint16_t sel)
{
    if (c->seg[seg].sel == sel) {
        return;
    }
    if (x86_real(c)) {
        x86_seg_real(c, seg, sel);
    } else if (x86_v86(c)) {
        x86_seg_v86(c, seg, sel);
    }
}

static int gdb_write(X86Cpu *c, GdbReg r, int word, const uint8_t *buf, int len)
{
    static const uint8_t sizes[] = {
        [GDB_GPR] = 0,  [GDB_PC] = 0,   [GDB_FLAGS] = 4, [GDB_SEG] = 4, [GDB_ST] = 10,
        [GDB_FCTL] = 4, [GDB_XMM] = 16, [GDB_MXCSR] = 4, [GDB_BASE] = 8};
    int size;
    uint64_t v;

    if (r.kind == GDB_NONE) {
        return 0;
    }
    size = sizes[r.kind] ? sizes[r.kind] : word;
    if (len < size) {
        return 0;
    }
    v = get(buf, MIN(size, 8));
    switch (r.kind) {
    case GDB_GPR:
        c->regs[r.n] = v;
        break;
    case GDB_PC:
        c->rip = v;
        break;
    case GDB_FLAGS:
        write_flags(c, v);
        break;
    case GDB_SEG:
        write_seg(c, r.n, v);
        break;
    case GDB_ST:
        memcpy(c->fpr[(c->ftop + r.n) & 7].b, buf, 10);
        break;
    case GDB_FCTL:
        write_fctl(c, r.n, v);
        break;
    case GDB_XMM:
        memcpy(c->xmm[r.n].b, buf, 16);
        break;
    case GDB_MXCSR:
        c->mxcsr = v & 0xffff;
        break;
    case GDB_BASE:
        if (x86_canonical(v)) {
            c->seg[S_FS + r.n].base = v;
        }
        break;
    default:
        break;
    }
    return size;
}

int x86_gdb_read64(VCpu *cpu, int n, uint8_t *buf)
{
    return gdb_read(x86(cpu), locate(n, true), 8, buf);
}

int x86_gdb_write64(VCpu *cpu, int n, const uint8_t *buf, int len)
{
    return gdb_write(x86(cpu), locate(n, true), 8, buf, len);
}

int x86_gdb_read32(VCpu *cpu, int n, uint8_t *buf)
{
    return gdb_read(x86(cpu), locate(n, false), 4, buf);
}

int x86_gdb_write32(VCpu *cpu, int n, const uint8_t *buf, int len)
{
    return gdb_write(x86(cpu), locate(n, false), 4, buf, len);
}

/* ---- by name ---- */

bool x86_get_reg(VCpu *cpu, const char *name, uint64_t *val)
{
    static const char *const gpr[8] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static const char *const segs[6] = {"es", "cs", "ss", "ds", "fs", "gs"};
    X86Cpu *c = x86(cpu);
    size_t len = strlen(name);
    unsigned n;
    char end;

    for (unsigned i = 0; i < 8; i++) {
        if (len == 3 && !strcmp(name + 1, gpr[i]) && (name[0] == 'r' || name[0] == 'e')) {
            *val = name[0] == 'r' ? c->regs[i] : (uint32_t)c->regs[i];
            return true;
        }
        if (!strcmp(name, gpr[i])) {
            *val = c->regs[i] & 0xffff;
            return true;
        }
    }
    for (unsigned i = 0; i < 6; i++) {
        if (!strcmp(name, segs[i])) {
            *val = c->seg[i].sel;
            return true;
        }
        if (!strncmp(name, segs[i], 2) && !strcmp(name + 2, ".base")) {
            *val = c->seg[i].base;
            return true;
        }
    }
    if (sscanf(name, "r%u%c", &n, &end) == 1 && n >= 8 && n < 16) {
        *val = c->regs[n];
    } else if (!strcmp(name, "pc") || !strcmp(name, "rip") || !strcmp(name, "eip")) {
        *val = c->rip;
    } else if (!strcmp(name, "eflags") || !strcmp(name, "rflags")) {
        *val = x86_get_eflags(c);
    } else if (!strcmp(name, "cr0")) {
        *val = c->cr0;
    } else if (!strcmp(name, "cr2")) {
        *val = c->cr2;
    } else if (!strcmp(name, "cr3")) {
        *val = c->cr3;
    } else if (!strcmp(name, "cr4")) {
        *val = c->cr4;
    } else if (!strcmp(name, "efer")) {
        *val = c->efer;
    } else if (!strcmp(name, "codebits")) { /* for disassemblers */
        bool lng = (c->efer & EFER_LMA) && (c->seg[S_CS].attr & DESC_L);
        *val = lng ? 64 : c->seg[S_CS].attr & DESC_B ? 32 : 16;
    } else {
        return false;
    }
    return true;
}
