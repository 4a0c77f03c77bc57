#!/usr/bin/env bash
# A whole boot in lockstep: each translated block is compared with the IR interpreter.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
sock=$work/mon
"$rhea" -m 256 -display none -nodefaults -serial "file:$work/check.log" -accel jit,mode=check -kernel "$kernel" -initrd "$initrd" \
    -append "console=ttyS0 quiet" -monitor "unix:$sock,server=on,wait=off" >"$work/err" 2>&1 &
pid=$!
for _ in $(seq 1200); do grep -q RHEA-GUEST-UP "$work/check.log" 2>/dev/null && break; kill -0 $pid 2>/dev/null || break; sleep 0.5; done
grep -q RHEA-GUEST-UP "$work/check.log"
result "boot with mode=check reaches user space" $? "$work/check.log"
checked=$(python3 - "$sock" <<"P"
import socket, sys, re
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(5)
def until():
    d = b""
    while not d.rstrip().endswith(b"(qemu)"):
        d += s.recv(65536)
    return d.decode()
until(); s.sendall(b"info jit\n")
print(re.search(r"(\d+)  blocks checked", until()).group(1))
P
)
echo "# $checked blocks were compared"
[ "${checked:-0}" -gt 100000 ]
result "more than 100000 blocks were compared" $?
kill $pid; wait $pid
boot "boot with mode=interp" 300 'RHEA-GUEST-STATUS 0' -m 256 -accel jit,mode=interp -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 quiet rhea.run=true"
finish
