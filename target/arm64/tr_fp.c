/*
 * A64 floating point and SIMD data processing: translation. What is not done inline is executed by
 * a64_fp_exec() with the instruction as argument.
 */
#include "accel/jit/ir-vec.h"
#include "target/arm64/helpers.h"
#include "target/arm64/translate.h"
#include <string.h>

/* Does the instruction exist? By executing it on registers of no account. */
static bool valid(const Tr *t)
{
    FpState f;
    uint64_t x[31] = {0};
    uint32_t csr = fp_getcsr();
    bool ok;

    memset(&f, 0, sizeof(f));
    f.feat = t->c->fp.feat;
    ok = a64_fp_exec(&f, x, t->insn);
    fp_setcsr(csr);
    return ok;
}

bool ta_fp(Tr *t)
{
    if (!valid(t)) {
        return false;
    }
    if (!ta_fp_ok(t)) {
        return true;
    }
    if (ta_simd(t)) {
        return true;
    }
    ta_pack_flags(t);
    ir_call1(t->b, &a64_hd_simd, ta_i64(t, t->insn));
    return true;
}
