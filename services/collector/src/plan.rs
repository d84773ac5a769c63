//! Whether the next read is a delta, the rest of a full read, or a new one. Pure.
//!
//! A controller answers a cookie that means nothing to it with success: with everything, with nothing, or with a part. So a
//! cookie is sent only while everything it was made under still holds. A USN is no better: it counts the changes of one
//! database in one incarnation.

use forestsync_domain::{Dn, Usn};
use forestsync_schemas::changes::{Controller, Cursor, Method, SnapshotProgress, SnapshotReason};

use crate::tail::Position;

/// What a read would be made under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) controller: Controller,
    pub(crate) method: Method,
    pub(crate) highest_committed_usn: Usn,
    pub(crate) naming_context: Dn,
    pub(crate) flags: u32,
    pub(crate) attributes: Vec<String>,
}

/// What else may ask for a full read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// The controller refused the cookie, twice.
    pub(crate) cookie_refused: bool,
    /// A person asked.
    pub(crate) requested: bool,
    /// The account was blind for a while: changes may have been passed over.
    pub(crate) was_blind: bool,
    /// The cursor is so old that deletions after it may be gone without a trace.
    pub(crate) forgotten: bool,
    /// Something may have been passed over, such as deletions, and the last full read is long ago.
    pub(crate) overdue: bool,
}

/// What to read next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Start {
    /// What changed since the cursor.
    Delta(Cursor),
    /// The rest of a full read.
    Continue(Cursor, SnapshotProgress),
    /// Everything.
    Snapshot(SnapshotReason),
}

/// Decides. The reasons stand in the order of their weight. A full read that is under way and can go on is as good as one
/// that is overdue; the others want one that begins after them.
pub(crate) fn decide(position: &Position, terms: &Terms, wishes: Wishes) -> Start {
    let Some(cursor) = &position.cursor else {
        let reason = if position.open.is_some() { SnapshotReason::Interrupted } else { SnapshotReason::First };
        return Start::Snapshot(reason);
    };
    let same_request = cursor.method == terms.method
        && cursor.flags == terms.flags
        && cursor.attributes == terms.attributes
        && cursor.naming_context == terms.naming_context;
    let cookie_lost = cursor.method == Method::Dirsync && cursor.cookie.is_empty();
    let reasons = [
        (cursor.controller.invocation_id != terms.controller.invocation_id, SnapshotReason::InvocationIdChanged),
        (cursor.highest_committed_usn > terms.highest_committed_usn, SnapshotReason::UsnWentBack),
        (!same_request, SnapshotReason::RequestChanged),
        (wishes.cookie_refused || cookie_lost, SnapshotReason::CookieRefused),
        (wishes.requested, SnapshotReason::Requested),
        (position.is_interrupted() || wishes.was_blind, SnapshotReason::Interrupted),
        (wishes.forgotten || (wishes.overdue && cursor.snapshot.is_none()), SnapshotReason::DeletionsInvisible),
    ];
    if let Some((_, reason)) = reasons.into_iter().find(|(holds, _)| *holds) {
        return Start::Snapshot(reason);
    }
    match &cursor.snapshot {
        Some(progress) => Start::Continue(cursor.clone(), progress.clone()),
        None => Start::Delta(cursor.clone()),
    }
}

#[cfg(test)]
mod tests {
    use forestsync_domain::{Cookie, InvocationId, ObjectGuid};
    use forestsync_schemas::changes::SnapshotId;
    use uuid::Uuid;

    use super::*;

    fn controller(n: u8) -> Controller {
        Controller { dns_name: "dc01".into(), invocation_id: InvocationId(ObjectGuid::from_bytes([n; 16])) }
    }

    fn terms() -> Terms {
        Terms {
            controller: controller(1),
            method: Method::Dirsync,
            highest_committed_usn: Usn(100),
            naming_context: "DC=x".parse().unwrap(),
            flags: 1,
            attributes: vec!["name".into()],
        }
    }

    fn position() -> Position {
        let cursor = Cursor {
            controller: controller(1),
            method: Method::Dirsync,
            highest_committed_usn: Usn(100),
            naming_context: "dc=X".parse().unwrap(),
            flags: 1,
            attributes: vec!["name".into()],
            cookie: Cookie::new(vec![1]),
            snapshot: None,
            complete: true,
            passed_over: false,
        };
        Position { written: Some(cursor.id()), cursor: Some(cursor), ..Position::default() }
    }

