/*
 * The virtio-mmio transport (VIRTIO 1.2, section 4.2): a block of registers for one device. Boards
 * create the blocks; users put devices ("virtio-blk-device"…) on their buses of kind "virtio-bus".
 */
#ifndef RHEA_HW_VIRTIO_VIRTIO_MMIO_H
#define RHEA_HW_VIRTIO_VIRTIO_MMIO_H

#include "core/irq.h"
#include "hw/virtio/virtio.h"

#define VIRTIO_MMIO_SIZE 0x200

typedef struct VirtioMmio VirtioMmio;

typedef struct VirtioBus {
    Bus bus; /* kind "virtio-bus", name "virtio-mmio-bus.N"; holds one device */
    VirtioMmio *mmio;
} VirtioBus;

/* Block number @n (of the bus's name) at @base of @parent, 200h bytes, with its level interrupt.
 * The device belongs to the machine. Device memory accesses go to @m->memory. */
VirtioMmio *virtio_mmio_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, unsigned n,
                            GError **err);
/* The block's bus, e.g. to create a device on it. */
VirtioBus *virtio_mmio_bus(VirtioMmio *s);
/* The device on it, or NULL. */
VirtioDevice *virtio_mmio_device(VirtioMmio *s);
/* Show version 1 (true, the default) or 2 of the registers; before the guest runs. */
void virtio_mmio_set_legacy(VirtioMmio *s, bool legacy);

/* For devices on the bus (hw/virtio/virtio_types.h). */
bool virtio_mmio_plug(VirtioDevice *v, const VirtioClass *cls, Device *dev, GError **err);
void virtio_mmio_unplug(VirtioDevice *v);
void virtio_mmio_reset_device(VirtioDevice *v);

#endif
