/*
 * Split virtqueues and the MMIO transport against VIRTIO 1.2, sections 2.7, 3.1 and 4.2: a device
 * that copies what it reads to what it writes, driven by rings in guest memory, good and hostile.
 */
#include "virtio-fixture.h"

#define OUT 0x100000u
#define IN 0x200000u
#define TABLE 0x300000u

typedef struct Echo {
    Device dev;
    VirtioDevice v;
    unsigned calls, elements;
    bool stop; /* leave buffers in the queue */
} Echo;

static Echo *echo_of(VirtioDevice *v)
{
    return (Echo *)((char *)v - offsetof(Echo, v));
}

static void echo(VirtioDevice *v, VirtQueue *q)
{
    Echo *s = echo_of(v);
    VirtElem *e;
    uint8_t buf[256];

    s->calls++;
    while (!s->stop && (e = virtq_next(q))) {
        uint64_t done = 0;
        size_t n;
        while ((n = virtelem_get(v, e, done, buf, sizeof(buf))) &&
               (n = virtelem_put(v, e, done, buf, n))) {
            done += n;
        }
        s->elements++;
        virtq_push(q, e, (uint32_t)done);
    }
    virtq_notify(q);
}

static void get_config(VirtioDevice *v, uint8_t *cfg)
{
    virtio_put32(cfg, 0x12345678);
    cfg[4] = 0x9a;
}

static bool echo_realize(VirtioDevice *v, GError **err)
{
    v->config_size = 5;
    v->host_features = VIRTIO_BIT(3);
    virtio_add_queue(v, 64, echo);
    virtio_add_queue(v, 8, echo);
    return true;
}

static void echo_reset(VirtioDevice *v)
{
}

static const VirtioClass echo_class = {
    .name = "echo",
    .id = 63,
    .legacy_pci_id = 0x1000,
    .realize = echo_realize,
    .reset = echo_reset,
    .get_config = get_config,
};

static bool dev_realize(Device *dev, GError **err)
{
    return virtio_mmio_plug(&((Echo *)dev)->v, &echo_class, dev, err);
}

static void dev_unrealize(Device *dev)
{
    virtio_mmio_unplug(&((Echo *)dev)->v);
}

static void dev_reset(Device *dev)
{
    virtio_mmio_reset_device(&((Echo *)dev)->v);
}

static const Property props[] = {VIRTIO_PROPERTIES(Echo, v), {NULL}};
static const StateField fields[] = {VIRTIO_STATE(Echo, v), STATE_END_FIELD};
static const StateTable state = {.name = "echo", .version = 1, .fields = fields};
static const DeviceType echo_type = {
    .name = "echo-device",
    .bus = "virtio-bus",
    .size = sizeof(Echo),
    .props = props,
    .realize = dev_realize,
    .unrealize = dev_unrealize,
    .reset = dev_reset,
    .state = &state,
};

static Echo *open_echo(VFixture *f, bool legacy)
{
    vf_machine(f, legacy);
    Device *dev = device_new(&echo_type, f->r.m);
    vf_plug(f, dev);
    return (Echo *)dev;
}

static void pattern(VFixture *f)
{
    for (unsigned i = 0; i < 512; i++) {
        mem_store(f->r.m->memory, OUT + i, i * 7 + 1, 1);
    }
}

static void expect_copy(VFixture *f, uint64_t from, uint64_t to, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        g_assert_cmphex(mem_load(f->r.m->memory, to + i, 1), ==,
                        mem_load(f->r.m->memory, from + i, 1));
    }
}

