/* 8042 keyboard controller with a PS/2 keyboard and a PS/2 mouse: ports 60h and 64h. */
#ifndef RHEA_HW_I8042_H
#define RHEA_HW_I8042_H

#include "core/irq.h"
#include "hw/input/ps2.h"
#include "hw/isa/isa.h"

typedef struct I8042 I8042;
extern const DeviceType i8042_type;

/* Uses ISA interrupts 1 and 12. @a20: bit 1 of the output port (1 after reset: address line
 * open); @reset: pulsed when the guest asks for a CPU reset. */
I8042 *i8042_new(IsaBus *isa, Irq a20, Irq reset, GError **err);
/* The parts, for tests. */
Ps2Kbd *i8042_kbd(I8042 *s);
Ps2Mouse *i8042_mouse(I8042 *s);

#endif
