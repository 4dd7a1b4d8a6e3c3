#!/bin/sh
# Makes the encrypted images of this directory with qemu-img, and contents.txt, which has for
# each the SHA-256 of the disk as qemu-img reads it. The key of the LUKS header is short, so
# that its slots are; seven of eight are empty, which packs well.
set -eu
cd "$(dirname "$0")"
rm -f ./*.gz contents.txt
secret="secret,id=s,data=correct horse battery staple"

make() { # NAME FORMAT OPTIONS. QEMU fails now and then where the machine is busy.
	until qemu-img create -q --object "$secret" -f "$2" -o "encrypt.key-secret=s,$3" "$1" 256k; do :; done
}
make luks.qcow2 qcow2 cluster_size=4k,encrypt.format=luks,encrypt.iter-time=100,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv
make aes.qcow2 qcow2 cluster_size=4k,encrypt.format=aes
make aes.qcow qcow encrypt.format=aes

for f in *.qcow*; do
	opts="driver=${f#*.},encrypt.key-secret=s,file.filename=$f"
	qemu-io --object "$secret" --image-opts "$opts" -c 'write -P 1 0 64k' -c 'write -P 2 1000 3000' -c 'write -P 3 130k 9000' >/dev/null
	qemu-img convert --object "$secret" --image-opts "$opts" -O raw out.tmp
	echo "$(sha256sum <out.tmp | cut -d' ' -f1) $f.gz"
done >contents.txt
gzip -9n ./*.qcow*
rm ./*.tmp
