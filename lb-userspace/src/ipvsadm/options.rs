//! Words of a command line to options and their arguments, as popt reads them for ipvsadm.
//!
//! What popt does and others do not: `-t=A` is `-t A`; an argument may be left out where it is optional, and is if the
//! next word begins with a dash; what is no option may stand anywhere; long options cannot be cut short.

use std::collections::VecDeque;

use super::grammar::{Command, Kind, Method, Opt};

/// What an option says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// What is to be done.
    Command(Command),
    /// Whom it is about.
    Service(Kind),
    /// How frames get to a real server.
    Forward(Method),
    /// How it is to be done.
    Option(Opt),
    /// A group is one of IPv6.
    Ipv6,
    /// Nothing: what it asks for is so anyway.
    Sort,
    Help,
    Version,
}

/// Whether a word belongs to an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument {
    No,
    Yes,
    Maybe,
}

type Spec = (&'static str, Option<char>, Argument, Switch);

/// Every option of ipvsadm 1.31.
const SPECS: [Spec; 58] = {
    use Argument::{Maybe, No, Yes};
    use Switch::{Command as Do, Forward, Option as Set, Service};
    [
        ("add-service", Some('A'), No, Do(Command::AddService)),
        ("edit-service", Some('E'), No, Do(Command::EditService)),
        ("delete-service", Some('D'), No, Do(Command::DeleteService)),
        ("clear", Some('C'), No, Do(Command::Flush)),
        ("list", Some('L'), No, Do(Command::List)),
        ("list", Some('l'), No, Do(Command::List)),
        ("zero", Some('Z'), No, Do(Command::Zero)),
        ("add-server", Some('a'), No, Do(Command::AddServer)),
        ("edit-server", Some('e'), No, Do(Command::EditServer)),
        ("delete-server", Some('d'), No, Do(Command::DeleteServer)),
        ("set", None, No, Do(Command::Set)),
        ("help", Some('h'), No, Switch::Help),
        ("version", Some('v'), No, Switch::Version),
        ("restore", Some('R'), No, Do(Command::Restore)),
        ("save", Some('S'), No, Do(Command::Save)),
        ("start-daemon", None, Yes, Do(Command::StartDaemon)),
        ("stop-daemon", None, Yes, Do(Command::StopDaemon)),
        ("tcp-service", Some('t'), Yes, Service(Kind::Tcp)),
        ("udp-service", Some('u'), Yes, Service(Kind::Udp)),
        ("sctp-service", None, Yes, Service(Kind::Sctp)),
        ("fwmark-service", Some('f'), Yes, Service(Kind::Mark)),
        ("scheduler", Some('s'), Yes, Set(Opt::Scheduler)),
        ("persistent", Some('p'), Maybe, Set(Opt::Persistent)),
        ("netmask", Some('M'), Yes, Set(Opt::Netmask)),
        ("real-server", Some('r'), Yes, Set(Opt::RealServer)),
        ("masquerading", Some('m'), No, Forward(Method::Masquerading)),
        ("ipip", Some('i'), No, Forward(Method::Tunneling)),
        ("gatewaying", Some('g'), No, Forward(Method::DirectRouting)),
        ("weight", Some('w'), Yes, Set(Opt::Weight)),
        ("u-threshold", Some('x'), Yes, Set(Opt::UpperThreshold)),
        ("l-threshold", Some('y'), Yes, Set(Opt::LowerThreshold)),
        ("numeric", Some('n'), No, Set(Opt::Numeric)),
        ("connection", Some('c'), No, Set(Opt::Connection)),
        ("mcast-interface", None, Yes, Set(Opt::McastInterface)),
        ("syncid", None, Yes, Set(Opt::SyncId)),
        ("timeout", None, No, Set(Opt::Timeout)),
        ("daemon", None, No, Set(Opt::Daemon)),
        ("stats", None, No, Set(Opt::Stats)),
        ("rate", None, No, Set(Opt::Rate)),
        ("thresholds", None, No, Set(Opt::Thresholds)),
        ("persistent-conn", None, No, Set(Opt::PersistentConn)),
        ("nosort", None, No, Set(Opt::NoSort)),
        ("sort", None, No, Switch::Sort),
        ("exact", Some('X'), No, Set(Opt::Exact)),
        ("ipv6", Some('6'), No, Switch::Ipv6),
        ("ops", Some('o'), No, Set(Opt::OnePacket)),
        ("pe", None, Yes, Set(Opt::PersistenceEngine)),
        ("sched-flags", Some('b'), Yes, Set(Opt::SchedulerFlags)),
        ("mcast-group", None, Yes, Set(Opt::McastGroup)),
        ("mcast-port", None, Yes, Set(Opt::McastPort)),
        ("mcast-ttl", None, Yes, Set(Opt::McastTtl)),
        ("sync-maxlen", None, Yes, Set(Opt::SyncMaxlen)),
        ("tun-info", None, No, Set(Opt::TunInfo)),
        ("tun-type", None, Yes, Set(Opt::TunType)),
        ("tun-port", None, Yes, Set(Opt::TunPort)),
        ("tun-nocsum", None, No, Set(Opt::TunNocsum)),
        ("tun-csum", None, No, Set(Opt::TunCsum)),
        ("tun-remcsum", None, No, Set(Opt::TunRemcsum)),
    ]
};

fn find(wanted: impl Fn(&Spec) -> bool) -> Option<Spec> {
    SPECS.into_iter().find(wanted)
}

/// What is wrong with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Unknown,
    ArgumentMissing,
    ArgumentUnwanted,
}

