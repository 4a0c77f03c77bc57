/*
 * FXSAVE, XSAVE and their opposites: the x87 and SSE state components. Intel SDM volume 1 chapters
 * 10.5 and 13; AMD APM volume 2 chapter 11.5 for FFXSR.
 */
#include "target/x86/simd.h"
#include "target/x86/sys.h"

#include <string.h>

enum { XC_X87 = 1, XC_SSE = 2 };
enum { LEGACY_BYTES = 512, HEADER_BYTES = 64, XMM_OFF = 160, ST_OFF = 32 };
#define XCOMP_COMPACT (1ull << 63)

typedef union XLegacy {
    uint8_t b[LEGACY_BYTES];
    struct {
        uint16_t fcw, fsw;
        uint8_t ftw, rsvd;
        uint16_t fop;
        uint64_t fip, fdp; /* or 32-bit offset, 16-bit selector */
        uint32_t mxcsr, mxcsr_mask;
        uint8_t st[8][16];
        X86Vec xmm[16];
    };
} XLegacy;

static unsigned n_xmm(unsigned flags)
{
    return flags & XS_CODE64 ? 16 : 8;
}

static bool no_selectors(const X86Cpu *c)
{
    return c->feat[FEAT_7_EBX] & 1 << 13;
}

static void make_x87(X86Cpu *c, XLegacy *x, unsigned flags)
{
    x->fcw = c->fctrl;
    x->fsw = x86_fpu_stat(c);
    x->ftw = ~c->ftag_empty;
    x->rsvd = 0;
    x->fop = c->fop & 0x7ff;
    if (flags & XS_64) {
        x->fip = c->fip;
        x->fdp = c->fdp;
    } else {
        bool none = no_selectors(c);
        x->fip = (uint32_t)c->fip | (none ? 0 : (uint64_t)c->fcs << 32);
        x->fdp = (uint32_t)c->fdp | (none ? 0 : (uint64_t)c->fds << 32);
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(x->st[i], 0, 16);
        memcpy(x->st[i], c->fpr[(c->ftop + i) & 7].b, 10);
    }
}

static void take_x87(X86Cpu *c, const XLegacy *x, unsigned flags)
{
    x86_fpu_set_ctrl(c, x->fcw);
    x86_fpu_set_stat(c, x->fsw);
    c->ftag_empty = ~x->ftw;
    c->fop = x->fop & 0x7ff;
    c->fcs = c->fds = 0;
    if (flags & XS_64) {
        c->fip = x->fip;
        c->fdp = x->fdp;
    } else {
        c->fip = (uint32_t)x->fip;
        c->fdp = (uint32_t)x->fdp;
        c->fcs = x->fip >> 32;
        c->fds = x->fdp >> 32;
    }
    for (unsigned i = 0; i < 8; i++) {
        memcpy(c->fpr[(c->ftop + i) & 7].b, x->st[i], 10);
    }
}

static bool fast_fxsr(const X86Cpu *c, unsigned flags)
{
    return (c->efer & EFER_FFXSR) && (flags & XS_CODE64) && (flags & XS_CPL0);
}

static void x86_h_fxsave(VCpu *cpu, uint64_t addr, uint64_t flags)
{
    X86Cpu *c = x86(cpu);
    unsigned n = fast_fxsr(c, flags) ? 0 : n_xmm(flags);
    XLegacy x;

    if (addr & 15) {
        x86_raise_err(c, EXC_GP, 0);
    }
    make_x87(c, &x, flags);
    x.mxcsr = x86_live_mxcsr(c);
    x.mxcsr_mask = MXCSR_VALID;
    memcpy(x.xmm, c->xmm, n * 16);
    x86_guest_write(c, addr, &x, XMM_OFF + n * 16);
}

static void x86_h_fxrstor(VCpu *cpu, uint64_t addr, uint64_t flags)
{
    X86Cpu *c = x86(cpu);
    unsigned n = fast_fxsr(c, flags) ? 0 : n_xmm(flags);
    XLegacy x;

    if (addr & 15) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_guest_read(c, addr, &x, LEGACY_BYTES);
    if (c->cr4 & CR4_OSFXSR) {
        if (x.mxcsr & ~(uint32_t)MXCSR_VALID) {
            x86_raise_err(c, EXC_GP, 0);
        }
        x86_set_live_mxcsr(c, x.mxcsr);
        memcpy(c->xmm, x.xmm, n * 16);
    }
    take_x87(c, &x, flags);
}

