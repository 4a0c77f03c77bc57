#!/usr/bin/env bash
# NBD both ways: our server with nbdinfo, nbdcopy and qemu-img, our client with nbdkit and qemu-nbd.
. "$(dirname "$0")/../guest/lib.sh.inc"
for tool in nbdkit nbdinfo nbdcopy qemu-nbd qemu-img; do
    if ! command -v $tool >/dev/null; then
        echo "ok 1 - NBD # SKIP $tool is not installed (packages nbdkit libnbd-bin qemu-utils)"
        echo 1..1
        exit 0
    fi
done
img=$build/rhea-img nbd=$build/rhea-nbd io=$build/rhea-io
log=$work/log sock=$work/s
pid=
stop() {
    [ -n "$pid" ] && kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    pid=
    rm -f "$sock"
}
trap 'stop; rm -rf "$work"' EXIT
serve() { # command that makes $sock
    stop
    timeout 300 "$@" >"$work/server.log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do [ -S "$sock" ] && return; sleep 0.1; done
}
try() { # name, command…
    local name=$1
    shift
    timeout 120 "$@" >"$log" 2>&1
    result "$name" $? "$log"
}
raw=$work/disk.raw
head -c 3M /dev/urandom >"$raw"
truncate -s 8M "$raw"
seq 100000 | dd of="$raw" bs=4096 seek=1500 conv=notrunc status=none

qemu-img create -q -f qcow2 "$work/a.qcow2" 8M
serve "$nbd" -k "$sock" -t -e 0 -x disk -D "a disk" "$work/a.qcow2"
uri="nbd+unix:///disk?socket=$sock"
try "nbdinfo reads our export" nbdinfo "$uri"
grep -q 'export-size: 8388608' "$log" && grep -q base:allocation "$log" && grep -q 'description: a disk' "$log"
result "size, context and description are told" $? "$log"
try "nbdinfo lists it" nbdinfo --list "nbd+unix:///?socket=$sock"
nbdinfo "nbd+unix:///nothing?socket=$sock" >"$log" 2>&1
[ $? = 1 ] && kill -0 "$pid"
result "an unknown export is refused, and the server lives" $? "$log"
try "nbdcopy writes a disk" nbdcopy --connections=4 "$raw" "$uri"
try "qemu-img compares it" qemu-img compare "$raw" "$uri"
try "qemu-io writes odd pieces, zeros, and trims" qemu-io -f raw -c 'write -P 7 5 100' -c 'write -f -P 9 4k 64k' \
    -c 'write -z 1M 1M' -c 'discard 2M 1M' -c 'read -P 9 8k 4k' -c 'read -P 7 5 100' -c 'read -P 0 1M 1M' -c flush "$uri"
nbdinfo --map "$uri" >"$log" 2>&1 && grep -q hole,zero "$log"
result "holes are told" $? "$log"
stop
try "the image is sound" qemu-img check "$work/a.qcow2"
serve "$nbd" -k "$sock" -r -t "$raw" -f raw
nbdinfo "nbd+unix:///?socket=$sock" >"$log" 2>&1 && grep -q 'is_read_only: true' "$log"
result "-r is read-only" $? "$log"
qemu-io -f raw -c 'write 0 512' "nbd+unix:///?socket=$sock" >"$log" 2>&1
[ $? = 1 ]
result "-r refuses to write" $? "$log"
stop
serve "$nbd" -k "$sock" -r "$raw" -f raw
nbdinfo "nbd+unix:///?socket=$sock" >"$log" 2>&1 && wait "$pid"
result "without -t it ends well with its last client" $? "$log"
pid=
rm -f "$sock"
timeout 60 "$nbd" --fork --pid-file="$work/pid" -k "$sock" -f raw -r "$raw" >"$log" 2>&1 && [ -S "$sock" ] && nbdinfo "nbd+unix:///?socket=$sock" >>"$log" 2>&1
rc=$?
for _ in $(seq 100); do [ -e "$work/pid" ] || break; sleep 0.1; done
[ $rc = 0 ] && [ ! -e "$work/pid" ]
result "--fork serves in the background until the client leaves" $? "$log"

read_back() { # name, uri
    rm -f "$work/back.raw"
    timeout 120 "$img" convert -f raw -O raw "$2" "$work/back.raw" >"$log" 2>&1 && cmp "$raw" "$work/back.raw" >>"$log" 2>&1
    result "$1" $? "$log"
}
kit="nbdkit -f -U $sock"
serve $kit file "$raw"
read_back "nbdkit, structured replies" "nbd:unix:$sock"
serve $kit --no-sr file "$raw"
read_back "nbdkit, simple replies" "nbd+unix:///?socket=$sock"
serve $kit --mask-handshake=0 file "$raw"
read_back "nbdkit, not even fixed newstyle" "nbd+unix:///?socket=$sock"
serve $kit -o file "$raw"
read_back "nbdkit, oldstyle" "nbd+unix:///?socket=$sock"
cp "$raw" "$work/b.raw"
serve $kit --filter=blocksize-policy file "$work/b.raw" blocksize-minimum=4096 blocksize-preferred=4096 blocksize-error-policy=error
read_back "nbdkit, blocks of 4096" "nbd+unix:///?socket=$sock"
try "odd writes into blocks of 4096" "$io" -f raw -c 'write -P 1 100 1000' -c 'write -P 2 4095 2' -c 'read -P 1 100 1000' \
    -c 'read -P 2 4095 2' -c flush "nbd+unix:///?socket=$sock"
serve $kit --filter=error memory 8M error-pwrite-rate=1 error=ENOSPC
timeout 60 "$io" -f raw -c 'write 0 4k' "nbd+unix:///?socket=$sock" >"$log" 2>&1
[ $? = 1 ] && grep -q 'No space left' "$log"
result "a full server is ENOSPC" $? "$log"
serve $kit --filter=exitlast --filter=delay memory 8M delay-read=3
(sleep 1; kill "$pid"; sleep 1; kill -9 "$pid") 2>/dev/null &
timeout 60 "$io" -f raw -c 'read 0 4k' "nbd+unix:///?socket=$sock" >"$log" 2>&1
rc=$?
[ $rc = 0 ] || [ $rc = 1 ]
result "a server that goes ends in an error, not in waiting" $? "$log"
serve qemu-nbd -k "$sock" -x q -t -e 4 -f raw "$raw"
read_back "qemu-nbd, named export" "nbd:unix:$sock:exportname=q"
"$img" info "nbd:unix:$sock:exportname=zz" >/dev/null 2>"$log"
[ $? = 1 ] && grep -q "no export 'zz'" "$log" && [ "$(wc -l <"$log")" = 1 ]
result "an unknown export there is one sentence" $? "$log"
stop
for uri in nbd:nonsense nbd:unix: "nbd+unix:///x" "nbd+unix:///x?socket=$work/none" nbd://127.0.0.1:1/x; do
    "$img" info "$uri" >/dev/null 2>"$log"
    [ $? = 1 ] && [ "$(wc -l <"$log")" = 1 ]
    result "$(basename "$uri"): one sentence" $? "$log"
done
finish
