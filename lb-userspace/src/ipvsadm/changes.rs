//! Requests to changes of the daemon's vocabulary, and its refusals to IPVS's words (`ipvs_strerror`).

use serde_json::{Value, json};

use super::request::{Request, Server, Service, Terms};
use super::{Complaint, REFUSED};
use crate::control::api::{Change, Keys, Problem};

/// How the daemon is told which virtual server is meant.
pub(super) fn reference(service: Service) -> String {
    match service {
        Service::Address { is_udp, address } => format!("{address}/{}", protocol(is_udp)),
        Service::Mark { mark, .. } => format!("fwmark:{mark}"),
    }
}

const fn protocol(is_udp: bool) -> &'static str {
    if is_udp { "udp" } else { "tcp" }
}

/// The change that is asked for; none if it is not for one.
pub(super) fn change(request: &Request) -> Option<Change> {
    Some(match request {
        Request::AddService(service, terms) => {
            let mut keys = keys(*service, terms);
            keys.retain(|_, value| !value.is_null());
            match service {
                Service::Address { is_udp, address } => {
                    keys.insert("addresses".to_owned(), json!([address.to_string()]));
                    keys.insert("protocol".to_owned(), json!(protocol(*is_udp)));
                }
                Service::Mark { mark, .. } => {
                    keys.insert("fwmark".to_owned(), json!(mark));
                    if terms.one_packet {
                        // A group of IPVS has none; this is for one only.
                        keys.insert("protocol".to_owned(), json!(protocol(true)));
                    }
                }
            }
            Change::AddService { service: keys }
        }
        Request::EditService(service, terms) => {
            Change::EditService { service: reference(*service), set: keys(*service, terms) }
        }
        Request::RemoveService(service) => Change::RemoveService { service: reference(*service) },
        Request::Clear => Change::Clear,
        Request::AddServer(service, server) => {
            let mut keys = server_keys(server);
            keys.insert("address".to_owned(), json!(server.address));
            Change::AddServer { service: reference(*service), server: keys }
        }
        Request::EditServer(service, server) => Change::EditServer {
            service: reference(*service),
            server: server.address,
            set: server_keys(server),
        },
        Request::RemoveServer { service, server, .. } => {
            Change::RemoveServer { service: reference(*service), server: *server }
        }
        Request::SetTimeouts(timeouts) => {
            let names = ["tcp", "tcp_fin", "udp"].into_iter().zip(timeouts);
            let set = names.filter(|(_, seconds)| **seconds != 0);
            Change::SetTimeouts {
                set: set.map(|(name, seconds)| (name.to_owned(), time(*seconds))).collect(),
            }
        }
        _ => return None,
    })
}

/// All that ipvsadm says of a virtual server besides its address: what it leaves out is to be as it is by default.
fn keys(service: Service, terms: &Terms) -> Keys {
    let is_ipv6 = match service {
        Service::Address { address, .. } => address.is_ipv6(),
        Service::Mark { is_ipv6, .. } => is_ipv6,
    };
    let flags: Vec<&str> = terms.flags.iter().map(|flag| flag.name()).collect();
    let persistence = terms.persistence.map(|(timeout, mask)| {
        let key = if is_ipv6 { "mask_v6" } else { "mask_v4" };
        json!({ "timeout": time(timeout), key: mask })
    });
    let values = [
        ("scheduler", json!(terms.scheduler)),
        ("scheduler_flags", if flags.is_empty() { Value::Null } else { json!(flags) }),
        ("persistence", json!(persistence)),
        ("one_packet", if terms.one_packet { json!(true) } else { Value::Null }),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn server_keys(server: &Server) -> Keys {
    let values = [
        ("weight", server.weight),
        ("upper_threshold", server.upper_threshold),
        ("lower_threshold", server.lower_threshold),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn time(seconds: u32) -> Value {
    json!(format!("{seconds}s"))
}

pub(super) const SERVICE_EXISTS: &str = "Service already exists";
pub(super) const NO_SUCH_SERVICE: &str = "No such service";
/// What IPVS says of a service that is missing where a real server is meant.
pub(super) const UNDEFINED: &str = "Service not defined";
pub(super) const SERVER_EXISTS: &str = "Destination already exists";
pub(super) const NO_SUCH_DESTINATION: &str = "No such destination";
pub(super) const NO_SUCH_SCHEDULER: &str = "Scheduler or persistence engine not found";
/// What the C library says of `ERANGE`: the lower threshold is above the upper one (`ip_vs_add_dest`).
pub(super) const OUT_OF_RANGE: &str = "Numerical result out of range";

/// What IPVS says of a request that is refused, or why the daemon refused it if IPVS would have nothing to say.
pub(super) fn refused(request: &Request, problem: &Problem) -> Complaint {
    let is_about_server =
        matches!(request, Request::AddServer(..) | Request::EditServer(..) | Request::RemoveServer { .. });
    let words = match problem.kind.as_str() {
        "service_exists" => SERVICE_EXISTS,
        "no_such_service" if is_about_server => UNDEFINED,
        "no_such_service" => NO_SUCH_SERVICE,
        "server_exists" => SERVER_EXISTS,
        "no_such_server" => NO_SUCH_DESTINATION,
        _ => problem.error.as_str(),
    };
    Complaint { code: REFUSED, message: words.to_owned(), is_final: false }
}
