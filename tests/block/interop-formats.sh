#!/usr/bin/env bash
# vmdk, vdi, vpc and qed: images of rhea-img and of the distribution's qemu-img, both ways; a ring of
# all formats; what rhea-img's commands leave is what qemu-img reads.
. "$(dirname "$0")/../guest/lib.sh.inc"
img=$(realpath "$build/rhea-img")
qemu=$(command -v qemu-img)
if [ -z "$qemu" ]; then
    echo "ok 1 - formats # SKIP qemu-img is not installed (package qemu-utils)"
    echo 1..1
    exit 0
fi
log=$work/log
try() { # NAME COMMAND…: one result; the command's output is shown when it fails
    local name=$1
    shift
    "$@" >"$log" 2>&1
    result "$name" $? "$log"
}
fails() { # a command that must end with status 1 and one sentence
    "$@" >/dev/null 2>"$log.err"
    [ $? = 1 ] && [ "$(wc -l <"$log.err")" = 1 ]
}
cd "$work" || exit 1
truncate -s 9437696 disk.raw
for at in 0 3 70 71 500 2000 2303; do
    head -c 4096 /dev/urandom | dd of=disk.raw bs=4096 seek=$at conv=notrunc status=none
done
seq 200000 | dd of=disk.raw bs=4096 seek=1000 conv=notrunc status=none

# qemu-img has no check for vpc.
whole() { [ "${1##*.}" = vpc ] || "$qemu" check "$1"; }
while read -r fmt opt; do
    o=${opt:+-o $opt}
    rm -f a.* b.*
    # shellcheck disable=SC2086
    {
        try "qemu-img's $fmt $opt opens here" sh -c "$qemu convert -f raw -O $fmt $o disk.raw a.$fmt && $img compare -f raw -F $fmt disk.raw a.$fmt && $img check -f $fmt a.$fmt"
        try "ours opens there: $fmt $opt" sh -c "$img convert -f raw -O $fmt $o disk.raw b.$fmt && $qemu compare -f raw -F $fmt disk.raw b.$fmt && $img check -f $fmt b.$fmt"
        try "and is whole: $fmt $opt" whole b.$fmt
    }
    # Each writes into the other's.
    [ "$opt" = subformat=streamOptimized ] && continue
    try "QEMU writes into ours: $fmt $opt" sh -c "qemu-io -f $fmt -c 'write -P 7 5M 300k' -c 'write -P 8 100k 3k' b.$fmt && $img compare -f $fmt -F raw b.$fmt disk.raw; [ \$? = 1 ] && $img check -f $fmt b.$fmt"
    try "the same into QEMU's by us: $fmt $opt" sh -c "$qemu convert -f $fmt -O raw b.$fmt want.raw && $img convert -n -f raw -O $fmt want.raw a.$fmt && $qemu compare -f raw -F $fmt want.raw a.$fmt"
    try "whole, too: $fmt $opt" whole a.$fmt
done <<'LIST'
vdi
vdi static=on
vpc
vpc force_size=on
vpc subformat=fixed
vpc subformat=fixed,force_size=on
qed
qed cluster_size=4k,table_size=2
qed cluster_size=1M,table_size=16
vmdk
vmdk subformat=monolithicFlat
vmdk subformat=twoGbMaxExtentSparse
vmdk subformat=twoGbMaxExtentFlat
vmdk subformat=streamOptimized
vmdk zeroed_grain=on,adapter_type=lsilogic
vmdk compat6=on
LIST

# The ring.
"$img" convert -f raw -O qcow2 disk.raw r.qcow2 && "$img" convert -O vmdk r.qcow2 r.vmdk && "$img" convert -O vdi r.vmdk r.vdi &&
    "$img" convert -O vpc -o force_size=on r.vdi r.vpc && "$img" convert -O qed r.vpc r.qed && "$img" convert -O raw r.qed r.raw
try "raw, qcow2, vmdk, vdi, vpc, qed, raw: bit for bit" cmp disk.raw r.raw
for f in qcow2 vmdk vdi qed; do
    "$img" info --output=json r.$f >i1 2>"$log" && "$qemu" info --output=json r.$f >i2 &&
        python3 -c 'import json; a, b = json.load(open("i1")), json.load(open("i2")); assert a == b, (a, b)' 2>>"$log"
    result "info --output=json of $f is qemu-img's" $? "$log"
    diff <("$img" info r.$f) <("$qemu" info r.$f) >"$log"
    result "info of $f is qemu-img's" $? "$log"
done

# Backing files.
for f in qed qcow2; do
    rm -f top.$f
    "$img" create -q -f $f -b disk.raw -F raw top.$f && qemu-io -f $f -c 'write -P 7 1M 1M' -c 'write -z 5M 1M' top.$f >"$log" 2>&1
    "$qemu" convert -f $f -O raw top.$f want.raw
    try "$f on a raw file" "$img" compare want.raw top.$f
    cp disk.raw other.raw && dd if=/dev/urandom of=other.raw bs=64k count=9 seek=20 conv=notrunc status=none
    try "$f: rebase keeps the contents" sh -c "$img rebase -b other.raw -F raw top.$f && $qemu compare want.raw top.$f && $qemu check top.$f"
    try "$f: commit into the new one" sh -c "$img commit top.$f && $qemu compare want.raw other.raw"
    try "$f: rebase onto nothing" sh -c "$img rebase -b '' top.$f && $qemu compare want.raw top.$f"
