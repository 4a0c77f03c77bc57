/* All machine types: see machines.h. */
#include "hw/machine/machines.h"
#include "hw/machine/pc.h"

const MachineType *const machine_types[] = {
    &pc_machine,
    NULL,
};
