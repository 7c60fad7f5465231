//! TLS over a path: as rustls does it, with the configured names and authorities.
//!
//! Reading authorities takes milliseconds, so what was read is kept, for each file until that changes. Sessions are
//! not resumed: a resumed one shows no certificate, and a check is to see that it has expired.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::redirect::split_port;
use super::text::plain;
use super::{Attempt, Failure, NetworkFailure};
use crate::config::{Http, Tls};
use crate::health::path::Stream;

/// The largest file of authorities that is read: all of Mozilla's are 220 KiB.
const LARGEST: u64 = 16 << 20;

/// TLS could not be spoken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TlsFailure {
    /// Its certificate is too old.
    #[error("the TLS certificate expired{}", on(*since))]
    Expired {
        /// When, in seconds since 1970.
        since: Option<u64>,
    },
    /// Its certificate is too young, or one of the two clocks is wrong.
    #[error("the TLS certificate is not valid yet: is the director's clock right?")]
    NotYet,
    /// Nobody that is trusted has signed it.
    #[error(
        "the TLS certificate is signed by nobody who is trusted; set `ca_file` to the certificate of who signed it"
    )]
    UnknownIssuer,
    /// An authority of the right name is trusted, with another key.
    #[error(
        "the TLS certificate is not signed with the key of its authority in `ca_file`, which may have a new one"
    )]
    OtherKey,
    /// It is for other names.
    #[error("the TLS certificate is not for {expected}{}; set `server_name`", only(presented))]
    Name {
        /// What was asked for.
        expected: String,
        /// What it is for, as far as that is known.
        presented: Vec<String>,
    },
    /// Something else is wrong with it.
    #[error("the TLS certificate is refused: {0}")]
    Certificate(String),
    /// The other side refuses.
    #[error("the server ended the TLS handshake: {0}")]
    Alert(String),
    /// Something that is no TLS came.
    #[error("the TLS handshake failed: the server does not speak TLS on port {port}")]
    Plain {
        /// The port.
        port: u16,
    },
    /// Anything else.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// The authorities' certificates could not be read.
    #[error("{}: {cause}", whose(.file.as_deref()))]
    Authorities {
        /// Where they are; the system's if none.
        file: Option<PathBuf>,
        /// What is wrong with them.
        cause: String,
    },
    /// What is configured cannot be spoken.
    #[error("{0}")]
    Local(String),
}

fn whose(file: Option<&Path>) -> String {
    file.map_or_else(
        || "the system's certificate authorities".to_owned(),
        |file| format!("`ca_file` {}", file.display()),
    )
}

fn on(since: Option<u64>) -> String {
    let since = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since)));
    since.map_or_else(String::new, |since| format!(" on {}", humantime::format_rfc3339_seconds(since)))
}

fn only(presented: &[String]) -> String {
    match presented {
        [] => String::new(),
        names => {
            let names: Vec<_> = names.iter().map(|name| bare(name)).collect();
            format!(" but for {}", plain(names.join(", ").as_bytes()))
        }
    }
}

/// Of `DnsName("www.example.com")` or `IpAddress(192.0.2.1)`, as rustls has names, what is inside.
fn bare(name: &str) -> &str {
    let inside = name.split_once('(').and_then(|(_, inside)| inside.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

/// Speaks TLS on a connection.
pub(super) async fn wrapped(
    stream: Stream,
    http: &Http,
    tls: &Tls,
    attempt: &Attempt<'_>,
) -> Result<Stream, Failure> {
    attempt.awaits("TLS handshake not finished");
    let name = server_name(http, tls, attempt.path.address())?;
    let connector = TlsConnector::from(client(tls).await?);
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(failure(&error, http.port, attempt)),
    }
}

/// What the certificate has to be for.
fn server_name(http: &Http, tls: &Tls, address: IpAddr) -> Result<ServerName<'static>, TlsFailure> {
    let host = http.host.as_deref().map(|host| split_port(host).0);
    let Some(name) = tls.server_name.as_deref().or(host) else {
        return Ok(ServerName::IpAddress(address.into()));
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(name.to_owned()).map_err(|_| {
        TlsFailure::Local(format!(
            "{} is no name for a certificate; set `server_name`",
            plain(name.as_bytes())
        ))
    })
}

fn failure(error: &io::Error, port: u16, attempt: &Attempt<'_>) -> Failure {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else {
        return NetworkFailure::new(error, attempt.path, Some(port), "shake hands for TLS").into();
    };
    let failure = match error {
        rustls::Error::InvalidCertificate(error) => certificate(error),
        rustls::Error::AlertReceived(alert) => TlsFailure::Alert(format!("{alert:?}")),
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerSentOversizedRecord => {
            TlsFailure::Plain { port }
        }
        _ => TlsFailure::Handshake(plain(error.to_string().as_bytes())),
    };
    failure.into()
}

