#!/usr/bin/env bash
# Images of rhea-img and of the distribution's qemu-img: each opens, checks and compares the other's.
. "$(dirname "$0")/../guest/lib.sh.inc"
img=$build/rhea-img
qemu=$(command -v qemu-img)
if [ -z "$qemu" ]; then
    echo "ok 1 - images # SKIP qemu-img is not installed (package qemu-utils)"
    echo 1..1
    exit 0
fi
log=$work/log
# try NAME COMMAND…: one result; the command's output is shown when it fails.
try() {
    local name=$1
    shift
    "$@" >"$log" 2>&1
    result "$name" $? "$log"
}
differ() { ! cmp -s "$1" "$2"; }
fails() { # command that must end with status 1 and one sentence
    "$@" >/dev/null 2>"$log.err"
    [ $? = 1 ] && [ "$(wc -l <"$log.err")" = 1 ]
}
raw=$work/disk.raw
# Data, holes and zeros, with an odd end.
truncate -s 9437696 "$raw"
for at in 0 3 70 71 500 2000 2303; do
    head -c 4096 /dev/urandom | dd of="$raw" bs=4096 seek=$at conv=notrunc status=none
done
seq 200000 | dd of="$raw" bs=4096 seek=1000 conv=notrunc status=none

for o in cluster_size=512 cluster_size=4k cluster_size=2M compat=0.10 refcount_bits=1 refcount_bits=2 \
    refcount_bits=8 refcount_bits=64 cluster_size=512,refcount_bits=64 lazy_refcounts=on \
    preallocation=metadata compression_type=zstd; do
    a=$work/a.qcow2 b=$work/b.qcow2
    rm -f "$a" "$b"
    "$qemu" convert -f raw -O qcow2 -o "$o" "$raw" "$a" 2>"$log" && "$img" compare "$raw" "$a" >>"$log" 2>&1 && "$img" check "$a" >>"$log" 2>&1
    result "qemu-img's $o opens here" $? "$log"
    "$img" convert -f raw -O qcow2 -o "$o" "$raw" "$b" >"$log" 2>&1 && "$qemu" compare "$raw" "$b" >>"$log" 2>&1 &&
        "$qemu" check "$b" >>"$log" 2>&1 && "$img" check "$b" >>"$log" 2>&1
    result "ours with $o opens there" $? "$log"
done
for o in compression_type=zlib compression_type=zstd cluster_size=512 cluster_size=2M refcount_bits=1; do
    rm -f "$work/a.qcow2" "$work/b.qcow2"
    "$qemu" convert -c -f raw -O qcow2 -o "$o" "$raw" "$work/a.qcow2" && "$img" compare "$raw" "$work/a.qcow2" >"$log" 2>&1 &&
        "$img" check "$work/a.qcow2" >>"$log" 2>&1
    result "compressed by qemu-img, $o" $? "$log"
    "$img" convert -c -f raw -O qcow2 -o "$o" "$raw" "$work/b.qcow2" >"$log" 2>&1 && "$qemu" compare "$raw" "$work/b.qcow2" >>"$log" 2>&1 &&
        "$qemu" check "$work/b.qcow2" >>"$log" 2>&1
    result "compressed by us, $o" $? "$log"
done
try "back to raw" "$img" convert -f qcow2 -O raw "$work/b.qcow2" "$work/back.raw"
try "is bit for bit the same" cmp "$raw" "$work/back.raw"

