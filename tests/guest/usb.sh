#!/usr/bin/env bash
# USB in Linux (uhci_hcd, usbhid, usb_storage, ftdi_sio of Debian's kernel): the tablet's pointer at the
# corners, by monitor and by VNC, keys, a disk read and written, a serial port, unplugging; and in
# SeaBIOS: the keyboard, and boot from a disk.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest kernel 2>"$work/get.log") && modules=$(scripts/fetch-guest usb-modules 2>>"$work/get.log") &&
    initrd=$(scripts/fetch-guest initramfs 2>>"$work/get.log")
result "kernel, modules and initramfs are there" $? "$work/get.log"
# The guest says what it finds and shows all input events as hexadecimal bytes.
cat >"$work/job" <<'SH'
for m in $(cat /usb/order); do insmod /usb/$m.ko; done
while ! [ -e /dev/sda -a -e /dev/ttyUSB0 -a -e /dev/input/event3 ]; do sleep 1; done
grep -E 'Name=|Handlers' /proc/bus/input/devices
dd if=/dev/sda bs=64k of=/tmp/d
md5sum /tmp/d
dd if=/tmp/d of=/dev/sda bs=512 seek=8192 count=3000 conv=fsync
stty -F /dev/ttyUSB0 115200 raw -echo
cat /dev/ttyUSB0 &
echo over-usb >/dev/ttyUSB0
for i in 1 2 3; do
    while e=$(dd bs=24 count=1 2>/dev/null | hexdump -v -e '24/1 "%02x"'); do echo "EV$i $e"; done </dev/input/event$i &
done
echo READY
while [ -e /dev/sda ]; do sleep 1; done
echo GONE
while ! [ -e /dev/sda -o -e /dev/sdb ]; do sleep 1; done
echo BACK
sleep 4
SH
(cd "$work" && echo job | cpio -o -H newc --quiet | gzip) | cat "$initrd" "$modules" - >"$work/initrd"
cat >"$work/guest.py" <<'PY'
import os, re, signal, socket, struct, subprocess, sys, time
work, rhea, kernel = sys.argv[1:4]
n = bad = 0
def result(name, ok, why=''):
    global n, bad
    n += 1; bad += not ok
    print('%s %d - %s' % ('ok' if ok else 'not ok', n + 1, name), flush=True)
    if not ok: print('\n'.join('# ' + l for l in str(why).splitlines()[-15:]), flush=True)
disk = os.urandom(8 << 20); open(work + '/disk', 'wb').write(disk)
log = work + '/serial'
p = subprocess.Popen([rhea, '-m', '512', '-nodefaults', '-vga', 'std', '-display', 'none', '-no-reboot', '-serial', 'file:' + log,
    '-vnc', 'unix:' + work + '/vnc', '-monitor', 'unix:%s/mon,server=on,wait=off' % work, '-usb',
    '-usbdevice', 'tablet', '-device', 'usb-kbd,id=kbd', '-device', 'usb-mouse,id=mouse', '-drive', 'if=none,id=d0,format=raw,file=%s/disk' % work,
    '-device', 'usb-storage,drive=d0,id=stick', '-chardev', 'socket,id=c,server=on,wait=off,path=%s/chr' % work,
    '-device', 'usb-serial,chardev=c', '-kernel', kernel, '-initrd', work + '/initrd', '-append', 'console=ttyS0 quiet rhea.run=sh,/job'],
    stdin=subprocess.DEVNULL, stderr=open(work + '/err', 'w'))
def text(): return open(log, errors='replace').read() if os.path.exists(log) else ''
def wait(pattern, secs=60, start=0):
    t = time.time()
    while time.time() - t < secs:
        m = re.search(pattern, text()[start:], re.S)
        if m: return m
        if p.poll() is not None: break
        time.sleep(0.2)
    return None
def connect(path):
    for _ in range(100):
        try:
            s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(work + path); return s
        except OSError: time.sleep(0.1)
    sys.exit('cannot connect to ' + path)
