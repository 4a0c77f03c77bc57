#!/usr/bin/env bash
# GRUB's rescue CD on the screen of a VNC client that is not ours (gtk-vnc's gvnccapture), compared
# with the emulator's own picture; a key pressed by a client written here reaches the guest.
. "$(dirname "$0")/lib.sh.inc"
iso=/usr/lib/grub-rescue/grub-rescue-cdrom.iso
[ -e $iso ]
result "package grub-rescue-pc is installed" $?
"$rhea" -vnc "localhost:40,to=99" -vnc "unix:$work/vnc" -boot d -cdrom $iso \
    -monitor "unix:$work/mon,server=on,wait=off" >"$work/err" 2>&1 </dev/null &
pid=$!
cat >"$work/client.py" <<'PY'
# RFB 3.8, RFC 6143: Raw pictures and keys. client.py SOCKET picture FILE | key KEYSYM
import socket, struct, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])
def take(n):
    b = b''
    while len(b) < n:
        p = s.recv(n - len(b))
        if not p: sys.exit('the server hung up')
        b += p
    return b
assert take(12) == b'RFB 003.008\n'; s.sendall(b'RFB 003.008\n')
assert take(2) == b'\1\1'; s.sendall(b'\1'); assert take(4) == bytes(4); s.sendall(b'\1')
w, h = struct.unpack('>HH', take(4)); take(16); take(struct.unpack('>I', take(4))[0])
if sys.argv[2] == 'key':
    for down in 1, 0: s.sendall(struct.pack('>BBHI', 4, down, 0, int(sys.argv[3], 0)))
# The answer also says that the key was taken.
s.sendall(struct.pack('>BBHi', 2, 0, 1, 0) + struct.pack('>BBHHHH', 3, 0, 0, 0, w, h))
fb = bytearray(w * h * 3); left = w * h
while left > 0:
    for _ in range(struct.unpack('>BBH', take(4))[2]):
        x, y, rw, rh, enc = struct.unpack('>HHHHi', take(12)); assert enc == 0
        d = take(rw * rh * 4); left -= rw * rh
        for j in range(rh):
            row = d[j * rw * 4:(j + 1) * rw * 4]; at = ((y + j) * w + x) * 3
            for c in range(3): fb[at + c:at + rw * 3:3] = row[2 - c::4]
if sys.argv[2] == 'picture':
    open(sys.argv[3], 'wb').write(b'P6\n%d %d\n255\n' % (w, h) + fb)
PY
cat >"$work/mon.py" <<'PY'
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])
def prompt():
    b = b''
    while not b.endswith(b'(rhea) ') and not b.endswith(b'(qemu) '): b += s.recv(4096)
    return b
prompt(); s.sendall(sys.argv[2].encode() + b'\n'); print(prompt().decode(errors='replace'))
PY
mon() { python3 "$work/mon.py" "$work/mon" "$1"; }
lit() { # pixels of a PPM that are not black
    python3 -c 'import sys; d=open(sys.argv[1],"rb").read().split(b"\n",3)[3]; print(sum(map(bool,d[1::3])))' "$1"
}
rc=1
for _ in $(seq 60); do
    sleep 1
    python3 "$work/client.py" "$work/vnc" picture "$work/a.ppm" 2>"$work/py.err" || continue
    # The menu has a bar of a whole line.
    if [ "$(lit "$work/a.ppm")" -gt 20000 ]; then rc=0; break; fi
done
result "the boot menu comes up on a unix socket" $rc "$work/py.err"
mon stop >/dev/null
python3 "$work/client.py" "$work/vnc" picture "$work/a.ppm" && mon "screendump $work/b.ppm" >/dev/null && cmp "$work/a.ppm" "$work/b.ppm"
result "the client's picture is the frame buffer" $?
cat >"$work/same.py" <<'PY'
# A PNG (8 bits a channel, not interlaced) against a PPM.
import struct, sys, zlib
d = open(sys.argv[1], 'rb').read(); at = 8; z = b''
while at < len(d):
    n, kind = struct.unpack('>I4s', d[at:at + 8]); c = d[at + 8:at + 8 + n]; at += n + 12
    if kind == b'IHDR': w, h, depth, colour = struct.unpack('>IIBB', c[:10])
    if kind == b'IDAT': z += c
assert depth == 8 and colour in (2, 6)
bpp = 3 if colour == 2 else 4; raw = zlib.decompress(z); last = bytes(w * bpp); out = bytearray()
for y in range(h):
    f, row = raw[y * (w * bpp + 1)], bytearray(raw[y * (w * bpp + 1) + 1:(y + 1) * (w * bpp + 1)])
    for i in range(len(row)):
        a, b, c = (row[i - bpp], last[i], last[i - bpp]) if i >= bpp else (0, last[i], 0)
        p = a + b - c
        paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        row[i] = row[i] + (0, a, b, (a + b) // 2, paeth)[f] & 255
    last = row
    for i in range(0, len(row), bpp): out += row[i:i + 3]
sys.exit(bytes(out) != open(sys.argv[2], 'rb').read().split(b'\n', 3)[3])
PY
if command -v gvnccapture >/dev/null; then
    display=$(mon "info vnc" | grep -o '127.0.0.1:59[0-9]*' | head -1)
    gvnccapture -q "127.0.0.1:$((${display##*:} - 5900))" "$work/c.png" 2>"$work/cap.err" &&
        python3 "$work/same.py" "$work/c.png" "$work/b.ppm" 2>>"$work/cap.err"
    result "gvnccapture sees the same" $? "$work/cap.err"
else
    n=$((n + 1)); echo "ok $n - gvnccapture # SKIP needs package gvncviewer"
fi
mon cont >/dev/null
python3 "$work/client.py" "$work/vnc" key 0xff54 # Down
sleep 2
mon stop >/dev/null
mon "screendump $work/d.ppm" >/dev/null
# Lines 4 and 5 of 16 pixels: the bar is on the second entry now.
python3 - "$work/b.ppm" "$work/d.ppm" <<'PY'
import sys
def bar(f):
    h, size, _, d = open(f, 'rb').read().split(b'\n', 3); w = int(size.split()[0])
    return [sum(map(bool, d[y * w * 3 + 1:(y + 16) * w * 3:3])) > w * 8 for y in range(0, 400, 16)].index(True)
sys.exit(bar(sys.argv[2]) != bar(sys.argv[1]) + 1)
PY
result "the Down key moves the bar" $?
mon quit >/dev/null 2>&1
wait $pid
result "quit ends it" $? "$work/err"
[ ! -e "$work/vnc" ]
result "the socket is gone" $?
finish
