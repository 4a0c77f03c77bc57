/* CPU models and feature names. Private to models.c, features.c and cpuid.c. */
#ifndef RHEA_TARGET_X86_MODELS_H
#define RHEA_TARGET_X86_MODELS_H

#include "target/x86/cpu.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct X86Model {
    const char *name, *desc;
    const char *vendor; /* 12 characters */
    const char *brand;  /* NULL: the default */
    uint32_t level, xlevel, version;
    uint8_t phys_bits;
    bool all; /* everything that is implemented */
    uint32_t feat[FEAT_WORDS];
} X86Model;

/* ---- features.c ---- */

/* What the CPU can do here, a word of FEAT_*: the emulation's limits and the host's. */
uint32_t x86_features_implemented(unsigned word);
/* The bit called @name ('_', '.' and '-' are the same), false if there is none. */
bool x86_feature_find(const char *name, unsigned *word, unsigned *bit);
/* Name of a bit, or NULL. */
const char *x86_feature_name(unsigned word, unsigned bit);
/* Names of all bits that are in @mask, space-separated, appended. */
void x86_feature_list(GString *s);

enum {
    BIT_HYPERVISOR = 31, /* of FEAT_1_ECX */
};
/* Bits of FEAT_1_EDX that AMD repeats in FEAT_80000001_EDX. */
#define FEAT_AMD_ALIAS 0x0183f3ffu

#endif
