//! What the tests of several modules share, and the tests that concern all of them.

mod configured;
mod exclusions;
mod filter_properties;
mod filters;
mod flows;
mod hygiene;
mod hygiene_properties;
mod map;
mod properties;

use forestsync_domain::{AttributeValue, Attributes, Dn};

/// Attributes with text values.
pub(crate) fn attributes(entries: &[(&str, &[&str])]) -> Attributes {
    entries
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| ((*name).to_owned(), values.iter().map(|&v| AttributeValue::from(v)).collect()))
        .collect()
}

/// A distinguished name.
pub(crate) fn dn(text: &str) -> Dn {
    text.parse().unwrap()
}
