//! `/metrics`: as the format has it, the same as what lb's own commands and the kernel's maps say, and what the alerts, the
//! dashboard and the documentation rely on.

mod contrib;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, PerCpuArray};
use lb_common::counter::RealServerStats;
use lb_lab::{
    Director, Exposition, Host, Lab, Load, Result, TestResult, VirtualServer, try_wait_until, wait_until,
};
use serde_json::Value;

use crate::support::{OpenConnection, PATIENCE, lab, list, web};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What Prometheus would see, asked for as the documentation says.
fn scrape(director: &Director) -> Result<Exposition> {
    let socket = director.control_socket().display().to_string();
    curl(director.host(), &["--unix-socket", &socket, "http://lb/metrics"])
}

fn curl(host: &Host, words: &[&str]) -> Result<Exposition> {
    let curl =
        ["curl", "--silent", "--show-error", "--fail", "--max-time", "5", "--write-out", "%{content_type}"];
    let answer = host.run(curl.iter().chain(words))?;
    let text = answer.trim_end().strip_suffix(CONTENT_TYPE).expect("the type of OpenMetrics");
    Exposition::parse(text)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// `lb list --json` and a scrape, of every real server.
fn compare_servers(listed: &Value, scraped: &Exposition) -> std::result::Result<(), String> {
    for service in listed["virtual_servers"].as_array().expect("virtual servers") {
        let name = service["name"].as_str().expect("a name");
        for server in service["real_servers"].as_array().expect("real servers") {
            let address = server["address"].as_str().expect("an address");
            let labels = [("service", name), ("real_server", address)];
            for (metric, pointer) in [
                ("lb_real_server_active_connections", "/active_connections"),
                ("lb_real_server_inactive_connections", "/inactive_connections"),
                ("lb_real_server_connections_total", "/stats/connections"),
                ("lb_real_server_packets_total", "/stats/packets"),
                ("lb_real_server_bytes_total", "/stats/bytes"),
                ("lb_real_server_weight", "/weight"),
            ] {
                let said = number(server.pointer(pointer).expect("it is listed"));
                let found = scraped.value(metric, &labels);
                if said != found {
                    return Err(format!("{metric} of {address} is {found}, and {said} in `lb list`"));
                }
            }
            let state = server["state"].as_str().expect("a state");
            let state = [labels[0], labels[1], ("state", state)];
            if scraped.value("lb_real_server_state", &state) != 1.0 {
                return Err(format!("{address} is in another state in `lb list`"));
            }
        }
    }
    Ok(())
}

/// `lb connections --json` and a scrape: by state, and how many each real server has.
fn compare_connections(director: &Director, scraped: &Exposition) -> std::result::Result<(), String> {
    let connections = director.json(["connections"]).map_err(|error| error.to_string())?;
    let (mut states, mut servers) = (BTreeMap::<String, f64>::new(), BTreeMap::<String, f64>::new());
    for connection in connections["connections"].as_array().expect("a list") {
        let text = |key: &str| connection[key].as_str().unwrap_or_default().to_owned();
        *states.entry(text("state")).or_default() += 1.0;
        *servers.entry(text("real_server")).or_default() += 1.0;
    }
    for sample in scraped.samples("lb_connections") {
        let state = &sample.labels["state"];
        let listed = states.remove(state).unwrap_or(0.0);
        if listed != sample.value {
            return Err(format!("{} connections in state {state}, and {listed} listed", sample.value));
        }
    }
    if !states.is_empty() {
        return Err(format!("not counted: {states:?}"));
    }
    for (server, listed) in servers {
        let of = [("real_server", server.as_str())];
        let counted = scraped.value("lb_real_server_active_connections", &of)
            + scraped.value("lb_real_server_inactive_connections", &of);
        if counted != listed {
            return Err(format!("{server} has {counted} connections, and {listed} listed"));
        }
    }
    let entries: f64 = scraped.samples("lb_table_entries").map(|sample| sample.value).sum();
    let connections: f64 = scraped.samples("lb_connections").map(|sample| sample.value).sum();
    if entries != connections { Err(format!("{entries} entries, {connections} connections")) } else { Ok(()) }
}

/// What the kernel's map of counters of real servers has, all together.
fn in_the_kernel(director: &Director) -> RealServerStats {
    let versions = std::fs::read_dir(director.bpffs()).expect("the director's pins");
    let pin = versions.filter_map(std::result::Result::ok).map(|entry| entry.path().join("REAL_STATS"));
    let pin = pin.into_iter().find(|pin| pin.exists()).expect("the map is pinned");
    let map = MapData::from_pin(pin).expect("it can be opened");
    let map = PerCpuArray::<MapData, RealServerStats>::try_from(Map::PerCpuArray(map));
    let map = map.expect("it has these values");
    let cpus = map.iter().flat_map(|values| values.expect("it can be read").to_vec());
    cpus.fold(RealServerStats::default(), |sum, cpu| RealServerStats {
        packets: sum.packets + cpu.packets,
        bytes: sum.bytes + cpu.bytes,
        connections: sum.connections + cpu.connections,
    })
}

fn compare_all(director: &Director) -> std::result::Result<Exposition, String> {
    let failed = |error: lb_lab::Error| error.to_string();
    let scraped = scrape(director).map_err(failed)?;
    compare_servers(&list(director).map_err(failed)?, &scraped)?;
    compare_connections(director, &scraped)?;
    let kernel = in_the_kernel(director);
    for (metric, counted) in [
        ("lb_real_server_connections_total", kernel.connections),
        ("lb_real_server_packets_total", kernel.packets),
        ("lb_real_server_bytes_total", kernel.bytes),
    ] {
        let sum: f64 = scraped.samples(metric).map(|sample| sample.value).sum();
        if sum != counted as f64 {
            return Err(format!("{metric} is {sum} together, and {counted} in the kernel"));
        }
    }
    let counters = director.json(["counters"]).map_err(failed)?;
    for (name, count) in counters["counters"].as_object().expect("counters") {
        let metric = match name.split('_').next() {
            Some("pass") => "lb_frames_passed_total",
            Some("drop") => "lb_frames_dropped_total",
            _ => "lb_dataplane_events_total",
        };
        let found = scraped.value(metric, &[("reason", name)]);
        // Others on the network go on: neighbours are asked for, routers solicited.
        if found > number(count) || (name.starts_with("drop") && found != number(count)) {
            return Err(format!("{name} is {found}, and {count} by `lb counters`"));
        }
    }
    Ok(scraped)
}

/// The metrics, `lb list`, `lb connections` and the kernel's maps, after a load: to the last connection.
#[test]
fn what_is_scraped_is_what_commands_and_the_kernel_say_to_the_last_connection() -> TestResult {
    const REQUESTS: u64 = 600;
    const OPEN: usize = 9;
    let lab = lab(3)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let report =
        Load::to((lab.vip(), 80)).at_once(16).requests(REQUESTS).timeout(PATIENCE).run(&lab.client())?;
    assert_eq!((report.answered, report.failed()), (REQUESTS, 0), "{report:?}");
    let mut open = Vec::new();
    for _ in 0..OPEN {
        let mut connection = OpenConnection::open(&lab.client(), lab.vip())?;
        connection.ask()?;
        open.push(connection);
    }
    // The last frames arrive, and the next sweep counts.
    let scraped = wait_until("all say the same", Duration::from_secs(20), || compare_all(&director));
    let sum = |metric: &str| scraped.samples(metric).map(|sample| sample.value).sum::<f64>();
    assert_eq!(sum("lb_real_server_connections_total"), (REQUESTS + OPEN as u64) as f64);
    assert_eq!(scraped.value("lb_connections", &[("state", "ESTABLISHED")]), OPEN as f64);
    assert_eq!(sum("lb_real_server_active_connections"), OPEN as f64);
    assert_eq!(scraped.value("lb_service_real_servers", &[("state", "up")]), 3.0);
    for (server, answers) in &report.by_server {
        let address = lab.host(server).address().to_string();
        let opened = scraped.value("lb_real_server_connections_total", &[("real_server", &address)]);
        // Round robin: of the open ones, each has three.
        assert_eq!(opened, (answers + OPEN as u64 / 3) as f64, "{server}");
    }
    drop(open);
    Ok(())
}

/// A director with everything that there are metrics of, and another one that it shares connections with.
fn with_everything(lab: &Lab) -> Result<(Director, Director)> {
    let key = lab.directory().join("sync.key");
    std::fs::write(&key, "a key of directors in a lab\n").expect("the lab has a directory");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is there");
    let sync = format!("[sync]\ninterface = \"eth0\"\ngroup = \"224.0.0.81:8848\"\nkey_file = {key:?}\n");
    let servers = lab.real_servers();
    let (first, sorry) = (servers[0].address(), servers[1].address());
    let web = format!(
        "{}\n[[virtual_server.real_server]]\naddress = \"{first}\"\nupper_threshold = 1000\n",
        VirtualServer::tcp("web", lab.vip(), 80).line(&format!(
            "sorry_server = \"{sorry}\"\nhealth_check = {{ interval = \"200ms\", timeout = \"150ms\", http = {{ path = \"/\" }} }}"
        ))
    );
    let instance = |priority: u8| {
        format!(
            "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nversion = 3\n\
             advert_interval = \"100ms\"\npriority = {priority}\nvirtual_addresses = [\"{}/32\"]\n\
             [[vrrp_instance.track_script]]\ncommand = [\"/bin/true\"]\nweight = 1\n",
            lab.vip()
        )
    };
    let start = |name: &str, priority| {
        let host = lab.host(name);
        let director = Director::on(&host).config(format!("{web}\n{}\n{sync}", instance(priority)));
        director.setting("http", format!("\"{}:9811\"", host.address())).start()
    };
    Ok((start("a", 150)?, start("b", 100)?))
}

#[test]
fn a_director_with_everything_exports_what_alerts_dashboard_and_documentation_name() -> TestResult {
    let lab = Lab::builder().client("client").director("a").director("b").real_servers(2).build()?;
    let (director, _other) = with_everything(&lab)?;
    // Every family has a sample: the other director is known, probes have ended, a sweep has been made.
    let scraped = try_wait_until("every metric is there", Duration::from_secs(20), || {
        let scraped = scrape(&director)?;
        let empty = scraped.families.iter().find(|family| family.samples.is_empty());
        match empty {
            Some(family) => Err(lb_lab::Error::Description(format!("{} has no sample", family.name))),
            None if scraped.value("lb_vrrp_state", &[("state", "master")]) == 1.0 => Ok(scraped),
            None => Err(lb_lab::Error::Description("not master yet".into())),
        }
    })?;
    assert_eq!(scraped.value("lb_sync_state", &[("state", "joined")]), 1.0);
    assert_eq!(scraped.value("lb_real_server_upper_threshold", &[]), 1000.0);
    assert_eq!(scraped.value("lb_vrrp_track_scripts", &[("state", "up")]), 1.0);
    let vrrp = &director.json(["vrrp"])?["instances"][0];
    assert_eq!(scraped.value("lb_vrrp_priority", &[]), number(&vrrp["priority"]));
    let first = lab.real_servers()[0].address().to_string();
    assert!(scraped.value("lb_health_check_latency_seconds", &[("real_server", &first)]) > 0.0);
    // The same for whoever reaches director.http.
    let url = format!("http://{}:9811/metrics", director.host().address());
    let names =
        |scraped: &Exposition| scraped.families.iter().map(|family| family.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&curl(&lab.client(), &[&url])?), names(&scraped));
    contrib::documentation_has_all(&scraped);
    contrib::alerts_use_what_there_is(&scraped);
    contrib::the_dashboard_uses_what_there_is(&scraped);
    contrib::scrape_configuration_names_the_port();

    // What a frame costs, while the kernel counts that.
    let counting = aya::sys::enable_stats(aya::sys::Stats::RunTime)?;
    let before = scraped.value("lb_xdp_runs_total", &[]);
    lab.client().http_get((lab.vip(), 80), PATIENCE)?;
    let after = scrape(&director)?;
    drop(counting);
    let runs = after.value("lb_xdp_runs_total", &[]) - before;
    let time = after.value("lb_xdp_run_seconds_total", &[]);
    assert!(runs >= 4.0 && time > 0.0, "{runs} runs, {time} s");
    println!("{:.0} ns for each of {runs} frames", time / runs * 1e9);
    Ok(())
}

/// Real servers that need not answer, for their MACs are written.
fn thousand() -> String {
    let server = |n: usize| {
        format!(
            "[[virtual_server.real_server]]\naddress = \"10.98.{}.{}\"\nmac = \"02:00:00:00:01:01\"\n",
            1 + n / 200,
            1 + n % 200
        )
    };
    let head = "[[virtual_server]]\nname = \"many\"\naddresses = [\"10.99.0.100:10000\"]\n";
    head.to_owned() + &(0..1000).map(server).collect::<String>()
}

#[test]
fn a_scrape_of_a_thousand_real_servers_is_quick() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(thousand()).start()?;
    let measure = |_| {
        let begin = Instant::now();
        let answer = crate::api::ask(&director, "GET", "/metrics", "").expect("it answers");
        (begin.elapsed(), answer.1)
    };
    let (took, text) = (0..10).map(measure).min().expect("ten times");
    println!("{} bytes in {took:?}", text.len());
    assert_eq!(Exposition::parse(&text)?.samples("lb_real_server_weight").count(), 1000);
    // By itself less than 20 ms, and a few with optimisations; other labs run beside this one.
    assert!(took < Duration::from_millis(60), "{took:?}");
    Ok(())
}
