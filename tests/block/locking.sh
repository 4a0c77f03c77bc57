#!/usr/bin/env bash
# Image locks among ourselves and with QEMU's tools; limits, cache modes and loop devices by rhea-io.
. "$(dirname "$0")/../guest/lib.sh.inc"
io=$build/rhea-io img=$build/rhea-img
log=$work/log a=$work/a.raw q=$work/q.qcow2
pid=
trap '[ -n "$pid" ] && kill $pid 2>/dev/null; [ -n "${loop:-}" ] && losetup -d "$loop"; rm -rf "$work"' EXIT
truncate -s 4M "$a"
hold() { # command that keeps the image open and reads its commands from a FIFO
    rm -f "$work/fifo"
    mkfifo "$work/fifo"
    timeout 120 "$@" <"$work/fifo" >"$work/hold.log" 2>&1 &
    pid=$!
    exec 9>"$work/fifo"
    echo 'write -P 1 0 512' >&9
    for _ in $(seq 100); do grep -qs wrote "$work/hold.log" && break; sleep 0.1; done
}
release() {
    exec 9>&-
    wait $pid
    pid=
}
allowed() { timeout 60 "$@" >"$log" 2>&1; }
refused() { # one sentence, status 1
    timeout 60 "$@" >/dev/null 2>"$log"
    [ $? = 1 ] && [ "$(wc -l <"$log")" = 1 ] && grep -q 'in use by' "$log"
}
hold "$io" -f raw "$a"
refused "$io" -f raw -c 'write 0 512' "$a"
result "a second writer is refused" $? "$log"
grep -q "process $pid (rhea-io)" "$log" || grep -q "(rhea-io)" "$log"
result "the sentence names the holder" $? "$log"
refused "$io" -r -f raw -c 'read 0 512' "$a"
result "a reader is refused beside a writer" $? "$log"
allowed "$io" -r -U -f raw -c 'read -P 1 0 512' "$a"
result "-U reads all the same" $? "$log"
allowed "$img" info -U "$a"
result "rhea-img info -U too" $? "$log"
refused "$build/rhea" -display none -nodefaults -S -drive "file=$a,format=raw"
result "an emulator is refused, too" $? "$log"
if command -v qemu-io >/dev/null; then
    timeout 60 qemu-io -f raw -c 'write 0 512' "$a" >"$log" 2>&1
    [ $? = 1 ] && grep -q lock "$log"
    result "qemu-io is refused beside our writer" $? "$log"
    release
    hold qemu-io -f raw "$a"
    allowed "$io" -r -U -f raw -c 'read -P 1 0 512' "$a"
    result "-U reads beside qemu-io" $? "$log"
fi
release
allowed "$io" -f raw -c 'write 0 512' "$a"
result "afterwards it is free" $? "$log"
"$build/rhea" -display none -nodefaults -S -drive "file=$a,format=raw" -drive "file=$a,format=raw" >/dev/null 2>"$log"
[ $? = 1 ] && grep -q 'another drive of this program' "$log"
result "two drives of one machine: one sentence" $? "$log"
"$img" create -f qcow2 -b "$a" -F raw "$q" >/dev/null
"$img" create -f qcow2 -b "$a" -F raw "$q.2" >/dev/null
allowed "$io" -c 'write 0 512' "$q"
result "an overlay is written to" $? "$log"
hold "$io" "$q"
allowed "$io" -c 'write 0 512' "$q.2"
result "two overlays share a backing file" $? "$log"
refused "$io" -f raw -c 'write 0 512' "$a"
result "nobody writes to the backing file of an open overlay" $? "$log"
release

for m in writeback writethrough none directsync unsafe; do
    allowed "$io" -t $m -f raw -c 'fill 5 0 4M' -c flush -c 'verify 5 0 4M' -c 'write -P 3 1000 3000' -c 'read -P 3 1000 3000' "$a" &&
        allowed "$io" -f raw -c 'verify 5 4096 1M' -c 'read -P 3 1000 3000' "$a"
    result "cache=$m" $? "$log"
done
# What strace sees of the modes is what they promise.
if command -v strace >/dev/null; then
    flushes() { strace -f -e trace=fdatasync,openat "$io" -t "$1" -f raw -c 'write 0 4k' "$a" 2>&1 | tee "$log" | grep -c fdatasync; }
    [ "$(flushes writeback)" = 0 ] && [ "$(flushes writethrough)" -ge 1 ]
    result "writethrough flushes behind each write" $? "$log"
    flushes directsync >/dev/null; grep -a 'a.raw' "$log" | grep -q O_DIRECT && grep -q fdatasync "$log"
    result "directsync opens with O_DIRECT and flushes" $? "$log"
    [ "$(strace -f -e trace=fdatasync "$io" -t unsafe -f raw -c 'write 0 4k' -c flush "$a" 2>&1 | grep -c fdatasync)" = 0 ]
    result "unsafe never flushes" $?
fi
used() { du -k "$1" | cut -f1; }
"$io" -f raw -c 'write 0 4M' "$a" >/dev/null
full=$(used "$a")
"$io" -f raw -c 'discard 0 2M' "$a" >/dev/null && [ "$(used "$a")" = "$full" ] &&
    "$io" -d unmap -f raw -c 'discard 0 2M' "$a" >/dev/null && [ "$(used "$a")" -lt "$full" ]
result "discard=unmap gives space back, ignore does not" $?
"$io" -f raw -c 'write -P 1 0 4M' -c 'write -P 0 0 4M' "$a" >/dev/null; full=$(used "$a")
"$io" -d unmap -D detect-zeroes=unmap -f raw -c 'write -P 0 0 4M' "$a" >/dev/null && [ "$(used "$a")" -lt "$full" ]
result "detect-zeroes=unmap turns zeros into holes" $?

if [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] && loop=$(losetup -f --show "$a" 2>/dev/null); then
    allowed "$io" -c 'fill 9 0 4M' -c flush -c 'verify 9 0 4M' -c length "$loop" && grep -q '4 MiB' "$log"
    result "a block device: size, data" $? "$log"
    allowed "$io" -n -i native -d unmap -c 'write -P 1 512 512' -c 'discard 1M 1M' -c 'write -z 2M 64k' -c 'read -P 0 2M 64k' -c 'read -P 1 512 512' "$loop"
    result "direct, discard and zeros on a block device" $? "$log"
    "$io" -c 'truncate 8M' "$loop" >"$log" 2>&1
    [ $? = 1 ] && grep -q 'cannot become larger' "$log"
    result "a block device does not grow" $? "$log"
    losetup -d "$loop"
    loop=
else
    n=$((n + 1))
    echo "ok $n - block devices # SKIP needs root and loop devices"
fi
finish
