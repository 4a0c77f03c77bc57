#!/usr/bin/env bash
# The guest's clock against the host's over a minute of load: less than 1 % apart.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
log=$work/clock.log
: >"$log"
"$rhea" -display none -nodefaults -no-reboot -serial "file:$log" -kernel "$kernel" -initrd "$initrd" \
    -append "console=ttyS0 quiet rhea.run=echo,MARK1;timeout,60,sh,-c,'while,:;do,:;done';echo,MARK2" >"$work/err" 2>&1 &
pid=$!
wait_for() { # pattern, seconds; sets stamp in ns
    local t0=$SECONDS
    while ! grep -q "$1" "$log"; do
        [ $((SECONDS - t0)) -gt "$2" ] && return 1
        sleep 0.02
    done
    stamp=$(date +%s%N)
}
wait_for MARK1 60 && a=$stamp && wait_for MARK2 120 && b=$stamp
rc=$?
[ $rc = 0 ] && ms=$(((b - a) / 1000000)) && echo "# 60 s of the guest took $ms ms of the host" && [ $ms -gt 59400 ] && [ $ms -lt 60600 ]
result "60 s of load in the guest are 60 s" $? "$log"
kill $pid 2>/dev/null
wait $pid
finish