    fn reason(position: &Position, terms: &Terms, wishes: Wishes) -> Option<SnapshotReason> {
        match decide(position, terms, wishes) {
            Start::Snapshot(reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_cookie_is_sent_only_while_everything_holds() {
        let none = Wishes::default();
        assert_eq!(reason(&position(), &terms(), none), None);
        assert_eq!(reason(&Position::default(), &terms(), none), Some(SnapshotReason::First));
        let mut other = terms();
        other.controller = controller(2);
        other.highest_committed_usn = Usn(1);
        assert_eq!(reason(&position(), &other, none), Some(SnapshotReason::InvocationIdChanged));
        let mut other = terms();
        other.highest_committed_usn = Usn(99);
        assert_eq!(reason(&position(), &other, none), Some(SnapshotReason::UsnWentBack));
        let mut other = terms();
        other.attributes.push("mail".into());
        assert_eq!(reason(&position(), &other, none), Some(SnapshotReason::RequestChanged));
        let mut other = terms();
        other.method = Method::Usn;
        assert_eq!(reason(&position(), &other, none), Some(SnapshotReason::RequestChanged));
        let refused = Wishes { cookie_refused: true, ..none };
        assert_eq!(reason(&position(), &terms(), refused), Some(SnapshotReason::CookieRefused));
        let overdue = Wishes { overdue: true, ..none };
        assert_eq!(reason(&position(), &terms(), overdue), Some(SnapshotReason::DeletionsInvisible));
        let blind = Wishes { was_blind: true, ..none };
        assert_eq!(reason(&position(), &terms(), blind), Some(SnapshotReason::Interrupted));
    }

    #[test]
    fn a_usn_needs_no_cookie_and_holds_as_long_as_the_database() {
        let mut usn = position();
        if let Some(cursor) = &mut usn.cursor {
            (cursor.method, cursor.cookie) = (Method::Usn, Cookie::default());
        }
        let mut now = terms();
        now.method = Method::Usn;
        let none = Wishes::default();
        assert_eq!(reason(&usn, &now, none), None);
        assert_eq!(reason(&usn, &terms(), none), Some(SnapshotReason::RequestChanged));
        now.highest_committed_usn = Usn(99);
        assert_eq!(reason(&usn, &now, none), Some(SnapshotReason::UsnWentBack));
        now.controller = controller(2);
        assert_eq!(reason(&usn, &now, none), Some(SnapshotReason::InvocationIdChanged));
        usn.open = Some(SnapshotId(Uuid::from_bytes([3; 16])));
        assert_eq!(
            reason(
                &usn,
                &{
                    let mut t = terms();
                    t.method = Method::Usn;
                    t
                },
                none
            ),
            Some(SnapshotReason::Interrupted)
        );
    }

    #[test]
    fn an_interrupted_snapshot_is_continued_only_between_pages() {
        let snapshot = SnapshotId(Uuid::from_bytes([3; 16]));
        let mut between = position();
        let progress = SnapshotProgress { snapshot, seen: 5 };
        between.cursor.as_mut().unwrap().snapshot = Some(progress.clone());
        between.cursor.as_mut().unwrap().complete = false;
        between.open = Some(snapshot);
        assert!(matches!(decide(&between, &terms(), Wishes::default()), Start::Continue(_, p) if p == progress));
        let overdue = Wishes { overdue: true, ..Wishes::default() };
        assert!(matches!(decide(&between, &terms(), overdue), Start::Continue(..)), "it would never be complete");
        let forgotten = Wishes { forgotten: true, ..overdue };
        assert_eq!(reason(&between, &terms(), forgotten), Some(SnapshotReason::DeletionsInvisible));
        let mut within = between.clone();
        within.dirty = true;
        assert_eq!(reason(&within, &terms(), Wishes::default()), Some(SnapshotReason::Interrupted));
        let mut another = between.clone();
        another.open = Some(SnapshotId(Uuid::from_bytes([4; 16])));
        assert_eq!(reason(&another, &terms(), Wishes::default()), Some(SnapshotReason::Interrupted));
        let mut begun = position();
        begun.open = Some(snapshot);
        assert_eq!(reason(&begun, &terms(), Wishes::default()), Some(SnapshotReason::Interrupted));
        let mut first = Position { open: Some(snapshot), ..Position::default() };
        first.dirty = true;
        assert_eq!(reason(&first, &terms(), Wishes::default()), Some(SnapshotReason::Interrupted));
    }
}
