/*
 * accel/kvm against a stand-in for the kernel: every exit reason, every ioctl that can fail, memory
 * slots, the register map, hand-over to the jit. Expectations: the kernel's
 * Documentation/virt/kvm/api.rst, and the SDM for what the translated instructions do.
 */
#include "accel/jit/jit.h"
#include "accel/kvm/kvm-int.h"
#include "accel/kvm/kvm.h"
#include "core/log.h"
#include "core/machine.h"
#include "target/x86/sys.h"
#include "target/x86/x86.h"
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/mman.h>

enum { FD_KVM = 100, FD_VM, FD_VCPU, RAM_SIZE = 1 << 20, CODE = 0x1000, XSAVE_BYTES = 4096 };
enum { MAX_SLOTS = 64, MAX_MSRS = 256 };

typedef struct Fake Fake;
typedef void (*Step)(Fake *f, struct kvm_run *run);

struct Fake {
    KvmSys sys;
    /* failures to inject */
    int open_errno, mmap_errno;
    unsigned long fail_req;
    int fail_errno, fail_after;
    int no_cap, api;
    bool shadow;
    /* what was seen */
    int open_fds, maps;
    unsigned n_runs, n_completions;
    struct kvm_userspace_memory_region slot[MAX_SLOTS];
    unsigned zaps;
    GArray *irqs; /* of uint32_t */
    unsigned nmis;
    /* the vCPU */
    struct kvm_run *run;
    struct kvm_regs regs;
    struct kvm_sregs2 sregs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    struct kvm_xcrs xcrs;
    uint8_t xsave[XSAVE_BYTES];
    struct {
        uint32_t index;
        uint64_t val;
    } msr[MAX_MSRS];
    unsigned n_msrs;
    uint32_t refused_msr;
    uint64_t dirty_page; /* bit in the log */
    /* the guest */
    const Step *script;
    unsigned step;
};

typedef struct Rig {
    Fake f;
    Machine *m;
    VCpu *cpu;
    MemRegion ram, rom, io, mmio;
    GArray *log; /* of uint64_t: accesses that devices saw */
    int irq;     /* what the local controller has, -1: nothing */
    uint64_t apic_base, deadline;
    uint8_t tpr;
} Rig;

static Rig *rig;

/* ---- the stand-in ---- */

static int fake_open(void *opaque, const char *path)
{
    Fake *f = opaque;

    g_assert_cmpstr(path, ==, "/dev/kvm");
    if (f->open_errno) {
        errno = f->open_errno;
        return -1;
    }
    f->open_fds++;
    return FD_KVM;
}

static int fake_close(void *opaque, int fd)
{
    ((Fake *)opaque)->open_fds--;
    return 0;
}

static void *fake_mmap(void *opaque, size_t size, int fd, size_t offset)
{
    Fake *f = opaque;

    if (f->mmap_errno) {
        errno = f->mmap_errno;
        return NULL;
    }
    f->maps++;
    f->run = g_malloc0(size);
    return f->run;
}

static void fake_munmap(void *opaque, void *p, size_t size)
{
    ((Fake *)opaque)->maps--;
    g_free(p);
}

static bool fake_shadow(void *opaque)
{
    return ((Fake *)opaque)->shadow;
}

static int check_cap(const Fake *f, int cap)
{
    if (cap == f->no_cap) {
        return 0;
    }
    switch (cap) {
    case KVM_CAP_MAX_VCPUS:
        return 4;
    case KVM_CAP_NR_MEMSLOTS:
        return MAX_SLOTS;
    case KVM_CAP_XSAVE2:
        return XSAVE_BYTES;
    case KVM_CAP_TSC_CONTROL:
        return 0;
    default:
        return 1;
    }
}

static uint64_t *find_msr(Fake *f, uint32_t index)
{
    for (unsigned i = 0; i < f->n_msrs; i++) {
        if (f->msr[i].index == index) {
            return &f->msr[i].val;
        }
    }
    if (f->n_msrs == MAX_MSRS) {
        g_error("too many registers");
    }
    f->msr[f->n_msrs].index = index;
    return &f->msr[f->n_msrs++].val;
}

static int move_msrs(Fake *f, struct kvm_msrs *m, bool set)
{
    for (unsigned i = 0; i < m->nmsrs; i++) {
        if (m->entries[i].index == f->refused_msr) {
            return i;
        }
        uint64_t *v = find_msr(f, m->entries[i].index);

        if (set) {
            *v = m->entries[i].data;
        } else {
            m->entries[i].data = *v;
        }
    }
    return m->nmsrs;
}

static int list_msrs(struct kvm_msr_list *l)
{
    static const uint32_t have[] = {0x174,      0x175,      0x176,      0xc0000081, 0xc0000082,
                                    0xc0000083, 0xc0000084, 0xc0000102, 0x10,       0x277,
                                    0x4b564d00, 0x4b564d01, 0x3b,       0x6e0};

    l->nmsrs = G_N_ELEMENTS(have);
    memcpy(l->indices, have, sizeof(have));
    return 0;
}

static int supported_cpuid(struct kvm_cpuid2 *c)
{
    const struct kvm_cpuid_entry2 e[] = {
        {.function = 1, .ecx = 0x80202001, .edx = 0x078bfbff},
        {.function = 7, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ebx = 1 << 10},
        {.function = 0x80000001, .ecx = 1, .edx = 0x2193fbff},
        {.function = 0x80000008, .eax = 0x3028},
        {.function = 0x40000001, .eax = 0x0100007b},
    };

    c->nent = G_N_ELEMENTS(e);
    memcpy(c->entries, e, sizeof(e));
    return 0;
}

