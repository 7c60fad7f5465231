//! Those who may change something at `director.http`: whoever proves to know the secret of `director.http_admin_file`.
//!
//! ```text
//!   POST /v1/session ── the page's? ── secret? ──> a session: a cookie, and a token that only the page can read
//!   POST /v1/weight ─┬─ cookie ── the page's? ── the token? ──┬──> the same handler that root's requests have
//!                    └─ Authorization: Bearer ── secret? ─────┘
//! ```
//!
//! A browser sends cookies with what other pages have it send ("cross-site request forgery"), also pages of other ports of
//! this machine, for which a cookie is no other. So what has a cookie is believed only if the browser says that it comes
//! from this server's own page, and if it has a token that no other page can read. No page can have a browser send
//! `Authorization: Bearer` here without asking for leave, which nobody gets.
//!
//! The file is read whenever a proof is looked at: another secret counts at once, and ends what was begun with the last one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, AsHeaderName, COOKIE, HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use cookie::{Cookie, SameSite};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::api;
use super::connection::Standing;
use super::failure::Failure;
use super::operation::Personal;
use super::server::Shared;
use super::session::{Refused, SessionId};
use crate::config::read_typed_secret;

/// Whether a request comes from a page of this server, says the browser (<https://www.w3.org/TR/fetch-metadata/>).
const SITE: &str = "sec-fetch-site";
/// What clients of a reverse proxy have spoken with it.
const PROTOCOL: &str = "x-forwarded-proto";
/// What only this server's page knows.
const CSRF_TOKEN: &str = "x-csrf-token";
/// So long the file may take, also while others wait for it: it may lie on a file system whose server is gone.
const READING: Duration = Duration::from_secs(2);
/// So many cookies of its name are looked at: another port of this address may have set some.
const MOST_COOKIES: usize = 8;

/// Somebody who has proved to be an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Administrator {
    /// Their address, or that of the proxy in front.
    pub(super) client: String,
}

/// Whoever asks, as the head of their request says.
pub(super) struct Asker {
    client: Option<IpAddr>,
    headers: HeaderMap,
}

impl Asker {
    pub(super) fn of(request: &Request) -> Self {
        let standing = request.extensions().get::<Arc<Standing>>();
        Self { client: standing.and_then(|standing| standing.client), headers: request.headers().clone() }
    }

    fn administrator(&self) -> Administrator {
        Administrator { client: self.client() }
    }

    fn client(&self) -> String {
        self.client.map_or_else(|| "an unknown address".to_owned(), |client| client.to_string())
    }

    fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it was this server's own page that has sent this.
    fn is_own_page(&self) -> bool {
        // Told only to servers that a browser takes for trustworthy: behind TLS, or on its own machine.
        if self.headers.contains_key(SITE) {
            return self.header(SITE) == Some("same-origin");
        }
        let origin = self.header(ORIGIN);
        let origin = origin.and_then(|it| it.strip_prefix("http://").or_else(|| it.strip_prefix("https://")));
        origin.is_some_and(|origin| self.header(HOST).is_some_and(|host| host.eq_ignore_ascii_case(origin)))
    }

    /// The cookie's name. Cookies know no ports, and directors behind `ssh -L` differ in nothing else.
    fn cookie_name(&self) -> String {
        let port = self.header(HOST).and_then(|host| host.rsplit_once(':')?.1.parse::<u16>().ok());
        port.map_or_else(|| "lb_session".to_owned(), |port| format!("lb_session_{port}"))
    }

    /// What may be sessions.
    fn sessions(&self) -> Vec<SessionId> {
        let name = self.cookie_name();
        let headers = self.headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
        let cookies = headers.flat_map(Cookie::split_parse).flatten().filter(|cookie| cookie.name() == name);
        cookies.filter_map(|cookie| SessionId::parse(cookie.value())).take(MOST_COOKIES).collect()
    }

    /// The session whose token came along; or another, whose did not.
    fn session(&self) -> Option<SessionId> {
        let ids = self.sessions();
        ids.iter().find(|id| self.has_token(id)).or(ids.first()).copied()
    }

    fn has_token(&self, id: &SessionId) -> bool {
        self.header(CSRF_TOKEN).is_some_and(|token| id.has_csrf_token(token))
    }

    fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// That this is no other page's doing.
    fn check_origin(&self, id: Option<&SessionId>) -> Result<(), Failure> {
        if !self.is_own_page() {
            return Err(Failure::other_origin());
        }
        if id.is_none_or(|id| self.has_token(id)) { Ok(()) } else { Err(Failure::no_csrf_token()) }
    }

    /// A cookie that ends with the browser.
    fn cookie(&self, value: String) -> Cookie<'static> {
        // Whoever lies about it has a cookie that is stricter than theirs had to be.
        let is_encrypted = self.header(PROTOCOL).is_some_and(|it| it.eq_ignore_ascii_case("https"));
        let cookie = Cookie::build((self.cookie_name(), value)).path("/").http_only(true);
        cookie.same_site(SameSite::Strict).secure(is_encrypted).build()
    }
}

