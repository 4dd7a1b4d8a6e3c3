#!/usr/bin/env bash
# Builds the Linux guest of the tests from Debian's source packages, cross-compiled for riscv64:
#
#   Image              the kernel (linux-source-6.1, kernel.config)
#   initramfs.cpio.gz  busybox, static, and ./init
#   root.ext4          the same as a disk
#
# and prints the directory where they are. That is below the user's cache, named after what goes
# into it (this script and the files beside it): the second call finds what the first has made.
# What the builds say goes to standard error if one fails.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD

key=$(cat build.sh kernel.config busybox.config init | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qmon
result=$cache/linux-$key
if [ -e "$result" ]; then
	echo "$result"
	exit
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
finish() {
	status=$?
	[ $status = 0 ] || tail -n 40 "$work/log" >&2
	rm -rf "$work"
	exit $status
}
trap finish EXIT
mkdir "$work/out"
export ARCH=riscv CROSS_COMPILE=riscv64-linux-gnu-
export KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=qmon KBUILD_BUILD_HOST=qmon
export SOURCE_DATE_EPOCH=0

# configure FRAGMENT: lines of .config that the fragment has, too, give way to it. It is an error
# if the options do not allow what the fragment asks for.
configure() {
	local keys
	keys=$(grep -o '^CONFIG_[A-Z0-9_]*' "$1" | paste -sd'|')
	{ grep -vE "^(# )?($keys)[= ]" .config; cat "$1"; } >.config.new
	mv .config.new .config
	(yes '' || true) | make oldconfig
	if grep '^CONFIG_.*=[^n]' "$1" | grep -vxFf .config; then
		echo "$1: these lines have no effect"
		return 1
	fi
}

kernel() {
	tar xf /usr/src/linux-source-6.1.tar.xz -C "$work"
	cd "$work/linux-source-6.1"
	make tinyconfig
	configure "$here/kernel.config"
	make -j"$(nproc)" Image
	cp arch/riscv/boot/Image "$work/out/"
}

# source_package PACKAGE unpacks a Debian source package here. It brings an apt list of its own, as most
# machines have none of sources.
source_package() {
	mkdir -p "$work/apt/lists/partial"
	cat >"$work/apt/debian.sources" <<-END
		Types: deb-src
		URIs: http://deb.debian.org/debian
		Suites: bookworm
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
	local options=(-o Dir::Etc::sourcelist="$work/apt/debian.sources" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists="$work/apt/lists" -o APT::Sandbox::User="$(id -un)")
	apt-get "${options[@]}" update
	apt-get "${options[@]}" source "$1"
}

busybox() {
	cd "$work"
	source_package busybox
	cd busybox-*/
	make allnoconfig
	configure "$here/busybox.config"
	make -j"$(nproc)" busybox
	make CONFIG_PREFIX="$work/root" install
}

# images packs what busybox has installed.
images() {
	local root=$work/root
	mkdir -p "$root"/{dev,proc,sys,tmp,mnt,etc}
	cp "$here/init" "$root/init"
	ln -sf ../init "$root/sbin/init"
	(cd "$root" && find . | sort | cpio --quiet -o -H newc -R 0:0 --reproducible | gzip -9n >"$work/out/initramfs.cpio.gz")
	mke2fs -q -t ext4 -L root -E root_owner=0:0 -d "$root" "$work/out/root.ext4" 16M
}

(busybox; images; kernel) >"$work/log" 2>&1
mv -T "$work/out" "$result" 2>/dev/null || [ -e "$result" ] # another one was faster
echo "$result"
