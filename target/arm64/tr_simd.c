/* A64 SIMD and FP instructions that have a short form on the host: translation. */
#include "accel/jit/ir-vec.h"
#include "target/arm64/helpers.h"
#include "target/arm64/translate.h"

bool ta_simd(Tr *t)
{
    (void)t;
    return false;
}
