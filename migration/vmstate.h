/*
 * The state of a whole machine as a stream: RAM and ROM, vCPUs, clocks, devices, from their state
 * tables (core/state.h).
 *
 * Little endian. Header: "RHEAVM\n\0", u32 version, then the name of the machine type and of the
 * architecture (u8 length, text), u32 vCPUs, u64 virtual clock in ns, s64 offset of the host clock.
 * Sections follow, each with a type byte:
 *   'R'  memory: name, u64 bytes; runs (u32 pages, u8 1 = their bytes follow, 0 = zeros) that
 *        cover it all
 *   'C'  vCPU: u32 index, u32 length, its table
 *   'D'  device: type name, id (empty without), u32 length, its table
 *   'E'  the end, u32 CRC-32 (zlib's) of all in front
 */
#ifndef RHEA_MIGRATION_VMSTATE_H
#define RHEA_MIGRATION_VMSTATE_H

#include "core/machine.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct VmSink {
    bool (*write)(void *opaque, const void *data, size_t len, GError **err);
    void *opaque;
} VmSink;

typedef struct VmSource {
    bool (*read)(void *opaque, void *data, size_t len, GError **err); /* exactly @len */
    void *opaque;
} VmSource;

/* The machine is stopped and its drives are at rest. Machine lock. */
bool vm_state_save(Machine *m, const VmSink *to, GError **err);
/* The same; @m is made as the saved one was: same machine type, memory and devices. False and a
 * sentence for a foreign, damaged or hostile stream; the machine is then as after a reset. */
bool vm_state_load(Machine *m, const VmSource *from, GError **err);

#endif
