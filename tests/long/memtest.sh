#!/usr/bin/env bash
# memtest86+, 64- and 32-bit, as -kernel and from its ISO: one pass without errors.
. "$(dirname "$0")/../guest/lib.sh.inc"
for bits in x64 ia32; do
    boot_until "$bits as -kernel" 600 'Pass: +[1-9][0-9]* +Errors: 0 ' -m 32 -kernel /boot/memtest86+$bits.bin -append console=ttyS0,115200
    iso=/usr/lib/memtest86+/memtest86+$bits.iso
    [ -e "$iso" ]
    result "$bits ISO is there" $?
    boot_until "$bits from the ISO starts testing" 120 'Memtest86' -m 32 -cdrom "$iso" -serial mon:stdio
done
finish
