//! What `infra/` says is what the code does: names of metrics, rights on the log, ports, who holds which secret.
//!
//! Whether the files are well formed is checked by `infra/lint`, with tools of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use forestsync::cli::{self, Cli};
use forestsync_collector::service::CollectorService;
use forestsync_domain::Dn;
use forestsync_host::Service;
use forestsync_log::{LogConfig, OpenError};
use forestsync_projector::service::ProjectorService;
use forestsync_provisioner::service::ProvisionerService;
use forestsync_runtime::metrics::{self, Metric};
use forestsync_schemas::streams;
use forestsync_tests::peers::workspace;
use toml::Table;

/// Where services answer to probes and to Prometheus.
const ADMIN_PORT: &str = "9464";

fn infra() -> PathBuf {
    workspace().join("infra")
}

fn text(path: impl AsRef<Path>) -> String {
    let path = infra().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files below `folder` that end with `ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every metric of ours that is named in `text`, with the labels asked for in braces behind it.
fn named(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut before = None;
    for (number, piece) in text.split("forestsync_").enumerate() {
        let inside_a_word = before.is_some_and(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | ':'));
        before = piece.chars().next_back();
        if number == 0 || inside_a_word {
            continue;
        }
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '_');
        let name = piece.strip_suffix(rest).unwrap();
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let labels = inside.split(',').filter_map(|part| part.split_once(['=', '!'])).map(|(l, _)| l.trim().to_owned());
        found.push((format!("forestsync_{name}"), labels.collect()));
    }
    found
}

fn metric(sample: &str) -> Option<&'static Metric> {
    metrics::ALL.iter().find(|metric| metric.samples().iter().any(|s| s == sample) || metric.name == sample)
}

#[test]
fn rules_and_dashboards_name_only_metrics_that_exist() {
    let files = ["prometheus/rules.yaml", "prometheus/rules.test.yaml", "grafana/forestsync.json", "README.md"];
    let mut shown = BTreeSet::new();
    for file in files {
        for (name, labels) in named(&text(file)) {
            let metric = metric(&name).unwrap_or_else(|| panic!("{file}: there is no metric {name}"));
            for label in labels {
                let known =
                    metric.labels.contains(&label.as_str()) || ["instance", "job", "le"].contains(&label.as_str());
                assert!(known, "{file}: {name} has no label {label}");
            }
            shown.insert(metric.name);
        }
    }
    let silent: Vec<_> = metrics::ALL.iter().map(|m| m.name).filter(|name| !shown.contains(name)).collect();
    assert!(silent.is_empty(), "neither a rule nor the dashboard shows {silent:?}");
}

#[test]
fn the_runbook_has_every_alert() {
    let rules = text("prometheus/rules.yaml");
    let alerts: BTreeSet<_> = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
    let readme = text("README.md");
    let described: BTreeSet<_> = readme
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.starts_with("Forestsync") && word.len() > "Forestsync".len())
        .collect();
    assert_eq!(alerts, described, "alerts of rules.yaml, and those that infra/README.md tells of");
    let tests = text("prometheus/rules.test.yaml");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} has no test");
    }
}

/// The rows of `infra/kafka/acls table`: principal, resource type, pattern type, name, operations.
fn rights(words: &[&str]) -> Vec<[String; 5]> {
    let output = Command::new(infra().join("kafka/acls")).arg("table").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    table.lines().map(|l| l.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()).collect()
}

fn may(table: &[[String; 5]], who: &str, what: &str, name: &str, operation: &str) -> bool {
    table.iter().any(|[principal, resource, pattern, of, operations]| {
        let fits = if pattern == "prefixed" { name.starts_with(of.as_str()) } else { name == of };
        principal == who && resource == what && fits && operations.split(',').any(|o| o == operation)
    })
}

/// Who, what it reads, what it writes, the group it is a member of.
type Work = (&'static str, Vec<String>, Vec<String>, Option<&'static str>);

#[test]
fn everybody_may_do_on_the_log_what_its_work_needs_and_no_more() {
    let dn = |text: &str| text.parse::<Dn>().unwrap();
    let emea = [streams::changes("emea", &dn("DC=emea,DC=example")), streams::changes("emea", &dn("DC=uk,DC=example"))];
    let apac = [streams::changes("apac", &dn("DC=apac,DC=example"))];
    // a name that begins like another one's
    let other = [streams::changes("emea-2", &dn("DC=emea,DC=example"))];
    let changes = [&emea[..], &apac, &other].concat();
    let of = |configuration: &str| {
        [streams::control, streams::desired, streams::decisions, streams::outcomes].map(|stream| stream(configuration))
    };
    let ([control, desired, decisions, outcomes], group2) = (of("group"), of("group-2"));
    let [control2, desired2, decisions2, _] = group2.clone();

    let all =
        [&changes[..], &[control.clone(), desired.clone(), decisions.clone(), outcomes.clone()], &group2].concat();
    let groups = ["collector.emea", "collector.apac", "projector", "provisioner", "forestsync"];
    let projected = [desired.clone(), decisions, desired2, decisions2];
    let read_to_project = [&changes[..], &projected, &[control.clone(), control2.clone()]].concat();
    let work: [Work; 5] = [
        ("collector-emea", emea.to_vec(), emea.to_vec(), Some("collector.emea")),
        ("collector-apac", apac.to_vec(), apac.to_vec(), Some("collector.apac")),
        ("projector", read_to_project, projected.to_vec(), Some("projector")),
        ("provisioner", vec![desired, control.clone(), outcomes.clone()], vec![outcomes], Some("provisioner")),
        ("forestsync", all.clone(), vec![control, control2], None),
    ];

    for prefix in ["", "shared."] {
        let table = rights(&["--forest", "emea", "--forest", "apac", "--configuration", "group", "--prefix", prefix]);
        for (who, reads, writes, member_of) in &work {
            for stream in &all {
                let name = format!("{prefix}{stream}");
                let asked = |what, operation| may(&table, who, what, &name, operation);
                assert_eq!(asked("topic", "Read"), reads.contains(stream), "{who} reads {name}");
                for operation in ["Write", "Create"] {
                    assert_eq!(asked("topic", operation), writes.contains(stream), "{who}: {operation} {name}");
                }
                let writes = writes.contains(stream);
                assert_eq!(asked("transactional-id", "Write"), writes, "{who} takes the transactional id {name}");
            }
            for group in groups {
                let joins = may(&table, who, "group", &format!("{prefix}{group}"), "Read");
                assert_eq!(joins, *member_of == Some(group), "{who} joins {group}");
            }
        }
        let known: BTreeSet<_> = work.iter().map(|(who, ..)| (*who).to_owned()).collect();
        assert!(table.iter().all(|row| known.contains(&row[0])), "{table:?}");
        let refused = ["Delete", "Alter", "AlterConfigs", "ClusterAction", "IdempotentWrite", "All"];
        assert!(table.iter().all(|row| row[1] != "cluster" && !row[4].split(',').any(|o| refused.contains(&o))));
    }
}

/// Reads a file as whoever is told to read it does, but for the secrets; returns its `[log]`.
fn read_as(kind: &str, path: &Path) -> Option<(LogConfig, PathBuf)> {
    let refused = |error: &dyn std::fmt::Display| -> ! { panic!("{error}") };
    Some(match kind {
        "collector" => {
            let read = CollectorService::settings(path).unwrap_or_else(|e| refused(&e));
            (read.log, read.base)
        }
        "projector" => {
            let read = ProjectorService::load(path).unwrap_or_else(|e| refused(&e));
            (read.log, read.base)
        }
        "provisioner" => {
            let read = ProvisionerService::settings(path).unwrap_or_else(|e| refused(&e));
            (read.log, read.base)
        }
        _ => {
            let read = forestsync::config::load(path).unwrap_or_else(|e| refused(&e));
            (read.log?, read.base)
        }
    })
}

fn kind(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned()
}

#[tokio::test]
async fn every_file_is_read_by_its_service() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret\n").unwrap();
    let mut on_kafka = 0;
    for path in ["compose", "kubernetes", "examples"].iter().flat_map(|folder| files(&infra().join(folder), ".toml")) {
        let Some((mut log, base)) = read_as(&kind(&path), &path) else { continue };
        on_kafka += 1;
        // nobody here is called like these brokers, and nobody else shall be asked
        let brokers = log.kafka.as_deref().unwrap().split(',').map(|broker| {
            let (_, port) = broker.split_once(':').unwrap_or_else(|| panic!("{}: {broker}", path.display()));
            format!("127.0.0.1:{port}")
        });
        log.kafka = Some(brokers.collect::<Vec<_>>().join(","));
        // which keys go together comes before what is in the files
        match log.open(&base) {
            Ok(_) | Err(OpenError::Secret(_) | OpenError::Feature { .. }) => {}
            Err(OpenError::Config { key, problem, .. }) if key.ends_with("_file") && problem.contains("be read") => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
        // with what can be had here the rest is accepted as well
        (log.ca_file, log.client_certificate_file, log.client_key_file) = (None, None, None);
        log.password_file = log.password_file.map(|_| secret.path().to_owned());
        match log.open(&base) {
            Ok(_) | Err(OpenError::Feature { .. }) => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    assert!(on_kafka >= 13, "{on_kafka}");
}

/// The value of `key` in each line of `text` that has one written as a list, `[practice, forest, --seed, "1"]`.
fn lists(text: &str, key: &str) -> Vec<Vec<String>> {
    let list = |line: &str| {
        let inside = line.trim_start_matches([' ', '-']).strip_prefix(key)?.trim().strip_prefix('[')?;
        let inside = inside.strip_suffix(']')?;
        Some(inside.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect())
    };
    text.lines().filter_map(list).collect()
}

/// Whether the binary `name` takes these arguments.
fn takes(name: &str, arguments: &[String]) -> Result<(), clap::Error> {
    let line = std::iter::once(name).chain(arguments.iter().map(String::as_str));
    match name {
        "forestsync" => Cli::try_parse_from(line).map(|_| ()),
        "forestsync-collector" => forestsync_host::command::<CollectorService>().try_get_matches_from(line).map(|_| ()),
        "forestsync-projector" => forestsync_host::command::<ProjectorService>().try_get_matches_from(line).map(|_| ()),
        "forestsync-provisioner" => {
            forestsync_host::command::<ProvisionerService>().try_get_matches_from(line).map(|_| ())
        }
        other => panic!("there is no binary {other}"),
    }
}

#[test]
fn every_command_line_is_accepted() {
    let mut tried = 0;
    let mut accept = |whence: &str, name: &str, arguments: &[String]| {
        match takes(name, arguments) {
            Ok(()) => {}
            Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {}
            Err(error) => panic!("{whence}: {name} {arguments:?}: {error}"),
        }
        tried += 1;
    };
    // an image's entry point, and what it is told where nobody says anything else
    let dockerfile = text("Dockerfile");
    let entries = lists(&dockerfile, "ENTRYPOINT");
    let defaults = lists(&dockerfile, "CMD");
    assert_eq!((entries.len(), defaults.len()), (4, 4));
    for (entry, arguments) in entries.iter().zip(&defaults) {
        accept("Dockerfile", entry[0].rsplit('/').next().unwrap(), arguments);
    }
    let compose = text("compose.yaml");
    let commands: Vec<_> = lists(&compose, "command:").into_iter().filter(|words| !words[0].starts_with('-')).collect();
    assert_eq!(commands.len(), 4, "three practice peers and the activation");
    for arguments in commands {
        accept("compose.yaml", "forestsync", &arguments);
    }
    for path in files(&infra().join("kubernetes"), ".yaml") {
        let manifest = std::fs::read_to_string(&path).unwrap();
        let arguments = lists(&manifest, "args:");
        let images = manifest.lines().filter_map(|line| line.trim().strip_prefix("image: "));
        for (image, arguments) in images.zip(&arguments) {
            accept(path.to_str().unwrap(), image, arguments);
        }
    }
    // what the runbook tells people to type
    let readme = text("README.md");
    let commands: BTreeSet<_> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for told in readme.split('`').filter_map(|code| code.strip_prefix("forestsync ")) {
        let words: Vec<_> = told.split_whitespace().map(str::to_owned).collect();
        assert!(commands.contains(&words[0]), "README.md: forestsync {told}");
        // without its places the command is only named
        if words[..] != ["log", "copy"] {
            accept("README.md", "forestsync", &words);
        }
    }
    assert!(tried >= 4 + 4 + 4 + 5, "{tried}");
}