static int set_slot(Fake *f, const struct kvm_userspace_memory_region *r)
{
    g_assert_cmpuint(r->slot, <, MAX_SLOTS);
    if (r->slot == 0) {
        f->zaps += r->memory_size == 0;
        return 0;
    }
    /* Overlaps are refused by the kernel. */
    for (unsigned i = 0; i < MAX_SLOTS && r->memory_size; i++) {
        const struct kvm_userspace_memory_region *o = &f->slot[i];

        g_assert_true(i == r->slot || !o->memory_size ||
                      r->guest_phys_addr + r->memory_size <= o->guest_phys_addr ||
                      o->guest_phys_addr + o->memory_size <= r->guest_phys_addr);
    }
    f->slot[r->slot] = *r;
    return 0;
}

static int fake_run(Fake *f)
{
    f->n_runs++;
    if (f->run->immediate_exit) {
        f->n_completions++;
        errno = EINTR;
        return -1;
    }
    g_assert_nonnull(f->script[f->step]);
    errno = 0;
    f->run->exit_reason = 0;
    f->run->ready_for_interrupt_injection = 1;
    f->run->if_flag = f->regs.rflags >> 9 & 1;
    f->script[f->step++](f, f->run);
    return errno ? -1 : 0;
}

static int fake_vcpu(Fake *f, unsigned long req, void *arg)
{
    switch (req) {
#define MOVE(get, set, field)                                                                      \
    case get:                                                                                      \
        memcpy(arg, &f->field, sizeof(f->field));                                                  \
        return 0;                                                                                  \
    case set:                                                                                      \
        memcpy(&f->field, arg, sizeof(f->field));                                                  \
        return 0;
        MOVE(KVM_GET_REGS, KVM_SET_REGS, regs)
        MOVE(KVM_GET_SREGS2, KVM_SET_SREGS2, sregs)
        MOVE(KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debug)
        MOVE(KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events)
        MOVE(KVM_GET_XCRS, KVM_SET_XCRS, xcrs)
        MOVE(KVM_GET_XSAVE, KVM_SET_XSAVE, xsave)
    case KVM_GET_MSRS:
        return move_msrs(f, arg, false);
    case KVM_SET_MSRS:
        return move_msrs(f, arg, true);
    case KVM_SET_CPUID2:
        return 0;
    case KVM_GET_TSC_KHZ:
        return 1000000;
    case KVM_NMI:
        f->nmis++;
        return 0;
    case KVM_INTERRUPT:
        g_array_append_val(f->irqs, ((struct kvm_interrupt *)arg)->irq);
        return 0;
    case KVM_RUN:
        return fake_run(f);
    }
    g_error("unexpected vCPU ioctl %lx", req);
}

static int fake_ioctl(void *opaque, int fd, unsigned long req, void *arg)
{
    Fake *f = opaque;

    if (req == f->fail_req && f->fail_after-- <= 0) {
        errno = f->fail_errno;
        return -1;
    }
    if (fd == FD_VCPU) {
        return fake_vcpu(f, req, arg);
    }
    switch (req) {
    case KVM_GET_API_VERSION:
        return f->api;
    case KVM_CREATE_VM:
        f->open_fds++;
        return FD_VM;
    case KVM_CHECK_EXTENSION:
        return check_cap(f, (intptr_t)arg);
    case KVM_GET_VCPU_MMAP_SIZE:
        return sizeof(struct kvm_run) + 4096;
    case KVM_GET_MSR_INDEX_LIST:
        return list_msrs(arg);
    case KVM_GET_SUPPORTED_CPUID:
        return supported_cpuid(arg);
    case KVM_SET_IDENTITY_MAP_ADDR:
    case KVM_SET_TSS_ADDR:
    case KVM_ENABLE_CAP:
    case KVM_X86_SET_MSR_FILTER:
        return 0;
    case KVM_SET_USER_MEMORY_REGION:
        return set_slot(f, arg);
    case KVM_GET_DIRTY_LOG: {
        struct kvm_dirty_log *l = arg;

        *(uint64_t *)l->dirty_bitmap = f->dirty_page;
        f->dirty_page = 0;
        return 0;
    }
    case KVM_GET_CLOCK:
        ((struct kvm_clock_data *)arg)->clock = 5000000000;
        return 0;
    case KVM_CREATE_VCPU:
        f->open_fds++;
        return FD_VCPU;
    }
    g_error("unexpected ioctl %lx", req);
}

/* ---- a machine on it ---- */

static uint64_t dev_read(void *opaque, uint64_t off, unsigned size)
{
    uint64_t what = 1ull << 63 | off << 32 | size;

    g_array_append_val(rig->log, what);
    return 0x8877665544332211 >> (off % 8 * 8);
}

static void dev_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    uint64_t what = off << 40 | (uint64_t)size << 32 | (val & 0xffffffff);

    g_array_append_val(rig->log, what);
}

static const MemOps dev_ops = {.read = dev_read, .write = dev_write, .impl_max = 8};

static int intc_ack(void *opaque)
{
    int v = rig->irq;

    rig->irq = -1;
    vcpu_unsignal(rig->cpu, VCPU_IRQ);
    return v;
}

static uint8_t intc_tpr(void *opaque)
{
    return rig->tpr;
}

static void intc_set_tpr(void *opaque, uint8_t tpr)
{
    rig->tpr = tpr;
}

static bool intc_read(void *opaque, uint32_t reg, uint64_t *val)
{
    *val = reg == 0x1b ? rig->apic_base : rig->deadline;
    return reg == 0x1b || reg == 0x6e0;
}

static bool intc_write(void *opaque, uint32_t reg, uint64_t val)
{
    *(reg == 0x1b ? &rig->apic_base : &rig->deadline) = val;
    return reg == 0x1b || reg == 0x6e0;
}

static const LocalIntc intc = {
    .ack = intc_ack,
    .get_priority = intc_tpr,
    .set_priority = intc_set_tpr,
    .reg_read = intc_read,
    .reg_write = intc_write,
};

