#!/usr/bin/env bash
# Options that reach the guest or are refused: SMBIOS fields in Linux, -d in_asm, one sentence and
# status 1 for what cannot be done.
. "$(dirname "$0")/lib.sh.inc"
kernel=$(scripts/fetch-guest cloud-kernel 2>/dev/null) && initrd=$(scripts/fetch-guest initramfs 2>/dev/null)
result "guest files are there" $?
dmi=/sys/class/dmi/id
boot "Linux sees -smbios" 90 'R-4711.*Thing.*Plank.*GuestVendor' -m 256 -kernel "$kernel" -initrd "$initrd" \
    -smbios type=0,vendor=GuestVendor -smbios type=1,serial=R-4711,product=Thing -smbios type=2,product=Plank \
    -append "console=ttyS0 quiet rhea.run=echo,\$(cat,$dmi/product_serial,$dmi/product_name,$dmi/board_name,$dmi/bios_vendor)"

log=$work/asm.log
"$rhea" -display none -nodefaults -d in_asm,out_asm -D "$log" </dev/null >"$work/err" 2>&1 &
pid=$!
for _ in $(seq 100); do
    [ "$(grep -c ^OUT "$log" 2>/dev/null || true)" -gt 2 ] 2>/dev/null && break
    sleep 0.1
done
kill $pid
wait $pid
# A BIOS starts at FFFFFFF0h by a far jump to F000:E05B, which IBM's had, too.
grep -q '^0xfffffff0: .* ljmpw \$0xf000:\$0xe05b' "$log"
result "-d in_asm disassembles the guest's code" $? "$work/err"
grep -qE '^  [0-9a-f]+  (mov|jmp|call) ' "$log"
result "-d out_asm disassembles the host's code" $? "$work/err"

# SeaBIOS says how long it waits; without the option it does not start again.
boot_until "-boot reboot-timeout" 60 'Retrying in 7 seconds' -boot reboot-timeout=7000 \
    -vga none -nographic
boot_until "no reboot without it" 60 'No bootable device\.[^R]*$' -vga none -nographic

refused() { # PATTERN ARGS…
    local pattern=$1
    shift
    timeout 20 "$rhea" -display none -nodefaults "$@" </dev/null >"$work/out" 2>&1
    [ $? = 1 ] && [ "$(wc -l <"$work/out")" = 1 ] && grep -q -- "$pattern" "$work/out"
    result "refused: $*" $? "$work/out"
}
refused "no device 'nosuch'" -global nosuch.x=1
refused "no property 'nosuch'" -global e1000.nosuch=1
refused "address like" -global driver=e1000,property=mac,value=zz
refused "type 0, 1, 2, 3, 4, 11 and 17" -smbios type=9,x=1
refused "one of file= and string=" -fw_cfg name=opt/x
refused "already" -fw_cfg name=etc/e820,string=a
refused "cpu-pm=on" -overcommit cpu-pm=on
refused "neither JPEG nor BMP" -boot splash=/etc/passwd
refused "named twice" -boot cc
refused "vmport=on" -machine vmport=on
refused "no device tree" -dtb /etc/passwd
refused "^2[-0-9T:.]*Z hugo " -msg timestamp=on,guest-name=on -name hugo -global nosuch.x=1
finish
