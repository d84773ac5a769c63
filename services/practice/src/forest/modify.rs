//! LDAP modify, with the result codes of Active Directory, and the undelete that is written as a modify.

use std::collections::{BTreeSet, HashMap};

use ldap3_proto::LdapResultCode as Rc;
use ldap3_proto::proto::{LdapModify, LdapModifyType};

use super::add::{Outside, account_type, check_name, check_values, number_of, text_attr, writable};
use super::dn::fold;
use super::object::{Attr, Id};
use super::schema::{
    AttrId, CN, DC, DISTINGUISHED_NAME, GROUP_TYPE, IS_DELETED, IS_RECYCLED, Kind, MEMBER, NAME, OBJECT_CATEGORY,
    OBJECT_CLASS, OU, PASSWORD_PARTS, PWD_LAST_SET, SAM_ACCOUNT_NAME, SAM_ACCOUNT_TYPE, Syntax, schema,
};
use super::store::{Refusal, Store};
use super::text;

/// What a modify works on before anything is stored.
struct Draft {
    id: Id,
    usn: u64,
    permissive: bool,
    attrs: Vec<Attr>,
    changed: BTreeSet<AttrId>,
    /// Link values that are to appear (true) or vanish (false).
    links: HashMap<(AttrId, Id), bool>,
}

impl Store {
    /// Changes attributes. All changes are made, or none. `permissive` is the control 1.2.840.113556.1.4.1413: adding
    /// what is there and removing what is not are then no errors.
    pub(crate) fn modify(
        &mut self,
        id: Id,
        changes: &[LdapModify],
        permissive: bool,
        out: &mut Outside<'_>,
    ) -> Result<(), Refusal> {
        if self.get(id).deleted {
            return self.undelete(id, changes, out);
        }
        let attrs = self.get(id).unpack();
        let mut draft = Draft { id, usn: 0, permissive, attrs, changed: BTreeSet::new(), links: HashMap::new() };
        for change in changes {
            self.apply(&mut draft, change, out)?;
        }
        self.derive(&mut draft)?;
        self.commit(draft, out);
        Ok(())
    }

    fn apply(&mut self, draft: &mut Draft, change: &LdapModify, out: &mut Outside<'_>) -> Result<(), Refusal> {
        let name = &change.modification.atype;
        let attr = writable(name)?;
        if matches!(attr, NAME | CN | OU | DC) {
            return Err(Refusal::new(Rc::NotALlowedOnRDN, format!("{name} is changed by renaming the object")));
        }
        if matches!(attr, OBJECT_CLASS | OBJECT_CATEGORY) {
            return Err(Refusal::new(Rc::ObjectClassViolation, format!("{name} cannot be changed")));
        }
        check_values(attr, &change.modification.vals)?;
        let def = schema().def(attr);
        if def.syntax == Syntax::Link {
            return self.apply_link(draft, attr, change, out);
        }
        if def.kind == Kind::Secret {
            for id in PASSWORD_PARTS {
                put(draft, *id, vec![]);
            }
            put(draft, PWD_LAST_SET, vec![text::file_time(out.now).to_string().into_bytes()]);
            return Ok(());
        }
        let mut given = change.modification.vals.clone();
        if attr == PWD_LAST_SET && given.first().is_some_and(|v| v == b"-1") {
            given = vec![text::file_time(out.now).to_string().into_bytes()];
        }
        let now = draft.attrs.iter().find(|a| a.id == attr).map(|a| a.values.clone()).unwrap_or_default();
        let after = combined(attr, now, given, &change.operation, draft.permissive)?;
        put(draft, attr, after);
        Ok(())
    }

