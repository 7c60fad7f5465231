#!/bin/sh
# Boots this machine's systemd on top of this machine's files, and has it run checks.sh as its only service:
# boot.sh DIRECTORY, as root. DIRECTORY has the packages and the checks, and gets their log.
#
# It has namespaces of its own (mounts, processes, network, cgroups), writes to a file system in memory above `/`, and is
# gone with all it did when it ends.
set -eu
directory=$(realpath "$1")

if [ "${2-}" != inside ]; then
    hierarchy=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    group=$hierarchy/lb-package-test-$$
    mkdir "$group"
    # What was in it may take a moment to end.
    remove_group() {
        for _ in $(seq 50); do
            find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || true
            if [ ! -d "$group" ]; then break; fi
            sleep 0.1
        done
    }
    trap remove_group EXIT
    # The group is the root of what systemd sees of cgroups. The shell that joins it ends; ours stays outside.
    sh -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' sh "$group" \
        timeout --signal KILL 240 unshare --mount --propagation private --pid --fork --kill-child --net --uts --ipc --cgroup \
        sh "$0" "$directory" inside > "$directory/boot.log" 2>&1 || true
    exit 0
fi

memory=$directory/memory
mkdir -p "$memory"
mount -t tmpfs memory "$memory"
root=$memory/root
mkdir "$memory/changes" "$memory/work" "$root"
mount -t overlay root -o "lowerdir=/,upperdir=$memory/changes,workdir=$memory/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sys "$root/sys"
mount -t bpf -o mode=700 bpf "$root/sys/fs/bpf"
mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o ptmxmode=666 pts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs shm "$root/dev/shm"

# Nothing that this machine starts at boot, and no package that was installed before.
find "$root/etc/systemd/system" -mindepth 1 -delete
chroot "$root" dpkg --purge lb > /dev/null 2>&1 || true
# Of machines that are images of containers: it forbids packages to start their services.
rm -f "$root/usr/sbin/policy-rc.d"
mkdir "$root/package-test"
mount --bind "$directory" "$root/package-test"
cat > "$root/etc/systemd/system/package-test.service" <<EOF
[Service]
Type=oneshot
ExecStart=/bin/sh /package-test/checks.sh
ExecStopPost=/bin/systemctl exit
StandardOutput=append:/package-test/log
StandardError=append:/package-test/log
EOF
# Not by chroot: services could have no mounts of their own then.
mkdir "$root/outside"
cd "$root"
pivot_root . outside
umount --lazy /outside
rmdir /outside
exec env -i container=lb PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    --unit=package-test.service --log-target=journal --show-status=no
