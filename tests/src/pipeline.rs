//! The `forestsync` command as administrators run it: a process with a configuration file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::directory::Access;
use crate::{peers, wait};

/// A source of the configuration.
#[derive(Debug, Clone)]
pub struct Source {
    /// The directory.
    pub access: Access,
    /// Containers in scope; none means the whole domain.
    pub include: Vec<String>,
    /// Containers out of scope.
    pub exclude: Vec<String>,
}

/// Where the tenant answers.
#[derive(Debug, Clone)]
pub struct TenantAccess {
    /// Its id.
    pub tenant_id: String,
    /// The application's id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: String,
    /// Where tokens come from.
    pub authority: String,
    /// Where Graph answers.
    pub graph: String,
    /// The CA in PEM.
    pub ca: String,
}

/// A configuration on disk, and the process that runs it.
#[derive(Debug)]
pub struct Pipeline {
    folder: tempfile::TempDir,
    child: Option<Child>,
    starts: usize,
}

pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub(crate) fn list(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", "))
}

impl Pipeline {
    /// Writes the configuration named `e2e` with its secrets. `tenant_keys` and `rest` are added to `[tenant]` and to the
    /// end of the file.
    pub fn new(sources: &[Source], tenant: &TenantAccess, tenant_keys: &str, rest: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pipeline").tempdir_in(peers::scratch()).unwrap();
        let pipeline = Self { folder, child: None, starts: 0 };
        pipeline.configure(sources, tenant, tenant_keys, rest);
        pipeline
    }

    /// Writes the configuration anew.
    pub fn configure(&self, sources: &[Source], tenant: &TenantAccess, tenant_keys: &str, rest: &str) {
        let write = |name: &str, text: &str| std::fs::write(self.folder.path().join(name), text).unwrap();
        let mut document = "configuration = \"e2e\"\ndata = \"data\"\n".to_owned();
        for source in sources {
            let access = &source.access;
            write(&format!("{}.pem", access.name), &access.ca);
            write(&format!("{}.secret", access.name), &access.reader_password);
            document += &format!(
                "\n[[forests]]\nname = {name}\ncontrollers = [{{ url = {url}, address = {address} }}]\n\
                 ca_file = \"{plain}.pem\"\nbind = {bind}\npassword_file = \"{plain}.secret\"\ndomains = [{base}]\n\
                 include = {include}\nexclude = {exclude}\n",
                name = quoted(&access.name),
                plain = access.name,
                url = quoted(&format!("ldaps://{}", access.host)),
                address = quoted(&access.ldaps.to_string()),
                bind = quoted(&access.reader),
                base = quoted(&access.base),
                include = list(&source.include),
                exclude = list(&source.exclude),
            );
        }
        write("tenant.pem", &tenant.ca);
        write("tenant.secret", &tenant.client_secret);
        document += &format!(
            "\n[tenant]\ntenant_id = {}\nclient_id = {}\nclient_secret_file = \"tenant.secret\"\nca_file = \"tenant.pem\"\n\
             cloud = {{ authority = {}, graph = {} }}\n{tenant_keys}\n\n{rest}\n",
            quoted(&tenant.tenant_id),
            quoted(&tenant.client_id),
            quoted(&tenant.authority),
            quoted(&tenant.graph),
        );
        write("forestsync.toml", &document);
    }

    /// Lets the configuration be in staging, or active.
    pub fn set_mode(&self, mode: &str) {
        let document = std::fs::read_to_string(self.config()).unwrap();
        let rest: Vec<&str> = document.lines().filter(|line| !line.starts_with("mode = ")).collect();
        std::fs::write(self.config(), format!("mode = {}\n{}\n", quoted(mode), rest.join("\n"))).unwrap();
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("forestsync.toml")
    }

    /// The folder of the configuration and its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(peers::binary("forestsync"));
        command.args(arguments).arg("-c").arg(self.config()).stdin(Stdio::null());
        command
    }

    /// Runs a command that ends by itself.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the forestsync binary is built; run the suites by tests/run")
    }

    /// Runs a command that ends by itself and logs so much.
    pub fn output_logging(&self, arguments: &[&str], log: &str) -> Output {
        self.output_with(arguments, &[("FORESTSYNC_LOG", log)])
    }

    /// Runs a command that ends by itself with these environment variables.
    pub fn output_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments);
        command
            .envs(variables.iter().copied())
            .output()
            .expect("the forestsync binary is built; run the suites by tests/run")
    }

    /// Runs a command with `--json` and reads what it prints; panics with its messages if that is no JSON.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let out = self.output(&all);
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
            panic!(
                "{arguments:?}: {e}: {} {}",
                String::from_utf8_lossy(&out.stdout),
                String::from_utf8_lossy(&out.stderr)
            )
        })
    }

    /// Starts `run`, its log going to a file in the folder.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with these environment variables.
    pub fn start_with(&mut self, variables: &[(&str, &str)]) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        let log = File::create(self.folder.path().join(format!("run-{}.log", self.starts))).unwrap();
        let mut command = self.command(&["run"]);
        command.envs(variables.iter().copied()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("the forestsync binary is built; run the suites by tests/run"));
    }

    /// Runs until everything read is applied; gives the exit code and what it printed.
    pub fn run_until_idle(&self) -> (Option<i32>, String) {
        let out = self.output(&["run", "--until-idle"]);
        let said = format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.code(), said)
    }

    /// The id of the process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for a clean end.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        let limit = Duration::from_mins(1);
        wait::until("forestsync ends after SIGTERM", limit, || {
            let ended = child.try_wait().unwrap();
            async move {
                match ended {
                    Some(status) if status.success() || status.code() == Some(3) => Ok(()),
                    Some(status) => panic!("forestsync ended with {status}"),
                    None => Err("still running".into()),
                }
            }
        })
        .await;
    }

    /// Whether the newest `run` has begun: before that a signal ends it as it ends every process.
    pub fn has_begun(&self) -> bool {
        let log = std::fs::read_to_string(self.folder.path().join(format!("run-{}.log", self.starts)));
        log.is_ok_and(|log| log.contains("commands::run: running"))
    }

    /// Panics with the end of the log if the process has ended by itself.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().unwrap()) {
            panic!("forestsync ended by itself with {status}:\n{}", self.log_tail());
        }
    }

    /// The last lines of the newest log.
    pub fn log_tail(&self) -> String {
        let path = self.folder.path().join(format!("run-{}.log", self.starts));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.kill9();
        // what a failure leaves is looked at by a person
        self.folder.disable_cleanup(std::thread::panicking());
    }
}
