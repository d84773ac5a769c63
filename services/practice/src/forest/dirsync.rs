//! DirSync (MS-ADTS 3.1.1.3.4.1.3): what changed since a cookie, in the order of change, in pages.
//!
//! A cycle reads objects in the order of their USN. While it runs, the cookie keeps two numbers: objects up to
//! `objects` were looked at, and only what changed after `props` is told about each. When the end is reached `props`
//! catches up. So an object that changes while a cycle is under way is met again later in the same cycle, and nothing
//! is lost however the client's pages and other people's changes interleave.

use std::collections::HashSet;

use ldap3_proto::LdapResultCode as Rc;
use ldap3_proto::proto::{LdapPartialAttribute, LdapSearchResultEntry};

use super::filter::Filter;
use super::object::{Context, Id, LinkValue, NOBODY, Object};
use super::schema::{
    AttrId, INSTANCE_TYPE, Kind, NAME, OBJECT_CLASS, OBJECT_GUID, PARENT_GUID, Syntax, WHEN_CREATED, schema,
};
use super::store::{Refusal, Store};
use super::text;
use super::view::{ExtendedDn, Selection, View, computed, instance_type, parent_guid};

/// The account's own rights decide what is seen, instead of the right to replicate.
pub(crate) const OBJECT_SECURITY: u32 = 0x1;
/// A parent is told about before its children.
pub(crate) const ANCESTORS_FIRST: u32 = 0x800;
/// Link values are told about one by one instead of all values of a changed link.
pub(crate) const INCREMENTAL_VALUES: u32 = 0x8000_0000;

const MAGIC: &[u8; 5] = b"FSPD\x01";
const COOKIE_BYTES: usize = 5 + 16 + 16 + 8 + 8 + 8 + 8 + 2 + 4 + 4;

/// Where within the link values of one object the last page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    /// The object's USN then; when it has changed since, it is told about anew.
    pub(crate) usn: u64,
    pub(crate) attr: AttrId,
    /// The last target that was told about.
    pub(crate) target: Id,
}

/// How far a client has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) props: u64,
    pub(crate) objects: u64,
    /// The newest USN when the cycle began. What was cleared before that is not worth mentioning to a client that starts
    /// with nothing; what is cleared while it reads is.
    pub(crate) start: u64,
    pub(crate) partial: Option<Partial>,
}

