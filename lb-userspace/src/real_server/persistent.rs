//! What does the same as `up` at every boot: shell commands that write the files of whoever sets up the network.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::quiet::Setting;
use super::text;
use crate::forms::Prefix;
use crate::net::sysctl_name;

/// Who sets up the network at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A service of systemd's that runs `lb`.
    Systemd,
    /// systemd-networkd, and systemd-sysctl.
    Networkd,
    /// Debian's ifupdown.
    Ifupdown,
}

/// A script for sh(1), to be run as root on the real server. `lb` is the path of the program there.
#[must_use]
pub fn persistent(vips: &BTreeSet<Prefix>, format: Format, lb: &Path) -> String {
    match format {
        Format::Systemd => systemd(vips, lb),
        Format::Networkd => networkd(vips),
        Format::Ifupdown => ifupdown(vips),
    }
}

/// A command that writes a file.
fn file(path: &str, content: &str) -> String {
    format!("cat > {path} <<'END'\n{content}END\n")
}

fn systemd(vips: &BTreeSet<Prefix>, lb: &Path) -> String {
    let arguments: String = vips.iter().map(|vip| format!(" --vip {vip}")).collect();
    let lb = lb.display();
    let unit = format!(
        "\
[Unit]
Description=VIPs of direct routing on this real server
# These set the same settings.
After=systemd-sysctl.service systemd-networkd.service networking.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={lb} real-server up{arguments}
ExecStop={lb} real-server down{arguments}
RuntimeDirectory=lb
RuntimeDirectoryPreserve=yes
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"
    );
    let path = "/etc/systemd/system/lb-real-server.service";
    format!("{}systemctl daemon-reload\nsystemctl enable --now lb-real-server.service\n", file(path, &unit))
}

/// The settings that keep quiet about IPv4 VIPs, as lines of sysctl.conf(5); none for others.
fn settings(vips: &BTreeSet<Prefix>) -> Vec<String> {
    if !vips.iter().any(Prefix::is_ipv4) {
        return Vec::new();
    }
    let line = |setting: Setting| format!("{}={}", sysctl_name(&setting.path("all")), setting.value());
    Setting::ALL.into_iter().map(line).collect()
}

fn networkd(vips: &BTreeSet<Prefix>) -> String {
    let mut network = "[Match]\nName=lo\n".to_owned();
    for vip in vips {
        let _ = match vip.host() {
            // Nobody asks whether a VIP is taken, and nothing is sent from it unasked (RFC 4862, sections 5.4 and 5.5.4).
            Some(host) if host.is_ipv6() => write!(
                network,
                "\n[Address]\nAddress={}\nDuplicateAddressDetection=none\nPreferredLifetime=0\nAddPrefixRoute=no\n",
                text(*vip)
            ),
            Some(_) => write!(network, "\n[Address]\nAddress={}\n", text(*vip)),
            None => write!(network, "\n[Route]\nDestination={vip}\nType=local\nTable=local\nScope=host\n"),
        };
    }
    let settings: String = settings(vips).into_iter().map(|line| line + "\n").collect();
    let mut script = String::new();
    if !settings.is_empty() {
        // Before the VIPs: not a single ARP request for one is to be answered.
        script += &file("/etc/sysctl.d/90-lb-real-server.conf", &settings);
        script += "sysctl -q -p /etc/sysctl.d/90-lb-real-server.conf\n";
    }
    script += &file("/etc/systemd/network/10-lb-real-server.network", &network);
    script + "networkctl reload\n"
}

fn ifupdown(vips: &BTreeSet<Prefix>) -> String {
    let mut stanza = "iface lo inet manual\n".to_owned();
    for setting in settings(vips) {
        let _ = writeln!(stanza, "    up sysctl -q -w {setting}");
    }
    for vip in vips {
        let place = text(*vip);
        let (what, options) = match vip.host() {
            Some(host) if host.is_ipv6() => {
                ("address", " nodad noprefixroute valid_lft forever preferred_lft 0")
            }
            Some(_) => ("address", ""),
            None => ("route", ""),
        };
        let (what, kind) = match (what, vip.is_ipv4()) {
            ("route", true) => ("route", "local "),
            ("route", false) => ("-6 route", "local "),
            _ => (what, ""),
        };
        let _ = writeln!(stanza, "    up ip {what} replace {kind}{place} dev lo{options}");
        let _ = writeln!(stanza, "    down ip {what} del {kind}{place} dev lo");
    }
    file("/etc/network/interfaces.d/lb-real-server", &stanza) + "ifup --force lo\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vips() -> BTreeSet<Prefix> {
        ["192.0.2.240", "192.0.2.0/28", "2001:db8::1"].map(|vip| vip.parse().unwrap()).into()
    }

    #[test]
    fn a_unit_does_what_up_and_down_do() {
        let script = persistent(&vips(), Format::Systemd, Path::new("/usr/local/sbin/lb"));
        let arguments = "--vip 192.0.2.0/28 --vip 192.0.2.240 --vip 2001:db8::1\n";
        assert!(
            script.contains(&format!("\nExecStart=/usr/local/sbin/lb real-server up {arguments}")),
            "{script}"
        );
        assert!(
            script.contains(&format!("\nExecStop=/usr/local/sbin/lb real-server down {arguments}")),
            "{script}"
        );
    }

    #[test]
    fn the_files_of_networkd_are_complete() {
        let expected = "\
cat > /etc/sysctl.d/90-lb-real-server.conf <<'END'
net.ipv4.conf.all.arp_ignore=1
net.ipv4.conf.all.arp_announce=2
END
sysctl -q -p /etc/sysctl.d/90-lb-real-server.conf
cat > /etc/systemd/network/10-lb-real-server.network <<'END'
[Match]
Name=lo

[Route]
Destination=192.0.2.0/28
Type=local
Table=local
Scope=host

[Address]
Address=192.0.2.240/32

[Address]
Address=2001:db8::1/128
DuplicateAddressDetection=none
PreferredLifetime=0
AddPrefixRoute=no
END
networkctl reload
";
        assert_eq!(persistent(&vips(), Format::Networkd, Path::new("lb")), expected);
    }

    #[test]
    fn the_stanza_of_ifupdown_is_complete() {
        let expected = "\
cat > /etc/network/interfaces.d/lb-real-server <<'END'
iface lo inet manual
    up sysctl -q -w net.ipv4.conf.all.arp_ignore=1
    up sysctl -q -w net.ipv4.conf.all.arp_announce=2
    up ip route replace local 192.0.2.0/28 dev lo
    down ip route del local 192.0.2.0/28 dev lo
    up ip address replace 192.0.2.240/32 dev lo
    down ip address del 192.0.2.240/32 dev lo
    up ip address replace 2001:db8::1/128 dev lo nodad noprefixroute valid_lft forever preferred_lft 0
    down ip address del 2001:db8::1/128 dev lo
END
ifup --force lo
";
        assert_eq!(persistent(&vips(), Format::Ifupdown, Path::new("lb")), expected);
    }

    #[test]
    fn ipv6_needs_no_settings() {
        let v6 = BTreeSet::from(["2001:db8::1".parse().unwrap()]);
        for format in [Format::Networkd, Format::Ifupdown] {
            assert!(!persistent(&v6, format, Path::new("lb")).contains("arp_"), "{format:?}");
        }
    }
}
