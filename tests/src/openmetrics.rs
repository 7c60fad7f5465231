//! The text format of OpenMetrics 1.0.0, read as strictly as it is written: families with HELP and TYPE, nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

/// What was scraped.
#[derive(Debug, Clone, Default)]
pub struct Exposition {
    /// In the order of the text.
    pub families: Vec<Family>,
}

/// A metric family.
#[derive(Debug, Clone, Default)]
pub struct Family {
    /// Its name, without suffixes of samples.
    pub name: String,
    /// `counter`, `gauge` or `info`.
    pub kind: String,
    /// What it is.
    pub help: String,
    /// The unit of its values, if it has one.
    pub unit: Option<String>,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// A sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The metric's name, with suffix.
    pub name: String,
    /// Names and values of labels, in the order of names.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Exposition {
    /// Reads a scrape.
    ///
    /// # Errors
    /// If anything is not as the format has it, with the line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reading = Reading::default();
        let body = text.strip_suffix("# EOF\n").ok_or_else(|| wrong("# EOF is not the last line", ""))?;
        for line in body.lines() {
            reading.line(line).map_err(|what| wrong(&what, line))?;
        }
        reading.end_family().map_err(|what| wrong(&what, "# EOF"))?;
        Ok(reading.done)
    }

    /// The samples with a name.
    pub fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.families.iter().flat_map(|family| &family.samples).filter(move |sample| sample.name == name)
    }

    /// The value of the one sample with this name that has these labels, and perhaps others.
    ///
    /// # Panics
    /// If there is none, or are several.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        };
        let found: Vec<f64> = self.samples(name).filter(has).map(|sample| sample.value).collect();
        let [value] = found[..] else { panic!("{name}{labels:?} is there {} times", found.len()) };
        value
    }
}

fn wrong(what: &str, line: &str) -> Error {
    Error::Description(format!("no OpenMetrics: {what}: {line:?}"))
}

#[derive(Default)]
struct Reading {
    done: Exposition,
    family: Family,
    names: BTreeSet<String>,
    series: BTreeSet<(String, BTreeMap<String, String>)>,
}

type Read<T> = std::result::Result<T, String>;

impl Reading {
    fn line(&mut self, line: &str) -> Read<()> {
        let Some(comment) = line.strip_prefix("# ") else { return self.sample(line) };
        let mut words = comment.splitn(3, ' ');
        let (Some(kind), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else {
            return Err("a comment that is neither HELP nor TYPE nor UNIT".into());
        };
        if kind == "HELP" {
            self.end_family()?;
            if !self.names.insert(name.into()) {
                return Err("the family was there before".into());
            }
            self.family = Family { name: name.into(), help: text.into(), ..Family::default() };
            return if text.contains('\\') { Err("an escape in HELP".into()) } else { Ok(()) };
        }
        if name != self.family.name || !self.family.samples.is_empty() {
            return Err("metadata of another family, or too late".into());
        }
        match kind {
            "TYPE" if ["counter", "gauge", "info"].contains(&text) => self.family.kind = text.into(),
            "UNIT" if name.ends_with(&format!("_{text}")) => self.family.unit = Some(text.into()),
            _ => return Err("a TYPE or UNIT that there is not, or that is not in the name".into()),
        }
        Ok(())
    }

    fn end_family(&mut self) -> Read<()> {
        let family = std::mem::take(&mut self.family);
        if family.name.is_empty() && self.done.families.is_empty() {
            return Ok(());
        }
        if family.kind.is_empty() || family.help.is_empty() {
            return Err(format!("{} has no TYPE or no HELP", family.name));
        }
        self.done.families.push(family);
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Read<()> {
        let end = line.find(['{', ' ']).ok_or("neither labels nor a value")?;
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (BTreeMap::new(), rest),
        };
        let value = value.strip_prefix(' ').ok_or("no space before the value")?;
        let value: f64 = value.parse().map_err(|error| format!("{value:?} is no number: {error}"))?;
        let suffix = name.strip_prefix(&self.family.name).ok_or("a sample of another family")?;
        match (self.family.kind.as_str(), suffix) {
            ("gauge", "") => {}
            ("counter", "_total") if value >= 0.0 => {}
            ("info", "_info") if value == 1.0 => {}
            (kind, suffix) => return Err(format!("a {kind} with the suffix {suffix:?} or this value")),
        }
        if let Some(first) = self.family.samples.first()
            && !first.labels.keys().eq(labels.keys())
        {
            return Err("other labels than the first sample of the family".into());
        }
        if !self.series.insert((name.into(), labels.clone())) {
            return Err("the series was there before".into());
        }
        self.family.samples.push(Sample { name: name.into(), labels, value });
        Ok(())
    }
}

/// Labels and what is behind them.
fn labels(text: &str) -> Read<(BTreeMap<String, String>, &str)> {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    loop {
        let (name, quoted) = rest.split_once("=\"").ok_or("a label without a value")?;
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) || !name.chars().all(is_letter) {
            return Err(format!("{name:?} is no label"));
        }
        let (mut value, mut letters) = (String::new(), quoted.char_indices());
        let end = loop {
            match letters.next().ok_or("a value without end")? {
                (end, '"') => break end,
                (_, '\\') => match letters.next().ok_or("a value without end")?.1 {
                    'n' => value.push('\n'),
                    letter @ ('\\' | '"') => value.push(letter),
                    letter => return Err(format!("the escape \\{letter}")),
                },
                (_, letter) => value.push(letter),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} is there twice"));
        }
        rest = &quoted[end + 1..];
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        rest = rest.strip_prefix(',').ok_or("neither a comma nor the end of the labels")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_is_read() {
        let text = "# HELP a_bytes x\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
                    a_bytes_total{l=\"q\\\"\\\\\\n,}\"} 3\n# HELP b y\n# TYPE b gauge\nb 0.5\n# EOF\n";
        let read = Exposition::parse(text).expect("it is right");
        assert_eq!(read.value("a_bytes_total", &[("l", "q\"\\\n,}")]), 3.0);
        assert_eq!(read.value("b", &[]), 0.5);
        assert_eq!(read.families[0].unit.as_deref(), Some("bytes"));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for wrong in [
            "",
            "# EOF",
            "a 1\n# EOF\n",
            "# HELP a x\na 1\n# EOF\n",
            "# TYPE a gauge\na 1\n# EOF\n",
            "# HELP a x\n# TYPE a counter\na 1\n# EOF\n",
            "# HELP a x\n# TYPE a gauge\na 1\na 2\n# EOF\n",
            "# HELP a x\n# TYPE a gauge\na{l=\"1\"} 1\na 2\n# EOF\n",
            "# HELP a x\n# TYPE a gauge\na{l=\"\\x\"} 1\n# EOF\n",
            "# HELP a x\n# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n",
            "# HELP a x\n# TYPE a gauge\na 1\n# HELP a x\n# TYPE a gauge\n# EOF\n",
            "# HELP a x\n# TYPE a gauge\na one\n# EOF\n",
        ] {
            assert!(Exposition::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
