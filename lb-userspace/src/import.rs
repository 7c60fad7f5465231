//! What others' configurations say, as lb's: keepalived's, and the rules that `ipvsadm-save` prints.
//!
//! ```text
//! keepalived.conf ── keepalived ─┐
//!                                ├─> sections with their lines ─ settle ─> TOML that lb reads
//! rules ─────────── ipvsadm ─────┘                                 │
//!        └────────────────── remarks ──────────────────────────────┴─> report
//! ```
//!
//! Nothing is lost in silence: whatever is not the same afterwards is in the report, with its line.

mod document;
mod ipvsadm;
mod keepalived;
mod method;
mod report;
mod settle;
mod sync;

use crate::config;
use crate::names::Resolver;
use document::{Document, Element, Section};

pub use report::{Kind, Remark, Report};

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `keepalived.conf`.
    Keepalived,
    /// What `ipvsadm-save` prints, or a script of `ipvsadm` commands.
    Ipvsadm,
}

/// What the text does not say.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// What the file is called, in comments and remarks.
    pub file: &'a str,
    /// Whose it is; if none, what it looks like.
    pub format: Option<Format>,
    /// The director's interfaces; if none, those of virtual routers.
    pub interfaces: &'a [String],
    /// Who knows the names in rules that were saved without `-n`.
    pub resolver: &'a dyn Resolver,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// A configuration that lb reads; none if there is nothing in it.
    pub toml: Option<String>,
    /// What is not the same afterwards.
    pub report: Report,
    /// How many virtual servers there are in the TOML.
    pub virtual_servers: usize,
    /// How many real servers there are in it, counted for each virtual server.
    pub real_servers: usize,
    /// How many virtual routers there are in it.
    pub vrrp_instances: usize,
}

/// Converts a text. It may be anything.
#[must_use]
pub fn import(text: &str, options: &Options<'_>) -> Imported {
    let mut report = Report::new(options.file);
    let (mut document, interfaces) = match options.format.unwrap_or_else(|| detect(text)) {
        Format::Keepalived => keepalived::convert(text, &mut report),
        Format::Ipvsadm => (ipvsadm::convert(text, options.resolver, &mut report), Vec::new()),
    };
    document.head = head(&document, options.file);
    let director = director(options.interfaces, interfaces, &mut report);
    document.sections.insert(0, director);
    let settled = settle::settle(&mut document, &mut report);
    report.sort();
    let mut imported =
        Imported { toml: None, report, virtual_servers: 0, real_servers: 0, vrrp_instances: 0 };
    let Some(checked) = settled else { return imported };
    let servers = &checked.config.virtual_servers;
    imported.virtual_servers = servers.len();
    imported.real_servers = servers.iter().map(|server| server.real_servers.len()).sum();
    imported.vrrp_instances = checked.config.vrrp_instances.len();
    let is_empty = servers.is_empty() && imported.vrrp_instances == 0;
    let default = config::Timeouts::default();
    if !is_empty || checked.config.mail.is_some() || checked.config.timeouts != default {
        imported.toml = Some(checked.text.to_string());
    }
    imported
}

/// A script of ipvsadm begins its lines with it, or with its options.
fn detect(text: &str) -> Format {
    let is_rules = !text.lines().any(keepalived::is_section) && text.lines().any(ipvsadm::is_rule);
    if is_rules { Format::Ipvsadm } else { Format::Keepalived }
}

fn head(document: &Document, file: &str) -> Vec<String> {
    let mut head = vec![
        format!(
            "Converted from {file} by `lb import`, which says on standard error what is not the same here."
        ),
        "Look through it, write it to /etc/lb/lb.toml, then: lb check; lb doctor".to_owned(),
    ];
    let has_routers = document.sections.iter().any(|section| section.is("vrrp_instance"));
    if !has_routers {
        head.push("lb adds the VIPs to the interface and announces them; to leave that to others: manage_vips = false".to_owned());
    }
    head
}

/// Where the VIPs' traffic arrives, as far as somebody has said.
fn director(given: &[String], found: Vec<String>, report: &mut Report) -> Section {
    let mut section = Section::table("director", 0, "director");
    let mut names: Vec<String> = Vec::new();
    for name in if given.is_empty() { found } else { given.to_vec() } {
        if config::is_interface_name(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        const PLACEHOLDER: &str = "eth0";
        let message = "the file does not say where the VIPs' traffic arrives: eth0 is written; call it with --interface, or \
                       correct `director.interfaces`";
        report.note(0, "", message);
        section.comments.push("The file did not say it; correct it:".to_owned());
        names.push(PLACEHOLDER.to_owned());
    }
    section.set(0, "interfaces", names.into_iter().map(|name| Element::new(0, name)).collect::<Vec<_>>());
    section
}

#[cfg(test)]
mod tests;
