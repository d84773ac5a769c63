//! What configurations are accepted, and what is said about the others.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use forestsync::config::{self, ScopeEntry, Settings, SettingsError};
use forestsync_provisioner::Joins;
use forestsync_schemas::changes::Method;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/examples")
}

fn read(document: &str) -> Result<Settings, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forestsync.toml");
    std::fs::write(&path, document).unwrap();
    config::load(&path)
}

/// The message with the temporary folder taken out.
fn refusal(document: &str) -> String {
    let error = read(document).unwrap_err().to_string();
    let (_, said) = error.split_once("forestsync.toml").unwrap();
    format!("forestsync.toml{said}")
}

const GOOD: &str = r#"
configuration = "contoso"

[[forests]]
name = "emea"
controllers = ["ldaps://dc01.emea.example"]
bind = "svc@emea.example"
password_env = "EMEA_PASSWORD"

[tenant]
tenant_id = "contoso.onmicrosoft.com"
client_id = "2b9d4e60-81c7-4f35-a0be-6d1f7c92e483"
client_secret_file = "secret"
"#;

#[test]
fn every_example_is_accepted() {
    let mut seen = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let of_service =
            ["collector", "projector", "provisioner"].iter().any(|s| path.file_stem().is_some_and(|n| n == *s));
        if path.extension().is_some_and(|e| e == "toml") && !of_service {
            let settings = config::load(&path).unwrap_or_else(|e| panic!("{e}"));
            assert!(!settings.forests.is_empty(), "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 5);
}

#[test]
fn the_examples_mean_what_they_say() {
    let three = config::load(&examples().join("three-forests.toml")).unwrap();
    let [emea, apac, acquired] = three.forests.as_slice() else { panic!("three forests") };
    assert_eq!(emea.reading.domains.len(), 2);
    assert_eq!(apac.reading.controllers[0].address, Some("192.0.2.17:389".parse().unwrap()));
    assert!(matches!(acquired.scope.exclude[..], [ScopeEntry::Guid(_)]));
    assert_eq!((apac.reading.method, acquired.reading.method), (Method::Dirsync, Method::Usn));
    let by: Vec<&str> = three.tenant.soft_match.iter().map(|rule| rule.cloud.as_str()).collect();
    assert_eq!(by, ["userPrincipalName", "mail"]);
    assert_eq!((three.tenant.group_match.len(), three.tenant.joins), (1, Joins::Hold));
    assert_eq!(three.guard.window, Duration::from_hours(1));
    let whole = &config::load(&examples().join("whole-forest.toml")).unwrap().forests[0].reading;
    assert!(whole.all_domains && whole.domains.is_empty() && whole.controllers.is_empty());
    let srv = whole.srv.as_ref().unwrap();
    assert_eq!((srv.domain.as_str(), srv.site.as_deref(), srv.start_tls), ("emea.example", Some("Berlin"), false));
    assert_eq!((srv.servers.len(), whole.attributes.as_ref().unwrap().len()), (1, 14));
    let lab = config::load(&examples().join("lab.toml")).unwrap();
    assert_eq!(lab.tenant.graph.as_str(), "https://localhost:6443/");
    assert_eq!(lab.data, examples().join("lab/data"));
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = read(GOOD).unwrap();
    let forest = &settings.forests[0].reading;
    assert_eq!((forest.poll_interval, forest.operation_timeout), (Duration::from_secs(1), Duration::from_mins(2)));
    assert_eq!(forest.failover_after, Duration::from_mins(5));
    let at_once = read(&GOOD.replace("name = \"emea\"", "name = \"emea\"\nfailover_after = \"0s\"")).unwrap();
    assert_eq!(at_once.forests[0].reading.failover_after, Duration::ZERO);
    assert!(forest.notifications && forest.object_security && forest.domains.is_empty());
    assert_eq!((settings.guard.deletions.count, settings.guard.deletions.minimum), (500, 10));
    assert!((settings.guard.deletions.share - 0.2).abs() < f64::EPSILON);
    assert_eq!((settings.tenant.writes_per_150_seconds, settings.tenant.in_flight), (3000, 16));
    assert_eq!(settings.tenant.graph.as_str(), "https://graph.microsoft.com/");
    assert!(settings.data.ends_with("data") && settings.log_dir().ends_with("data/log"));
    assert_eq!(settings.digest.len(), 64);
}

#[test]
fn misspelt_keys_are_refused_with_line_and_hint() {
    for (from, to) in [
        ("name = \"emea\"", "name = \"emea\"\nexlude = []"),
        ("configuration = \"contoso\"", "configuration = \"contoso\"\nforest = []"),
        ("client_secret_file = \"secret\"", "client_secret_file = \"secret\"\nclient_secret = \"x\""),
        ("[\"ldaps://dc01.emea.example\"]", "[{ url = \"ldaps://dc01\", adress = \"1.2.3.4:636\" }]"),
        ("client_secret_file = \"secret\"", "client_secret_file = \"secret\"\nsoft_match = [\"upm\"]"),
        ("name = \"emea\"", "name = \"emea\"\npoll_interval = 1"),
        ("name = \"emea\"", "name = \"emea\"\nmethod = \"uSN\""),
    ] {
        insta::assert_snapshot!(refusal(&GOOD.replace(from, to)));
    }
}

#[test]
fn meaningless_values_are_refused_all_at_once() {
    let document = r#"
configuration = "Contoso GmbH"
[[forests]]
name = "emea"
controllers = ["ldap.emea.example", "https://dc01", { url = "ldaps://dc02", address = "dc02:636" }]
bind = " "
domains = ["DC=emea,DC=example", "DC=uk,DC=emea,DC=example", "OU=x", "nonsense"]
include = ["OU=Staff,DC=emea,DC=example", "OU=Staff,DC=other,DC=example", "6f9619ff-8b86-d011-b42d-00c04fc964ff"]
exclude = ["OU=Staff,DC=emea,DC=example"]
poll_interval = "0s"
[[forests]]
name = "emea"
controllers = []
bind = "svc@emea.example"
password_file = "a"
password_env = "b"
[tenant]
tenant_id = "common"
client_id = ""
cloud = "mars"
in_flight = 0
[delete_guard]
share = 20.0
"#;
    insta::assert_snapshot!(refusal(document));
}

#[test]
fn custom_clouds_must_be_https() {
    let cloud =
        "client_secret_file = \"secret\"\ncloud = { authority = \"http://localhost:1\", graph = \"https://g\" }";
    let refused = refusal(&GOOD.replace("client_secret_file = \"secret\"", cloud));
    assert!(refused.contains("tenant.cloud.authority"), "{refused}");
    assert!(!refused.contains("tenant.cloud.graph"), "{refused}");
}

#[test]
fn secrets_are_not_read_with_the_file_and_never_shown() {
    let settings = read(GOOD).unwrap();
    assert!(settings.tenant.read_credential().is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forestsync.toml");
    std::fs::write(&path, GOOD).unwrap();
    std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    let settings = config::load(&path).unwrap();
    let credential = settings.tenant.read_credential().unwrap();
    assert!(!format!("{settings:?} {credential:?}").contains("hunter2"));
}

/// A `[log]` table that names no log is about the one in the data folder; it is not taken for a shared one.
#[test]
fn history_of_the_log_in_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forestsync.toml");
    let day = Duration::from_hours(24);
    for (table, history) in [("", 400 * day), ("[log]\ndesired_history = \"30d\"\n", 30 * day)] {
        std::fs::write(&path, format!("{GOOD}{table}")).unwrap();
        let settings = config::load(&path).unwrap();
        assert!(settings.log.is_none() && settings.desired_history == history, "{table}");
    }
    std::fs::write(&path, format!("{GOOD}[log]\ndesired_history = \"long\"\n")).unwrap();
    let error = config::load(&path).unwrap_err().to_string();
    assert!(error.contains("log.desired_history") && error.contains("\"400d\""), "{error}");
}
