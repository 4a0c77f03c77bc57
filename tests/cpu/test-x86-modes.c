/*
 * What a user process of the host cannot show: real mode and 16-bit code, exact state at faults
 * inside repeated string instructions, self-modifying code, STI's shadow. Expectations from the
 * SDM.
 */
#include "tests/cpu/x86-guest.c.inc"

enum { CODE = 0x20000, DATA = 0x30000, STACK = 0x40000, PAGES = 0x400000 };

static X86Guest *guest;

#define BYTES(s) s, sizeof(s) - 1

/* ---- real mode ---- */

/* Code at 2000:@ip, data at 3000:0 (ds, es), stack at 4000:sp. Ends at INT 81, or an exception. */
static void run_real(uint16_t ip, const void *code, unsigned len, X86GState *s)
{
    X86Cpu *c = x86g_cpu(guest);
    uint8_t *ram = x86g_ram(guest);
    uint16_t frame[3];

    x86g_write(guest, CODE + ip, code, len);
    for (unsigned i = 0; i < 256; i++) { /* to the stubs, linear 8000 */
        uint16_t vector[2] = {i * 16, X86G_STUBS >> 4};

        memcpy(ram + i * 4, vector, 4);
    }
    c->cr0 = CR0_ET;
    c->efer = 0;
    c->idt = (X86Table){0, 0x3ff};
    for (unsigned i = 0; i < S_LDTR; i++) {
        c->seg[i] = (X86Seg){.sel = 0x3000, .attr = 0x9300, .base = DATA, .limit = 0xffff};
    }
    c->seg[S_CS].sel = 0x2000;
    c->seg[S_CS].base = CODE;
    c->seg[S_SS].sel = 0x4000;
    c->seg[S_SS].base = STACK;
    memcpy(c->regs, s->gpr, sizeof c->regs);
    x86_set_eflags(c, s->rflags | 2);
    c->rip = ip;
    c->exc = -1;
    c->shadow = false;
    guest->cpu->halted = false;
    jit_tlb_flush(guest->cpu, false);
    x86_update_mode(c);
    x86g_loop(guest);
    g_assert_true(guest->cpu->halted);
    s->vec = (c->rip + c->seg[S_CS].base - X86G_STUBS) / 16;
    memcpy(s->gpr, c->regs, sizeof c->regs);
    memcpy(frame, ram + STACK + (uint16_t)s->gpr[R_RSP], 6);
    s->rip = frame[0];
    s->err = frame[1]; /* cs */
    s->rflags = frame[2];
    s->gpr[R_RSP] = (uint16_t)(s->gpr[R_RSP] + 6);
}

static X86GState real(uint16_t ip, const void *code, unsigned len)
{
    X86GState s = {.gpr[R_RSP] = 0x1000};

    run_real(ip, code, len, &s);
    return s;
}

static uint16_t data16(unsigned off)
{
    uint16_t v;

    memcpy(&v, x86g_ram(guest) + DATA + off, 2);
    return v;
}

static void test_real_basics(void)
{
    X86GState s;

    /* mov eax, 12345678h; mov ebx, eax; mov ax, 9abch; push eax; pop cx; pop dx; int 81h */
    s = real(0, BYTES("\x66\xb8\x78\x56\x34\x12\x66\x89\xc3\xb8\xbc\x9a\x66\x50\x59\x5a\xcd\x81"));
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(s.gpr[R_RAX], ==, 0x12349abc);
    g_assert_cmphex(s.gpr[R_RBX], ==, 0x12345678);
    g_assert_cmphex(s.gpr[R_RCX], ==, 0x9abc);
    g_assert_cmphex(s.gpr[R_RDX], ==, 0x1234);
    g_assert_cmphex(s.gpr[R_RSP], ==, 0x1000);
    /* mov word [1234h], 5678h; mov si, 0ffffh; mov byte [si+3], 9; mov eax, 1000h;
     * mov bl, [eax+234h] */
    s = real(0, BYTES("\xc7\x06\x34\x12\x78\x56\xbe\xff\xff\xc6\x44\x03\x09\x66\xb8\x00\x10\x00\x00"
                      "\x67\x8a\x98\x34\x02\x00\x00\xcd\x81"));
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(data16(0x1234), ==, 0x5678);
    g_assert_cmphex(x86g_ram(guest)[DATA + 2], ==, 9);
    g_assert_cmphex(s.gpr[R_RBX] & 0xff, ==, 0x78);
    /* a word at the very end of a segment: #GP; of the stack segment: #SS */
    s = real(0, BYTES("\xbe\xff\xff\x8b\x04"));
    g_assert_cmpint(s.vec, ==, EXC_GP);
    g_assert_cmphex(s.rip, ==, 3);
    s = real(0, BYTES("\xbd\xff\xff\x8b\x46\x00"));
    g_assert_cmpint(s.vec, ==, EXC_SS);
    /* beyond 64 KiB by a 32-bit address: #GP */
    s = real(0, BYTES("\x66\xbe\x00\x00\x01\x00\x67\x8a\x06"));
    g_assert_cmpint(s.vec, ==, EXC_GP);
}