/* ---- XSAVE ---- */

/* Components that are not in their initial configuration. */
static uint64_t in_use(X86Cpu *c, unsigned flags)
{
    uint64_t m = 0, any = 0;

    if (c->fctrl != 0x37f || c->fstat || c->ftop || c->ftag_empty != 0xff || c->fop || c->fip ||
        c->fdp || c->fcs || c->fds) {
        m |= XC_X87;
    }
    for (unsigned i = 0; i < 8; i++) {
        any |= c->fpr[i].mant | c->fpr[i].exp;
    }
    if (any) {
        m |= XC_X87;
    }
    any = 0;
    for (unsigned i = 0; i < n_xmm(flags); i++) {
        any |= c->xmm[i].q[0] | c->xmm[i].q[1];
    }
    return any ? m | XC_SSE : m;
}

/* ---- components beyond SSE: of the image that KVM keeps ---- */

static uint64_t ext_bv(const X86Cpu *c)
{
    uint64_t bv = 0;

    if (c->ext) {
        memcpy(&bv, c->ext->image + LEGACY_BYTES, 8);
    }
    return bv & ~3ull;
}

/* Calls @fn for each component in @mask with its offset in the area that @layout describes
 * (XCOMP_BV; 0: standard form). Returns the size of the area. */
static uint64_t each_ext(X86Cpu *c, uint64_t layout, uint64_t mask, uint64_t addr,
                         void (*fn)(X86Cpu *c, unsigned n, uint64_t addr))
{
    uint64_t off = LEGACY_BYTES + HEADER_BYTES, end = off;

    for (unsigned i = 2; c->ext && i < 63; i++) {
        uint32_t size = c->ext->comp[i].size;

        if (!size || !((layout ? layout : mask) >> i & 1)) {
            continue;
        }
        off = !layout ? c->ext->comp[i].off : c->ext->comp[i].align ? (off + 63) & ~63ull : off;
        if (mask >> i & 1 && fn) {
            fn(c, i, addr + off);
        }
        off += size;
        end = MAX(end, off);
    }
    return end;
}

static void ext_save(X86Cpu *c, unsigned n, uint64_t addr)
{
    x86_guest_write(c, addr, c->ext->image + c->ext->comp[n].off, c->ext->comp[n].size);
}

static void ext_load(X86Cpu *c, unsigned n, uint64_t addr)
{
    x86_guest_read(c, addr, c->ext->image + c->ext->comp[n].off, c->ext->comp[n].size);
}

static void ext_restore(X86Cpu *c, const uint64_t *header, uint64_t rfbm, uint64_t addr)
{
    uint64_t bv;

    if (!c->ext) {
        return;
    }
    each_ext(c, header[1] & ~XCOMP_COMPACT & (header[1] & XCOMP_COMPACT ? ~0ull : 0),
             rfbm & header[0] & ~3ull, addr, ext_load);
    memcpy(&bv, c->ext->image + LEGACY_BYTES, 8);
    bv = (bv & ~(rfbm & ~3ull)) | (rfbm & header[0] & ~3ull);
    memcpy(c->ext->image + LEGACY_BYTES, &bv, 8);
    for (unsigned i = 2; i < 63; i++) {
        if (rfbm & ~header[0] & 1ull << i && c->ext->comp[i].size) {
            memset(c->ext->image + c->ext->comp[i].off, 0, c->ext->comp[i].size);
        }
    }
}

