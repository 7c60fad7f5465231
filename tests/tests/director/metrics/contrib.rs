//! What lies in `contrib/` and `docs/` names metrics and labels that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use lb_lab::{Exposition, Family};
use serde_json::Value;

/// Labels that Prometheus adds to whatever it scrapes.
const OF_THE_TARGET: [&str; 2] = ["job", "instance"];
/// Labels whose values are of a list that is known: all of them are exported, also where their metric is 0.
const LISTS: [&str; 4] = ["state", "reason", "table", "outcome"];

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every metric, with the values of each of its labels.
struct Exported(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exported {
    fn of(scraped: &Exposition) -> Self {
        let mut exported = BTreeMap::<_, BTreeMap<_, BTreeSet<_>>>::new();
        for sample in scraped.families.iter().flat_map(|family| &family.samples) {
            let labels = exported.entry(sample.name.clone()).or_default();
            for (label, value) in &sample.labels {
                labels.entry(label.clone()).or_default().insert(value.clone());
            }
        }
        // What Prometheus says of each target itself.
        exported.insert("up".to_owned(), BTreeMap::new());
        Self(exported)
    }

    fn has(&self, metric: &str, label: &str) -> bool {
        OF_THE_TARGET.contains(&label) || self.0[metric].contains_key(label)
    }

    /// Checks a PromQL expression; the metrics in it.
    fn check(&self, expression: &str) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        let mut lists = Vec::new();
        let mut rest = expression;
        while let Some(begin) = rest.find(|letter: char| letter.is_ascii_alphabetic() || letter == '"') {
            rest = &rest[begin..];
            if let Some(quoted) = rest.strip_prefix('"') {
                rest = quoted.split_once('"').expect("a quote has an end").1;
                continue;
            }
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            if ["by", "on", "without", "ignoring", "group_left", "group_right"].contains(&word) {
                let list = rest.trim_start().strip_prefix('(').expect("a list of labels");
                let (list, behind) = list.split_once(')').expect("a list has an end");
                lists.extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = behind;
            } else if word == "up" || word.starts_with("lb_") {
                assert!(self.0.contains_key(word), "{word} is not exported: {expression}");
                used.insert(word.to_owned());
                if let Some(matchers) = rest.strip_prefix('{') {
                    rest = self.check_matchers(word, matchers, expression);
                }
            }
        }
        assert!(!used.is_empty(), "no metric in {expression}");
        for label in lists {
            let has = used.iter().all(|metric| self.has(metric, &label));
            assert!(has, "not all of {used:?} have the label {label}: {expression}");
        }
        used
    }

    /// Checks what stands in braces; what comes after.
    fn check_matchers<'a>(&self, metric: &str, matchers: &'a str, expression: &str) -> &'a str {
        let mut rest = matchers;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(behind) = rest.strip_prefix('}') {
                return behind;
            }
            let (matcher, behind) = rest.split_once('"').expect("a value in quotes");
            let (value, behind) = behind.split_once('"').expect("a quote has an end");
            rest = behind;
            let label = matcher.trim_end_matches(['=', '~', '!']).trim();
            assert!(self.has(metric, label), "{metric} has no label {label}: {expression}");
            if LISTS.contains(&label) {
                for value in value.split('|') {
                    let is_known = self.0[metric][label].contains(value);
                    assert!(is_known, "{metric} has no {label} {value}: {expression}");
                }
            }
        }
    }

    /// Labels that are left in a result of these metrics, as far as an expression keeps them.
    fn check_template(&self, used: &BTreeSet<String>, label: &str, expression: &str) {
        let grouped = expression.split_once(" by (").and_then(|(_, rest)| rest.split_once(')'));
        let is_kept = grouped.is_none_or(|(list, _)| list.split(", ").any(|kept| kept == label));
        let has = used.iter().any(|metric| self.has(metric, label));
        assert!(has && is_kept, "what {expression} finds has no label {label}");
    }
}

/// What stands between `begin` and `end`, each time.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0.trim()))
}

pub(super) fn alerts_use_what_there_is(scraped: &Exposition) {
    let (exported, text) = (Exported::of(scraped), read("contrib/prometheus/alerts.yml"));
    let rules: Vec<&str> = text.split("      - alert: ").skip(1).collect();
    assert!(rules.len() >= 10, "the rules are found: {}", rules.len());
    for rule in rules {
        let name = rule.lines().next().unwrap_or_default();
        let expression =
            rule.lines().find_map(|line| line.trim().strip_prefix("expr: '")?.strip_suffix('\''));
        let expression = expression.unwrap_or_else(|| panic!("{name} has an expression in one line"));
        let used = exported.check(expression);
        for key in ["severity: ", "summary: ", "description: "] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        for label in between(rule, "{{ $labels.", "}}") {
            exported.check_template(&used, label, expression);
        }
    }
}

pub(super) fn the_dashboard_uses_what_there_is(scraped: &Exposition) {
    let (exported, text) = (Exported::of(scraped), read("contrib/grafana/lb.json"));
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let rows: Vec<&str> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .filter_map(|row| row["title"].as_str())
        .collect();
    for row in ["Overview", "Services", "Real servers", "Health checks", "VRRP", "Synchronisation"] {
        assert!(rows.contains(&row), "{row} is not among {rows:?}");
    }
    let mut used = BTreeSet::new();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().expect("an expression");
        let metrics = exported.check(expression);
        for label in between(target["legendFormat"].as_str().unwrap_or_default(), "{{", "}}") {
            exported.check_template(&metrics, label, expression);
        }
        used.extend(metrics);
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let Some(query) = variable["definition"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|inner| inner.strip_suffix(')'));
        let (metric, label) =
            inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values of a metric");
        let metrics = exported.check(metric);
        assert!(metrics.iter().all(|metric| exported.has(metric, label)), "{query}");
        used.extend(metrics);
    }
    let unused: Vec<&String> = exported.0.keys().filter(|metric| !used.contains(*metric)).collect();
    // The room that there is stands in the configuration.
    assert_eq!(unused, ["lb_connections_max"], "every metric is shown");
}

/// The list of docs/metrics.md, in the order of a scrape.
fn table(scraped: &Exposition) -> String {
    let row = |family: &Family| {
        let Some(sample) = family.samples.first() else { panic!("{} has no sample", family.name) };
        let labels: Vec<String> = sample.labels.keys().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |\n", sample.name, family.kind, labels.join(", "), family.help)
    };
    let head = "| metric | kind | labels | what it is |\n|---|---|---|---|\n".to_owned();
    head + &scraped.families.iter().map(row).collect::<String>()
}

pub(super) fn documentation_has_all(scraped: &Exposition) {
    let (table, text) = (table(scraped), read("docs/metrics.md"));
    assert!(text.contains(&table), "docs/metrics.md is to have this list:\n\n{table}");
}

pub(super) fn scrape_configuration_names_the_port() {
    let text = read("contrib/prometheus/scrape.yml");
    assert!(text.contains(":9811") && text.contains("job_name: lb") && text.contains("alerts.yml"), "{text}");
}