# Chains, in both directions.
cd "$work" || exit 1
img=$OLDPWD/$build/rhea-img
[ "${build#/}" = "$build" ] || img=$build/rhea-img
rm -f ./*.qcow2
"$qemu" convert -f raw -O qcow2 disk.raw base.qcow2
try "create on a backing file" "$img" create -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
try "qemu-img reads the chain" "$qemu" compare disk.raw top.qcow2
qemu-io -c 'write -P 7 100k 300k' -c 'write -z 4M 1M' top.qcow2 >"$log" 2>&1
"$qemu" convert -O raw top.qcow2 want.raw
try "a chain written by QEMU" "$img" compare want.raw top.qcow2
try "map of a chain" "$img" map top.qcow2
"$img" map --output=json top.qcow2 >map1 2>"$log" && "$qemu" map --output=json top.qcow2 >map2 &&
    python3 -c 'import json; a, b = json.load(open("map1")), json.load(open("map2")); f = lambda l: [(e["start"], e["length"], e["depth"], e["data"], e["zero"], e.get("offset")) for e in l]; assert f(a) == f(b), (f(a)[:4], f(b)[:4])' 2>"$log"
result "map --output=json is qemu-img's" $? "$log"
for f in top base; do
    "$img" info --output=json $f.qcow2 >i1 2>"$log" && "$qemu" info --output=json $f.qcow2 >i2 &&
        python3 -c 'import json; a, b = json.load(open("i1")), json.load(open("i2")); assert a == b, (a, b)' 2>>"$log"
    result "info --output=json of $f is qemu-img's" $? "$log"
    diff <("$img" info $f.qcow2) <("$qemu" info $f.qcow2) >"$log"
    result "info of $f is qemu-img's" $? "$log"
done
try "commit" "$img" commit top.qcow2
try "the data is in the base" "$qemu" compare want.raw base.qcow2
try "both are whole" sh -c "$qemu check top.qcow2 && $qemu check base.qcow2"
try "a second backing name" "$img" rebase -u -b ./base.qcow2 -F qcow2 top.qcow2
try "is read there" "$qemu" compare want.raw top.qcow2

# Snapshots.
cp base.qcow2 snap.qcow2
try "snapshot" "$img" snapshot -c one snap.qcow2
qemu-io -c 'write -P 9 0 3M' snap.qcow2 >"$log" 2>&1
"$qemu" convert -O raw snap.qcow2 new.raw
try "QEMU writes behind it, whole" sh -c "$qemu check snap.qcow2 && $img check snap.qcow2"
try "a snapshot by qemu-img" "$qemu" snapshot -c two snap.qcow2
diff <("$img" snapshot -l snap.qcow2 | cut -c1-60) <("$qemu" snapshot -l snap.qcow2 | cut -c1-60) >"$log"
result "the list is qemu-img's" $? "$log"
try "back to the first" "$img" snapshot -a one snap.qcow2
try "is what it was" "$qemu" compare want.raw snap.qcow2
try "whole" sh -c "$qemu check snap.qcow2 && $img check snap.qcow2"
try "forward again" "$img" snapshot -a two snap.qcow2
try "is what was written" "$qemu" compare new.raw snap.qcow2
try "delete one" "$img" snapshot -d one snap.qcow2
try "whole without it" sh -c "$qemu check snap.qcow2 && $img check snap.qcow2"
try "delete two" "$img" snapshot -d 2 snap.qcow2
try "whole without snapshots" sh -c "$qemu check snap.qcow2 && $img check snap.qcow2 && $qemu compare new.raw snap.qcow2"

# Sizes.
try "grow" "$img" resize snap.qcow2 +200G
try "shrink" "$img" resize --shrink snap.qcow2 1M
truncate -s 1M new.raw
try "whole after it" sh -c "$qemu check snap.qcow2 && $img check snap.qcow2 && $qemu compare new.raw snap.qcow2"

# What is wrong is said in a sentence.
printf 'x' | dd of=snap.qcow2 bs=1 seek=100000000 conv=notrunc status=none
try "no such file" fails "$img" info nothing
try "an unknown command" fails "$img" frobnicate
try "raw has no options" fails "$img" create -f raw -o cluster_size=4k x 1M
"$img" create -q -f qcow2 -b base.qcow2 -F qcow2 l1.qcow2 && "$img" create -q -f qcow2 -b l1.qcow2 -F qcow2 l2.qcow2 &&
    "$img" rebase -u -b l2.qcow2 -F qcow2 l1.qcow2
try "a chain that loops" fails "$img" map l2.qcow2
"$qemu" create -q -f qcow2 -o extended_l2=on ext.qcow2 1M
try "extended L2 entries are refused" fails "$img" info ext.qcow2

# Repair.
cp base.qcow2 bad.qcow2
printf '\0\0\0\0' | dd of=bad.qcow2 bs=1 seek=$((0x20000 + 12)) conv=notrunc status=none
"$img" check bad.qcow2 >"$log" 2>&1
[ $? = 2 ]
result "wrong refcounts are found" $? "$log"
"$img" check -r all bad.qcow2 >"$log" 2>&1
try "and repaired" sh -c "$qemu check bad.qcow2 && $qemu compare want.raw bad.qcow2"
finish
