//! A lab: a switch and hosts, from their description to their removal.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::builder::{LabBuilder, Setting, Subnet};
use crate::cleanup;
use crate::error::{Error, Result};
use crate::host::{Host, Inner, locked};
use crate::link::{Batch, INTERFACE, Mac, vip_line};
use crate::namespace::Namespace;
use crate::place::Place;
use crate::spec::{HostSpec, Role, next_address};
use crate::switch::Switch;
use crate::web;

/// A lab. It is removed with everything in it when it is dropped.
pub struct Lab {
    hosts: Mutex<Vec<Host>>,
    subnet: Subnet,
    vips: Vec<Ipv4Addr>,
    /// Whether everything has an IPv6 address too.
    ipv6: bool,
    settings: Vec<Setting>,
    switch: Switch,
    place: Arc<Place>,
    /// `None` once the lab is kept.
    remover: Option<Remover>,
}

/// Removes what bears the lab's name. It exists before the first thing does.
pub(crate) struct Remover(pub(crate) Arc<Place>);

impl Drop for Remover {
    fn drop(&mut self) {
        if let Err(error) = cleanup::remove_lab(self.0.id()) {
            eprintln!("lab {} is not removed completely: {error}", self.0.id());
        }
    }
}

/// What keeps a real server silent about addresses on its `lo`, as LVS-DR needs it.
const SILENT_ABOUT_VIPS: [Setting; 2] =
    [("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2")];

/// Has one CPU treat all that a real server's cable brings, in order, as a NIC's queue has for a flow. A veth leaves each
/// frame to the CPU that sent it: two segments of a connection on two CPUs at once are then, one time in 500,000, answered
/// with RST by a kernel that looks for their socket in the moment it takes its request's place (`inet_ehash_insert`).
/// From Linux 6.3 on; before, that must be lived with.
const ONE_CPU: Setting = ("core/rps_default_mask", "1");

impl Lab {
    /// Begins the description of a lab in 10.99.0.0/24.
    pub fn builder() -> LabBuilder {
        LabBuilder::new()
    }

    /// Makes what is described.
    pub(crate) fn create(
        remover: Remover,
        subnet: Subnet,
        vips: Vec<Ipv4Addr>,
        ipv6: bool,
        settings: Vec<Setting>,
        specs: Vec<HostSpec>,
    ) -> Result<Self> {
        let place = Arc::clone(&remover.0);
        let switch = Switch::create(&place, &settings)?;
        let hosts = Mutex::new(Vec::new());
        let lab = Self { hosts, subnet, vips, ipv6, settings, switch, place, remover: Some(remover) };
        lab.add(specs)?;
        Ok(lab)
    }

    /// What tells its names from those of other labs.
    pub fn id(&self) -> &str {
        self.place.id()
    }

