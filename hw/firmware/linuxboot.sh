#!/bin/sh
# Assembles linuxboot.S; prints linuxboot-rom.h. Usage: hw/firmware/linuxboot.sh >…/linuxboot-rom.h
set -eu
dir=$(dirname "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
as --32 -o "$tmp/rom.o" "$dir/linuxboot.S"
objcopy -O binary -j .text "$tmp/rom.o" "$tmp/rom.bin"
if [ "${1:-}" = --binary ]; then
    cat "$tmp/rom.bin"
    exit
fi
echo "/* Made by hw/firmware/linuxboot.sh from linuxboot.S. */"
echo "#ifndef RHEA_HW_FIRMWARE_LINUXBOOT_ROM_H"
echo "#define RHEA_HW_FIRMWARE_LINUXBOOT_ROM_H"
echo
echo "#include <stdint.h>"
echo
echo "/* clang-format off */"
echo "static const uint8_t linuxboot_rom[] = {"
od -An -v -tx1 "$tmp/rom.bin" | sed 's/ \([0-9a-f][0-9a-f]\)/ 0x\1,/g; s/^ /    /'
echo "};"
echo "/* clang-format on */"
echo
echo "#endif"
