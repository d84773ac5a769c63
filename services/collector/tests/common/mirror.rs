//! A reader of `changes` that holds to the contract at the top of `schemas::changes` and knows nothing of the collector,
//! and the same content read by an ordinary search, to compare it with.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_collector::Method;
use forestsync_domain::{AttributeValue, Attributes, ExtendedDn, ObjectGuid};
use forestsync_schemas::changes::{ChangeEvent, ChangeRecord, SnapshotId};
use ldap3::controls::RawControl;
use ldap3::{Ldap, ResultEntry, Scope};

use super::{ATTRIBUTES, Peer};

const LINKS: [&str; 3] = ["member", "manager", "managedBy"];

/// An object: attributes by lower-case name, and links.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Image {
    pub(crate) attributes: BTreeMap<String, BTreeSet<Vec<u8>>>,
    pub(crate) links: BTreeMap<String, BTreeSet<ObjectGuid>>,
}

impl Image {
    fn show(&self) -> String {
        let text = |v: &Vec<u8>| String::from_utf8_lossy(v).into_owned();
        let values = |v: &BTreeSet<Vec<u8>>| v.iter().map(text).collect::<Vec<_>>().join("|");
        let attributes = self.attributes.iter().map(|(name, v)| format!("{name}={}", values(v)));
        let links = self.links.iter().map(|(name, v)| format!("{name}={v:?}"));
        attributes.chain(links).collect::<Vec<_>>().join(", ")
    }
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mirror {
    pub(crate) objects: BTreeMap<ObjectGuid, Image>,
    snapshot: Option<(SnapshotId, BTreeSet<ObjectGuid>, u64)>,
    /// Objects that the method need not find: the account cannot read of them what it goes by.
    hidden: BTreeSet<ObjectGuid>,
}

fn merge(image: &mut Image, set: &Attributes, cleared: &[String]) {
    for name in cleared {
        image.attributes.remove(&name.to_lowercase());
    }
    for (name, values) in set {
        let values = values.iter().map(|v: &AttributeValue| v.as_bytes().to_vec()).collect();
        image.attributes.insert(name.to_lowercase(), values);
    }
}

impl Mirror {
    pub(crate) fn of(records: &[(u64, ChangeRecord)]) -> Self {
        let mut mirror = Self::default();
        let mut cursor = None;
        for (offset, record) in records {
            if let ChangeEvent::CursorAdvanced(advanced) = &record.event {
                assert_eq!(advanced.from, cursor, "offset {offset}: a cursor does not follow the one before it");
                cursor = Some(advanced.to.id());
            }
            mirror.apply(record);
        }
        mirror
    }

    fn drop_object(&mut self, object: ObjectGuid) {
        self.objects.remove(&object);
        for image in self.objects.values_mut() {
            image.links.values_mut().for_each(|targets| {
                targets.remove(&object);
            });
        }
    }

    fn apply(&mut self, record: &ChangeRecord) {
        let object = record.context.object;
        match (&record.event, object) {
            (ChangeEvent::SnapshotStarted(started), _) => {
                self.snapshot = Some((started.snapshot, BTreeSet::new(), 0));
            }
            (ChangeEvent::ObjectObserved(observed), Some(object)) => {
                let (id, seen, count) = self.snapshot.as_mut().unwrap();
                assert_eq!(*id, observed.snapshot);
                *count += 1;
                if seen.insert(object) {
                    self.objects.insert(object, Image::default());
                }
                merge(self.objects.entry(object).or_default(), &observed.attributes, &[]);
            }
            (ChangeEvent::SnapshotCompleted(completed), _) => {
                let (id, seen, count) = self.snapshot.take().unwrap();
                assert_eq!((id, count), (completed.snapshot, completed.seen));
                let gone: Vec<_> = self.objects.keys().filter(|guid| !seen.contains(guid)).copied().collect();
                for guid in gone {
                    self.drop_object(guid);
                }
            }
            (ChangeEvent::ObjectChanged(changed), Some(object)) => {
                merge(self.objects.entry(object).or_default(), &changed.set, &changed.cleared);
            }
            (ChangeEvent::ObjectRestored(restored), Some(object)) => {
                merge(self.objects.entry(object).or_default(), &restored.set, &restored.cleared);
            }
            (ChangeEvent::ObjectDeleted(_), Some(object)) => self.drop_object(object),
            (ChangeEvent::LinkValuesChanged(links), Some(object)) => {
                let image = self.objects.entry(object).or_default();
                let targets = image.links.entry(links.attribute.to_lowercase()).or_default();
                links.removed.iter().for_each(|guid| {
                    targets.remove(guid);
                });
                targets.extend(links.added.iter().copied());
            }
            _ => {}
        }
    }

