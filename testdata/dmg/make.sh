#!/bin/sh
# Makes the images of this directory with python3, in the layout that hdiutil writes, and
# contents.txt, which has for each the SHA-256 of the disk. There is no free program that
# writes the format; dmg2img and 7z read all of these, which the tests verify. LZFSE needs
# lzfse, the command of Apple's reference implementation (github.com/lzfse/lzfse).
set -eu
cd "$(dirname "$0")"
rm -f ./*.dmg contents.txt
exec python3 make.py
