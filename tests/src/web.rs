//! The web server of a real server: an nginx of its own that answers with the host's name.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::error::{Doing, Result};
use crate::host::{Host, locked};
use crate::wait::try_wait_until;

/// Time for nginx to listen.
const TIME_TO_START: Duration = Duration::from_secs(10);

/// Starts nginx; it listens a moment later.
pub(crate) fn start(host: &Host) -> Result<()> {
    let mut web = locked(&host.inner.web);
    // The one before has the ports.
    drop(web.take());
    let directory = host.inner.place.directory().join(format!("{}-nginx", host.name()));
    fs::create_dir_all(&directory).doing(|| format!("create {}", directory.display()))?;
    let files = directory.join("files");
    fs::create_dir_all(&files).doing(|| format!("create {}", files.display()))?;
    let file = directory.join("nginx.conf");
    let listen: String = listeners(host).iter().map(|listener| listener.directive()).collect();
    let text = configuration(host.name(), &directory, &listen);
    fs::write(&file, text).doing(|| format!("write {}", file.display()))?;
    let command = host.command("nginx").arg("-p").arg(&directory).args(["-e", "stderr"]);
    *web = Some(command.arg("-c").arg(&file).spawn()?);
    Ok(())
}

/// Waits until nginx listens on all ports; at once for a host that has none.
pub(crate) fn wait_until_ready(host: &Host) -> Result<()> {
    let mut web = locked(&host.inner.web);
    let Some(web) = &mut *web else { return Ok(()) };
    let what = format!("nginx listens on {}", host.name());
    let listeners = listeners(host);
    try_wait_until(&what, TIME_TO_START, || {
        if let Some(status) = web.exit_status() {
            return Ok(Err(web.failed(&status.to_string())));
        }
        // The process's own view of its namespace: no connection is needed to know.
        let sockets =
            |table| fs::read_to_string(format!("/proc/{}/net/{table}", web.id())).unwrap_or_default();
        let missing = |listener: &&Listener| !listens(&sockets(listener.table), listener.port);
        let missing: Vec<_> = listeners.iter().filter(missing).map(Listener::directive).collect();
        if missing.is_empty() { Ok(Ok(())) } else { Err(format!("not yet: {missing:?}")) }
    })?
}

/// A port of one family.
struct Listener {
    port: u16,
    any: &'static str,
    /// Below /proc/net.
    table: &'static str,
}

impl Listener {
    fn directive(&self) -> String {
        format!("listen {}:{} backlog=4096; ", self.any, self.port)
    }
}

fn listeners(host: &Host) -> Vec<Listener> {
    let families: &[_] = match host.inner.address6 {
        Some(_) => &[("0.0.0.0", "tcp"), ("[::]", "tcp6")],
        None => &[("0.0.0.0", "tcp")],
    };
    let ports = &host.inner.spec.ports;
    let of = |(any, table): &(&'static str, &'static str)| {
        let (any, table) = (*any, *table);
        ports.iter().map(move |port| Listener { port: *port, any, table })
    };
    families.iter().flat_map(of).collect()
}

/// Whether a line of /proc/net/tcp is a listening socket (state 0A) of that port.
fn listens(sockets: &str, port: u16) -> bool {
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        local.ends_with(&format!(":{port:04X}")) && state == "0A"
    })
}

/// One process, nothing outside of its directory.
fn configuration(name: &str, directory: &Path, listen: &str) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
master_process off;
pid {directory}/pid;
error_log stderr warn;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    server_tokens off;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        {listen}
        add_header X-Real-Server {name} always;
        location /files/ {{ root {directory}; }}
        location / {{ return 200 \"{name}\\n\"; }}
    }}
}}
"
    )
}
