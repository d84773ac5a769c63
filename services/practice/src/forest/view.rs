//! What an account sees of an object: which objects at all, which attributes, and how values are written.

use ldap3_proto::proto::{LdapPartialAttribute, LdapSearchResultEntry};

use super::object::{Context, Id, NOBODY, Object};
use super::schema::{
    AttrId, DISTINGUISHED_NAME, INSTANCE_TYPE, INVOCATION_ID, IS_DELETED, LINK_PAIRS, NAME, OBJECT_CLASS, OBJECT_GUID,
    PARENT_GUID, Rdn, Syntax, USN_CHANGED, USN_CREATED, WHEN_CHANGED, WHEN_CREATED, schema,
};
use super::seed::is_secret;
use super::store::Store;
use super::text;

/// What the account of a connection may do at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// Reads everything, confidential attributes too, and writes.
    pub(crate) admin: bool,
    /// Holds the right Replicating Directory Changes on the domain.
    pub(crate) dirsync: bool,
    /// May read the container of deleted objects and what is in it.
    pub(crate) deleted: bool,
    /// May read the objects of the domain.
    pub(crate) read: bool,
}

/// The control EXTENDED_DN: how GUID and SID are written before a DN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtendedDn {
    No,
    Hex,
    Text,
}

/// A range of values that was asked for: `member;range=0-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: usize,
    pub(crate) to: Option<usize>,
}

/// Which attributes a search wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) all: bool,
    pub(crate) named: Vec<(AttrId, Option<Range>)>,
    pub(crate) types_only: bool,
}

impl Selection {
    /// Reads an attribute list. An empty one means all; unknown names are ignored, as LDAP demands.
    pub(crate) fn new(attrs: &[String], types_only: bool) -> Self {
        let mut selection = Self { all: attrs.is_empty(), named: Vec::new(), types_only };
        for attr in attrs {
            if attr == "*" {
                selection.all = true;
                continue;
            }
            let (name, option) = attr.split_once(';').map_or((attr.as_str(), None), |(n, o)| (n, Some(o)));
            if let Some(id) = schema().find(name) {
                selection.named.push((id, option.and_then(range)));
            }
        }
        selection
    }

    /// True when the list names the attribute, or all are wanted.
    pub(crate) fn wants(&self, id: AttrId) -> bool {
        self.all || self.named.iter().any(|(named, _)| *named == id)
    }
}

fn range(option: &str) -> Option<Range> {
    let lower = option.to_ascii_lowercase();
    let (from, to) = lower.strip_prefix("range=")?.split_once('-')?;
    let to = if to == "*" { None } else { Some(to.parse().ok()?) };
    Some(Range { from: from.parse().ok()?, to })
}

/// How entries of one search are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) access: Access,
    pub(crate) extended: ExtendedDn,
    pub(crate) show_deleted: bool,
    pub(crate) max_val_range: usize,
}

impl View {
    /// True when a search may find the object.
    pub(crate) fn sees(&self, store: &Store, id: Id) -> bool {
        let object = store.get(id);
        if object.context == Context::Domain && !self.access.read {
            return false;
        }
        if !self.access.admin && store.hidden.iter().any(|top| store.is_within(id, *top)) {
            return false;
        }
        if object.deleted {
            return self.show_deleted && self.access.deleted;
        }
        self.show_deleted || !store.is_marked_deleted(id)
    }

    /// True when the account may read values of the attribute on the object.
    pub(crate) fn reads(&self, store: &Store, object: &Object, attr: AttrId) -> bool {
        if is_secret(attr) {
            return false;
        }
        if attr == IS_DELETED && !object.deleted {
            return self.access.deleted;
        }
        self.access.admin || !(store.confidential.contains(&attr) || store.denied.contains(&attr))
    }

    /// The DN of an object as this search writes it.
    pub(crate) fn dn(&self, store: &Store, id: Id) -> String {
        let dn = store.dn(id);
        let (guid, sid) = match self.extended {
            ExtendedDn::No => return dn,
            ExtendedDn::Hex => (text::hex as fn(&[u8]) -> String, text::hex as fn(&[u8]) -> String),
            ExtendedDn::Text => (guid_text as fn(&[u8]) -> String, text::sid as fn(&[u8]) -> String),
        };
        let object = store.get(id);
        match object.first(super::schema::OBJECT_SID) {
            Some(raw) => format!("<GUID={}>;<SID={}>;{dn}", guid(&object.guid), sid(raw)),
            None => format!("<GUID={}>;{dn}", guid(&object.guid)),
        }
    }

    /// The entry of an ordinary search.
    pub(crate) fn entry(&self, store: &Store, id: Id, selection: &Selection) -> LdapSearchResultEntry {
        let object = store.get(id);
        let mut attributes = Vec::new();
        let mut push = |attr: AttrId, range: Option<Range>| {
            if self.reads(store, object, attr) {
                let values = self.values(store, id, attr);
                if !values.is_empty() {
                    self.ranged(attr, values, range, &mut attributes);
                }
            }
        };
        if selection.all {
            let stored = object.attrs().map(|a| a.id);
            let links = object.links.iter().map(|(attr, _)| *attr);
            let computed = [
                OBJECT_CLASS,
                NAME,
                object.class.get().rdn.attribute(),
                DISTINGUISHED_NAME,
                OBJECT_GUID,
                INSTANCE_TYPE,
                WHEN_CREATED,
                WHEN_CHANGED,
                USN_CREATED,
                USN_CHANGED,
            ];
            let back = LINK_PAIRS.iter().map(|(_, back)| *back);
            let extra = (id == store.landmarks.ntds).then_some(INVOCATION_ID);
            computed.into_iter().chain(stored).chain(links).chain(back).chain(extra).for_each(|a| push(a, None));
        }
        for (attr, range) in &selection.named {
            if !selection.all || range.is_some() || *attr == PARENT_GUID {
                push(*attr, *range);
            }
        }
        if selection.types_only {
            for attribute in &mut attributes {
                let attribute: &mut LdapPartialAttribute = attribute;
                attribute.vals.clear();
            }
        }
        LdapSearchResultEntry { dn: self.dn(store, id), attributes }
    }