static void test_registers(void)
{
    VFixture f;

    vf_machine(&f, false);
    g_assert_cmphex(vf_reg(&f, 0), ==, 0x74726976);
    g_assert_cmpuint(vf_reg(&f, 4), ==, 2);
    g_assert_cmpuint(vf_reg(&f, 8), ==, 0); /* nothing there */
    vf_plug(&f, device_new(&echo_type, f.r.m));
    g_assert_cmpuint(vf_reg(&f, 8), ==, 63);
    g_assert_cmphex(vf_reg(&f, 0x100), ==, 0x12345678);
    g_assert_cmphex(mem_load(f.r.m->memory, VF_BASE + 0x104, 1), ==, 0x9a);
    g_assert_cmphex(mem_load(f.r.m->memory, VF_BASE + 0x105, 1), ==, 0xff);
    g_assert_cmphex(vf_reg(&f, 0x10), ==, 1u << 28 | 1u << 29 | 1u << 3);
    vf_set(&f, 0x14, 1);
    g_assert_cmphex(vf_reg(&f, 0x10), ==, 1);
    vf_set(&f, 0x14, 2);
    g_assert_cmphex(vf_reg(&f, 0x10), ==, 0);
    vf_set(&f, 0x30, 1);
    g_assert_cmpuint(vf_reg(&f, 0x34), ==, 8);
    vf_set(&f, 0x30, 2);
    g_assert_cmpuint(vf_reg(&f, 0x34), ==, 0);
    vf_set(&f, 0x30, 0x10001);
    g_assert_cmpuint(vf_reg(&f, 0x34), ==, 0);
    /* A second device finds the bus full. */
    GError *err = NULL;
    Device *dev = device_new(&echo_type, f.r.m);
    g_assert_false(device_realize(dev, &virtio_mmio_bus(f.mmio)->bus, &err));
    g_assert_nonnull(err);
    g_error_free(err);
    device_free(dev);
    vf_close(&f);
}

/* FEATURES_OK is refused for what is not offered and without version 1; after it, no changes. */
static void test_negotiation(void)
{
    VFixture f;

    open_echo(&f, false);
    vf_set(&f, 0x70, 3);
    vf_set(&f, 0x24, 0);
    vf_set(&f, 0x20, 1u << 3);
    vf_set(&f, 0x70, 11);
    g_assert_cmphex(vf_reg(&f, 0x70), ==, 3);
    vf_set(&f, 0x24, 1);
    vf_set(&f, 0x20, 1 | 1u << 2); /* packed rings */
    vf_set(&f, 0x70, 11);
    g_assert_cmphex(vf_reg(&f, 0x70), ==, 3);
    vf_set(&f, 0x20, 1);
    vf_set(&f, 0x24, 5);
    vf_set(&f, 0x20, 1);
    vf_set(&f, 0x70, 11);
    g_assert_cmphex(vf_reg(&f, 0x70), ==, 3);
    vf_set(&f, 0x70, 0);
    g_assert_cmphex(vf_reg(&f, 0x70), ==, 0);
    vf_set(&f, 0x24, 1);
    vf_set(&f, 0x20, 1);
    vf_set(&f, 0x70, 11);
    g_assert_cmphex(vf_reg(&f, 0x70), ==, 11);
    vf_set(&f, 0x24, 0);
    vf_set(&f, 0x20, 1u << 29);
    g_assert_false(virtio_has(f.v, VIRTIO_F_EVENT_IDX));
    /* Queue sizes: powers of two up to the maximum. */
    vf_set(&f, 0x38, 32);
    g_assert_cmpuint(f.v->vq[0].size, ==, 32);
    vf_set(&f, 0x38, 33);
    vf_set(&f, 0x38, 128);
    vf_set(&f, 0x38, 0);
    g_assert_cmpuint(f.v->vq[0].size, ==, 32);
    vf_close(&f);
}

