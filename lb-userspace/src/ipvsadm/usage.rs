//! `ipvsadm -h` and `-v`.

use crate::scheduler;

/// What `-v` says: the program whose grammar this is, and what it really is.
pub(super) fn version() -> String {
    format!(
        "ipvsadm v1.31, as lb {} understands it (direct routing in XDP, IPVS v{})\n",
        env!("CARGO_PKG_VERSION"),
        super::listing::IPVS_VERSION
    )
}

/// What `-h` says.
pub(super) fn usage(program: &str) -> String {
    let schedulers: Vec<&str> = scheduler::ALL.iter().map(|scheduler| scheduler.name()).collect();
    let schedulers = schedulers.join("|");
    let version = version();
    let default = super::request::DEFAULT_SCHEDULER;
    let seconds = super::request::DEFAULT_PERSISTENCE;
    format!(
        "{version}\
Usage:
  {program} -A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [-b sched-flags] [-o]
  {program} -D virtual-service
  {program} -C
  {program} -R
  {program} -S [-n]
  {program} -a|e virtual-service -r server-address [-g] [-w weight] [-x upper] [-y lower]
  {program} -d virtual-service -r server-address
  {program} -L|l [virtual-service] [options]
  {program} -Z [virtual-service]
  {program} --set tcp tcpfin udp
  {program} -h

Commands:
  -A, --add-service                  add a virtual server
  -E, --edit-service                 give a virtual server other properties; what is left out is the default
  -D, --delete-service               remove a virtual server with its real servers
  -C, --clear                        remove all virtual servers
  -R, --restore                      do what each line of standard input says
  -S, --save                         print the lines that -R takes
  -a, --add-server                   add a real server
  -e, --edit-server                  give a real server other properties; what is left out is the default
  -d, --delete-server                remove a real server
  -L, -l, --list                     list virtual servers, connections or timeouts
  -Z, --zero                         have counters begin anew
      --set tcp tcpfin udp           set timeouts of connections in seconds; 0 leaves one as it is
  -h, --help    -v, --version

virtual-service:
  -t, --tcp-service host[:port]      by TCP: 192.0.2.1:80, www.example.net:http, [2001:db8::1]:80
  -u, --udp-service host[:port]      by UDP
  -f, --fwmark-service number        the group with this fwmark in the configuration file
  -6, --ipv6                         behind -f: a group of IPv6

Options:
  -s, --scheduler name               {schedulers};
                                     {default} if left out
  -p, --persistent [seconds]         clients keep their real server, {seconds} seconds if left out; then port 0 is
                                     any port
  -M, --netmask mask                 clients of one network are one client: 255.255.255.0, of IPv6 64
  -b, --sched-flags flags            sh-fallback,sh-port or mh-fallback,mh-port
  -o, --ops                          schedule every datagram by itself
  -r, --real-server host[:port]      a real server; its port is the virtual server's
  -g, --gatewaying                   by direct routing, as always; -i and -m are refused
  -w, --weight number                from 0 to 65535; 1 if left out
  -x, --u-threshold number           no new connections from so many on
  -y, --l-threshold number           new ones again below so many
  -c, --connection                   list connections
      --timeout                      list timeouts
      --stats, --rate                list counters, or what they count in a second
  -X, --exact                        all digits of large counters
      --thresholds                   list thresholds of real servers
      --persistent-conn              list how many clients real servers keep
      --nosort                       list in the order of addition, the last real server first
  -n, --numeric                      numbers instead of names of hosts and services

Examples:
  {program} -A -t 192.0.2.1:80 -s wlc
  {program} -a -t 192.0.2.1:80 -r 10.0.0.1 -g -w 3
  {program} -Ln
  {program} -Lnc
  {program} -S -n > rules; {program} -R < rules

Of lb itself: lb --help. The daemon's socket is LB_CONTROL_SOCKET, or /run/lb/lb.sock.
"
    )
}
