#!/usr/bin/env bash
# KVM: the test kernel by both accelerators, changes of the accelerator while it runs, errors. Needs
# /dev/kvm; what the host's KVM cannot interpret is handed to the translator.
. "$(dirname "$0")/lib.sh.inc"
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    echo "1..0 # SKIP /dev/kvm cannot be opened on this host"
    exit 0
fi
as -o "$work/k.o" tests/guest/kvm-kernel.S && ld -Ttext 0x7c00 --oformat binary -o "$work/k.img" "$work/k.o"
result "the test kernel assembles" $?
run() { # NAME SECONDS ARGS…: the kernel to its end; log in $work/NAME
    local name=$1 limit=$2
    shift 2
    timeout -k 5 "$limit" "$rhea" -m 64 -display none -nodefaults -no-reboot -serial "file:$work/$name" \
        -device isa-debug-exit,iobase=0xf4 -drive "file=$work/k.img,format=raw,if=ide" "$@" </dev/null >"$work/$name.err" 2>&1
    [ $? = 1 ] && grep -q '^end' "$work/$name"
}
run jit 60 -accel jit
result "translated" $? "$work/jit"
run kvm 120 -accel kvm,hybrid=off
result "KVM alone, with hand-overs" $? "$work/kvm"
cmp -s "$work/jit" "$work/kvm"
result "both say the same" $? "$work/kvm"
run auto 120 -enable-kvm -d exec -D "$work/auto.log"
result "KVM and translator together" $? "$work/auto"
cmp -s "$work/jit" "$work/auto"
result "which says the same" $? "$work/auto"
grep -q 'cmpxchg16b 00007777' "$work/kvm"
result "LOCK CMPXCHG16B is done, by whoever can" $? "$work/kvm"

# Firmware reads the disk while the accelerator changes ten times.
mkfifo "$work/mon"
{ sleep 1; for i in 1 2 3 4 5; do echo "accel jit"; sleep 0.2; echo "accel kvm"; sleep 0.2; done; echo "info kvm"; sleep 1; } >"$work/mon" &
timeout -k 5 120 "$rhea" -m 64 -display none -nodefaults -no-reboot -serial "file:$work/sw" -accel kvm,hybrid=off \
    -device isa-debug-exit,iobase=0xf4 -drive "file=$work/k.img,format=raw,if=ide" -monitor stdio <"$work/mon" >"$work/sw.mon" 2>&1
[ $? = 1 ] && cmp -s "$work/jit" "$work/sw" && ! grep -q Error "$work/sw.mon"
result "the accelerator changes while it runs" $? "$work/sw.mon"

# Errors
"$rhea" -accel kvm,kernel-irqchip=on -display none 2>"$work/e"
[ $? = 1 ] && [ "$(wc -l <"$work/e")" = 1 ] && grep -q 'kernel-irqchip' "$work/e"
result "what is not there is refused in one sentence" $? "$work/e"
"$rhea" -accel xen -display none 2>"$work/e"
[ $? = 1 ] && grep -q "no accelerator 'xen'" "$work/e"
result "an unknown accelerator" $? "$work/e"
finish
