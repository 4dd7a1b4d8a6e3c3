#!/bin/sh
# Builds guest.bin, here or in the folder given: ./build.sh [folder]
# Needs a RISC-V compiler, Debian's gcc-riscv64-linux-gnu or the one in CROSS.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "${1:-$here}" && pwd)
cross=${CROSS:-riscv64-linux-gnu-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here/src"
"${cross}gcc" -march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany -Os -Wall -Wextra -Werror \
	-ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
	-nostdlib -static -no-pie -Wl,--build-id=none -Wl,--no-warn-rwx-segments -Wl,-T,guest.ld \
	-o "$work/guest.elf" start.S main.c board.c virtio.c disk.c cd.c text.c
"${cross}objcopy" -O binary "$work/guest.elf" "$out/guest.bin"
