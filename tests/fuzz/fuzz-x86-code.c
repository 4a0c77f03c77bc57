/*
 * Fuzz target: arbitrary bytes as guest code in every mode of the CPU, translated, linked, evicted
 * and in lockstep with the interpreter (mode=check ends the program where they differ).
 *
 * The first bytes choose mode, level, registers and the way of running; the rest is code. A thread
 * stops what does not end by itself.
 */
#include "accel/jit/jit-internal.h"
#include "tests/cpu/x86-guest.c.inc"
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { FUZZ_RAM = 4 << 20, CODE = 0x30000, MAX_CODE = 512, TICK_US = 3000 };

typedef struct Fuzz {
    X86Guest g;
    uint8_t *pristine;
    bool running; /* atomic */
} Fuzz;

static void *stopper(void *arg)
{
    Fuzz *f = arg;

    for (;;) {
        usleep(TICK_US);
        if (__atomic_load_n(&f->running, __ATOMIC_SEQ_CST)) {
            __atomic_or_fetch(&f->g.cpu->events, VCPU_STOP, __ATOMIC_SEQ_CST);
            jit_accel.kick(f->g.cpu);
        }
    }
    return NULL;
}

static Fuzz *fuzz_new(void)
{
    Fuzz *f = g_new0(Fuzz, 1);
    X86Guest *g = &f->g;
    GError *err = NULL;

    log_mask = 0;
    g->m = machine_new(NULL, &jit_accel);
    machine_lock();
    if (!jit_accel.init(g->m, "tb-size=2M", &err) ||
        !mem_region_init_ram(&g->ram, "ram", FUZZ_RAM, &err)) {
        g_error("%s", err->message);
    }
    mem_region_add(&g->m->memory_root, &g->ram, 0, 0);
    g->cpu = vcpu_new(g->m, &x86_64_target, &jit_accel, 0, "max", &err);
    machine_unlock();
    g_assert_no_error(err);
    x86_64_target.reset(g->cpu);
    x86g_tables(g);
    f->pristine = g_memdup2(g->ram.host, FUZZ_RAM);
    mem_test_clear_dirty(&g->ram, 0, FUZZ_RAM, MEM_DIRTY_MIGRATION);
    g_thread_new("stopper", stopper, f);
    return f;
}

/* RAM as it was, the CPU after reset. */
static void start_over(Fuzz *f)
{
    X86Guest *g = &f->g;

    for (uint64_t p = 0; p < FUZZ_RAM; p += MEM_PAGE_SIZE) {
        if (__atomic_load_n(&g->ram.dirty[p >> MEM_PAGE_BITS], __ATOMIC_SEQ_CST) &
            MEM_DIRTY_MIGRATION) {
            memcpy(g->ram.host + p, f->pristine + p, MEM_PAGE_SIZE);
            mem_set_dirty(&g->ram, p, MEM_PAGE_SIZE);
            mem_test_clear_dirty(&g->ram, p, MEM_PAGE_SIZE, MEM_DIRTY_MIGRATION);
        }
    }
    __atomic_store_n(&g->cpu->events, g->cpu->events & VCPU_WORK, __ATOMIC_SEQ_CST);
    g->cpu->halted = false;
    x86_64_target.reset(g->cpu);
    x86g_setup(g);
}

static void set_mode(X86Cpu *c, unsigned how)
{
    unsigned dpl = how & 1 ? 3 : 0, data = 0xcf9300 | dpl << 13;
    uint32_t code;

    switch (how >> 1 & 3) {
    case 0: /* 64 bits */
        code = 0xaf9b00;
        break;
    case 1: /* compatibility mode, 32 bits */
        code = 0xcf9b00;
        break;
    case 2: /* 32 bits without paging, sometimes with limits that are soon reached */
        code = 0xcf9b00;
        c->cr0 &= ~CR0_PG;
        c->efer &= ~(EFER_LMA | EFER_LME);
        break;
    default: /* real mode */
        c->cr0 &= ~(CR0_PG | CR0_PE);
        c->efer &= ~(EFER_LMA | EFER_LME);
        code = data = 0x9b00;
        dpl = 0;
    }
    code |= dpl << 13;
    for (unsigned i = 0; i < S_LDTR; i++) {
        bool real = !(c->cr0 & CR0_PE);

        c->seg[i] = (X86Seg){.sel = real        ? 0
                                    : i == S_CS ? 0x10 | dpl
                                                : X86G_USER_DS & ~3 | dpl,
                             .attr = i == S_CS ? code : data,
                             .limit = real      ? 0xffff
                                      : how & 8 ? CODE + 0xfff
                                                : 0xffffffffu};
    }
    if (!(c->cr0 & CR0_PE)) {
        c->seg[S_CS].base = CODE;
        c->seg[S_CS].sel = CODE >> 4;
        c->idt = (X86Table){0, 0x3ff};
    }
}

static void set_regs(X86Cpu *c, uint64_t seed)
{
    static const uint64_t values[] = {0,          1,           ~0ull,   X86G_STACK,
                                      CODE,       CODE + 2048, 0x31ffc, 1ull << 63,
                                      0x7fffffff, 0x80000000,  0x40000, 0x3ffff0};

    for (unsigned i = 0; i < 16; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        c->regs[i] = seed >> 63 ? seed >> 20 : values[(seed >> 40) % G_N_ELEMENTS(values)];
    }
    for (unsigned i = 0; i < sizeof c->xmm; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        ((uint8_t *)c->xmm)[i] = seed >> 56;
    }
    c->regs[R_RSP] = X86G_STACK - 64;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static Fuzz *f;
    X86Cpu *c;

    if (!f) {
        f = fuzz_new();
    }
    if (len < 4 || len > MAX_CODE) {
        return 0;
    }
    X86Guest *g = &f->g;
    JitMachine *jm = g->m->accel_data;

    c = x86(g->cpu);
    start_over(f);
    jm->opts.run_mode = data[1] & 1 ? JIT_MODE_CHECK : JIT_MODE_JIT;
    jm->opts.max_insns = data[1] & 2 ? 4 : 256;
    set_mode(c, data[0]);
    set_regs(c, data[2]);
    x86g_write(g, CODE, data + 3, len - 3);
    c->rip = c->cr0 & CR0_PE ? CODE : 0;
    c->exc = -1;
    x86_set_eflags(c, data[0] & 0x10 ? EF_TF | 2 : data[0] & 0x20 ? EF_AC | 2 : 2);
    x86_update_mode(c);
    jit_tlb_flush(g->cpu, false);

    __atomic_store_n(&f->running, true, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 64 && !g->cpu->halted; i++) {
        if (__atomic_load_n(&g->cpu->events, __ATOMIC_SEQ_CST) & VCPU_WORK) {
            vcpu_do_work(g->cpu);
        }
        if (__atomic_load_n(&g->cpu->events, __ATOMIC_SEQ_CST) & VCPU_STOP) {
            break;
        }
        jit_accel.run(g->cpu);
    }
    __atomic_store_n(&f->running, false, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&g->cpu->events, __ATOMIC_SEQ_CST) & VCPU_WORK) {
        vcpu_do_work(g->cpu);
    }
    if (data[1] & 4 && data[1] >> 3 == 0) { /* now and then everything anew */
        jit_cache_flush(jit_cpu(g->cpu));
    }
    return 0;
}
