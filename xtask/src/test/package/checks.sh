#!/bin/sh
# What has to hold of the package and its units; run by a systemd of its own, see boot.sh.
cd /package-test || exit 1
passed=0 failed=0

# check NAME COMMAND...: one line, and what the command said if it failed.
check() {
    name=$1
    shift
    if said=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "test package: $name ... ok"
    else
        failed=$((failed + 1))
        printf 'test package: %s ... FAILED\n%s\n' "$name" "$said"
        journalctl --unit lb.service --lines 20 --no-pager --output cat 2>/dev/null
    fi
}
end() {
    if [ "$failed" = 0 ]; then verdict=ok; else verdict=FAILED; fi
    echo "test result: $verdict. $passed passed; $failed failed; 0 ignored"
    exit
}
refuses() { ! "$@"; }
# waits COMMAND...: until it succeeds, for half a minute.
waits() {
    for _ in $(seq 300); do
        if "$@" > /dev/null 2>&1; then return; fi
        sleep 0.1
    done
    "$@"
}
says() { printf '%s' "$1" | grep -qF -- "$2" || { printf 'not in it: %s\n%s\n' "$2" "$1"; return 1; }; }
property() { systemctl show --value --property "$1" lb.service; }
is() { [ "$1" = "$2" ] || { echo "it is $1, not $2"; return 1; }; }
# readme COMMAND: what the README's section about it has, to the word and in its order; a unit test compares.
readme() { check "README: $1" sh -c "$1"; }
gone() { [ ! -e "$1" ] || { ls -ld "$1"; return 1; }; }

ip link add eth0 type veth peer name eth1
ip address add 192.168.2.210/24 dev eth0
ip link set eth0 up
ip link set eth1 up

# A new machine.
readme 'apt-get install ./lb_0.1.0_amd64.deb'
check "the unit is enabled" is "$(systemctl is-enabled lb.service)" enabled
check "and not started before it is configured" is "$(systemctl is-active lb.service)" inactive
check "nor failed" refuses systemctl --quiet is-failed lb.service
check "both units are well-formed" systemd-analyze verify /usr/lib/systemd/system/lb.service lb-real-server@192.0.2.9.service
check "lb is ipvsadm under a name of its own" is "$(realpath /usr/lib/lb/ipvsadm-save)" /usr/bin/lb
check "bash reads the completions" bash -n /usr/share/bash-completion/completions/lb
for page in /usr/share/man/man1/lb*.1.gz; do
    if said=$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings --local-file "$page" 2>&1 > /dev/null) && [ -z "$said" ]; then continue; fi
    check "$page is a manual page" sh -c 'echo "$1"; false' sh "$said"
done
check "lb-real-server-up(1) is found" man --where lb-real-server-up

for file in prometheus/scrape.yml prometheus/alerts.yml grafana/lb.json; do
    check "$file is an example" test -s "/usr/share/doc/lb/examples/$file"
done

# Configured. The VIP of the README is for the real server below, which is the same machine.
readme 'cp /usr/share/doc/lb/examples/lb.toml /etc/lb/lb.toml'
check "the example is valid" lb check
# All of it but [sync], whose key is not there yet.
sed -i '/^# \[\[virtual_server/,/^$/ s/^# \{0,1\}//' /etc/lb/lb.toml
sed -i 's/^ *# On each.*//; s/192\.168\.2\.240/192.168.2.241/g' /etc/lb/lb.toml
readme 'lb check'
readme 'systemctl start lb'
[ "$failed" = 0 ] || end
check "the status is told" says "$(property StatusText)" "1 virtual server, 0 of 2 real servers up"
readme 'systemctl status lb'
check "and shown" says "$(systemctl status lb)" "1 virtual server, 0 of 2 real servers up"
status=/proc/$(property MainPID)/status
check "without new privileges" grep -q '^NoNewPrivs:.1$' "$status"
check "with a filter of system calls" grep -q '^Seccomp:.2$' "$status"
# CAP_NET_ADMIN (12), CAP_NET_RAW (13), CAP_IPC_LOCK (14), CAP_SYS_NICE (23), CAP_PERFMON (38), CAP_BPF (39)
check "with six capabilities" grep -q '^CapEff:.000000c000807000$' "$status"
check "it forwards" says "$(ip link show dev eth0)" xdp
check "lb list" says "$(lb list -n)" 192.168.2.241:443
check "lb explain" says "$(lb explain 192.168.2.99:4000 192.168.2.241:80 tcp)" "service     web"
check "a problem of rights is not in the log" refuses sh -c "journalctl --unit lb.service --output cat | grep -i -e 'not permitted' -e denied"

