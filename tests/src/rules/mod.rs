//! The rules in front of directories of either kind: what is in scope, who is one person, what flows and why, who is
//! handed over.
//!
//! Each scene has containers, a tenant and a configuration of its own, so that all of them share the forests.

pub mod drift;
pub mod handover;
pub mod joins;
pub mod life;
pub mod plans;
pub mod questions;
pub mod scope;

use std::collections::BTreeSet;
use std::time::Duration;

use forestsync_practice::forest::PracticeForest;
use forestsync_practice::tenant::{PracticeTenant, TenantDump};
use forestsync_practice::tls::PrivateCa;
use serde_json::{Map, Value};

use crate::directory::Directory;
use crate::pipeline::{Pipeline, Source, TenantAccess};
use crate::samba::Lab;
use crate::world::Peer;
use crate::{suite, wait};

/// Forests that the scenes are played in.
#[derive(Debug)]
pub struct Stage {
    /// The administrator's connections.
    pub directories: Vec<Directory>,
    ca: PrivateCa,
    /// The practice forests behind them, if they are that. They end with the stage.
    pub practice: Vec<PracticeForest>,
    _lab: Option<Lab>,
}

/// A tenant and the command that writes to it.
#[derive(Debug)]
pub struct Show {
    /// The tenant.
    pub tenant: PracticeTenant,
    /// How it is reached.
    pub access: TenantAccess,
    /// The command.
    pub pipeline: Pipeline,
}

impl Stage {
    /// Three practice forests.
    pub async fn practice() -> Self {
        let ca = PrivateCa::new().unwrap();
        let (mut directories, mut forests) = (Vec::new(), Vec::new());
        for (peer, access) in suite::practice_peers(&ca).await {
            directories.push(Directory::open(&access).await);
            let Peer::Practice(forest) = peer else { panic!("a practice forest") };
            forests.push(forest);
        }
        Self { directories, ca, practice: forests, _lab: None }
    }

    /// Up to three forests of the Samba lab, which know Exchange's attributes.
    pub async fn samba(numbers: &[u8]) -> Self {
        let lab = Lab::up(numbers);
        let mut directories = Vec::new();
        for (n, name) in numbers.iter().copied().zip(["one", "two", "three"]) {
            lab.must(&["exchange", &n.to_string()]);
            directories.push(Directory::open(&lab.access(n, name)).await);
        }
        Self { directories, ca: PrivateCa::new().unwrap(), practice: Vec::new(), _lab: Some(lab) }
    }

    /// Plays every scene.
    pub async fn play(&mut self) {
        scope::containers(self).await;
        scope::groups(self).await;
        joins::account_and_resource_forest(self).await;
        joins::full_mesh_of_contacts(self).await;
        joins::one_user_per_forest(self).await;
        questions::flow_and_findings(self).await;
        drift::by_others(self).await;
        plans::changed_configuration(self).await;
        plans::staged(self).await;
        handover::between_two_configurations(self).await;
    }

    /// A new tenant where all domains are verified.
    pub async fn tenant(&self) -> (PracticeTenant, TenantAccess) {
        let domains: Vec<String> = self.directories.iter().map(domain).collect();
        suite::tenant(&self.ca, &domains, None).await
    }

    /// Forest `n` with these containers, relative to its base.
    pub fn source(&self, n: usize, include: &[&str], exclude: &[&str]) -> Source {
        let directory = &self.directories[n];
        let names = |list: &[&str]| list.iter().map(|front| directory.dn(front)).collect();
        Source { access: directory.access.clone(), include: names(include), exclude: names(exclude) }
    }

    /// A configuration of these sources with further tables, running, and a tenant for it.
    pub async fn open(&self, sources: &[Source], rest: &str) -> Show {
        let mut show = self.closed(sources, rest).await;
        show.pipeline.start();
        show
    }

    /// The same, and nothing runs yet.
    pub async fn closed(&self, sources: &[Source], rest: &str) -> Show {
        let (tenant, access) = self.tenant().await;
        let rest = format!("{rest}\n{}", suite::WIDE_GUARD);
        let pipeline = Pipeline::new(sources, &access, suite::AT_ONCE, &rest);
        Show { tenant, access, pipeline }
    }

    /// Adds containers, outer ones first.
    pub async fn add_containers(&mut self, n: usize, fronts: &[&str]) {
        let directory = &mut self.directories[n];
        for front in fronts {
            let dn = directory.dn(front);
            directory.add(&dn, &[("objectClass", "organizationalUnit")]).await;
        }
    }