static void rig_begin(void)
{
    GError *err = NULL;

    rig = g_new0(Rig, 1);
    rig->irq = -1;
    rig->apic_base = 0xfee00900;
    rig->log = g_array_new(FALSE, FALSE, 8);
    rig->f = (Fake){
        .sys =
            {
                .open = fake_open,
                .close = fake_close,
                .ioctl = fake_ioctl,
                .mmap = fake_mmap,
                .munmap = fake_munmap,
                .shadow_paging = fake_shadow,
                .opaque = &rig->f,
            },
        .api = 12,
        .no_cap = -1,
        .irqs = g_array_new(FALSE, FALSE, 4),
    };
    machine_lock();
    rig->m = machine_new(NULL, NULL);
    rig->m->cfg.target = &x86_64_target;
    rig->m->cfg.smp = 1;
    g_assert_true(jit_accel.init(rig->m, NULL, &err));
    g_assert_true(mem_region_init_ram(&rig->ram, "ram", RAM_SIZE, &err));
    g_assert_true(mem_region_init_rom(&rig->rom, "rom", 0x10000, &err));
    mem_region_init_io(&rig->mmio, "mmio", &dev_ops, NULL, 0x1000);
    mem_region_init_io(&rig->io, "io", &dev_ops, NULL, 0x100);
    mem_region_add(&rig->m->memory_root, &rig->ram, 0, 0);
    mem_region_add(&rig->m->memory_root, &rig->rom, 0xffff0000, 0);
    mem_region_add(&rig->m->memory_root, &rig->mmio, 0xd0000000, 0);
    mem_region_add(&rig->m->io_root, &rig->io, 0x100, 0);
    machine_unlock();
}

/* false: *@err says why. */
static bool rig_kvm(GError **err)
{
    bool ok;

    machine_lock();
    ok = kvm_init_with(rig->m, &rig->f.sys, NULL, err);
    if (ok) {
        rig->m->accel = &kvm_accel;
        rig->cpu = vcpu_new(rig->m, &x86_64_target, &kvm_accel, 0, NULL, err);
        ok = rig->cpu != NULL;
    }
    machine_unlock();
    return ok;
}

static void rig_end(void)
{
    machine_lock();
    if (!rig->m->accel) {
        rig->m->accel = &jit_accel;
    }
    machine_free(rig->m);
    mem_region_destroy(&rig->ram);
    mem_region_destroy(&rig->rom);
    mem_region_destroy(&rig->io);
    mem_region_destroy(&rig->mmio);
    machine_unlock();
    /* Whatever happened, nothing stays behind. */
    g_assert_cmpint(rig->f.open_fds, ==, 0);
    g_assert_cmpint(rig->f.maps, ==, 0);
    g_array_free(rig->log, TRUE);
    g_array_free(rig->f.irqs, TRUE);
    g_free(rig);
    rig = NULL;
}

static X86Cpu *cpu(void)
{
    return x86(rig->cpu);
}

/* Real mode at CODE, with @code there and a stack below. */
static void rig_real(const char *code, unsigned len)
{
    X86Cpu *c = cpu();

    x86_64_target.reset(rig->cpu);
    cpu_set_intc(rig->cpu, &intc, NULL);
    x86_seg_real(c, S_CS, 0);
    c->rip = CODE;
    c->regs[R_RSP] = CODE;
    x86_update_mode(c);
    memcpy(rig->ram.host + CODE, code, len);
}

static void rig_start(const char *code, unsigned len)
{
    g_autoptr(GError) err = NULL;

    rig_begin();
    g_assert_true(rig_kvm(&err));
    g_assert_no_error(err);
    rig_real(code, len);
}

static void run_script(const Step *script)
{
    rig->f.script = script;
    rig->f.step = 0;
    rig->cpu->halted = false;
    kvm_accel.run(rig->cpu);
}

#define LOG(i) g_array_index(rig->log, uint64_t, i)

/* ---- steps of guests ---- */

static void hlt(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_HLT;
}

static void io_exit(struct kvm_run *run, bool in, unsigned size, unsigned count, const void *data)
{
    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
    run->io.size = size;
    run->io.count = count;
    run->io.port = 0x104;
    run->io.data_offset = sizeof(struct kvm_run);
    memcpy(run + 1, data, size * count);
}

static void out_word(Fake *f, struct kvm_run *run)
{
    io_exit(run, false, 2, 1, "\xcd\xab");
}
static void out_bytes(Fake *f, struct kvm_run *run)
{
    io_exit(run, false, 1, 3, "xyz");
}
static void in_dwords(Fake *f, struct kvm_run *run)
{
    io_exit(run, true, 4, 2, "        ");
}
static void check_in(Fake *f, struct kvm_run *run)
{
    g_assert_cmpmem(run + 1, 8, "\x55\x66\x77\x88\x55\x66\x77\x88", 8);
    run->exit_reason = KVM_EXIT_HLT;
}

static void test_io(void)
{
    static const Step script[] = {out_word, out_bytes, in_dwords, check_in, NULL};

    rig_start("\xf4", 1);
    run_script(script);
    g_assert_true(rig->cpu->halted);
    g_assert_cmpuint(rig->log->len, ==, 6);
    g_assert_cmphex(LOG(0), ==, 4ull << 40 | 2ull << 32 | 0xabcd);
    g_assert_cmphex(LOG(1), ==, 4ull << 40 | 1ull << 32 | 'x');
    g_assert_cmphex(LOG(3), ==, 4ull << 40 | 1ull << 32 | 'z');
    g_assert_cmphex(LOG(4), ==, 1ull << 63 | 4ull << 32 | 4);
    /* An exit that was answered by HLT needs no completion. */
    g_assert_cmpuint(rig->f.n_completions, ==, 0);
    rig_end();
}

