//! The transport protocol, as an option.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::config::Protocol;

impl ValueEnum for Protocol {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Tcp, Self::Udp]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Self::NAMES.iter().find(|(_, protocol)| protocol == self).map(|(name, _)| PossibleValue::new(*name))
    }
}