static void test_chain(void)
{
    VFixture f;
    Echo *s = open_echo(&f, false);
    uint32_t head = 0, len = 0;
    const VfBuf b[] = {{OUT, 100, false},
                       {OUT + 100, 0, false},
                       {OUT + 100, 28, false},
                       {IN, 50, true},
                       {IN + 50, 150, true}};

    vf_start(&f, 0, 2, 8);
    pattern(&f);
    for (unsigned i = 0; i < 40; i++) { /* around the ring and its indexes' ends */
        uint16_t h = vf_add(&f, i & 1, b, 5);
        vf_kick(&f, i & 1);
        g_assert_true(vf_used(&f, i & 1, &head, &len));
        g_assert_cmpuint(head, ==, h);
        g_assert_cmpuint(len, ==, 128);
        g_assert_cmphex(vf_ack(&f), ==, 1);
    }
    expect_copy(&f, OUT, IN, 128);
    g_assert_cmpuint(s->elements, ==, 40);
    /* No interrupt when the driver says so. */
    vf_write16(&f, f.q[0].avail, 1);
    vf_add(&f, 0, b, 5);
    vf_kick(&f, 0);
    g_assert_cmphex(vf_ack(&f), ==, 0);
    /* Not before DRIVER_OK, then at once. */
    vf_set(&f, 0x70, 0);
    g_assert_cmpuint(vf_reg(&f, 0x44), ==, 0);
    vf_close(&f);
}

static void test_before_driver_ok(void)
{
    VFixture f;
    Echo *s = open_echo(&f, false);
    const VfBuf b = {OUT, 100, false};

    vf_start(&f, 0, 1, 8);
    vf_set(&f, 0x70, 0);
    vf_set(&f, 0x24, 1);
    vf_set(&f, 0x20, 1);
    vf_set(&f, 0x70, 11);
    vf_queue(&f, 0, 8);
    vf_add(&f, 0, &b, 1);
    vf_kick(&f, 0);
    g_assert_cmpuint(s->elements, ==, 0);
    vf_set(&f, 0x70, 15);
    g_assert_cmpuint(s->elements, ==, 1);
    vf_close(&f);
}

static void test_indirect(void)
{
    VFixture f;
    uint32_t head = 0, len = 0;

    open_echo(&f, false);
    vf_start(&f, VIRTIO_F_INDIRECT_DESC, 1, 8);
    pattern(&f);
    /* More entries than the queue has places; the last direct descriptor leads to them. */
    for (unsigned i = 0; i < 20; i++) {
        vf_desc_at(&f, TABLE, i, i < 10 ? OUT + 10 + i * 10 : IN + (i - 10) * 11, i < 10 ? 10 : 11,
                   (i < 10 ? 0 : VF_WRITE) | (i < 19 ? VF_NEXT : 0), (uint16_t)(i + 1));
    }
    vf_desc_at(&f, f.q[0].desc, 2, OUT, 10, VF_NEXT, 5);
    vf_desc_at(&f, f.q[0].desc, 5, TABLE, 20 * 16, VF_INDIRECT | VF_WRITE, 0);
    vf_avail(&f, 0, 2);
    vf_kick(&f, 0);
    g_assert_true(vf_used(&f, 0, &head, &len));
    g_assert_cmpuint(head, ==, 2);
    g_assert_cmpuint(len, ==, 110);
    expect_copy(&f, OUT, IN, 110);
    vf_close(&f);
}

/* Interrupt when used index passes used_event; kick wanted at avail_event. */
static void test_event_index(void)
{
    VFixture f;
    Echo *s = open_echo(&f, false);
    const VfBuf b = {OUT, 4, false};

    vf_start(&f, VIRTIO_F_EVENT_IDX, 1, 8);
    uint64_t used_event = f.q[0].avail + 4 + 2 * 8, avail_event = f.q[0].used + 4 + 8 * 8;
    vf_add(&f, 0, &b, 1);
    vf_kick(&f, 0);
    g_assert_cmphex(vf_ack(&f), ==, 1);
    g_assert_cmpuint(vf_read16(&f, avail_event), ==, 1);
    vf_write16(&f, used_event, 3); /* when the fourth is used */
    for (unsigned i = 1; i < 6; i++) {
        vf_add(&f, 0, &b, 1);
        vf_kick(&f, 0);
        g_assert_cmphex(vf_ack(&f), ==, i == 3);
    }
    /* Several at once, across the event. */
    vf_write16(&f, used_event, 7);
    for (unsigned i = 0; i < 4; i++) {
        vf_add(&f, 0, &b, 1);
    }
    vf_kick(&f, 0);
    g_assert_cmphex(vf_ack(&f), ==, 1);
    g_assert_cmpuint(vf_read16(&f, avail_event), ==, 10);
    g_assert_cmpuint(s->elements, ==, 10);
    vf_close(&f);
}

