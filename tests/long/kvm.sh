#!/usr/bin/env bash
# Debian under KVM, whatever the host's KVM is: to a shell, one CPU and two; a job whose result is
# right although the accelerator changes ten times meanwhile.
. "$(dirname "$0")/../guest/lib.sh.inc"
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    echo "1..0 # SKIP /dev/kvm cannot be opened on this host"
    exit 0
fi
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
linux=(-m 256 -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 rhea.run=true")
boot "Debian's cloud kernel, one CPU" 900 'RHEA-GUEST-STATUS 0' -enable-kvm "${linux[@]}"
boot "Debian's cloud kernel, two CPUs" 900 'RHEA-GUEST-STATUS 0' -enable-kvm -smp 2 "${linux[@]}"
mkfifo "$work/mon"
{ for i in 1 2 3 4 5; do sleep 4; echo "accel jit"; sleep 2; echo "accel kvm"; done; sleep 600; } >"$work/mon" &
feeder=$!
timeout -k 5 900 "$rhea" -display none -nodefaults -no-reboot -serial "file:$work/sw" -enable-kvm -monitor stdio \
    -m 256 -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 rhea.run=sha256sum,/init" <"$work/mon" >"$work/sw.mon" 2>&1
rc=$?
kill $feeder
[ $rc = 0 ] && grep -q 'RHEA-GUEST-STATUS 0' "$work/sw" && ! grep -q Error "$work/sw.mon"
result "ten changes of the accelerator" $? "$work/sw"
finish
