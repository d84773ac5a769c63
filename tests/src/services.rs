//! forestsync as microservices: the three binaries as separate processes on Apache Kafka, two of each.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::pipeline::{Pipeline, Source, TenantAccess, list, quoted};
use crate::suite::System;
use crate::world::World;
use crate::{peers, wait};

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Reads the forest of this name.
    Collector(String),
    /// Projects.
    Projector,
    /// Writes to the tenant.
    Provisioner,
}

impl Kind {
    fn binary(&self) -> &'static str {
        match self {
            Self::Collector(_) => "forestsync-collector",
            Self::Projector => "forestsync-projector",
            Self::Provisioner => "forestsync-provisioner",
        }
    }

    /// The group its processes are members of.
    pub fn group(&self) -> String {
        match self {
            Self::Collector(forest) => format!("collector.{forest}"),
            Self::Projector => "projector".to_owned(),
            Self::Provisioner => "provisioner".to_owned(),
        }
    }
}

/// One process.
#[derive(Debug)]
pub struct Service {
    /// What it does.
    pub kind: Kind,
    /// What it is called in its group.
    pub instance: String,
    port: u16,
    config: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    starts: usize,
    paused: bool,
}

/// All processes, their files, and the command that looks after them.
#[derive(Debug)]
pub struct Services {
    /// The processes, two of each kind.
    pub all: Vec<Service>,
    /// The command with the configuration as a whole.
    pub command: Pipeline,
}

