#!/usr/bin/env bash
# The Arm machine: the installer's kernel with one and four CPUs, U-Boot, the UEFI shell.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest installer-arm64-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs-arm64 2>/dev/null)
result "guest files are there" $?
arm="-arch aarch64 -M virt -m 512"
cmd() { echo "console=ttyAMA0 quiet rdinit=/rhea-init rhea.run=$1"; }
boot "-cpu max, poweroff by PSCI" 240 'RHEA-GUEST-STATUS 0' $arm -kernel "$kernel" -initrd "$initrd" -append "$(cmd true)"
boot "-cpu cortex-a57, 4 CPUs" 300 'RHEA-GUEST-UP aarch64 cpus=4' $arm -cpu cortex-a57 -smp 4 -kernel "$kernel" -initrd "$initrd" -append "$(cmd true)"
boot_until "U-Boot's prompt" 120 '=> ' $arm -bios /usr/lib/u-boot/qemu_arm64/u-boot.bin
boot_until "the UEFI shell" 240 'Shell>' $arm -bios /usr/share/qemu-efi-aarch64/QEMU_EFI.fd
"$build/rhea" $arm -smp 9 -display none >"$work/many" 2>&1
[ $? = 1 ] && [ "$(wc -l <"$work/many")" = 1 ]
result "nine CPUs are too many for a GICv2" $? "$work/many"
"$build/rhea" $arm -kernel /bin/true -display none >"$work/wrong" 2>&1
[ $? = 1 ] && [ "$(wc -l <"$work/wrong")" = 1 ]
result "a kernel of another architecture" $? "$work/wrong"
finish
