/*
 * virtio: what all devices of the "Virtual I/O Device (VIRTIO) Version 1.2" specification (OASIS,
 * 2022) and its legacy interface share: feature negotiation, status, configuration space and split
 * virtqueues. A device (virtio-blk…) is a struct whose first member is VirtioDevice, described by a
 * VirtioClass; virtio_pci.h and virtio_mmio.h make it reachable by a guest.
 *
 * Everything is under the machine lock. What a guest puts into rings is copied before it is
 * checked; a ring that breaks the rules stops the device ("broken", DEVICE_NEEDS_RESET) until the
 * driver resets it.
 */
#ifndef RHEA_HW_VIRTIO_VIRTIO_H
#define RHEA_HW_VIRTIO_VIRTIO_H

#include "core/device.h"
#include "core/machine.h"
#include "core/memory.h"
#include <sys/uio.h>

#define VIRTIO_MAX_QUEUES 64
#define VIRTQ_MAX_SIZE 1024
#define VIRTIO_MAX_CONFIG 256
#define VIRTIO_NO_VECTOR 0xffff

enum { /* device ids */
       VIRTIO_ID_NET = 1,
       VIRTIO_ID_BLOCK = 2,
       VIRTIO_ID_CONSOLE = 3,
       VIRTIO_ID_RNG = 4,
       VIRTIO_ID_BALLOON = 5,
       VIRTIO_ID_GPU = 16,
       VIRTIO_ID_INPUT = 18,
};

enum { /* device status */
       VIRTIO_ACKNOWLEDGE = 1,
       VIRTIO_DRIVER = 2,
       VIRTIO_DRIVER_OK = 4,
       VIRTIO_FEATURES_OK = 8,
       VIRTIO_NEEDS_RESET = 64,
       VIRTIO_FAILED = 128,
};

enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

#define VIRTIO_BIT(n) (1ull << (n))
#define VIRTIO_F_ANY_LAYOUT VIRTIO_BIT(27) /* legacy */
#define VIRTIO_F_INDIRECT_DESC VIRTIO_BIT(28)
#define VIRTIO_F_EVENT_IDX VIRTIO_BIT(29)
#define VIRTIO_F_VERSION_1 VIRTIO_BIT(32)

typedef struct VirtioDevice VirtioDevice;
typedef struct VirtQueue VirtQueue;

/* A piece of a buffer. @host is NULL where that is not the machine's RAM. */
typedef struct VirtSeg {
    uint64_t addr;
    uint32_t len;
    uint8_t *host;
    MemRegion *region;
    uint64_t off; /* in @region */
} VirtSeg;

/* A buffer that the driver made available: first what the device reads, then what it writes. */
typedef struct VirtElem {
    uint16_t head;
    uint16_t n_out, n_in;     /* segments to read, to write */
    uint64_t out_len, in_len; /* bytes */
    VirtSeg seg[];            /* n_out, then n_in */
} VirtElem;

typedef void VirtQueueHandler(VirtioDevice *v, VirtQueue *q);

struct VirtQueue {
    VirtioDevice *v;
    VirtQueueHandler *handler; /* the driver made buffers available */
    uint16_t index;
    uint16_t max_size; /* 0: there is no such queue */
    /* Set by the driver */
    uint16_t size;
    bool ready;
    uint16_t vector; /* MSI-X */
    uint64_t desc, avail, used;
    /* Progress */
    uint16_t last_avail, used_idx, signalled;
    bool signalled_valid;
    bool quiet;      /* the device does not want to be kicked */
    uint16_t in_use; /* popped and not pushed */
    uint16_t budget; /* elements that virtq_next() still gives */
    /* Host view of the three parts while @mapped */
    bool mapped;
    VirtSeg m_desc, m_avail, m_used;
};

