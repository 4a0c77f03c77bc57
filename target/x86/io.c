/*
 * I/O ports and who may use them. Intel SDM volume 1, chapter 19 (input/output).
 */
#include "core/machine.h"
#include "core/memory.h"
#include "target/x86/sys.h"

uint64_t x86_port_in(VCpu *cpu, uint16_t port, unsigned size)
{
    FlatView *view;
    uint64_t v;

    if (!cpu->machine || !cpu->machine->io) {
        return size == 1 ? 0xff : size == 2 ? 0xffff : 0xffffffff;
    }
    view = mem_view_get(cpu->machine->io);
    v = mem_view_load(view, port, size, false);
    mem_view_put(view);
    return v;
}

void x86_port_out(VCpu *cpu, uint16_t port, uint64_t val, unsigned size)
{
    FlatView *view;

    if (!cpu->machine || !cpu->machine->io) {
        return;
    }
    view = mem_view_get(cpu->machine->io);
    mem_view_store(view, port, val, size, false);
    mem_view_put(view);
}

/* Two bytes of the TSS's permission bitmap cover any access. */
static bool bitmap_allows(X86Cpu *c, uint16_t port, unsigned size)
{
    const X86Seg *tr = &c->seg[S_TR];
    unsigned mmu = x86_mmu_system(c);
    uint64_t at;
    uint32_t map;

    if (!(tr->attr & DESC_P) || !(tr->attr >> DESC_TYPE_SHIFT & 8) || tr->limit < 0x67) {
        return false;
    }
    at = x86_lma(c) ? tr->base : (uint32_t)tr->base;
    map = jit_load(&c->vcpu, at + 0x66, 2, mmu) + port / 8;
    if (map + 1 > tr->limit) {
        return false;
    }
    map = jit_load(&c->vcpu, at + map, 2, mmu);
    return !(map >> (port & 7) & ((1u << size) - 1));
}

void x86_check_io(VCpu *cpu, uint16_t port, unsigned size)
{
    X86Cpu *c = x86(cpu);

    if (x86_real(c) || (!x86_v86(c) && x86_cpl(c) <= x86_iopl(c))) {
        return;
    }
    if (!bitmap_allows(c, port, size)) {
        x86_raise_err(c, EXC_GP, 0);
    }
}

uint64_t x86_h_check_io(VCpu *cpu, uint64_t port, uint64_t size)
{
    x86_check_io(cpu, port, size);
    return 0;
}

uint64_t x86_h_in(VCpu *cpu, uint64_t port, uint64_t size)
{
    x86_check_io(cpu, port, size);
    x86_io_break(x86(cpu), port, size);
    return x86_port_in(cpu, port, size);
}

uint64_t x86_h_out(VCpu *cpu, uint64_t port, uint64_t val, uint64_t size)
{
    x86_check_io(cpu, port, size);
    x86_io_break(x86(cpu), port, size);
    x86_port_out(cpu, port, val, size);
    return 0;
}
