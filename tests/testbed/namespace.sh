# SPDX-License-Identifier: Apache-2.0
#
# namespace.sh ROOT [ARGUMENT...] is the first process of a mount and a process
# namespace of its own. It lets libvirtd, called with the arguments, see the
# folders of ROOT where it looks for its own, and does what comes on standard
# input, a line each:
#
#   start     start libvirtd
#   SIGNAL    send it to libvirtd and wait for its end
#
# and answers each with a line. When standard input ends, so does it, and with
# it the kernel ends all that runs in the namespace: libvirtd and the guests.
# bash, because the first process has to collect the dead, which dash does not.

set -eu
root=$1
shift

mount --make-rprivate /
mount -t proc proc /proc

# What somebody else mounted stays busy for as long as it is mounted here.
while read -r _ _ _ _ point _ rest; do
    case ${rest#*- } in
    fuse* | *" /dev/loop"*) umount -l -i -c "$(printf %b "$point")" 2>/dev/null || true ;;
    esac
done < <(cat /proc/self/mountinfo)

# libvirtd looks these up even where its configuration names others.
{ cat /etc/passwd; echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin'; } >"$root/passwd"
{ cat /etc/group; echo 'libvirt-qemu:x:64055:'; echo 'libvirt:x:64056:'; } >"$root/group"
mount --bind "$root/passwd" /etc/passwd
mount --bind "$root/group" /etc/group

for pair in etc=/etc lib=/var/lib run=/run log=/var/log cache=/var/cache; do
    mkdir -p "${pair#*=}/libvirt"
    mount --bind "$root/${pair%%=*}" "${pair#*=}/libvirt"
done

[ ! -e "$root/setup.sh" ] || . "$root/setup.sh"

echo ready
while read -r what; do
    case $what in
    start)
        /usr/sbin/libvirtd --pid-file "$root/run/libvirtd.pid" "$@" </dev/null >>"$root/libvirtd.log" 2>&1 &
        libvirtd=$!
        ;;
    *)
        kill "-$what" "$libvirtd" 2>/dev/null || true
        wait "$libvirtd" || true
        ;;
    esac
    echo done
done
