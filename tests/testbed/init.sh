#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
#
# The first process of a guest: devices, then the guest agent.

/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/sbin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
while read -r module; do insmod "/lib/mod/$module.ko"; done </lib/mod/order

# The agent's port appears a moment after its driver.
for _ in $(seq 50); do
    name=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name 2>/dev/null) && break
    sleep 0.1
done
# A test may put a script /run/hook there, to be slow or to fail.
cat >/etc/fsfreeze-hook <<'END'
#!/bin/sh
echo "$1" >>/run/freezes
[ ! -e /run/hook ] || . /run/hook
END
chmod 755 /etc/fsfreeze-hook
touch /run/freezes
if [ -n "$name" ]; then
    qemu-ga -F/etc/fsfreeze-hook -m virtio-serial -p "/dev/$(basename "$(dirname "$name")")" -t /run -f /run/qemu-ga.pid -v -l /run/qemu-ga.log -d
fi
echo "up: $(uname -r), disks: $(ls /sys/block | tr '\n' ' ')" >/dev/console
while :; do sleep 3600; done