    fn apply_link(
        &mut self,
        draft: &mut Draft,
        attr: AttrId,
        change: &LdapModify,
        out: &mut Outside<'_>,
    ) -> Result<(), Refusal> {
        let name = schema().def(attr).name;
        let mut targets = Vec::with_capacity(change.modification.vals.len());
        for value in &change.modification.vals {
            targets.push(match change.operation {
                LdapModifyType::Delete => self.old_target(name, value)?,
                _ => Some(self.link_target(name, value, out)?),
            });
        }
        match change.operation {
            LdapModifyType::Add => {
                for target in targets.into_iter().flatten() {
                    if self.points(draft, attr, target) && !draft.permissive {
                        let code = if attr == MEMBER { Rc::EntryAlreadyExists } else { Rc::AttributeOrValueExists };
                        return Err(Refusal::new(code, format!("{name} has that value already")));
                    }
                    if schema().def(attr).single && self.current(draft, attr).next().is_some() {
                        return Err(Refusal::new(Rc::AttributeOrValueExists, format!("{name} has a value already")));
                    }
                    draft.links.insert((attr, target), true);
                }
            }
            LdapModifyType::Delete if change.modification.vals.is_empty() => {
                let all: Vec<Id> = self.current(draft, attr).collect();
                if all.is_empty() && !draft.permissive {
                    return Err(Refusal::new(Rc::NoSuchAttribute, format!("{name} has no value")));
                }
                draft.links.extend(all.into_iter().map(|t| ((attr, t), false)));
            }
            LdapModifyType::Delete => {
                for target in targets {
                    match target.filter(|t| self.points(draft, attr, *t)) {
                        Some(target) => {
                            draft.links.insert((attr, target), false);
                        }
                        None if draft.permissive => {}
                        None => {
                            let code = if attr == MEMBER { Rc::UnwillingToPerform } else { Rc::NoSuchAttribute };
                            return Err(Refusal::new(code, format!("{name} does not have that value")));
                        }
                    }
                }
            }
            LdapModifyType::Replace => {
                let wanted: BTreeSet<Id> = targets.into_iter().flatten().collect();
                let gone: Vec<Id> = self.current(draft, attr).filter(|t| !wanted.contains(t)).collect();
                draft.links.extend(gone.into_iter().map(|t| ((attr, t), false)));
                draft.links.extend(wanted.into_iter().map(|t| ((attr, t), true)));
            }
            LdapModifyType::Increment => {
                return Err(Refusal::new(Rc::UnwillingToPerform, "links cannot be incremented"));
            }
        }
        Ok(())
    }

    /// The object that a value to be removed names, if there is one.
    fn old_target(&self, name: &str, value: &[u8]) -> Result<Option<Id>, Refusal> {
        let text = std::str::from_utf8(value)
            .map_err(|_| Refusal::new(Rc::InvalidDNSyntax, format!("a value of {name} is not a DN")))?;
        self.resolve(text)
    }

    fn points(&self, draft: &Draft, attr: AttrId, target: Id) -> bool {
        draft.links.get(&(attr, target)).copied().unwrap_or_else(|| self.get(draft.id).points_to(attr, target))
    }

    fn current<'a>(&'a self, draft: &'a Draft, attr: AttrId) -> impl Iterator<Item = Id> + 'a {
        let stored = self.get(draft.id).targets(attr).filter(move |t| !draft.links.contains_key(&(attr, *t)));
        let pending = draft.links.iter().filter(move |((a, _), on)| *a == attr && **on).map(|((_, t), _)| *t);
        stored.chain(pending)
    }

    /// What follows from the changes: checks across attributes, and sAMAccountType.
    fn derive(&self, draft: &mut Draft) -> Result<(), Refusal> {
        if draft.changed.contains(&SAM_ACCOUNT_NAME) {
            let name = draft.attrs.iter().find(|a| a.id == SAM_ACCOUNT_NAME).and_then(|a| a.values.first());
            if name.is_none() {
                return Err(Refusal::new(Rc::UnwillingToPerform, "sAMAccountName cannot be cleared"));
            }
            let name = name.map(|n| String::from_utf8_lossy(n).into_owned()).unwrap_or_default();
            self.check_account_name(&name, Some(draft.id))?;
        }
        if draft.changed.contains(&GROUP_TYPE) {
            let kind = account_type(self.get(draft.id).class, number_of(&draft.attrs, GROUP_TYPE));
            put(draft, SAM_ACCOUNT_TYPE, vec![kind.to_string().into_bytes()]);
        }
        Ok(())
    }

    fn commit(&mut self, mut draft: Draft, out: &Outside<'_>) {
        draft.links.retain(|(attr, target), on| self.get(draft.id).points_to(*attr, *target) != *on);
        if draft.changed.is_empty() && draft.links.is_empty() {
            return;
        }
        draft.usn = self.next_usn();
        for attr in draft.attrs.iter_mut().filter(|a| draft.changed.contains(&a.id)) {
            attr.usn = draft.usn;
        }
        if !draft.changed.is_empty() {
            self.replace_attrs(draft.id, &draft.attrs);
        }
        for ((attr, target), on) in &draft.links {
            self.link(draft.id, *attr, *target, *on, draft.usn);
        }
        self.touch(draft.id, draft.usn, out.now);
    }

