//! Metric families: one after the other, each with all of its samples.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Names and values of labels.
pub(super) type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// What metric families are written to.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Values that go up and down.
    pub(super) fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: Name<'_>,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name.0, help, name.1, MetricType::Gauge)?;
        samples
            .into_iter()
            .try_for_each(|(labels, value)| each(&mut family, &labels, |one| one.encode_gauge(&value)))
    }

    /// The same where one of several states is: 1 for that, 0 for the others.
    pub(super) fn states<'l, const N: usize>(
        &mut self,
        name: Name<'_>,
        help: &str,
        states: &[&str],
        samples: impl IntoIterator<Item = (Labels<'l, N>, &'l str)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name.0, help, name.1, MetricType::Gauge)?;
        for (labels, is) in samples {
            for state in states {
                let labels = (labels, [("state", *state)]);
                family.encode_family(&labels)?.encode_gauge(&u32::from(is == *state))?;
            }
        }
        Ok(())
    }

    /// What only grows, until it begins anew.
    pub(super) fn counter<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: Name<'_>,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name.0, help, name.1, MetricType::Counter)?;
        samples.into_iter().try_for_each(|(labels, value)| {
            each(&mut family, &labels, |one| one.encode_counter::<NoLabelSet, V, u64>(&value, None))
        })
    }

    /// What is told by labels alone.
    pub(super) fn info<'l, const N: usize>(
        &mut self,
        name: Name<'_>,
        help: &str,
        samples: impl IntoIterator<Item = Labels<'l, N>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name.0, help, name.1, MetricType::Info)?;
        samples.into_iter().try_for_each(|labels| family.encode_info(&labels))
    }
}

/// Without labels there are no braces either.
fn each<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &Labels<'_, N>,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if N == 0 { encode(family) } else { encode(&mut family.encode_family(labels)?) }
}

/// A name without prefix, unit and `_total`; and the unit.
#[derive(Clone, Copy)]
pub(super) struct Name<'a>(&'a str, Option<&'static Unit>);

static BYTES: Unit = Unit::Bytes;
static SECONDS: Unit = Unit::Seconds;

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self(name, None)
    }
}

impl<'a> Name<'a> {
    pub(super) const fn bytes(name: &'a str) -> Self {
        Self(name, Some(&BYTES))
    }

    pub(super) const fn seconds(name: &'a str) -> Self {
        Self(name, Some(&SECONDS))
    }
}
