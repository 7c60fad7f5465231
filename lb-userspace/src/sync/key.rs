//! The key that directors have in common, and what is made of it.

use std::path::Path;

use ring::hmac;

use crate::config::{SecretError, read_secret};

/// Bytes of an authentication tag: all of HMAC-SHA256's.
pub(super) const TAG: usize = 32;

/// Keys made of the file's, one for each purpose, so that what authenticates one thing never authenticates another.
#[derive(Clone)]
pub struct Key {
    datagram: hmac::Key,
    introduction: hmac::Key,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        // Both are of this director's files.
        self.introduce(b"same", b"") == other.introduce(b"same", b"")
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Of the secret in a file.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        Ok(Self::of(&read_secret(path)?))
    }

    /// Of a secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, label).as_ref());
        Self { datagram: derive(b"lb sync: datagrams"), introduction: derive(b"lb sync: introductions") }
    }

    /// Authenticates datagrams.
    pub(super) fn datagram(&self) -> &hmac::Key {
        &self.datagram
    }

    /// A tag of an introduction; `label` says which.
    pub(super) fn introduce(&self, label: &[u8], transcript: &[u8]) -> [u8; TAG] {
        tag(&self.introduction, &labelled(label, transcript))
    }

    /// Whether a tag of an introduction is right.
    pub(super) fn is_introduced(&self, label: &[u8], transcript: &[u8], found: &[u8]) -> bool {
        verify(&self.introduction, &labelled(label, transcript), found)
    }

    /// What authenticates the blocks of one connection.
    pub(super) fn of_connection(&self, transcript: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.introduce(b"blocks", transcript))
    }
}

/// A tag of what lies in one piece.
pub(super) fn tag(key: &hmac::Key, bytes: &[u8]) -> [u8; TAG] {
    let mut tag = [0; TAG];
    tag.copy_from_slice(hmac::sign(key, bytes).as_ref());
    tag
}

/// Whether a tag is right. Takes as long if it is not.
pub(super) fn verify(key: &hmac::Key, bytes: &[u8], found: &[u8]) -> bool {
    hmac::verify(key, bytes, found).is_ok()
}

/// The label after its length, so that no byte can move from one to the other.
fn labelled(label: &[u8], transcript: &[u8]) -> Vec<u8> {
    [&(label.len() as u64).to_be_bytes(), label, transcript].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_is_good_for_anything_else() {
        let (key, other) = (Key::of(&[1; 32]), Key::of(&[2; 32]));
        let found = key.introduce(b"one", b"text");
        assert!(key.is_introduced(b"one", b"text", &found));
        assert!(!key.is_introduced(b"two", b"text", &found) && !key.is_introduced(b"one", b"texT", &found));
        assert!(!key.is_introduced(b"on", b"etext", &found), "no byte moves");
        assert!(
            !other.is_introduced(b"one", b"text", &found) && !key.is_introduced(b"one", b"text", &found[1..])
        );
        assert!(!verify(key.datagram(), &labelled(b"one", b"text"), &found));
    }
}
