#!/usr/bin/env bash
# Unpacks Debian's kernel for amd64 (linux-image-cloud-amd64) below the user's cache, and prints
# the directory where these are:
#
#   vmlinuz   the kernel
#   nbd.ko    its NBD client
#
# Nothing is installed: the kernel boots in guests only. The second call finds what the first has
# made.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/qmon
result=$cache/debian-amd64
if [ ! -e "$result" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/unpack.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	cd "$work"
	package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p')
	apt-get download -qq -o APT::Sandbox::User=root "$package" >&2
	dpkg-deb -x ./*.deb .
	mkdir out
	mv boot/vmlinuz-* out/vmlinuz
	mv lib/modules/*/kernel/drivers/block/nbd.ko out/
	mv out "$result"
fi
echo "$result"
