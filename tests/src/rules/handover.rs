//! Two configurations of one log and one tenant: who moves from the one's containers to the other's is handed over.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use forestsync_practice::tenant::PracticeTenant;

use super::{Stage, text};
use crate::directory::Access;
use crate::pipeline::{TenantAccess, quoted};
use crate::{peers, suite, wait};

/// The services on an embedded log; they end with it.
struct Services {
    folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Drop for Services {
    fn drop(&mut self) {
        for child in &mut self.children {
            // it may have ended by itself
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        // what a failure leaves is looked at by a person
        self.folder.disable_cleanup(std::thread::panicking());
    }
}

impl Services {
    /// Writes the files of the services and of the configurations `a` and `b`, each with a container of its own.
    fn write(access: &Access, tenant: &TenantAccess) -> Self {
        let folder = tempfile::Builder::new().prefix("handover").tempdir_in(peers::scratch()).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("forest.pem", &access.ca);
        write("forest.secret", &access.reader_password);
        write("tenant.pem", &tenant.ca);
        write("tenant.secret", &tenant.client_secret);
        let log = "[log]\ndirectory = \"log\"\n";
        let reading = format!(
            "name = {}\ncontrollers = [{{ url = {}, address = {} }}]\nca_file = \"forest.pem\"\nbind = {}\n\
             password_file = \"forest.secret\"\ndomains = [{}]\n",
            quoted(&access.name),
            quoted(&format!("ldaps://{}", access.host)),
            quoted(&access.ldaps.to_string()),
            quoted(&access.reader),
            quoted(&access.base),
        );
        let tenant = format!(
            "tenant_id = {}\nclient_id = {}\nca_file = \"tenant.pem\"\nclient_secret_file = \"tenant.secret\"\n\
             cloud = {{ authority = {}, graph = {} }}\n{}\n",
            quoted(&tenant.tenant_id),
            quoted(&tenant.client_id),
            quoted(&tenant.authority),
            quoted(&tenant.graph),
            suite::AT_ONCE,
        );
        write("collector.toml", &format!("{log}[forest]\n{reading}"));
        write("projector.toml", &format!("data = \"data\"\n{log}"));
        let mut provisioner = format!("data = \"data\"\n{log}");
        for name in ["a", "b"] {
            let guard = "count = 500\nshare = 1.0\n";
            provisioner += &format!(
                "[[configurations]]\nname = \"{name}\"\n[configurations.tenant]\n{tenant}[configurations.delete_guard]\n{guard}"
            );
            let container = quoted(&format!("OU={name},OU=Handed,{}", access.base));
            let forest = format!("[[forests]]\n{reading}include = [{container}]\n");
            let guard = format!("[delete_guard]\n{guard}");
            write(
                &format!("{name}.toml"),
                &format!("configuration = \"{name}\"\n{log}{forest}[tenant]\n{tenant}{guard}"),
            );
        }
        write("provisioner.toml", &provisioner);
        Self { folder, children: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&mut self) {
        for name in ["collector", "projector", "provisioner"] {
            let log = File::create(self.path().join(format!("{name}.log"))).unwrap();
            let mut command = Command::new(peers::binary(&format!("forestsync-{name}")));
            command.arg("-c").arg(self.path().join(format!("{name}.toml"))).stdin(Stdio::null());
            command.stdout(log.try_clone().unwrap()).stderr(log);
            self.children.push(command.spawn().expect("the services are built; run the suites by tests/run"));
        }
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Output {
        let config: PathBuf = self.path().join(format!("{name}.toml"));
        Command::new(peers::binary("forestsync")).args(arguments).arg("-c").arg(config).output().unwrap()
    }

    fn logs(&self) -> String {
        let end = |name: &str| {
            let all = std::fs::read_to_string(self.path().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = all.lines().collect();
            format!("{name}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        ["collector", "projector", "provisioner"].map(end).join("\n")
    }

    /// Waits until the user has this title and is live.
    async fn has_title(&self, tenant: &PracticeTenant, what: &str, title: &str) {
        wait::until(what, suite::ARRIVAL, || {
            let dump = tenant.dump();
            let moved = dump.users.iter().find(|user| text(&user.properties, "displayName") == "quinn");
            let found = moved.map(|user| text(&user.properties, "jobTitle").to_owned());
            let is_so = found.as_deref() == Some(title) && dump.deleted_users.is_empty();
            let wrong = format!("found {found:?}, {} deleted\n{}", dump.deleted_users.len(), self.logs());
            async move { if is_so { Ok(()) } else { Err(wrong) } }
        })
        .await;
    }
}

/// Waits until the live users are these, sorted.
async fn left(tenant: &PracticeTenant, what: &str, names: &[&str]) {
    wait::until(what, suite::ARRIVAL, || {
        let dump = tenant.dump();
        let mut left: Vec<_> = dump.users.iter().map(|u| text(&u.properties, "displayName").to_owned()).collect();
        left.sort();
        let is_so = left == names;
        async move { if is_so { Ok(()) } else { Err(format!("{left:?}")) } }
    })
    .await;
}

/// A user goes from one configuration's container to the other's and back, and is never deleted.
pub async fn between_two_configurations(stage: &mut Stage) {
    stage.add_containers(0, &["OU=Handed", "OU=a,OU=Handed", "OU=b,OU=Handed"]).await;
    for (name, parent) in
        [("quinn", "OU=a,OU=Handed"), ("ruth", "OU=a,OU=Handed"), ("sam", "OU=b,OU=Handed"), ("tess", "OU=a,OU=Handed")]
    {
        stage.add_user(0, name, parent, &[("title", "First")]).await;
    }
    let (tenant, access) = stage.tenant().await;
    let mut services = Services::write(&stage.directories[0].access, &access);
    services.start();
    for name in ["a", "b"] {
        let activated = services.command(name, &["activate"]);
        assert!(activated.status.success(), "{}", String::from_utf8_lossy(&activated.stderr));
    }
    services.has_title(&tenant, "all are there", "First").await;
    let mut at = "a";
    for (to, title) in [("b", "Second"), ("a", "Third"), ("b", "Fourth")] {
        stage.relocate(0, &format!("CN=quinn,OU={at},OU=Handed"), &format!("OU={to},OU=Handed")).await;
        let dn = stage.directories[0].dn(&format!("CN=quinn,OU={to},OU=Handed"));
        stage.directories[0].set(&dn, "title", title).await;
        services.has_title(&tenant, &format!("{to} has taken over"), title).await;
        at = to;
    }
    assert_eq!(tenant.counters().operations.get("user.delete"), None, "nobody was deleted on the way");
    // whoever leaves both is deleted by whose it was last
    let dn = stage.directories[0].dn("CN=quinn,OU=b,OU=Handed");
    stage.directories[0].delete(&dn).await;
    left(&tenant, "the last one deletes", &["ruth", "sam", "tess"]).await;
    // one of the two is removed: what the other one has by now is handed over, and only the rest is deleted
    stage.relocate(0, "CN=ruth,OU=a,OU=Handed", "OU=b,OU=Handed").await;
    let removal = ["remove-configuration", "--objects", "delete", "--confirm", "a", "--reason", "merged into b"];
    let removed = services.command("a", &removal);
    let said = format!("{}\n{}", String::from_utf8_lossy(&removed.stdout), String::from_utf8_lossy(&removed.stderr));
    assert!(removed.status.success(), "{said}\n{}", services.logs());
    left(&tenant, "the removal deletes", &["ruth", "sam"]).await;
    let refused = services.command("a", &["activate"]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    let creates = tenant.counters().creates_by_immutable_id;
    assert!(creates.len() == 4 && creates.values().all(|times| *times == 1), "each was created once: {creates:?}");
}
