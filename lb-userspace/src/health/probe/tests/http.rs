//! What web servers answer that speak HTTP as they should.

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::super::{Advice, HttpFailure};
use super::*;
use crate::config::Body;

fn response(status: &str, header: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// What a server reads that answers 200.
async fn request_of(address: IpAddr, make: impl FnOnce(u16) -> Http) -> (u16, String) {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let port = serve(address, move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(header(&mut stream).await).expect("seen");
            let _ = stream.write_all(response("200 OK", "", "").as_bytes()).await;
        }
    })
    .await;
    let asked = Probe::Http(Box::new(make(port)));
    probe(&asked, &direct(address), PATIENT).await.expect("well");
    (port, requests.recv().await.expect("a request"))
}

#[tokio::test]
async fn a_request_is_as_configured() {
    let (port, request) = request_of(V4, http).await;
    let expected = format!(
        "GET /health?full=1 HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: lb-health/{}\r\naccept: */*\r\n\
         connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(request, expected);

    let (port, request) = request_of(V6, http).await;
    assert!(request.contains(&format!("host: [::1]:{port}\r\n")), "{request}");

    let named = |port| Http {
        method: "HEAD".to_owned(),
        path: "/x".to_owned(),
        host: Some("www.example.com:81".to_owned()),
        ..http(port)
    };
    let (_, request) = request_of(V4, named).await;
    assert!(request.starts_with("HEAD /x HTTP/1.1\r\nhost: www.example.com:81\r\n"), "{request}");
}

#[tokio::test]
async fn a_status_is_expected_or_not() {
    let port = says(response("500 Internal Server Error", "", "")).await;
    assert_eq!(words(asked_http(http(port)).await), "status 500, expected 200");
    let expected = Http { status: BTreeSet::from([200, 201, 202, 500]), ..http(port) };
    assert_eq!(asked_http(expected).await, Ok(Answer::default()));
    let port = says("HTTP/1.0 204 No Content\r\n\r\n").await;
    let expected = Http { status: BTreeSet::from([200, 201, 202, 301]), ..http(port) };
    assert_eq!(words(asked_http(expected).await), "status 204, expected 200-202, 301");
}

#[tokio::test]
async fn no_body_is_read_that_is_not_looked_at() {
    let port = serve(V4, |mut stream| async move {
        header(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this").await.expect("write");
        // Until the prober has gone.
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    assert_eq!(asked_http(http(port)).await, Ok(Answer::default()));
}

#[tokio::test]
async fn a_body_matches_or_its_beginning_is_told() {
    let port = says(response("200 OK", "", "status=\x1b[31mdegraded\n")).await;
    let with = |text| Http { body: Some(Body::Regex(pattern(text))), ..http(port) };
    assert_eq!(asked_http(with("status=.*degraded")).await, Ok(Answer::default()));
    let expected = "the body does not match \"status=ok\": it begins with \"status=\\u{1b}[31mdegraded\\n\"";
    assert_eq!(words(asked_http(with("status=ok")).await), expected);
    let short = Http { body_limit: 10, ..with("degraded") };
    assert!(words(asked_http(short).await).ends_with("begins with \"status=\\u{1b}[3\""));
}

#[tokio::test]
async fn a_body_has_the_expected_digest() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n0\r\n\r\n";
    let port = says(chunked).await;
    let with = |text: &str| Http { body: Some(Body::Sha256(Sha256::digest(text).into())), ..http(port) };
    assert_eq!(asked_http(with("all well")).await, Ok(Answer::default()));
    assert_eq!(asked_http(Http { body_limit: 3, ..with("all") }).await, Ok(Answer::default()));
    let told = words(asked_http(with("other")).await);
    assert!(told.starts_with("the body's SHA-256 is ") && told.contains(", expected "), "{told}");
    assert!(told.ends_with("it begins with \"all well\""), "{told}");
}

#[tokio::test]
async fn redirects_to_the_same_server_are_followed_as_often_as_configured() {
    let port = serve(V4, |mut stream| async move {
        let request = header(&mut stream).await;
        let path = request.split(' ').nth(1).expect("a path").to_owned();
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
        let said = match path.as_str() {
            "/health?full=1" => response("302 Found", "Location: second\r\n", ""),
            "/second" => response("301 Moved", &format!("Location: http://{host}/third?x\r\n"), ""),
            "/third?x" => response("200 OK", "", "here"),
            _ => response("404 Not Found", "", ""),
        };
        let _ = stream.write_all(said.as_bytes()).await;
    })
    .await;
    let following = |redirects| Http { redirects, body: Some(Body::Regex(pattern("^here$"))), ..http(port) };
    assert_eq!(asked_http(following(2)).await, Ok(Answer::default()));
    let told = format!(
        "status 301 redirects to http://127.0.0.1:{port}/third?x, one redirect too many; expected 200"
    );
    assert_eq!(words(asked_http(following(1)).await), told);
    let told = "status 302 redirects to second, which is not followed; expected 200";
    assert_eq!(words(asked_http(following(0)).await), told);
    let expected = Http { status: BTreeSet::from([302]), ..http(port) };
    assert_eq!(asked_http(expected).await, Ok(Answer::default()), "a redirect may be what is expected");
}

#[tokio::test]
async fn redirects_to_elsewhere_say_where() {
    let port = says(response("301 Moved", "Location: https://www.example.com/\x01\r\n", "")).await;
    let told = words(asked_http(Http { redirects: 5, ..http(port) }).await);
    // A control character in a header is no HTTP for hyper; either way it is not shown.
    assert!(!told.contains('\x01'), "{told}");
    let port = says(response("301 Moved", "Location: https://www.example.com/\r\n", "")).await;
    let told =
        "status 301 redirects to https://www.example.com/, which is not the same real server; expected 200";
    assert_eq!(words(asked_http(Http { redirects: 5, ..http(port) }).await), told);
    let port = says(response("301 Moved", "Location: /again\r\n", "")).await;
    let told = "status 301 redirects to /again, one redirect too many; expected 200";
    assert_eq!(words(asked_http(Http { redirects: 5, ..http(port) }).await), told);
}

#[tokio::test]
async fn an_agent_says_what_weight_it_wants() {
    let agent = |port| Http { agent: true, ..http(port) };
    let port = says(response("200 OK", "", "up 75%\r\n")).await;
    let expected = Answer { advice: Some(Advice::Percent(75)), said: Some("up 75%".to_owned()) };
    assert_eq!(asked_http(agent(port)).await, Ok(expected));
    let port = says(response("200 OK", "", "stopped # for maintenance\n")).await;
    assert_eq!(words(asked_http(agent(port)).await), "the agent says stopped: \"for maintenance\"");
    let port = says(response("200 OK", "", "down")).await;
    let down = HttpFailure::Agent { word: "down".to_owned(), reason: String::new() };
    assert_eq!(asked_http(agent(port)).await, Err(down.into()));
}

#[tokio::test]
async fn what_cannot_be_asked_is_told() {
    let port = says("").await;
    for wrong in [
        Http { path: "/a b".to_owned(), ..http(port) },
        Http { host: Some("a\r\nb".to_owned()), ..http(port) },
        Http { method: "GET /".to_owned(), ..http(port) },
    ] {
        assert!(words(asked_http(wrong).await).starts_with("it cannot be asked: "));
    }
}