/* ---- hostile drivers ---- */

static void expect_broken(VFixture *f)
{
    const VfBuf b = {OUT, 4, false};
    Echo *s = (Echo *)f->dev;
    unsigned before = s->elements;

    g_assert_true(f->v->broken);
    g_assert_cmphex(vf_reg(f, 0x70), ==, 15 | 64);
    g_assert_cmphex(vf_ack(f) & 2, ==, 2);
    vf_start(f, VIRTIO_F_INDIRECT_DESC, 1, 8);
    vf_add(f, 0, &b, 1);
    vf_kick(f, 0);
    g_assert_cmpuint(s->elements, ==, before + 1);
    vf_ack(f);
}

static void test_hostile(void)
{
    VFixture f;
    Echo *s = open_echo(&f, false);

    vf_start(&f, VIRTIO_F_INDIRECT_DESC, 1, 8);
    for (unsigned bad = 0; bad < 13; bad++) {
        uint64_t d = f.q[0].desc;
        uint16_t head = 0;
        switch (bad) {
        case 0: /* loop */
            vf_desc_at(&f, d, 0, OUT, 4, VF_NEXT, 1);
            vf_desc_at(&f, d, 1, OUT, 4, VF_NEXT, 0);
            break;
        case 1: /* next beyond the table */
            vf_desc_at(&f, d, 0, OUT, 4, VF_NEXT, 8);
            break;
        case 2: /* head beyond the table */
            head = 8;
            break;
        case 3: /* reads after writes */
            vf_desc_at(&f, d, 0, IN, 4, VF_NEXT | VF_WRITE, 1);
            vf_desc_at(&f, d, 1, OUT, 4, 0, 0);
            break;
        case 4: /* around the end of the address space */
            vf_desc_at(&f, d, 0, UINT64_MAX - 3, 8, 0, 0);
            break;
        case 5: /* indirect table of no or part of an entry, too long, nowhere, in registers */
            vf_desc_at(&f, d, 0, TABLE, 0, VF_INDIRECT, 0);
            break;
        case 6:
            vf_desc_at(&f, d, 0, TABLE, 24, VF_INDIRECT, 0);
            break;
        case 7:
            vf_desc_at(&f, d, 0, TABLE, 16 * 1025, VF_INDIRECT, 0);
            break;
        case 8:
            vf_desc_at(&f, d, 0, 0x5000000000ull, 16, VF_INDIRECT, 0);
            break;
        case 9:
            vf_desc_at(&f, d, 0, VF_BASE + 0x100, 16, VF_INDIRECT, 0);
            break;
        case 10: /* indirect inside indirect */
            vf_desc_at(&f, TABLE, 0, TABLE, 16, VF_INDIRECT, 0);
            vf_desc_at(&f, d, 0, TABLE, 16, VF_INDIRECT, 0);
            break;
        case 11: /* with next */
            vf_desc_at(&f, d, 0, TABLE, 16, VF_INDIRECT | VF_NEXT, 1);
            break;
        default: /* more buffers than the ring has */
            vf_write16(&f, f.q[0].avail + 2, 20);
        }
        if (bad < 12) {
            vf_avail(&f, 0, head);
        }
        unsigned calls = s->elements;
        vf_kick(&f, 0);
        g_assert_cmpuint(s->elements, ==, calls);
        expect_broken(&f);
    }
    vf_close(&f);
}

