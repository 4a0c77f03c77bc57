#!/usr/bin/env bash
# The Debian disk with two CPUs, again and again. Known to fail now and then on a loaded host: a
# CPU stays idle though it has work (RCU stall). Issue 2 stays open for it.
. "$(dirname "$0")/../guest/lib.sh.inc"
disk=$(scripts/fetch-guest debian-disk 2>"$work/make.log")
result "the disk is there" $? "$work/make.log"
for i in 1 2 3 4 5; do
    boot "two CPUs, run $i" 300 'RHEA-DISK-STATUS 0' -m 1G -smp 2 -drive "file=$disk,snapshot=on"
done
finish
