//! The directory in memory: objects, their indexes, and the update sequence.
//!
//! Every change takes the next USN and moves its object to the end of the index by USN, so that reading what changed
//! after some USN costs what changed. Objects are never taken out: a deleted one stays as a tombstone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ldap3_proto::LdapResultCode;

use super::dn::{self, escape_into, fold};
use super::object::{Attr, AttrRef, Birth, Context, Id, NOBODY, Object};
use super::schema::{AttrId, ClassId, IS_DELETED, LAST_KNOWN_PARENT, OBJECT_SID, SAM_ACCOUNT_NAME};
use super::text;

/// Why the directory did not do what it was asked: an LDAP result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code:?})")]
pub struct Refusal {
    /// The result code to answer with.
    pub code: LdapResultCode,
    /// A text for people.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: LdapResultCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What stays the same for the life of a forest.
#[derive(Debug)]
pub(crate) struct Names {
    /// The root of the domain, such as `DC=emea,DC=example`.
    pub(crate) base: String,
    /// The folded steps of the base, the leaf first.
    pub(crate) steps: Vec<(String, String)>,
    pub(crate) dns_domain: String,
    pub(crate) netbios: String,
    pub(crate) host: String,
    pub(crate) domain_sid: Vec<u8>,
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) names: Arc<Names>,
    objects: Vec<Arc<Object>>,
    by_guid: HashMap<[u8; 16], Id>,
    children: BTreeMap<(Id, Box<str>), Id>,
    by_sid: HashMap<Box<[u8]>, Id>,
    by_account: HashMap<Box<str>, Id>,
    by_usn: BTreeMap<u64, Id>,
    /// The highest USN given out.
    pub(crate) usn: u64,
    pub(crate) next_rid: u32,
    pub(crate) invocation: [u8; 16],
    /// Invocations of this controller that ended, with the USN at which they did.
    pub(crate) retired: Vec<([u8; 16], u64)>,
    pub(crate) confidential: BTreeSet<AttrId>,
    /// Attributes that only the administrator reads, although the schema does not say so.
    pub(crate) denied: BTreeSet<AttrId>,
    /// Containers that only administrators may read, with what is in them.
    pub(crate) hidden: BTreeSet<Id>,
    pub(crate) landmarks: Landmarks,
}

/// Objects that the server itself has to find.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Landmarks {
    pub(crate) domain: Id,
    pub(crate) configuration: Id,
    pub(crate) schema: Id,
    pub(crate) deleted: Id,
    pub(crate) foreign: Id,
    pub(crate) users: Id,
    pub(crate) ntds: Id,
}

impl Store {
    pub(crate) fn new(names: Names, invocation: [u8; 16]) -> Self {
        Self {
            names: Arc::new(names),
            objects: Vec::new(),
            by_guid: HashMap::new(),
            children: BTreeMap::new(),
            by_sid: HashMap::new(),
            by_account: HashMap::new(),
            by_usn: BTreeMap::new(),
            usn: 0,
            next_rid: 1103,
            invocation,
            retired: Vec::new(),
            confidential: BTreeSet::new(),
            denied: BTreeSet::new(),
            hidden: BTreeSet::new(),
            landmarks: Landmarks::default(),
        }
    }

    /// How many objects there are, tombstones included.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The object of that number, which must come from this store.
    pub(crate) fn get(&self, id: Id) -> &Object {
        &self.objects[id as usize]
    }

    pub(crate) fn edit(&mut self, id: Id) -> &mut Object {
        Arc::make_mut(&mut self.objects[id as usize])
    }

    /// The DN of an object.
    pub(crate) fn dn(&self, id: Id) -> String {
        let mut out = String::with_capacity(80);
        let mut at = id;
        while at != NOBODY && at != self.landmarks.domain {
            let object = self.get(at);
            out.push_str(object.class.get().rdn.label());
            out.push('=');
            escape_into(&mut out, &object.name);
            out.push(',');
            at = object.parent;
        }
        out.push_str(&self.names.base);
        out
    }

    /// The object that a base DN means: a DN, `<GUID=…>` or `<SID=…>`, tombstones included. `None` when there is none.
    pub(crate) fn resolve(&self, text: &str) -> Result<Option<Id>, Refusal> {
        let inner = text.trim();
        if let Some(inner) = inner.strip_prefix('<') {
            return self.resolve_alternative(inner, text);
        }
        let Some(steps) = dn::parse(inner) else {
            return Err(Refusal::new(LdapResultCode::InvalidDNSyntax, format!("invalid DN syntax: {inner:?}")));
        };
        Ok(self.walk(&steps))
    }