    /// The host with this name.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn host(&self, name: &str) -> Host {
        let hosts = self.hosts();
        match hosts.iter().find(|host| host.name() == name) {
            Some(host) => host.clone(),
            None => {
                let names: Vec<_> = hosts.iter().map(Host::name).collect();
                panic!("the lab has no host {name:?}, but {names:?}")
            }
        }
    }

    /// All hosts, in the order of their description.
    pub fn hosts(&self) -> Vec<Host> {
        locked(&self.hosts).clone()
    }

    /// All hosts that serve VIPs.
    pub fn real_servers(&self) -> Vec<Host> {
        self.hosts().into_iter().filter(Host::serves).collect()
    }

    /// The first client.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn client(&self) -> Host {
        self.first(Role::Client)
    }

    /// The first director.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn director(&self) -> Host {
        self.first(Role::Director)
    }

    #[track_caller]
    fn first(&self, role: Role) -> Host {
        match self.hosts().into_iter().find(|host| host.role() == role) {
            Some(host) => host,
            None => panic!("the lab has no host of role {role:?}"),
        }
    }

    /// The first VIP.
    pub fn vip(&self) -> Ipv4Addr {
        self.vips[0]
    }

    /// The first VIP's IPv6 address.
    ///
    /// # Panics
    /// If the lab was built without [`ipv6`](LabBuilder::ipv6).
    #[track_caller]
    pub fn vip6(&self) -> Ipv6Addr {
        assert!(self.ipv6, "the lab was built without IPv6");
        self.subnet.beside(self.vip())
    }

    /// All VIPs.
    pub fn vips(&self) -> &[Ipv4Addr] {
        &self.vips
    }

    /// The network of all hosts.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// The switch.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// A directory for files; it is removed with the lab.
    pub fn directory(&self) -> PathBuf {
        self.place.directory()
    }

    /// A directory for pins; it is removed with the lab.
    pub fn bpffs(&self) -> PathBuf {
        self.place.bpffs()
    }

    /// Writes an executable script into [`directory`](Self::directory).
    pub fn write_script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory().join(name);
        // A child writes it. Were it written here, a program starting on another thread at that moment would
        // inherit the open file, and the script could not be run until then ("text file busy").
        let write = "cat > \"$0\" && chmod 755 \"$0\"";
        self.switch.command("sh").args(["-c", write]).arg(&path).input(text).run()?.success()?;
        Ok(path)
    }

    /// Plugs in one more host.
    pub fn plug(&self, spec: HostSpec) -> Result<Host> {
        let mut added = self.add(vec![spec])?;
        Ok(added.swap_remove(0))
    }

    /// Removes the lab, with an error if something stays behind. To drop it does the same, and prints the error.
    pub fn remove(self) -> Result<()> {
        self.stop();
        let place = Arc::clone(&self.place);
        // A second removal on drop finds nothing.
        cleanup::remove_lab(place.id())
    }

    /// Leaves the lab to a person when this process ends; returns its id, for [`crate::remove`].
    /// Only for labs that are [`keepable`](LabBuilder::keepable).
    pub fn keep(mut self) -> Result<String> {
        if !self.place.keepable {
            return Err(Error::Description("a lab that is to be kept must be built as keepable".into()));
        }
        for host in self.hosts() {
            if let Some(web) = locked(&host.inner.web).take() {
                web.leave_running();
            }
            if let Some(port) = locked(&host.inner.port).take() {
                port.pin(&self.bpffs().join(format!("port-{}", host.name())))?;
            }
        }
        self.place.keep()?;
        let id = self.id().to_owned();
        std::mem::forget(self.remover.take());
        Ok(id)
    }

    /// The hosts with their addresses, one in a line.
    pub fn topology(&self) -> String {
        let mut text = String::new();
        for host in self.hosts() {
            let role = format!("{:?}", host.role());
            let vips: String = host.all_vips().map(|vip| format!(" + {vip} on lo")).collect();
            // Writing to a string does not fail.
            let address6 = host.inner.address6.map(|address| format!(" {address}")).unwrap_or_default();
            _ = writeln!(
                text,
                "{:15} {role:10} {} {}{address6}{vips}",
                host.name(),
                host.mac(),
                host.address()
            );
        }
        text
    }

    fn stop(&self) {
        for host in self.hosts() {
            host.stop();
        }
        self.switch.close();
    }

    fn add(&self, specs: Vec<HostSpec>) -> Result<Vec<Host>> {
        let mut hosts = locked(&self.hosts);
        let mut added: Vec<Host> = Vec::new();
        for spec in specs {
            spec.check()?;
            let present = || hosts.iter().chain(&added);
            if present().any(|host| host.name() == spec.name) {
                return Err(Error::Description(format!("two hosts are called {:?}", spec.name)));
            }
            let taken: Vec<_> = present().map(Host::address).collect();
            let address = spec.address.map_or_else(|| next_address(self.subnet, spec.role, &taken), Ok)?;
            added.push(self.create_host(spec, address)?);
        }
        let macs: Vec<_> = added.iter().map(Host::mac).collect();
        let cables = added.iter().zip(macs).map(|(host, mac)| (host.name(), host.namespace(), mac));
        self.switch.plug(&cables.collect::<Vec<_>>())?;
        for host in &added {
            self.set_up(host)?;
        }
        self.switch.wait_until_forwarding(&added.iter().map(Host::name).collect::<Vec<_>>())?;
        for host in &added {
            web::wait_until_ready(host)?;
        }
        hosts.extend(added.iter().cloned());
        Ok(added)
    }

    fn create_host(&self, spec: HostSpec, address: Ipv4Addr) -> Result<Host> {
        let mut settings = self.settings.clone();
        let mut vips = Vec::new();
        if spec.role == Role::RealServer && Path::new("/proc/sys/net").join(ONE_CPU.0).exists() {
            settings.push(ONE_CPU);
        }
        if spec.serves {
            settings.extend(SILENT_ABOUT_VIPS);
            vips = spec.vips.clone().unwrap_or_else(|| self.vips.clone());
        }
        let beside = |address: &Ipv4Addr| self.ipv6.then(|| self.subnet.beside(*address));
        let inner = Inner {
            address6: beside(&address),
            vips6: vips.iter().filter_map(beside).collect(),
            address,
            vips,
            namespace: Namespace::create(&self.place.namespace(&spec.name), &settings)?,
            place: Arc::clone(&self.place),
            switch: self.switch.clone(),
            mac: Mutex::new(spec.mac.unwrap_or(Mac::of(address))),
            web: Mutex::new(None),
            port: Mutex::new(None),
            sender: Mutex::new(None),
            spec,
        };
        Ok(Host { inner: Arc::new(inner) })
    }

    fn set_up(&self, host: &Host) -> Result<()> {
        let mut batch = Batch::default();
        batch.line("link set dev lo up");
        for vip in host.all_vips() {
            batch.line(vip_line("add", vip));
        }
        batch.line(format_args!("address add {}/{} dev {INTERFACE}", host.address(), self.subnet.prefix()));
        batch.line(format_args!("link set dev {INTERFACE} up"));
        if let Some(address) = host.inner.address6 {
            batch.line(format_args!("address add {address}/{} dev {INTERFACE} nodad", self.subnet.prefix6()));
        }
        host.ip(batch)?;
        // XDP_TX hands frames on without the mark that says "checksum still to come".
        host.run(["ethtool", "-K", INTERFACE, "tx", "off"])?;
        if host.role() == Role::Director {
            host.let_xdp_through()?;
        }
        if host.serves() {
            web::start(host)?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.remover.is_some() {
            self.stop();
        } else if thread::panicking() {
            eprintln!("lab {} is kept", self.id());
        }
    }
}
