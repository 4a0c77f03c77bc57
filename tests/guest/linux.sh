#!/usr/bin/env bash
# Debian's cloud kernel to user space, on several machine sizes and CPU models.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
args() { echo "-kernel $kernel -initrd $initrd"; }
ok='RHEA-GUEST-STATUS 0'
cmd() { echo "console=ttyS0 quiet rhea.run=$1"; }
boot "default CPU, 128 MiB, poweroff" 120 "$ok" $(args) -append "$(cmd true)"
boot "4 CPUs, 512 MiB" 180 'RHEA-GUEST-UP x86_64 cpus=4' $(args) -smp 4 -m 512 -append "$(cmd true)"
boot "-cpu max, 4 GiB" 120 "$ok" $(args) -m 4G -cpu max -append "$(cmd true)"
boot "-cpu max, no ACPI, no HPET, reset by the keyboard controller" 120 'sysrq: Resetting' $(args) -m 256 -cpu max -no-acpi -no-hpet -append "$(cmd 'echo,b,>/proc/sysrq-trigger') reboot=k"
boot "reboot" 120 'RHEA-GUEST-UP' $(args) -m 256 -append "$(cmd 'reboot,-f')"
boot "process and file work" 180 "$ok" $(args) -m 256 -append "$(cmd 'cd,/tmp;dd,if=/dev/urandom,of=a,bs=1M,count=8;gzip,-k,a;gunzip,-c,a.gz|cmp,-,a')"
finish
