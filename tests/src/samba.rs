//! Samba's AD DC, through `infra/samba/lab`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use forestsync_practice::oracle::Entry;

use crate::directory::{Access, Directory};
use crate::suite::Disturb;
use crate::world::World;
use crate::{ldif, peers};

/// Forests of the lab, in a folder of their own under the target directory.
#[derive(Debug)]
pub struct Lab {
    folder: PathBuf,
    forests: Vec<u8>,
}

fn script() -> PathBuf {
    peers::workspace().join("infra/samba/lab")
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(script()).args(arguments).env("LAB_DIR", folder).output().expect("infra/samba/lab can be run")
}

/// Why there is no Samba here, if there is none.
pub fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let reason = MISSING.get_or_init(|| {
        let out = run(Path::new("."), &["install"]);
        (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).trim().to_owned())
    });
    reason.as_deref()
}

impl Lab {
    /// Fresh forests with these numbers (1 to 99), each with an account `reader` for forestsync.
    pub fn up(forests: &[u8]) -> Self {
        let names: Vec<String> = forests.iter().map(u8::to_string).collect();
        let folder = peers::scratch().join(format!("lab-{}", names.concat()));
        let lab = Self { folder, forests: forests.to_vec() };
        for n in forests {
            lab.must(&["destroy", &n.to_string()]);
            lab.must(&["up", &n.to_string()]);
            lab.must(&["grant-dirsync", &n.to_string(), "reader"]);
        }
        lab
    }

    /// Runs a command of the lab; panics with what it said if it fails.
    pub fn must(&self, arguments: &[&str]) -> String {
        let out = run(&self.folder, arguments);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "lab {arguments:?}: {said}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// How to reach forest `n`, named `name` in configurations.
    pub fn access(&self, n: u8, name: &str) -> Access {
        let printed = self.must(&["env", &n.to_string()]);
        let value = |key: &str| {
            let line = printed.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("lab env has no {key}")).to_owned()
        };
        let host = value("LAB_FQDN");
        let domain = host.split_once('.').unwrap().1.to_owned();
        Access {
            name: name.to_owned(),
            base: value("LAB_BASE"),
            ldaps: format!("{}:636", value("LAB_ADDR")).parse().unwrap(),
            ca: std::fs::read_to_string(value("LAB_CA")).unwrap(),
            admin: value("LAB_BIND"),
            admin_password: value("LAB_PASSWORD"),
            reader: format!("reader@{domain}"),
            reader_password: value("LAB_PASSWORD"),
            host,
        }
    }

    /// All live entries of forest `n`, read from its database by `ldbsearch`.
    pub fn entries(&self, n: u8) -> Vec<Entry> {
        let database = self.folder.join(format!("lab{n:02}/private/sam.ldb"));
        let base = format!("DC=lab{n:02},DC=local");
        let filter = "(|(objectClass=user)(objectClass=group)(objectClass=contact)(objectClass=organizationalUnit))";
        let out = Command::new("ldbsearch")
            .args(["-H", &database.display().to_string(), "-b", &base, "-s", "sub", filter, "*"])
            .output()
            .expect("ldbsearch can be run");
        assert!(out.status.success(), "ldbsearch: {}", String::from_utf8_lossy(&out.stderr));
        ldif::entries(&String::from_utf8(out.stdout).unwrap())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for n in &self.forests {
            let _stopped = run(&self.folder, &["destroy", &n.to_string()]);
        }
    }
}

/// Kills the controller of the world's first forest, which is the lab's forest of this number, and starts it again.
#[derive(Debug)]
pub struct KillController(pub u8);

impl Disturb for KillController {
    async fn controller_dies(&mut self, world: &mut World) {
        let (lab, number) = (world.lab().unwrap(), self.0.to_string());
        lab.must(&["kill9", &number]);
        lab.must(&["up", &number]);
        let access = world.forests[0].directory.access.clone();
        world.forests[0].directory = Directory::open(&access).await;
    }
}
