//! Whom the knobs are about: objects of the scenario that it changes, moves or takes away.

use std::collections::BTreeSet;

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_practice::oracle::{Entry, Holdings};
use forestsync_practice::tenant::{Expected, Knob, Subject, Subjects, TenantDump};
use forestsync_tests::scenario::Change;
use forestsync_tests::world::World;

/// One of them gets another name for signing in, one is disabled, one leaves the scope. Nobody inherits their names.
const PRIVILEGED: [(usize, &str); 3] =
    [(0, "CN=u0000,OU=Staff"), (0, "CN=u0001,OU=Sales,OU=Staff"), (0, "CN=u0015,OU=Staff")];
/// Both are members; one leaves a group and returns, the other one leaves the scope and returns.
const SYNCED_USERS: [(usize, &str); 2] = [(1, "CN=u1003,OU=Staff"), (2, "CN=u2003,OU=Staff")];
/// Its members change.
const SYNCED_GROUPS: [(usize, &str); 1] = [(2, "CN=All 2,OU=Staff")];
/// One leaves the scope and returns, one has members of its own.
const MAIL_ENABLED_GROUPS: [(usize, &str); 2] = [(0, "CN=Nest 0,OU=Staff"), (1, "CN=All 1,OU=Staff")];
/// The domain that may be unverified, and who has it.
pub(crate) const LATER_DOMAIN: &str = "later.example";
const OF_LATER_DOMAIN: [&str; 3] = ["later0", "later1", "later2"];
/// Fewer than there are at first, so that it strikes from the beginning to the end.
const OBJECT_QUOTA: usize = 130;

/// Everybody.
pub(crate) struct Cast {
    pub(crate) subjects: Subjects,
    /// Those whom the knobs may keep from being written.
    may: BTreeSet<String>,
    /// Any user may be.
    any_user: bool,
}

fn anchor(entry: &Entry) -> SourceAnchor {
    let guid: [u8; 16] = entry.attributes["objectguid"][0].as_slice().try_into().unwrap();
    SourceAnchor::from_guid(ObjectGuid::from_bytes(guid))
}

fn name(entry: &Entry) -> String {
    String::from_utf8(entry.attributes["userprincipalname"][0].clone()).unwrap()
}

/// Users whose domain may be unverified: the scenario has none.
pub(crate) fn of_later_domain() -> Vec<Change> {
    let user = |sam: &str| {
        let name = format!("{sam}@{LATER_DOMAIN}");
        let attributes = [
            ("objectClass", "user"),
            ("sAMAccountName", sam),
            ("userAccountControl", "544"),
            ("userPrincipalName", name.as_str()),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Change::Add(0, format!("CN={sam},OU=Staff"), attributes.into())
    };
    let member = OF_LATER_DOMAIN.map(|sam| format!("CN={sam},OU=Staff,{{base}}"));
    let member = Change::AddValues(0, "CN=All 0,OU=Staff".into(), "member".into(), member.into());
    OF_LATER_DOMAIN.iter().map(|sam| user(sam)).chain([member]).collect()
}

impl Cast {
    pub(crate) async fn of(world: &mut World, knobs: &[Knob]) -> Self {
        let mut entries = async |fronts: &[(usize, &str)]| {
            let mut all = Vec::new();
            for (forest, front) in fronts {
                all.push(world.entry(*forest, front).await);
            }
            all
        };
        let (privileged, synced_users) = (entries(&PRIVILEGED).await, entries(&SYNCED_USERS).await);
        let (synced_groups, with_mail) = (entries(&SYNCED_GROUPS).await, entries(&MAIL_ENABLED_GROUPS).await);
        let later =
            entries(&OF_LATER_DOMAIN.map(|sam| format!("CN={sam},OU=Staff")).each_ref().map(|f| (0, f.as_str()))).await;
        let mut may = BTreeSet::new();
        let expected: Vec<Expected> = knobs.iter().map(|knob| knob.expected()).collect();
        for (subject, who) in [
            (Subject::PrivilegedUser, &privileged),
            (Subject::SyncedUser, &synced_users),
            (Subject::SyncedGroup, &synced_groups),
            (Subject::MailEnabledGroup, &with_mail),
            (Subject::UserOfUnverifiedDomain, &later),
        ] {
            if expected.contains(&Expected::AllBut(subject)) {
                may.extend(who.iter().map(|entry| anchor(entry).as_str().to_owned()));
            }
        }
        let names = |who: &[Entry]| who.iter().map(|entry| anchor(entry).unique_name()).collect();
        let subjects = Subjects {
            privileged: privileged.iter().map(name).collect(),
            synced_users: synced_users.iter().map(|e| (anchor(e).as_str().to_owned(), name(e))).collect(),
            synced_groups: names(&synced_groups),
            mail_enabled_groups: names(&with_mail),
            federated_domain: "apac.example".to_owned(),
            unverified_domain: LATER_DOMAIN.to_owned(),
            object_quota: OBJECT_QUOTA,
        };
        Self { subjects, may, any_user: expected.contains(&Expected::AllBut(Subject::AnyUser)) }
    }

    /// The anchors of those that may be refused of what is wished or there.
    pub(crate) fn may_be_refused(&self, expected: &Holdings, dump: &TenantDump) -> BTreeSet<String> {
        let mut may = self.may.clone();
        if self.any_user {
            may.extend(expected.users.keys().cloned());
            may.extend(Holdings::of(dump).users.into_keys());
        }
        may
    }
}