/* What never changes of a kind of device. */
typedef struct VirtioClass {
    const char *name; /* "virtio-blk" */
    uint16_t id;
    uint16_t legacy_pci_id; /* transitional PCI device id; 0: there is no legacy interface */
    uint32_t pci_class;
    uint8_t vectors;      /* MSI-X vectors; 0: one a queue and one for changes */
    const char *boot_rom; /* default image of the PCI expansion ROM, or NULL */
    /* Takes resources, sets v->host_features and v->config_size, adds queues. On failure nothing
     * stays taken. */
    bool (*realize)(VirtioDevice *v, GError **err);
    void (*unrealize)(VirtioDevice *v);
    /* Power-on, or the driver's reset: nothing is in flight when it returns. */
    void (*reset)(VirtioDevice *v);
    /* Fill @v->config_size bytes, little endian. NULL: no configuration space. */
    void (*get_config)(VirtioDevice *v, uint8_t *cfg);
    /* The driver wrote [off, off + len), which lies in the space; @cfg is the whole space with it.
     * NULL: read only. */
    void (*set_config)(VirtioDevice *v, const uint8_t *cfg, unsigned off, unsigned len);
    /* After DRIVER_OK was set, with the features agreed on, before queues are looked at. NULL ok.
     */
    void (*start)(VirtioDevice *v);
} VirtioClass;

/* How the device reaches its driver. */
typedef struct VirtioTransport {
    void (*notify_queue)(VirtioDevice *v, VirtQueue *q);
    void (*notify_config)(VirtioDevice *v);
    /* The device may read and write memory now (PCI bus mastering). */
    bool (*may_dma)(VirtioDevice *v);
} VirtioTransport;

struct VirtioDevice {
    const VirtioClass *cls;
    Device *dev; /* the one that users see */
    const VirtioTransport *transport;
    void *transport_data;
    MemSpace *dma;
    FlatView *view; /* of @dma, the present one */
    MemListener listener;
    uint64_t host_features, guest_features; /* offered, accepted */
    /* Properties of all devices */
    bool indirect_desc, event_idx, any_layout;
    bool broken;
    bool modern; /* the driver uses the 1.x interface */
    uint8_t status, isr, config_gen;
    uint16_t config_size, config_vector;
    uint32_t feature_sel, guest_feature_sel;
    uint16_t queue_sel;
    unsigned n_queues;
    unsigned outside; /* an access to memory that is no RAM is under way */
    uint64_t pending; /* queues that have more than one turn can do */
    Timer turn;
    VirtQueue vq[VIRTIO_MAX_QUEUES];
};

/* ---- for transports ---- */

/* First: core and class. @dma: what buffers lie in. */
bool virtio_init(VirtioDevice *v, const VirtioClass *cls, Device *dev, MemSpace *dma,
                 const VirtioTransport *transport, void *transport_data, GError **err);
void virtio_fini(VirtioDevice *v);
/* By the driver or from power-on. */
void virtio_reset(VirtioDevice *v);
/* A write to device status; 0 resets. @legacy: through the legacy interface. */
void virtio_set_status(VirtioDevice *v, uint8_t status, bool legacy);
/* Features as 32 bits of a selected word; reads of words above 1 are 0. */
uint32_t virtio_host_features(const VirtioDevice *v, uint32_t sel, bool legacy);
void virtio_set_features(VirtioDevice *v, uint32_t sel, uint32_t val, bool legacy);
/* The driver said that queue @n has buffers. */
void virtio_kick(VirtioDevice *v, uint32_t n);
/* Queue @n, or NULL. */
VirtQueue *virtio_queue(VirtioDevice *v, uint32_t n);
/* The queue that is selected, or NULL. */
VirtQueue *virtio_selected(VirtioDevice *v);
void virtq_set_size(VirtQueue *q, uint32_t size);
/* Ring addresses; of the legacy interface by page frame and alignment (0 stops the queue). */
void virtq_set_ready(VirtQueue *q, bool ready);
void virtq_set_legacy_addr(VirtQueue *q, uint64_t addr, uint32_t align);
/* Configuration space; outside of it reads are all-ones, writes vanish. @size 1, 2 or 4. */
uint32_t virtio_config_read(VirtioDevice *v, unsigned off, unsigned size);
void virtio_config_write(VirtioDevice *v, unsigned off, uint32_t val, unsigned size);
/* Registers must not be touched: the device itself does so by DMA. */
static inline bool virtio_busy(const VirtioDevice *v)
{
    return v->outside != 0;
}

/* ---- for devices ---- */

/* In realize: the firmware's boot order has this device at @bootindex (text, may be NULL) as
 * "/pci@i0cf8/KIND@SLOT" + @below. Devices that are not on PCI cannot be in it. */
bool virtio_add_boot_path(VirtioDevice *v, const char *bootindex, const char *kind,
                          const char *below, GError **err);

