/* virtio-net: hostile rings, packets with any header, control commands, frames that come in. */
#include "fuzz-virtio.h"
#include "hw/net/virtio_net.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Bench {
    FuzzVirtio f;
    NetPort wire;
    unsigned frames;
    bool full;
} Bench;

static bool wire_can_receive(NetPort *p)
{
    return !((Bench *)((char *)p - offsetof(Bench, wire)))->full;
}

static bool wire_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    ((Bench *)((char *)p - offsetof(Bench, wire)))->frames += buf[0] + buf[len - 1];
    return true;
}

static void wire_offloads(NetPort *p, unsigned offloads)
{
}

static const NetPortOps wire_ops = {.kind = "test",
                                    .can_receive = wire_can_receive,
                                    .receive = wire_receive,
                                    .peer_offloads = wire_offloads};

/* What a frame that goes out or comes in looks like. */
static void make_frame(uint8_t *p, uint8_t what, uint32_t arg)
{
    p[0] = what & 0x20 ? 0xff : 0x52;
    p[12] = what & 0x40 ? 0x81 : what & 0x10 ? 0x86 : 8;
    p[13] = what & 0x10 ? 0xdd : 0;
    p[14] = what & 0x10 ? 0x60 : 0x45;
    p[20] = 6;
    p[23] = 6;
    p[46] = (uint8_t)(arg >> 8 & 0xf0);
    p[66] = (uint8_t)(arg >> 4 & 0xf0);
}

static void step(void *opaque, uint8_t what, uint32_t arg)
{
    Bench *b = opaque;
    FuzzVirtio *f = &b->f;
    MemSpace *m = f->io.m->memory;
    uint8_t buf[4096] = {0};
    unsigned at = arg & 7;

    if (fv_step(f, what, arg)) {
        return;
    }
    switch (what & 7) {
    case 4: /* send */
        buf[0] = what >> 3 & 1;
        buf[1] = what & 0x10 ? 4 : arg >> 3 & 3;
        buf[4] = (uint8_t)(arg >> 5);
        buf[6] = what & 0x10 ? 54 : 34;
        buf[8] = (uint8_t)(arg & 0x100 ? arg : 16);
        make_frame(buf + 12, what, arg);
        mem_write(m, FV_DATA, buf, sizeof(buf));
        fv_desc(f, 1, at, FV_DATA, 12 + (arg >> 4 & 0xfff), 0, 0);
        fv_avail(f, 1, (uint16_t)at);
        break;
    case 5: /* come in; sometimes with work left */
        make_frame(buf, what, arg);
        const NetTodo todo = {.flags = what >> 3 & 3,
                              .gso_type = what & 0x80 ? (what & 0x10 ? 4 : 1) : 0,
                              .gso_size = (uint16_t)arg,
                              .csum_start = what & 0x10 ? 54 : 34,
                              .csum_off = 16};
        net_send_todo(&b->wire, &todo, buf, (arg & 0xfff) + 1);
        break;
    case 6: /* control */
        mem_store(m, FV_DATA, what >> 3 & 7, 1);
        mem_store(m, FV_DATA + 1, arg & 3, 1);
        mem_store(m, FV_DATA + 2, arg >> 2, 4);
        fv_desc(f, 2, at, FV_DATA, 2 + (arg >> 8 & 63), 1, (uint16_t)(at + 1));
        fv_desc(f, 2, at + 1, FV_DATA + 0x800, 1, 2, 0);
        fv_avail(f, 2, (uint16_t)at);
        break;
    default:
        b->full = what & 8;
        if (!b->full) {
            net_flush(&b->wire);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Bench *b = g_new0(Bench, 1);

    fv_open(&b->f, size && data[0] & 1, 5);
    Device *dev = device_new(device_type_find("virtio-net-device"), b->f.io.m);
    if (size && data[0] & 2) {
        device_set(dev, "mq", "on", NULL);
        device_set(dev, "queues", "2", NULL);
    } else {
        b->f.queues = 3;
    }
    if (!device_realize(dev, &virtio_mmio_bus(b->f.mmio)->bus, NULL)) {
        abort();
    }
    VirtioNet *s = (VirtioNet *)virtio_mmio_device(b->f.mmio);
    b->wire.ops = &wire_ops;
    b->wire.m = b->f.io.m;
    b->wire.peer = &s->port;
    g_queue_init(&b->wire.waiting);
    s->port.peer = &b->wire;
    fv_start(&b->f, UINT32_MAX, true);
    b->f.io.extra = step;
    b->f.io.opaque = b;
    fuzz_run(&b->f.io, data, size);
    s->port.peer = NULL;
    net_purge(&b->wire);
    fv_close(&b->f);
    g_free(b);
    return 0;
}
