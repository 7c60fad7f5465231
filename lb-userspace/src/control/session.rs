//! Who has proved to know the secret of `director.http_admin_file`, and how often that may be tried. Pure: time, files and
//! random bytes come in.
//!
//! ```text
//!   attempt ── right ──> begin ──> used, used, ... ──> end: signed out, idle, too old, or another secret in the file
//!      └── wrong: counted, and after some of them nobody's attempt is looked at for a while
//! ```
//!
//! Of a session its digest is kept, so what is in memory signs nobody in, and looking it up takes no time that tells of it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use ring::hmac;

/// After so long without a change a session ends.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// So long after its begin it ends, whatever is done with it.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// So many there may be; another one takes the place of the one that was not used for longest.
const MOST: usize = 64;
/// So many wrong secrets are looked at in [`WINDOW`], of all clients together.
const ATTEMPTS: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// What a cookie names a session by: 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionId([u8; 32]);

impl SessionId {
    /// One that nobody else has.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// As a cookie has it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(Self(HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?))
    }

    /// As [`parse`](Self::parse) takes it.
    pub(super) fn text(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// What only a page that may read this server's answers knows of this session.
    pub(super) fn csrf_token(&self) -> String {
        HEXLOWER.encode(&tag(&self.0, CSRF))
    }

    /// Whether this is that. Takes as long if it is not.
    pub(super) fn has_csrf_token(&self, found: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        HEXLOWER.decode(found.as_bytes()).is_ok_and(|found| hmac::verify(&key, CSRF, &found).is_ok())
    }
}

const CSRF: &[u8] = b"lb admin: CSRF token";
const DIGEST: &[u8] = b"lb admin: digest";

type Digest = [u8; 32];

fn tag(key: &[u8], bytes: &[u8]) -> Digest {
    let mut found = [0; 32];
    found.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref());
    found
}

/// Whether two secrets are the same. Takes as long if they are not.
fn are_same(one: &[u8], other: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, DIGEST);
    hmac::verify(&key, one, &tag(DIGEST, other)).is_ok()
}

#[derive(Debug)]
struct Session {
    began: Instant,
    used: Instant,
    /// Of the secret that it was begun with.
    secret: Digest,
}

impl Session {
    /// When it ends, unless it is used before.
    fn end(&self) -> Instant {
        (self.used + IDLE).min(self.began + LONGEST)
    }
}

/// Why a secret was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is another.
    Wrong,
    /// It was not looked at: there were too many wrong ones.
    TooMany {
        /// When another is looked at.
        retry_after: Duration,
    },
}

/// Those who have proved it.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_digest: HashMap<Digest, Session>,
    /// When a wrong secret came: those of the last [`WINDOW`].
    failures: VecDeque<Instant>,
    /// All that there ever were.
    failed: u64,
    /// Whether it was told that the file cannot be read.
    pub(super) has_told: bool,
}

impl Sessions {
    /// Looks at what somebody says that the secret is.
    ///
    /// # Errors
    /// It is not, or it is not looked at.
    pub(super) fn attempt(&mut self, secret: &[u8], said: &[u8], now: Instant) -> Result<(), Refused> {
        while self.failures.front().is_some_and(|failure| *failure + WINDOW <= now) {
            self.failures.pop_front();
        }
        if self.failures.len() >= ATTEMPTS
            && let Some(first) = self.failures.front()
        {
            return Err(Refused::TooMany { retry_after: (*first + WINDOW).saturating_duration_since(now) });
        }
        if are_same(secret, said) {
            return Ok(());
        }
        self.failures.push_back(now);
        self.failed += 1;
        Err(Refused::Wrong)
    }

    /// Begins one for whoever knows the secret; says how long it lasts.
    pub(super) fn begin(&mut self, id: &SessionId, secret: &[u8], now: Instant) -> Duration {
        self.by_digest.retain(|_, session| session.end() > now);
        let unused = self.by_digest.iter().min_by_key(|(_, session)| session.used).map(|(digest, _)| *digest);
        if let Some(unused) = unused.filter(|_| self.by_digest.len() >= MOST) {
            self.by_digest.remove(&unused);
        }
        let session = Session { began: now, used: now, secret: tag(DIGEST, secret) };
        let left = session.end() - now;
        self.by_digest.insert(tag(DIGEST, &id.0), session);
        left
    }

    /// How long one still lasts, if it does.
    pub(super) fn find(&mut self, id: &SessionId, secret: &[u8], now: Instant) -> Option<Duration> {
        Some(self.known(id, secret, now)?.end() - now)
    }

    /// The same for something that is done with it.
    pub(super) fn use_of(&mut self, id: &SessionId, secret: &[u8], now: Instant) -> Option<Duration> {
        let session = self.known(id, secret, now)?;
        session.used = now;
        Some(session.end() - now)
    }

    /// Ends one; says whether there was one.
    pub(super) fn end(&mut self, id: &SessionId) -> bool {
        self.by_digest.remove(&tag(DIGEST, &id.0)).is_some()
    }

