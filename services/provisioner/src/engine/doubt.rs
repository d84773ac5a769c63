//! What somebody else may have written without a word.
//!
//! An owner notes its intents in its own ledger before it writes. Whoever takes over does not have them, and finds the
//! wishes that came since its own time, some of them superseded by later ones. Each of those may have been written by the
//! owner before, who then died without an outcome. So a wish that is superseded while the ledger catches up is taken for
//! written: then the one that is in force now differs from it and is written again, which harms nobody where it was not.
//! The wish in force itself needs no doubt: it is written where nothing confirms it. Nor does one that an outcome follows:
//! whoever wrote that had dealt with everything before.

use forestsync_domain::SourceAnchor;
use forestsync_runtime::clock;
use forestsync_schemas::desired::{DesiredEvent, ObjectDesired};

use super::fold::{put, unread};
use crate::store::{Life, ObjectRow, StoreError, Tx, WishKind};

/// Takes for written what this event supersedes.
pub(super) fn before(tx: &mut Tx<'_>, offset: u64, event: &DesiredEvent) -> Result<(), StoreError> {
    match event {
        DesiredEvent::AttributeFlowDeclared(_) => {}
        DesiredEvent::ObjectDesired(e) => {
            let row = tx.object(&e.anchor, e.class)?;
            superseded(row, offset, Some(e));
        }
        DesiredEvent::ObjectRemoved(e) => {
            // what is let go stays as it is, whoever wrote what
            if !e.keep {
                let row = tx.object(&e.anchor, e.class)?;
                superseded(row, offset, None);
                links_end(tx, offset, &e.anchor)?;
            }
        }
        DesiredEvent::LinkDesired(e) => link(tx, offset, &e.group, &e.member, true)?,
        DesiredEvent::LinkRemoved(e) => link(tx, offset, &e.group, &e.member, false)?,
    }
    Ok(())
}

/// The wish of an object is superseded by another one, or by none.
fn superseded(row: &mut ObjectRow, offset: u64, now: Option<&ObjectDesired>) {
    if row.wish.as_ref().is_some_and(|wish| wish.offset >= offset) {
        return;
    }
    let Some(ObjectDesired { attributes, manager, owner, .. }) = now else {
        // the one before may have been compacted away
        if row.life == Life::Unknown && row.settled == 0 && !row.is_let_go() {
            row.maybe.get_or_insert_with(|| clock::now().as_millisecond());
        }
        return;
    };
    let Some(wish) = row.wish.clone() else { return };
    if row.life != Life::Managed {
        // found by its anchor, it may have the owner that was wished then
        if let WishKind::Present { owner: Some(owned), .. } = &wish.kind
            && row.cloud_id.is_none()
            && Some(owned) != owner.as_ref()
        {
            row.own(owned, true);
        }
        return;
    }
    let (is_open, lead_is_open) = (wish.offset >= row.settled, wish.offset >= row.lead_settled);
    let confirmed = &mut row.confirmed;
    match wish.kind {
        // it may be deleted: an update then finds that out
        WishKind::Removed { .. } if is_open => {
            confirmed.remove("displayName");
            row.unsure.insert("displayName".to_owned());
        }
        WishKind::Removed { .. } | WishKind::LetGo { .. } => {}
        WishKind::Present { attributes: before, manager: led, owner: owned, .. } => {
            let differs = |name: &&String| is_open && before.get(*name) != attributes.get(*name);
            for name in before.keys().chain(attributes.keys()).filter(differs) {
                put(confirmed, name, before.get(name));
                row.unsure.insert(name.clone());
            }
            if lead_is_open && led != *manager {
                row.manager = Some(unread());
            }
            if lead_is_open && owned != *owner {
                // the one before may have become an owner, and the one now wished may have ceased to be one
                for (who, may_own) in [(owned.as_ref(), true), (owner.as_ref(), false)] {
                    if let Some(who) = who {
                        row.own(who, may_own);
                    }
                }
            }
        }
    }
}

/// The memberships of an object that is to go end with it.
fn links_end(tx: &mut Tx<'_>, offset: u64, anchor: &SourceAnchor) -> Result<(), StoreError> {
    let of = tx.groups_of(anchor)?.into_iter().map(|group| (group, anchor.clone()));
    let with = tx.members_of(anchor)?.into_iter().map(|member| (anchor.clone(), member));
    for (group, member) in of.chain(with).collect::<Vec<_>>() {
        link(tx, offset, &group, &member, false)?;
    }
    Ok(())
}

fn link(
    tx: &mut Tx<'_>,
    offset: u64,
    group: &SourceAnchor,
    member: &SourceAnchor,
    wished: bool,
) -> Result<(), StoreError> {
    let edge = tx.edge(group, member)?;
    if edge.offset >= offset || edge.offset < edge.settled {
        return Ok(());
    }
    match edge.wish {
        Some(true) if !wished => edge.maybe = true,
        Some(false) if wished => edge.confirmed = false,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use forestsync_domain::ObjectGuid;
    use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue, SourceObject};
    use proptest::prelude::*;

    use super::*;
    use crate::store::{Since, Wish};

    fn attributes(values: &[u8]) -> CloudAttributes {
        let value = |(n, v): (usize, &u8)| (*v > 0).then(|| (format!("a{n}"), CloudValue::Text(v.to_string())));
        values.iter().enumerate().filter_map(value).collect()
    }

    fn desired(attributes: CloudAttributes) -> ObjectDesired {
        let source = SourceObject {
            forest: String::new(),
            object: ObjectGuid::from_bytes([1; 16]),
            dn: "CN=a".parse().unwrap(),
        };
        ObjectDesired {
            anchor: SourceAnchor::from("a".to_owned()),
            class: CloudClass::User,
            revision: 1,
            attributes,
            at_creation: CloudAttributes::new(),
            left_alone: Vec::new(),
            manager: None,
            owner: None,
            not_writable: Vec::new(),
            source,
            joined: Vec::new(),
        }
    }

    proptest! {
        /// Whichever of the superseded wishes somebody wrote last, attribute by attribute, an update to the wish in force
        /// names every attribute that then differs.
        #[test]
        fn whatever_was_written_is_written_over(
            history in prop::collection::vec(prop::collection::vec(0_u8..3, 3), 2..7),
            written in prop::collection::vec(0_usize..7, 3),
        ) {
            let mut row = ObjectRow::new(CloudClass::User);
            (row.life, row.confirmed) = (Life::Managed, attributes(&history[0]));
            for (offset, values) in (1_u64..).zip(&history) {
                let wish = desired(attributes(values));
                superseded(&mut row, offset, Some(&wish));
                let kind = WishKind::Present {
                    attributes: wish.attributes,
                    at_creation: wish.at_creation,
                    left_alone: Vec::new(),
                    manager: None,
                    owner: None,
                    not_writable: Vec::new(),
                };
                row.wish = Some(Wish { offset, class: CloudClass::User, name: String::new(), trace: None, kind, since: Since::default() });
            }
            let now = attributes(history.last().unwrap());
            let differs = |name: &String| row.confirmed.get(name) != now.get(name);
            for (n, written) in written.iter().enumerate() {
                let name = format!("a{n}");
                let there = attributes(&history[written % history.len()]).get(&name).cloned();
                prop_assert!(there == now.get(&name).cloned() || differs(&name), "{name} stays at {there:?}");
            }
        }
    }
}