    fn resolve_alternative(&self, inner: &str, text: &str) -> Result<Option<Id>, Refusal> {
        let bad = || Refusal::new(LdapResultCode::InvalidDNSyntax, format!("invalid DN syntax: {text:?}"));
        // An extended DN may go on with further parts; the first one decides.
        let (first, _) = inner.split_once('>').ok_or_else(bad)?;
        let (kind, value) = first.split_once('=').ok_or_else(bad)?;
        match kind.to_ascii_uppercase().as_str() {
            "GUID" => Ok(self.by_guid(&text::parse_guid(value).ok_or_else(bad)?)),
            "SID" => Ok(self.by_sid(&text::parse_sid(value).ok_or_else(bad)?)),
            _ => Err(bad()),
        }
    }

    fn walk(&self, steps: &[dn::RdnText]) -> Option<Id> {
        let depth = steps.len().checked_sub(self.names.steps.len())?;
        let (below, base) = steps.split_at(depth);
        let same = |(step, (kind, value)): (&dn::RdnText, &(String, String))| {
            fold(&step.kind) == *kind && fold(&step.value) == *value
        };
        if !base.iter().zip(&self.names.steps).all(same) || self.objects.is_empty() {
            return None;
        }
        let mut at = self.landmarks.domain;
        for step in below.iter().rev() {
            at = self.child(at, &step.value)?;
            if !self.get(at).class.get().rdn.label().eq_ignore_ascii_case(&step.kind) {
                return None;
            }
        }
        Some(at)
    }

    pub(crate) fn child(&self, parent: Id, name: &str) -> Option<Id> {
        self.children.get(&(parent, fold(name).into_boxed_str())).copied()
    }

    /// The objects directly below `parent`.
    pub(crate) fn children(&self, parent: Id) -> impl Iterator<Item = Id> {
        let range = (parent, Box::<str>::default())..(parent.saturating_add(1), Box::default());
        self.children.range(range).map(|(_, id)| *id)
    }

    /// `top` and everything below it, parents first.
    pub(crate) fn subtree(&self, top: Id) -> Vec<Id> {
        let mut found = vec![top];
        let mut next = 0;
        while let Some(at) = found.get(next).copied() {
            found.extend(self.children(at));
            next += 1;
        }
        found
    }

    /// True when `id` is `top` or below it.
    pub(crate) fn is_within(&self, id: Id, top: Id) -> bool {
        std::iter::successors(Some(id), |at| Some(self.get(*at).parent).filter(|p| *p != NOBODY)).any(|at| at == top)
    }

    pub(crate) fn by_guid(&self, guid: &[u8; 16]) -> Option<Id> {
        self.by_guid.get(guid).copied()
    }

    pub(crate) fn by_sid(&self, sid: &[u8]) -> Option<Id> {
        self.by_sid.get(sid).copied()
    }

    /// The live object of that sAMAccountName.
    pub(crate) fn by_account(&self, name: &str) -> Option<Id> {
        self.by_account.get(fold(name).as_str()).copied()
    }

