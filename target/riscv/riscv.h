/* The RISC-V targets as machines see them. See core/vcpu.h and core/riscv-hart.h. */
#ifndef RHEA_TARGET_RISCV_RISCV_H
#define RHEA_TARGET_RISCV_RISCV_H

#include "core/vcpu.h"

extern const Target riscv64_target; /* the default CPU is rv64 */
extern const Target riscv32_target; /* the default CPU is rv32 */

#endif
