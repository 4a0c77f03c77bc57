/*
 * Expansion ROM that boots what -kernel named. The BIOS calls its boot entry vector (BEV, Plug and
 * Play BIOS Specification 1.0A, 3.6 / BIOS Boot Specification 1.01) at boot time.
 *
 *  - enter_key == 0: a Linux kernel. Fetches setup, kernel, initrd and command line by fw_cfg DMA
 *    to the addresses that fw_cfg items give, and enters setup as the Linux/x86 boot protocol
 *    says ("Running the Kernel").
 *  - else: a 32-bit kernel (Multiboot, PVH). Reads the BIOS' memory map with INT 15h E820h and
 *    writes it by fw_cfg DMA to item enter_key; the machine then places the kernel in memory and
 *    sets the CPU's registers.
 *
 * The bytes are in linuxboot-rom.h; hw/firmware/linuxboot.sh makes that file. Checksums and
 * enter_key are filled in when the ROM is handed to the guest (hw/firmware/direct_boot.c).
 */
        .code16
        .text

        .set FW_CFG, 0x510
        .set FW_CFG_DMA_LOW, 0x518
        .set DMA_READ, 2
        .set DMA_SELECT, 8
        .set DMA_WRITE, 16
        .set DMA_BLOCK, 0x7c00          /* control, length, address: 16 bytes */
        .set MAP, 0x8000                /* count, then entries of 20 bytes */
        .set MAP_MAX, 128

        .set KEY_KERNEL, 0x07           /* addr 07, size 08, data 11 */
        .set KEY_SETUP_ADDR, 0x16
        .set KEY_CMDLINE_ADDR, 0x13

rom:    .byte 0x55, 0xaa
        .byte 2                         /* × 512 bytes */
init:   movw $0x0020, %ax               /* an IPL device is attached */
        lret
        .org 0x18
        .word 0                         /* no PCI data structure */
        .word pnp
enter_key:                              /* at 1Ch */
        .word 0

        .balign 16
pnp:    .ascii "$PnP"
        .byte 1, 2                      /* revision, length / 16 */
        .word 0                         /* no further header */
        .byte 0
        .byte 0                         /* checksum */
        .long 0
        .word vendor
        .word product
        .byte 0, 0x80, 0x02             /* device type: mass storage, other */
        .byte 0x64                      /* shadowable, read cacheable, IPL device */
        .word 0                         /* boot connection vector */
        .word 0                         /* disconnect vector */
        .word bev
        .word 0
        .word 0
vendor: .asciz "Rhea"
product:
        .asciz "Kernel given with -kernel"

/* eax = the 32-bit item ax. Changes cx, dx. */
item32: movw $FW_CFG, %dx
        outw %ax, %dx
        incw %dx
        movw $4, %cx
1:      inb %dx, %al
        rorl $8, %eax
        loop 1b
        ret

/* Runs the DMA block: eax = control, ebx = length, ecx = address. Does not return on error.
 * Changes eax, edx. ds = 0. */
dma:    bswapl %eax
        movl %eax, DMA_BLOCK
        bswapl %ebx
        movl %ebx, DMA_BLOCK + 4
        bswapl %ecx
        movl %ecx, DMA_BLOCK + 12
        movl $0, DMA_BLOCK + 8
        movl $DMA_BLOCK, %eax
        bswapl %eax
        movw $FW_CFG_DMA_LOW, %dx
        outl %eax, %dx
1:      movl DMA_BLOCK, %eax
        bswapl %eax
        testl %eax, %eax
        jz 2f
        testb $1, %al
        jz 1b
        jmp failed
2:      ret

failed: movw $text, %si
1:      cs lodsb
        testb %al, %al
        jz 2f
        movb $0x0e, %ah
        movw $7, %bx
        int $0x10
        jmp 1b
2:      int $0x18                       /* the next boot device */
        jmp 2b
text:   .asciz "The kernel could not be put into memory.\r\n"

/* address, size, data item of each part */
parts:  .byte 0x16, 0x17, 0x18          /* setup */
        .byte 0x07, 0x08, 0x11          /* kernel */
        .byte 0x0a, 0x0b, 0x12          /* initrd */
        .byte 0x13, 0x14, 0x15          /* command line */
parts_end:

bev:    cli
        cld
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $DMA_BLOCK, %esp           /* grows down from the block */
        sti
        cmpw $0, %cs:enter_key
        jne flat32

        movw $parts, %si
next:   xorl %eax, %eax
        cs lodsb
        call item32
        movl %eax, %edi                 /* address */
        xorl %eax, %eax
        cs lodsb
        call item32
        movl %eax, %ebx                 /* size */
        xorl %eax, %eax
        cs lodsb
        movl %edi, %ecx
        testl %ebx, %ebx
        jz 1f
        shll $16, %eax
        orb $(DMA_READ | DMA_SELECT), %al
        call dma
1:      cmpw $parts_end, %si
        jb next

        movw $KEY_CMDLINE_ADDR, %ax
        call item32
        movl %eax, %edi
        movw $KEY_SETUP_ADDR, %ax
        call item32
        subl %eax, %edi                 /* heap and stack end below the command line */
        subl $16, %edi
        shrl $4, %eax
        cli
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %fs
        movw %ax, %gs
        movw %ax, %ss
        movl %edi, %esp
        addw $0x20, %ax
        pushw %ax
        pushw $0
        xorl %eax, %eax
        xorl %ebx, %ebx
        xorl %ecx, %ecx
        xorl %edx, %edx
        xorl %esi, %esi
        xorl %edi, %edi
        xorl %ebp, %ebp
        lret

flat32: movl $0, MAP
        xorl %ebx, %ebx
        movw $MAP + 4, %di
1:      movl $0xe820, %eax
        movl $0x534d4150, %edx          /* SMAP */
        movl $20, %ecx
        int $0x15
        jc 2f
        cmpl $0x534d4150, %eax
        jne 2f
        incl MAP
        addw $20, %di
        testl %ebx, %ebx
        jz 2f
        cmpl $MAP_MAX, MAP
        jb 1b
2:      cli
        movzwl %cs:enter_key, %eax
        shll $16, %eax
        orb $(DMA_WRITE | DMA_SELECT), %al
        movl $(4 + 20 * MAP_MAX), %ebx
        movl $MAP, %ecx
        call dma
3:      hlt                             /* the machine takes the CPU from here */
        jmp 3b

        .org 0x3ff
        .byte 0                         /* checksum */
