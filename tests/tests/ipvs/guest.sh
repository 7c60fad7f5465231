#!/bin/sh
# The init of a user-mode Linux whose root is this machine's, read-only. Makes an IPVS director of it and does $TASK:
# has it schedule frames and leaves the connections that it then has in $WORK, or asks its ipvsadm and leaves what that
# says. The kernel's command line sets the variables.
PATH=$UML/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LD_LIBRARY_PATH="$UML/usr/lib/x86_64-linux-gnu:$UML/lib/x86_64-linux-gnu"
box=$UML/bin/busybox

prepare() {
    "$box" mount -t proc proc /proc &&
    "$box" mount -t hostfs -o "$WORK" none /mnt || return
    modules=$(echo "$UML"/usr/lib/uml/modules/*/kernel)
    for module in lib/crc-ccitt net/ipv6/ipv6 net/ipv4/netfilter/nf_defrag_ipv4 net/ipv6/netfilter/nf_defrag_ipv6 net/netfilter/nf_conntrack \
        net/netfilter/ipvs/ip_vs net/netfilter/ipvs/ip_vs_rr net/netfilter/ipvs/ip_vs_sh \
        net/netfilter/ipvs/ip_vs_dh net/netfilter/ipvs/ip_vs_mh drivers/net/veth drivers/net/dummy; do
        "$box" insmod "$modules/$module.ko" || return
    done
}

schedule() {
    # Frames go into one end of a cable and come out of the other. Real servers are behind an interface that swallows
    # everything and asks for no MAC. VIPs are whole prefixes.
    ip link set lo up &&
    ip link add clients type veth peer name cable &&
    ip link set clients address 02:00:00:00:00:01 up &&
    ip link set cable up &&
    ip link add servers type dummy &&
    ip link set servers up &&
    ip route add default dev servers &&
    ip -6 route add default dev servers &&
    ip route add local 100.64.0.0/10 dev lo &&
    ip -6 route add local 2001:db8:1::/48 dev lo &&
    ipvsadm --restore < /mnt/services &&
    ipvsadm -L -n > /mnt/listed &&
    "$FRAMES" /mnt/frames cable || return
    # The last frame is for a service of its own: when that has a connection, all others have been scheduled.
    until "$box" grep -q -i " $LAST " /proc/net/ip_vs_conn; do
        "$box" usleep 10000
    done
    "$box" cat /proc/net/ip_vs_conn > /mnt/connections
}

# Each line of /mnt/questions is a command line.
ask() {
    while IFS= read -r line <&9; do
        eval "set -- $line"
        echo "\$ $line"
        "$@" 2>&1 < /dev/null
        echo "rc $?"
    done 9< /mnt/questions > /mnt/answers
}

prepare && "$TASK"
echo "ipvs: ended $?"
"$box" poweroff -f
