//! One object of the directory, compactly: attributes packed into one allocation, links as references by number.
//!
//! Each attribute and each link value carries the USN of its last change, as replication metadata does (MS-ADTS
//! 3.1.1.1.9): a DirSync answer is made of what has a USN above the one in the cookie. An attribute without values is
//! kept with its USN, for it was cleared; a link value that was removed is kept as absent.

use super::schema::{AttrId, ClassId};

/// The number of an object in the store. Never reused.
pub(crate) type Id = u32;

/// No object.
pub(crate) const NOBODY: Id = u32::MAX;

/// The naming context that an object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Domain,
    Configuration,
    Schema,
}

/// One value of a forward link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkValue {
    pub(crate) target: Id,
    pub(crate) present: bool,
    pub(crate) usn: u64,
}

/// All values of one forward link attribute, present and absent, ordered by target.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkSet {
    /// The highest USN among the values.
    pub(crate) usn: u64,
    pub(crate) values: Vec<LinkValue>,
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) guid: [u8; 16],
    pub(crate) parent: Id,
    pub(crate) context: Context,
    pub(crate) class: ClassId,
    pub(crate) deleted: bool,
    pub(crate) name: Box<str>,
    pub(crate) name_usn: u64,
    pub(crate) usn_created: u64,
    pub(crate) usn_changed: u64,
    /// Seconds since 1970.
    pub(crate) when_created: i64,
    pub(crate) when_changed: i64,
    packed: Box<[u8]>,
    pub(crate) links: Vec<(AttrId, LinkSet)>,
    /// Present links that point here: the forward attribute and the object it is on.
    pub(crate) back: Vec<(AttrId, Id)>,
}

/// An attribute while it is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attr {
    pub(crate) id: AttrId,
    pub(crate) usn: u64,
    pub(crate) values: Vec<Vec<u8>>,
}

/// An attribute as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttrRef<'a> {
    pub(crate) id: AttrId,
    pub(crate) usn: u64,
    pub(crate) count: usize,
    raw: &'a [u8],
}

impl<'a> AttrRef<'a> {
    /// The values in the order in which they were added.
    pub(crate) fn values(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut raw, mut left) = (self.raw, self.count);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let len = get_varint(&mut raw)? as usize;
            let (value, rest) = raw.split_at_checked(len)?;
            raw = rest;
            Some(value)
        })
    }

    /// The first value.
    pub(crate) fn first(&self) -> Option<&'a [u8]> {
        self.values().next()
    }
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn get_varint(raw: &mut &[u8]) -> Option<u64> {
    let (mut n, mut shift) = (0u64, 0u32);
    loop {
        let (&byte, rest) = raw.split_first()?;
        *raw = rest;
        n |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(n);
        }
        shift += 7;
    }
}

/// What a new object starts with.
#[derive(Clone, Debug)]
pub(crate) struct Birth {
    pub(crate) guid: [u8; 16],
    pub(crate) parent: Id,
    pub(crate) context: Context,
    pub(crate) class: ClassId,
    pub(crate) name: String,
    pub(crate) usn: u64,
    pub(crate) now: i64,
}

impl Object {
    pub(crate) fn new(birth: Birth, attrs: &[Attr]) -> Self {
        let mut object = Self {
            guid: birth.guid,
            parent: birth.parent,
            context: birth.context,
            class: birth.class,
            deleted: false,
            name: birth.name.into_boxed_str(),
            name_usn: birth.usn,
            usn_created: birth.usn,
            usn_changed: birth.usn,
            when_created: birth.now,
            when_changed: birth.now,
            packed: Box::default(),
            links: Vec::new(),
            back: Vec::new(),
        };
        object.set_attrs(attrs);
        object
    }

