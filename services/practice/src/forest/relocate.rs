//! LDAP modrdn and delete: objects that change their place, the last one being the container of deleted objects.

use ldap3_proto::LdapResultCode as Rc;

use super::add::{Outside, check_name};
use super::dn;
use super::object::{Attr, Id};
use super::schema::{
    AttrId, DNS_HOST_NAME, GROUP_TYPE, IS_CRITICAL, IS_DELETED, IS_RECYCLED, LAST_KNOWN_PARENT, LEGACY_EXCHANGE_DN,
    OBJECT_SID, SAM_ACCOUNT_NAME, SID_HISTORY, USER_ACCOUNT_CONTROL,
};
use super::store::{Refusal, Store};
use super::text;

/// What a tombstone keeps (MS-ADTS 3.1.1.5.5.1.1), of what this forest stores as attributes.
const KEPT: &[AttrId] =
    &[OBJECT_SID, SAM_ACCOUNT_NAME, SID_HISTORY, USER_ACCOUNT_CONTROL, GROUP_TYPE, LEGACY_EXCHANGE_DN, DNS_HOST_NAME];

impl Store {
    /// Renames an object, moves it, or both. Children follow without being changed themselves.
    pub(crate) fn rename(
        &mut self,
        id: Id,
        rdn: &str,
        delete_old: bool,
        superior: Option<&str>,
        out: &Outside<'_>,
    ) -> Result<(), Refusal> {
        let bad = || Refusal::new(Rc::InvalidDNSyntax, format!("invalid RDN syntax: {rdn:?}"));
        let [step] = <[_; 1]>::try_from(dn::parse(rdn).ok_or_else(bad)?).map_err(|_| bad())?;
        let object = self.get(id);
        if object.deleted {
            return Err(Refusal::new(Rc::UnwillingToPerform, "a deleted object cannot be renamed"));
        }
        if !delete_old {
            return Err(Refusal::new(Rc::UnwillingToPerform, "the old RDN cannot be kept"));
        }
        if object.first(IS_CRITICAL) == Some(b"TRUE") || self.context_of_root(id).is_some() {
            return Err(Refusal::new(Rc::UnwillingToPerform, "an object of the system cannot be renamed"));
        }
        if !object.class.get().rdn.label().eq_ignore_ascii_case(&step.kind) {
            return Err(Refusal::new(Rc::NamingViolation, format!("{} cannot name this object", step.kind)));
        }
        check_name(&step.value)?;
        let parent = match superior {
            None => object.parent,
            Some(text) => self
                .resolve(text)?
                .filter(|p| !self.is_marked_deleted(*p))
                .ok_or_else(|| Refusal::new(Rc::NoSuchObject, format!("no such object: {text}")))?,
        };
        if self.is_within(parent, id) {
            return Err(Refusal::new(Rc::UnwillingToPerform, "an object cannot be moved below itself"));
        }
        if self.get(parent).context != object.context {
            return Err(Refusal::new(Rc::AffectsMultipleDSAs, "objects stay in their naming context"));
        }
        if self.child(parent, &step.value).is_some_and(|other| other != id) {
            return Err(Refusal::new(Rc::EntryAlreadyExists, format!("the name {:?} is taken", step.value)));
        }
        if parent == object.parent && *object.name == step.value {
            return Ok(());
        }
        let usn = self.next_usn();
        self.place(id, parent, &step.value, usn);
        self.touch(id, usn, out.now);
        Ok(())
    }

    /// Deletes an object that has nothing below it, or with `tree` (control 1.2.840.113556.1.4.805) all that it has.
    pub(crate) fn delete(&mut self, id: Id, tree: bool, out: &Outside<'_>) -> Result<(), Refusal> {
        if self.is_marked_deleted(id) {
            return Err(Refusal::new(Rc::UnwillingToPerform, "the object is deleted already"));
        }
        let mut doomed = self.subtree(id);
        if doomed.len() > 1 && !tree {
            let message = format!("00002015: cannot delete {}: it has children", self.dn(id));
            return Err(Refusal::new(Rc::NotAllowedOnNonLeaf, message));
        }
        let critical =
            |id: &Id| self.get(*id).first(IS_CRITICAL) == Some(b"TRUE") || self.context_of_root(*id).is_some();
        if doomed.iter().any(critical) {
            return Err(Refusal::new(Rc::UnwillingToPerform, "an object of the system cannot be deleted"));
        }
        doomed.reverse();
        for id in doomed {
            self.bury(id, out);
        }
        Ok(())
    }

    /// Turns one object into a tombstone: it moves, loses most attributes, and all links from and to it vanish without a
    /// trace, as on Samba: a client has to drop them when it meets the tombstone.
    fn bury(&mut self, id: Id, out: &Outside<'_>) {
        let usn = self.next_usn();
        let object = self.get(id);
        let (parent, guid) = (object.parent, text::guid(&object.guid));
        let name = format!("{}\nDEL:{guid}", object.name);
        let mut attrs = object.unpack();
        for attr in attrs.iter_mut().filter(|a| !a.values.is_empty() && !KEPT.contains(&a.id)) {
            attr.values.clear();
            attr.usn = usn;
        }
        let parent_value = parent.to_le_bytes().to_vec();
        for (attr, value) in
            [(IS_DELETED, b"TRUE".to_vec()), (IS_RECYCLED, b"TRUE".to_vec()), (LAST_KNOWN_PARENT, parent_value)]
        {
            attrs.retain(|a| a.id != attr);
            attrs.push(Attr { id: attr, usn, values: vec![value] });
        }
        self.index_account(id, false);
        self.edit(id).set_attrs(&attrs);
        for (attr, target) in self.present_links(id) {
            self.edit(target).back.retain(|back| *back != (attr, id));
        }
        self.edit(id).links.clear();
        for (attr, source) in std::mem::take(&mut self.edit(id).back) {
            self.edit(source).forget_link(attr, id);
        }
        self.place(id, self.landmarks.deleted, &name, usn);
        self.edit(id).deleted = true;
        self.touch(id, usn, out.now);
    }

    fn present_links(&self, id: Id) -> Vec<(AttrId, Id)> {
        let object = self.get(id);
        object.links.iter().flat_map(|(attr, _)| object.targets(*attr).map(|t| (*attr, t))).collect()
    }
}
