//! Services whose address is not exact: any port, ranges, prefixes of VIPs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_lab::{Director, Host, HostSpec, Lab, TestResult, VirtualServer};

use crate::support::{OpenConnection, PATIENCE, list};

const PORTS: [u16; 3] = [80, 8080, 8443];
/// The first VIPs of the lab's prefixes, which no interface has.
const PREFIX: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0);
const PREFIX6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0);

/// A client, a director and two real servers with three ports each.
fn lab(ipv6: bool) -> lb_lab::Result<Lab> {
    let lab = Lab::builder().client("client").director("director");
    let lab = if ipv6 { lab.ipv6() } else { lab };
    let server = |name| HostSpec::real_server(name).ports(PORTS);
    lab.host(server("rs1")).host(server("rs2")).build()
}

fn ask(client: &Host, vip: impl Into<IpAddr>, port: u16) -> lb_lab::Result<String> {
    Ok(client.http_get((vip.into(), port), PATIENCE)?.server)
}

#[test]
fn one_virtual_server_for_any_port_answers_on_three() -> TestResult {
    let lab = lab(true)?;
    let (vip, vip6) = (lab.vip(), lab.vip6());
    let servers = lab.real_servers();
    let any = VirtualServer::tcp("any", vip, 80).addresses(&[&format!("{vip}:0")]).hosts(&servers);
    let any6 = VirtualServer::tcp("any6", vip6, 80).addresses(&[&format!("[{vip6}]:0")]).hosts(&servers);
    // An exact address and a range count before it.
    let exact = VirtualServer::tcp("exact", vip, 8443).hosts(&servers[..1]);
    let range = VirtualServer::tcp("range", vip, 80).addresses(&[&format!("{vip}:8000-8100")]);
    let config = format!("{}{any6}{exact}{}", any.line("fwmark = 7"), range.hosts(&servers[1..]));
    let mut director = Director::on(&lab.director()).config(config).start()?;
    let answers = |vip: IpAddr, port| -> lb_lab::Result<Vec<String>> {
        (0..2).map(|_| ask(&lab.client(), vip, port)).collect()
    };
    for round in ["started", "restarted"] {
        assert_eq!(answers(vip.into(), 80)?, ["rs2", "rs1"], "{round}");
        assert_eq!(answers(vip.into(), 8443)?, ["rs1"; 2], "{round}");
        assert_eq!(answers(vip.into(), 8080)?, ["rs2"; 2], "{round}");
        let six = PORTS
            .into_iter()
            .map(|port| ask(&lab.client(), vip6, port))
            .collect::<lb_lab::Result<Vec<_>>>()?;
        assert_eq!(six.len(), 3, "{round}");
        let listed = list(&director)?;
        let first = &listed["virtual_servers"][0];
        assert_eq!((first["fwmark"].as_u64(), &first["addresses"][0]), (Some(7), &format!("{vip}:0").into()));
        assert!(director.cli(["list", "-n"])?.contains(&format!("FWM  7 rr\nTCP  {vip}:0\n")));
        if round == "started" {
            let mut open = OpenConnection::open(&lab.client(), vip)?;
            let server = open.ask().expect("it answers");
            director.kill()?;
            director.start()?;
            assert_eq!(open.ask().expect("an open connection survives"), server);
            let log = director.process()?.log();
            assert!(!log.contains("changed by somebody else"), "{log}");
            // The other one's turn, so that the next round begins as this one did.
            assert_ne!(ask(&lab.client(), vip, 80)?, server);
        }
    }
    Ok(())
}

#[test]
fn one_virtual_server_for_a_prefix_answers_on_three_vips() -> TestResult {
    let lab = lab(true)?;
    let servers = lab.real_servers();
    let (prefix, prefix6) = (format!("{PREFIX}/28"), format!("{PREFIX6}/64"));
    let client = lab.client();
    client.run(["ip", "route", "add", &prefix, "via", &lab.director().address().to_string()])?;
    client.run(["ip", "-6", "route", "add", &prefix6, "via", &lab.director().address6().to_string()])?;
    let binary = std::env::var("LB_BINARY").expect("`cargo xtask test` sets LB_BINARY");
    let real_server = |host: &Host, action: &str| {
        let command =
            host.command(&binary).args(["real-server", action, "--vip", &prefix, "--vip", &prefix6]);
        let state = lab.directory().join(format!("{}-vips.json", host.name()));
        if action == "status" { command } else { command.arg("--state-file").arg(state) }.run()
    };
    let missing = real_server(&servers[0], "status")?;
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stdout.contains("is not a local route of lo"), "{}", missing.stdout);
    for host in &servers {
        let done = real_server(host, "up")?.success()?;
        assert!(done.contains(&format!("added {prefix} to lo")), "{done}");
        assert!(done.contains(&format!("added {prefix6} to lo")), "{done}");
        assert!(real_server(host, "status")?.success()?.lines().all(|line| line.starts_with("ok")));
        assert_eq!(real_server(host, "up")?.success()?, "nothing to do\n");
    }
    let web = VirtualServer::tcp("web", PREFIX, 80).addresses(&[&format!("{prefix}:80")]).hosts(&servers);
    let web6 =
        VirtualServer::tcp("web6", PREFIX6, 80).addresses(&[&format!("[{prefix6}]:0")]).hosts(&servers);
    let mut director = Director::on(&lab.director()).config(format!("{web}{web6}")).start()?;
    for _ in 0..2 {
        for number in [1, 7, 15] {
            let vip = Ipv4Addr::from_bits(PREFIX.to_bits() | number);
            assert!(ask(&client, vip, 80)?.starts_with("rs"));
            let vip = Ipv6Addr::from_bits(PREFIX6.to_bits() | u128::from(number) << 32);
            assert!(ask(&client, vip, 8080)?.starts_with("rs"));
        }
        director.restart()?;
    }
    let addresses = lab.director().run(["ip", "-oneline", "address", "show"])?;
    assert!(!addresses.contains("192.0.2."), "a prefix is not put on the interface: {addresses}");
    for host in &servers {
        assert!(real_server(host, "down")?.success()?.contains(&format!("removed {prefix6} from lo")));
        assert!(!host.run(["ip", "route", "show", "table", "local"])?.contains(&prefix));
    }
    Ok(())
}
