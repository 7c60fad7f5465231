//! Servers that speak TLS, with certificates for good and for bad.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::super::TlsFailure;
use super::*;
use crate::config::Tls;

/// Who signs certificates, in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let authority = Self { issuer, directory: tempfile::tempdir().expect("a directory") };
        fs::write(authority.file(), authority.issuer.pem()).expect("a file");
        authority
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server that answers 200, with a certificate for these names, of these years.
    async fn server(&self, names: &[&str], years: (i32, i32)) -> u16 {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(V4, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // Those that refuse it do not go on.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                header(&mut stream).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }
}

const YEARS: (i32, i32) = (2020, 2090);

fn https(port: u16, host: Option<&str>, tls: Tls) -> Http {
    Http { host: host.map(str::to_owned), tls: Some(tls), ..http(port) }
}

fn verified(authority: &Authority) -> Tls {
    Tls { verify: true, server_name: None, ca_file: Some(authority.file()) }
}

#[tokio::test]
async fn a_certificate_for_the_name_that_is_asked_for_is_good() {
    let authority = Authority::new("one");
    let port = authority.server(&["www.example.com", "127.0.0.1"], YEARS).await;
    for host in [None, Some("www.example.com"), Some("www.example.com:8443"), Some("WWW.example.com")] {
        assert_eq!(
            asked_http(https(port, host, verified(&authority))).await,
            Ok(Answer::default()),
            "{host:?}"
        );
    }
    let named = Tls { server_name: Some("www.example.com".to_owned()), ..verified(&authority) };
    assert_eq!(asked_http(https(port, Some("other.example"), named)).await, Ok(Answer::default()));
}

#[tokio::test]
async fn a_certificate_for_other_names_is_refused() {
    let authority = Authority::new("one");
    let port = authority.server(&["www.example.com"], YEARS).await;
    let told = words(asked_http(https(port, Some("other.example:1"), verified(&authority))).await);
    assert_eq!(
        told,
        "the TLS certificate is not for other.example but for www.example.com; set `server_name`"
    );
    let told = words(asked_http(https(port, None, verified(&authority))).await);
    assert!(told.starts_with("the TLS certificate is not for 127.0.0.1"), "{told}");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new("one");
    let port = authority.server(&["127.0.0.1"], (2019, 2020)).await;
    let told = "the TLS certificate expired on 2020-01-01T00:00:00Z";
    assert_eq!(words(asked_http(https(port, None, verified(&authority))).await), told);
    let port = authority.server(&["127.0.0.1"], (2089, 2090)).await;
    assert_eq!(asked_http(https(port, None, verified(&authority))).await, Err(TlsFailure::NotYet.into()));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (authority, other) = (Authority::new("one"), Authority::new("another"));
    let port = authority.server(&["127.0.0.1"], YEARS).await;
    let told = "the TLS certificate is signed by nobody who is trusted; set `ca_file` to the certificate of who signed it";
    assert_eq!(words(asked_http(https(port, None, verified(&other))).await), told);
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_has_another_key_now_is_refused() {
    let (authority, renewed) = (Authority::new("one"), Authority::new("one"));
    let port = authority.server(&["127.0.0.1"], YEARS).await;
    let told = "the TLS certificate is not signed with the key of its authority in `ca_file`, which may have a new one";
    assert_eq!(words(asked_http(https(port, None, verified(&renewed))).await), told);
}

#[tokio::test]
async fn nothing_is_verified_that_need_not_be() {
    let authority = Authority::new("one");
    let port = authority.server(&["www.example.com"], (2019, 2020)).await;
    let anybody = Tls { verify: false, server_name: None, ca_file: Some("/nonexistent".into()) };
    assert_eq!(asked_http(https(port, Some("other.example"), anybody)).await, Ok(Answer::default()));
}

#[tokio::test]
async fn a_new_file_of_authorities_is_read_anew() {
    let (authority, other) = (Authority::new("one"), Authority::new("another"));
    let port = authority.server(&["127.0.0.1"], YEARS).await;
    let asked = https(port, None, verified(&other));
    assert_eq!(asked_http(asked.clone()).await, Err(TlsFailure::UnknownIssuer.into()));
    // Longer than it was, so that the time of two changes does not matter.
    fs::write(other.file(), authority.issuer.pem() + &other.issuer.pem()).expect("a file");
    assert_eq!(asked_http(asked).await, Ok(Answer::default()));
}

#[tokio::test]
async fn a_file_that_has_no_authorities_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.pem");
    let asked = https(1, None, Tls { verify: true, server_name: None, ca_file: Some(file.clone()) });
    // The connection comes first.
    let asked = Http { port: says("").await, ..asked };
    let prefix = format!("`ca_file` {}: ", file.display());
    let told = words(asked_http(asked.clone()).await);
    assert_eq!(told, format!("{prefix}No such file or directory (os error 2)"));
    fs::write(&file, "no certificate").expect("a file");
    let found = asked_http(asked.clone()).await;
    assert!(found.as_ref().is_err_and(Failure::is_local));
    assert_eq!(words(found), format!("{prefix}it has no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
    fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("a file");
    assert!(words(asked_http(asked).await).starts_with(&prefix));
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told() {
    let anybody = Tls::default();
    let port = serve(V4, |mut stream| async move {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
    })
    .await;
    let told = format!("the TLS handshake failed: the server does not speak TLS on port {port}");
    assert_eq!(words(asked_http(https(port, None, anybody.clone())).await), told);
    // An alert: handshake_failure.
    let port = serve(V4, |mut stream| async move {
        let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x28").await;
        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
    })
    .await;
    let told = "the server ended the TLS handshake: HandshakeFailure";
    assert_eq!(words(asked_http(https(port, None, anybody.clone())).await), told);
    // The first half of a ServerHello.
    let port = serve(V4, |mut stream| async move {
        let _ = stream.write_all(b"\x16\x03\x03\x00\x40\x02\x00").await;
        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
    })
    .await;
    let asked = Probe::Http(Box::new(https(port, None, anybody.clone())));
    let found = probe(&asked, &direct(V4), limits(1000)).await;
    assert_eq!(words(found), "TLS handshake not finished within 1s");
    let port = serve(V4, |mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    assert_eq!(asked_http(https(port, None, anybody)).await, Err(closed("shake hands for TLS")));
}
