//! A virtual router, as either program is told of it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use lb_lab::{
    Capture, Direction, Director, HostSpec, Lab, Result, TestResult, VirtualServer, try_wait_until,
};
use serde_json::{Value, json};

use crate::support::{Instance, PATIENCE, vrrp};

/// VRRP's number as a protocol of IP.
const VRRP: u8 = 112;

/// A client, a director `a` for lb, a host `b` for keepalived, and a real server.
pub(super) fn lab(ipv6: bool) -> Result<Lab> {
    let lab =
        Lab::builder().client("client").director("a").host(HostSpec::other("b")).real_servers(1).vips(3);
    if ipv6 { lab.ipv6().build() } else { lab.build() }
}

/// What both directors have to have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// The first is VI_1, virtual router 51, of the first VIP; and so on.
    pub(super) place: u32,
    pub(super) version: u8,
    pub(super) ipv6: bool,
    pub(super) interval: Duration,
    pub(super) password: Option<&'static str>,
    pub(super) unicast: bool,
}

impl Kind {
    pub(super) const V2: Self = Self {
        place: 0,
        version: 2,
        ipv6: false,
        interval: Duration::from_secs(1),
        password: None,
        unicast: false,
    };
    pub(super) const V3: Self = Self { version: 3, interval: Duration::from_millis(200), ..Self::V2 };

    pub(super) fn lab(&self) -> Result<Lab> {
        lab(self.ipv6)
    }

    /// Its instance's name.
    pub(super) fn name(&self) -> String {
        format!("VI_{}", self.place + 1)
    }

    /// The VIP of its family.
    pub(super) fn vip(&self, lab: &Lab) -> IpAddr {
        let number = 100 + self.place;
        if self.ipv6 { lab.subnet().address6(number).into() } else { lab.subnet().address(number).into() }
    }

    /// The address that adverts come from if they go to a peer.
    fn address(&self, lab: &Lab, host: &str) -> IpAddr {
        let host = lab.host(host);
        if self.ipv6 { host.address6().into() } else { host.address().into() }
    }

    /// The virtual addresses. Of IPv6 the first is link-local (RFC 9568, section 5.2.9), which keepalived asks for.
    fn addresses(&self, lab: &Lab) -> Vec<String> {
        let vip = self.vip(lab);
        if self.ipv6 {
            vec![format!("fe80::{}/64", 100 + self.place), format!("{vip}/64")]
        } else {
            vec![format!("{vip}/24")]
        }
    }

    /// The instance for lb.
    pub(super) fn of_lb(&self, lab: &Lab, priority: u8) -> Instance {
        let mut instance = Instance::new(&self.name(), priority, &self.addresses(lab))
            .key("virtual_router_id", 51 + self.place)
            .key("version", self.version)
            .key("advert_interval", format!("\"{}ms\"", self.interval.as_millis()));
        if let Some(password) = self.password {
            instance = instance.key("authentication", format!("{{ password = {password:?} }}"));
        }
        if self.unicast {
            let (ours, theirs) = (self.address(lab, "a"), self.address(lab, "b"));
            instance = instance.key("source_address", format!("\"{ours}\""));
            instance = instance.key("unicast_peers", format!("[\"{theirs}\"]"));
        }
        instance
    }

    /// The instance for keepalived.
    pub(super) fn of_keepalived(&self, lab: &Lab, priority: u8) -> Section {
        let mut section = Section { name: self.name(), lines: String::new() }
            .line("state BACKUP")
            .line("interface eth0")
            .line(format!("virtual_router_id {}", 51 + self.place))
            .line(format!("priority {priority}"))
            .line(format!("virtual_ipaddress {{\n{}\n}}", self.addresses(lab).join("\n")))
            .line(format!("version {}", self.version))
            .line(format!("advert_int {}", self.interval.as_secs_f32()));
        if let Some(password) = self.password {
            section = section.line(format!("authentication {{\nauth_type PASS\nauth_pass {password}\n}}"));
        }
        if self.unicast {
            let (ours, theirs) = (self.address(lab, "b"), self.address(lab, "a"));
            section = section.line(format!("unicast_src_ip {ours}\nunicast_peer {{\n{theirs}\n}}"));
        }
        section
    }

    /// Starts lb on `a`, with these sections.
    pub(super) fn start_lb(&self, lab: &Lab, sections: &impl fmt::Display) -> Result<Director> {
        let web = VirtualServer::tcp("web", self.vip(lab), 80).hosts(&lab.real_servers());
        Director::on(&lab.host("a")).config(web).config(sections).start()
    }
}

/// A `vrrp_instance` of keepalived, as it is written.
#[derive(Clone, Debug)]
pub(super) struct Section {
    name: String,
    lines: String,
}

impl Section {
    pub(super) fn line(mut self, line: impl fmt::Display) -> Self {
        self.lines += &format!("{line}\n");
        self
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vrrp_instance {} {{\n{}}}\n", self.name, self.lines)
    }
}

/// The adverts that a host sends from now on.
pub(super) fn adverts(lab: &Lab, host: &str) -> Result<Capture> {
    let is_advert = |frame: &[u8]| match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&VRRP),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&VRRP),
        _ => false,
    };
    lab.host(host).capture_if(move |direction, frame| direction == Direction::Out && is_advert(frame))
}

/// Waits for so many adverts that a backup that did not hear them would be master.
pub(super) fn wait_for_more_adverts(director: &Director, which: &str) -> Result<()> {
    let count = || vrrp(director).map(|found| found["adverts"][which].as_u64().unwrap_or(0));
    let enough = count()? + 5;
    try_wait_until(&format!("adverts {which}"), PATIENCE, || match count() {
        Ok(count) if count >= enough => Ok(()),
        Ok(count) => Err(count.to_string()),
        Err(error) => Err(error.to_string()),
    })
}

/// Since the epoch, as captures say it.
#[expect(clippy::disallowed_methods, reason = "labs measure real time")]
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// lb has listened to all that its instances received.
pub(super) fn assert_nothing_rejected(director: &Director) -> TestResult {
    let found = director.json(["vrrp"])?;
    let rejected = |instance: &Value| instance["adverts"]["rejected"] != json!({});
    assert!(!found["instances"].as_array().into_iter().flatten().any(rejected), "{found}");
    Ok(())
}

/// Waits until lb's instances are in these states.
pub(super) fn wait_for_states(director: &Director, states: &[&str]) -> Result<()> {
    try_wait_until(&format!("{states:?}"), PATIENCE, || {
        let found = director.json(["vrrp"]).map_err(|error| error.to_string())?;
        let is_so =
            states.iter().enumerate().all(|(place, state)| found["instances"][place]["state"] == *state);
        if is_so { Ok(()) } else { Err(found.to_string()) }
    })
}
