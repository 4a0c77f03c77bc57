/*
 * A test kernel of one disk: real mode, protected mode, long mode, user mode; timer interrupts, an
 * instruction that interpreters of kernels like to miss (LOCK CMPXCHG16B), string port output, a
 * checksum over 256 KiB. Speaks on COM1; ends through isa-debug-exit (f4h).
 *   as -o k.o kvm-kernel.S && ld -Ttext 0x7c00 --oformat binary -o k.img k.o
 */
        .code16
        .globl _start
_start:
        cli
        cld
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x7c00, %sp
        movb %dl, drive
        movw $m_real, %si
        call puts16
        movw $0x0208, %ax /* the sectors behind this one */
        movw $0x0002, %cx
        xorb %dh, %dh
        movb drive, %dl
        movw $0x7e00, %bx
        int $0x13
        jc fail16
        inb $0x92, %al
        orb $2, %al
        outb %al, $0x92
        lgdt gdtr
        movl %cr0, %eax
        orl $1, %eax
        movl %eax, %cr0
        ljmpl $0x08, $prot
fail16: movw $m_disk, %si
        call puts16
1:      hlt
        jmp 1b
puts16: lodsb
        testb %al, %al
        jz 2f
        movw $0x3fd, %dx
        movb %al, %ah
1:      inb %dx, %al
        testb $0x20, %al
        jz 1b
        movb %ah, %al
        movw $0x3f8, %dx
        outb %al, %dx
        jmp puts16
2:      ret
drive:  .byte 0
m_real: .asciz "real mode\n"
m_disk: .asciz "no disk\n"
        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff /* 08 code, 32 bits */
        .quad 0x00cf93000000ffff /* 10 data */
        .quad 0x00af9b000000ffff /* 18 code, 64 bits */
        .quad 0x00cff3000000ffff /* 20 user data */
        .quad 0x00affb000000ffff /* 28 user code */
        .quad 0x0000890000000067 + ((tss - _start + 0x7c00) << 16) /* 30 TSS */
        .quad 0
gdtr:   .word gdtr - gdt - 1
        .long gdt
        .org 510
        .word 0xaa55

        .code32
prot:   movw $0x10, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $0x80000, %esp
        movl $m_prot, %esi
        call puts32
        /* The first 4 MiB, identity, for user mode, too. */
        movl $0x10000, %edi
        xorl %eax, %eax
        movl $0x3000 / 4, %ecx
        rep stosl
        movl $0x11007, 0x10000
        movl $0x12007, 0x11000
        movl $0x000087, 0x12000
        movl $0x200087, 0x12008
        movl $0x10000, %eax
        movl %eax, %cr3
        movl %cr4, %eax
        orl $0x220, %eax
        movl %eax, %cr4
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl %cr0, %eax
        orl $0x80000002, %eax
        movl %eax, %cr0
        ljmpl $0x18, $long
puts32: lodsb
        testb %al, %al
        jz 1f
        movw $0x3f8, %dx
        outb %al, %dx
        jmp puts32
1:      ret

        .code64
puts:   lodsb
        testb %al, %al
        jz 1f
        movw $0x3f8, %dx
        outb %al, %dx
        jmp puts
1:      ret
hex:    /* eax */
        movl %eax, %ebx
        movl $8, %ecx
1:      roll $4, %ebx
        movl %ebx, %eax
        andl $15, %eax
        movb digits(%rax), %al
        movw $0x3f8, %dx
        outb %al, %dx
        loop 1b
        movb $10, %al
        outb %al, %dx
        ret
digits: .ascii "0123456789abcdef"

gate:   /* vector edi, handler rsi, attributes dx */
        shlq $4, %rdi
        addq $0x13000, %rdi
        movw %si, (%rdi)
        movw $0x18, 2(%rdi)
        movw %dx, 4(%rdi)
        shrq $16, %rsi
        movw %si, 6(%rdi)
        shrq $16, %rsi
        movl %esi, 8(%rdi)
        movl $0, 12(%rdi)
        ret

