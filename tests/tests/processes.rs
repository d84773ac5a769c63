//! The three services as processes of their own on one log: from a directory change to the tenant, and a good end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use forestsync_log::{EmbeddedLog, Log as _};
use forestsync_practice::forest::{AccountOptions, ForestOptions, PracticeForest};
use forestsync_practice::population::{Population, PopulationOptions};
use forestsync_practice::tls::PrivateCa;
use forestsync_schemas::trace;
use forestsync_tests::{peers, suite, wait};

/// A service, and where its log goes.
struct Service {
    name: &'static str,
    child: Child,
}

impl Service {
    fn start(folder: &Path, name: &'static str) -> Self {
        let log = File::create(folder.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(peers::binary(&format!("forestsync-{name}")));
        command.arg("-c").arg(folder.join(format!("{name}.toml"))).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Self { name, child: command.spawn().expect("the services are built; run the suites by tests/run") }
    }

    /// SIGTERM, and the exit code.
    async fn stop(&mut self, folder: &Path) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        wait::until(self.name, Duration::from_mins(1), || {
            let ended = self.child.try_wait().unwrap();
            async move { ended.map(drop).ok_or_else(|| "still running".to_owned()) }
        })
        .await;
        let status = self.child.wait().unwrap();
        let said = std::fs::read_to_string(folder.join(format!("{}.log", self.name))).unwrap();
        assert!(status.success(), "{} ended with {status}: {said}", self.name);
        for step in ["started", "joined the group", "gained a stream", "stopped"] {
            assert!(said.contains(step), "{}: {step} is not told: {said}", self.name);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_directory_to_the_tenant_in_three_processes() {
    let folder = tempfile::Builder::new().prefix("services").tempdir_in(peers::scratch()).unwrap();
    let path = folder.path();
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    let ca = PrivateCa::new().unwrap();
    let mut options = ForestOptions::new("emea", "DC=emea,DC=example", "admin-word", "reader-word");
    options.reader = AccountOptions::reader("svc", "reader-word");
    let forest = PracticeForest::start(options, &ca).await.unwrap();
    let sizes = PopulationOptions {
        users: 30,
        groups: 5,
        contacts: 0,
        members_per_group: 5,
        flawed: false,
        ..PopulationOptions::new("DC=emea,DC=example", "emea.example")
    };
    forest.control().load(Population::new(5, sizes).objects()).await.unwrap();
    let (tenant, access) = suite::tenant(&ca, &["emea.example".to_owned()], Some(path.join("exchanges.jsonl"))).await;

    write("ca.pem", ca.pem());
    write("password", "reader-word\n");
    write("client-secret", &access.client_secret);
    let log = "[log]\ndirectory = \"log\"\n";
    let reading = format!(
        "name = \"emea\"\ncontrollers = [{{ url = \"ldaps://dc01.emea.example\", address = \"{}\" }}]\nca_file = \"ca.pem\"\n\
         bind = \"svc@emea.example\"\npassword_file = \"password\"\n",
        forest.ldaps_addr()
    );
    let tenant_table = format!(
        "tenant_id = \"{}\"\nclient_id = \"{}\"\nca_file = \"ca.pem\"\nclient_secret_file = \"client-secret\"\n\
         cloud = {{ authority = \"{}\", graph = \"{}\" }}\n",
        access.tenant_id, access.client_id, access.authority, access.graph
    );
    write("collector.toml", &format!("{log}[forest]\n{reading}"));
    write("projector.toml", &format!("data = \"data\"\n{log}"));
    write(
        "provisioner.toml",
        &format!("data = \"data\"\n{log}[[configurations]]\nname = \"lab\"\n[configurations.tenant]\n{tenant_table}"),
    );
    write(
        "forestsync.toml",
        &format!(
            "configuration = \"lab\"\n{log}[[forests]]\n{reading}include = [\"OU=Practice,DC=emea,DC=example\"]\n[tenant]\n{tenant_table}"
        ),
    );
    let forestsync = |arguments: &[&str]| {
        let mut command = Command::new(peers::binary("forestsync"));
        command.args(arguments).arg("-c").arg(path.join("forestsync.toml")).output().unwrap()
    };
    // the services wait for whatever is not there yet, so they may begin in any order
    let mut services = ["provisioner", "projector", "collector"].map(|name| Service::start(path, name));
    let activated = forestsync(&["activate"]);
    assert!(activated.status.success(), "{}", String::from_utf8_lossy(&activated.stderr));
    let run = forestsync(&["run"]);
    assert_eq!(run.status.code(), Some(2), "run has no part in a shared log");

    wait::until("all users are in the tenant", Duration::from_mins(2), || {
        let users = tenant.dump().users.len();
        async move { if users == 30 { Ok(()) } else { Err(format!("{users} users")) } }
    })
    .await;
    for service in &mut services {
        service.stop(path).await;
    }

    // one trace from the look at the directory to the outcome
    let log = EmbeddedLog::open(path.join("log")).unwrap();
    let mut traces = Vec::new();
    for name in ["changes.emea.emea.example", "desired.lab", "outcomes.lab"] {
        let mut reader = log.reader(&name.parse().unwrap(), 0).await.unwrap();
        let mut ids = std::collections::BTreeSet::new();
        loop {
            let records = reader.poll(1_000).await.unwrap();
            if records.is_empty() {
                break;
            }
            for (_, value) in records.iter().flat_map(|r| &r.headers).filter(|(name, _)| name == trace::HEADER) {
                let text = String::from_utf8(value.to_vec()).unwrap();
                assert!(trace::began(&text).is_some(), "{text}");
                ids.insert(trace::trace_id(&text).unwrap().to_owned());
            }
        }
        assert!(!ids.is_empty(), "{name} has no traces");
        traces.push(ids);
    }
    assert!(traces[2].is_subset(&traces[0]), "outcomes know the look that caused them: {traces:?}");
    let sent = std::fs::read_to_string(path.join("exchanges.jsonl")).unwrap();
    assert!(traces[2].iter().any(|id| sent.contains(id.as_str())), "requests carry the trace");
    peers::check_exchanges(&[path.join("exchanges.jsonl")]);

    let verified = forestsync(&["replay", "--verify", "--data", path.join("data/lab/projector").to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    forest.stop().await;
}
