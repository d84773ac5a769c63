//! Three forests, a practice tenant, and what the one should hold of the others.

use std::collections::BTreeSet;
use std::time::Duration;

use forestsync_practice::forest::{Backup, PracticeForest};
use forestsync_practice::oracle::{self, Entry, ForestReading, Holdings};
use forestsync_practice::tenant::PracticeTenant;

use crate::directory::{Access, Directory};
use crate::pipeline::{Source, TenantAccess};
use crate::samba::Lab;
use crate::scenario::Change;
use crate::wait;

/// What stands behind a forest.
#[derive(Debug)]
pub enum Peer {
    /// The practice forest, in this process.
    Practice(PracticeForest),
    /// A forest of the Samba lab, by number.
    Samba(u8),
}

/// One forest of the scenario.
#[derive(Debug)]
pub struct Forest {
    /// What answers.
    pub peer: Peer,
    /// The administrator's connection.
    pub directory: Directory,
    /// The practice forest as it was before anybody was in it.
    pub pristine: Option<Backup>,
    include: Vec<String>,
    exclude: Vec<String>,
    pinned: BTreeSet<String>,
}

/// The forests and the tenant.
#[derive(Debug)]
pub struct World {
    /// The forests, in the order of the scenario.
    pub forests: Vec<Forest>,
    /// The tenant.
    pub tenant: PracticeTenant,
    /// How forestsync reaches the tenant.
    pub access: TenantAccess,
    lab: Option<Lab>,
}

/// Containers in and out of scope per forest of the scenario, relative to the base.
const SCOPES: [(&[&str], &[&str]); 3] =
    [(&["OU=Staff"], &["OU=Service,OU=Staff"]), (&[], &[]), (&["OU=Staff", "OU=Partners"], &[])];

fn find<'a>(entries: &'a [Entry], dn: &str) -> Option<&'a Entry> {
    entries.iter().find(|e| e.dn.eq_ignore_ascii_case(dn))
}

impl World {
    /// The world of these peers; each forest gets the initial population.
    pub async fn new(peers: Vec<(Peer, Access)>, lab: Option<Lab>, tenant: (PracticeTenant, TenantAccess)) -> Self {
        let (tenant, access) = tenant;
        let mut world = Self { forests: Vec::new(), tenant, access, lab };
        for (n, (peer, access)) in peers.into_iter().enumerate() {
            let directory = Directory::open(&access).await;
            let names = |list: &[&str]| list.iter().map(|front| directory.dn(front)).collect::<Vec<_>>();
            let (include, exclude) = (names(SCOPES[n].0), names(SCOPES[n].1));
            let pristine = match &peer {
                Peer::Practice(forest) => Some(forest.control().backup()),
                Peer::Samba(_) => None,
            };
            world.forests.push(Forest { peer, directory, pristine, include, exclude, pinned: BTreeSet::new() });
            for change in crate::scenario::population(n) {
                world.apply(&change).await;
            }
            world.resolve(n).await;
        }
        world
    }

    /// From names in the configuration to objectGUIDs, so that the oracle follows renamed containers.
    async fn resolve(&mut self, n: usize) {
        let entries = self.entries(n).await;
        let forest = &mut self.forests[n];
        for name in forest.include.iter_mut().chain(&mut forest.exclude) {
            *name = find(&entries, name).unwrap_or_else(|| panic!("{name} is there")).object_guid().unwrap();
        }
    }

    /// Another tenant in the place of the one it was made with, such as one that holds something of what is in the forests.
    pub fn move_to(&mut self, (tenant, access): (PracticeTenant, TenantAccess)) {
        (self.tenant, self.access) = (tenant, access);
    }

    /// The entry of an object by its name relative to the base.
    pub async fn entry(&mut self, n: usize, front: &str) -> Entry {
        let (name, entries) = (self.forests[n].directory.dn(front), self.entries(n).await);
        find(&entries, &name).unwrap_or_else(|| panic!("{name} is there")).clone()
    }

    /// The sources of the configuration, as an administrator would write them at the start.
    pub fn sources(&self) -> Vec<Source> {
        let names = |forest: &Forest, list: &[&str]| list.iter().map(|front| forest.directory.dn(front)).collect();
        let source = |(n, forest): (usize, &Forest)| Source {
            access: forest.directory.access.clone(),
            include: names(forest, SCOPES[n].0),
            exclude: names(forest, SCOPES[n].1),
        };
        self.forests.iter().enumerate().map(source).collect()
    }

