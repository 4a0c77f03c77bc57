/*
 * C helpers that translated x86 code calls. X(name, nargs, flags): each is
 * uint64_t x86_h_NAME(VCpu *cpu, …nargs uint64_t), and the descriptor x86_hd_NAME.
 * "→ rip": returns the next rip; the translator ends the block with EXIT to it. rip arguments are
 * those after the instruction. Helpers that read flags expect them packed (tr_pack_flags) and those
 * marked * leave the resulting flags packed in X86Cpu.cc.
 */
#ifndef RHEA_TARGET_X86_HELPERS_H
#define RHEA_TARGET_X86_HELPERS_H

#include "accel/jit/ir.h"
#include "core/vcpu.h"
#include <stdint.h>

#define X86_SYS_HELPERS(X)                                                                         \
    X(raise, 1, IRH_FAULTS | IRH_NORETURN)       /* vector */                                      \
    X(raise_err, 2, IRH_FAULTS | IRH_NORETURN)   /* vector, error code */                          \
    X(raise_fetch, 1, IRH_FAULTS | IRH_NORETURN) /* linear address that cannot be fetched */       \
    X(soft_int, 3,                                                                                 \
      IRH_FAULTS | IRH_NORETURN)      /* vector, next rip, kind 0 INT n 1 INT3 2 INTO 3 INT1 */    \
    X(iret, 2, IRH_ALL | IRH_RET)     /* operand bytes, next rip → rip * */                      \
    X(far_jmp, 4, IRH_ALL | IRH_RET)  /* sel, offset, operand bytes, next → rip * */             \
    X(far_call, 4, IRH_ALL | IRH_RET) /* likewise */                                               \
    X(far_ret, 2, IRH_ALL | IRH_RET)  /* operand bytes, pop count → rip * */                     \
    X(syscall, 1, IRH_ALL | IRH_RET)  /* next → rip * */                                         \
    X(sysret, 1, IRH_ALL | IRH_RET)   /* operand bytes → rip * */                                \
    X(sysenter, 1, IRH_ALL | IRH_RET) /* next → rip */                                           \
    X(sysexit, 1, IRH_ALL | IRH_RET)  /* operand bytes → rip */                                  \
    X(rsm, 0, IRH_ALL | IRH_RET)      /* → rip * */                                              \
    X(load_seg, 2, IRH_FAULTS)        /* S_*, selector */                                          \
    X(lldt, 1, IRH_FAULTS)            /* selector */                                               \
    X(ltr, 1, IRH_FAULTS)                                                                          \
    X(lar, 1, IRH_FAULTS | IRH_RET)  /* selector → attributes | 1<<32 if ZF */                   \
    X(lsl, 1, IRH_FAULTS | IRH_RET)  /* selector → limit | 1<<32 if ZF */                        \
    X(verr, 1, IRH_FAULTS | IRH_RET) /* → 1 if ZF */                                             \
    X(verw, 1, IRH_FAULTS | IRH_RET)                                                               \
    X(lgdt, 2, IRH_FAULTS) /* limit, base (masked by the caller) */                                \
    X(lidt, 2, IRH_FAULTS)                                                                         \
    X(mov_to_cr, 2, IRH_FAULTS) /* n, value */                                                     \
    X(mov_from_cr, 1, IRH_FAULTS | IRH_RET)                                                        \
    X(mov_to_dr, 2, IRH_FAULTS)                                                                    \
    X(mov_from_dr, 1, IRH_FAULTS | IRH_RET)                                                        \
    X(lmsw, 1, IRH_FAULTS)                                                                         \
    X(clts, 0, IRH_FAULTS)                                                                         \
    X(rdmsr, 0, IRH_ALL) /* rcx → rdx:rax */                                                     \
    X(wrmsr, 0, IRH_ALL)                                                                           \
    X(rdtsc, 0, IRH_FAULTS | IRH_RET) /* checks CR4.TSD → 64-bit count */                        \
    X(rdtscp, 0, IRH_ALL)             /* → rdx:rax, rcx */                                       \
    X(rdpmc, 0, IRH_ALL)                                                                           \
    X(cpuid, 0, IRH_READS | IRH_WRITES)                                                            \
    X(invlpg, 1, IRH_FAULTS)          /* linear address */                                         \
    X(invpcid, 2, IRH_FAULTS)         /* type, linear address of the descriptor */                 \
    X(hlt, 1, IRH_ALL | IRH_NORETURN) /* next */                                                   \
    X(monitor, 0, IRH_ALL)                                                                         \
    X(mwait, 1, IRH_ALL | IRH_NORETURN) /* next */                                                 \
    X(pause, 1, IRH_ALL | IRH_NORETURN) /* next: yield the host thread */                          \
    X(xgetbv, 0, IRH_ALL)                                                                          \
    X(xsetbv, 0, IRH_ALL)                                                                          \
    X(rdrand, 1, IRH_RET) /* bytes → value */                                                    \
    X(swapgs, 0, IRH_FAULTS)                                                                       \
    X(cli, 0, IRH_FAULTS)                       /* with VME and PVI rules */                       \
    X(sti, 0, IRH_FAULTS)                       /* sets the interrupt shadow */                    \
    X(set_shadow, 0, 0)                         /* after MOV/POP SS */                             \
    X(read_eflags, 0, IRH_READS | IRH_RET)      /* all bits, VM and RF read as 0 */                \
    X(popf, 2, IRH_FAULTS | IRH_WRITES)         /* value, operand bytes * */                       \
    X(pushf_check, 0, IRH_FAULTS | IRH_RET)     /* image for PUSHF, with the V86 checks */         \
    X(in, 2, IRH_FAULTS | IRH_RET | IRH_HOSTFP) /* port, bytes */                                  \
    X(out, 3, IRH_FAULTS | IRH_HOSTFP)          /* port, value, bytes */                           \
    X(check_io, 2, IRH_FAULTS)                  /* port, bytes: IOPL and TSS bitmap */             \
    X(check_seg, 4, IRH_FAULTS)                 /* S_*, offset, bytes, write: limit, type */       \
    X(check_cs, 1, IRH_FAULTS)     /* branch target offset against CS limit, canonical form */     \
    X(check_ibreak, 0, IRH_FAULTS) /* M_DEBUG: instruction breakpoints at this pc */               \
    X(check_dbreak, 3, IRH_FAULTS) /* M_DEBUG: linear, bytes, write: note a data breakpoint hit */ \
    X(single_step, 1, IRH_ALL | IRH_NORETURN) /* M_TF: next; raises #DB or stops for the debugger  \
                                               */

#define X(n, a, f) extern const IrHelper x86_hd_##n;
X86_SYS_HELPERS(X)
#undef X

/* Physical-port access with the CPU's view, no permission checks (used by string I/O too). */
uint64_t x86_port_in(VCpu *cpu, uint16_t port, unsigned size);
void x86_port_out(VCpu *cpu, uint16_t port, uint64_t val, unsigned size);
/* Raises #GP(0) unless the port may be used now. */
void x86_check_io(VCpu *cpu, uint16_t port, unsigned size);

#endif