    /// How many wrong secrets came.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    fn known(&mut self, id: &SessionId, secret: &[u8], now: Instant) -> Option<&mut Session> {
        let digest = tag(DIGEST, &id.0);
        let secret = tag(DIGEST, secret);
        let is_over =
            self.by_digest.get(&digest).is_some_and(|known| known.end() <= now || known.secret != secret);
        if is_over {
            self.by_digest.remove(&digest);
        }
        self.by_digest.get_mut(&digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"correct horse battery staple";
    const MINUTE: Duration = Duration::from_secs(60);

    #[expect(clippy::disallowed_methods, reason = "time begins somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    fn id(number: u8) -> SessionId {
        SessionId([number; 32])
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
        let (mut sessions, start) = (Sessions::default(), start());
        assert_eq!(sessions.begin(&id(1), SECRET, start), 30 * MINUTE);
        assert_eq!(sessions.find(&id(1), SECRET, start + 20 * MINUTE), Some(10 * MINUTE), "a look is no use");
        assert_eq!(sessions.use_of(&id(1), SECRET, start + 29 * MINUTE), Some(30 * MINUTE));
        assert_eq!(sessions.use_of(&id(1), SECRET, start + 59 * MINUTE), None);
        assert_eq!(sessions.use_of(&id(1), SECRET, start + 58 * MINUTE), None, "it is forgotten");

        sessions.begin(&id(2), SECRET, start);
        for minute in (0..12 * 60).step_by(20) {
            assert!(sessions.use_of(&id(2), SECRET, start + minute * MINUTE).is_some(), "{minute} minutes");
        }
        assert_eq!(
            sessions.use_of(&id(2), SECRET, start + 719 * MINUTE),
            Some(MINUTE),
            "twelve hours in all"
        );
        assert_eq!(sessions.use_of(&id(2), SECRET, start + 720 * MINUTE), None);
    }

    #[test]
    fn a_session_ends_with_its_secret_and_when_it_is_ended() {
        let (mut sessions, start) = (Sessions::default(), start());
        sessions.begin(&id(1), SECRET, start);
        sessions.begin(&id(2), SECRET, start);
        assert_eq!(sessions.use_of(&id(1), b"another secret altogether", start), None);
        assert_eq!(sessions.use_of(&id(1), SECRET, start), None, "nor does it come back");
        assert!(sessions.end(&id(2)) && !sessions.end(&id(2)));
        assert_eq!(sessions.find(&id(2), SECRET, start), None);
    }

    #[test]
    fn there_are_so_many_and_the_least_used_gives_way() {
        let (mut sessions, start) = (Sessions::default(), start());
        let most = u8::try_from(MOST).expect("few");
        for number in 0..most {
            sessions.begin(&id(number), SECRET, start + Duration::from_secs(number.into()));
        }
        let later = start + 2 * MINUTE;
        assert!(sessions.use_of(&id(0), SECRET, later).is_some());
        sessions.begin(&id(most), SECRET, later);
        assert_eq!(sessions.by_digest.len(), MOST);
        assert!(
            sessions.find(&id(0), SECRET, later).is_some()
                && sessions.find(&id(most), SECRET, later).is_some()
        );
        assert_eq!(sessions.find(&id(1), SECRET, later), None);
    }

    #[test]
    fn after_ten_wrong_secrets_in_a_minute_none_is_looked_at() {
        let (mut sessions, start) = (Sessions::default(), start());
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            assert_eq!(sessions.attempt(SECRET, b"wrong", now), Err(Refused::Wrong));
            assert_eq!(sessions.attempt(SECRET, SECRET, now).is_ok(), second < 9);
        }
        let refused = sessions.attempt(SECRET, SECRET, start + Duration::from_secs(10));
        assert_eq!(refused, Err(Refused::TooMany { retry_after: Duration::from_secs(50) }));
        assert_eq!(sessions.failed(), 10, "what is not looked at is not counted");
        assert_eq!(sessions.attempt(SECRET, SECRET, start + MINUTE), Ok(()));
        assert_eq!(sessions.attempt(SECRET, b"", start + MINUTE), Err(Refused::Wrong));
    }

    #[test]
    fn an_id_is_what_it_was_and_its_token_is_its_own() {
        let (one, other) =
            (SessionId::random().expect("random bytes"), SessionId::random().expect("random bytes"));
        assert!(one != other && SessionId::parse(&one.text()) == Some(one));
        for text in
            ["", "00", &one.text()[1..], &format!("{}00", one.text()), &one.text().replace('a', "A")[..63]]
        {
            assert!(SessionId::parse(text).is_none(), "{text}");
        }
        assert!(one.has_csrf_token(&one.csrf_token()));
        for found in [other.csrf_token(), one.text(), String::new(), "x".to_owned()] {
            assert!(!one.has_csrf_token(&found), "{found}");
        }
    }
}
