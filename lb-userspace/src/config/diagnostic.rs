//! What is wrong with a configuration: which rule, where, and what to write instead.

use std::collections::HashSet;
use std::fmt;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};

use super::source::Span;

/// Longer lines are cut around what they are shown for.
const WIDTH: usize = 120;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $code:ident = $name:literal,)*) => {
        /// What kind of mistake a diagnostic is about: a name to search for and to test by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $code,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The name in brackets behind `error`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The file is not UTF-8.
    NotUtf8 = "not-utf8",
    /// The file is not TOML.
    Syntax = "syntax",
    /// A key or section is there twice.
    DuplicateKey = "duplicate-key",
    /// A key that no version knows.
    UnknownKey = "unknown-key",
    /// A key that has no default is not there.
    MissingKey = "missing-key",
    /// A string where an integer belongs, and the like.
    WrongType = "wrong-type",
    /// None of the words that are possible here.
    UnknownValue = "unknown-value",
    /// No scheduler has this name.
    UnknownScheduler = "unknown-scheduler",
    /// A flag twice.
    DuplicateFlag = "duplicate-flag",
    /// A flag, or a size, that another scheduler has.
    OtherScheduler = "other-scheduler",
    /// What another protocol has.
    OtherProtocol = "other-protocol",
    /// A number or a duration outside its limits.
    OutOfRange = "out-of-range",
    /// More than the maps hold.
    TooMany = "too-many",
    /// Part of the contract, but not of this version; going on without it would mislead.
    NotAvailable = "not-available",
    /// Not an IP address, or not one with a port.
    InvalidAddress = "invalid-address",
    /// An IP address that no host can have or serve.
    UnusableAddress = "unusable-address",
    /// Not a prefix, or one with bits that do not count.
    InvalidPrefix = "invalid-prefix",
    /// A prefix twice, or both allowed and denied.
    DuplicatePrefix = "duplicate-prefix",
    /// Not a MAC.
    InvalidMac = "invalid-mac",
    /// A MAC that no network card can have.
    UnusableMac = "unusable-mac",
    /// Not a duration.
    InvalidDuration = "invalid-duration",
    /// Not a path that works from anywhere.
    InvalidPath = "invalid-path",
    /// A name that cannot be told from others, or not be shown.
    InvalidName = "invalid-name",
    /// A name that Linux gives no interface.
    InvalidInterface = "invalid-interface",
    /// An interface that this machine does not have.
    NoSuchInterface = "no-such-interface",
    /// A virtual server without an address.
    NoAddress = "no-address",
    /// A virtual server without a real server.
    EmptyService = "empty-service",
    /// Two virtual servers of one name.
    DuplicateName = "duplicate-name",
    /// A VIP and port of two virtual servers, or twice in one.
    DuplicateAddress = "duplicate-address",
    /// Ranges of ports that two virtual servers have for one VIP.
    OverlappingPorts = "overlapping-ports",
    /// The number of a virtual router twice on an interface.
    DuplicateRouter = "duplicate-router",
    /// Not what an advert can carry.
    InvalidPassword = "invalid-password",
    /// A number of two groups.
    DuplicateFwmark = "duplicate-fwmark",
    /// IPv4 and IPv6 in one virtual server.
    MixedFamilies = "mixed-families",
    /// A real server twice in a virtual server.
    DuplicateRealServer = "duplicate-real-server",
    /// A peer twice.
    DuplicatePeer = "duplicate-peer",
    /// An interface of the director twice.
    DuplicateInterface = "duplicate-interface",
    /// A real server's port that is not its VIP's.
    PortTranslation = "port-translation",
    /// A real server at a VIP.
    VipIsRealServer = "vip-is-real-server",
    /// A health check that asks nothing.
    MissingProbe = "missing-probe",
    /// A health check that asks in several ways.
    SeveralProbes = "several-probes",
    /// A check of the VIP where there is none, or by a probe that cannot go there.
    ImpossibleTarget = "impossible-target",
    /// Keys that cannot be meant together.
    Contradiction = "contradiction",
    /// What makes no difference as it is.
    NoEffect = "no-effect",
    /// A secret that a network sees.
    SecretInClear = "secret-in-clear",
    /// Checks as rarely as keepalived's default has them.
    LongInterval = "long-interval",
    /// Not a regular expression.
    InvalidRegex = "invalid-regex",
    /// Not a digest.
    InvalidDigest = "invalid-digest",
    /// Not the content of a datagram.
    InvalidPayload = "invalid-payload",
    /// What no HTTP request can have.
    InvalidRequest = "invalid-request",
    /// Not the name of a host.
    InvalidHost = "invalid-host",
    /// Not a program with its arguments.
    InvalidCommand = "invalid-command",
    /// Not the address of a mailbox.
    InvalidMailbox = "invalid-mailbox",
    /// A file that this machine does not have, or that is not what it has to be.
    UnusableFile = "unusable-file",
    /// An address that this machine does not have.
    NoSuchAddress = "no-such-address",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether a configuration can be used nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

/// One thing that is wrong. Displayed, it shows the line in question.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Which rule.
    pub code: Code,
    /// Whether the configuration can be used nevertheless.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to say about that place; may be empty.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<Label>,
    /// What to write instead, one remedy each.
    pub help: Vec<String>,
}