/// Lets through what comes from administrators, and nothing if there are none.
pub(super) async fn prove(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    match proved(&shared, &Asker::of(&request)).await {
        Ok(administrator) => {
            request.extensions_mut().insert(administrator);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

async fn proved(shared: &Shared, asker: &Asker) -> Result<Administrator, Failure> {
    // What can be refused without the file is.
    if let Some(id) = asker.session() {
        asker.check_origin(Some(&id))?;
        let secret = secret(shared).await?;
        let used = shared.sessions().use_of(&id, &secret, now());
        used.ok_or_else(Failure::signed_out)?;
    } else if let Some(token) = asker.bearer() {
        let secret = secret(shared).await?;
        attempt(shared, asker, &secret, token)?;
    } else {
        return Err(Failure::signed_out());
    }
    Ok(asker.administrator())
}

/// Lets through what is for administrators only, or to become one, if there are any.
pub(super) async fn if_any(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.is_administered() { next.run(request).await } else { Failure::read_only().into_response() }
}

/// `GET /v1/session`.
pub(super) async fn shown(shared: Arc<Shared>, asker: Asker) -> Result<Personal<api::Session>, Failure> {
    let ids = asker.sessions();
    if ids.is_empty() {
        return Ok(Personal { cookie: None, answer: api::Session::default() });
    }
    let secret = secret(&shared).await?;
    let mut known = shared.sessions();
    let found = ids.into_iter().find_map(|id| Some((id, known.find(&id, &secret, now())?)));
    let session = found.map(|(id, left)| session(&id, left.as_secs()));
    Ok(Personal { cookie: None, answer: session.unwrap_or_default() })
}

/// `POST /v1/session`.
pub(super) async fn sign_in(
    shared: Arc<Shared>,
    asker: Asker,
    asked: api::SignIn,
) -> Result<Personal<api::Session>, Failure> {
    // Or another page could have a browser try secrets, or sign it in as somebody else.
    asker.check_origin(None)?;
    let secret = secret(&shared).await?;
    attempt(&shared, &asker, &secret, &asked.token)?;
    let id = SessionId::random().map_err(|error| Failure::failed(format!("make a session: {error}")))?;
    let left = shared.sessions().begin(&id, &secret, now());
    tracing::info!("an administrator has signed in at director.http from {}", asker.client());
    let answer = session(&id, left.as_secs());
    Ok(Personal { cookie: Some(asker.cookie(id.text())), answer })
}

/// `DELETE /v1/session`.
pub(super) async fn sign_out(shared: Arc<Shared>, asker: Asker) -> Result<Personal<api::SignedOut>, Failure> {
    let id = asker.session();
    asker.check_origin(id.as_ref())?;
    let signed_out = id.is_some_and(|id| shared.sessions().end(&id));
    let mut cookie = asker.cookie(String::new());
    cookie.make_removal();
    Ok(Personal { cookie: Some(cookie), answer: api::SignedOut { signed_out } })
}

fn session(id: &SessionId, expires_in: u64) -> api::Session {
    api::Session { signed_in: true, csrf_token: Some(id.csrf_token()), expires_in: Some(expires_in) }
}

/// What administrators know, if there are any.
async fn secret(shared: &Shared) -> Result<Vec<u8>, Failure> {
    let path = shared.configs.borrow().config().director.http_admin_file.clone();
    let path = path.ok_or_else(Failure::read_only)?;
    let slow = || Failure::failed("director.http_admin_file takes too long to be read".to_owned());
    // One at a time, until it has been read: whoever asks and goes away leaves no more than one thread behind.
    let turn = shared.turns.secret(READING).await.map_err(|_| slow())?;
    let reading = spawn_blocking(move || (read_typed_secret(&path), turn));
    let (read, _) = timeout(READING, reading).await.map_err(|_| slow())?.map_err(|_| Failure::stopping())?;
    let mut sessions = shared.sessions();
    let has_told = std::mem::replace(&mut sessions.has_told, read.is_err());
    read.map_err(|error| {
        if !has_told {
            tracing::error!("nobody can sign in at director.http: {error}");
        }
        Failure::failed("director.http_admin_file cannot be read; the director's log says why".to_owned())
    })
}

/// Whether somebody knows the secret.
fn attempt(shared: &Shared, asker: &Asker, secret: &[u8], said: &str) -> Result<(), Failure> {
    let tried = shared.sessions().attempt(secret, said.as_bytes().trim_ascii_end(), now());
    tried.map_err(|refused| match refused {
        Refused::Wrong => {
            // As many in a minute as are looked at.
            tracing::warn!("a wrong secret came to director.http from {}", asker.client());
            Failure::wrong_secret()
        }
        Refused::TooMany { retry_after } => Failure::too_many_attempts(retry_after),
    })
}

#[expect(clippy::disallowed_methods, reason = "this is who drives sessions")]
fn now() -> Instant {
    Instant::now()
}