static void mmio_exit(struct kvm_run *run, bool write, unsigned len, uint64_t val)
{
    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.phys_addr = 0xd0000010;
    run->mmio.len = len;
    run->mmio.is_write = write;
    memcpy(run->mmio.data, &val, 8);
}
static void mmio_w4(Fake *f, struct kvm_run *run)
{
    mmio_exit(run, true, 4, 0x12345678);
}
static void mmio_w3(Fake *f, struct kvm_run *run)
{
    mmio_exit(run, true, 3, 0xccbbaa);
}
static void mmio_r8(Fake *f, struct kvm_run *run)
{
    mmio_exit(run, false, 8, 0);
}
static void check_r8(Fake *f, struct kvm_run *run)
{
    uint64_t v;

    memcpy(&v, run->mmio.data, 8);
    g_assert_cmphex(v, ==, 0x8877665544332211);
    run->exit_reason = KVM_EXIT_HLT;
}
/* The exit is open when the vCPU must leave: it is completed before the state is read. */
static void mmio_then_stop(Fake *f, struct kvm_run *run)
{
    mmio_exit(run, true, 1, 0x5a);
    vcpu_signal(rig->cpu, VCPU_STOP);
}

static void test_mmio(void)
{
    static const Step script[] = {mmio_w4, mmio_w3, mmio_r8, check_r8, NULL};
    static const Step stop[] = {mmio_then_stop, NULL};

    rig_start("\xf4", 1);
    run_script(script);
    g_assert_cmpuint(rig->log->len, ==, 4);
    g_assert_cmphex(LOG(0), ==, 0x10ull << 40 | 4ull << 32 | 0x12345678);
    g_assert_cmphex(LOG(1), ==, 0x10ull << 40 | 2ull << 32 | 0xbbaa);
    g_assert_cmphex(LOG(2), ==, 0x12ull << 40 | 1ull << 32 | 0xcc);
    run_script(stop);
    g_assert_cmphex(LOG(4), ==, 0x10ull << 40 | 1ull << 32 | 0x5a);
    g_assert_cmpuint(rig->f.n_completions, ==, 1);
    g_assert_false(rig->cpu->halted);
    rig_end();
}

static void interrupted(Fake *f, struct kvm_run *run)
{
    errno = EINTR;
}
static void intr(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_INTR;
}
static void set_tpr(Fake *f, struct kvm_run *run)
{
    g_assert_cmpuint(run->cr8, ==, 3);
    run->cr8 = 9;
    run->exit_reason = KVM_EXIT_SET_TPR;
}
static void harmless_tpr_access(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_TPR_ACCESS;
}
static void harmless_bus_lock(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_X86_BUS_LOCK;
}
static void harmless_ring_full(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
}
static void hypercall(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_HYPERCALL;
}
static void after_hypercall(Fake *f, struct kvm_run *run)
{
    g_assert_cmpint((int64_t)run->hypercall.ret, ==, -ENOSYS);
    run->exit_reason = KVM_EXIT_HLT;
}

static void test_small_exits(void)
{
    static const Step script[] = {interrupted,
                                  intr,
                                  set_tpr,
                                  harmless_tpr_access,
                                  harmless_bus_lock,
                                  harmless_ring_full,
                                  hypercall,
                                  after_hypercall,
                                  NULL};

    rig_start("\xf4", 1);
    rig->tpr = 3;
    run_script(script);
    g_assert_cmpuint(rig->tpr, ==, 9);
    g_assert_true(rig->cpu->halted);
    rig_end();
}

/* ---- interrupts ---- */

static void not_ready(Fake *f, struct kvm_run *run)
{
    g_assert_true(run->request_interrupt_window);
    g_assert_cmpuint(f->irqs->len, ==, 0);
    run->ready_for_interrupt_injection = 0;
    run->exit_reason = KVM_EXIT_INTR;
}
static void window(Fake *f, struct kvm_run *run)
{
    g_assert_true(run->request_interrupt_window);
    run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
}
static void has_irq(Fake *f, struct kvm_run *run)
{
    g_assert_cmpuint(f->irqs->len, ==, 1);
    g_assert_cmpuint(g_array_index(f->irqs, uint32_t, 0), ==, 0x31);
    g_assert_false(run->request_interrupt_window);
    run->exit_reason = KVM_EXIT_HLT;
}
static void has_nmi(Fake *f, struct kvm_run *run)
{
    g_assert_cmpuint(f->nmis, ==, 1);
    run->exit_reason = KVM_EXIT_HLT;
}

static void test_interrupt(void)
{
    static const Step script[] = {not_ready, window, has_irq, NULL};
    static const Step nmi[] = {has_nmi, NULL};

    rig_start("\xf4", 1);
    rig->irq = 0x31;
    vcpu_signal(rig->cpu, VCPU_IRQ); /* with EFLAGS.IF clear */
    run_script(script);
    vcpu_signal(rig->cpu, VCPU_NMI);
    run_script(nmi);
    g_assert_cmphex(rig->cpu->events & VCPU_NMI, ==, 0);
    rig_end();
}

/* The kernel had acknowledged an interrupt and not yet delivered it. */
static void injected(Fake *f, struct kvm_run *run)
{
    f->events.interrupt.injected = 1;
    f->events.interrupt.nr = 0x20;
    vcpu_signal(rig->cpu, VCPU_STOP);
    run->exit_reason = KVM_EXIT_INTR;
}

static void test_event_in_flight(void)
{
    static const Step script[] = {injected, NULL};

    rig_start("\xf4", 1);
    memcpy(rig->ram.host + 0x80, "\x00\x20\x00\x00", 4); /* vector 20h: 0000:2000 */
    run_script(script);
    g_assert_cmphex(cpu()->rip, ==, 0x2000);
    g_assert_cmphex(cpu()->regs[R_RSP], ==, CODE - 6);
    g_assert_cmpmem(rig->ram.host + CODE - 6, 2, "\x00\x10", 2);
    rig_end();
}

/* ---- model-specific registers ---- */