#[test]
fn activating_names_no_secret_but_that_of_the_log() {
    for path in files(&infra(), "group.toml") {
        let words = ["forestsync", "activate", "-c", path.to_str().unwrap()];
        assert!(matches!(Cli::try_parse_from(words).unwrap().command, cli::Command::Activate(_)));
        let settings = forestsync::config::load(&path).unwrap();
        for forest in &settings.forests {
            let error = forest.reading.read_password().unwrap_err().to_string();
            assert!(error.contains("/nonexistent"), "{}: {error}", path.display());
        }
        let error = settings.tenant.read_credential().unwrap_err().to_string();
        assert!(error.contains("/nonexistent"), "{}: {error}", path.display());
    }
}

/// The services' files, with what kind each is.
fn service_files() -> Vec<(PathBuf, String, Table)> {
    let mut found = Vec::new();
    for folder in ["compose", "kubernetes"] {
        for path in files(&infra().join(folder), ".toml") {
            let table =
                std::fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            found.push((path.clone(), kind(&path), table));
        }
    }
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// Every key that names a secret, as a path from the file's root.
fn secrets(table: &Table, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in table {
        let path = format!("{path}{key}");
        let tables =
            value.as_table().into_iter().chain(value.as_array().into_iter().flatten().filter_map(|v| v.as_table()));
        for table in tables {
            found.extend(secrets(table, &format!("{path}.")));
        }
        let secret = [
            "password_file",
            "password_env",
            "client_secret_file",
            "client_secret_env",
            "private_key_file",
            "certificate_file",
            "federated_token_file",
        ]
        .contains(&key.as_str());
        if secret && value.as_str() != Some("/nonexistent") {
            found.push(path);
        }
    }
    found
}

#[test]
fn each_service_is_told_its_own_secrets_and_no_others() {
    for (path, kind, table) in service_files() {
        let allowed: &[&str] = match kind.as_str() {
            "collector" => &["log.password_file", "forest.password_file"],
            "projector" | "group" => &["log.password_file"],
            "provisioner" => &["log.password_file", "configurations.tenant.client_secret_file"],
            other => panic!("{}: no file of a {other} is known", path.display()),
        };
        for secret in secrets(&table, "") {
            assert!(allowed.contains(&secret.as_str()), "{}: {secret} is none of its business", path.display());
        }
        // beside its own password at the log, where that asks for one, each collector and provisioner has one more
        let own = table["log"]["security"].as_str() == Some("sasl-tls");
        let expected = usize::from(own) + usize::from(matches!(kind.as_str(), "collector" | "provisioner"));
        assert_eq!(secrets(&table, "").len(), expected, "{}", path.display());
    }
}

#[test]
fn each_service_comes_to_the_log_under_its_own_name() {
    let table = rights(&["--forest", "emea", "--forest", "apac", "--configuration", "group"]);
    for (path, kind, file) in service_files() {
        let Some(user) = file["log"].get("username").map(|u| u.as_str().unwrap()) else { continue };
        let expected = match kind.as_str() {
            "collector" => format!("collector-{}", file["forest"]["name"].as_str().unwrap()),
            "group" => "forestsync".to_owned(),
            other => other.to_owned(),
        };
        assert_eq!(user, expected, "{}", path.display());
        assert!(table.iter().any(|row| row[0] == user), "{user} has no rights");
    }
}

#[test]
fn ports_agree() {
    for (path, kind, table) in service_files() {
        let listen = table.get("service").map(|service| service["listen"].as_str().unwrap().to_owned());
        let expected = (kind != "group").then(|| format!("0.0.0.0:{ADMIN_PORT}"));
        assert_eq!(listen, expected, "{}", path.display());
    }
    assert!(text("Dockerfile").contains(&format!("EXPOSE {ADMIN_PORT}")));
    assert!(text("compose.yaml").contains(&format!("/dev/tcp/127.0.0.1/{ADMIN_PORT}")));
    for line in text("compose/prometheus.yaml").lines().filter(|line| line.contains("port:")) {
        assert!(line.contains(&format!("port: {ADMIN_PORT}")), "{line}");
    }
    for path in files(&infra().join("kubernetes"), ".yaml") {
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if line.contains("containerPort:") || line.contains("name: admin, port:") {
                assert!(line.contains(ADMIN_PORT), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn compose_speaks_to_the_peers_where_they_listen() {
    let compose = text("compose.yaml");
    for (_, kind, table) in service_files().into_iter().filter(|(path, ..)| path.starts_with(infra().join("compose"))) {
        if kind == "collector" {
            let url = table["forest"]["controllers"][0].as_str().unwrap().strip_prefix("ldaps://").unwrap();
            let (host, port) = url.split_once(':').unwrap();
            assert!(compose.contains(&format!("aliases: [{host}]")) && compose.contains(&format!("0.0.0.0:{port}")));
        }
        if kind == "provisioner" {
            let cloud = &table["configurations"][0]["tenant"]["cloud"];
            let address = cloud["graph"].as_str().unwrap().strip_prefix("https://").unwrap();
            assert_eq!(cloud["graph"], cloud["authority"]);
            assert!(compose.contains(&format!("--listen, \"{address}\"")), "nothing listens on {address}");
        }
    }
}
