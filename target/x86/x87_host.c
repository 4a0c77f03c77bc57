/*
 * Any x87 instruction on the host's x87: the guest's whole state is loaded with FRSTOR, the same
 * instruction runs, the state is read back with FNSAVE. Responses to stack faults and to unmasked
 * exceptions are thus the hardware's own; a pending exception never reaches the host's kernel since
 * no waiting instruction follows. Intel SDM volume 1 chapter 8.
 */
#include "target/x86/x87.h"

#include <string.h>

/* What FNSAVE writes in 64-bit mode: 108 bytes. */
typedef struct FpuImage {
    uint32_t cw, sw, tw, fip, fcs, fdp, fds;
    uint8_t st[8][10];
} __attribute__((packed)) FpuImage;

/* Four bytes for each instruction: op, ModRM, ret. Register forms D8 C0 … DF FF; memory forms
 * with the operand at (%rdi). */
asm(".pushsection .text\n"
    ".balign 16\n"
    "x86_fpu_reg_stubs:\n"
    ".set fpu_op, 0xd8\n"
    ".rept 8\n"
    ".set fpu_rm, 0xc0\n"
    ".rept 64\n"
    ".byte fpu_op, fpu_rm, 0xc3, 0xcc\n"
    ".set fpu_rm, fpu_rm + 1\n"
    ".endr\n"
    ".set fpu_op, fpu_op + 1\n"
    ".endr\n"
    "x86_fpu_mem_stubs:\n"
    ".set fpu_op, 0xd8\n"
    ".rept 8\n"
    ".set fpu_rm, 7\n"
    ".rept 8\n"
    ".byte fpu_op, fpu_rm, 0xc3, 0xcc\n"
    ".set fpu_rm, fpu_rm + 8\n"
    ".endr\n"
    ".set fpu_op, fpu_op + 1\n"
    ".endr\n"
    ".popsection\n");
extern const uint8_t x86_fpu_reg_stubs[] __attribute__((visibility("hidden")));
extern const uint8_t x86_fpu_mem_stubs[] __attribute__((visibility("hidden")));

static void to_image(X86Cpu *c, FpuImage *im)
{
    unsigned tags = 0;

    memset(im, 0, sizeof *im);
    for (unsigned i = 0; i < 8; i++) {
        if (c->ftag_empty >> i & 1) {
            tags |= 3 << 2 * i;
        }
        memcpy(im->st[i], x86_st(c, i)->b, 10);
    }
    im->cw = c->fctrl;
    im->sw = (c->fstat & FPU_CC) | (c->ftop & 7) << 11; /* flags are merged afterwards */
    im->tw = tags;
}

/* Returns the exceptions that the instruction raised. */
static unsigned from_image(X86Cpu *c, const FpuImage *im)
{
    c->ftop = im->sw >> 11 & 7;
    c->ftag_empty = 0;
    for (unsigned i = 0; i < 8; i++) {
        c->ftag_empty |= ((im->tw >> 2 * i & 3) == 3) << i;
        memcpy(x86_st(c, i)->b, im->st[i], 10);
    }
    x86_fpu_set_stat(c, (c->fstat & (FPU_EXC | FPU_SF)) | (im->sw & (FPU_EXC | FPU_SF | FPU_CC)) |
                            c->ftop << 11);
    return im->sw & FPU_EXC;
}

static uint64_t run(FpuImage *im, const uint8_t *stub, void *buf, uint64_t flags)
{
    asm volatile("lea -128(%%rsp), %%rsp\n" /* the red zone */
                 "frstor (%[im])\n"
                 "push %[flags]\n"
                 "popfq\n"
                 "call *%[stub]\n"
                 "pushfq\n"
                 "pop %[flags]\n"
                 "fnsave (%[im])\n" /* also leaves an empty stack and the default control word */
                 "lea 128(%%rsp), %%rsp"
                 : [flags] "+r"(flags)
                 : [im] "r"(im), [stub] "r"(stub), "D"(buf)
                 : "rax", "cc", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)",
                   "st(6)", "st(7)");
    return flags;
}

uint32_t x86_fpu_host_reg(X86Cpu *c, uint16_t raw, uint32_t flags)
{
    unsigned index = (raw >> 8 & 7) << 6 | (raw & 63);
    FpuImage im;
    uint64_t after;

    to_image(c, &im);
    after = run(&im, x86_fpu_reg_stubs + index * 4, NULL, (flags & EF_ARITH) | 0x202);
    from_image(c, &im);
    return after & EF_ARITH;
}

bool x86_fpu_host_mem(X86Cpu *c, uint16_t raw, void *buf)
{
    unsigned index = (raw >> 8 & 7) << 3 | (raw >> 3 & 7);
    unsigned raised;
    FpuImage im;

    to_image(c, &im);
    run(&im, x86_fpu_mem_stubs + index * 4, buf, 0x202);
    raised = from_image(c, &im);
    return !(raised & ~c->fctrl & (FPU_EXC & ~FPU_PE));
}
