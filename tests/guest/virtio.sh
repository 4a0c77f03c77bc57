#!/usr/bin/env bash
# Debian's virtio drivers on block, network, entropy, console and balloon devices, by the 1.x and the
# legacy interface; then a Debian system that SeaBIOS boots from virtio-blk.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && base=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
root=$work/root
mkdir -p "$root/mod" "$work/www"
find "$(dirname "$kernel")/../lib/modules" \( -name 'virtio*.ko' -o -name '*failover.ko' \) -exec cp {} "$root/mod/" \;
head -c 16M /dev/urandom >"$work/disk" && head -c 3M /dev/urandom >"$work/www/file"
sum() { sha256sum | cut -d' ' -f1; }
cat >"$root/dhcp.sh" <<'X'
#!/bin/busybox sh
[ "$1" = bound ] && ifconfig "$interface" "$ip" netmask "$subnet" && route add default gw "$router" && echo "LEASE $ip"
exit 0
X
cat >"$root/v.sh" <<'X'
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_blk virtio_net virtio-rng virtio_console virtio_balloon; do
    insmod /mod/$m.ko || echo "NO $m"
done
sum() { sha256sum | cut -d' ' -f1; }
echo "SERIAL $(cat /sys/block/vda/serial)"
echo "READ $(sum </dev/vda)"
dd if=/dev/vda of=/tmp/part bs=64k count=40 skip=100 2>/dev/null
dd if=/tmp/part of=/dev/vda bs=64k seek=7 conv=fsync 2>/dev/null
for i in 1 3 5 7; do dd if=/tmp/part of=/dev/vda bs=512 seek=$((20000 + i * 3)) skip=$i count=1 conv=fsync 2>/dev/null; done
blkdiscard -o 12582912 -l 1048576 /dev/vda
echo 3 >/proc/sys/vm/drop_caches
echo "WROTE $(sum </dev/vda)"
echo "RNG $(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)"
P=/dev/$(basename "$(dirname "$(grep -l org.test /sys/class/virtio-ports/*/name)")")
exec 3<>"$P"
echo from-guest >&3
read -r line <&3
echo "PORT $line"
echo to-hvc >/dev/hvc0
ifconfig eth0 up && udhcpc -i eth0 -n -q -t 10 -s /dhcp.sh
echo "TFTP $(tftp -g -b 1400 -r file -l - 10.0.2.2 | sum)"
ping -c 2 10.0.2.2 >/dev/null && echo PING-OK
cat /sys/bus/virtio/devices/virtio0/features
grep -q virtio0 /proc/interrupts && echo END
X
chmod +x "$root/dhcp.sh"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/v.cpio.gz"
cat "$base" "$work/v.cpio.gz" >"$work/initrd"
# What the disk must hold after the guest's writes.
python3 - "$work/disk" "$work/want" <<'X'
import sys
d = bytearray(open(sys.argv[1], "rb").read())
part = bytes(d[100 << 16:140 << 16])
d[7 << 16:47 << 16] = part
for i in (1, 3, 5, 7):
    d[(20000 + i * 3) * 512:(20001 + i * 3) * 512] = part[i * 512:(i + 1) * 512]
d[12582912:13631488] = bytes(1048576)
open(sys.argv[2], "wb").write(d)
X

all() { # name, options for each device
    local log=$work/all.log o=$2 t0=$SECONDS pid
    : >"$log"
    cp "$work/disk" "$work/d.img"
    "$rhea" -display none -nodefaults -no-reboot -m 256 -smp 2 -serial "file:$log" -kernel "$kernel" -initrd "$work/initrd" \
        -drive "if=none,id=d,format=raw,discard=unmap,file=$work/d.img" -device "virtio-blk-pci,drive=d,serial=sn-1$o" \
        -netdev "user,id=n,tftp=$work/www" -device "virtio-net-pci,netdev=n,romfile=$o" \
        -device "virtio-rng-pci$o" -device "virtio-balloon-pci$o" -device "virtio-serial-pci$o" \
        -chardev "file,id=h,path=$work/hvc" -device virtconsole,chardev=h \
        -chardev "socket,id=p,path=$work/port.sock,server=on,wait=off" -device virtserialport,chardev=p,name=org.test \
        -append "console=ttyS0 quiet rhea.run=sh,/v.sh" </dev/null >"$work/err" 2>&1 &
    pid=$!
    timeout 120 python3 - "$work/port.sock" >"$work/port.log" 2>&1 <<'X'
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
for i in range(300):
    try:
        s.connect(sys.argv[1]); break
    except OSError: time.sleep(0.1)
got = b""
while b"\n" not in got: got += s.recv(100)
print(got.decode().strip(), flush=True)
s.sendall(b"from-host\n")
while s.recv(4096): pass
X
    while kill -0 $pid 2>/dev/null && [ $((SECONDS - t0)) -lt 150 ]; do sleep 0.3; done
    kill $pid 2>/dev/null; wait $pid
    cat "$work/err" >>"$log"
    tr -d '\r' <"$log" >"$log.txt"
    grep -q 'RHEA-GUEST-STATUS 0' "$log.txt" && ! grep -q '^NO ' "$log.txt"; result "$1: all drivers load" $? "$log"
    grep -q "SERIAL sn-1" "$log.txt" && grep -q "READ $(sum <"$work/disk")" "$log.txt"; result "$1: block: serial number and reads" $? "$log"
    grep -q "WROTE $(sum <"$work/want")" "$log.txt" && cmp "$work/d.img" "$work/want" >>"$log"; result "$1: block: writes and discard, in the guest and in the file" $? "$log"
    grep -q "RNG 64" "$log.txt"; result "$1: entropy" $? "$log"
    grep -q "PORT from-host" "$log.txt" && grep -q from-guest "$work/port.log" && grep -q to-hvc "$work/hvc"; result "$1: console and port, both ways" $? "$log"
    grep -q "LEASE 10.0.2.15" "$log.txt" && grep -q "TFTP $(sum <"$work/www/file")" "$log.txt" && grep -q PING-OK "$log.txt"; result "$1: network: DHCP, TFTP, ping" $? "$log"
    [ "$3" = "$(grep -E '^[01]{64}$' "$log.txt" | cut -c33)" ]; result "$1: the interface is the one that was asked for" $? "$log"
}
all "1.x" ",disable-legacy=on" 1
all "legacy" ",disable-modern=on" 0

if [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] && disk=$(scripts/fetch-guest debian-disk 2>/dev/null); then
    # The system of tests/guest/disk.sh, with its root where this disk is.
    python3 - "$disk" "$work/big.img" <<'X'
import mmap, os, shutil, subprocess, sys
subprocess.check_call(["cp", "--sparse=always", sys.argv[1], sys.argv[2]])
with open(sys.argv[2], "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
    start = 0
    while True:
        try: start = os.lseek(f.fileno(), start, os.SEEK_DATA)
        except OSError: break
        end = os.lseek(f.fileno(), start, os.SEEK_HOLE)
        at = m.find(b"/dev/sda1 ", start, end)
        while at >= 0:
            m[at + 5:at + 6] = b"v"
            at = m.find(b"/dev/sda1 ", at, end)
        start = end
X
    boot_until "SeaBIOS boots Debian from virtio-blk to the login prompt" 240 'rhea-guest login:' -m 1G \
        -drive "if=none,id=d,file=$work/big.img,format=raw,snapshot=on" -device virtio-blk-pci,drive=d,bootindex=1
fi
finish