fn certificate(error: &CertificateError) -> TlsFailure {
    match error {
        CertificateError::Expired => TlsFailure::Expired { since: None },
        CertificateError::ExpiredContext { not_after, .. } => {
            TlsFailure::Expired { since: Some(not_after.as_secs()) }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFailure::NotYet,
        CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
        CertificateError::BadSignature => TlsFailure::OtherKey,
        CertificateError::NotValidForName => {
            TlsFailure::Name { expected: "the name".to_owned(), presented: Vec::new() }
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            TlsFailure::Name { expected: expected.to_str().into_owned(), presented: presented.clone() }
        }
        error => TlsFailure::Certificate(plain(error.to_string().as_bytes())),
    }
}

/// How TLS is spoken, and what it was made of.
struct Client {
    config: Arc<ClientConfig>,
    version: Option<Version>,
}

/// What changes with a file.
type Version = (SystemTime, u64);

/// Whether certificates are verified, and by whose.
type Trust = (bool, Option<PathBuf>);

async fn client(tls: &Tls) -> Result<Arc<ClientConfig>, TlsFailure> {
    static CLIENTS: Mutex<Option<HashMap<Trust, Client>>> = Mutex::const_new(None);
    let trust = (tls.verify, tls.ca_file.clone().filter(|_| tls.verify));
    let version = trust.1.as_deref().map(version).transpose()?;
    // Held while authorities are read: whoever else waits for it needs the same.
    let mut clients = CLIENTS.lock().await;
    let clients = clients.get_or_insert_default();
    if let Some(client) = clients.get(&trust).filter(|client| client.version == version) {
        return Ok(Arc::clone(&client.config));
    }
    let config = if tls.verify {
        let file = trust.1.clone();
        let reading = tokio::task::spawn_blocking(move || authorities(file.as_deref()));
        let roots = reading.await.map_err(|error| TlsFailure::Local(error.to_string()))??;
        configured(|builder| builder.with_root_certificates(roots).with_no_client_auth())?
    } else {
        let provider = Arc::new(ring::default_provider());
        let anybody = Arc::new(Anybody(provider));
        configured(|builder| {
            builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
        })?
    };
    clients.insert(trust, Client { config: Arc::clone(&config), version });
    Ok(config)
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn configured(finish: impl FnOnce(Builder) -> ClientConfig) -> Result<Arc<ClientConfig>, TlsFailure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let mut config = finish(builder.map_err(|error| TlsFailure::Local(error.to_string()))?);
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn version(file: &Path) -> Result<Version, TlsFailure> {
    let metadata = fs::metadata(file).and_then(|metadata| Ok((metadata.modified()?, metadata.len())));
    metadata.map_err(|error| unreadable(Some(file), &error))
}

fn unreadable(file: Option<&Path>, cause: &dyn std::fmt::Display) -> TlsFailure {
    TlsFailure::Authorities { file: file.map(Path::to_owned), cause: cause.to_string() }
}

/// The certificates of a file, or the system's.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, TlsFailure> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let cause = "there are none; install the package ca-certificates, or set `ca_file`";
            return Err(unreadable(None, &cause));
        }
        return Ok(roots);
    };
    let (_, length) = version(file)?;
    if length > LARGEST {
        return Err(unreadable(Some(file), &"it is larger than 16 MiB"));
    }
    let text = fs::read(file).map_err(|error| unreadable(Some(file), &error))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unreadable(Some(file), &error))?;
        roots.add(certificate).map_err(|error| unreadable(Some(file), &error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(Some(file), &"it has no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(roots)
}

/// Accepts everybody, for `verify = false`: as curl's `--insecure`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
