/* e1000 with a peer that sends, rings in memory, and every register. */
#include "fuzz-pci.h"
#include "hw/net/e1000.h"
#include <stdlib.h>

#define BASE 0xe0000000u
#define DEVFN 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Wire {
    NetPort port;
    unsigned frames;
} Wire;

static bool wire_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    ((Wire *)p)->frames += buf[0] + buf[len - 1];
    return true;
}

static const NetPortOps wire_ops = {.kind = "test", .receive = wire_receive};

typedef struct Bench {
    FuzzPci f;
    Wire wire;
} Bench;

static void extra(void *opaque, uint8_t what, uint32_t arg)
{
    FuzzPci *f = opaque;
    Wire *wire = &((Bench *)opaque)->wire;

    if (what & 1) {
        /* A frame from the network. */
        uint8_t frame[16384] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
        unsigned len = arg & 0x7ff;
        frame[12] = what & 2 ? 0x81 : 8;
        frame[14] = 0x45;
        frame[17] = (uint8_t)arg;
        frame[23] = what & 4 ? 6 : 17;
        net_send(&wire->port, frame, len ? len : sizeof(frame));
    } else if (what & 2) {
        /* A ring that works, with descriptors of the fuzzer's making. */
        MemSpace *mem = f->io.m->memory;
        mem_store(mem, BASE + E1000_TDBAL, 0x1000, 4);
        mem_store(mem, BASE + E1000_TDLEN, 128, 4);
        mem_store(mem, BASE + E1000_RDBAL, 0x2000, 4);
        mem_store(mem, BASE + E1000_RDLEN, 128, 4);
        mem_store(mem, BASE + E1000_TCTL, 10, 4);
        mem_store(mem, BASE + E1000_RCTL, 0x8002 | (what & 4 ? 0x40 : 0), 4);
    } else {
        mem_store(f->io.m->memory, 0x1000 + (what >> 2 & 31) * 4, arg * 0x10001u, 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Bench b = {0};
    FuzzPci *pf = &b.f;

    fuzz_pci_open(pf);
    Clock *real = pf->io.m->virtual_clock;
    pf->io.m->virtual_clock = pf->io.clk;
    E1000 *s = (E1000 *)device_new(device_type_find("e1000"), pf->io.m);
    device_set(&s->pci.dev, "addr", "4", NULL);
    device_set(&s->pci.dev, "romfile", "", NULL);
    if (!device_realize(&s->pci.dev, &pf->bus->bus, NULL)) {
        abort();
    }
    b.wire.port.ops = &wire_ops;
    b.wire.port.m = pf->io.m;
    b.wire.port.peer = &s->port;
    s->port.peer = &b.wire.port;
    fuzz_pci_config(pf, DEVFN, 0x10, BASE);
    fuzz_pci_config(pf, DEVFN, 4, 7);
    pf->io.mmio[0] = (FuzzRange){BASE, 0x5900};
    pf->io.mmio[1] = (FuzzRange){BASE + 0x2800, 0x30};
    pf->io.mmio[2] = (FuzzRange){BASE + 0x3800, 0x30};
    pf->io.mmio[3] = (FuzzRange){0x1000, 128};
    pf->io.extra = extra;
    pf->io.opaque = &b;
    fuzz_run(&pf->io, data, size);
    pf->io.m->virtual_clock = real;
    fuzz_pci_close(pf);
    return 0;
}