mon = connect('/mon')
def prompt():
    b = b''
    while not b.endswith(b'(rhea) ') and not b.endswith(b'(qemu) '): b += mon.recv(4096)
    return b.decode(errors='replace')
def hmp(line): mon.sendall(line.encode() + b'\n'); return prompt()
prompt()
chr_ = connect('/chr')
result('Linux finds all devices', wait('READY', 80), text() + open(work + '/err').read())
import hashlib
result('the disk reads right', hashlib.md5(disk).hexdigest() in text(), text())
new = open(work + '/disk', 'rb').read()
result('and is written right', new == disk[:8192*512] + disk[:3000*512] + disk[(8192+3000)*512:])
got = b''
try:
    while b'over-usb\n' not in got: got += chr_.recv(100)
except OSError: pass
result('the serial port sends', b'over-usb\n' in got, got)
at = len(text()); chr_.sendall(b'to-the-guest\n')
result('and receives', wait('to-the-guest', 10, at), text()[at:])
event = {}
for m in re.finditer(r'Name="([^"]*)"\s+H: Handlers=[^\n]*event(\d)', text()): event[m.group(1)] = m.group(2)
tablet, kbd, mouse = (event.get('Rhea USB ' + x) for x in ('Tablet', 'Keyboard', 'Mouse'))
result('all input devices have event files', tablet and kbd and mouse, event)
# struct input_event of 64-bit Linux: time, type, code, value.
def events(dev, start):
    out = []
    for m in re.finditer('EV%s ([0-9a-f]{48})' % dev, text()[start:]):
        out.append(struct.unpack('<HHi', bytes.fromhex(m.group(1))[16:]))
    return out
def until(dev, start, want, secs=15):
    t = time.time()
    while time.time() - t < secs:
        if all(w in events(dev, start) for w in want): return True
        time.sleep(0.1)
    return False
result('info mice shows the tablet or the mouse as the active one', 'USB' in re.search(r'\* Mouse #\d+: ([^\r\n]*)', hmp('info mice')).group(1))
number = re.search(r'#(\d+): USB Tablet', hmp('info mice')).group(1)
result('mouse_set takes the tablet', 'Error' not in hmp('mouse_set ' + number) and '* Mouse #%s: USB Tablet (absolute)' % number in hmp('info mice'))
pos = [5, 5]
def corner(move, x, y, slack):
    at = len(text()); move(x, y); t = time.time()
    while time.time() - t < 15:
        for kind, code, val in events(tablet, at):
            if kind == 3 and code < 2: pos[code] = val
        if abs(pos[0] - x) <= slack and abs(pos[1] - y) <= slack: return True
        time.sleep(0.1)
    return False
M = 32767
corners = ((M, M), (0, M), (0, 0), (M, 0), (12345, 23456))
result('mouse_move puts the pointer exactly there', all([corner(lambda x, y: hmp('mouse_move %d %d' % (x, y)), *c, 0) for c in corners]), pos)
v = connect('/vnc')
def take(k):
    b = b''
    while len(b) < k: b += v.recv(k - len(b))
    return b
