#!/usr/bin/env bash
# memtest86+, 64- and 32-bit, as -kernel and from its ISO: one pass without errors.
. "$(dirname "$0")/../guest/lib.sh.inc"
done_text='Pass: +[1-9][0-9]* +Errors: 0 '

# The text screen's characters, a line each, asked for on the monitor.
screen_until() { # name, time limit in s, pattern, options…
    local name=$1 limit=$2 pattern=$3 fifo=$work/monitor rc=1 t0=$SECONDS pid
    shift 3
    rm -f "$fifo" "$work/vram" "$work/screen"; mkfifo "$fifo"
    "$rhea" -display none -nodefaults -vga std -monitor stdio "$@" <"$fifo" >"$work/$n.log" 2>&1 &
    pid=$!
    exec 9>"$fifo"
    while [ $((SECONDS - t0)) -lt "$limit" ] && kill -0 $pid 2>/dev/null; do
        echo "pmemsave 0xb8000 4000 $work/vram" >&9
        sleep 2
        [ -s "$work/vram" ] && perl -0777 -pe 's/(.)./$1/gs; s/(.{80})/$1\n/gs; tr/\n -~/?/c' "$work/vram" >"$work/screen"
        if grep -qE "$pattern" "$work/screen" 2>/dev/null; then rc=0; break; fi
    done
    echo quit >&9
    exec 9>&-
    wait $pid
    cat "$work/screen" >>"$work/$n.log"
    result "$name" $rc "$work/$n.log"
}

for bits in x64 ia32; do
    boot_until "$bits as -kernel" 900 "$done_text" -m 32 -kernel /boot/memtest86+$bits.bin -append console=ttyS0,115200
    iso=/usr/lib/memtest86+/memtest86+$bits.iso
    [ -e "$iso" ]
    result "$bits ISO is there" $?
    screen_until "$bits from the ISO" 900 "$done_text" -m 32 -cdrom "$iso"
done
finish
