//! What `lb doctor --fix` does by itself: what disturbs nothing that works, and is undone by the next boot.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::dataplane::{DataplaneError, ensure_mounted};
use crate::net::{Ethtool, Feature, NetError, Netlink, SysctlError, write_sysctl};

/// A change on the director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Changes a setting.
    Sysctl {
        /// Its path below /proc/sys.
        setting: String,
        /// What it is to be.
        value: &'static str,
    },
    /// Takes an interface up.
    LinkUp {
        /// Its index.
        index: u32,
    },
    /// Has a NIC no longer do something by itself.
    FeatureOff {
        /// The interface's index.
        index: u32,
        /// What.
        feature: Feature,
    },
    /// Mounts a bpffs for this directory, and makes it.
    MountBpffs(PathBuf),
}

/// A repair that failed.
#[derive(Debug, Error)]
pub enum RepairError {
    /// See [`SysctlError`].
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// See [`NetError`].
    #[error(transparent)]
    Net(#[from] NetError),
    /// The driver, or the kernel, refused.
    #[error("switch {feature} off: {source}", feature = feature.ethtool_name())]
    Feature {
        /// What was to be switched off.
        feature: Feature,
        /// Why it is not.
        source: io::Error,
    },
    /// There is no bpffs now either.
    #[error(transparent)]
    Mount(#[from] DataplaneError),
}

impl Repair {
    /// Does it.
    ///
    /// # Errors
    /// [`RepairError`].
    pub async fn apply(&self) -> Result<(), RepairError> {
        match self {
            Self::Sysctl { setting, value } => Ok(write_sysctl(setting, value)?),
            Self::LinkUp { index } => Ok(Netlink::open()?.set_up(*index).await?),
            Self::FeatureOff { index, feature } => Ethtool::open()
                .and_then(|ethtool| ethtool.set_feature(*index, *feature, false))
                .map_err(|source| RepairError::Feature { feature: *feature, source }),
            Self::MountBpffs(directory) => Ok(ensure_mounted(directory)?),
        }
    }
}
