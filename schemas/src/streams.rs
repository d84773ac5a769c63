//! The names of the streams.
//!
//! A name is made of ASCII letters, digits, `.`, `-` and `_`, so that it is a Kafka topic and a directory as it stands.

use forestsync_domain::Dn;

/// `changes.<forest>.<domain>`: the forest's configured name stands before the domain, because forests that cannot see
/// each other may well use the same domain name.
pub fn changes(forest: &str, naming_context: &Dn) -> String {
    format!("changes.{}.{}", clean(forest), clean(&naming_context.domain_name()))
}

/// `desired.<configuration>`, compacted by key.
pub fn desired(configuration: &str) -> String {
    format!("desired.{}", clean(configuration))
}

/// `decisions.<configuration>`.
pub fn decisions(configuration: &str) -> String {
    format!("decisions.{}", clean(configuration))
}

/// `outcomes.<configuration>`.
pub fn outcomes(configuration: &str) -> String {
    format!("outcomes.{}", clean(configuration))
}

/// `control.<configuration>`.
pub fn control(configuration: &str) -> String {
    format!("control.{}", clean(configuration))
}

/// `tenant.<configuration>`.
pub fn tenant(configuration: &str) -> String {
    format!("tenant.{}", clean(configuration))
}

/// What the names of all our streams begin with, each with its point. Whatever else a shared cluster holds is not ours.
pub const KINDS: [&str; 6] = ["changes.", "control.", "decisions.", "desired.", "outcomes.", "tenant."];

/// Whether this is the name of a stream of ours.
pub fn is_ours(stream: &str) -> bool {
    KINDS.iter().any(|kind| stream.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()))
}

/// Whether `name` can stand in a stream's name as it is: configurations and forests must.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

fn clean(part: &str) -> String {
    part.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_topics() {
        let nc: Dn = "DC=emea,DC=Example".parse().unwrap();
        assert_eq!(changes("west", &nc), "changes.west.emea.example");
        assert_eq!(outcomes("Contoso GmbH"), "outcomes.contoso-gmbh");
        let ours = [changes("west", &nc), desired("a"), decisions("a"), outcomes("a"), control("a"), tenant("a")];
        assert!(ours.iter().all(|stream| is_ours(stream)));
        assert!(!["payments", "changes", "desired.", "changesets.a", "old.changes.a"].iter().any(|s| is_ours(s)));
        assert!(is_plain("contoso-1") && !is_plain("Contoso") && !is_plain("") && !is_plain("a.b"));
    }
}