long:   xorl %eax, %eax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movq $0x80000, %rsp
        movl $m_long, %esi
        call puts
        movl $0x13000, %edi
        xorl %eax, %eax
        movl $512, %ecx
        rep stosq
        movl $0x20, %edi
        movl $timer, %esi
        movw $0x8e00, %dx
        call gate
        movl $13, %edi
        movl $fault, %esi
        movw $0x8e00, %dx
        call gate
        movl $6, %edi
        movl $undefined, %esi
        movw $0x8e00, %dx
        call gate
        lidt idtr
        movw $0x30, %ax
        ltr %ax

        movl $m_cas, %esi
        call puts
        movq $0x1111, %rax
        movq $0x2222, %rdx
        movq %rax, pair
        movq %rdx, pair + 8
        movq $0x3333, %rbx
        movq $0x4444, %rcx
        lock cmpxchg16b pair
        jnz bad
        movl pair, %eax
        addl pair + 8, %eax
        call hex /* 00007777 */

        movl $m_ud, %esi
        call puts
        ud2
after_ud:
        /* String output: one instruction, many bytes. */
        movl $m_outs, %esi
        movl $m_outs_end - m_outs, %ecx
        movw $0x3f8, %dx
        rep outsb

        /* Ten ticks of the timer, halted in between. */
        movb $0x11, %al
        outb %al, $0x20
        movb $0x20, %al
        outb %al, $0x21
        movb $4, %al
        outb %al, $0x21
        movb $1, %al
        outb %al, $0x21
        movb $0xfe, %al
        outb %al, $0x21
        movb $0x34, %al
        outb %al, $0x43
        movb $0xa9, %al
        outb %al, $0x40
        movb $0x04, %al
        outb %al, $0x40
1:      sti
        hlt
        cli
        cmpl $10, ticks
        jb 1b
        movb $0xff, %al
        outb %al, $0x21
        movl $m_ticks, %esi
        call puts

        movl $m_user, %esi
        call puts
        pushq $0x23
        pushq $0x70000
        pushq $0x2
        pushq $0x2b
        pushq $user
        iretq

user:   movl $rounds, %r9d
        movl (%r9), %r9d
        movl $0x811c9dc5, %eax
2:      movl $0x7c00, %esi
        movl $65536, %ecx
1:      movzbl (%rsi), %edx
        xorl %edx, %eax
        imull $0x01000193, %eax
        incl %esi
        andl $0x7dff, %esi
        orl $0x7c00, %esi
        decl %ecx
        jnz 1b
        decl %r9d
        jnz 2b
        hlt /* a protection fault: back into the kernel */
bad:    movl $m_bad, %esi
        call puts
        movb $1, %al
        outb %al, $0xf4
1:      hlt
        jmp 1b
fault:  testb $3, 16(%rsp)
        jz bad
        call hex
        movl $m_end, %esi
        call puts
        movb $0, %al
        outb %al, $0xf4
1:      hlt
        jmp 1b
timer:  pushq %rax
        incl ticks
        movb $0x20, %al
        outb %al, $0x20
        popq %rax
        iretq
undefined:
        movq $after_ud, (%rsp)
        iretq

        .balign 16
pair:   .quad 0, 0
idtr:   .word 0xfff
        .quad 0x13000
tss:    .long 0
        .quad 0x7f000
        .fill 22, 4, 0
        .long 0x680000
ticks:  .long 0
rounds: .long 4
m_prot: .asciz "protected mode\n"
m_long: .asciz "long mode\n"
m_cas:  .asciz "cmpxchg16b "
m_ud:   .asciz "undefined instruction\n"
m_outs: .ascii "string output\n"
m_outs_end:
m_ticks:.asciz "ten ticks\n"
m_user: .asciz "user mode "
m_bad:  .asciz "WRONG\n"
m_end:  .asciz "end\n"
        .org 512 * 9