static void x86_h_xsave(VCpu *cpu, uint64_t addr, uint64_t mask, uint64_t flags)
{
    X86Cpu *c = x86(cpu);
    uint64_t rfbm = mask & c->xcr0, used = in_use(c, flags) | ext_bv(c), put;
    uint64_t header[2] = {0}, size;
    uint32_t mxcsr[2] = {x86_live_mxcsr(c), MXCSR_VALID};
    XLegacy x;

    if (addr & 63) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_guest_read(c, addr + LEGACY_BYTES, header, 8); /* the whole area is used, in any case */
    if ((flags & XS_COMPACT) && mxcsr[0] != 0x1f80) {
        used |= XC_SSE;
    }
    put = flags & (XS_OPT | XS_COMPACT) ? rfbm & used : rfbm;
    if (flags & XS_COMPACT) {
        header[0] = rfbm & used;
        header[1] = rfbm | XCOMP_COMPACT;
    } else {
        header[0] = (header[0] & ~rfbm) | (rfbm & used);
    }
    size = each_ext(c, flags & XS_COMPACT ? rfbm | XCOMP_COMPACT : 0, rfbm & ~3ull, 0, NULL);
    /* All pages first; then piece by piece, for what is not saved stays as it is. */
    for (uint64_t off = 0; off < size; off += 512) {
        jit_probe(cpu, addr + off, MIN(size - off, 512), JIT_WRITE, x86_mmu_data(c));
    }
    if (put & XC_X87) {
        make_x87(c, &x, flags);
        x86_guest_write(c, addr, &x, 24);
        x86_guest_write(c, addr + ST_OFF, x.st, 128);
    }
    if (flags & XS_COMPACT ? put & XC_SSE : rfbm & (XC_SSE | 4)) {
        x86_guest_write(c, addr + 24, mxcsr, 8);
    }
    if (put & XC_SSE) {
        x86_guest_write(c, addr + XMM_OFF, c->xmm, n_xmm(flags) * 16);
    }
    each_ext(c, flags & XS_COMPACT ? rfbm | XCOMP_COMPACT : 0, put & ~3ull, addr, ext_save);
    x86_guest_write(c, addr + LEGACY_BYTES, header, flags & XS_COMPACT ? 16 : 8);
}

/* Header checks of XRSTOR; #GP(0) otherwise. */
static void check_header(X86Cpu *c, const uint64_t *h, unsigned flags)
{
    bool compact = h[1] & XCOMP_COMPACT, ok;
    uint64_t rest = 0;

    for (unsigned i = 2; i < 8; i++) {
        rest |= h[i];
    }
    if (compact) {
        ok = x86_has_ext(c, XF_XSAVEC) && !(h[1] & ~XCOMP_COMPACT & ~c->xcr0) && !(h[0] & ~h[1]) &&
             !rest;
    } else {
        ok = !(flags & XS_SUPER) && !(h[0] & ~c->xcr0) && !h[1] && !h[2];
    }
    if (!ok) {
        x86_raise_err(c, EXC_GP, 0);
    }
}

static void x86_h_xrstor(VCpu *cpu, uint64_t addr, uint64_t mask, uint64_t flags)
{
    X86Cpu *c = x86(cpu);
    uint64_t rfbm = mask & c->xcr0;
    bool load_mxcsr;
    struct {
        XLegacy legacy;
        uint64_t header[8];
    } x;

    if (addr & 63) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_guest_read(c, addr, &x, sizeof x);
    check_header(c, x.header, flags);
    ext_restore(c, x.header, rfbm, addr);
    if (x.header[1] & XCOMP_COMPACT) {
        if ((rfbm & XC_SSE) && !(x.header[0] & XC_SSE)) {
            x.legacy.mxcsr = 0x1f80;
        }
        load_mxcsr = rfbm & XC_SSE;
    } else {
        load_mxcsr = rfbm & (XC_SSE | 4);
    }
    if (load_mxcsr && (x.legacy.mxcsr & ~(uint32_t)MXCSR_VALID)) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (load_mxcsr) {
        x86_set_live_mxcsr(c, x.legacy.mxcsr);
    }
    if (rfbm & XC_X87) {
        if (!(x.header[0] & XC_X87)) {
            memset(&x.legacy, 0, XMM_OFF);
            x.legacy.fcw = 0x37f;
        }
        take_x87(c, &x.legacy, flags);
    }
    if (rfbm & XC_SSE) {
        if (!(x.header[0] & XC_SSE)) {
            memset(x.legacy.xmm, 0, sizeof x.legacy.xmm);
        }
        memcpy(c->xmm, x.legacy.xmm, n_xmm(flags) * 16);
    }
}

#define H(n, a, f) const IrHelper x86_hd_##n = {#n, (void *)x86_h_##n, a, f}
H(fxsave, 2, IRH_READS | IRH_FAULTS);
H(fxrstor, 2, IRH_FAULTS | IRH_WRITES);
H(xsave, 3, IRH_READS | IRH_FAULTS);
H(xrstor, 3, IRH_FAULTS | IRH_WRITES);