static void rdmsr(struct kvm_run *run, uint32_t index, uint32_t reason)
{
    run->exit_reason = KVM_EXIT_X86_RDMSR;
    run->msr.reason = reason;
    run->msr.index = index;
    run->msr.error = 0;
}
static void rd_smbase(Fake *f, struct kvm_run *run)
{
    rdmsr(run, 0xc0010111, KVM_MSR_EXIT_REASON_UNKNOWN); /* the model's vendor is AMD */
}
static void rd_nothing(Fake *f, struct kvm_run *run)
{
    g_assert_cmpuint(run->msr.error, ==, 0);
    g_assert_cmphex(run->msr.data, ==, 0x30000);
    rdmsr(run, 0x12345, KVM_MSR_EXIT_REASON_UNKNOWN);
}
static void wr_deadline(Fake *f, struct kvm_run *run)
{
    g_assert_cmpuint(run->msr.error, ==, 1);
    run->exit_reason = KVM_EXIT_X86_WRMSR;
    run->msr.reason = KVM_MSR_EXIT_REASON_FILTER;
    run->msr.index = 0x6e0;
    run->msr.data = 77;
    run->msr.error = 0;
}
static void wr_refused(Fake *f, struct kvm_run *run)
{
    g_assert_cmpuint(run->msr.error, ==, 0);
    g_assert_cmpuint(rig->deadline, ==, 77);
    run->exit_reason = KVM_EXIT_X86_WRMSR;
    run->msr.reason = KVM_MSR_EXIT_REASON_INVAL; /* of EFER, say: #GP */
    run->msr.index = 0xc0000080;
    run->msr.data = ~0ull;
}
static void was_refused(Fake *f, struct kvm_run *run)
{
    g_assert_cmpuint(run->msr.error, ==, 1);
    run->exit_reason = KVM_EXIT_HLT;
}

static void test_msr_exits(void)
{
    static const Step script[] = {rd_smbase,  rd_nothing,  wr_deadline,
                                  wr_refused, was_refused, NULL};

    rig_start("\xf4", 1);
    run_script(script);
    g_assert_true(rig->cpu->halted);
    rig_end();
}

/* ---- hand-over ---- */

static void emulation_failure(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    run->internal.ndata = 2;
}
static void fail_entry(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_FAIL_ENTRY;
    run->fail_entry.hardware_entry_failure_reason = 0x80000021;
}
static void unknown_exit(Fake *f, struct kvm_run *run)
{
    run->exit_reason = 12345;
}
static void exit_unknown(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_UNKNOWN;
}
static void exit_exception(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_EXCEPTION;
}
static void exit_debug(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_DEBUG;
}
static void exit_hyperv(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_HYPERV;
}
static void bad_memory(Fake *f, struct kvm_run *run)
{
    errno = EFAULT;
}
static void one_further(Fake *f, struct kvm_run *run)
{
    /* inc ax was done by the jit, once, and only that. */
    g_assert_cmphex(f->regs.rip, >, CODE);
    g_assert_cmphex(f->regs.rip - CODE, ==, f->regs.rax);
    run->exit_reason = KVM_EXIT_HLT;
}

static void test_handover(void)
{
    static const Step reasons[] = {emulation_failure, fail_entry, unknown_exit, exit_unknown,
                                   exit_exception,    exit_debug, exit_hyperv,  bad_memory};

    for (unsigned shadow = 0; shadow < 2; shadow++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(reasons); i++) {
            const Step script[] = {reasons[i], one_further, NULL};
            KvmStats st;

            rig_start("@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\xf4", 37);
            ((KvmMachine *)rig->m->kvm)->shadow = shadow;
            run_script(script);
            g_assert_true(rig->cpu->halted);
            st = kvm_cpu(rig->cpu)->st;
            g_assert_cmpuint(st.handover_emulation + st.handover_entry + st.handover_unknown, ==,
                             1);
            g_assert_cmpuint(st.handover_insns, >=, 1);
            /* A kernel with shadow page tables is told to forget them. */
            g_assert_cmpuint(rig->f.zaps, ==, shadow);
            rig_end();
        }
    }
}

/* The same instruction fails again and again: the stretch grows, and every INC is done once. */
static void keeps_failing(Fake *f, struct kvm_run *run)
{
    g_assert_cmphex(f->regs.rip - CODE, ==, f->regs.rax);
    emulation_failure(f, run);
}

static void test_handover_grows(void)
{
    static const Step script[] = {keeps_failing, keeps_failing, keeps_failing,
                                  keeps_failing, one_further,   NULL};

    rig_start("@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\xf4", 37);
    run_script(script);
    g_assert_cmpuint(kvm_cpu(rig->cpu)->st.handover_insns, >, 4);
    rig_end();
}

static void test_handover_impossible(void)
{
    static const Step script[] = {emulation_failure, NULL};

    /* UD2: if even the processor's kernel does not take it, nobody can. */
    rig_start("\x0f\x0b", 2);
    run_script(script);
    g_assert_cmpint(rig->cpu->debug_hit, ==, VCPU_DEBUG_ERROR);
    g_assert_cmphex(cpu()->rip, ==, CODE);
    rig_end();
    /* Control bits that the translator does not know. */
    rig_start("\x90", 1);
    cpu()->cr4 = 1 << 12;
    run_script(script);
    g_assert_cmpint(rig->cpu->debug_hit, ==, VCPU_DEBUG_ERROR);
    rig_end();
}

/* SMM, INIT, the A20 line: what the kernel has no word for runs translated. */
static void test_state_unknown_to_kernel(void)
{
    static const Step script[] = {hlt, NULL};

    rig_start("@@\xf4", 3);
    cpu()->a20_off = true;
    x86_update_mode(cpu());
    run_script(script);
    g_assert_true(rig->cpu->halted); /* by the jit: KVM_RUN was never called */
    g_assert_cmpuint(rig->f.n_runs, ==, 0);
    g_assert_cmphex(cpu()->regs[R_RAX] & 0xffff, ==, 2);
    rig_end();
}

/* ---- ends ---- */

static void shutdown_exit(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_SHUTDOWN;
}
static uint32_t event_type;
static void system_event(Fake *f, struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
    run->system_event.type = event_type;
}