    /// Cuts values to what one answer carries (MS-ADTS 3.1.1.3.1.3.3, MaxValRange).
    fn ranged(&self, attr: AttrId, values: Vec<Vec<u8>>, range: Option<Range>, into: &mut Vec<LdapPartialAttribute>) {
        let name = schema().def(attr).name;
        let count = values.len();
        if range.is_none() && count <= self.max_val_range {
            into.push(LdapPartialAttribute { atype: name.to_owned(), vals: values });
            return;
        }
        if range.is_none() {
            into.push(LdapPartialAttribute { atype: name.to_owned(), vals: vec![] });
        }
        let Range { from, to } = range.unwrap_or(Range { from: 0, to: None });
        let last = from.saturating_add(self.max_val_range).saturating_sub(1).min(to.unwrap_or(usize::MAX));
        let (end, open) = if last.saturating_add(1) >= count { (count, true) } else { (last + 1, false) };
        let vals = values.into_iter().take(end).skip(from).collect();
        let atype = if open { format!("{name};range={from}-*") } else { format!("{name};range={from}-{last}") };
        into.push(LdapPartialAttribute { atype, vals });
    }

    /// All values of an attribute, stored or computed.
    pub(crate) fn values(&self, store: &Store, id: Id, attr: AttrId) -> Vec<Vec<u8>> {
        let object = store.get(id);
        match schema().def(attr).syntax {
            Syntax::Link => return object.targets(attr).map(|t| self.dn(store, t).into_bytes()).collect(),
            Syntax::BackLink => {
                let forward = LINK_PAIRS.iter().find(|(_, b)| *b == attr).map(|(f, _)| *f);
                let sources = object.back.iter().filter(|(f, _)| Some(*f) == forward);
                return sources.map(|(_, source)| self.dn(store, *source).into_bytes()).collect();
            }
            Syntax::Dn if attr == DISTINGUISHED_NAME => return vec![self.dn(store, id).into_bytes()],
            Syntax::Dn => {
                let Some(stored) = object.attr(attr) else { return vec![] };
                return stored.values().map(|raw| store.dn_value(stored, raw).into_bytes()).collect();
            }
            _ => {}
        }
        computed(store, id, attr)
            .unwrap_or_else(|| object.attr(attr).map(|a| a.values().map(<[u8]>::to_vec).collect()).unwrap_or_default())
    }
}

fn guid_text(raw: &[u8]) -> String {
    raw.try_into().map(|raw| text::guid(&raw)).unwrap_or_default()
}

/// The values of an attribute that is not stored, or `None` when it is.
pub(crate) fn computed(store: &Store, id: Id, attr: AttrId) -> Option<Vec<Vec<u8>>> {
    let object = store.get(id);
    let text = |t: String| Some(vec![t.into_bytes()]);
    match attr {
        OBJECT_CLASS => Some(object.class.get().chain.iter().map(|c| c.as_bytes().to_vec()).collect()),
        NAME => text(object.name.to_string()),
        _ if [Rdn::Cn, Rdn::Ou, Rdn::Dc].iter().any(|r| r.attribute() == attr) => {
            let names = object.class.get().rdn.attribute() == attr;
            Some(if names { vec![object.name.as_bytes().to_vec()] } else { vec![] })
        }
        OBJECT_GUID => Some(vec![object.guid.to_vec()]),
        PARENT_GUID => Some(parent_guid(store, object).into_iter().collect()),
        INSTANCE_TYPE => text(instance_type(store, id).to_owned()),
        USN_CHANGED => text(object.usn_changed.to_string()),
        USN_CREATED => text(object.usn_created.to_string()),
        WHEN_CHANGED => text(text::generalized_time(object.when_changed)),
        WHEN_CREATED => text(text::generalized_time(object.when_created)),
        INVOCATION_ID => Some(if id == store.landmarks.ntds { vec![store.invocation.to_vec()] } else { vec![] }),
        _ => None,
    }
}

/// The objectGUID of the parent; the root of a naming context has none.
pub(crate) fn parent_guid(store: &Store, object: &Object) -> Option<Vec<u8>> {
    let inside = object.parent != NOBODY && store.get(object.parent).context == object.context;
    inside.then(|| store.get(object.parent).guid.to_vec())
}

/// instanceType (MS-ADTS 2.2.9): 4 is writable, 1 the head of a naming context, 8 with one above it here.
pub(crate) fn instance_type(store: &Store, id: Id) -> &'static str {
    match store.context_of_root(id) {
        None => "4",
        Some(Context::Domain) => "5",
        Some(_) => "13",
    }
}
