/*
 * x87 control state: initialisation, control and status words, environment and state images.
 * Intel SDM volume 1 chapter 8.1; real-address formats figures 8-9 to 8-12.
 */
#include "target/x86/x87.h"

#include <string.h>

/* ---- words ---- */

static void update_es(X86Cpu *c)
{
    bool es = c->fstat & ~c->fctrl & FPU_EXC;

    c->fstat = (c->fstat & ~0x8080) | (es ? 0x8080 : 0); /* B follows ES */
}

void x86_fpu_set_ctrl(X86Cpu *c, uint16_t fctrl)
{
    c->fctrl = (fctrl & 0x1f3f) | 0x40; /* bit 6 reads as 1 */
    update_es(c);
}

void x86_fpu_set_stat(X86Cpu *c, uint16_t fstat)
{
    c->ftop = fstat >> 11 & 7;
    c->fstat = fstat & ~(7 << 11);
    update_es(c);
}

void x86_fpu_init(X86Cpu *c)
{
    c->fctrl = 0x37f;
    c->fstat = 0;
    c->ftop = 0;
    c->ftag_empty = 0xff;
    c->fip = c->fdp = 0;
    c->fcs = c->fds = c->fop = 0;
}

void x86_fpu_check_pending(X86Cpu *c)
{
    if (c->fstat & FPU_ES) {
        x86_raise_fpu(c);
    }
}

/* FERR# goes inactive when no unmasked exception is left. */
static void lower_ferr(X86Cpu *c, bool was)
{
    if (was && !(c->fstat & FPU_ES) && c->ferr) {
        c->ferr(c->ferr_opaque, 0);
    }
}

static void x86_h_fninit(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    bool was = c->fstat & FPU_ES;

    x86_fpu_init(c);
    lower_ferr(c, was);
}

static void x86_h_fnclex(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    bool was = c->fstat & FPU_ES;

    c->fstat &= FPU_CC;
    lower_ferr(c, was);
}

static uint64_t x86_h_fldcw(VCpu *cpu, uint64_t val)
{
    X86Cpu *c = x86(cpu);
    bool before = x86_fpu_all_masked(c);

    x86_fpu_set_ctrl(c, val);
    return before != x86_fpu_all_masked(c);
}

/* ---- guest memory ---- */

static uint64_t wrap(X86Cpu *c, uint64_t addr)
{
    return (c->efer & EFER_LMA) && (c->seg[S_CS].attr & DESC_L) ? addr : (uint32_t)addr;
}

static void guest_copy(X86Cpu *c, uint64_t addr, uint8_t *buf, unsigned len, bool write)
{
    unsigned mmu = x86_mmu_data(c);

    while (len) {
        unsigned n = MIN(len, 4096 - (unsigned)(addr & 4095));
        uint8_t *host = jit_host_ptr(&c->vcpu, addr, write ? JIT_WRITE : JIT_READ, mmu);

        if (host) {
            memcpy(write ? host : buf, write ? buf : host, n);
        } else { /* devices: as wide as the alignment allows */
            n = MIN(n, addr & 1 ? 1 : addr & 2 ? 2 : addr & 4 ? 4 : 8);
            n = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
            if (write) {
                uint64_t v = 0;
                memcpy(&v, buf, n);
                jit_store(&c->vcpu, addr, v, n, mmu);
            } else {
                uint64_t v = jit_load(&c->vcpu, addr, n, mmu);
                memcpy(buf, &v, n);
            }
        }
        addr = wrap(c, addr + n);
        buf += n;
        len -= n;
    }
}

/* All of it, page by page: a fault comes before anything was written. */
static void probe(X86Cpu *c, uint64_t addr, unsigned len, JitAccess access)
{
    unsigned first = MIN(len, 4096 - (unsigned)(addr & 4095));

    jit_probe(&c->vcpu, addr, first, access, x86_mmu_data(c));
    if (first < len) {
        jit_probe(&c->vcpu, wrap(c, addr + first), len - first, access, x86_mmu_data(c));
    }
}

void x86_guest_read(X86Cpu *c, uint64_t addr, void *buf, unsigned len)
{
    guest_copy(c, addr, buf, len, false);
}

void x86_guest_write(X86Cpu *c, uint64_t addr, const void *buf, unsigned len)
{
    probe(c, addr, len, JIT_WRITE);
    guest_copy(c, addr, (uint8_t *)buf, len, true);
}

/* ---- environment ---- */

/* Tag word: 0 valid, 1 zero, 2 special, 3 empty. */
static uint16_t full_tags(X86Cpu *c)
{
    uint16_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        const X86Fpr *r = &c->fpr[i];
        unsigned e = r->exp & 0x7fff, tag = 2;

        if (c->ftag_empty >> i & 1) {
            tag = 3;
        } else if (e == 0 && r->mant == 0) {
            tag = 1;
        } else if (e != 0 && e != 0x7fff && r->mant >> 63) {
            tag = 0;
        }
        tags |= tag << 2 * i;
    }
    return tags;
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, 2);
    return v;
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

static unsigned env_bytes(unsigned fmt)
{
    return fmt & FE_16 ? 14 : 28;
}