    /// All live entries of forest `n`: for Samba from its database, for the practice forest by a plain search.
    pub async fn entries(&mut self, n: usize) -> Vec<Entry> {
        match &self.forests[n].peer {
            Peer::Practice(_) => self.forests[n].directory.entries().await,
            Peer::Samba(number) => self.lab.as_ref().unwrap().entries(*number),
        }
    }

    /// The Samba lab, where the world has one.
    pub fn lab(&self) -> Option<&Lab> {
        self.lab.as_ref()
    }

    /// Does one operation of the scenario.
    pub async fn apply(&mut self, change: &Change) {
        let n = match change {
            Change::Add(n, ..)
            | Change::Set(n, ..)
            | Change::SetBytes(n, ..)
            | Change::Clear(n, ..)
            | Change::AddValues(n, ..)
            | Change::RemoveValues(n, ..)
            | Change::Rename(n, ..)
            | Change::Move(n, ..)
            | Change::Delete(n, ..)
            | Change::DeleteTree(n, ..)
            | Change::Undelete(n, ..)
            | Change::Pin(n, ..) => *n,
        };
        if let Change::Pin(_, dn) = change {
            let (name, entries) = (self.forests[n].directory.dn(dn), self.entries(n).await);
            let guid = find(&entries, &name).unwrap().object_guid().unwrap();
            self.forests[n].pinned.insert(guid);
            return;
        }
        let d = &mut self.forests[n].directory;
        let base = d.access.base.clone();
        let domain = d.access.host.split_once('.').unwrap().1.to_owned();
        let fill = |value: &String| value.replace("{base}", &base).replace("{domain}", &domain);
        let dn = |front: &String| format!("{front},{base}");
        match change {
            Change::Add(_, front, attributes) => {
                let filled: Vec<(&str, String)> = attributes.iter().map(|(n, v)| (n.as_str(), fill(v))).collect();
                let plain: Vec<(&str, &str)> = filled.iter().map(|(n, v)| (*n, v.as_str())).collect();
                d.add(&dn(front), &plain).await;
            }
            Change::Set(_, front, attribute, value) => d.set(&dn(front), attribute, &fill(value)).await,
            Change::SetBytes(_, front, attribute, value) => d.set_raw(&dn(front), attribute, value).await,
            Change::Clear(_, front, attribute) => d.clear(&dn(front), attribute).await,
            Change::AddValues(_, front, attribute, values) => {
                d.add_values(&dn(front), attribute, &values.iter().map(fill).collect::<Vec<_>>()).await;
            }
            Change::RemoveValues(_, front, attribute, values) => {
                d.remove_values(&dn(front), attribute, &values.iter().map(fill).collect::<Vec<_>>()).await;
            }
            Change::Rename(_, front, rdn) => d.rename(&dn(front), rdn).await,
            Change::Move(_, front, rdn, parent) => d.relocate(&dn(front), rdn, &dn(parent)).await,
            Change::Delete(_, front) => d.delete(&dn(front)).await,
            Change::DeleteTree(_, front) => d.delete_tree(&dn(front)).await,
            Change::Undelete(_, sam, front) => d.undelete(sam, &dn(front)).await,
            Change::Pin(..) => unreachable!("handled above"),
        }
    }

    /// What the tenant should hold now.
    pub async fn expected(&mut self) -> Holdings {
        let mut readings = Vec::new();
        for n in 0..self.forests.len() {
            let entries = self.entries(n).await;
            let forest = &self.forests[n];
            let now = |guids: &[String]| {
                let named = guids.iter().filter_map(|g| entries.iter().find(|e| e.object_guid().as_ref() == Some(g)));
                named.map(|e| e.dn.clone()).collect::<Vec<_>>()
            };
            readings.push(ForestReading {
                base: forest.directory.access.base.clone(),
                include: now(&forest.include),
                exclude: now(&forest.exclude),
                pinned: forest.pinned.clone(),
                entries,
            });
        }
        oracle::expected(&readings)
    }

    /// Where the tenant differs from what it should hold; empty if nowhere.
    pub async fn differences(&mut self) -> Vec<String> {
        let expected = self.expected().await;
        oracle::differences(&expected, &Holdings::of(&self.tenant.dump()), &oracle::managed_user_properties())
    }

    /// Waits until the tenant holds what it should.
    pub async fn agree(&mut self, what: &str, limit: Duration) {
        let expected = self.expected().await;
        let managed = oracle::managed_user_properties();
        let tenant = &self.tenant;
        wait::until(what, limit, || {
            let lines = oracle::differences(&expected, &Holdings::of(&tenant.dump()), &managed);
            async move { if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) } }
        })
        .await;
    }
}
