#!/usr/bin/env bash
# GRUB's rescue medium from CD (El Torito), from disk and from floppy, by the BIOS.
. "$(dirname "$0")/lib.sh.inc"
dir=/usr/lib/grub-rescue
[ -e $dir/grub-rescue-cdrom.iso ]
result "package grub-rescue-pc is installed" $?
screen() { # name, drive option, file: boots with a VGA screen, reads the text memory by the monitor
    local log=$work/$n.log sock=$work/mon$n pid rc=1
    "$rhea" -m 128 -display none -vga std -serial none -monitor "unix:$sock,server=on,wait=off" "$2" "$3" </dev/null >"$work/$n.err" 2>&1 &
    pid=$!
    for _ in $(seq 60); do
        sleep 0.5
        # Characters are every other byte of the text memory.
        python3 - "$sock" >"$log" 2>&1 <<'P' || continue
import socket, sys, re
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(2)
def until():
    d = b''
    while not d.rstrip().endswith(b'(qemu)'):
        d += s.recv(65536)
    return d
until(); s.sendall(b'xp /2000hx 0xb8000\n'); d = until().decode(errors='replace')
print(''.join(chr(int(w, 16) & 0x7f) for w in re.findall(r'0x([0-9a-f]{4})\b', d)))
P
        if grep -q 'GNU GRUB' "$log"; then rc=0; break; fi
    done
    kill $pid 2>/dev/null; wait $pid
    cat "$work/$n.err" >>"$log"
    result "$1" $rc "$log"
}
screen "CD" -cdrom $dir/grub-rescue-cdrom.iso
cp $dir/grub-rescue-usb.img "$work/usb.img"
screen "disk" -hda "$work/usb.img"
cp $dir/grub-rescue-floppy.img "$work/floppy.img"
screen "floppy" -fda "$work/floppy.img"
finish