impl Problem {
    /// In popt's words (`poptStrerror`).
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown option",
            Self::ArgumentMissing => "missing argument",
            Self::ArgumentUnwanted => "option does not take an argument",
        }
    }
}

/// An option with its argument.
pub(super) type Found = (Switch, Option<String>);

/// Reads a command line.
#[derive(Debug)]
pub(super) struct Words<'a> {
    words: &'a [String],
    next: usize,
    /// What is left of a word of several short options.
    cluster: &'a str,
    /// Whether `--` was seen: the rest are no options.
    no_more: bool,
    /// What is no option.
    rest: VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    /// The words behind the program's name.
    pub(super) fn new(words: &'a [String]) -> Self {
        Self { words, next: 0, cluster: "", no_more: false, rest: VecDeque::new() }
    }

    /// The word that was read last.
    pub(super) fn last(&self) -> &'a str {
        self.next.checked_sub(1).and_then(|last| self.words.get(last)).map_or("", String::as_str)
    }

    /// The next of the words that are no options; all of them, after the last option.
    pub(super) fn rest(&mut self) -> Option<&'a str> {
        self.rest.pop_front()
    }

    /// The next option.
    ///
    /// # Errors
    /// What is wrong with it; it is the [last](Self::last) word.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Problem> {
        let mut value = None;
        let spec = if self.cluster.is_empty() {
            let Some(word) = self.next_option() else { return Ok(None) };
            if let Some(long) = word.strip_prefix("--") {
                let (name, argument) =
                    long.split_once('=').map_or((long, None), |(name, it)| (name, Some(it)));
                value = argument;
                find(|spec| spec.0 == name)
            } else {
                self.cluster = &word[1..];
                self.short()
            }
        } else {
            self.short()
        };
        let Some((_, _, argument, switch)) = spec else {
            self.cluster = "";
            return Err(Problem::Unknown);
        };
        if argument == Argument::No {
            let unwanted = value.is_some() || self.cluster.starts_with('=');
            return if unwanted { Err(Problem::ArgumentUnwanted) } else { Ok(Some((switch, None))) };
        }
        let value = match value {
            Some(value) => Some(value),
            None if !self.cluster.is_empty() => {
                let rest = std::mem::take(&mut self.cluster);
                Some(rest.strip_prefix('=').unwrap_or(rest))
            }
            None => match self.words.get(self.next) {
                None if argument == Argument::Yes => return Err(Problem::ArgumentMissing),
                Some(word) if argument == Argument::Yes || !word.starts_with('-') => {
                    self.next += 1;
                    Some(word.as_str())
                }
                _ => None,
            },
        };
        Ok(Some((switch, value.map(str::to_owned))))
    }

    /// The next word that is an option; those before it that are none are left for later.
    fn next_option(&mut self) -> Option<&'a str> {
        loop {
            let word = self.words.get(self.next)?;
            self.next += 1;
            if self.no_more || !word.starts_with('-') || word == "-" {
                self.rest.push_back(word);
            } else if word == "--" {
                self.no_more = true;
            } else {
                return Some(word);
            }
        }
    }

    fn short(&mut self) -> Option<Spec> {
        let mut letters = self.cluster.chars();
        let letter = letters.next();
        self.cluster = letters.as_str();
        find(|spec| spec.1.is_some() && spec.1 == letter)
    }
}
