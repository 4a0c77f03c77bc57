/*
 * virtio console device: several ports between guest and host. The device provides a bus of kind
 * "virtio-serial-bus"; ports (virtconsole, virtserialport) are devices on it. Machine lock.
 */
#ifndef RHEA_HW_CHAR_VIRTIO_SERIAL_H
#define RHEA_HW_CHAR_VIRTIO_SERIAL_H

#include "chardev/chardev.h"
#include "hw/virtio/virtio.h"

#define VIRTIO_SERIAL_MAX_PORTS 31

typedef struct VirtioSerial VirtioSerial;

typedef struct VirtSerialBus {
    Bus bus;
    VirtioSerial *serial;
} VirtSerialBus;

typedef struct VirtSerialPort {
    Device dev;
    VirtioSerial *serial;
    char *chardev, *name;
    uint32_t nr; /* UINT32_MAX: choose */
    bool console;
    ChardevFront *front;
    bool host_open;
    bool guest_open;
    uint64_t sent; /* bytes of the next buffer from the guest that the host has taken */
} VirtSerialPort;

/* The port takes number @p->nr, or the first free one. */
bool virtio_serial_add_port(VirtioSerial *s, VirtSerialPort *p, GError **err);
void virtio_serial_remove_port(VirtSerialPort *p);
/* The host's side was opened or closed. */
void virtio_serial_host_open(VirtSerialPort *p, bool open);
/* Bytes that the guest would take now; and give it some. */
size_t virtio_serial_room(VirtSerialPort *p);
void virtio_serial_give(VirtSerialPort *p, const uint8_t *buf, size_t len);
/* The host takes more again. */
void virtio_serial_more(VirtSerialPort *p);

#endif