    fn content(&self) -> BTreeMap<ObjectGuid, Image> {
        let mut content = self.objects.clone();
        for image in content.values_mut() {
            image.links.retain(|_, targets| !targets.is_empty());
        }
        content
    }

    /// Compares object by object; of those in `restored`, which keep attributes unsaid, only the presence.
    pub(crate) fn assert_is(&self, directory: &Self, restored: &[ObjectGuid]) {
        let (read, there) = (self.content(), directory.content());
        let guids: BTreeSet<&ObjectGuid> = read.keys().chain(there.keys()).collect();
        for guid in guids.difference(&directory.hidden.iter().collect()).copied() {
            match (read.get(guid), there.get(guid)) {
                (Some(read), Some(there)) => assert!(
                    read == there || restored.contains(guid),
                    "object {guid} is {}\nbut in the directory {}",
                    read.show(),
                    there.show()
                ),
                (Some(read), None) => panic!("object {guid} is not in the directory: {}", read.show()),
                (None, there) => panic!("object {guid} was not read: {}", there.unwrap().show()),
            }
        }
        assert!(read.len() > 10, "only {} objects", read.len());
    }

    /// The same by an ordinary search of an administrator.
    pub(crate) async fn of_directory(ldap: &mut Ldap, peer: &Peer) -> Self {
        let filter = "(|(objectClass=user)(objectClass=group)(objectClass=contact)(objectClass=organizationalUnit)\
            (objectClass=container)(objectClass=builtinDomain)(objectClass=domainDNS)\
            (objectClass=foreignSecurityPrincipal)(objectClass=lostAndFound))";
        let always = ["instanceType", "name", "objectClass", "objectGUID", "objectSid", "uSNChanged"];
        let names: Vec<&str> = ATTRIBUTES.into_iter().chain(always).collect();
        let value = Some(vec![0x30, 3, 2, 1, 1]);
        let control = RawControl { ctype: "1.2.840.113556.1.4.529".into(), crit: true, val: value };
        let found = ldap.with_controls(control).search(&peer.base, Scope::Subtree, filter, names).await.unwrap();
        let mut mirror = Self::default();
        for entry in found.success().unwrap().0 {
            if !entry.is_ref()
                && let Some((guid, image, found)) = image(entry, peer.method)
            {
                mirror.objects.insert(guid, image);
                mirror.hidden.extend((!found).then_some(guid));
            }
        }
        mirror
    }
}

fn image(entry: ResultEntry, method: Method) -> Option<(ObjectGuid, Image, bool)> {
    let mut parts = entry.0.expect_constructed().unwrap().into_iter();
    let dn = String::from_utf8(parts.next().unwrap().expect_primitive().unwrap()).unwrap();
    if dn.contains("CN=Configuration,") || dn.contains("CN=Deleted Objects,") {
        return None;
    }
    // Samba's DirSync passes over objects whose instanceType the account cannot read, a filter over those whose uSNChanged
    let needed = match method {
        Method::Dirsync => "instanceType",
        Method::Usn => "uSNChanged",
    };
    let (mut guid, mut found, mut image) = (None, false, Image::default());
    for attribute in parts.next().unwrap().expect_constructed().unwrap() {
        let mut attribute = attribute.expect_constructed().unwrap().into_iter();
        let name = String::from_utf8(attribute.next().unwrap().expect_primitive().unwrap()).unwrap();
        let values = attribute.next().unwrap().expect_constructed().unwrap().into_iter();
        let values: BTreeSet<Vec<u8>> = values.map(|value| value.expect_primitive().unwrap()).collect();
        found |= name == needed;
        if name == "instanceType" || name == "uSNChanged" {
            continue;
        }
        if name == "objectGUID" {
            guid = values.first().map(|bytes| ObjectGuid::from_slice(bytes).unwrap());
        } else if LINKS.contains(&name.as_str()) {
            let target = |v: &Vec<u8>| std::str::from_utf8(v).unwrap().parse::<ExtendedDn>().unwrap().guid.unwrap();
            image.links.insert(name.to_lowercase(), values.iter().map(target).collect());
        } else if !values.is_empty() {
            image.attributes.insert(name.to_lowercase(), values);
        }
    }
    guid.map(|guid| (guid, image, found))
}