fn checksum(raw: &[u8]) -> u32 {
    raw.iter().fold(0x811c_9dc5, |sum, b| (sum ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

impl Position {
    /// Nothing has been read.
    fn beginning(store: &Store) -> Self {
        Self { start: store.usn, ..Self::default() }
    }

    /// Everything has been read.
    fn end(store: &Store) -> Self {
        Self { props: store.usn, objects: store.usn, start: store.usn, partial: None }
    }

    /// True when a client does not need to hear that something which last changed at `usn` has no value.
    fn needless(&self, usn: u64) -> bool {
        self.props == 0 && usn <= self.start
    }

    /// The cookie for this position: opaque to clients.
    pub(crate) fn cookie(&self, store: &Store, context: Context) -> Vec<u8> {
        let mut raw = Vec::with_capacity(COOKIE_BYTES);
        raw.extend_from_slice(MAGIC);
        raw.extend_from_slice(&store.invocation);
        raw.extend_from_slice(&store.get(store.root_of(context)).guid);
        raw.extend_from_slice(&self.props.to_le_bytes());
        raw.extend_from_slice(&self.objects.to_le_bytes());
        raw.extend_from_slice(&self.start.to_le_bytes());
        let partial = self.partial.unwrap_or(Partial { usn: 0, attr: AttrId(0), target: 0 });
        raw.extend_from_slice(&partial.usn.to_le_bytes());
        raw.extend_from_slice(&partial.attr.0.to_le_bytes());
        raw.extend_from_slice(&partial.target.to_le_bytes());
        raw.extend_from_slice(&checksum(&raw).to_le_bytes());
        raw
    }

    /// Where to go on from a client's cookie. As Samba does: none, or one of a stranger, starts from the beginning;
    /// one of another naming context, or ahead of this controller, gives nothing; one of an earlier invocation of this
    /// controller goes on from where that invocation ended at the latest; what is no cookie at all is refused (12).
    pub(crate) fn from_cookie(raw: &[u8], store: &Store, context: Context) -> Result<Self, Refusal> {
        if raw.is_empty() {
            return Ok(Self::beginning(store));
        }
        let Some(cookie) = parse(raw) else {
            let message = "0000202C: Unable to unmarshall cookie";
            return Err(Refusal::new(Rc::UnavailableCriticalExtension, message));
        };
        if cookie.context != store.get(store.root_of(context)).guid {
            return Ok(Self::end(store));
        }
        if cookie.invocation == store.invocation {
            return Ok(cookie.position);
        }
        let ended = store.retired.iter().find(|(invocation, _)| *invocation == cookie.invocation);
        Ok(ended.map_or_else(
            || Self::beginning(store),
            |(_, end)| {
                let Self { props, objects, start, .. } = cookie.position;
                Self { props: props.min(*end), objects: objects.min(*end), start: start.min(*end), partial: None }
            },
        ))
    }
}

struct Cookie {
    invocation: [u8; 16],
    context: [u8; 16],
    position: Position,
}

fn parse(raw: &[u8]) -> Option<Cookie> {
    let (body, _trailing) = raw.split_at_checked(COOKIE_BYTES)?;
    let (signed, sum) = body.split_at_checked(COOKIE_BYTES - 4)?;
    if checksum(signed).to_le_bytes() != sum {
        return None;
    }
    let rest = signed.strip_prefix(MAGIC)?;
    let (invocation, rest) = rest.split_first_chunk::<16>()?;
    let (context, rest) = rest.split_first_chunk::<16>()?;
    let (props, rest) = rest.split_first_chunk::<8>()?;
    let (objects, rest) = rest.split_first_chunk::<8>()?;
    let (start, rest) = rest.split_first_chunk::<8>()?;
    let (usn, rest) = rest.split_first_chunk::<8>()?;
    let (attr, rest) = rest.split_first_chunk::<2>()?;
    let target = rest.first_chunk::<4>()?;
    let usn = u64::from_le_bytes(*usn);
    let partial = (usn != 0).then(|| Partial {
        usn,
        attr: AttrId(u16::from_le_bytes(*attr)),
        target: Id::from_le_bytes(*target),
    });
    let [props, objects, start] = [props, objects, start].map(|raw| u64::from_le_bytes(*raw));
    let position = Position { props, objects, start, partial };
    Some(Cookie { invocation: *invocation, context: *context, position })
}

/// One DirSync search.
#[derive(Debug)]
pub(crate) struct Cycle {
    pub(crate) position: Position,
    pub(crate) context: Context,
    pub(crate) flags: u32,
    pub(crate) filter: Filter,
    pub(crate) selection: Selection,
    pub(crate) view: View,
    /// The most link values in one entry.
    pub(crate) max_values: usize,
    /// Objects that were told about ahead of their turn, as ancestors, with the USN they had.
    pub(crate) ahead: HashSet<(Id, u64)>,
}

/// What one step of a cycle came to.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// An entry to send, after which the cycle stands at its new position.
    Entry(Box<LdapSearchResultEntry>),
    /// The object at hand is none of the client's business.
    Skipped,
    /// Everything has been told.
    End,
}

impl Cycle {
    /// Looks at the next object. Entries of ancestors go to `before`.
    pub(crate) fn step(&mut self, store: &Store, before: &mut Vec<LdapSearchResultEntry>) -> Step {
        let Some((usn, id)) = store.changed_after(self.position.objects).next() else {
            self.position = Position::end(store);
            return Step::End;
        };
        let from = self.position.partial.filter(|p| p.usn == usn);
        let told = self.ahead.remove(&(id, usn)) && from.is_none();
        if told || !self.concerns(store, id) {
            self.position.objects = usn;
            self.position.partial = None;
            return Step::Skipped;
        }
        if self.flags & ANCESTORS_FIRST != 0 && from.is_none() {
            self.ancestors(store, id, before);
        }
        let (entry, rest) = self.entry(store, id, from);
        self.position.partial = rest.map(|(attr, target)| Partial { usn, attr, target });
        if rest.is_none() {
            self.position.objects = usn;
        }
        entry.map_or(Step::Skipped, |entry| Step::Entry(Box::new(entry)))
    }

    /// Takes the position to the end when no object is left; says whether it did.
    pub(crate) fn at_end(&mut self, store: &Store) -> bool {
        let end = self.position.partial.is_none() && store.changed_after(self.position.objects).next().is_none();
        if end {
            self.position = Position::end(store);
        }
        end
    }

    fn concerns(&self, store: &Store, id: Id) -> bool {
        let object = store.get(id);
        object.context == self.context
            && self.view.sees(store, id)
            && self.filter.matches(store, &self.view, id) == Some(true)
    }

    /// Tells about changed ancestors whose turn would come later.
    fn ancestors(&mut self, store: &Store, id: Id, before: &mut Vec<LdapSearchResultEntry>) {
        let mut chain = Vec::new();
        let own = store.get(id).usn_changed;
        let mut at = store.get(id).parent;
        while at != NOBODY {
            chain.push(at);
            at = store.get(at).parent;
        }
        for ancestor in chain.into_iter().rev() {
            let usn = store.get(ancestor).usn_changed;
            if usn > own && !self.ahead.contains(&(ancestor, usn)) && self.concerns(store, ancestor) {
                let (entry, rest) = self.entry(store, ancestor, None);
                before.extend(entry);
                // One with more link values than fit comes again in its turn.
                if rest.is_none() {
                    self.ahead.insert((ancestor, usn));
                }
            }
        }
    }

    /// What changed about one object, or `None` when nothing that was asked for did; and where to go on within it.
    fn entry(
        &self,
        store: &Store,
        id: Id,
        from: Option<Partial>,
    ) -> (Option<LdapSearchResultEntry>, Option<(AttrId, Id)>) {
        let object = store.get(id);
        let mut attributes = Vec::new();
        if from.is_none() {
            self.stored(store, object, &mut attributes);
            self.implied(store, id, &mut attributes);
        }
        let rest = self.links(store, object, from, &mut attributes);
        if attributes.is_empty() {
            return (None, rest);
        }
        push(&mut attributes, OBJECT_GUID, vec![object.guid.to_vec()]);
        push(&mut attributes, INSTANCE_TYPE, vec![instance_type(store, id).as_bytes().to_vec()]);
        (Some(LdapSearchResultEntry { dn: self.view.dn(store, id), attributes }), rest)
    }

    fn stored(&self, store: &Store, object: &Object, into: &mut Vec<LdapPartialAttribute>) {
        for attr in object.attrs() {
            let def = schema().def(attr.id);
            if attr.usn <= self.position.props || def.kind == Kind::Local || !self.selection.wants(attr.id) {
                continue;
            }
            let readable = self.view.reads(store, object, attr.id);
            if attr.count == 0 || !readable {
                // Cleared, or nothing this account may see: in a first answer neither is mentioned.
                if !self.position.needless(attr.usn) {
                    push(into, attr.id, vec![]);
                }
                continue;
            }
            let values = match def.syntax {
                Syntax::Dn => attr.values().map(|raw| self.one_way(store, store.dn_value(attr, raw))).collect(),
                _ => attr.values().map(<[u8]>::to_vec).collect(),
            };
            push(into, attr.id, values);
        }
    }

    /// What is not stored as an attribute but replicated as one.
    fn implied(&self, store: &Store, id: Id, into: &mut Vec<LdapPartialAttribute>) {
        let object = store.get(id);
        if object.usn_created > self.position.props {
            for attr in [OBJECT_CLASS, WHEN_CREATED].into_iter().filter(|a| self.selection.wants(*a)) {
                push(into, attr, computed(store, id, attr).unwrap_or_default());
            }
        }
        if object.name_usn > self.position.props && self.selection.wants(NAME) {
            push(into, NAME, vec![object.name.as_bytes().to_vec()]);
            if let Some(parent) = parent_guid(store, object) {
                push(into, PARENT_GUID, vec![parent]);
            }
        }
    }

    /// A DN that is no link carries the GUID of its object, even unasked (as Samba writes it).
    fn one_way(&self, store: &Store, dn: String) -> Vec<u8> {
        match (store.resolve(&dn), self.view.extended) {
            (Ok(Some(id)), ExtendedDn::No) => format!("<GUID={}>;{dn}", text::guid(&store.get(id).guid)).into_bytes(),
            (Ok(Some(id)), _) => self.view.dn(store, id).into_bytes(),
            _ => dn.into_bytes(),
        }
    }

    fn links(
        &self,
        store: &Store,
        object: &Object,
        from: Option<Partial>,
        into: &mut Vec<LdapPartialAttribute>,
    ) -> Option<(AttrId, Id)> {
        let mut room = self.max_values;
        let mut reached = from.is_none();
        for (attr, set) in &object.links {
            let after = from.filter(|p| p.attr == *attr).map(|p| p.target);
            reached |= after.is_some();
            if !reached || set.usn <= self.position.props || !self.selection.wants(*attr) {
                continue;
            }
            if self.flags & INCREMENTAL_VALUES == 0 {
                let values: Vec<_> = object.targets(*attr).map(|t| self.view.dn(store, t).into_bytes()).collect();
                if !values.is_empty() || !self.position.needless(set.usn) {
                    push(into, *attr, values);
                }
                continue;
            }
            let skip = after.map_or(0, |target| set.values.partition_point(|v| v.target <= target));
            let news = |v: &&LinkValue| v.usn > self.position.props && !store.get(v.target).deleted;
            let (mut added, mut removed, mut last) = (Vec::new(), Vec::new(), None);
            for value in set.values.iter().skip(skip).filter(news) {
                if room == 0 {
                    push_links(*attr, added, removed, into);
                    return Some((*attr, last.or(after).unwrap_or(0)));
                }
                room -= 1;
                last = Some(value.target);
                let dn = self.view.dn(store, value.target).into_bytes();
                if value.present { added.push(dn) } else { removed.push(dn) }
            }
            push_links(*attr, added, removed, into);
        }
        None
    }
}

/// Incremental link values: `;range=0-0` holds those that went, `;range=1-1` those that came.
fn push_links(attr: AttrId, added: Vec<Vec<u8>>, removed: Vec<Vec<u8>>, into: &mut Vec<LdapPartialAttribute>) {
    let name = schema().def(attr).name;
    for (range, vals) in [("0-0", removed), ("1-1", added)] {
        if !vals.is_empty() {
            into.push(LdapPartialAttribute { atype: format!("{name};range={range}"), vals });
        }
    }
}

fn push(into: &mut Vec<LdapPartialAttribute>, attr: AttrId, vals: Vec<Vec<u8>>) {
    into.push(LdapPartialAttribute { atype: schema().def(attr).name.to_owned(), vals });
}