static void test_ends(void)
{
    static const Step triple[] = {shutdown_exit, NULL};
    static const Step doubtful[] = {shutdown_exit, one_further, NULL};
    static const Step event[] = {system_event, NULL};
    static const uint32_t types[] = {KVM_SYSTEM_EVENT_SHUTDOWN, KVM_SYSTEM_EVENT_RESET,
                                     KVM_SYSTEM_EVENT_CRASH};

    rig_start("@@@@\xf4", 5);
    rig->m->state = RUN_RUNNING;
    run_script(triple);
    g_assert_true(machine_must_park(rig->m)); /* a reset is wanted */
    rig->m->state = RUN_PAUSED;
    rig_end();
    rig_start("@@@@\xf4", 5);
    ((KvmMachine *)rig->m->kvm)->shadow = true;
    run_script(doubtful);
    g_assert_true(rig->cpu->halted);
    rig_end();
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        rig_start("\xf4", 1);
        event_type = types[i];
        rig->m->state = RUN_RUNNING;
        run_script(event);
        g_assert_true(machine_must_park(rig->m));
        rig->m->state = RUN_PAUSED;
        rig_end();
    }
    rig_start("\xf4", 1);
    event_type = 999;
    run_script(event);
    g_assert_cmpint(rig->cpu->debug_hit, ==, VCPU_DEBUG_ERROR);
    rig_end();
}

static void no_such(Fake *f, struct kvm_run *run)
{
    errno = EBADF;
}

/* ---- failing ioctls ---- */

static void test_failing_run(void)
{
    static const unsigned long reqs[] = {
        KVM_SET_REGS,      KVM_SET_SREGS2, KVM_SET_XSAVE,       KVM_SET_DEBUGREGS,   KVM_SET_XCRS,
        KVM_SET_MSRS,      KVM_GET_REGS,   KVM_GET_SREGS2,      KVM_GET_XSAVE,       KVM_GET_MSRS,
        KVM_GET_DEBUGREGS, KVM_GET_XCRS,   KVM_SET_VCPU_EVENTS, KVM_GET_VCPU_EVENTS,
    };
    static const Step script[] = {hlt, NULL}, bad[] = {no_such, NULL};

    for (unsigned i = 0; i < G_N_ELEMENTS(reqs); i++) {
        rig_start("\xf4", 1);
        rig->f.fail_req = reqs[i];
        rig->f.fail_errno = EINVAL;
        run_script(script);
        g_assert_cmpint(rig->cpu->debug_hit, ==, VCPU_DEBUG_ERROR);
        rig_end();
    }
    rig_start("\xf4", 1);
    run_script(bad);
    g_assert_cmpint(rig->cpu->debug_hit, ==, VCPU_DEBUG_ERROR);
    rig_end();
}

static void no_kvm(const char *text)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(rig_kvm(&err));
    g_assert_nonnull(err);
    if (!strstr(err->message, text)) {
        g_error("\"%s\" does not say \"%s\"", err->message, text);
    }
    rig_end();
}

static void test_failing_start(void)
{
    static const struct {
        int e;
        const char *text;
    } opens[] = {
        {ENOENT, "no /dev/kvm"}, {EACCES, "group kvm"}, {EPERM, "group kvm"}, {EIO, "-accel jit"}};
    static const unsigned long reqs[] = {KVM_GET_API_VERSION,    KVM_CREATE_VM,
                                         KVM_GET_VCPU_MMAP_SIZE, KVM_SET_IDENTITY_MAP_ADDR,
                                         KVM_SET_TSS_ADDR,       KVM_SET_USER_MEMORY_REGION,
                                         KVM_CREATE_VCPU,        KVM_GET_SUPPORTED_CPUID,
                                         KVM_SET_CPUID2,         KVM_GET_MSR_INDEX_LIST};
    static const int caps[] = {KVM_CAP_USER_MEMORY,
                               KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
                               KVM_CAP_SYNC_MMU,
                               KVM_CAP_IMMEDIATE_EXIT,
                               KVM_CAP_INTERNAL_ERROR_DATA,
                               KVM_CAP_XSAVE,
                               KVM_CAP_DEBUGREGS,
                               KVM_CAP_VCPU_EVENTS};

    for (unsigned i = 0; i < G_N_ELEMENTS(opens); i++) {
        rig_begin();
        rig->f.open_errno = opens[i].e;
        no_kvm(opens[i].text);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(reqs); i++) {
        rig_begin();
        rig->f.fail_req = reqs[i];
        rig->f.fail_errno = EINVAL;
        no_kvm("-accel kvm");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(caps); i++) {
        rig_begin();
        rig->f.no_cap = caps[i];
        no_kvm("KVM_CAP_");
    }
    rig_begin();
    rig->f.api = 11;
    no_kvm("version 11");
    rig_begin();
    rig->f.mmap_errno = ENOMEM;
    no_kvm("shared with vCPU 0");
    rig_begin();
    rig->m->cfg.smp = 5;
    no_kvm("at most 4");
}

/* What a kernel lacks without harm. */
static void test_lesser_kernels(void)
{
    static const int caps[] = {KVM_CAP_XCRS, KVM_CAP_USER_NMI, KVM_CAP_X86_MSR_FILTER,
                               KVM_CAP_READONLY_MEM};
    static const Step script[] = {hlt, NULL};

    for (unsigned i = 0; i < G_N_ELEMENTS(caps); i++) {
        g_autoptr(GError) err = NULL;

        rig_begin();
        rig->f.no_cap = caps[i];
        g_assert_true(rig_kvm(&err));
        rig_real("\xf4", 1);
        run_script(script);
        g_assert_true(rig->cpu->halted);
        rig_end();
    }
    /* A register that it does not take is left alone. */
    rig_start("\xf4", 1);
    rig->f.refused_msr = 0x277;
    cpu()->pat = 0x0606060606060606;
    run_script(script);
    g_assert_true(rig->cpu->halted);
    g_assert_cmphex(cpu()->pat, ==, 0x0606060606060606);
    rig_end();
}

/* ---- memory ---- */

static const struct kvm_userspace_memory_region *slot_at(uint64_t addr)
{
    for (unsigned i = 0; i < MAX_SLOTS; i++) {
        const struct kvm_userspace_memory_region *s = &rig->f.slot[i];

        if (s->memory_size && addr >= s->guest_phys_addr &&
            addr < s->guest_phys_addr + s->memory_size) {
            return s;
        }
    }
    return NULL;
}

