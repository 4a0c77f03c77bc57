/* The AArch64 target as machines see it. See core/vcpu.h and core/arm64-board.h. */
#ifndef RHEA_TARGET_ARM64_ARM64_H
#define RHEA_TARGET_ARM64_ARM64_H

#include "core/arm64-board.h"
#include "core/vcpu.h"

extern const Target arm64_target; /* "aarch64" */

#endif
