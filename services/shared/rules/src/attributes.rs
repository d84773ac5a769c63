//! What the rules need to read from a directory.

use forestsync_schemas::attributes::REQUESTED;

/// Every directory attribute that any rule reads: the list of [`forestsync_schemas::attributes`], which the collectors take
/// from there.
pub fn requested() -> Vec<&'static str> {
    REQUESTED.to_vec()
}

#[cfg(test)]
mod tests {
    use forestsync_domain::syntax;

    use super::requested;
    use crate::flow::CompiledFlow;

    #[test]
    fn is_sorted_complete_and_free_of_secrets() {
        let names = requested();
        assert!(names.is_sorted_by(|a, b| a < b));
        assert!(!names.iter().any(|name| syntax::is_secret(name)));
        for name in syntax::LINKS.into_iter().chain(["sAMAccountName", "extensionAttribute15", "l", "proxyAddresses"]) {
            assert!(names.contains(&name), "{name}");
        }
        for name in CompiledFlow::default().attributes() {
            assert!(names.contains(&name.as_str()), "{name} flows and is not read");
        }
        assert!(!names.contains(&"cn"), "DirSync never answers cn");
    }
}
