#!/usr/bin/env bash
# The Debian disk with several CPUs and code caches from far too small to roomy.
. "$(dirname "$0")/../guest/lib.sh.inc"
disk=$(scripts/fetch-guest debian-disk 2>"$work/make.log")
result "the disk is there" $? "$work/make.log"
for run in '2 3M' '2 12M' '3 6M' '4 12M' '2 32M'; do
    set -- $run
    boot "$1 CPUs, tb-size=$2" 600 'RHEA-DISK-STATUS 0' -m 1G -smp "$1" -accel "jit,tb-size=$2" -drive "file=$disk,snapshot=on"
done
finish