/// A place, and what to say about it.
#[derive(Clone, Debug)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What to say.
    pub text: String,
}

impl Diagnostic {
    /// An error, unless it is reported as a warning.
    pub(super) fn new(code: Code, span: &Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: span.clone(),
            label: String::new(),
            related: Vec::new(),
            help: Vec::new(),
        }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn related(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.related.push(Label { span: span.clone(), text: text.into() });
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let label = (!self.label.is_empty()).then_some(self.label.as_str());
        let mut here =
            line(&self.span).annotation(AnnotationKind::Primary.span(self.span.in_line()).label(label));
        let mut elsewhere = Vec::new();
        for Label { span, text } in &self.related {
            let annotation = AnnotationKind::Context.span(span.in_line()).label(text.as_str());
            if span.line() == self.span.line() && span.start().abs_diff(self.span.start()) < WIDTH / 2 {
                here = here.annotation(annotation);
            } else {
                elsewhere.push(line(span).annotation(annotation));
            }
        }
        let report = level
            .primary_title(self.message.as_str())
            .id(self.code.name())
            .element(here)
            .elements(elsewhere)
            .elements(self.help.iter().map(|help| Level::HELP.message(help.as_str())));
        f.write_str(&Renderer::plain().term_width(WIDTH).render(&[report]))
    }
}

/// The line of a place, alone: the renderer reads all it is given, for each diagnostic anew.
fn line<'a>(span: &'a Span) -> Snippet<'a, Annotation<'a>> {
    Snippet::source(span.whole_line()).path(span.file()).line_start(span.line())
}

/// All that is wrong, in the order of the file. Displayed, it is what `lb check` prints.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// In the order of the file; of the same place, in the order given. What several had to say of a place because they
    /// all depend on it is said once.
    pub(super) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        let mut said = HashSet::new();
        diagnostics.retain(|found| said.insert((found.span.start(), found.code, found.message.clone())));
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start());
        Self(diagnostics)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the configuration cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Adds those of another check of the same file.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        Self::new(self.0)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        for diagnostic in self {
            writeln!(f, "{diagnostic}\n")?;
        }
        let counts = [(Severity::Error, "error"), (Severity::Warning, "warning")];
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(severity, noun)| (self.count(severity), noun))
            .filter(|(count, _)| *count > 0)
            .map(|(count, noun)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" }))
            .collect();
        f.write_str(&counts.join(", "))
    }
}

impl std::error::Error for Diagnostics {}
