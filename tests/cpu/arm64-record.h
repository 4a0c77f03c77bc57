/* One instruction of test-arm64-user with the state before and after it. */
#ifndef RHEA_TESTS_ARM64_RECORD_H
#define RHEA_TESTS_ARM64_RECORD_H

#include <stdint.h>

#define ARM64_TEST_MEM 0x40080000ull /* what address registers point into */

typedef struct Arm64Record {
    uint64_t x[28]; /* offsets are known to the runner's assembly */
    uint64_t nzcv, fpcr, fpsr;
    uint32_t insn, fault;
    uint8_t v[32][16];
    uint8_t mem[2304]; /* the first bytes at ARM64_TEST_MEM */
} Arm64Record;

#endif
