#!/bin/busybox sh
# The first program of the virtual machine of `cargo xtask test vm`.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
for module in /modules/*; do insmod "$module"; done

# This machine's root, read-only, and a file system in memory that takes what is written.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /lower
mount -t tmpfs memory /upper
mkdir /upper/changes /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/changes,workdir=/upper/work root /system
mount -t proc proc /system/proc
mount -t sysfs sys /system/sys
mount -t bpf bpf /system/sys/fs/bpf
mount -t devtmpfs dev /system/dev
mount -t tmpfs run /system/run

status=0
run() { chroot /system /usr/bin/env --chdir="$directory" "$@" || status=$?; }
echo "lb-vm: started $(uname -r)"
. /programs
echo "lb-vm: ended $status"
poweroff -f