    /// Adds an enabled user whose names are all `name`.
    pub async fn add_user(&mut self, n: usize, name: &str, parent: &str, more: &[(&str, &str)]) {
        let directory = &mut self.directories[n];
        let upn = format!("{name}@{}", domain(directory));
        let mut all = vec![("objectClass", "user"), ("sAMAccountName", name), ("displayName", name)];
        all.extend([("userPrincipalName", upn.as_str()), ("userAccountControl", "544")]);
        all.retain(|(attribute, _)| !more.iter().any(|(other, _)| other == attribute));
        all.extend(more);
        let dn = directory.dn(&format!("CN={name},{parent}"));
        directory.add(&dn, &all).await;
    }

    /// Adds a global security group with members given by their names relative to the base.
    pub async fn add_group(&mut self, n: usize, name: &str, parent: &str, members: &[&str]) {
        let directory = &mut self.directories[n];
        let dn = directory.dn(&format!("CN={name},{parent}"));
        let group = [("objectClass", "group"), ("sAMAccountName", name), ("groupType", "-2147483646")];
        directory.add(&dn, &group).await;
        if !members.is_empty() {
            let members: Vec<String> = members.iter().map(|front| directory.dn(front)).collect();
            directory.add_values(&dn, "member", &members).await;
        }
    }

    /// Moves an object below another container.
    pub async fn relocate(&mut self, n: usize, front: &str, parent: &str) {
        let directory = &mut self.directories[n];
        let (dn, parent) = (directory.dn(front), directory.dn(parent));
        let rdn = front.split_once(',').map_or(front, |(rdn, _)| rdn);
        directory.relocate(&dn, rdn, &parent).await;
    }
}

/// The DNS name of a directory's domain.
pub fn domain(directory: &Directory) -> String {
    directory.access.host.split_once('.').unwrap().1.to_owned()
}

fn text<'a>(properties: &'a Map<String, Value>, name: &str) -> &'a str {
    properties.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The common name in a distinguished name, where nothing in it is escaped.
fn common_name(dn: &str) -> &str {
    dn.trim_start_matches("CN=").split(',').next().unwrap_or_default()
}

impl Show {
    /// Waits until the tenant is as `wrong` wants it: `None` once nothing is wrong any more.
    pub async fn becomes(&mut self, what: &str, wrong: impl Fn(&TenantDump) -> Option<String>) {
        let tenant = &self.tenant;
        let pipeline = &mut self.pipeline;
        wait::until(what, suite::ARRIVAL, || {
            pipeline.assert_alive();
            let found = wrong(&tenant.dump()).map(|wrong| format!("{wrong}\n{}", pipeline.log_tail()));
            async move { found.map_or(Ok(()), Err) }
        })
        .await;
    }

    /// Waits until the users of the tenant are those with these display names.
    pub async fn people(&mut self, what: &str, names: &[&str]) {
        let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.becomes(what, |dump| {
            let found: BTreeSet<_> =
                dump.users.iter().map(|user| text(&user.properties, "displayName").to_owned()).collect();
            let is_one_each = found.len() == dump.users.len();
            (found != expected || !is_one_each).then(|| format!("expected {expected:?}, found {found:?}"))
        })
        .await;
    }

    /// Waits until a user has a property's value.
    pub async fn has(&mut self, what: &str, name: &str, property: &str, value: &str) {
        self.becomes(what, |dump| {
            let user = dump.users.iter().find(|user| text(&user.properties, "displayName") == name)?;
            let found = text(&user.properties, property);
            (found != value).then(|| format!("{property} of {name} is {found:?}"))
        })
        .await;
        assert!(!self.id(name).is_empty(), "{name} is there");
    }

    /// The object id of a user; empty without one.
    pub fn id(&self, name: &str) -> String {
        let users = self.tenant.dump().users;
        let user = users.into_iter().find(|user| text(&user.properties, "displayName") == name);
        user.map(|user| user.id).unwrap_or_default()
    }

    /// The display names of those who were deleted.
    pub fn deleted(&self) -> Vec<String> {
        let deleted = self.tenant.dump().deleted_users;
        deleted.iter().map(|user| text(&user.properties, "displayName").to_owned()).collect()
    }

    /// Waits until `status` holds a word somewhere.
    pub async fn status_says(&mut self, word: &str) {
        let pipeline = &self.pipeline;
        wait::until(&format!("status says {word}"), Duration::from_mins(1), || {
            let status = pipeline.json(&["status"]).to_string();
            async move { if status.contains(word) { Ok(()) } else { Err(status) } }
        })
        .await;
    }
}