static void make_env(X86Cpu *c, unsigned fmt, uint8_t *p)
{
    unsigned w = fmt & FE_16 ? 2 : 4; /* stride */
    uint32_t ip = c->fip, dp = c->fdp;

    memset(p, 0xff, 28); /* upper halves of the 32-bit form */
    put16(p, c->fctrl);
    put16(p + w, x86_fpu_stat(c));
    put16(p + 2 * w, full_tags(c));
    if (fmt & FE_REAL) {
        ip += (uint32_t)c->fcs << 4;
        dp += (uint32_t)c->fds << 4;
    }
    if (fmt & FE_16) {
        put16(p + 6, ip);
        put16(p + 8, fmt & FE_REAL ? (ip >> 4 & 0xf000) | (c->fop & 0x7ff) : c->fcs);
        put16(p + 10, dp);
        put16(p + 12, fmt & FE_REAL ? dp >> 4 & 0xf000 : c->fds);
    } else if (fmt & FE_REAL) {
        put16(p + 12, ip);
        put32(p + 16, (ip >> 16) << 12 | (c->fop & 0x7ff));
        put16(p + 20, dp);
        put32(p + 24, (dp >> 16) << 12);
    } else {
        put32(p + 12, ip);
        put32(p + 16, c->fcs | (uint32_t)(c->fop & 0x7ff) << 16);
        put32(p + 20, dp);
        put16(p + 24, c->fds);
    }
}

static void take_env(X86Cpu *c, unsigned fmt, const uint8_t *p)
{
    unsigned w = fmt & FE_16 ? 2 : 4;
    uint16_t tags = get16(p + 2 * w);

    c->fctrl = get16(p);
    x86_fpu_set_stat(c, get16(p + w));
    x86_fpu_set_ctrl(c, c->fctrl);
    c->ftag_empty = 0;
    for (unsigned i = 0; i < 8; i++) {
        c->ftag_empty |= ((tags >> 2 * i & 3) == 3) << i;
    }
    c->fcs = c->fds = c->fop = 0;
    if (fmt & FE_16) {
        c->fip = get16(p + 6);
        c->fdp = get16(p + 10);
        if (fmt & FE_REAL) {
            c->fip |= (get16(p + 8) & 0xf000) << 4;
            c->fdp |= (get16(p + 12) & 0xf000) << 4;
            c->fop = get16(p + 8) & 0x7ff;
        } else {
            c->fcs = get16(p + 8);
            c->fds = get16(p + 12);
        }
    } else if (fmt & FE_REAL) {
        c->fip = get16(p + 12) | (get32(p + 16) & 0x0ffff000) << 4;
        c->fdp = get16(p + 20) | (get32(p + 24) & 0x0ffff000) << 4;
        c->fop = get32(p + 16) & 0x7ff;
    } else {
        c->fip = get32(p + 12);
        c->fcs = get16(p + 16);
        c->fop = get16(p + 18) & 0x7ff;
        c->fdp = get32(p + 20);
        c->fds = get16(p + 24);
    }
}

static void x86_h_fnstenv(VCpu *cpu, uint64_t addr, uint64_t fmt)
{
    X86Cpu *c = x86(cpu);
    uint8_t buf[28];

    make_env(c, fmt, buf);
    x86_guest_write(c, addr, buf, env_bytes(fmt));
    x86_fpu_set_ctrl(c, c->fctrl | FPU_EXC);
}

static void x86_h_fldenv(VCpu *cpu, uint64_t addr, uint64_t fmt)
{
    X86Cpu *c = x86(cpu);
    uint8_t buf[28];

    x86_guest_read(c, addr, buf, env_bytes(fmt));
    take_env(c, fmt, buf);
}

static void x86_h_fnsave(VCpu *cpu, uint64_t addr, uint64_t fmt)
{
    X86Cpu *c = x86(cpu);
    uint8_t buf[28 + 80];
    unsigned n = env_bytes(fmt);
    bool was = c->fstat & FPU_ES;

    make_env(c, fmt, buf);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(buf + n + 10 * i, x86_st(c, i)->b, 10);
    }
    x86_guest_write(c, addr, buf, n + 80);
    x86_fpu_init(c);
    lower_ferr(c, was);
}

static void x86_h_frstor(VCpu *cpu, uint64_t addr, uint64_t fmt)
{
    X86Cpu *c = x86(cpu);
    uint8_t buf[28 + 80];
    unsigned n = env_bytes(fmt);

    x86_guest_read(c, addr, buf, n + 80);
    take_env(c, fmt, buf);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(x86_st(c, i)->b, buf + n + 10 * i, 10);
    }
}

#define H(n, a, f) const IrHelper x86_hd_##n = {#n, (void *)x86_h_##n, a, f}
H(fninit, 0, IRH_HOSTFP);
H(fnclex, 0, IRH_HOSTFP);
H(fldcw, 1, IRH_RET);
H(fnstenv, 2, IRH_FAULTS);
H(fldenv, 2, IRH_FAULTS);
H(fnsave, 2, IRH_FAULTS | IRH_HOSTFP);
H(frstor, 2, IRH_FAULTS);