    /// Brings a tombstone back: isDeleted is deleted and distinguishedName replaced in one modify (MS-ADTS
    /// 3.1.1.5.3.7). Attributes that were stripped stay so; memberships do not return.
    fn undelete(&mut self, id: Id, changes: &[LdapModify], out: &mut Outside<'_>) -> Result<(), Refusal> {
        let of = |name: AttrId| {
            changes.iter().find(|c| schema().find(&c.modification.atype) == Some(name)).map(|c| (&c.operation, c))
        };
        let (Some((LdapModifyType::Delete, _)), Some((LdapModifyType::Replace, dn))) =
            (of(IS_DELETED), of(DISTINGUISHED_NAME))
        else {
            return Err(Refusal::new(Rc::UnwillingToPerform, "a deleted object can only be undeleted"));
        };
        let dn = dn.modification.vals.first().and_then(|v| std::str::from_utf8(v).ok()).unwrap_or_default();
        let (parent, step) = self.place_for(dn)?;
        check_name(&step.value)?;
        let class = self.get(id).class;
        if !class.get().rdn.label().eq_ignore_ascii_case(&step.kind) {
            return Err(Refusal::new(Rc::NamingViolation, format!("{} cannot name this object", step.kind)));
        }
        if self.child(parent, &step.value).is_some() {
            return Err(Refusal::new(Rc::EntryAlreadyExists, format!("entry {dn} already exists")));
        }
        let mut attrs = self.get(id).unpack();
        if let Some(name) = attrs.iter().find(|a| a.id == SAM_ACCOUNT_NAME).and_then(|a| a.values.first()) {
            self.check_account_name(&String::from_utf8_lossy(name), Some(id))?;
        }
        let usn = self.next_usn();
        let mut set = |id: AttrId, values: Vec<Vec<u8>>| {
            attrs.retain(|a| a.id != id);
            attrs.push(Attr { id, usn, values });
        };
        set(IS_DELETED, vec![]);
        set(IS_RECYCLED, vec![]);
        set(OBJECT_CATEGORY, vec![vec![class.0]]);
        if class.get().principal {
            let kind = account_type(class, self.get(id).number(GROUP_TYPE));
            set(SAM_ACCOUNT_TYPE, text_attr(SAM_ACCOUNT_TYPE, &kind.to_string()).values);
        }
        self.replace_attrs(id, &attrs);
        self.place(id, parent, &step.value, usn);
        self.edit(id).deleted = false;
        self.index_account(id, true);
        self.touch(id, usn, out.now);
        Ok(())
    }
}

/// Sets the values of an attribute in the draft; the same values again are no change.
fn put(draft: &mut Draft, id: AttrId, values: Vec<Vec<u8>>) {
    let secret = schema().def(id).kind == Kind::Secret;
    match draft.attrs.iter_mut().find(|a| a.id == id) {
        Some(attr) if attr.values == values && !secret => {}
        Some(attr) => {
            attr.values = values;
            draft.changed.insert(id);
        }
        None if values.is_empty() && !secret => {}
        None => {
            draft.attrs.push(Attr { id, usn: 0, values });
            draft.changed.insert(id);
        }
    }
}

/// The values of a stored attribute after one change.
fn combined(
    attr: AttrId,
    mut now: Vec<Vec<u8>>,
    given: Vec<Vec<u8>>,
    operation: &LdapModifyType,
    permissive: bool,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let def = schema().def(attr);
    let same = |a: &[u8], b: &[u8]| equal(def.syntax, a, b);
    match operation {
        LdapModifyType::Replace => return Ok(given),
        LdapModifyType::Add => {
            for value in given {
                if now.iter().any(|v| same(v, &value)) {
                    if permissive {
                        continue;
                    }
                    let message = format!("attribute {} has that value already", def.name);
                    return Err(Refusal::new(Rc::AttributeOrValueExists, message));
                }
                now.push(value);
            }
            if def.single && now.len() > 1 {
                let message = format!("attribute {} has a value already", def.name);
                return Err(Refusal::new(Rc::AttributeOrValueExists, message));
            }
        }
        LdapModifyType::Delete => {
            if !permissive && (now.is_empty() || given.iter().any(|g| !now.iter().any(|v| same(v, g)))) {
                let message = format!("attribute {} does not have that value", def.name);
                return Err(Refusal::new(Rc::NoSuchAttribute, message));
            }
            now.retain(|v| !given.is_empty() && !given.iter().any(|g| same(v, g)));
        }
        LdapModifyType::Increment => {
            return Err(Refusal::new(Rc::UnwillingToPerform, "increment is not supported"));
        }
    }
    Ok(now)
}

/// True when two values of a syntax are the same to the directory.
pub(crate) fn equal(syntax: Syntax, a: &[u8], b: &[u8]) -> bool {
    match syntax {
        Syntax::Octets => a == b,
        Syntax::Integer => number(a).is_some() && number(a) == number(b),
        _ => a == b || a.eq_ignore_ascii_case(b) || folded(a).is_some_and(|a| Some(a) == folded(b)),
    }
}

fn number(raw: &[u8]) -> Option<i64> {
    std::str::from_utf8(raw).ok()?.trim().parse().ok()
}

fn folded(raw: &[u8]) -> Option<String> {
    std::str::from_utf8(raw).ok().map(fold)
}
