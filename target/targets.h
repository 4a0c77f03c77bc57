/* The guest architectures that are linked in. */
#ifndef RHEA_TARGET_TARGETS_H
#define RHEA_TARGET_TARGETS_H

#include "core/vcpu.h"

/* NULL-terminated; the first one is what the program is when nobody says otherwise. */
extern const Target *const all_targets[];
/* By its name; NULL if there is none. */
const Target *target_find(const char *name);

#endif