/// A port that nobody listens on, below those that the system gives to connections: one of these may be taken before the
/// service listens on it.
fn free_port() -> u16 {
    const RANGE: std::ops::Range<u32> = 20_000..32_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // where another suite of this machine is unlikely to look
    let first = std::process::id().wrapping_mul(7_919);
    let mut ports = std::iter::repeat_with(|| {
        let turn = first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        u16::try_from(RANGE.start + turn % (RANGE.end - RANGE.start)).unwrap()
    });
    ports.by_ref().take(RANGE.len()).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

impl Services {
    /// Writes the configurations of two processes of each kind for these sources, and activates the whole. Nothing runs
    /// yet.
    pub fn new(sources: &[Source], tenant: &TenantAccess, tenant_keys: &str, rest: &str, bootstrap: &str) -> Self {
        let log = format!("[log]\nkafka = {}\n", quoted(bootstrap));
        let command = Pipeline::new(sources, tenant, tenant_keys, &format!("{rest}\n{log}"));
        let folder = command.folder().to_owned();
        let mut all = Vec::new();
        for number in ["a", "b"] {
            for source in sources {
                let access = &source.access;
                let text = format!(
                    "[forest]\nname = {name}\ncontrollers = [{{ url = {url}, address = {address} }}]\n\
                     ca_file = \"{plain}.pem\"\nbind = {bind}\npassword_file = \"{plain}.secret\"\ndomains = {base}\n",
                    name = quoted(&access.name),
                    plain = access.name,
                    url = quoted(&format!("ldaps://{}", access.host)),
                    address = quoted(&access.ldaps.to_string()),
                    bind = quoted(&access.reader),
                    base = list(std::slice::from_ref(&access.base)),
                );
                all.push(Service::new(Kind::Collector(access.name.clone()), number, &folder, &log, &text));
            }
            let data = format!("data = \"projector-{number}\"\n");
            all.push(Service::new(Kind::Projector, number, &folder, &log, &data));
            let guard = rest.replace("[delete_guard]", "[configurations.delete_guard]");
            let text = format!(
                "data = \"provisioner-{number}\"\n\n[[configurations]]\nname = \"e2e\"\n\n[configurations.tenant]\n\
                 tenant_id = {}\nclient_id = {}\nclient_secret_file = \"tenant.secret\"\nca_file = \"tenant.pem\"\n\
                 cloud = {{ authority = {}, graph = {} }}\n{tenant_keys}\n\n{guard}\n",
                quoted(&tenant.tenant_id),
                quoted(&tenant.client_id),
                quoted(&tenant.authority),
                quoted(&tenant.graph),
            );
            all.push(Service::new(Kind::Provisioner, number, &folder, &log, &text));
        }
        let services = Self { all, command };
        let out = services.output(&["activate"]);
        assert!(out.status.success(), "activate: {}", String::from_utf8_lossy(&out.stderr));
        services
    }

    /// Runs a `forestsync` command on the configuration.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command.output(arguments)
    }

    /// Starts every process that does not run.
    pub fn start(&mut self) {
        for service in &mut self.all {
            if service.child.is_none() {
                service.start();
            }
        }
    }

    /// SIGTERM to all at once, and waits for a clean end of each.
    pub async fn stop(&mut self) {
        for service in &mut self.all {
            service.resume();
            service.signal("TERM");
        }
        for service in &mut self.all {
            service.ended().await;
        }
    }

    /// Panics with the end of its log if a process ended by itself.
    pub fn assert_alive(&mut self) {
        for service in &mut self.all {
            service.assert_alive();
        }
    }

    /// The groups as `forestsync status` shows them.
    fn groups(&self) -> Vec<serde_json::Value> {
        let status = self.command.json(&["status"]);
        status["groups"].as_array().cloned().unwrap_or_else(|| panic!("status shows no groups: {status}"))
    }

    /// One group as `forestsync status` shows it.
    pub fn group(&self, kind: &Kind) -> serde_json::Value {
        let name = kind.group();
        self.groups().into_iter().find(|group| group["group"] == name.as_str()).unwrap_or_default()
    }

    /// The place in [`Services::all`] of the process that owns the stream of this kind, if one does.
    pub fn owner(&self, kind: &Kind) -> Option<usize> {
        let group = self.group(kind);
        let owner = group["streams"].as_array()?.iter().find_map(|stream| stream["owner"].as_str())?.to_owned();
        self.all.iter().position(|s| s.kind == *kind && s.instance == owner)
    }

    /// Waits until a process other than `not` owns the stream of this kind and is ready.
    pub async fn taken_over(&self, kind: &Kind, not: Option<usize>, limit: Duration) -> usize {
        let mut found = 0;
        wait::until("somebody else takes over", limit, || {
            let ready = match self.owner(kind).filter(|owner| Some(*owner) != not) {
                None => Err(format!("{:?}", self.group(kind))),
                Some(owner) => {
                    found = owner;
                    self.all[owner].ready().map(drop)
                }
            };
            async move { ready }
        })
        .await;
        found
    }

    /// Waits until the owners say that everything wished is written. Their reports are some seconds old, so only what is
    /// said of the end of the streams as they are now counts.
    async fn idle(&self) {
        let kind = Kind::Provisioner;
        wait::until("the provisioner has nothing left to do", Duration::from_mins(1), || {
            let group = self.group(&kind);
            let report = &group["streams"][0]["report"];
            let tail = report["tail"].as_u64();
            let idle = report["phase"] == "idle" && tail.is_some() && report["applied"].as_u64() == tail;
            async move { if idle { Ok(()) } else { Err(group.to_string()) } }
        })
        .await;
    }

    /// The last lines of every log, for a failure.
    pub fn logs(&self) -> String {
        let logs: Vec<String> = self.all.iter().map(|s| format!("== {}\n{}", s.instance, s.log_tail())).collect();
        logs.join("\n")
    }
}

impl Service {
    fn new(kind: Kind, number: &str, folder: &Path, log: &str, rest: &str) -> Self {
        let instance = format!("{}-{number}", kind.group().replace('.', "-"));
        let (port, config) = (free_port(), folder.join(format!("{instance}.toml")));
        // tables come after the keys of the file's own
        let (keys, tables) = match rest.split_once("\n[") {
            Some((keys, tables)) if !rest.starts_with('[') => (format!("{keys}\n"), format!("[{tables}")),
            _ if rest.starts_with('[') => (String::new(), rest.to_owned()),
            _ => (rest.to_owned(), String::new()),
        };
        let service = format!("[service]\nlisten = \"127.0.0.1:{port}\"\ninstance = {}\n", quoted(&instance));
        std::fs::write(&config, format!("{keys}\n{service}\n{log}\n{tables}")).unwrap();
        Self { kind, instance, port, config, folder: folder.to_owned(), child: None, starts: 0, paused: false }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.log", self.instance, self.starts))
    }