static void test_real_stack(void)
{
    X86GState s;

    /* mov sp, 0 (by xor); push 1234h; mov ax, sp; int 81h: the stack pointer wraps */
    s = real(0, BYTES("\x31\xe4\x68\x34\x12\x89\xe0\xcd\x81"));
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(s.gpr[R_RAX], ==, 0xfffe);
    /* the upper half of esp is left alone */
    s = (X86GState){.gpr[R_RSP] = 0xabcd1000};
    run_real(0, BYTES("\x50\x66\x89\xe0\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RAX], ==, 0xabcd0ffe);
    /* enter 16, 0; mov ax, bp; mov bx, sp; leave */
    s = (X86GState){.gpr[R_RSP] = 0x1000, .gpr[R_RBP] = 0x5555};
    run_real(0, BYTES("\xc8\x10\x00\x00\x89\xe8\x89\xe3\xc9\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RAX], ==, 0xffe);
    g_assert_cmphex(s.gpr[R_RBX], ==, 0xfee);
    g_assert_cmphex(s.gpr[R_RBP], ==, 0x5555);
    g_assert_cmphex(s.gpr[R_RSP], ==, 0x1000);
    /* pusha; popa keeps all; popa skips sp */
    s = (X86GState){.gpr = {1, 2, 3, 4, 0x1000, 6, 7, 8}};
    run_real(0, BYTES("\x60\x31\xc0\x31\xff\x61\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RAX], ==, 1);
    g_assert_cmphex(s.gpr[R_RDI], ==, 8);
    g_assert_cmphex(s.gpr[R_RSP], ==, 0x1000);
    /* pushf; pop ax; or ax, 200h; push ax; popf; pushf; pop bx: IF can be set */
    s = real(0, BYTES("\x9c\x58\x0d\x00\x02\x50\x9d\x9c\x5b\xcd\x81"));
    g_assert_cmphex(s.gpr[R_RBX] & 0x202, ==, 0x202);
}

static void test_real_flow(void)
{
    X86GState s;

    /* call 2100:0020 (linear 21020): there pop ax (ip), pop bx (cs); int 81h */
    x86g_write(guest, 0x21020, "\x58\x5b\xcd\x81", 4);
    s = real(0x10, BYTES("\x9a\x20\x00\x00\x21"));
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(s.gpr[R_RAX], ==, 0x15);
    g_assert_cmphex(s.gpr[R_RBX], ==, 0x2000);
    g_assert_cmphex(s.err, ==, 0x2100);
    /* the same and back */
    x86g_write(guest, 0x21040, "\xb8\x77\x00\xcb", 4); /* mov ax, 77h; retf */
    s = real(0x10, BYTES("\x9a\x40\x00\x00\x21\xcd\x81"));
    g_assert_cmphex(s.gpr[R_RAX], ==, 0x77);
    g_assert_cmphex(s.rip, ==, 0x17);
    g_assert_cmphex(s.err, ==, 0x2000);
    /* a jump over the end of the segment: ip is 16 bits */
    x86g_write(guest, CODE + 0x10, "\xcd\x81", 2);
    s = real(0xfff0, BYTES("\xe9\x1d\x00")); /* to fff3 + 1d = 10 */
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(s.rip, ==, 0x12);
    /* running over it: #GP */
    s = real(0xffff, BYTES("\x90"));
    g_assert_cmpint(s.vec, ==, EXC_GP);
    /* mov cx, 0; xor ax, ax; l: inc ax; loop l: 65536 times */
    s = real(0, BYTES("\xb9\x00\x00\x31\xc0\x40\xe2\xfd\xcd\x81"));
    g_assert_cmphex(s.gpr[R_RAX], ==, 0);
    g_assert_cmphex(s.gpr[R_RCX], ==, 0);
    /* with an address size prefix the count is ecx */
    s = (X86GState){.gpr[R_RSP] = 0x1000, .gpr[R_RCX] = 0x10003};
    run_real(0, BYTES("\x66\x31\xc0\x66\x40\x67\xe2\xfb\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RAX], ==, 0x10003);
    /* xor dx, dx; div dx */
    s = real(0, BYTES("\x31\xd2\xf7\xf2"));
    g_assert_cmpint(s.vec, ==, EXC_DE);
    g_assert_cmphex(s.rip, ==, 2);
    s = real(0, BYTES("\xd4\x00"));
    g_assert_cmpint(s.vec, ==, EXC_DE);
    s = real(0, BYTES("\x0f\x00\xd8")); /* ltr ax */
    g_assert_cmpint(s.vec, ==, EXC_UD);
}

static void test_real_segments(void)
{
    X86GState s;

    /* mov ax, 3100h; mov es, ax; mov word es:[4], 1122h; les bx, [8]; mov cx, es */
    memcpy(x86g_ram(guest) + DATA + 8, "\x34\x12\x00\x50", 4);
    s = real(0, BYTES("\xb8\x00\x31\x8e\xc0\x26\xc7\x06\x04\x00\x22\x11\xc4\x1e\x08\x00\x8c\xc1\xcd"
                      "\x81"));
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(data16(0x1004), ==, 0x1122);
    g_assert_cmphex(s.gpr[R_RBX], ==, 0x1234);
    g_assert_cmphex(s.gpr[R_RCX], ==, 0x5000);
    g_assert_cmphex(x86g_cpu(guest)->seg[S_ES].base, ==, 0x50000);
    /* cs: mov al, [13h]; the code segment can be read */
    s = real(0x10, BYTES("\x2e\xa0\x16\x00\xcd\x81\x5a"));
    g_assert_cmphex(s.gpr[R_RAX] & 0xff, ==, 0x5a);
}

static void test_real_strings(void)
{
    uint8_t *data = x86g_ram(guest) + DATA;
    X86GState s = {.gpr[R_RSP] = 0x1000};

    /* si wraps from ffff to 0 */
    for (unsigned i = 0; i < 4; i++) {
        data[0xfffe + i - (i >= 2 ? 0x10000 : 0)] = 0x11 * (i + 1);
    }
    s.gpr[R_RSI] = 0xabcdfffe;
    s.gpr[R_RDI] = 0x100;
    s.gpr[R_RCX] = 0x55550004;
    run_real(0, BYTES("\xf3\xa4\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmpmem(data + 0x100, 4, "\x11\x22\x33\x44", 4);
    g_assert_cmphex(s.gpr[R_RSI], ==, 0xabcd0002);
    g_assert_cmphex(s.gpr[R_RDI], ==, 0x104);
    g_assert_cmphex(s.gpr[R_RCX], ==, 0x55550000);
    /* std; rep stosw: a word at 0 then at fffe; the one at ffff faults */
    s = (X86GState){.gpr[R_RSP] = 0x1000, .gpr[R_RAX] = 0x7788, .gpr[R_RDI] = 3, .gpr[R_RCX] = 5};
    run_real(0, BYTES("\xfd\xf3\xab\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, EXC_GP);
    g_assert_cmphex(s.rip, ==, 1);
    g_assert_cmphex(s.gpr[R_RDI], ==, 0xffff);
    g_assert_cmphex(s.gpr[R_RCX], ==, 3);
    g_assert_cmphex(data16(1), ==, 0x7788);
    /* fs: lodsb with an override */
    s = (X86GState){.gpr[R_RSP] = 0x1000, .gpr[R_RSI] = 0x200};
    data[0x200] = 0x99;
    run_real(0, BYTES("\x64\xac\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RAX] & 0xff, ==, 0x99);
}

/* ---- long mode: faults inside repeats, big counts ---- */

static void back_to_long(void)
{
    x86g_setup(guest);
}

/* 4 KiB pages at PAGES, all present. */
static void small_pages(void)
{
    uint64_t pt = 0x9000 + 0x1000;

    x86g_put(guest, X86G_PD + (PAGES >> 21) * 8, pt | 7);
    for (unsigned i = 0; i < 512; i++) {
        x86g_put(guest, pt + i * 8, (PAGES + i * 4096ull) | 0x67);
    }
    jit_tlb_flush(guest->cpu, false);
}

static void set_page(unsigned i, bool present)
{
    x86g_put(guest, 0xa000 + i * 8, (PAGES + i * 4096ull) | (present ? 0x67 : 0x66));
    jit_tlb_flush_page(guest->cpu, PAGES + i * 4096);
}

static void run_long(const void *code, unsigned len, X86GState *s)
{
    x86g_write(guest, CODE, code, len);
    s->rip = CODE;
    s->gpr[R_RSP] = STACK;
    s->rflags |= 0x202;
    x86g_run(guest, 64, s);
}

static void fill_random(uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        p[i] = g_test_rand_int();
    }
}

static void test_rep_fault(void)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    uint8_t *mem = x86g_ram(guest) + PAGES, *before = g_malloc(0x10000);

    back_to_long();
    small_pages();
    set_page(4, false);
    for (unsigned i = 0; i < 200; i++) {
        unsigned k = g_test_rand_int_range(0, 4), size = sizes[k], n = 3000 / size;
        bool down = g_test_rand_bit(), dest = g_test_rand_bit();
        unsigned gap = g_test_rand_int_range(0, 2000);
        /* The faulting side runs into page 4, the other one stays far away. */
        uint64_t bad = down ? PAGES + 0x5000 + gap : PAGES + 0x4000 - gap - size;
        uint64_t good = PAGES + 0x9000 + g_test_rand_int_range(0, 0x1000), done;
        X86GState s = {0};
        uint8_t code[6] = {0xf3, 0x48, 0xa4, 0xcd, 0x81};

        code[1] = size == 2 ? 0x66 : size == 8 ? 0x48 : 0x40;
        code[2] = size == 1 ? 0xa4 : 0xa5;
        if (size == 2) { /* 66 before F3 or after: both are prefixes */
            code[0] = 0x66;
            code[1] = 0xf3;
        }
        fill_random(mem, 0x4000);
        fill_random(mem + 0x5000, 0xb000);
        memcpy(before, mem, 0x10000);
        s.gpr[R_RSI] = dest ? good : bad;
        s.gpr[R_RDI] = dest ? bad : good;
        s.gpr[R_RCX] = n;
        s.rflags = (down ? EF_DF : 0) | EF_CF | EF_ZF;
        run_long(code, 5, &s);
        /* Elements until one touches the page that is not there. */
        done = down ? (bad - (PAGES + 0x5000)) / size + 1 : gap / size + 1;
        done = MIN(done, n);
        if (down && bad < PAGES + 0x5000) {
            done = 0;
        }
        if (done == n) {
            g_assert_cmpint(s.vec, ==, X86G_END);
        } else {
            g_assert_cmpint(s.vec, ==, EXC_PF);
            g_assert_cmphex(s.rip, ==, CODE);
            g_assert_cmphex(s.err, ==, dest ? 6 : 4);
            g_assert_cmphex(s.rflags & EF_ARITH, ==, EF_CF | EF_ZF);
        }
        g_assert_cmphex(s.gpr[R_RCX], ==, n - done);
        for (unsigned e = 0; e < done; e++) {
            int64_t off = (down ? -(int64_t)e : (int64_t)e) * size;

            memmove(before + (dest ? bad : good) + off - PAGES,
                    before + (dest ? good : bad) + off - PAGES, size);
        }
        g_assert_true(!memcmp(before, mem, 0x10000));
        g_assert_cmphex(s.gpr[R_RDI], ==,
                        (dest ? bad : good) + (down ? -1 : 1) * (int64_t)(done * size));
    }
    set_page(4, true);
    g_free(before);
}

static void test_rep_overlap(void)
{
    uint8_t *mem = x86g_ram(guest) + PAGES, *want = g_malloc(0x10000);

    back_to_long();
    small_pages();
    for (unsigned i = 0; i < 300; i++) {
        static const char *const codes[] = {"\xf3\x40\xa4", "\x66\xf3\xa5", "\xf3\x40\xa5",
                                            "\xf3\x48\xa5"};
        unsigned k = g_test_rand_int_range(0, 4), size = 1u << k;
        unsigned n = g_test_rand_int_range(0, 9000) / size;
        unsigned from = 0x4000 + g_test_rand_int_range(0, 300);
        unsigned to = from + g_test_rand_int_range(-40, 40);
        bool down = g_test_rand_bit();
        X86GState s = {0};
        char code[5];

        memcpy(code, codes[k], 3);
        memcpy(code + 3, "\xcd\x81", 2);
        fill_random(mem, 0x10000);
        memcpy(want, mem, 0x10000);
        for (unsigned e = 0; e < n; e++) {
            int off = (down ? -(int)e : (int)e) * (int)size;
            uint64_t v;

            memcpy(&v, want + from + off, size);
            memcpy(want + to + off, &v, size);
        }
        s.gpr[R_RSI] = PAGES + from;
        s.gpr[R_RDI] = PAGES + to;
        s.gpr[R_RCX] = n;
        s.rflags = down ? EF_DF : 0;
        run_long(code, 5, &s);
        g_assert_cmpint(s.vec, ==, X86G_END);
        g_assert_true(!memcmp(want, mem, 0x10000));
        g_assert_cmphex(s.gpr[R_RCX], ==, 0);
    }
    g_free(want);
}

static void test_rep_long(void)
{
    uint8_t *mem = x86g_ram(guest) + 0x800000;
    X86GState s = {.gpr = {[R_RAX] = 0x5a, [R_RDI] = 0x800003, [R_RCX] = 0x300001}};
    unsigned i;

    back_to_long();
    memset(mem, 0, 0x300010);
    run_long(BYTES("\xf3\xaa\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(s.gpr[R_RCX], ==, 0);
    g_assert_cmphex(s.gpr[R_RDI], ==, 0xb00004);
    for (i = 0; i < 0x300001 && mem[3 + i] == 0x5a; i++) {
    }
    g_assert_cmphex(i, ==, 0x300001);
    g_assert_cmphex(mem[2], ==, 0);
    g_assert_cmphex(mem[0x300004], ==, 0);
    /* repne scasb to the one byte that differs, flags of the hit */
    mem[0x2abcde] = 0x11;
    s = (X86GState){.gpr = {[R_RAX] = 0x11, [R_RDI] = 0x800003, [R_RCX] = 0x300001}};
    run_long(BYTES("\xf2\xae\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RDI], ==, 0x800000 + 0x2abcdf);
    g_assert_true(s.rflags & EF_ZF);
    /* repe cmpsq over equal memory ends with ZF and count 0 */
    memset(mem, 0x33, 0x200000);
    s = (X86GState){.gpr = {[R_RSI] = 0x800000, [R_RDI] = 0x900000, [R_RCX] = 0x100000 / 8}};
    run_long(BYTES("\xf3\x48\xa7\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RCX], ==, 0);
    g_assert_true(s.rflags & EF_ZF);
    mem[0x1f0003] = 0x32;
    s = (X86GState){.gpr = {[R_RSI] = 0x800000, [R_RDI] = 0x900000, [R_RCX] = 0x100000 / 8}};
    run_long(BYTES("\xf3\x48\xa7\xcd\x81"), &s);
    g_assert_cmphex(s.gpr[R_RSI], ==, 0x8f0008);
    g_assert_false(s.rflags & (EF_ZF | EF_CF));
}

/* ---- self-modifying code ---- */

static void test_smc(void)
{
    X86GState s = {0};

    back_to_long();
    /* mov byte [rip+1], 22h (the immediate of the next); mov al, 11h; int 81h: the CPU sees it */
    run_long(BYTES("\xc6\x05\x01\x00\x00\x00\x22\xb0\x11\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(s.gpr[R_RAX] & 0xff, ==, 0x22);
    /* again: the block was translated before */
    s = (X86GState){0};
    s.rip = CODE;
    s.gpr[R_RSP] = STACK;
    x86g_write(guest, CODE + 8, "\x11", 1);
    x86g_run(guest, 64, &s);
    g_assert_cmphex(s.gpr[R_RAX] & 0xff, ==, 0x22);
    /* rep stosb over the instruction behind it: becomes nops */
    s = (X86GState){.gpr = {[R_RAX] = 0x90, [R_RDI] = CODE + 2, [R_RCX] = 2, [R_RDX] = 5}};
    run_long(BYTES("\xf3\xaa\xff\xc2\xcd\x81"), &s); /* inc edx */
    g_assert_cmpint(s.vec, ==, X86G_END);
    g_assert_cmphex(s.gpr[R_RDX], ==, 5);
}

/* ---- single step and debug traps through a TF set by POPF ---- */

static void test_trap_flag(void)
{
    X86GState s = {.gpr[R_RBX] = 7};

    back_to_long();
    /* pushfq; or qword [rsp], 100h; popfq; inc ebx; inc ebx: trap after the first inc */
    run_long(BYTES("\x9c\x48\x81\x0c\x24\x00\x01\x00\x00\x9d\xff\xc3\xff\xc3\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, EXC_DB);
    g_assert_cmphex(s.gpr[R_RBX], ==, 8);
    g_assert_cmphex(s.rip, ==, CODE + 12);
    g_assert_true(s.rflags & EF_TF);
    /* rep movsb: a trap after each element */
    s = (X86GState){.gpr = {[R_RSI] = DATA, [R_RDI] = DATA + 100, [R_RCX] = 3}};
    run_long(BYTES("\x9c\x48\x81\x0c\x24\x00\x01\x00\x00\x9d\xf3\xa4\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, EXC_DB);
    g_assert_cmphex(s.gpr[R_RCX], ==, 2);
    g_assert_cmphex(s.rip, ==, CODE + 10);
    /* a taken branch: the address is the target */
    s = (X86GState){0};
    run_long(BYTES("\x9c\x48\x81\x0c\x24\x00\x01\x00\x00\x9d\xeb\x03\x90\x90\x90\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, EXC_DB);
    g_assert_cmphex(s.rip, ==, CODE + 15);
}

static void test_alignment(void)
{
    X86GState s = {.rflags = EF_AC, .gpr[R_RSI] = DATA + 1};

    back_to_long();
    run_long(BYTES("\x8b\x06\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, EXC_AC);
    s = (X86GState){.rflags = EF_AC, .gpr[R_RSI] = DATA + 4};
    run_long(BYTES("\x8b\x06\xcd\x81"), &s);
    g_assert_cmpint(s.vec, ==, X86G_END);
}

static void add(const char *mode, const char *name, void (*fn)(void))
{
    g_autofree char *path = g_strdup_printf("/x86-modes/%s/%s", mode, name);

    g_test_add_func(path, fn);
}

static void start_interp(void)
{
    guest = x86g_new("mode=interp");
}

static void start_jit(void)
{
    guest = x86g_new("mode=jit");
}

static void stop(void)
{
    x86g_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < 2; i++) {
        const char *mode = i ? "jit" : "interp";

        add(mode, "start", i ? start_jit : start_interp);
        add(mode, "real-basics", test_real_basics);
        add(mode, "real-stack", test_real_stack);
        add(mode, "real-flow", test_real_flow);
        add(mode, "real-segments", test_real_segments);
        add(mode, "real-strings", test_real_strings);
        add(mode, "rep-fault", test_rep_fault);
        add(mode, "rep-overlap", test_rep_overlap);
        add(mode, "rep-long", test_rep_long);
        add(mode, "self-modifying", test_smc);
        add(mode, "trap-flag", test_trap_flag);
        add(mode, "alignment", test_alignment);
        add(mode, "stop", stop);
    }
    return g_test_run();
}
