/* All machine types: see machines.h. */
#include "hw/machine/machines.h"
#include "hw/machine/pc.h"
#include "hw/machine/virt_arm.h"
#include "hw/machine/virt_riscv.h"

const MachineType *const machine_types[] = {
    &pc_machine,
    &virt_riscv_machine,
    &virt_arm_machine,
    NULL,
};