    /// Objects with a USN above `after`, in the order of their last change.
    pub(crate) fn changed_after(&self, after: u64) -> impl Iterator<Item = (u64, Id)> {
        self.by_usn.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded)).map(|(usn, id)| (*usn, *id))
    }

    /// The root object of a naming context.
    pub(crate) fn root_of(&self, context: Context) -> Id {
        match context {
            Context::Domain => self.landmarks.domain,
            Context::Configuration => self.landmarks.configuration,
            Context::Schema => self.landmarks.schema,
        }
    }

    /// The naming context whose root is `id`.
    pub(crate) fn context_of_root(&self, id: Id) -> Option<Context> {
        [Context::Domain, Context::Configuration, Context::Schema].into_iter().find(|c| self.root_of(*c) == id)
    }

    /// Takes the next USN.
    pub(crate) fn next_usn(&mut self) -> u64 {
        self.usn += 1;
        self.usn
    }

    /// Adds an object with its attributes and enters it into every index. The caller has made sure that it fits.
    pub(crate) fn insert(&mut self, birth: Birth, attrs: &[Attr]) -> Id {
        let id = self.objects.len() as Id;
        let (guid, parent, usn, name) = (birth.guid, birth.parent, birth.usn, fold(&birth.name));
        let object = Object::new(birth, attrs);
        if let Some(sid) = object.first(OBJECT_SID) {
            self.by_sid.insert(sid.into(), id);
        }
        if let Some(account) = object.first(SAM_ACCOUNT_NAME) {
            self.by_account.insert(text::folded(account), id);
        }
        self.objects.push(Arc::new(object));
        self.by_guid.insert(guid, id);
        self.children.insert((parent, name.into_boxed_str()), id);
        self.by_usn.insert(usn, id);
        id
    }

    /// Records that `id` changed at `usn`, which must be the newest.
    pub(crate) fn touch(&mut self, id: Id, usn: u64, now: i64) {
        let object = self.edit(id);
        let before = std::mem::replace(&mut object.usn_changed, usn);
        object.when_changed = now;
        if before != usn {
            self.by_usn.remove(&before);
            self.by_usn.insert(usn, id);
        }
    }

    /// Stores changed attributes of `id` and keeps the account index right.
    pub(crate) fn replace_attrs(&mut self, id: Id, attrs: &[Attr]) {
        let before = self.account_key(id);
        self.edit(id).set_attrs(attrs);
        let after = self.account_key(id);
        if before != after {
            if let Some(before) = before {
                self.by_account.remove(&before);
            }
            if let Some(after) = after {
                self.by_account.insert(after, id);
            }
        }
    }

    fn account_key(&self, id: Id) -> Option<Box<str>> {
        self.get(id).first(SAM_ACCOUNT_NAME).map(text::folded)
    }

    /// Takes the account name of a deleted object out of the index, or puts it back.
    pub(crate) fn index_account(&mut self, id: Id, listed: bool) {
        if let Some(key) = self.account_key(id) {
            if listed {
                self.by_account.insert(key, id);
            } else if self.by_account.get(&key) == Some(&id) {
                self.by_account.remove(&key);
            }
        }
    }

    /// Gives an object another name or parent.
    pub(crate) fn place(&mut self, id: Id, parent: Id, name: &str, usn: u64) {
        let object = self.get(id);
        let key = (object.parent, fold(&object.name).into_boxed_str());
        if self.children.get(&key) == Some(&id) {
            self.children.remove(&key);
        }
        self.children.insert((parent, fold(name).into_boxed_str()), id);
        let object = self.edit(id);
        object.parent = parent;
        object.name = name.into();
        object.name_usn = usn;
    }

    /// Makes a forward link value appear or vanish at `usn`, and its back link with it.
    pub(crate) fn link(&mut self, source: Id, attr: AttrId, target: Id, present: bool, usn: u64) {
        self.edit(source).set_link(attr, target, present, usn);
        let back = &mut self.edit(target).back;
        let at = back.iter().position(|b| *b == (attr, source));
        match (at, present) {
            (None, true) => back.push((attr, source)),
            (Some(at), false) => {
                back.swap_remove(at);
            }
            _ => {}
        }
    }

    /// A stored DN-valued attribute as text. `lastKnownParent` is kept as a reference, for it follows its object.
    pub(crate) fn dn_value(&self, attr: AttrRef<'_>, raw: &[u8]) -> String {
        if attr.id == LAST_KNOWN_PARENT
            && let Ok(id) = raw.try_into().map(Id::from_le_bytes)
            && (id as usize) < self.objects.len()
        {
            return self.dn(id);
        }
        if attr.id == super::schema::OBJECT_CATEGORY
            && let [class] = raw
        {
            return self.category_dn(ClassId(*class));
        }
        String::from_utf8_lossy(raw).into_owned()
    }

    /// The DN of the schema object that is the category of a class.
    pub(crate) fn category_dn(&self, class: ClassId) -> String {
        format!("CN={},CN=Schema,CN=Configuration,{}", class.get().category, self.names.base)
    }

    /// True for a tombstone and for the container of tombstones: both carry isDeleted.
    pub(crate) fn is_marked_deleted(&self, id: Id) -> bool {
        let object = self.get(id);
        object.deleted || object.attr(IS_DELETED).is_some_and(|a| a.count > 0)
    }
}
