#!/usr/bin/env bash
# Network cards under Debian's drivers: DHCP, TFTP and a forwarded port on a user mode network.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest installer-amd64-kernel 2>/dev/null) &&
    installer=$(scripts/fetch-guest installer-amd64-initrd 2>/dev/null) &&
    base=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?

# The installer's modules and a script, behind our initramfs.
root=$work/root
mkdir -p "$root/mod" "$work/tftp" "$work/unpack"
(cd "$work/unpack" && zcat "$installer" | cpio -idm --quiet '*/e1000.ko' '*/8139cp.ko' '*/8139too.ko' '*/mii.ko' '*/af_packet.ko' '*/ipv6.ko' 2>/dev/null)
find "$work/unpack" -name '*.ko' -exec cp {} "$root/mod/" \;
head -c 3000000 /dev/urandom >"$work/tftp/file"
sum=$(sha256sum <"$work/tftp/file" | cut -d' ' -f1)
cat >"$root/dhcp.sh" <<'X'
#!/bin/busybox sh
[ "$1" = bound ] && ifconfig "$interface" "$ip" netmask "$subnet" && route add default gw "$router" && echo "LEASE $ip $router $dns"
exit 0
X
cat >"$root/net.sh" <<'X'
for m in af_packet mii "$1"; do [ -e /mod/$m.ko ] && insmod /mod/$m.ko; done
ifconfig lo 127.0.0.1 up
ifconfig eth0 up && udhcpc -i eth0 -n -q -t 10 -s /dhcp.sh || exit 1
echo "SUM $(tftp -g -b 1400 -r file -l - 10.0.2.2 | sha256sum | cut -d' ' -f1)"
ping -c 2 10.0.2.2 >/dev/null && echo PING-OK
echo LISTENING
nc -l -p 80 >/tmp/got
echo "GOT $(sha256sum </tmp/got | cut -d' ' -f1)"
nc -l -p 81 </tmp/got
ifconfig eth0 down && rmmod "$1" && insmod "/mod/$1.ko" && ifconfig eth0 up && udhcpc -i eth0 -n -q -t 10 -s /dhcp.sh >/dev/null && echo RELOAD-OK
X
chmod +x "$root/dhcp.sh"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/net.cpio.gz"
cat "$base" "$work/net.cpio.gz" >"$work/initrd"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

card() { # model driver
    local log=$work/$1-$2.log p1 p2 pid t0=$SECONDS sent=
    p1=$(free_port) p2=$(free_port)
    : >"$log"
    "$rhea" -display none -nodefaults -no-reboot -m 256 -serial "file:$log" -kernel "$kernel" -initrd "$work/initrd" \
        -netdev "user,id=n,tftp=$work/tftp,hostfwd=tcp:127.0.0.1:$p1-:80,hostfwd=tcp:127.0.0.1:$p2-:81" \
        -device "$1,netdev=n" -append "console=ttyS0 quiet rhea.run=sh,/net.sh,$2" </dev/null >"$work/err" 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ $((SECONDS - t0)) -lt 240 ]; do
        if [ -z "$sent" ] && grep -q LISTENING "$log"; then
            sleep 1
            python3 - "$work/tftp/file" "$p1" "$p2" "$work/back-$2" <<'X'
import socket, sys, time
data = open(sys.argv[1], "rb").read()
s = socket.create_connection(("127.0.0.1", int(sys.argv[2])), 60); s.sendall(data); s.close()
for i in range(30):  # until the guest listens on the second port
    time.sleep(2)
    s = socket.create_connection(("127.0.0.1", int(sys.argv[3])), 60); s.settimeout(60)
    got = b""
    try:
        while len(got) < len(data):
            part = s.recv(1 << 16)
            if not part: break
            got += part
    except OSError: pass
    s.close()
    if got: break
open(sys.argv[4], "wb").write(got)
X
            sent=1
        fi
        sleep 0.3
    done
    kill $pid 2>/dev/null
    wait $pid
    cat "$work/err" >>"$log"
    grep -q 'LEASE 10.0.2.15 10.0.2.2 10.0.2.3' "$log"; result "$1 with $2: DHCP" $? "$log"
    grep -q "SUM $sum" "$log"; result "$1 with $2: TFTP" $? "$log"
    grep -q "PING-OK" "$log"; result "$1 with $2: ping" $? "$log"
    grep -q "GOT $sum" "$log"; result "$1 with $2: host to guest by a forwarded port" $? "$log"
    cmp -s "$work/tftp/file" "$work/back-$2"; result "$1 with $2: guest to host" $? "$log"
    grep -q "RELOAD-OK" "$log" && grep -q 'RHEA-GUEST-STATUS 0' "$log"; result "$1 with $2: driver unloaded and loaded again" $? "$log"
}
card e1000 e1000
card rtl8139 8139cp

# Network boot: iPXE from the card's ROM fetches a script, a kernel and an initramfs.
cp "$kernel" "$work/tftp/linux" && cp "$base" "$work/tftp/initrd"
printf '%s\n' '#!ipxe' 'kernel linux console=ttyS0 quiet initrd=initrd rhea.run=true' 'initrd initrd' boot >"$work/tftp/boot.ipxe"
for model in e1000 rtl8139; do
    boot "network boot with $model" 180 'RHEA-GUEST-STATUS 0' -m 256 -boot n -nic "user,model=$model,tftp=$work/tftp,bootfile=boot.ipxe"
done
finish
