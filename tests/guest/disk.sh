#!/usr/bin/env bash
# A Debian system on an IDE disk: BIOS, GRUB in the MBR, systemd, unpack and compile inside, power-off.
. "$(dirname "$0")/lib.sh.inc"
if [ "$(id -u)" != 0 ] || [ ! -e /dev/loop-control ]; then
    echo "ok 1 - disk boot # SKIP making the disk needs root and loop devices"
    echo 1..1
    exit 0
fi
disk=$(scripts/fetch-guest debian-disk 2>"$work/make.log")
result "the disk is there" $? "$work/make.log"
cp --sparse=always "$disk" "$work/disk.img"
ok='RHEA-DISK-STATUS 0'
boot "login, unpack and compile, power-off" 300 "$ok" -m 1G -hda "$work/disk.img"
grep -aq 'rhea-guest login:' "$work/1.log"
result "systemd reached the login prompt" $?
e2=$(command -v e2fsck || echo /sbin/e2fsck)
dd if="$work/disk.img" of="$work/part.img" bs=1M skip=1 conv=sparse status=none && "$e2" -fn "$work/part.img" >"$work/fsck.log" 2>&1
result "the file system is clean afterwards" $? "$work/fsck.log"
# A small code cache: blocks are evicted all the time while both CPUs write each other's code pages.
boot "the same with two CPUs on a snapshot, evicting" 300 "$ok" -m 1G -smp 2 -accel jit,tb-size=12M -drive "file=$work/disk.img,snapshot=on"
finish
