/*
 * Cryptographic instructions of A64, executed by C: AES (FIPS 197), SHA (FIPS 180-4), SHA3 helpers.
 * DDI 0487 sections C7.2, J1.3 (SHAhashUpdate…).
 */
#include "target/arm64/fp.h"

static const uint8_t sbox[256] = {
    0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76,
    0xca, 0x82, 0xc9, 0x7d, 0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0,
    0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f, 0xf7, 0xcc, 0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15,
    0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07, 0x12, 0x80, 0xe2, 0xeb, 0x27, 0xb2, 0x75,
    0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3, 0x29, 0xe3, 0x2f, 0x84,
    0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58, 0xcf,
    0xd0, 0xef, 0xaa, 0xfb, 0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8,
    0x51, 0xa3, 0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5, 0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2,
    0xcd, 0x0c, 0x13, 0xec, 0x5f, 0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d, 0x64, 0x5d, 0x19, 0x73,
    0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88, 0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb,
    0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac, 0x62, 0x91, 0x95, 0xe4, 0x79,
    0xe7, 0xc8, 0x37, 0x6d, 0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a, 0xae, 0x08,
    0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6, 0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a,
    0x70, 0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9, 0x86, 0xc1, 0x1d, 0x9e,
    0xe1, 0xf8, 0x98, 0x11, 0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf,
    0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42, 0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16,
};

static const uint8_t inv_sbox[256] = {
    0x52, 0x09, 0x6a, 0xd5, 0x30, 0x36, 0xa5, 0x38, 0xbf, 0x40, 0xa3, 0x9e, 0x81, 0xf3, 0xd7, 0xfb,
    0x7c, 0xe3, 0x39, 0x82, 0x9b, 0x2f, 0xff, 0x87, 0x34, 0x8e, 0x43, 0x44, 0xc4, 0xde, 0xe9, 0xcb,
    0x54, 0x7b, 0x94, 0x32, 0xa6, 0xc2, 0x23, 0x3d, 0xee, 0x4c, 0x95, 0x0b, 0x42, 0xfa, 0xc3, 0x4e,
    0x08, 0x2e, 0xa1, 0x66, 0x28, 0xd9, 0x24, 0xb2, 0x76, 0x5b, 0xa2, 0x49, 0x6d, 0x8b, 0xd1, 0x25,
    0x72, 0xf8, 0xf6, 0x64, 0x86, 0x68, 0x98, 0x16, 0xd4, 0xa4, 0x5c, 0xcc, 0x5d, 0x65, 0xb6, 0x92,
    0x6c, 0x70, 0x48, 0x50, 0xfd, 0xed, 0xb9, 0xda, 0x5e, 0x15, 0x46, 0x57, 0xa7, 0x8d, 0x9d, 0x84,
    0x90, 0xd8, 0xab, 0x00, 0x8c, 0xbc, 0xd3, 0x0a, 0xf7, 0xe4, 0x58, 0x05, 0xb8, 0xb3, 0x45, 0x06,
    0xd0, 0x2c, 0x1e, 0x8f, 0xca, 0x3f, 0x0f, 0x02, 0xc1, 0xaf, 0xbd, 0x03, 0x01, 0x13, 0x8a, 0x6b,
    0x3a, 0x91, 0x11, 0x41, 0x4f, 0x67, 0xdc, 0xea, 0x97, 0xf2, 0xcf, 0xce, 0xf0, 0xb4, 0xe6, 0x73,
    0x96, 0xac, 0x74, 0x22, 0xe7, 0xad, 0x35, 0x85, 0xe2, 0xf9, 0x37, 0xe8, 0x1c, 0x75, 0xdf, 0x6e,
    0x47, 0xf1, 0x1a, 0x71, 0x1d, 0x29, 0xc5, 0x89, 0x6f, 0xb7, 0x62, 0x0e, 0xaa, 0x18, 0xbe, 0x1b,
    0xfc, 0x56, 0x3e, 0x4b, 0xc6, 0xd2, 0x79, 0x20, 0x9a, 0xdb, 0xc0, 0xfe, 0x78, 0xcd, 0x5a, 0xf4,
    0x1f, 0xdd, 0xa8, 0x33, 0x88, 0x07, 0xc7, 0x31, 0xb1, 0x12, 0x10, 0x59, 0x27, 0x80, 0xec, 0x5f,
    0x60, 0x51, 0x7f, 0xa9, 0x19, 0xb5, 0x4a, 0x0d, 0x2d, 0xe5, 0x7a, 0x9f, 0x93, 0xc9, 0x9c, 0xef,
    0xa0, 0xe0, 0x3b, 0x4d, 0xae, 0x2a, 0xf5, 0xb0, 0xc8, 0xeb, 0xbb, 0x3c, 0x83, 0x53, 0x99, 0x61,
    0x17, 0x2b, 0x04, 0x7e, 0xba, 0x77, 0xd6, 0x26, 0xe1, 0x69, 0x14, 0x63, 0x55, 0x21, 0x0c, 0x7d,
};

