/*
 * The PC's two 8237A DMA controllers with their page registers, and the interface for the
 * devices that use them.
 */
#ifndef RHEA_HW_I8237_H
#define RHEA_HW_I8237_H

#include "hw/isa/isa.h"

/* A device on a channel (0–3: bytes, 5–7: words). Called inside i8237_dreq() or when the guest
 * unmasks the channel, while the device's request is up. */
typedef struct I8237Port {
    /* Move up to @len bytes: @from_mem: take them from @buf, else fill @buf. Returns how many;
     * fewer than @len ends the burst. Words: @len is even, and so must be what is returned. In
     * verify mode nothing reaches memory, but the device sees its cycles all the same. */
    size_t (*transfer)(void *opaque, uint8_t *buf, size_t len, bool from_mem);
    /* Terminal count came with the last byte of the last transfer. May be NULL. */
    void (*tc)(void *opaque);
} I8237Port;

extern const DeviceType i8237_type;
/* Both controllers: ports 00–0F, C0–DF, 80–8F. Sets @isa->dma. */
I8237 *i8237_new(IsaBus *isa, GError **err);

/* Claim a channel; @port NULL gives it back. False when it is taken or does not exist. */
bool i8237_attach(I8237 *d, unsigned chan, const I8237Port *port, void *opaque);
/* Drive DREQ. While it is up and the channel is unmasked, transfers run; on return the device's
 * callback has moved what could be moved. */
void i8237_dreq(I8237 *d, unsigned chan, bool level);
/* Is the channel unmasked and its controller enabled? */
bool i8237_ready(const I8237 *d, unsigned chan);

#endif
