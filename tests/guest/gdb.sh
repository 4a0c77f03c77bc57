#!/usr/bin/env bash
# gdb attaches to a kernel before its first instruction, breaks in start_kernel, steps, continues.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
map=$(dirname "$kernel")/$(basename "$kernel" | sed s/vmlinuz/System.map/)
# Debian ships the map in the -dbg package only; the address is then read from the guest itself.
sock=$work/gdb log=$work/serial.log
addr=$(sed -n 's/^\([0-9a-f]*\) [Tt] start_kernel$/0x\1/p' "$map" 2>/dev/null)
if [ -z "$addr" ]; then
    boot "address of start_kernel" 60 ' start_kernel' -m 256 -kernel "$kernel" -initrd "$initrd" \
        -append "console=ttyS0 quiet nokaslr rhea.run=grep,-w,start_kernel,/proc/kallsyms"
    addr=0x$(tr -d '\r' <"$work/1.log" | sed -n 's/^\([0-9a-f]\{16\}\) . start_kernel$/\1/p')
fi
"$rhea" -m 256 -display none -nodefaults -no-reboot -serial "file:$log" -gdb "unix:$sock,server=on,wait=off" -S \
    -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 quiet nokaslr rhea.run=true" >"$work/err" 2>&1 &
pid=$!
sleep 1
timeout 60 gdb -batch -nx -ex 'set architecture i386:x86-64' -ex "target remote $sock" -ex "hbreak *$addr" -ex continue \
    -ex 'echo AT-' -ex 'output/x $rip' -ex 'echo \n' -ex stepi -ex stepi -ex 'echo STEP-' -ex 'output $rip != '"$addr" -ex 'echo \n' \
    -ex delete -ex detach >"$work/gdb.log" 2>&1
grep -qi "AT-$addr" "$work/gdb.log"
result "stops in start_kernel" $? "$work/gdb.log"
grep -q 'STEP-1' "$work/gdb.log"
result "steps" $? "$work/gdb.log"
wait $pid
rc=$?
[ $rc = 0 ] && grep -q 'RHEA-GUEST-STATUS 0' "$log"
result "goes on to the end" $? "$log"
finish