static uint8_t xtime(uint8_t a)
{
    return a << 1 ^ (a >> 7 ? 0x1b : 0);
}

static void sub_shift(VReg *v, bool inverse)
{
    VReg r;

    for (unsigned col = 0; col < 4; col++) {
        for (unsigned row = 0; row < 4; row++) {
            unsigned from = inverse ? (col - row) & 3 : (col + row) & 3;
            uint8_t b = v->b[from * 4 + row];

            r.b[col * 4 + row] = inverse ? inv_sbox[b] : sbox[b];
        }
    }
    *v = r;
}

static VReg mix(const VReg *v, bool inverse)
{
    VReg r;

    for (unsigned col = 0; col < 4; col++) {
        uint8_t a[4], u, w;

        for (unsigned i = 0; i < 4; i++) {
            a[i] = v->b[col * 4 + i];
        }
        if (inverse) {
            u = xtime(xtime(a[0] ^ a[2]));
            w = xtime(xtime(a[1] ^ a[3]));
            a[0] ^= u;
            a[1] ^= w;
            a[2] ^= u;
            a[3] ^= w;
        }
        for (unsigned i = 0; i < 4; i++) {
            uint8_t all = a[0] ^ a[1] ^ a[2] ^ a[3];

            r.b[col * 4 + i] = a[i] ^ all ^ xtime(a[i] ^ a[(i + 1) & 3]);
        }
    }
    return r;
}

static bool aes(FpState *f, unsigned op, unsigned rd, unsigned rn)
{
    VReg v;

    if (!(f->feat & FPF_AES)) {
        return false;
    }
    switch (op) {
    case 4:
    case 5:
        v = (VReg){{f->v[rd].d[0] ^ f->v[rn].d[0], f->v[rd].d[1] ^ f->v[rn].d[1]}};
        sub_shift(&v, op & 1);
        f->v[rd] = v;
        return true;
    case 6:
    case 7:
        f->v[rd] = mix(&f->v[rn], op & 1);
        return true;
    default:
        return false;
    }
}

