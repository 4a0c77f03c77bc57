/* SiFive's test finisher: a word that ends or restarts the machine. */
#ifndef RHEA_HW_MISC_SIFIVE_TEST_H
#define RHEA_HW_MISC_SIFIVE_TEST_H

#include "core/machine.h"

bool sifive_test_new(Machine *m, MemRegion *parent, uint64_t base, GError **err);

#endif