done
try "vmdk on vmdk" sh -c "$img create -q -f vmdk -b r.vmdk top.vmdk && $qemu compare disk.raw top.vmdk && $img compare disk.raw top.vmdk"
qemu-io -f vmdk -c 'write -P 7 1M 1M' top.vmdk >"$log" 2>&1
"$qemu" convert -O raw top.vmdk want.raw
try "written by QEMU" "$img" compare want.raw top.vmdk
try "committed" sh -c "$img commit top.vmdk && $qemu compare want.raw r.vmdk && $qemu compare want.raw top.vmdk"
# A chain of three, committed to the lowest.
"$img" create -q -f qcow2 -b disk.raw -F raw l1.qcow2 && "$img" create -q -f qcow2 -b l1.qcow2 -F qcow2 l2.qcow2
qemu-io -c 'write -P 3 0 1M' l1.qcow2 >"$log" 2>&1 && qemu-io -c 'write -P 4 512k 1M' l2.qcow2 >>"$log" 2>&1
"$qemu" convert -O raw l2.qcow2 want.raw
try "info --backing-chain" sh -c "$img info --backing-chain --output=json l2.qcow2 | python3 -c 'import json, sys; l = json.load(sys.stdin); assert [i[\"format\"] for i in l] == [\"qcow2\", \"qcow2\", \"raw\"], l'"
try "convert -B" sh -c "$img convert -O qcow2 -B l1.qcow2 -F qcow2 l2.qcow2 l3.qcow2 && $qemu compare want.raw l3.qcow2 && [ \$(stat -c %s l3.qcow2) -lt 2000000 ]"
try "commit -b" sh -c "$img commit -b disk.raw l2.qcow2 && $qemu compare want.raw disk.raw && $qemu compare want.raw l2.qcow2"

# Options of convert, and the rest.
for o in "-m 1" "-m 16" "-W" "-m 16 -W" "-S 0" "-S 64k" "-C" "-t none" "-T none"; do
    # shellcheck disable=SC2086
    try "convert $o" sh -c "$img convert $o -f raw -O qcow2 want.raw c.qcow2 && $qemu check c.qcow2 && $qemu compare want.raw c.qcow2 && $img convert $o -O raw c.qcow2 c.raw && cmp want.raw c.raw"
done
for o in off metadata falloc full; do
    try "preallocation=$o" sh -c "$img convert -f raw -O qcow2 -o preallocation=$o want.raw p.qcow2 && $qemu check p.qcow2 && $qemu compare want.raw p.qcow2"
done
try "raw, preallocation=falloc" sh -c "$img create -q -f raw -o preallocation=falloc f.raw 4M && [ \$(stat -c %b f.raw) -ge 8192 ]"
"$img" snapshot -c old c.qcow2 && qemu-io -c 'write -P 9 0 2M' c.qcow2 >"$log" 2>&1
try "convert -l" sh -c "$img convert -l old -O raw c.qcow2 old.raw && cmp want.raw old.raw"
try "several inputs" sh -c "$img convert -f raw -O raw disk.raw want.raw two.raw && cat disk.raw want.raw | cmp - two.raw"
try "dd" sh -c "$img dd -f qcow2 -O raw bs=1M skip=1 count=3 if=l2.qcow2 of=dd.raw && dd if=want.raw bs=1M skip=1 count=3 status=none | cmp - dd.raw"
for o in "--size 10G" "--size 1T -o cluster_size=2M" "-f raw want.raw" "-f raw -o preallocation=full want.raw" "l2.qcow2"; do
    # shellcheck disable=SC2086
    diff <("$img" measure -O qcow2 $o) <("$qemu" measure -O qcow2 $o) >"$log"
    result "measure $o is qemu-img's" $? "$log"
done
try "amend" sh -c "$img amend -o size=20M,lazy_refcounts=on c.qcow2 && $qemu check c.qcow2 && $qemu info c.qcow2 | grep -q 'lazy refcounts: true'"
try "resize of qed" sh -c "$img resize top.qed +5M && $qemu check top.qed && $qemu info top.qed | grep -q '14 MiB'"
try "bench" "$img" bench -c 100 -d 4 -w --flush-interval=10 c.qcow2
try "--image-opts" "$img" compare --image-opts driver=raw,file.filename=want.raw 'driver=qcow2,file.filename=l2.qcow2'
try "json: names" "$img" compare 'json:{"driver": "vdi", "file": {"driver": "file", "filename": "r.vdi"}}' r.raw
try "compare -s: other sizes differ" sh -c "$img compare -s -f raw -F raw want.raw two.raw; [ \$? = 1 ]"

# What is wrong is said in a sentence.
try "an unknown option" fails "$img" create -f vdi -o frob=1 x 1M
try "a subformat that is none" fails "$img" create -f vmdk -o subformat=frob x 1M
try "vdi has no backing file" fails "$img" create -f vdi -b disk.raw -F raw x
qemu-io -f vmdk -c 'write 0 4k' r.vmdk >"$log" 2>&1
try "a vmdk parent that changed" sh -c "$img map top.vmdk 2>&1 | grep 'has been changed since'"
truncate -s 1000000 r.vdi
"$img" check r.vdi >"$log" 2>&1
[ $? = 2 ]
result "a vdi image cut short is found" $? "$log"
try "and not written to" sh -c "$img convert -n -f raw -O vdi r.raw r.vdi 2>&1 | grep 'beyond the end of the file'"
finish