take(12); v.sendall(b'RFB 003.008\n'); take(2); v.sendall(b'\1'); take(4); v.sendall(b'\1')
w, h = struct.unpack('>HH', take(4)); take(16); take(struct.unpack('>I', take(4))[0])
v.sendall(struct.pack('>BBHi', 2, 0, 1, -257)) # pointer type change
def vnc(x, y): v.sendall(struct.pack('>BBHH', 5, 0, round(x * (w - 1) / M), round(y * (h - 1) / M)))
result('a VNC client reaches all corners within a pixel', all([corner(vnc, *c, M // (h - 1) + 1) for c in corners]), pos)
at = len(text()); hmp('mouse_button 1'); hmp('mouse_button 0')
result('a click comes as press and release', until(tablet, at, [(1, 272, 1), (1, 272, 0)]), events(tablet, at))
at = len(text()); hmp('sendkey shift-a')
result('keys come from the USB keyboard', until(kbd, at, [(1, 42, 1), (1, 30, 1), (1, 30, 0), (1, 42, 0)]), events(kbd, at))
hmp('mouse_set ' + re.search(r'#(\d+): USB Mouse', hmp('info mice')).group(1))
at = len(text()); hmp('mouse_move 300 -20')
def moved():
    e = events(mouse, at); return sum(x for k, c, x in e if (k, c) == (2, 0)), sum(x for k, c, x in e if (k, c) == (2, 1))
t = time.time()
while moved() != (300, -20) and time.time() - t < 15: time.sleep(0.1)
result('the mouse moves as far as it was told', moved() == (300, -20), moved())
result('device_del takes the disk away', 'Error' not in hmp('device_del stick') and wait('GONE', 30) and 'stick' not in hmp('info usb'), text())
hmp('drive_add 0 if=none,id=d1,format=raw,file=%s/disk' % work)
result('device_add brings one', 'Error' not in hmp('device_add usb-storage,drive=d1,id=two') and wait('BACK', 40) and 'ID: two' in hmp('info usb'), hmp('info usb'))
out = hmp('usb_add tablet') + hmp('usb_del 0.99')
result('usb_add adds, usb_del says what it does not know', 'there is no USB device' in out and hmp('info usb').count('USB Tablet') == 2, out)
wait('reboot: Power down', 20)
try: rc = p.wait(20)
except subprocess.TimeoutExpired: p.kill(); rc = 'killed'
result('the guest powers off', rc == 0, rc)
open(work + '/count', 'w').write('%d %d' % (n + 1, bad))
PY
python3 "$work/guest.py" "$work" "$rhea" "$kernel"
[ -e "$work/count" ] && read -r n bad <"$work/count"
result "the session ran to its end" $([ -e "$work/count" ]; echo $?)

# SeaBIOS: a boot sector on a USB disk says so on the serial port, then echoes a key of the USB keyboard.
python3 - "$work/boot.img" <<'PY'
import sys
# Assembled by hand: org 7c00h
c = bytearray()
def b(h): c.extend(bytes.fromhex(h))
b('31c08ed8'); b('be307c')            # ds = 0, si = text
b('ac'); b('84c0'); b('7405')         # 7c07 lodsb; test al,al; jz 7c11
b('e80f00'); b('ebf6')                # 7c0c call 7c1e; jmp 7c07
b('b400'); b('cd16'); b('e80600')     # 7c11 wait for a key; 7c15 call 7c1e
b('ebf7'); b('90909090')              # 7c18 jmp 7c11
b('bafd03'); b('50'); b('ec'); b('a820'); b('74fb'); b('58'); b('baf803'); b('ee'); b('c3') # 7c1e send al
assert len(c) <= 0x30, hex(len(c))
c += bytes(0x30 - len(c)) + b'USB-BOOT\n\0'
open(sys.argv[1], 'wb').write(c + bytes(510 - len(c)) + b'\x55\xaa' + bytes(1 << 20))
PY
"$rhea" -display none -nodefaults -serial "file:$work/bios" -monitor "unix:$work/mon2,server=on,wait=off" -usb -usbdevice keyboard \
    -drive "if=none,id=d,format=raw,file=$work/boot.img" -device usb-storage,drive=d,bootindex=0 >"$work/err2" 2>&1 </dev/null &
pid=$!
for _ in $(seq 40); do grep -aq USB-BOOT "$work/bios" && break; sleep 0.5; done
grep -aq USB-BOOT "$work/bios"
result "SeaBIOS boots from the USB disk" $? "$work/err2"
python3 - "$work/mon2" <<'PY'
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(10)
for k in 'x', 'shift-y', 'z': s.sendall(b'sendkey ' + k.encode() + b'\n'); time.sleep(1)
s.sendall(b'quit\n')
PY
wait $pid
grep -aq xYz "$work/bios"
result "and hears the USB keyboard" $? "$work/bios"
finish