static void test_ring_nowhere(void)
{
    VFixture f;
    static const uint64_t where[] = {0x80000000ull, VF_BASE, VF_RAM - 16, UINT64_MAX - 15, 0x10004};

    open_echo(&f, false);
    for (unsigned part = 0; part < 3; part++) {
        for (unsigned i = 0; i < 5; i++) {
            if (i == 4 && part) {
                continue; /* aligned enough */
            }
            vf_start(&f, 0, 1, 8);
            f.v->vq[0].ready = false;
            vf_set(&f, 0x80 + 16 * part, (uint32_t)where[i]);
            vf_set(&f, 0x84 + 16 * part, (uint32_t)(where[i] >> 32));
            vf_set(&f, 0x44, 1);
            vf_kick(&f, 0);
            expect_broken(&f);
        }
    }
    vf_close(&f);
}

/* Buffers in holes read as ones and swallow; buffers in the device's own registers do nothing. */
static void test_odd_buffers(void)
{
    VFixture f;
    uint32_t head = 0, len = 0;
    const VfBuf hole[] = {{0x70000000, 32, false}, {IN, 32, true}},
                regs[] = {{OUT, 0x200, false}, {VF_BASE, 0x200, true}},
                from_regs[] = {{VF_BASE, 0x10, false}, {IN, 0x10, true}},
                edge[] = {{VF_RAM - 16, 32, false}, {IN, 32, true}};

    open_echo(&f, false);
    vf_start(&f, 0, 1, 8);
    pattern(&f);
    vf_add(&f, 0, hole, 2);
    vf_kick(&f, 0);
    g_assert_true(vf_used(&f, 0, &head, &len));
    g_assert_cmpuint(len, ==, 32);
    g_assert_cmphex(readl(&f.r, IN + 28), ==, 0xffffffff);
    vf_add(&f, 0, regs, 2);
    vf_kick(&f, 0);
    g_assert_true(vf_used(&f, 0, &head, &len));
    g_assert_cmphex(vf_reg(&f, 0x70), ==, 15);
    vf_add(&f, 0, from_regs, 2);
    vf_kick(&f, 0);
    g_assert_true(vf_used(&f, 0, &head, &len));
    vf_add(&f, 0, edge, 2);
    vf_kick(&f, 0);
    g_assert_true(vf_used(&f, 0, &head, &len));
    g_assert_cmphex(readl(&f.r, IN), ==, 0);
    g_assert_cmphex(readl(&f.r, IN + 16), ==, 0xffffffff);
    g_assert_false(f.v->broken);
    vf_close(&f);
}

/* One kick is a bounded amount of work; the rest comes in the main loop. */
static void test_turns(void)
{
    VFixture f;
    Echo *s = open_echo(&f, false);
    const VfBuf b = {OUT, 4, false};

    vf_start(&f, 0, 1, 8);
    s->stop = true;
    for (unsigned i = 0; i < 8; i++) {
        vf_add(&f, 0, &b, 1);
    }
    vf_kick(&f, 0);
    s->stop = false;
    f.v->vq[0].budget = 3;
    echo(f.v, &f.v->vq[0]);
    g_assert_cmpuint(s->elements, ==, 3);
    clock_step(f.r.clk, 1);
    g_assert_cmpuint(s->elements, ==, 8);
    vf_close(&f);
}

/* The memory map changes: the rings are found again. */
static void test_map_change(void)
{
    VFixture f;
    Echo *s = open_echo(&f, false);
    const VfBuf b = {OUT, 4, false};
    MemRegion cover;
    const MemOps none = {0};

    vf_start(&f, 0, 1, 8);
    vf_add(&f, 0, &b, 1);
    vf_kick(&f, 0);
    g_assert_true(f.v->vq[0].mapped);
    mem_region_init_io(&cover, "cover", &none, NULL, 4096);
    mem_region_add(&f.r.m->memory_root, &cover, 0x1000, 1);
    g_assert_false(f.v->vq[0].mapped);
    vf_add(&f, 0, &b, 1);
    vf_kick(&f, 0);
    g_assert_cmpuint(s->elements, ==, 2);
    mem_region_del(&cover);
    mem_region_destroy(&cover);
    vf_close(&f);
}

