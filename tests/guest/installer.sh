#!/usr/bin/env bash
# Debian's installers, 64-bit and 32-bit with PAE, to their first screen on the serial console.
. "$(dirname "$0")/lib.sh.inc"
for arch in amd64 i386; do
    kernel=$(scripts/fetch-guest installer-$arch-kernel 2>/dev/null) &&
        initrd=$(scripts/fetch-guest installer-$arch-initrd 2>/dev/null)
    result "$arch files are there" $?
    rhea=$build/rhea-system-${arch/amd64/x86_64}
    boot_until "$arch installer asks for a language" 150 'Choose the language|Select a language' -m 1G \
        -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 TERM=linux"
done
finish