    /// The stored attributes, links apart.
    pub(crate) fn attrs(&self) -> impl Iterator<Item = AttrRef<'_>> {
        let mut raw: &[u8] = &self.packed;
        std::iter::from_fn(move || {
            let id = AttrId(get_varint(&mut raw)? as u16);
            let usn = self.usn_created + get_varint(&mut raw)?;
            let count = get_varint(&mut raw)? as usize;
            let len = get_varint(&mut raw)? as usize;
            let (values, rest) = raw.split_at_checked(len)?;
            raw = rest;
            Some(AttrRef { id, usn, count, raw: values })
        })
    }

    /// The stored attribute `id`, when it has or had values.
    pub(crate) fn attr(&self, id: AttrId) -> Option<AttrRef<'_>> {
        self.attrs().find(|a| a.id == id)
    }

    /// The first value of a stored attribute.
    pub(crate) fn first(&self, id: AttrId) -> Option<&[u8]> {
        self.attr(id).and_then(|a| a.first())
    }

    /// The first value of a stored attribute as a number.
    pub(crate) fn number(&self, id: AttrId) -> Option<i64> {
        std::str::from_utf8(self.first(id)?).ok()?.parse().ok()
    }

    /// The stored attributes, taken apart for a change.
    pub(crate) fn unpack(&self) -> Vec<Attr> {
        self.attrs().map(|a| Attr { id: a.id, usn: a.usn, values: a.values().map(<[u8]>::to_vec).collect() }).collect()
    }

    /// Stores the attributes after a change.
    pub(crate) fn set_attrs(&mut self, attrs: &[Attr]) {
        let (mut packed, mut values) = (Vec::new(), Vec::new());
        for attr in attrs {
            values.clear();
            for value in &attr.values {
                put_varint(&mut values, value.len() as u64);
                values.extend_from_slice(value);
            }
            put_varint(&mut packed, u64::from(attr.id.0));
            put_varint(&mut packed, attr.usn.saturating_sub(self.usn_created));
            put_varint(&mut packed, attr.values.len() as u64);
            put_varint(&mut packed, values.len() as u64);
            packed.extend_from_slice(&values);
        }
        self.packed = packed.into_boxed_slice();
    }

    /// The values of a forward link.
    pub(crate) fn link(&self, attr: AttrId) -> Option<&LinkSet> {
        self.links.iter().find(|(id, _)| *id == attr).map(|(_, set)| set)
    }

    /// The objects that a forward link points to now.
    pub(crate) fn targets(&self, attr: AttrId) -> impl Iterator<Item = Id> {
        self.link(attr).into_iter().flat_map(|set| &set.values).filter(|v| v.present).map(|v| v.target)
    }

    /// True when the forward link points to `target` now.
    pub(crate) fn points_to(&self, attr: AttrId, target: Id) -> bool {
        self.link(attr).is_some_and(|set| {
            set.values.binary_search_by_key(&target, |v| v.target).is_ok_and(|at| set.values[at].present)
        })
    }

    /// Records that a link value appeared or vanished at `usn`.
    pub(crate) fn set_link(&mut self, attr: AttrId, target: Id, present: bool, usn: u64) {
        let at = self.links.iter().position(|(id, _)| *id == attr).unwrap_or_else(|| {
            self.links.push((attr, LinkSet::default()));
            self.links.len() - 1
        });
        let set = &mut self.links[at].1;
        set.usn = set.usn.max(usn);
        let value = LinkValue { target, present, usn };
        match set.values.binary_search_by_key(&target, |v| v.target) {
            Ok(found) => set.values[found] = value,
            Err(place) => set.values.insert(place, value),
        }
    }

    /// Drops a link value without a trace, as happens when its target is deleted.
    pub(crate) fn forget_link(&mut self, attr: AttrId, target: Id) {
        if let Some((_, set)) = self.links.iter_mut().find(|(id, _)| *id == attr)
            && let Ok(at) = set.values.binary_search_by_key(&target, |v| v.target)
        {
            set.values.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::{MEMBER, NAME, SAM_ACCOUNT_NAME};
    use super::*;

    fn object(attrs: &[Attr]) -> Object {
        let birth = Birth {
            guid: [7; 16],
            parent: 0,
            context: Context::Domain,
            class: ClassId(1),
            name: "x".into(),
            usn: 1000,
            now: 0,
        };
        Object::new(birth, attrs)
    }

    #[test]
    fn packing_keeps_values_and_numbers() {
        let attrs = vec![
            Attr { id: SAM_ACCOUNT_NAME, usn: 1000, values: vec![b"anna".to_vec()] },
            Attr { id: NAME, usn: 70_000, values: vec![] },
            Attr { id: AttrId(200), usn: 1001, values: vec![vec![], vec![0; 300]] },
        ];
        let object = object(&attrs);
        assert_eq!(object.unpack(), attrs);
        assert_eq!(object.first(SAM_ACCOUNT_NAME), Some(&b"anna"[..]));
        assert_eq!(object.attr(NAME).unwrap().count, 0);
    }

    #[test]
    fn links_remember_what_was_removed_but_not_what_was_deleted() {
        let mut object = object(&[]);
        for target in [9, 3, 5] {
            object.set_link(MEMBER, target, true, 1001);
        }
        object.set_link(MEMBER, 5, false, 1002);
        assert_eq!(object.targets(MEMBER).collect::<Vec<_>>(), [3, 9]);
        assert!(object.points_to(MEMBER, 9) && !object.points_to(MEMBER, 5));
        object.forget_link(MEMBER, 9);
        let set = object.link(MEMBER).unwrap();
        assert_eq!((set.usn, set.values.len()), (1002, 2));
    }
}