    /// Starts it, its log going to a file.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.instance);
        self.starts += 1;
        let log = File::create(self.log_file()).unwrap();
        let mut command = Command::new(peers::binary(self.kind.binary()));
        command.arg("-c").arg(&self.config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("the binaries are built; run the suites by tests/run"));
        self.paused = false;
    }

    /// Whether it was started and not ended since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP: it hangs.
    pub fn pause(&mut self) {
        self.signal("STOP");
        self.paused = self.child.is_some();
    }

    /// SIGCONT, if it was paused.
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.signal("CONT");
        }
    }

    fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
            assert!(sent.unwrap().success(), "{name} to {}", self.instance);
        }
    }

    /// Waits for a clean end after SIGTERM.
    async fn ended(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let (what, tail) = (format!("{} ends after SIGTERM", self.instance), self.log_tail());
        wait::until(&what, Duration::from_mins(1), || {
            let ended = child.try_wait().unwrap();
            let tail = &tail;
            async move {
                match ended {
                    Some(status) if status.success() => Ok(()),
                    Some(status) => panic!("it ended with {status}:\n{tail}"),
                    None => Err("still running".into()),
                }
            }
        })
        .await;
    }

    /// SIGTERM, and waits for a clean end.
    pub async fn stop(&mut self) {
        self.resume();
        self.signal("TERM");
        self.ended().await;
    }

    fn assert_alive(&mut self) {
        if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().unwrap()) {
            panic!("{} ended by itself with {status}:\n{}", self.instance, self.log_tail());
        }
    }

    /// What it answers on its admin port: status and body. Any failure to answer is an error.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().map_err(|error| format!("{}: {error}", self.instance))?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        status.map(|status| (status, body.to_owned())).ok_or_else(|| format!("{}: {head}", self.instance))
    }

    /// Whether it says that it is ready.
    pub fn ready(&self) -> Result<String, String> {
        match self.get("/readyz")? {
            (200, body) => Ok(body),
            (_, body) => Err(format!("{} is not ready: {body}", self.instance)),
        }
    }

    /// The last lines of its newest log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill9();
    }
}

impl System for Services {
    async fn load(&mut self, world: &mut World) {
        self.start();
        world.agree("the initial load", Duration::from_mins(3)).await;
    }

    fn start(&mut self) {
        self.start();
    }

    /// Whoever works is killed; the stand-bys live.
    fn kill(&mut self) {
        let mut kinds: Vec<Kind> = Vec::new();
        for service in &self.all {
            if !kinds.contains(&service.kind) {
                kinds.push(service.kind.clone());
            }
        }
        for kind in kinds {
            let owner = self.owner(&kind).unwrap_or_else(|| panic!("{kind:?} has an owner"));
            self.all[owner].kill9();
        }
    }

    async fn stop(&mut self) {
        self.stop().await;
    }

    fn assert_alive(&mut self) {
        self.assert_alive();
    }

    async fn settle(&mut self, world: &mut World) {
        self.start();
        world.agree("everything comes to rest", Duration::from_mins(3)).await;
        self.idle().await;
        self.stop().await;
    }

    /// Lets each projector in turn work alone, so that all of the databases have caught up with the streams.
    async fn replay(&mut self) {
        let projectors: Vec<usize> = (0..self.all.len()).filter(|at| self.all[*at].kind == Kind::Projector).collect();
        for at in projectors {
            self.all[at].start();
            let owner = self.taken_over(&Kind::Projector, None, Duration::from_mins(2)).await;
            assert_eq!(owner, at, "nobody else runs");
            self.all[at].stop().await;
            let number = self.all[at].instance.rsplit('-').next().unwrap();
            let database = self.command.folder().join(format!("projector-{number}/e2e/projector"));
            let verified = self.output(&["replay", "--verify", "--data", database.to_str().unwrap()]);
            assert!(verified.status.success(), "replay of {number}: {}", String::from_utf8_lossy(&verified.stderr));
        }
    }
}
