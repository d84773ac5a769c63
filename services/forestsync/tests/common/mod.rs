//! The command in a process of its own, and practice peers in this one.

#![allow(dead_code, unreachable_pub, missing_debug_implementations, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use forestsync_practice::forest::{AccountOptions, ForestOptions, PracticeForest};
use forestsync_practice::population::{Population, PopulationOptions};
use forestsync_practice::tenant::{ClientSecret, PracticeTenant, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use serde_json::Value;

pub fn forestsync(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forestsync"));
    command.args(arguments).env_remove("FORESTSYNC_CONFIG").env_remove("FORESTSYNC_LOG").stdin(Stdio::null());
    command
}

/// Exit code, stdout and stderr in one text, with what differs from machine to machine taken out.
pub fn shown(output: &Output, folder: &Path) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "FOLDER");
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// Practice peers in this process and a configuration for them on disk.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub forest: PracticeForest,
    pub tenant: PracticeTenant,
}

impl Lab {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = PrivateCa::new().unwrap();
        let mut options = ForestOptions::new("emea", "DC=emea,DC=example", "admin-word", "reader-word");
        options.reader = AccountOptions::reader("svc", "reader-word");
        let forest = PracticeForest::start(options, &ca).await.unwrap();
        let sizes = PopulationOptions {
            users: 40,
            groups: 10,
            contacts: 3,
            members_per_group: 5,
            flawed: false,
            ..PopulationOptions::new("DC=emea,DC=example", "emea.example")
        };
        forest.control().load(Population::new(5, sizes).objects()).await.unwrap();
        let options = TenantOptions {
            client_secret: ClientSecret::new("tenant-word"),
            verified_domains: vec!["emea.example".into()],
            record_file: forestsync_practice::contract::record_file(&[]),
            ..TenantOptions::default()
        };
        let (tenant_id, client_id) = (options.tenant_id.clone(), options.client_id.clone());
        let tenant = PracticeTenant::start(options, &ca).await.unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", ca.pem());
        write("password", "reader-word\n");
        write("client-secret", "tenant-word\n");
        // no domains: the controller is asked for its own
        write(
            "forestsync.toml",
            &format!(
                "configuration = \"lab\"\n[[forests]]\nname = \"emea\"\n\
                 controllers = [{{ url = \"ldaps://dc01.emea.example\", address = \"{}\" }}]\nca_file = \"ca.pem\"\n\
                 bind = \"svc@emea.example\"\npassword_file = \"password\"\ninclude = [\"OU=Practice,DC=emea,DC=example\"]\n\
                 [tenant]\ntenant_id = \"{tenant_id}\"\nclient_id = \"{client_id}\"\nca_file = \"ca.pem\"\n\
                 client_secret_file = \"client-secret\"\ncloud = {{ authority = \"{}\", graph = \"{}\" }}\n",
                forest.ldaps_addr(),
                tenant.authority_url(),
                tenant.graph_url(),
            ),
        );
        Self { folder, forest, tenant }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs a command to its end without keeping the peers from answering.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[]).await
    }

    /// The same, with these variables in its environment.
    pub async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = tokio::process::Command::from(forestsync(arguments));
        command.current_dir(self.path()).envs(variables.iter().copied()).output().await.unwrap()
    }

    pub async fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(arguments).await;
        let value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", shown(&output, &self.path())));
        (output.status.code().unwrap(), value)
    }
}
