/* pci-fixture.h with a card on a peer that keeps what it gets. */
#ifndef RHEA_TESTS_NET_FIXTURE_H
#define RHEA_TESTS_NET_FIXTURE_H

#include "net/net.h"
#include "pci-fixture.h"

typedef struct Wire {
    NetPort port;
    unsigned frames;
    size_t len; /* of the last one */
    uint8_t buf[NET_MAX_FRAME];
} Wire;

static inline bool wire_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    Wire *w = (Wire *)p;

    w->frames++;
    w->len = len;
    memcpy(w->buf, buf, len);
    return true;
}

static const NetPortOps wire_ops = {.kind = "test", .receive = wire_receive};

/* @type at slot 4 with bus mastering, memory at @mem by BAR @mem_bar. */
static inline Device *net_card(Fixture *f, Wire *w, NetPort *(*port)(Device *), const char *name,
                               unsigned mem_bar, uint32_t mem)
{
    const DeviceType *type = device_type_find(name);
    GError *err = NULL;

    g_assert_nonnull(type);
    f->m->virtual_clock = f->clock; /* a manual one */
    Device *dev = device_new(type, f->m);
    device_set(dev, "addr", "4", NULL);
    device_set(dev, "romfile", "", NULL);
    device_set(dev, "mac", "52:54:00:01:02:03", NULL);
    device_realize(dev, &f->bus->bus, &err);
    g_assert_no_error(err);
    memset(w, 0, sizeof(*w));
    w->port.ops = &wire_ops;
    w->port.m = f->m;
    w->port.peer = port(dev);
    port(dev)->peer = &w->port;
    cfg_write(f, PCI_DEVFN(4, 0), 0x10 + 4 * mem_bar, mem, 4);
    cfg_write(f, PCI_DEVFN(4, 0), 4, 7, 2);
    dev->type->reset(dev); /* with a link now */
    cfg_write(f, PCI_DEVFN(4, 0), 0x10 + 4 * mem_bar, mem, 4);
    cfg_write(f, PCI_DEVFN(4, 0), 4, 7, 2);
    return dev;
}

static inline void net_close(Fixture *f, Clock *real)
{
    f->m->virtual_clock = real;
    fixture_free(f);
}

static inline uint32_t rd(Fixture *f, uint64_t a)
{
    return (uint32_t)mem_load(f->m->memory, a, 4);
}

static inline void wr(Fixture *f, uint64_t a, uint32_t v)
{
    mem_store(f->m->memory, a, v, 4);
}

#endif
