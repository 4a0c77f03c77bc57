/*
 * Registers for gdb: features org.gnu.gdb.riscv.cpu and org.gnu.gdb.riscv.fpu of the GDB manual,
 * appendix G.5.11. Numbers: 0…31 x, 32 pc, 33…64 f, 65…67 fflags frm fcsr, 68 privilege.
 */
#include "target/riscv/cpu.h"
#include "target/riscv/fp.h"
#include <string.h>

/* clang-format off */
#define R(n, w, t) "<reg name=\"" n "\" bitsize=\"" w "\" type=\"" t "\"/>"
#define XREGS(w)                                                                                   \
    R("zero", w, "int")                                                                            \
    R("ra", w, "code_ptr")                                                                         \
    R("sp", w, "data_ptr")                                                                         \
    R("gp", w, "data_ptr") R("tp", w, "data_ptr") R("t0", w, "int") R("t1", w, "int")              \
        R("t2", w, "int") R("fp", w, "data_ptr") R("s1", w, "int") R("a0", w, "int")               \
            R("a1", w, "int") R("a2", w, "int") R("a3", w, "int") R("a4", w, "int")                \
                R("a5", w, "int") R("a6", w, "int") R("a7", w, "int") R("s2", w, "int")            \
                    R("s3", w, "int") R("s4", w, "int") R("s5", w, "int") R("s6", w, "int")        \
                        R("s7", w, "int") R("s8", w, "int") R("s9", w, "int") R("s10", w, "int")   \
                            R("s11", w, "int") R("t3", w, "int") R("t4", w, "int")                 \
                                R("t5", w, "int") R("t6", w, "int") R("pc", w, "code_ptr")
#define F(n) R(n, "64", "ieee_double")
#define FREGS                                                                                      \
    F("ft0")                                                                                       \
    F("ft1")                                                                                       \
    F("ft2")                                                                                       \
    F("ft3") F("ft4") F("ft5") F("ft6") F("ft7") F("fs0") F("fs1") F("fa0") F("fa1") F("fa2")      \
        F("fa3") F("fa4") F("fa5") F("fa6") F("fa7") F("fs2") F("fs3") F("fs4") F("fs5") F("fs6")  \
            F("fs7") F("fs8") F("fs9") F("fs10") F("fs11") F("ft8") F("ft9") F("ft10") F("ft11")
#define XML(arch, w)                                                                               \
    "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"                   \
    "<architecture>" arch "</architecture><feature name=\"org.gnu.gdb.riscv.cpu\">" XREGS(         \
        w) "</feature><feature name=\"org.gnu.gdb.riscv.fpu\">" FREGS R("fflags", "32", "int")     \
        R("frm", "32", "int")                                                                      \
            R("fcsr", "32", "int") "</feature>"                                                    \
                                   "<feature name=\"org.gnu.gdb.riscv.virtual\">" R(               \
                                       "priv", w, "int") "</feature></target>"

/* clang-format on */

const char rv_gdb_xml64[] = XML("riscv:rv64", "64");
const char rv_gdb_xml32[] = XML("riscv:rv32", "32");

enum { N_PC = 32, N_F0 = 33, N_FFLAGS = 65, N_FRM, N_FCSR, N_PRIV };

/* Outside code the sticky flags are in the state. */
static unsigned fflags(RiscvCpu *c)
{
    unsigned m = c->mxcsr;

    return (m & 1 ? FF_NV : 0) | (m & 4 ? FF_DZ : 0) | (m & 8 ? FF_OF : 0) | (m & 16 ? FF_UF : 0) |
           (m & 32 ? FF_NX : 0);
}

int rv_gdb_read(VCpu *cpu, int n, uint8_t *buf)
{
    RiscvCpu *c = riscv(cpu);
    unsigned bytes = c->rv32 ? 4 : 8;
    uint64_t v;

    if (n < 0 || n > N_PRIV) {
        return 0;
    }
    if (n < N_PC) {
        v = c->x[n];
    } else if (n == N_PC) {
        v = c->pc;
    } else if (n < N_FFLAGS) {
        v = c->f[n - N_F0].v;
        bytes = 8;
    } else if (n < N_PRIV) {
        v = n == N_FFLAGS ? fflags(c) : n == N_FRM ? c->frm : fflags(c) | (unsigned)c->frm << 5;
        bytes = 4;
    } else {
        v = c->prv;
    }
    memcpy(buf, &v, bytes);
    return bytes;
}

static void put_fflags(RiscvCpu *c, unsigned f)
{
    c->mxcsr = (c->mxcsr & ~0x3fu) | (f & FF_NV ? 1 : 0) | (f & FF_DZ ? 4 : 0) |
               (f & FF_OF ? 8 : 0) | (f & FF_UF ? 16 : 0) | (f & FF_NX ? 32 : 0);
}

int rv_gdb_write(VCpu *cpu, int n, const uint8_t *buf, int len)
{
    RiscvCpu *c = riscv(cpu);
    uint8_t old[8];
    uint64_t v = 0;
    int bytes = rv_gdb_read(cpu, n, old);

    if (!bytes || len < bytes) {
        return 0;
    }
    memcpy(&v, buf, bytes);
    if (n == 0) {
        return bytes;
    }
    if (n < N_PC) {
        c->x[n] = rv_sext(c, v);
    } else if (n == N_PC) {
        c->pc = rv_zext(c, v & ~1ull);
    } else if (n < N_FFLAGS) {
        c->f[n - N_F0].v = v;
    } else if (n == N_FFLAGS) {
        put_fflags(c, v);
    } else if (n == N_PRIV) {
        if (v <= PRV_M && v != 2) {
            c->prv = v;
        }
    } else {
        if (n == N_FCSR) {
            put_fflags(c, v);
            v >>= 5;
        }
        c->frm = v & 7;
        c->mxcsr = (c->mxcsr & ~0x6000u) | rv_mxcsr_rc(c->frm);
    }
    return bytes;
}
