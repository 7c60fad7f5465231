//! A second nginx of a real server, which can be told to be broken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lb_lab::{Host, Lab, Process, Result, wait_until};
use rcgen::{CertificateParams, DistinguishedName, Issuer, KeyPair, date_time_ymd};

use crate::support::PATIENCE;

/// HTTP: `/status`, `/body`, and `/slow`, with a body of 42,000 bytes that ends with `and the end`.
pub(super) const PORT: u16 = 8080;
/// The same with TLS, for [`NAME`].
pub(super) const TLS_PORT: u16 = 8443;
/// The name in the certificate.
pub(super) const NAME: &str = "web.example.net";
/// The body of `/body`.
pub(super) const BODY: &str = "well\n";

/// An nginx that is well until it is told to be broken. It ends when dropped.
pub(super) struct Nginx {
    directory: PathBuf,
    _process: Process,
}

impl Nginx {
    /// Starts it on a host, and waits until it answers there.
    pub(super) fn start(lab: &Lab, host: &Host, authority: &Authority) -> Result<Self> {
        let directory = lab.directory().join(format!("{}-second-nginx", host.name()));
        fs::create_dir_all(&directory).expect("there is room");
        fs::write(directory.join("slow"), format!("{}and the end", "slow and long ".repeat(3000)))
            .expect("there is room");
        authority.sign(&directory, (2020, 2090));
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration(&directory)).expect("there is room");
        let command = host.command("nginx").arg("-p").arg(&directory).args(["-e", "stderr"]);
        let _process = command.arg("-c").arg(&file).spawn()?;
        wait_until("nginx answers", PATIENCE, || host.http_get((host.address(), PORT), PATIENCE));
        Ok(Self { directory, _process })
    }

    /// Has `/status`, `/body` and `/slow` answer as they should not.
    pub(super) fn break_it(&self) -> io::Result<()> {
        fs::write(self.directory.join("broken"), "")
    }

    /// Has them answer as they should.
    pub(super) fn mend(&self) -> io::Result<()> {
        fs::remove_file(self.directory.join("broken"))
    }

    /// Gives it another certificate, of these years. It is there with the next connection.
    pub(super) fn renew(&self, authority: &Authority, years: (i32, i32)) {
        authority.sign(&self.directory, years);
    }
}

/// Who signs certificates.
pub(super) struct Authority {
    /// One for all, so that certificate and key in a file always fit each other.
    key: String,
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    pub(super) fn new(lab: &Lab) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "An authority of labs");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = lab.directory().join("ca.pem");
        fs::write(&file, certificate.pem()).expect("there is room");
        let of_servers = KeyPair::generate().expect("a key").serialize_pem();
        Self { key: of_servers, issuer: Issuer::new(params, key), file }
    }

    /// Its own certificate.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn sign(&self, directory: &Path, years: (i32, i32)) {
        let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::from_pem(&self.key).expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(directory.join("key.pem"), &self.key).expect("there is room");
        // In one step: nginx reads it whenever somebody connects.
        let new = directory.join("new.pem");
        fs::write(&new, certificate.pem()).expect("there is room");
        fs::rename(new, directory.join("certificate.pem")).expect("it is ours");
    }
}

/// The file of a certificate is read for each connection if its name has a variable in it.
fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
master_process off;
pid {directory}/pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $host $files {{ default {directory}; }}
    server {{
        listen 0.0.0.0:{PORT};
        listen 0.0.0.0:{TLS_PORT} ssl;
        ssl_certificate $files/certificate.pem;
        ssl_certificate_key $files/key.pem;
        root {directory};
        location = / {{ return 200 \"it runs\\n\"; }}
        location = /status {{
            if (-f {directory}/broken) {{ return 500; }}
            return 200;
        }}
        location = /body {{
            if (-f {directory}/broken) {{ return 200 \"out of order\\n\"; }}
            return 200 \"{BODY}\";
        }}
        location = /slow {{
            if (-f {directory}/broken) {{ limit_rate 100; limit_rate_after 1000; }}
        }}
    }}
}}
"
    )
}
