//! The description of a host.

use std::net::Ipv4Addr;

use crate::builder::Subnet;
use crate::error::{Error, Result};
use crate::link::{Mac, NAME_LENGTH};

/// The name of the namespace with the bridge.
pub(crate) const SWITCH: &str = "switch";
/// Hosts of one role that find an address of their own.
const ROLE_SIZE: u32 = 20;

/// What a host is to become. A role fills in what that role needs; everything can be changed.
#[derive(Debug, Clone)]
pub struct HostSpec {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) serves: bool,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) mac: Option<Mac>,
    pub(crate) vips: Option<Vec<Ipv4Addr>>,
    pub(crate) ports: Vec<u16>,
}

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends requests.
    Client,
    /// Runs the balancer: its port of the switch accepts what XDP_TX sends.
    Director,
    /// Serves the VIPs.
    RealServer,
    /// Something else.
    Other,
}

impl Role {
    /// Where the addresses of hosts of this role begin in the subnet; VIPs begin at 100.
    fn first_address(self) -> u32 {
        match self {
            Self::Client => 11,
            Self::Director => 31,
            Self::RealServer => 51,
            Self::Other => 71,
        }
    }
}

impl HostSpec {
    /// A host that sends requests: .11, .12, ….
    pub fn client(name: &str) -> Self {
        Self::new(name, Role::Client)
    }

    /// A host for the balancer: .31, .32, ….
    pub fn director(name: &str) -> Self {
        Self::new(name, Role::Director)
    }

    /// A host with the VIPs on `lo`, silent about them on the network, that answers HTTP with its name:
    /// .51, .52, ….
    pub fn real_server(name: &str) -> Self {
        Self::new(name, Role::RealServer).serving()
    }

    /// A host with nothing but an address: .71, .72, ….
    pub fn other(name: &str) -> Self {
        Self::new(name, Role::Other)
    }

    fn new(name: &str, role: Role) -> Self {
        Self { name: name.into(), role, serves: false, address: None, mac: None, vips: None, ports: vec![80] }
    }

    /// Makes it a real server, whatever else it is: for directors that serve too.
    pub fn serving(mut self) -> Self {
        self.serves = true;
        self
    }

    /// Its address, instead of the next of its role.
    pub fn address(mut self, address: Ipv4Addr) -> Self {
        self.address = Some(address);
        self
    }

    /// Its Ethernet address, instead of [`Mac::of`] its address.
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// The VIPs it serves, instead of all.
    pub fn vips(mut self, vips: impl Into<Vec<Ipv4Addr>>) -> Self {
        self.vips = Some(vips.into());
        self
    }

    /// The ports on which it answers HTTP, instead of 80.
    pub fn ports(mut self, ports: impl Into<Vec<u16>>) -> Self {
        self.ports = ports.into();
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let wrong =
            |why: &str| Err(Error::Description(format!("a host cannot be called {:?}: {why}", self.name)));
        match self.name.as_str() {
            "" => wrong("it needs a name"),
            SWITCH | crate::link::BRIDGE => wrong("the switch has that name"),
            name if name.len() > NAME_LENGTH => {
                wrong("its port has its name, and links have 15 letters at most")
            }
            name if !name.bytes().all(plain) => wrong("only letters, digits, - and _ are safe"),
            _ => Ok(()),
        }
    }
}

/// The next address for a role that none of the others has.
pub(crate) fn next_address(subnet: Subnet, role: Role, taken: &[Ipv4Addr]) -> Result<Ipv4Addr> {
    let first = role.first_address();
    let mut candidates = (first..first + ROLE_SIZE).map(|number| subnet.address(number));
    let free = candidates.find(|address| !taken.contains(address));
    free.ok_or_else(|| Error::Description(format!("no address is left for role {role:?}: give one")))
}
