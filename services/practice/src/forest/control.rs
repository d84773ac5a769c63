//! The handle with which tests and the demo reach behind the LDAP interface: faults, rights, backups, bulk loads.

use std::sync::Arc;

use anyhow::Context as _;
use ldap3_proto::LdapResultCode as Rc;

use super::object::Context as Nc;
use super::schema::{IS_CRITICAL, schema};
use super::seed::mark_confidential;
use super::server::{ForestCounters, Shared};
use super::store::{Refusal, Store};
use super::view::{ExtendedDn, View};
use super::{Rights, server};

/// How many objects are loaded before others get their turn.
const LOAD_BATCH: usize = 2000;

/// Controls a running practice forest. Clones control the same forest.
#[derive(Clone, Debug)]
pub struct ForestControl {
    pub(crate) shared: Arc<Shared>,
}

/// A copy of the directory at one moment.
#[derive(Clone)]
pub struct Backup {
    store: Store,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("usn", &self.store.usn).finish_non_exhaustive()
    }
}

/// A live object of the domain, as an oracle wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveObject {
    /// objectGUID, as stored.
    pub guid: [u8; 16],
    /// The DN now.
    pub dn: String,
    /// The most derived class.
    pub class: &'static str,
    /// objectGUID of the parent; none for the root of the domain.
    pub parent: Option<[u8; 16]>,
    /// True for objects that come with every forest (isCriticalSystemObject).
    pub critical: bool,
    /// Stored attributes with their values, in the names of the schema, links apart.
    pub attributes: Vec<(&'static str, Vec<Vec<u8>>)>,
    /// Links with the objectGUIDs that they point to.
    pub links: Vec<(&'static str, Vec<[u8; 16]>)>,
}

impl LiveObject {
    /// The first value of an attribute as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, values) = self.attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(values.first()?).ok()
    }
}

fn waiting(code: u32, text: &str, times: u32) -> Option<(u32, Refusal)> {
    let code = Rc::try_from(i64::from(code)).unwrap_or(Rc::Other);
    (times > 0).then(|| (times, Refusal::new(code, text)))
}

