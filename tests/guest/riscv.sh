#!/usr/bin/env bash
# RISC-V: OpenSBI, Debian's kernel (with one and four harts), U-Boot with a virtio disk, bad input.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest riscv64-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest riscv64-initramfs 2>/dev/null)
result "guest files are there" $?
uboot=/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf
args() { echo "-arch riscv64 -M virt -kernel $kernel -initrd $initrd"; }
cmd() { echo "console=ttyS0 quiet rhea.run=$1"; }

boot_until "OpenSBI's banner and domains" 60 'Domain0 Next Mode *: S-mode' -arch riscv64
boot "kernel to user space, power off" 200 'RHEA-GUEST-STATUS 0' $(args) -m 512 -append "$(cmd true)"
boot "4 harts" 300 'RHEA-GUEST-UP riscv64 cpus=4' $(args) -smp 4 -m 512 -append "$(cmd true)"

if [ -e "$uboot" ]; then
    truncate -s 4M "$work/disk.img"
    boot_until "U-Boot finds the virtio disk" 120 'Hit any key to stop autoboot' -arch riscv64 \
        -kernel "$uboot" -drive "file=$work/disk.img,format=raw,if=virtio"
else
    result "package u-boot-qemu is installed" 1
fi

# One sentence each, exit status 1.
refuses() { # pattern, args…
    local pattern=$1
    shift
    timeout 20 "$rhea" -arch riscv64 -display none -nodefaults "$@" </dev/null >"$work/refuse.log" 2>&1
    [ $? = 1 ] && [ "$(wc -l <"$work/refuse.log")" = 1 ] && grep -qE "$pattern" "$work/refuse.log"
    result "refused: $*" $? "$work/refuse.log"
}
cp /bin/true "$work/true"
refuses 'another processor' -kernel "$work/true"
refuses 'at most 32 CPUs' -smp 33
refuses "no extension 'zork'" -cpu rv64,zork=on
refuses "extension 'v' is not in this version" -cpu rv64,v=on
refuses 'at most 2 GiB' -arch riscv32 -M virt -m 3G -bios none
head -c 40000000 /dev/zero >"$work/big"
refuses 'more than|holds' -drive "if=pflash,format=raw,file=$work/big"
refuses 'device tree' -dtb "$work/big"
finish
