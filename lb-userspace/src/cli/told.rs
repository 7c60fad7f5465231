//! Changes in words.

use std::fmt::Write as _;

use serde_json::Value;

use super::output::count;
use crate::control::api::{AclAction, Change, Keys};

/// One line: `+` for what is new, `-` for what is gone, `~` for what is different.
pub(super) fn change(change: &Change) -> String {
    match change {
        Change::AddService { service } => {
            let name = service.get("name").and_then(Value::as_str).map(|name| format!(" {name:?}"));
            format!("+ virtual server{}: {}", name.unwrap_or_default(), keys(service, &["name"]))
        }
        Change::EditService { service, set } => format!("~ virtual server {service:?}: {}", keys(set, &[])),
        Change::RemoveService { service } => format!("- virtual server {service:?}"),
        Change::AddServer { service, server } => {
            let address = server.get("address").and_then(Value::as_str).unwrap_or("?");
            let rest = keys(server, &["address"]);
            let rest = if rest.is_empty() { rest } else { format!(": {rest}") };
            format!("+ real server {address} of {service:?}{rest}")
        }
        Change::EditServer { service, server, set } => {
            format!("~ real server {server} of {service:?}: {}", keys(set, &[]))
        }
        Change::RemoveServer { service, server } => format!("- real server {server} of {service:?}"),
        Change::Clear => "- all virtual servers".to_owned(),
        Change::SetTimeouts { set } => format!("~ timeouts: {}", keys(set, &[])),
        Change::SetAcl { set } => format!("~ acl: {}", keys(set, &[])),
        Change::SetSmtp { set } => format!("~ smtp: {}", keys(set, &[])),
        Change::SetSync { set } => format!("~ sync: {}", keys(set, &[])),
        Change::Acl { action, prefix, service } => {
            let of = service.as_ref().map_or(String::new(), |service| format!(" of {service:?}"));
            match action {
                AclAction::Deny => format!("~ acl{of}: {prefix} is denied"),
                AclAction::Allow => format!("~ acl{of}: {prefix} is allowed"),
                AclAction::Remove => format!("~ acl{of}: nothing is said of {prefix}"),
            }
        }
    }
}

/// `key = value`, as the file has them, without some.
fn keys(keys: &Keys, without: &[&str]) -> String {
    let mut text = String::new();
    for (key, json) in keys.iter().filter(|(key, _)| !without.contains(&key.as_str())) {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = match (key.as_str(), json) {
            ("real_server", Value::Array(servers)) => {
                write!(text, "{separator}{}", count(servers.len(), "real server"))
            }
            (key, Value::Null) => write!(text, "{separator}{key} as by default"),
            (key, json) => write!(text, "{separator}{key} = {}", value(json)),
        };
    }
    text
}

fn value(json: &Value) -> String {
    toml::Value::try_from(json).map_or_else(|_| json.to_string(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_change_is_a_line() {
        for (json, line) in [
            (
                json!({ "op": "add_service", "service": {
                    "name": "web", "addresses": ["192.0.2.1:80"], "real_server": [{ "address": "192.0.2.10" }] } }),
                "+ virtual server \"web\": addresses = [\"192.0.2.1:80\"], 1 real server",
            ),
            (
                json!({ "op": "edit_service", "service": "web", "set": {
                    "persistence": { "timeout": "60s" }, "scheduler": null } }),
                "~ virtual server \"web\": persistence = { timeout = \"60s\" }, scheduler as by default",
            ),
            (
                json!({ "op": "add_server", "service": "web", "server": { "address": "192.0.2.10" } }),
                "+ real server 192.0.2.10 of \"web\"",
            ),
            (
                json!({ "op": "edit_server", "service": "web", "server": "192.0.2.10", "set": { "weight": 0 } }),
                "~ real server 192.0.2.10 of \"web\": weight = 0",
            ),
            (
                json!({ "op": "edit_service", "service": "web", "set": {
                    "health_check": { "interval": "2s", "http": { "path": "/healthz", "status": [200, "300-399"] } } } }),
                "~ virtual server \"web\": health_check = { http = { path = \"/healthz\", status = [200, \"300-399\"] }, interval = \"2s\" }",
            ),
            (
                json!({ "op": "set_smtp", "set": { "server": "192.0.2.25", "helo_name": null } }),
                "~ smtp: server = \"192.0.2.25\", helo_name as by default",
            ),
            (json!({ "op": "set_sync", "set": { "refresh": "5s" } }), "~ sync: refresh = \"5s\""),
            (
                json!({ "op": "remove_server", "service": "web", "server": "2001:db8::1" }),
                "- real server 2001:db8::1 of \"web\"",
            ),
        ] {
            let change = serde_json::from_value(json).expect("it is a change");
            assert_eq!(super::change(&change), line);
        }
    }
}
