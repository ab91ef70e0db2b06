#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# image.sh INIT makes vmlinuz and initrd.gz in the current directory, from
# Debian packages that are downloaded and unpacked, not installed. INIT becomes
# the guest's first process.

set -euo pipefail
init=$1

# The order in which the guest loads them.
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci
    scsi_common scsi_mod sd_mod virtio_blk virtio_scsi virtio_console)

mkdir debs unpacked
download() (
    cd debs
    kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
    [ -n "$kernel" ] && apt-get -qq download "$kernel" busybox-static qemu-guest-agent
)
download || { apt-get -qq update && download; }
for deb in debs/*.deb; do dpkg-deb -x "$deb" unpacked; done

mkdir -p initrd/{bin,sbin,proc,sys,dev,mnt,run,etc,tmp,var,usr/sbin,lib/mod,lib64,lib/x86_64-linux-gnu}
ln -s /run initrd/var/run
cp "$init" initrd/init
chmod 755 initrd/init
cp unpacked/bin/busybox initrd/bin/
cp unpacked/usr/sbin/qemu-ga initrd/usr/sbin/
printf '#!/bin/sh\nexec poweroff -f\n' >initrd/sbin/shutdown # what the agent calls
chmod 755 initrd/sbin/shutdown

libraries=$(ldd unpacked/usr/sbin/qemu-ga)
if grep 'not found' <<<"$libraries" >&2; then exit 1; fi
for library in $(grep -oE '/[^ ]+' <<<"$libraries"); do
    case $library in
    /lib64/*) cp -L "$library" initrd/lib64/ ;;
    *) cp -L "$library" initrd/lib/x86_64-linux-gnu/ ;;
    esac
done
for module in "${modules[@]}"; do
    file=$(find unpacked/lib/modules -name "$module.ko")
    if [ -n "$file" ]; then # else it is built in
        cp "$file" initrd/lib/mod/
        echo "$module" >>initrd/lib/mod/order
    fi
done

cp unpacked/boot/vmlinuz-* vmlinuz
(cd initrd && find . | ../unpacked/bin/busybox cpio -o -H newc 2>/dev/null) | gzip -1 >initrd.gz
rm -r debs unpacked initrd