static void test_slots(void)
{
    MemRegion hole, alias;

    rig_start("\xf4", 1);
    g_assert_cmphex(slot_at(0)->memory_size, ==, RAM_SIZE);
    g_assert_cmphex(slot_at(0)->userspace_addr, ==, (uintptr_t)rig->ram.host);
    g_assert_cmphex(slot_at(0)->flags, ==, 0);
    g_assert_cmphex(slot_at(0xffff0000)->flags, ==, KVM_MEM_READONLY);
    g_assert_null(slot_at(0xd0000000));
    /* A device in the middle of RAM, off page borders. */
    machine_lock();
    mem_region_init_io(&hole, "hole", &dev_ops, NULL, 0x1800);
    mem_region_add(&rig->m->memory_root, &hole, 0x8000, 1);
    g_assert_cmphex(slot_at(0)->memory_size, ==, 0x8000);
    g_assert_null(slot_at(0x8000));
    g_assert_null(slot_at(0x9800)); /* half a page of RAM: exits */
    g_assert_cmphex(slot_at(0xa000)->guest_phys_addr, ==, 0xa000);
    g_assert_cmphex(slot_at(0xa000)->userspace_addr, ==, (uintptr_t)rig->ram.host + 0xa000);
    mem_region_destroy(&hole);
    g_assert_cmphex(slot_at(0)->memory_size, ==, RAM_SIZE);
    /* The same RAM elsewhere, write-protected. */
    mem_region_init_alias(&alias, "alias", &rig->ram, 0x4000, 0x2000);
    mem_region_set_readonly(&alias, true);
    mem_region_add(&rig->m->memory_root, &alias, 0x40000000, 0);
    g_assert_cmphex(slot_at(0x40001000)->flags, ==, KVM_MEM_READONLY);
    g_assert_cmphex(slot_at(0x40001000)->userspace_addr, ==, (uintptr_t)rig->ram.host + 0x4000);
    mem_region_destroy(&alias);
    g_assert_null(slot_at(0x40000000));
    machine_unlock();
    rig_end();
}

static void test_dirty_log(void)
{
    enum { D = MEM_DIRTY_DISPLAY };

    rig_start("\xf4", 1);
    machine_lock();
    /* The first question starts the log; all counts as written. */
    g_assert_true(mem_test_clear_dirty(&rig->ram, 0, RAM_SIZE, D));
    g_assert_cmphex(slot_at(0)->flags, ==, KVM_MEM_LOG_DIRTY_PAGES);
    g_assert_false(mem_test_clear_dirty(&rig->ram, 0, RAM_SIZE, D));
    rig->f.dirty_page = 1ull << 5;
    g_usleep(10000); /* not more often than a display draws */
    g_assert_true(mem_test_clear_dirty(&rig->ram, 0x5000, 0x1000, D));
    g_assert_false(mem_test_clear_dirty(&rig->ram, 0x4000, 0x1000, D));
    rig->f.dirty_page = 1ull << 7;
    g_assert_true(mem_test_clear_dirty(&rig->ram, 0x7000, 1, MEM_DIRTY_MIGRATION));
    machine_unlock();
    rig_end();
}

/* ---- the register map ---- */

static void random_state(X86Cpu *c, GRand *r)
{
#define R64 ((uint64_t)g_rand_int(r) << 32 | g_rand_int(r))
    for (unsigned i = 0; i < 16; i++) {
        c->regs[i] = R64;
        c->xmm[i].q[0] = R64;
        c->xmm[i].q[1] = R64;
    }
    for (unsigned i = 0; i < S_COUNT; i++) {
        c->seg[i] = (X86Seg){.sel = g_rand_int(r),
                             .base = g_rand_int(r),
                             .limit = g_rand_int(r),
                             .attr = (g_rand_int(r) & 0xf0ff00) | DESC_P};
    }
    for (unsigned i = 0; i < 8; i++) {
        c->fpr[i] = (X86Fpr){.mant = R64, .exp = g_rand_int(r)};
    }
    x86_set_eflags(c, g_rand_int(r) & 0x0dd5 & ~EF_TF);
    c->rip = g_rand_int(r) & 0xffff;
    c->gdt = (X86Table){g_rand_int(r), g_rand_int(r)};
    c->idt = (X86Table){g_rand_int(r), g_rand_int(r)};
    c->cr2 = R64;
    c->cr3 = g_rand_int(r) & ~0xfffu;
    c->fctrl = 0x37f;
    c->ftop = g_rand_int(r) & 7;
    c->ftag_empty = g_rand_int(r);
    c->fop = g_rand_int(r) & 0x7ff;
    c->fip = R64;
    c->fdp = R64;
    c->mxcsr = 0x1f80;
    c->star = R64;
    c->lstar = R64;
    c->sfmask = g_rand_int(r);
    c->kernel_gs_base = R64;
    c->sysenter_esp = R64;
    c->pat = R64;
    c->dr[0] = g_rand_int(r);
    c->dr[3] = g_rand_int(r);
    c->shadow = true;
    c->nmi_masked = true;
    *x86_kvm_msr(c, 0x4b564d00) = R64;
    x86_update_mode(c);
}

