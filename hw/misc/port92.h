/* System control port A (92h): fast A20 and fast reset. */
#ifndef RHEA_HW_PORT92_H
#define RHEA_HW_PORT92_H

#include "core/irq.h"
#include "hw/isa/isa.h"

typedef struct Port92 Port92;
extern const DeviceType port92_type;
/* @a20: level of the gate that this port holds (the board ORs it with the keyboard controller's);
 * @reset: pulsed for a CPU reset. */
Port92 *port92_new(IsaBus *isa, Irq a20, Irq reset, GError **err);

#endif