static void test_state(void)
{
    VFixture f;
    Echo *s = open_echo(&f, false);
    const VfBuf b = {OUT, 4, false};

    vf_start(&f, VIRTIO_F_EVENT_IDX, 2, 8);
    s->stop = true;
    vf_add(&f, 0, &b, 1);
    vf_kick(&f, 0);
    s->stop = false;
    rig_roundtrip(f.dev);
    clock_step(f.r.clk, 1); /* what waited is seen */
    g_assert_cmpuint(s->elements, ==, 1);
    vf_close(&f);
}

static void test_legacy(void)
{
    VFixture f;
    Echo *s = open_echo(&f, true);
    uint32_t head = 0, len = 0;
    const VfBuf b[] = {{OUT, 16, false}, {IN, 16, true}};

    g_assert_cmpuint(vf_reg(&f, 4), ==, 1);
    g_assert_cmphex(vf_reg(&f, 0x10), ==, 7u << 27 | 1u << 3);
    vf_set(&f, 0x14, 1);
    g_assert_cmphex(vf_reg(&f, 0x10), ==, 0);
    vf_set(&f, 0x70, 3);
    vf_set(&f, 0x20, 1u << 28);
    vf_set(&f, 0x28, 4096);
    vf_set(&f, 0x30, 0);
    vf_set(&f, 0x38, 16);
    vf_set(&f, 0x3c, 4096);
    vf_set(&f, 0x40, VF_RINGS >> 12);
    g_assert_cmphex(vf_reg(&f, 0x40), ==, VF_RINGS >> 12);
    f.q[0] =
        (VfQueue){.size = 16, .desc = VF_RINGS, .avail = VF_RINGS + 256, .used = VF_RINGS + 4096};
    pattern(&f);
    /* Drivers of old use queues before they are ready. */
    vf_add(&f, 0, b, 2);
    vf_kick(&f, 0);
    g_assert_true(vf_used(&f, 0, &head, &len));
    vf_set(&f, 0x70, 7);
    vf_add(&f, 0, b, 2);
    vf_kick(&f, 0);
    g_assert_true(vf_used(&f, 0, &head, &len));
    g_assert_cmpuint(len, ==, 16);
    expect_copy(&f, OUT, IN, 16);
    vf_set(&f, 0x40, 0);
    vf_add(&f, 0, b, 2);
    vf_kick(&f, 0);
    g_assert_cmpuint(s->elements, ==, 2);
    vf_set(&f, 0x3c, 3); /* no power of two */
    vf_set(&f, 0x28, 5);
    rig_roundtrip(f.dev);
    vf_close(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtqueue/registers", test_registers);
    g_test_add_func("/virtqueue/negotiation", test_negotiation);
    g_test_add_func("/virtqueue/chain", test_chain);
    g_test_add_func("/virtqueue/before-driver-ok", test_before_driver_ok);
    g_test_add_func("/virtqueue/indirect", test_indirect);
    g_test_add_func("/virtqueue/event-index", test_event_index);
    g_test_add_func("/virtqueue/hostile", test_hostile);
    g_test_add_func("/virtqueue/ring-nowhere", test_ring_nowhere);
    g_test_add_func("/virtqueue/odd-buffers", test_odd_buffers);
    g_test_add_func("/virtqueue/turns", test_turns);
    g_test_add_func("/virtqueue/map-change", test_map_change);
    g_test_add_func("/virtqueue/state", test_state);
    g_test_add_func("/virtqueue/legacy", test_legacy);
    return g_test_run();
}
