//! Which command takes which options (`commands_v_options` of ipvsadm.c), and what is said of one that does not fit.

/// What is to be done. In ipvsadm's order, with the names by which it speaks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
}

/// Whom an option `-t`, `-u`, `--sctp-service` or `-f` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Sctp,
    Mark,
}

/// How frames get to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    DirectRouting,
    Masquerading,
    Tunneling,
}

/// The options, in the order in which they are checked.
macro_rules! options {
    ($($option:ident $name:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Opt { $($option),* }

        impl Opt {
            const ALL: [Self; 34] = [$(Self::$option),*];

            /// The name by which ipvsadm speaks of it.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$option => $name),* }
            }
        }
    };
}

options! {
    Numeric "numeric",
    Connection "connection",
    Service "service-address",
    Scheduler "scheduler",
    Persistent "persistent",
    Netmask "netmask",
    RealServer "real-server",
    Forward "forwarding-method",
    Weight "weight",
    UpperThreshold "u-threshold",
    LowerThreshold "l-threshold",
    McastInterface "mcast-interface",
    Timeout "timeout",
    Daemon "daemon",
    Stats "stats",
    Rate "rate",
    Thresholds "thresholds",
    PersistentConn "persistent-conn",
    NoSort "nosort",
    SyncId "syncid",
    Exact "exact",
    OnePacket "ops",
    PersistenceEngine "pe",
    SchedulerFlags "sched-flags",
    McastGroup "mcast-group",
    McastPort "mcast-port",
    McastTtl "mcast-ttl",
    SyncMaxlen "sync-maxlen",
    TunInfo "tun-info",
    TunType "tun-type",
    TunPort "tun-port",
    TunNocsum "tun-nocsum",
    TunCsum "tun-csum",
    TunRemcsum "tun-remcsum",
}

impl Command {
    /// The name by which ipvsadm speaks of it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::Set => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
        }
    }

    /// What it needs, what it may have one of, and what it may have besides. All else it does not take.
    const fn options(self) -> [&'static [Opt]; 3] {
        use Opt::*;
        match self {
            Self::AddService | Self::EditService => [
                &[Service],
                &[],
                &[Scheduler, Persistent, Netmask, OnePacket, PersistenceEngine, SchedulerFlags],
            ],
            Self::DeleteService => [&[Service], &[], &[]],
            Self::Flush | Self::Set | Self::Restore => [&[], &[], &[]],
            Self::List => [
                &[],
                &[Connection, Service, Timeout, Daemon],
                &[Numeric, Stats, Rate, Thresholds, PersistentConn, NoSort, SyncId, Exact, TunInfo],
            ],
            Self::AddServer | Self::EditServer => [
                &[Service, RealServer],
                &[],
                &[
                    Forward,
                    Weight,
                    UpperThreshold,
                    LowerThreshold,
                    TunType,
                    TunPort,
                    TunNocsum,
                    TunCsum,
                    TunRemcsum,
                ],
            ],
            Self::DeleteServer => [&[Service, RealServer], &[], &[]],
            Self::StartDaemon => {
                [&[], &[], &[McastInterface, SyncId, McastGroup, McastPort, McastTtl, SyncMaxlen]]
            }
            Self::StopDaemon => [&[], &[], &[SyncId]],
            Self::Save => [&[], &[], &[Numeric]],
            Self::Zero => [&[], &[], &[Service]],
        }
    }
}

/// The options that were given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given(u64);

impl Given {
    const fn bit(option: Opt) -> u64 {
        1 << option as u32
    }

    /// # Errors
    /// What is wrong with an option that is there already.
    pub(super) fn add(&mut self, option: Opt) -> Result<(), String> {
        if self.has(option) {
            return Err(format!("multiple '{}' options specified", option.name()));
        }
        self.0 |= Self::bit(option);
        Ok(())
    }

    pub(super) const fn has(self, option: Opt) -> bool {
        self.0 & Self::bit(option) != 0
    }

    pub(super) fn has_any(self, options: &[Opt]) -> bool {
        options.iter().any(|option| self.has(*option))
    }

    /// Whether these are a command's.
    ///
    /// # Errors
    /// What is wrong with the first that is missing, or is not.
    pub(super) fn check(self, command: Command) -> Result<(), String> {
        let [needed, one_of, possible] = command.options();
        let (name, mut one) = (command.name(), None);
        for option in Opt::ALL {
            let called = option.name();
            if !self.has(option) {
                if needed.contains(&option) {
                    return Err(format!("You need to supply the '{called}' option for the '{name}' command"));
                }
            } else if one_of.contains(&option) {
                if let Some(one) = one.replace(called) {
                    return Err(format!(
                        "The option '{called}' conflicts with the '{one}' option in the '{name}' command"
                    ));
                }
            } else if !needed.contains(&option) && !possible.contains(&option) {
                return Err(format!("Illegal '{called}' option with the '{name}' command"));
            }
        }
        Ok(())
    }
}
