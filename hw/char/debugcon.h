/*
 * "isa-debugcon": bytes written to a port (E9h, or 402h for SeaBIOS and OVMF) go to a back end;
 * reading gives @readback, by which firmware detects it.
 */
#ifndef RHEA_HW_DEBUGCON_H
#define RHEA_HW_DEBUGCON_H

#include "chardev/chardev.h"
#include "hw/isa/isa.h"

extern const DeviceType isa_debugcon_type;
typedef struct DebugCon DebugCon;
/* @chr may be NULL. */
DebugCon *debugcon_new(IsaBus *isa, uint16_t iobase, Chardev *chr, GError **err);

#endif
