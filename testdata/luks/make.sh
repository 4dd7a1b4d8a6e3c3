#!/bin/sh
# Makes the images of this directory with qemu-img and cryptsetup, and contents.txt, which
# has for each the SHA-256 of the disk as qemu-img reads it, or, as that does not read version
# 2, of the disk before it was encrypted. Keys are short so that key slots are, and the images
# are packed: seven of eight slots are empty.
set -eu
cd "$(dirname "$0")"
rm -f ./*.gz contents.txt
password='correct horse battery staple'
printf %s "$password" >key.tmp
secret="secret,id=s,file=key.tmp"

qemu-img create -q --object "$secret" -f luks \
	-o key-secret=s,iter-time=10,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv qemu.luks 64k
truncate -s 2M cryptsetup.luks
cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 --cipher aes-xts-plain64 --key-size 256 \
	--key-file key.tmp cryptsetup.luks 2>/dev/null
# cryptsetup fills empty slots with noise: all that comes after slot 0, 250 sectors from 8 on.
dd if=/dev/zero of=cryptsetup.luks bs=512 seek=264 count=1792 conv=notrunc status=none
truncate -s "$(($(cryptsetup luksDump cryptsetup.luks | awk '/Payload offset/ { print $3 }') * 512 + 65536))" cryptsetup.luks

for f in *.luks; do
	opts="driver=luks,key-secret=s,file.filename=$f"
	qemu-io --object "$secret" --image-opts "$opts" -c 'write -P 1 0 64k' -c 'write -P 2 1000 3000' >/dev/null
	qemu-img convert --object "$secret" --image-opts "$opts" -O raw out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f.gz"
done >contents.txt

# cryptsetup encrypts a disk of 64 KiB as LUKS version 2. It needs room for the header at the
# end, which is cut off again; and the noise between the key slot, which ends at 163840, and
# the disk, at 512 KiB, is cleared.
opts="driver=raw,file.filename=luks2.luks"
truncate -s 1088K luks2.luks
qemu-io --image-opts "$opts" -c 'write -P 1 0 64k' -c 'write -P 2 1000 3000' >/dev/null
head -c 64K luks2.luks >out.tmp
echo "$(sha256sum <out.tmp | cut -d' ' -f1) luks2.luks.gz" >>contents.txt
cryptsetup -q reencrypt --encrypt --type luks2 --reduce-device-size 1M --luks2-keyslots-size 256k --key-size 256 \
	--sector-size 4096 --pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4 \
	--key-file key.tmp luks2.luks 2>/dev/null
dd if=/dev/zero of=luks2.luks bs=4096 seek=40 count=88 conv=notrunc status=none
truncate -s 576K luks2.luks
gzip -9n ./*.luks
rm ./*.tmp
