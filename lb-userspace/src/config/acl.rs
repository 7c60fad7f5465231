//! `[acl]`, and `acl` of a virtual server.

use std::collections::{BTreeMap, BTreeSet};

use super::contract::ACL;
use super::diagnostic::{Code, Diagnostic};
use super::model::Acl;
use super::reader::{Table, Text, Value};
use super::report::{Partial, Reported};
use super::source::{Located, Span, repetitions};
use super::suggest::quoted;
use crate::forms::{Prefix, PrefixError};

/// Prefixes as they were read.
#[derive(Default)]
pub(super) struct AclDraft {
    pub(super) deny: Partial<Located<Prefix>>,
    pub(super) allow: Partial<Located<Prefix>>,
}

impl AclDraft {
    /// All of them.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &Located<Prefix>> {
        self.deny.read.iter().chain(&self.allow.read)
    }

    pub(super) fn finish(self) -> Result<Acl, Reported> {
        let set = |prefixes: Partial<Located<Prefix>>| -> Result<BTreeSet<Prefix>, Reported> {
            Ok(prefixes.all()?.into_iter().map(|prefix| prefix.value).collect())
        };
        let (deny, allow) = (set(self.deny), set(self.allow));
        Ok(Acl { deny: deny?, allow: allow? })
    }
}

/// `[acl]`.
pub(super) fn of_all(file: &Table<'_>) -> Result<AclDraft, Reported> {
    file.value_or("acl", AclDraft::default(), |value| acl(&value.table(&ACL)?))
}

/// The key `acl` of a virtual server.
pub(super) fn of_service(virtual_server: &Table<'_>) -> Result<AclDraft, Reported> {
    virtual_server.value_or("acl", AclDraft::default(), |value| {
        acl(&value.inline_table(&ACL, "{ deny = [\"198.51.100.0/24\"] }")?)
    })
}

fn acl(table: &Table<'_>) -> Result<AclDraft, Reported> {
    let list = |key| table.optional(key).map(prefixes).unwrap_or_default();
    let draft = AclDraft { deny: list("deny"), allow: list("allow") };
    for (list, key) in [(&draft.deny, "deny"), (&draft.allow, "allow")] {
        for (prefix, again, first) in repetitions(list.read.iter().map(|prefix| (prefix.value, &prefix.span)))
        {
            let message = format!("{prefix} is in `{key}` already");
            let diagnostic = Diagnostic::new(Code::DuplicatePrefix, again, message).label("the second time");
            let diagnostic = diagnostic.related(first, "the first time");
            table.report().warning(diagnostic.help("remove it from one of the two places"));
        }
    }
    let denied: BTreeMap<Prefix, &Span> =
        draft.deny.read.iter().map(|prefix| (prefix.value, &prefix.span)).collect();
    for allowed in &draft.allow.read {
        if let Some(denied) = denied.get(&allowed.value) {
            let message = format!("{allowed} is both allowed and denied");
            let diagnostic =
                Diagnostic::new(Code::DuplicatePrefix, &allowed.span, message).label("allowed here");
            let diagnostic = diagnostic.related(denied, "denied here");
            table
                .report()
                .error(diagnostic.help("remove it from one of the two: what is denied stays denied"));
        }
    }
    Ok(draft)
}

fn prefixes(value: Value<'_>) -> Partial<Located<Prefix>> {
    let elements = match value.list("\"198.51.100.0/24\"") {
        Ok(elements) => elements,
        Err(reported) => return Partial::none(reported),
    };
    Partial::of(elements.into_iter().map(|element| {
        element.text("write the prefix in quotes: \"198.51.100.0/24\"").and_then(|text| prefix(&text))
    }))
}

fn prefix(text: &Text<'_>) -> Result<Located<Prefix>, Reported> {
    let error = match text.parse() {
        Ok(prefix) => return Ok(text.located(prefix)),
        Err(error) => error,
    };
    let part = match (&error, text.halves('/')) {
        (PrefixError::Address, Some((address, _))) if !address.is_empty() => address,
        (PrefixError::Length(_), Some((_, length))) if !length.is_empty() => length,
        _ => text.clone(),
    };
    let (message, help) = match error {
        PrefixError::Address => (
            format!("{} is not an IP address", quoted(&part)),
            "write an address and how many of its bits count: \"198.51.100.0/24\" or \"2001:db8::/32\""
                .to_owned(),
        ),
        PrefixError::Length(most) => (
            format!("{} is not a prefix length", quoted(&part)),
            format!("write how many bits of the address count, from 0 to {most}"),
        ),
        PrefixError::Mapped => (
            format!("{} is IPv4 in the form of IPv6", quoted(text)),
            "write the IPv4 prefix itself: \"198.51.100.0/24\"".to_owned(),
        ),
        PrefixError::HostBits { network, host } => (
            format!("{} has bits set behind the first {}", quoted(text), network.length()),
            format!("write \"{network}\", or \"{host}\" for the one address"),
        ),
    };
    Err(part.error(Code::InvalidPrefix, message, help))
}