# Reloaded.
sed -i 's/^scheduler = .*/scheduler = "wrr"/' /etc/lb/lb.toml
readme 'systemctl reload lb'
check "and does what the file says" says "$(lb list -n)" wrr
sed -i 's/^scheduler = .*/scheduler = "wrrr"/' /etc/lb/lb.toml
check "a wrong file is an error of systemctl reload" refuses systemctl reload lb.service
check "and changes nothing" says "$(lb list -n)" wrr
check "and is told" says "$(property StatusText)" "was not reloaded"
sed -i 's/^scheduler = .*/scheduler = "wrr"/' /etc/lb/lb.toml
systemctl kill --signal HUP --kill-whom main lb.service
is_reloaded() { says "$(property StatusText)" "real servers up" && refuses says "$(property StatusText)" "was not reloaded"; }
check "SIGHUP reloads, too" waits is_reloaded

# Watched.
mkdir -p /etc/systemd/system/lb.service.d
printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n' > /etc/systemd/system/lb.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart lb.service
sleep 5
check "a daemon that answers is left alone by the watchdog" is "$(property NRestarts)" 0
kill -STOP "$(property MainPID)"
is_restarted() { [ "$(property NRestarts)" = 1 ] && systemctl --quiet is-active lb.service; }
check "one that does not is started again" waits is_restarted
rm -r /etc/systemd/system/lb.service.d
systemctl daemon-reload

# Upgraded.
lb weight web 192.168.2.212 7 > /dev/null
program() { ip -json link show dev eth0 | grep -o '"prog":{[^}]*}'; }
before=$(property MainPID)
check "the newer package installs" dpkg --install new.deb
check "with it a new daemon" refuses is "$(property MainPID)" "$before"
check "that is ready" is "$(systemctl is-active lb.service)" active
check "and has taken over" says "$(journalctl --unit lb.service --output cat)" "no frame was lost"
check "with what was changed while the old one ran" says "$(lb list -n)" "7      0"
systemctl --quiet disable lb.service
check "the newer package installs again" dpkg --install new.deb
check "what is disabled stays so" is "$(systemctl is-enabled lb.service)" disabled

# A real server: instances that start at once.
readme 'systemctl enable --now lb-real-server@192.168.2.240 lb-real-server@2001:db8::1 lb-real-server@192.0.2.0-28'
check "VIPs are on lo" says "$(ip address show dev lo)" "192.168.2.240/32"
check "of both families" says "$(ip address show dev lo)" "2001:db8::1/128"
check "prefixes, too" says "$(ip route show table local dev lo)" "192.0.2.0/28"
check "and quiet" is "$(cat /proc/sys/net/ipv4/conf/all/arp_ignore)" 1
check "one instance stops" systemctl stop lb-real-server@192.168.2.240
check "and takes its VIP alone" says "$(ip address show dev lo)" "2001:db8::1/128"

# Removed.
check "the package is removed" dpkg --remove lb
check "the daemon has ended" refuses systemctl --quiet is-active lb.service
check "forwarding goes on" says "$(ip link show dev eth0)" xdp
check "a real server is none any more" refuses says "$(ip address show dev lo)" "2001:db8::1"
check "ARP is answered as before" is "$(cat /proc/sys/net/ipv4/conf/all/arp_ignore)" 0
check "the package is purged" dpkg --purge lb
check "forwarding has ended" refuses says "$(ip link show dev eth0)" xdp
for left in /sys/fs/bpf/lb /run/lb /usr/lib/lb /usr/share/doc/lb /etc/systemd/system/multi-user.target.wants/lb.service \
    /var/lib/systemd/deb-systemd-helper-enabled/lb.service.dsh-also; do
    check "$left is gone" gone "$left"
done
check "what the administrator wrote is not" test -e /etc/lb/lb.toml

end
