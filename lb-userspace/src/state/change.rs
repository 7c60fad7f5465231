//! Changes of what is configured: the one vocabulary of the API, of the command line, of what a reload does, and of
//! what is remembered for the next start.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::names::NameError;
use super::published::Published;
use crate::forms::Prefix;

/// Keys of a table of the configuration file with their values, as the file has them. `null` is for a key that is not
/// to be there, and so for its default.
pub type Keys = serde_json::Map<String, serde_json::Value>;

/// A change of what is configured. A virtual server is meant by its name, by an address that only it has
/// (`192.0.2.1:80`), by an address and its protocol (`192.0.2.1:53/udp`), or by the number of its group (`fwmark:7`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// One more virtual server.
    AddService {
        /// Its `[[virtual_server]]`, with its real servers under `real_server`.
        #[schema(value_type = Object)]
        service: Keys,
    },
    /// Other properties of a virtual server.
    EditService {
        /// Which.
        service: String,
        /// Those that change; `real_server` is not among them.
        #[schema(value_type = Object)]
        set: Keys,
    },
    /// One virtual server less, with its real servers.
    RemoveService {
        /// Which.
        service: String,
    },
    /// One more real server.
    AddServer {
        /// Of which virtual server.
        service: String,
        /// Its `[[virtual_server.real_server]]`.
        #[schema(value_type = Object)]
        server: Keys,
    },
    /// Other properties of a real server.
    EditServer {
        /// Of which virtual server.
        service: String,
        /// Which.
        #[schema(value_type = String)]
        server: IpAddr,
        /// Those that change.
        #[schema(value_type = Object)]
        set: Keys,
    },
    /// One real server less.
    RemoveServer {
        /// Of which virtual server.
        service: String,
        /// Which.
        #[schema(value_type = String)]
        server: IpAddr,
    },
    /// No virtual servers any more.
    Clear,
    /// Other timeouts of connections.
    SetTimeouts {
        /// Keys of `[timeouts]`.
        #[schema(value_type = Object)]
        set: Keys,
    },
    /// Other rules for clients of all virtual servers; those of one are a property of it.
    SetAcl {
        /// Keys of `[acl]`.
        #[schema(value_type = Object)]
        set: Keys,
    },
    /// Mail goes another way.
    SetSmtp {
        /// Keys of `[smtp]`; without any left, no mail is sent.
        #[schema(value_type = Object)]
        set: Keys,
    },
    /// Connections are shared in another way.
    SetSync {
        /// Keys of `[sync]`; without any left, none are shared.
        #[schema(value_type = Object)]
        set: Keys,
    },
    /// A prefix of clients is treated in another way.
    Acl {
        /// What to do with it.
        action: AclAction,
        /// The clients.
        #[schema(value_type = String)]
        prefix: Prefix,
        /// By which virtual server; without it, by all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
}

/// What to do with a prefix of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AclAction {
    /// Refuse its clients, whatever was said of them before.
    Deny,
    /// Let its clients in, and others only if they are allowed as well.
    Allow,
    /// Say nothing of it any more.
    Remove,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Whether anything is different now.
    pub is_different: bool,
    /// What was done before.
    pub before: Arc<Published>,
    /// What is done now.
    pub after: Arc<Published>,
}

/// Why changes were not made; everything is as before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub struct Refused {
    /// Which of several, counted from 0; none if they do not fit together.
    pub change: Option<usize>,
    /// Why.
    pub problem: ChangeError,
}

/// Why a change was not made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// The virtual server that is to be changed does not exist.
    #[error(transparent)]
    NoSuchService(#[from] NameError),
    /// The real server that is to be changed does not exist.
    #[error(transparent)]
    NoSuchServer(NameError),
    /// A virtual server of this name is there already.
    #[error("there is a virtual server {0:?} already; edit it, or give this one another name")]
    ServiceExists(String),
    /// The virtual server has this real server already.
    #[error("{service:?} has the real server {server} already; edit it instead")]
    ServerExists {
        /// The virtual server's name.
        service: String,
        /// The real server.
        server: IpAddr,
    },
    /// Nothing is said of this prefix.
    #[error("{0} is neither denied nor allowed; `lb acl list` shows what is")]
    NoSuchPrefix(Prefix),
    /// The configuration would not be valid any more.
    #[error("{0}")]
    Invalid(String),
    /// The maps could not be changed.
    #[error("{0}")]
    Failed(String),
}