impl ForestControl {
    /// Cuts every connection at once, without a word.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|n| *n += 1);
    }

    /// Cuts the connection of the next search below a base (one that reads a single object does not count) after it
    /// has sent that many entries, at least one.
    pub fn cut_after(&self, entries: u64) {
        self.shared.faults().cut_after = Some(entries.max(1));
    }

    /// Stops answering; connections stay open and requests are still read.
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Answers again.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Answers the next searches (the rootDSE and notifications apart) with busy, rc 51.
    pub fn answer_busy(&self, times: u32) {
        self.answer(51, "the practice forest was told to be busy", times);
    }

    /// Answers the next searches (the rootDSE and notifications apart) with unavailable, rc 52.
    pub fn answer_unavailable(&self, times: u32) {
        self.answer(52, "the practice forest was told to be unavailable", times);
    }

    /// Answers so many of the next searches (the rootDSE and notifications apart) with a result; 0 times: no longer. A code
    /// that RFC 4511 does not know becomes `other` (80).
    pub fn answer(&self, code: u32, text: &str, times: u32) {
        self.shared.faults().search = waiting(code, text, times);
    }

    /// Answers so many of the next binds with a result, whatever their password; 0 times: no longer.
    pub fn answer_binds(&self, code: u32, text: &str, times: u32) {
        self.shared.faults().bind = waiting(code, text, times);
    }

    /// Answers the next search (the rootDSE apart) with a notice of disconnection (RFC 4511 4.4.1) and ends its connection.
    pub fn disconnect(&self, code: u32, text: &str) {
        self.shared.faults().notice = waiting(code, text, 1).map(|(_, refusal)| refusal);
    }

    /// Adds an attribute to every entry, asked for or not; `None`: no longer.
    pub fn add_unasked(&self, attribute: Option<(&str, &str)>) {
        self.shared.faults().unasked = attribute.map(|(name, value)| (name.to_owned(), value.to_owned()));
    }

    /// The rights of the reader account now.
    pub fn reader_rights(&self) -> Rights {
        let access = self.shared.access(Some(1));
        Rights { may_dirsync: access.dirsync, sees_deleted: access.deleted, reads_objects: access.read }
    }

    /// Gives the reader account other rights, also on connections that are open.
    pub fn set_reader_rights(&self, rights: Rights) {
        if let Some(reader) = self.shared.accounts_mut().get_mut(1) {
            reader.access.dirsync = rights.may_dirsync;
            reader.access.deleted = rights.sees_deleted;
            reader.access.read = rights.reads_objects;
        }
    }

    /// Sets or clears the confidential bit in an attribute's `searchFlags`: then only the administrator reads it.
    pub fn set_confidential(&self, attribute: &str, on: bool) -> anyhow::Result<()> {
        let id = schema().find(attribute).with_context(|| format!("attribute {attribute:?} is not in the schema"))?;
        self.shared.write(|store, out| {
            mark_confidential(store, id, on, out.now);
            Ok(())
        })?;
        Ok(())
    }

    /// Takes the right to read a container and what is in it from everybody but the administrator, or gives it back.
    pub fn set_hidden(&self, dn: &str, on: bool) -> anyhow::Result<()> {
        let found = self.shared.read().resolve(dn)?;
        let id = found.with_context(|| format!("there is no {dn}"))?;
        self.shared.write(|store, _| {
            if on {
                store.hidden.insert(id)
            } else {
                store.hidden.remove(&id)
            };
            Ok(())
        })?;
        Ok(())
    }

    /// The identity of this incarnation of the controller's database.
    pub fn invocation_id(&self) -> [u8; 16] {
        self.shared.read().invocation
    }

    /// The highest USN given out.
    pub fn usn(&self) -> u64 {
        self.shared.read().usn
    }

    /// Takes a new invocationId, as a controller does after a supported restore.
    pub fn new_invocation_id(&self) -> anyhow::Result<()> {
        self.shared.write(|store, out| {
            let end = store.usn;
            let old = std::mem::replace(&mut store.invocation, out.guid());
            store.retired.push((old, end));
            Ok(())
        })?;
        Ok(())
    }

    /// Copies the directory.
    pub fn backup(&self) -> Backup {
        Backup { store: self.shared.read().clone() }
    }

    /// Puts a copy back: the USN goes back with it. With `new_invocation` as a supported restore does, without as a
    /// restored disk image does (USN rollback). Connections are cut, as the controller restarts.
    pub fn restore(&self, backup: &Backup, new_invocation: bool) -> anyhow::Result<()> {
        let copy = backup.store.clone();
        self.shared.write(|store, _| {
            *store = copy;
            Ok(())
        })?;
        if new_invocation {
            self.new_invocation_id()?;
        }
        self.cut_all();
        Ok(())
    }

    /// Adds objects without LDAP, in the order given, by the same rules. Returns how many; stops at the first one
    /// that is refused, naming it.
    pub async fn load<I>(&self, objects: I) -> anyhow::Result<usize>
    where
        I: IntoIterator<Item = crate::population::NewObject>,
    {
        let mut objects = objects.into_iter();
        let mut loaded = 0;
        loop {
            let batch: Vec<_> = objects.by_ref().take(LOAD_BATCH).collect();
            if batch.is_empty() {
                return Ok(loaded);
            }
            let result: anyhow::Result<()> = self.shared.write(|store, out| {
                Ok(batch.iter().try_for_each(|object| {
                    let added = store.add(&object.dn, &object.attributes, out);
                    added.map(|_| ()).with_context(|| format!("cannot load {}", object.dn))
                }))
            })?;
            result?;
            loaded += batch.len();
            tokio::task::yield_now().await;
        }
    }

    /// How often what has happened.
    pub fn counters(&self) -> ForestCounters {
        self.shared.counters.read()
    }

    /// Shows every live object of the domain, in the order in which they were made. The directory stands still
    /// meanwhile.
    pub fn visit_live(&self, mut visitor: impl FnMut(LiveObject)) {
        let store = self.shared.read();
        let access = super::view::Access { admin: true, dirsync: true, deleted: true, read: true };
        let view = View { access, extended: ExtendedDn::No, show_deleted: false, max_val_range: usize::MAX };
        for id in 0..store.len() as u32 {
            let object = store.get(id);
            if object.context != Nc::Domain || store.is_marked_deleted(id) {
                continue;
            }
            let name = |attr| schema().def(attr).name;
            let stored = object.attrs().filter(|a| a.count > 0);
            let attributes = stored.map(|a| (name(a.id), view.values(&store, id, a.id))).collect();
            let guids = |attr| object.targets(attr).map(|t| store.get(t).guid).collect::<Vec<_>>();
            let links = object.links.iter().map(|(attr, _)| (name(*attr), guids(*attr)));
            visitor(LiveObject {
                guid: object.guid,
                dn: store.dn(id),
                class: object.class.get().name(),
                parent: super::view::parent_guid(&store, object).and_then(|g| g.try_into().ok()),
                critical: object.first(IS_CRITICAL) == Some(b"TRUE"),
                attributes,
                links: links.filter(|(_, targets)| !targets.is_empty()).collect(),
            });
        }
    }

    /// Every live object of the domain.
    pub fn dump(&self) -> Vec<LiveObject> {
        let mut all = Vec::new();
        self.visit_live(|object| all.push(object));
        all
    }

    /// The wall time of the controller in seconds since 1970.
    pub fn clock(&self) -> i64 {
        server::now()
    }
}