/* State → kernel → state: a field that one side forgets is lost. */
static void test_round_trip(void)
{
    static const Step script[] = {hlt, NULL};
    g_autoptr(GRand) r = g_rand_new_with_seed(6);

    for (unsigned n = 0; n < 20; n++) {
        g_autofree char *before = NULL, *after = NULL;
        GError *err = NULL;

        rig_start("\xf4", 1);
        random_state(cpu(), r);
        g_assert_true(x86_64_target.kvm->put(rig->cpu, &err));
        before = state_dump(&x86_state_table, cpu());
        /* Everything is gone here. */
        memset(cpu()->regs, 0, sizeof(cpu()->regs));
        memset(cpu()->xmm, 0, sizeof(cpu()->xmm));
        memset(cpu()->seg, 0, sizeof(cpu()->seg));
        memset(cpu()->fpr, 0, sizeof(cpu()->fpr));
        memset(cpu()->kvm_msr_val, 0, sizeof(cpu()->kvm_msr_val));
        memset(cpu()->dr, 0, sizeof(cpu()->dr));
        x86_set_eflags(cpu(), 2);
        cpu()->rip = cpu()->cr0 = cpu()->cr2 = cpu()->cr3 = cpu()->cr4 = cpu()->efer = 0;
        cpu()->gdt = cpu()->idt = (X86Table){0};
        cpu()->fctrl = cpu()->ftop = cpu()->ftag_empty = cpu()->fop = 0;
        cpu()->fip = cpu()->fdp = cpu()->mxcsr = 0;
        cpu()->star = cpu()->lstar = cpu()->sfmask = cpu()->kernel_gs_base = 0;
        cpu()->sysenter_esp = cpu()->pat = 0;
        cpu()->shadow = cpu()->nmi_masked = false;
        g_assert_true(x86_64_target.kvm->get(rig->cpu, &err));
        /* The counter goes on meanwhile. */
        cpu()->tsc_offset = 0;
        after = state_dump(&x86_state_table, cpu());
        g_assert_cmpstr(before, ==, after);
        if (n == 0) {
            x86_64_target.reset(rig->cpu);
            run_script(script);
        }
        rig_end();
    }
}

/* The same guest goes on by one accelerator where the other left it. */
static void test_switch(void)
{
    static const Step script[] = {one_further, NULL};
    g_autoptr(GError) err = NULL;

    rig_start("@@\xf4@@@\xf4", 7);
    machine_lock();
    g_assert_true(accel_switch(rig->m, "jit", &err));
    g_assert_cmpstr(rig->m->accel->name, ==, "jit");
    g_assert_true(rig->cpu->accel == rig->m->accel);
    g_assert_true(accel_switch(rig->m, "tcg", &err));
    g_assert_false(accel_switch(rig->m, "xen", &err));
    g_clear_error(&err);
    machine_unlock();
    vcpu_unsignal(rig->cpu, VCPU_STOP);
    jit_accel.run(rig->cpu);
    g_assert_true(rig->cpu->halted);
    g_assert_cmphex(cpu()->regs[R_RAX] & 0xffff, ==, 2);
    cpu()->regs[R_RAX]++; /* HLT is a byte, too */
    machine_lock();
    g_assert_true(accel_switch(rig->m, "kvm", &err));
    machine_unlock();
    vcpu_unsignal(rig->cpu, VCPU_STOP);
    run_script(script);
    g_assert_cmphex(rig->f.regs.rip, ==, CODE + 3);
    /* A guest with more state than the translator has stays where it is. */
    cpu()->xcr0 = 7;
    machine_lock();
    g_assert_false(accel_switch(rig->m, "jit", &err));
    machine_unlock();
    g_assert_true(rig->m->accel == &kvm_accel);
    rig_end();
}

/* kvmclock, switched on while the guest is translated. */
static void test_clock_page(void)
{
    struct {
        uint32_t version, pad;
        uint64_t tsc, ns;
        uint32_t mul;
        int8_t shift;
    } p;

    rig_start("@\xf4", 2);
    machine_lock();
    g_assert_true(accel_switch(rig->m, "jit", NULL));
    machine_unlock();
    vcpu_unsignal(rig->cpu, VCPU_STOP);
    jit_accel.run(rig->cpu);
    g_assert_true(x86_msr_write(cpu(), 0x4b564d01, 0x5001));
    memcpy(&p, rig->ram.host + 0x5000, sizeof(p));
    g_assert_cmpuint(p.version, ==, 2);
    g_assert_cmpuint(p.ns, ==, 5000000000);
    /* The stand-in's counter has 1 GHz: a tick is a nanosecond. */
    g_assert_cmpint(p.shift, ==, 1);
    g_assert_cmphex(p.mul, ==, 0x80000000);
    rig_end();
}

static void test_options(void)
{
    static const struct {
        const char *opts, *text;
    } bad[] = {{"kernel-irqchip=on", "use off"},
               {"kernel-irqchip=maybe", "maybe"},
               {"hybrid=fast", "off or auto"},
               {"colour=red", "colour"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;

        rig_begin();
        g_assert_false(kvm_init_with(rig->m, &rig->f.sys, bad[i].opts, &err));
        g_assert_nonnull(strstr(err->message, bad[i].text));
        rig_end();
    }
    rig_begin();
    rig->m->cfg.target = NULL;
    no_kvm("translates");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/start/options", test_options);
    g_test_add_func("/kvm/start/failures", test_failing_start);
    g_test_add_func("/kvm/start/lesser-kernels", test_lesser_kernels);
    g_test_add_func("/kvm/memory/slots", test_slots);
    g_test_add_func("/kvm/memory/dirty-log", test_dirty_log);
    g_test_add_func("/kvm/state/round-trip", test_round_trip);
    g_test_add_func("/kvm/state/failures", test_failing_run);
    g_test_add_func("/kvm/exit/io", test_io);
    g_test_add_func("/kvm/exit/mmio", test_mmio);
    g_test_add_func("/kvm/exit/small", test_small_exits);
    g_test_add_func("/kvm/exit/msr", test_msr_exits);
    g_test_add_func("/kvm/exit/ends", test_ends);
    g_test_add_func("/kvm/interrupt/window", test_interrupt);
    g_test_add_func("/kvm/interrupt/in-flight", test_event_in_flight);
    g_test_add_func("/kvm/handover/reasons", test_handover);
    g_test_add_func("/kvm/handover/grows", test_handover_grows);
    g_test_add_func("/kvm/handover/impossible", test_handover_impossible);
    g_test_add_func("/kvm/handover/state", test_state_unknown_to_kernel);
    g_test_add_func("/kvm/switch", test_switch);
    g_test_add_func("/kvm/clock-page", test_clock_page);
    return g_test_run();
}
