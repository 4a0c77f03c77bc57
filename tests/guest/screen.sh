#!/usr/bin/env bash
# The kernel's cirrus and bochs drivers: what a guest writes to its frame buffer is on the screen,
# pixel by pixel; and the BIOS's text screen.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest installer-amd64-kernel 2>/dev/null) &&
    media=$(scripts/fetch-guest installer-amd64-initrd 2>/dev/null) &&
    initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?

# The drivers come from the installer; the picture is noise that we make here.
over=$work/over
mkdir -p "$over" "$work/mod"
(cd "$work/mod" && zcat "$media" | cpio -idm --quiet 'lib/modules/*/kernel/drivers/gpu/drm/*') 2>/dev/null
for m in drm drm_kms_helper drm_shmem_helper cirrus ttm drm_ttm_helper drm_vram_helper bochs; do
    find "$work/mod" -name "$m.ko" -exec cp {} "$over/" \;
done
python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(5).randbytes(1024 * 768 * 4))' >"$over/noise"
cat >"$over/show" <<'X'
#!/bin/sh
for m in drm drm_kms_helper drm_shmem_helper cirrus ttm drm_ttm_helper drm_vram_helper bochs; do insmod /$m.ko 2>/dev/null; done
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e /dev/fb0 ] && break; sleep 1; done
printf '\033[?25l' >/dev/tty0
for v in /sys/class/vtconsole/vtcon*; do echo 0 >$v/bind; done 2>/dev/null
cd /sys/class/graphics/fb0 || exit 1
cat /noise >/dev/fb0 2>/dev/null
sleep 2
echo "SHOWN $(cat virtual_size) $(cat bits_per_pixel) $(cat stride)"
sleep 100
X
chmod +x "$over/show"
cat "$initrd" >"$work/initrd"
(cd "$over" && find . | cpio -o -H newc --quiet | gzip -1) >>"$work/initrd"

cat >"$work/compare.py" <<'X'
import re, sys
ppm, noise, log = (open(f, "rb").read() for f in sys.argv[1:4])
w, h, bits, stride = map(int, re.search(rb"SHOWN (\d+),(\d+) (\d+) (\d+)", log).groups())
head = re.match(rb"P6\n(\d+) (\d+)\n255\n", ppm)
if (w, h) != tuple(map(int, head.groups())):
    sys.exit(f"the guest has {w}x{h}, the picture is {head.groups()}")
pix, bad, size = ppm[head.end():], 0, bits // 8
for y in range(h):
    for x in range(w):
        at = y * stride + x * size
        if at + size > len(noise):
            break
        v = int.from_bytes(noise[at:at + size], "little")
        if bits == 16:  # five and six bits fill eight: 0 is 0, all ones is 255
            want = (v >> 11) * 255 / 31, (v >> 5 & 63) * 255 / 63, (v & 31) * 255 / 31
        else:
            want = v >> 16 & 255, v >> 8 & 255, v & 255
        have = pix[(y * w + x) * 3:(y * w + x) * 3 + 3]
        bad += any(abs(a - b) > (0.99 if bits == 16 else 0) for a, b in zip(have, want))
print(f"{w}x{h}, {bits} bits: {bad} pixels differ")
sys.exit(bad != 0)
X

mon() { # socket, command…: sends them, one a second
    python3 - "$@" <<'X'
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
for c in sys.argv[2:]:
    s.sendall(c.encode() + b"\n")
    time.sleep(3)
X
}

for vga in cirrus std; do
    log=$work/$vga.log sock=$work/$vga.sock t0=$SECONDS
    : >"$log"
    "$rhea" -display none -nodefaults -m 256 -vga $vga -serial "file:$log" -monitor "unix:$sock,server=on,wait=off" \
        -kernel "$kernel" -initrd "$work/initrd" -append "console=ttyS0 quiet rhea.run=/show" </dev/null >"$work/$vga.err" 2>&1 &
    pid=$!
    while [ $((SECONDS - t0)) -lt 300 ] && kill -0 $pid 2>/dev/null && ! grep -aq SHOWN "$log"; do sleep 0.5; done
    mon "$sock" "screendump $work/$vga.ppm" quit
    wait $pid
    python3 "$work/compare.py" "$work/$vga.ppm" "$over/noise" "$log" >>"$work/$vga.err" 2>&1
    rc=$?
    result "-vga $vga shows what the guest's driver draws: $(grep -a differ "$work/$vga.err")" $rc "$work/$vga.err"
done
finish
