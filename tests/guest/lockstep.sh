#!/usr/bin/env bash
# A whole boot in lockstep: each translated block is compared with the IR interpreter.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
boot "boot with mode=check" 600 'RHEA-GUEST-STATUS 0' -m 256 -accel jit,mode=check -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 quiet rhea.run=true"
boot "boot with mode=interp" 300 'RHEA-GUEST-STATUS 0' -m 256 -accel jit,mode=interp -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 quiet rhea.run=true"
finish
