#!/usr/bin/env bash
# A full host disk stops the machine, 'cont' goes on when there is space, and nothing is lost; then an
# external snapshot, a commit and an NBD export of the running guest's disk.
. "$(dirname "$0")/lib.sh.inc"
if [ "$(id -u)" != 0 ]; then
    echo "ok 1 - a full disk # SKIP mounting a small file system needs root"
    echo 1..1
    exit 0
fi
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && base=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
small=$work/small root=$work/root mon=$work/mon log=$work/serial
mkdir -p "$small" "$root/mod"
mount -t tmpfs -o size=6m tmpfs "$small" || { result "mount" 1; finish; exit; }
trap 'exec 9>&-; kill ${pid:-} 2>/dev/null; wait 2>/dev/null; umount "$small"; rm -rf "$work"' EXIT
find "$(dirname "$kernel")/../lib/modules" -name 'virtio*.ko' -exec cp {} "$root/mod/" \;
cat >"$root/b.sh" <<'X'
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do insmod /mod/$m.ko; done
i=0
while [ $i -lt 16 ]; do # 16 MiB of numbered lines, each MiB synced
    yes "block $i of the test" | dd bs=1M count=1 iflag=fullblock of=/dev/vda seek=$i conv=fsync 2>/dev/null || echo "FAILED $i"
    i=$((i + 1))
done
echo "FIRST-DONE"
read -r line </dev/ttyS0
yes second | dd bs=1M count=1 iflag=fullblock of=/dev/vda seek=3 conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
echo "SUM $(dd if=/dev/vda bs=1M count=16 2>/dev/null | sha256sum | cut -d' ' -f1)"
read -r line </dev/ttyS0
X
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/b.cpio.gz"
cat "$base" "$work/b.cpio.gz" >"$work/initrd"
truncate -s 32M "$small/disk.raw"
mkfifo "$mon.in"
: >"$mon.out"
: >"$log"
timeout 200 "$rhea" -display none -nodefaults -no-reboot -m 192 -kernel "$kernel" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet rhea.run=sh,/b.sh" -drive "file=$small/disk.raw,format=raw,if=virtio,id=d" \
    -chardev "socket,id=s,path=$work/ser.sock,server=on,wait=off,logfile=$log" -serial chardev:s -monitor stdio \
    <"$mon.in" >"$mon.out" 2>"$work/err" &
pid=$!
exec 9>"$mon.in"
await() { # file, pattern, seconds
    local t0=$SECONDS
    until grep -aqE "$2" "$1"; do
        kill -0 $pid 2>/dev/null && [ $((SECONDS - t0)) -lt "$3" ] || return 1
        sleep 0.3
    done
}
say() { echo "$1" >&9; sleep 0.5; }
await "$work/err" 'the machine stops' 90
result "a full disk stops the machine" $? "$work/err"
say 'info status'
await "$mon.out" 'paused \(io-error\)' 10
result "info status says io-error" $? "$mon.out"
say 'info block'
await "$mon.out" 'nospace' 10
result "info block says nospace" $? "$mon.out"
mount -o remount,size=64m "$small"
say cont
await "$log" FIRST-DONE 90
result "cont goes on to the end" $? "$log"
! grep -q FAILED "$log"
result "the guest saw no error" $? "$log"
want() { # the 16 MiB as they must be; $1: also the second write
    python3 -c '
import sys
mib = lambda s: (s.encode() * (1 << 20))[:1 << 20]
d = [mib("block %d of the test\n" % i) for i in range(16)]
if sys.argv[1] == "2": d[3] = mib("second\n")
sys.stdout.buffer.write(b"".join(d))' "$1"
}
cmp -s <(want 1) <(head -c 16M "$small/disk.raw")
result "all the data is in the image" $?
say "snapshot_blkdev d $work/top.qcow2"
say "nbd_server_start unix:$work/nbd.sock"
say "nbd_server_add d disk"
enter() { python3 -c 'import socket,sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b"go\n")' "$work/ser.sock"; }
enter
await "$log" 'SUM [0-9a-f]{64}' 60
grep -aq "SUM $(want 2 | sha256sum | cut -d' ' -f1)" "$log"
result "after snapshot_blkdev the guest reads what it wrote" $? "$log"
cmp -s <(want 1) <(head -c 16M "$small/disk.raw")
result "the image below has not changed" $?
timeout 60 "$build/rhea-img" convert -f raw -O raw "nbd+unix:///disk?socket=$work/nbd.sock" "$work/nbd.raw" >"$work/nbd.log" 2>&1 &&
    cmp -s <(want 2) <(head -c 16M "$work/nbd.raw")
result "an NBD export of the guest's disk has it all" $? "$work/nbd.log"
say 'nbd_server_stop'
say 'commit d'
say 'info blockstats'
await "$mon.out" 'd: rd_bytes=[1-9][0-9]* wr_bytes=[1-9]' 10
result "info blockstats counts" $? "$mon.out"
cmp -s <(want 2) <(head -c 16M "$small/disk.raw")
result "commit brings it into the image below" $?
enter
t0=$SECONDS
while kill -0 $pid 2>/dev/null && [ $((SECONDS - t0)) -lt 30 ]; do sleep 0.3; done
! kill -0 $pid 2>/dev/null && wait $pid
result "the guest powers off" $? "$work/err"
timeout 60 "$build/rhea-img" check "$work/top.qcow2" >"$work/check.log" 2>&1
result "the overlay is sound" $? "$work/check.log"
finish
