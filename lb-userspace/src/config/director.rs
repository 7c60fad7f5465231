//! `[director]` and `[timeouts]`.

use lb_common::limits::{MAX_CONNECTIONS, MAX_INTERFACES, MAX_PEERS, MIN_CONNECTIONS};

use super::address;
use super::contract::{DIRECTOR, TIMEOUTS};
use super::diagnostic::{Code, Diagnostic};
use super::http;
use super::model::{Director, OnExit, Peer, Timeouts, VlanOffload, XdpMode};
use super::reader::{Table, Value};
use super::report::{Partial, Reported};
use super::source::{Located, repetitions};
use super::suggest::quoted;
use super::value;

pub(super) fn director(file: &Table<'_>) -> Result<Director, Reported> {
    let help = "write [director] and below it interfaces = [\"eth0\"]: the interface that the VIPs' traffic arrives on";
    let table = file.required("director", help)?.table(&DIRECTOR)?;
    let interfaces = table.required("interfaces", INTERFACES_HELP).and_then(interfaces);
    let xdp_mode = table.value_or("xdp_mode", XdpMode::Auto, |value| value.choice(&XdpMode::NAMES));
    let bpffs = table.value_or("bpffs", Director::DEFAULT_BPFFS.into(), |value| {
        value::absolute_path(value, Director::DEFAULT_BPFFS)
    });
    let control_socket = table.value_or("control_socket", Director::DEFAULT_CONTROL_SOCKET.into(), |value| {
        value::socket_path(value, Director::DEFAULT_CONTROL_SOCKET, Director::MAX_SOCKET_PATH)
    });
    let max_connections = table.value_or("max_connections", Director::DEFAULT_MAX_CONNECTIONS, |value| {
        let help = "it is how many connections are remembered at once; 1048576 of them take 64 MiB";
        value.integer(MIN_CONNECTIONS..=MAX_CONNECTIONS, help)
    });
    let on_exit = table.value_or("on_exit", OnExit::Keep, |value| value.choice(&OnExit::NAMES));
    let manage_vips = table.value_or("manage_vips", true, |value| {
        value.boolean("`true` adds the VIPs to the interface and announces them, `false` leaves that to you")
    });
    let peers = table.value_or("peers", Vec::new(), peers);
    let vlan_offload =
        table.value_or("vlan_offload", VlanOffload::Auto, |value| value.choice(&VlanOffload::NAMES));
    let http = table.value_or("http", None, |value| http::address(value).map(Some));
    let http_names = http::names(&table);
    let http_admin_file = http::admin_file(&table, http.as_ref().copied().ok().flatten());
    Ok(Director {
        interfaces: interfaces?,
        xdp_mode: xdp_mode?,
        bpffs: bpffs?,
        control_socket: control_socket?,
        max_connections: max_connections?,
        on_exit: on_exit?,
        manage_vips: manage_vips?,
        peers: peers?,
        vlan_offload: vlan_offload?,
        http: http?,
        http_names: http_names?,
        http_admin_file: http_admin_file?,
    })
}

const INTERFACES_HELP: &str =
    "write interfaces = [\"eth0\"]: the interface that the VIPs' traffic arrives on";

fn interfaces(value: Value<'_>) -> Result<Vec<Located<String>>, Reported> {
    let elements = value.list("\"eth0\"")?;
    let names = Partial::of(elements.iter().copied().map(value::interface));
    if elements.is_empty() {
        let diagnostic = Diagnostic::new(Code::MissingKey, &value.span(), "no interface is given");
        return Err(value.report().error(diagnostic.help(INTERFACES_HELP)));
    }
    if let Some(excess) = elements.get(MAX_INTERFACES) {
        let message = format!("there are {} interfaces; lb knows at most {MAX_INTERFACES}", elements.len());
        let diagnostic = Diagnostic::new(Code::TooMany, &excess.span(), message).label("one too many");
        value.report().error(
            diagnostic.help("list only those that the VIPs' traffic arrives on or real servers are behind"),
        );
    }
    for (name, again, first) in repetitions(names.read.iter().map(|name| (name.value.as_str(), &name.span))) {
        let message = format!("{} is listed already", quoted(name));
        let diagnostic = Diagnostic::new(Code::DuplicateInterface, again, message).label("the second time");
        value.report().error(diagnostic.related(first, "the first time").help("remove one of the two"));
    }
    names.all()
}

fn peers(value: Value<'_>) -> Result<Vec<Peer>, Reported> {
    let elements = value.list("\"192.168.2.211\"")?;
    if let Some(excess) = elements.get(MAX_PEERS) {
        let message = format!("there are {} peers; lb knows at most {MAX_PEERS}", elements.len());
        let diagnostic = Diagnostic::new(Code::TooMany, &excess.span(), message).label("one too many");
        value.report().error(diagnostic.help("list only directors that forward to the same real servers"));
    }
    let peers = Partial::of(elements.iter().map(|element| {
        element
            .text("write the MAC or the address of the other director in quotes")
            .and_then(|text| address::peer(&text))
    }));
    for (peer, again, first) in repetitions(peers.read.iter().map(|peer| (peer.value, &peer.span))) {
        let diagnostic = Diagnostic::new(Code::DuplicatePeer, again, format!("{peer} is a peer already"));
        let diagnostic = diagnostic.label("the second time").related(first, "the first time");
        value.report().warning(diagnostic.help("remove it from one of the two places"));
    }
    Ok(peers.all()?.into_iter().map(|peer| peer.value).collect())
}

pub(super) fn timeouts(file: &Table<'_>) -> Result<Timeouts, Reported> {
    let default = Timeouts::default();
    file.value_or("timeouts", default, |value| {
        let table = value.table(&TIMEOUTS)?;
        let tcp = table.value_or("tcp", default.tcp, value::timeout);
        let tcp_fin = table.value_or("tcp_fin", default.tcp_fin, value::timeout);
        let udp = table.value_or("udp", default.udp, value::timeout);
        Ok(Timeouts { tcp: tcp?, tcp_fin: tcp_fin?, udp: udp? })
    })
}