static uint32_t ror32(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

static uint64_t ror64(uint64_t v, unsigned n)
{
    return n ? v >> n | v << (64 - n) : v;
}

static void sha1_hash(FpState *f, unsigned op, unsigned rd, unsigned rn, unsigned rm)
{
    VReg x = f->v[rd], w = f->v[rm];
    uint32_t y = f->v[rn].s[0];

    for (unsigned e = 0; e < 4; e++) {
        uint32_t b = x.s[1], c = x.s[2], d = x.s[3], t;

        t = op == 0 ? ((c ^ d) & b) ^ d : op == 1 ? b ^ c ^ d : (b & c) | ((b | c) & d);
        y += ror32(x.s[0], 27) + t + w.s[e];
        t = y;
        y = x.s[3];
        x.s[3] = x.s[2];
        x.s[2] = ror32(x.s[1], 2);
        x.s[1] = x.s[0];
        x.s[0] = t;
    }
    f->v[rd] = x;
}

static VReg sha256_hash(VReg x, VReg y, VReg w, bool part1)
{
    for (unsigned e = 0; e < 4; e++) {
        uint32_t ch = ((y.s[1] ^ y.s[2]) & y.s[0]) ^ y.s[2];
        uint32_t maj = (x.s[0] & x.s[1]) | ((x.s[0] | x.s[1]) & x.s[2]);
        uint32_t s1 = ror32(y.s[0], 6) ^ ror32(y.s[0], 11) ^ ror32(y.s[0], 25);
        uint32_t s0 = ror32(x.s[0], 2) ^ ror32(x.s[0], 13) ^ ror32(x.s[0], 22);
        uint32_t t = y.s[3] + s1 + ch + w.s[e], nx, ny;

        ny = t + x.s[3];
        nx = t + s0 + maj;
        x = (VReg){.s = {nx, x.s[0], x.s[1], x.s[2]}};
        y = (VReg){.s = {ny, y.s[0], y.s[1], y.s[2]}};
    }
    return part1 ? x : y;
}

static bool sha_three(FpState *f, unsigned op, unsigned rd, unsigned rn, unsigned rm)
{
    VReg d = f->v[rd], n = f->v[rn], m = f->v[rm], r;

    if (!(f->feat & (op < 4 ? FPF_SHA1 : FPF_SHA256))) {
        return false;
    }
    switch (op) {
    case 0:
    case 1:
    case 2:
        sha1_hash(f, op, rd, rn, rm);
        return true;
    case 3: /* SHA1SU0 */
        r = (VReg){{d.d[1] ^ d.d[0] ^ m.d[0], n.d[0] ^ d.d[1] ^ m.d[1]}};
        break;
    case 4:
        r = sha256_hash(d, n, m, true);
        break;
    case 5:
        r = sha256_hash(n, d, m, false);
        break;
    case 6: { /* SHA256SU1 */
        uint32_t t[4] = {n.s[1], n.s[2], n.s[3], m.s[0]};

        for (unsigned e = 0; e < 4; e++) {
            uint32_t v = e < 2 ? m.s[2 + e] : r.s[e - 2];

            v = ror32(v, 17) ^ ror32(v, 19) ^ v >> 10;
            r.s[e] = v + d.s[e] + t[e];
        }
        break;
    }
    default:
        return false;
    }
    f->v[rd] = r;
    return true;
}

static bool sha_two(FpState *f, unsigned op, unsigned rd, unsigned rn)
{
    VReg d = f->v[rd], n = f->v[rn], r;

    if (!(f->feat & (op < 2 ? FPF_SHA1 : FPF_SHA256))) {
        return false;
    }
    switch (op) {
    case 0:
        r = (VReg){{ror32(n.s[0], 2), 0}};
        break;
    case 1: { /* SHA1SU1 */
        VReg t = {.s = {d.s[0] ^ n.s[1], d.s[1] ^ n.s[2], d.s[2] ^ n.s[3], d.s[3]}};

        for (unsigned e = 0; e < 4; e++) {
            r.s[e] = ror32(t.s[e], 31);
        }
        r.s[3] ^= ror32(t.s[0], 30);
        break;
    }
    case 2: { /* SHA256SU0 */
        uint32_t t[4] = {d.s[1], d.s[2], d.s[3], n.s[0]};

        for (unsigned e = 0; e < 4; e++) {
            r.s[e] = (ror32(t[e], 7) ^ ror32(t[e], 18) ^ t[e] >> 3) + d.s[e];
        }
        break;
    }
    default:
        return false;
    }
    f->v[rd] = r;
    return true;
}

/* SHA512H, H2, SU1, RAX1 */
static bool sha512_three(FpState *f, unsigned op, unsigned rd, unsigned rn, unsigned rm)
{
    VReg w = f->v[rd], x = f->v[rn], y = f->v[rm], r;
    uint64_t s, t;

    if (!(f->feat & (op == 3 ? FPF_SHA3 : FPF_SHA512))) {
        return false;
    }
    switch (op) {
    case 0:
        s = ror64(y.d[1], 14) ^ ror64(y.d[1], 18) ^ ror64(y.d[1], 41);
        r.d[1] = ((y.d[1] & x.d[0]) ^ (~y.d[1] & x.d[1])) + s + w.d[1];
        t = r.d[1] + y.d[0];
        s = ror64(t, 14) ^ ror64(t, 18) ^ ror64(t, 41);
        r.d[0] = ((t & y.d[1]) ^ (~t & x.d[0])) + s + w.d[0];
        break;
    case 1:
        s = ror64(y.d[0], 28) ^ ror64(y.d[0], 34) ^ ror64(y.d[0], 39);
        r.d[1] = ((x.d[0] & y.d[1]) ^ (x.d[0] & y.d[0]) ^ (y.d[1] & y.d[0])) + s + w.d[1];
        s = ror64(r.d[1], 28) ^ ror64(r.d[1], 34) ^ ror64(r.d[1], 39);
        r.d[0] = ((r.d[1] & y.d[0]) ^ (r.d[1] & y.d[1]) ^ (y.d[1] & y.d[0])) + s + w.d[0];
        break;
    case 2:
        for (unsigned i = 0; i < 2; i++) {
            s = ror64(x.d[i], 19) ^ ror64(x.d[i], 61) ^ x.d[i] >> 6;
            r.d[i] = w.d[i] + s + y.d[i];
        }
        break;
    default:
        for (unsigned i = 0; i < 2; i++) {
            r.d[i] = x.d[i] ^ ror64(y.d[i], 63);
        }
    }
    f->v[rd] = r;
    return true;
}

static bool sha512_su0(FpState *f, unsigned rd, unsigned rn)
{
    VReg w = f->v[rd], x = f->v[rn];

    if (!(f->feat & FPF_SHA512)) {
        return false;
    }
    f->v[rd].d[0] = w.d[0] + (ror64(w.d[1], 1) ^ ror64(w.d[1], 8) ^ w.d[1] >> 7);
    f->v[rd].d[1] = w.d[1] + (ror64(x.d[0], 1) ^ ror64(x.d[0], 8) ^ x.d[0] >> 7);
    return true;
}

bool a64_crypto_exec(FpState *f, uint32_t insn)
{
    unsigned rd = insn & 31, rn = insn >> 5 & 31, rm = insn >> 16 & 31, ra = insn >> 10 & 31;
    VReg n = f->v[rn], m = f->v[rm], a = f->v[ra], r;

    if ((insn & 0xfffe0c00) == 0x4e280800) {
        return aes(f, insn >> 12 & 31, rd, rn);
    }
    if ((insn & 0xffe08c00) == 0x5e000000) {
        return sha_three(f, insn >> 12 & 7, rd, rn, rm);
    }
    if ((insn & 0xfffe0c00) == 0x5e280800) {
        return sha_two(f, insn >> 12 & 31, rd, rn);
    }
    if ((insn & 0xffe0f000) == 0xce608000) {
        return sha512_three(f, insn >> 10 & 3, rd, rn, rm);
    }
    if ((insn & 0xfffffc00) == 0xcec08000) {
        return sha512_su0(f, rd, rn);
    }
    if (!(f->feat & FPF_SHA3)) {
        return false;
    }
    if ((insn & 0xffc08000) == 0xce000000 && !(insn >> 22 & 1)) { /* EOR3, BCAX */
        bool bcax = insn >> 21 & 1;

        for (unsigned i = 0; i < 2; i++) {
            r.d[i] = n.d[i] ^ (bcax ? m.d[i] & ~a.d[i] : m.d[i] ^ a.d[i]);
        }
        f->v[rd] = r;
        return true;
    }
    if ((insn & 0xffe00000) == 0xce800000) { /* XAR */
        for (unsigned i = 0; i < 2; i++) {
            r.d[i] = ror64(n.d[i] ^ m.d[i], insn >> 10 & 63);
        }
        f->v[rd] = r;
        return true;
    }
    return false;
}