/* In realize: the next queue. */
VirtQueue *virtio_add_queue(VirtioDevice *v, uint16_t max_size, VirtQueueHandler *handler);
/* The configuration space reads different now: tell the driver. */
void virtio_config_changed(VirtioDevice *v);
/* Ask for attention to @q again in the main loop, in a later turn. */
void virtio_later(VirtQueue *q);
/* The driver broke the rules. */
void virtio_broken(VirtioDevice *v, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static inline bool virtio_has(const VirtioDevice *v, uint64_t feature)
{
    return v->guest_features & feature;
}
/* The driver is ready and the device works. */
bool virtio_running(const VirtioDevice *v);
/* Buffers of @q may be used now. */
bool virtq_live(VirtQueue *q);

/* The next available buffer, which is the caller's until virtq_push() or virtq_drop(); NULL when
 * there is none. When a queue is found empty the driver will kick again. virtq_next() gives no more
 * than one ring's worth in a turn, and comes back to the queue later: for handlers. */
VirtElem *virtq_pop(VirtQueue *q);
VirtElem *virtq_next(VirtQueue *q);
/* @q has a buffer. */
bool virtq_has(VirtQueue *q);
/* Give it back, with @written bytes from the start of what the device writes; frees @e. */
void virtq_push(VirtQueue *q, VirtElem *e, uint32_t written);
/* The same in two steps, to hand over several at once: fill @n places after the present end, then
 * show @count of them. */
void virtq_fill(VirtQueue *q, VirtElem *e, uint32_t written, unsigned n);
void virtq_flush(VirtQueue *q, unsigned count);
/* Free it; virtq_unpop() after it makes it the next one again (the last that was popped only). */
void virtq_drop(VirtQueue *q, VirtElem *e);
void virtq_unpop(VirtQueue *q, VirtElem *e);
/* Interrupt, unless the driver does not want it. */
void virtq_notify(VirtQueue *q);
/* Whether the driver should kick (a hint that saves time). */
void virtq_want_kicks(VirtQueue *q, bool want);

/* Copy from what the device reads, to what it writes; bytes done, less at the end. */
size_t virtelem_get(VirtioDevice *v, const VirtElem *e, uint64_t off, void *buf, size_t len);
size_t virtelem_put(VirtioDevice *v, const VirtElem *e, uint64_t off, const void *buf, size_t len);
/* Host memory of [off, off + len) of the readable or (@in) writable part: number of iovecs, at
 * most @max; -1 when some of it is not the machine's RAM or it takes more. */
int virtelem_iov(const VirtElem *e, bool in, uint64_t off, uint64_t len, struct iovec *iov,
                 unsigned max);
/* [off, off + len) of the writable part was written through such memory. */
void virtelem_dirty(const VirtElem *e, uint64_t off, uint64_t len);

/* The VirtioDevice member @f of struct @S in a state table. Comes before the device's own fields.
 */
extern const StateTable virtio_state;
#define VIRTIO_STATE(S, f) STATE_STRUCT_ARRAY(S, f, VirtioDevice, &virtio_state)
/* Common properties of devices whose VirtioDevice is member @f of @S. */
#define VIRTIO_PROPERTIES(S, f)                                                                    \
    {"indirect_desc", PROP_BOOL, offsetof(S, f) + offsetof(VirtioDevice, indirect_desc), "on",     \
     "offer indirect descriptors"},                                                                \
        {"event_idx", PROP_BOOL, offsetof(S, f) + offsetof(VirtioDevice, event_idx), "on",         \
         "offer event indexes"},                                                                   \
    {                                                                                              \
        "any_layout", PROP_BOOL, offsetof(S, f) + offsetof(VirtioDevice, any_layout), "on",        \
            "offer any layout of buffers (legacy)"                                                 \
    }

/* Little-endian values in configuration spaces and requests. */
static inline void virtio_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void virtio_put32(uint8_t *p, uint32_t v)
{
    virtio_put16(p, (uint16_t)v);
    virtio_put16(p + 2, (uint16_t)(v >> 16));
}

static inline void virtio_put64(uint8_t *p, uint64_t v)
{
    virtio_put32(p, (uint32_t)v);
    virtio_put32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t virtio_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t virtio_get32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t virtio_get64(const uint8_t *p)
{
    return virtio_get32(p) | (uint64_t)virtio_get32(p + 4) << 32;
}

#endif
