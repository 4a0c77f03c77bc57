#!/usr/bin/env bash
# The window on an X server without a screen (Xvfb): GRUB's menu, a key, closing. And what is done
# where there is no X server.
. "$(dirname "$0")/lib.sh.inc"
iso=/usr/lib/grub-rescue/grub-rescue-cdrom.iso
env -u DISPLAY -u WAYLAND_DISPLAY timeout 2 "$rhea" -S >"$work/default.log" 2>&1 </dev/null
grep -q 'the screen is at VNC 127.0.0.1:59[0-9][0-9]' "$work/default.log"
result "without a screen, VNC is the default and says where" $? "$work/default.log"
env -u DISPLAY -u WAYLAND_DISPLAY -u SDL_VIDEODRIVER timeout 5 "$rhea" -display sdl >"$work/sdl.log" 2>&1 </dev/null
[ $? = 1 ] && grep -q 'no window can be opened\|built without SDL' "$work/sdl.log"
result "-display sdl without a screen is an error" $? "$work/sdl.log"
if [ "$(command -v Xvfb xwd xdotool | wc -l)" != 3 ] || [ ! -e $iso ]; then
    n=$((n + 1)); echo "ok $n - window # SKIP needs packages xvfb x11-apps xdotool grub-rescue-pc"
    finish
    exit
fi
Xvfb -displayfd 3 -screen 0 1024x768x24 3>"$work/display" 2>/dev/null &
xvfb=$!
for _ in $(seq 50); do [ -s "$work/display" ] && break; sleep 0.1; done
export DISPLAY=:$(cat "$work/display")
"$rhea" -boot d -cdrom $iso -monitor "unix:$work/mon,server=on,wait=off" >"$work/err" 2>&1 </dev/null &
pid=$!
cat >"$work/mon.py" <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])
def prompt():
    b = b''
    while not b.endswith(b') '): b += s.recv(4096)
prompt(); s.sendall(sys.argv[2].encode() + b'\n'); prompt()
PY
cat >"$work/same.py" <<'PY'
# A window dump (X11/XWDFile.h, 32 bits a pixel, least significant byte first) against a PPM.
import struct, sys
d = open(sys.argv[1], 'rb').read(); f = struct.unpack('>25I', d[:100])
w, h, line = f[4], f[5], f[12]; at = f[0] + 12 * f[19]; out = bytearray(w * h * 3)
for y in range(h):
    row = d[at + y * line:at + y * line + w * 4]
    for c in range(3): out[y * w * 3 + c:(y + 1) * w * 3:3] = row[2 - c::4]
magic, size, _, p = open(sys.argv[2], 'rb').read().split(b'\n', 3)
sys.exit(size != b'%d %d' % (w, h) or bytes(out) != p or sum(map(bool, p[1::3])) < int(sys.argv[3]))
PY
same() { # name, pixels that must be lit at least
    python3 "$work/mon.py" "$work/mon" stop
    python3 "$work/mon.py" "$work/mon" "screendump $work/s.ppm"
    sleep 0.5
    xwd -silent -id "$window" -out "$work/w.xwd" 2>"$work/x.err" && python3 "$work/same.py" "$work/w.xwd" "$work/s.ppm" "$2" 2>>"$work/x.err"
    result "$1" $? "$work/x.err"
    python3 "$work/mon.py" "$work/mon" cont
}
lit() { # pixels of a PPM that are not black
    python3 -c 'import sys; d=open(sys.argv[1],"rb").read().split(b"\n",3)[3]; print(sum(map(bool,d[1::3])))' "$1"
}
for _ in $(seq 60); do
    sleep 1
    python3 "$work/mon.py" "$work/mon" "screendump $work/s.ppm" 2>/dev/null || continue
    # The menu has a bar of a whole line.
    [ "$(lit "$work/s.ppm")" -gt 20000 ] && break
done
window=$(xdotool search --name '^Rhea' | head -1)
[ -n "$window" ]
result "there is a window" $? "$work/err"
same "it shows the frame buffer" 20000
cp "$work/s.ppm" "$work/first.ppm"
xdotool windowfocus "$window" sleep 0.3 key --delay 100 Down sleep 1
same "and still does after a key" 20000
python3 - "$work/first.ppm" "$work/s.ppm" <<'PY'
import sys
def bar(f):
    h, size, _, d = open(f, 'rb').read().split(b'\n', 3); w = int(size.split()[0])
    return [sum(map(bool, d[y * w * 3 + 1:(y + 16) * w * 3:3])) > w * 8 for y in range(0, 400, 16)].index(True)
sys.exit(bar(sys.argv[2]) != bar(sys.argv[1]) + 1)
PY
result "the Down key moved the bar by one line" $?
python3 "$work/mon.py" "$work/mon" quit 2>/dev/null
wait $pid
result "quit closes it" $? "$work/err"
kill $xvfb
finish
