#!/usr/bin/env bash
# savevm in the middle of a guest's compile job; loadvm three times: the job ends right each time.
. "$(dirname "$0")/lib.sh.inc"
if [ "$(id -u)" != 0 ] || [ ! -e /dev/loop-control ]; then
    echo "ok 1 - savevm # SKIP making the disk needs root and loop devices"
    echo 1..1
    exit 0
fi
disk=$(scripts/fetch-guest debian-disk 2>"$work/make.log")
result "the disk is there" $? "$work/make.log"
img=$work/disk.qcow2 log=$work/serial.log sock=$work/mon
"$(dirname "$rhea")/rhea-img" create -q -f qcow2 -b "$disk" -F raw "$img"
"$rhea" -m 512 -smp 2 -display none -nodefaults -no-shutdown -serial "file:$log" -monitor "unix:$sock,server=on,wait=off" \
    -drive "file=$img,format=qcow2" </dev/null >"$work/err" 2>&1 &
pid=$!
hmp() { # command: its answer
    python3 - "$sock" "$1" <<'P'
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(120)
def until():
    d = b""
    while not d.rstrip().endswith(b"(qemu)"):
        d += s.recv(65536)
    return d.decode()
until(); s.sendall(sys.argv[2].encode() + b"\n")
print("\n".join(until().replace("\r", "").split("\n")[1:-1]))
P
}
count() {
    local n
    n=$(grep -ac "$1" "$log" 2>/dev/null)
    echo "${n:-0}"
}
wait_for() { # pattern, how often, seconds
    local t0=$SECONDS
    while [ "$(count "$1")" -lt "$2" ] && [ $((SECONDS - t0)) -lt "$3" ] && kill -0 $pid 2>/dev/null; do sleep 0.3; done
    [ "$(count "$1")" -ge "$2" ]
}
wait_for RHEA-WORK-BEGINS 1 200
result "the guest's job has begun" $? "$log"
sleep 2
answer=$(hmp 'savevm busy'); echo "$answer" >"$work/savevm.log"
[ -z "$answer" ]
result "savevm says nothing" $? "$work/savevm.log"
[ "$(count RHEA-DISK-STATUS)" = 0 ]
result "the job was still under way then" $? "$log"
hmp 'info snapshots' >"$work/info.log"; grep -q ' busy ' "$work/info.log"
result "info snapshots lists it" $? "$work/info.log"
wait_for 'RHEA-DISK-STATUS 0' 1 200
result "the job ends right" $? "$log"
for i in 1 2 3; do
    hmp 'loadvm busy' >"$work/load.log"; hmp cont >>"$work/load.log"
    wait_for 'RHEA-DISK-STATUS 0' $((i + 1)) 200
    result "and after loadvm, time $i" $? "$log"
done
sleep 1
hmp 'delvm busy' >"$work/del.log"; hmp quit >/dev/null
wait $pid
result "the emulator ends" $? "$work/err"
qemu-img check "$img" >"$work/check.log" 2>&1
result "qemu-img finds the image sound" $? "$work/check.log"
finish
