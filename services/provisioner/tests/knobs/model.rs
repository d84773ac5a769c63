//! What is wished, as a model that changes at random, and how far a tenant is from it.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_practice::tenant::TenantDump;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue, DesiredEvent};
use rand::RngExt as _;
use rand::seq::IteratorRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::common::{anchor, desired, member, no_member, removed, text};

/// Users that there may be.
pub(crate) const USERS: std::ops::RangeInclusive<u32> = 1..=24;
/// Those of the domain that may be unverified.
pub(crate) const OF_LATER_DOMAIN: std::ops::RangeInclusive<u32> = 21..=24;
/// Groups that there may be.
pub(crate) const GROUPS: std::ops::RangeInclusive<u32> = 100..=105;
/// The domain of the others.
pub(crate) const DOMAIN: &str = "emea.example";
/// The domain that may be unverified.
pub(crate) const LATER_DOMAIN: &str = "later.example";
/// Users whose names nobody inherits: the tenant may refuse to rename or to delete them.
pub(crate) const KEEP_THEIR_NAMES: [u32; 3] = [1, 2, 3];
/// Random changes of a round.
const CHANGES: usize = 16;

/// The attributes of users that the model wishes something of.
const USER_ATTRIBUTES: [&str; 8] =
    ["accountEnabled", "displayName", "mailNickname", "userPrincipalName", "city", "jobTitle", "mail", "mobilePhone"];
const GROUP_ATTRIBUTES: [&str; 3] = ["displayName", "mailNickname", "description"];

#[derive(Clone, Debug, PartialEq)]
struct User {
    attributes: CloudAttributes,
    manager: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    attributes: CloudAttributes,
    owner: Option<u32>,
    members: BTreeSet<u32>,
}

/// All that is wished.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    users: BTreeMap<u32, User>,
    groups: BTreeMap<u32, Group>,
    /// Names that somebody had and nobody has now.
    free: BTreeSet<String>,
    /// Who got another name in this round. Nobody gets two, so that no two users swap theirs: Graph takes no step of that.
    renamed: BTreeSet<u32>,
    /// Counts values, so that each is new.
    values: u32,
}

impl Model {
    /// The next round: at first most of everything, later some changes. The wishes that lead there, in the projector's
    /// order.
    pub(crate) fn round(&mut self, random: &mut ChaCha8Rng) -> Vec<DesiredEvent> {
        let before = self.clone();
        self.renamed.clear();
        if before.users.is_empty() {
            self.begin(random);
        } else {
            for _ in 0..CHANGES {
                self.change(random);
            }
        }
        self.events(&before)
    }

    /// Takes much away at once; the wishes, and what they take away.
    pub(crate) fn purge(&mut self, random: &mut ChaCha8Rng) -> (Vec<DesiredEvent>, BTreeSet<u32>) {
        let before = self.clone();
        let users = self.users.keys().copied().sample(random, 6);
        let gone: BTreeSet<u32> = users.into_iter().chain(self.groups.keys().copied().sample(random, 2)).collect();
        for n in &gone {
            self.remove(*n);
        }
        (self.events(&before), gone)
    }

    fn begin(&mut self, random: &mut ChaCha8Rng) {
        for n in USERS.filter(|_| random.random_bool(0.85)).collect::<Vec<_>>() {
            self.add_user(n);
        }
        for n in GROUPS.filter(|_| random.random_bool(0.85)).collect::<Vec<_>>() {
            self.add_group(n);
        }
        for _ in 0..60 {
            self.toggle_member(random);
        }
        for _ in 0..15 {
            self.lead(random);
        }
    }

    fn change(&mut self, random: &mut ChaCha8Rng) {
        match random.random_range(0..20) {
            0..=4 => self.describe(random),
            5 => self.rename(random),
            6 => self.inherit(random),
            7 | 8 => {
                if let Some(n) = self.users.keys().copied().choose(random) {
                    self.remove(n);
                }
            }
            9..=11 => {
                if let Some(n) = USERS.filter(|n| !self.users.contains_key(n)).choose(random) {
                    self.add_user(n);
                }
            }
            12 => {
                if let Some(n) = self.groups.keys().copied().choose(random) {
                    self.remove(n);
                }
            }
            13 => {
                if let Some(n) = GROUPS.filter(|n| !self.groups.contains_key(n)).choose(random) {
                    self.add_group(n);
                }
            }
            14..=16 => (0..3).for_each(|_| self.toggle_member(random)),
            _ => self.lead(random),
        }
    }

    fn value(&mut self, what: &str) -> CloudValue {
        self.values += 1;
        text(&format!("{what} {}", self.values))
    }

    fn add_user(&mut self, n: u32) {
        let own = format!("user{n}@{}", domain(n));
        let name = if self.names().any(|name| *name == own) { self.new_name(n) } else { own };
        let attributes = CloudAttributes::from([
            ("accountEnabled".into(), CloudValue::Bool(true)),
            ("displayName".into(), self.value("User")),
            ("mailNickname".into(), text(&format!("user{n}"))),
            ("userPrincipalName".into(), text(&name)),
        ]);
        self.free.remove(&name);
        self.renamed.insert(n);
        self.users.insert(n, User { attributes, manager: None });
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.users.values().filter_map(|user| match user.attributes.get("userPrincipalName") {
            Some(CloudValue::Text(name)) => Some(name),
            _ => None,
        })
    }

    fn new_name(&mut self, n: u32) -> String {
        self.values += 1;
        format!("user{n}.{}@{}", self.values, domain(n))
    }

    fn add_group(&mut self, n: u32) {
        let attributes = CloudAttributes::from([
            ("displayName".into(), self.value("Group")),
            ("mailEnabled".into(), CloudValue::Bool(false)),
            ("mailNickname".into(), text(&format!("group{n}"))),
            ("securityEnabled".into(), CloudValue::Bool(true)),
        ]);
        self.groups.insert(n, Group { attributes, owner: None, members: BTreeSet::new() });
    }

    /// Another value of an attribute, or none.
    fn describe(&mut self, random: &mut ChaCha8Rng) {
        if random.random_bool(0.2) {
            let description = self.value("About");
            if let Some(group) = self.groups.values_mut().choose(random) {
                group.attributes.insert("description".into(), description);
            }
            return;
        }
        let Some(n) = self.users.keys().copied().choose(random) else { return };
        let name =
            ["accountEnabled", "displayName", "city", "jobTitle", "mail", "mobilePhone"].into_iter().choose(random);
        let name = name.unwrap_or("city");
        let value = match name {
            "accountEnabled" => CloudValue::Bool(random.random_bool(0.5)),
            "mail" => text(&format!("mail{n}.{}@{DOMAIN}", random.random_range(0..3))),
            _ => self.value(name),
        };
        let clears = !matches!(name, "accountEnabled" | "displayName") && random.random_bool(0.3);
        let Some(user) = self.users.get_mut(&n) else { return };
        if clears {
            user.attributes.remove(name);
        } else {
            user.attributes.insert(name.into(), value);
        }
    }

    /// A name that nobody had.
    fn rename(&mut self, random: &mut ChaCha8Rng) {
        let Some(n) = self.users.keys().copied().filter(|n| !self.renamed.contains(n)).choose(random) else { return };
        let name = self.new_name(n);
        self.call(n, &name);
    }

    /// A name that somebody else had, who was renamed or went.
    fn inherit(&mut self, random: &mut ChaCha8Rng) {
        let heirs = self.users.keys().copied().filter(|n| !self.renamed.contains(n));
        let Some(n) = heirs.choose(random) else { return };
        let free = self.free.iter().filter(|name| name.ends_with(domain(n))).choose(random).cloned();
        if let Some(name) = free {
            self.call(n, &name);
        }
    }

    fn call(&mut self, n: u32, name: &str) {
        let Some(user) = self.users.get_mut(&n) else { return };
        self.renamed.insert(n);
        self.free.remove(name);
        if let Some(CloudValue::Text(old)) = user.attributes.insert("userPrincipalName".into(), text(name)) {
            self.leave(n, old);
        }
    }

    /// Others may have this name now, unless the tenant may not let go of it.
    fn leave(&mut self, n: u32, name: String) {
        if !KEEP_THEIR_NAMES.contains(&n) {
            self.free.insert(name);
        }
    }

    /// Takes an object away, and what refers to it.
    fn remove(&mut self, n: u32) {
        if let Some(user) = self.users.remove(&n)
            && let Some(CloudValue::Text(name)) = user.attributes.get("userPrincipalName")
        {
            self.leave(n, name.clone());
        }
        self.groups.remove(&n);
        for user in self.users.values_mut().filter(|user| user.manager == Some(n)) {
            user.manager = None;
        }
        for group in self.groups.values_mut() {
            group.members.remove(&n);
            group.owner = group.owner.filter(|owner| *owner != n);
        }
    }

    /// A member that comes or goes; a group may be one.
    fn toggle_member(&mut self, random: &mut ChaCha8Rng) {
        let Some(group) = self.groups.keys().copied().choose(random) else { return };
        let all = self.users.keys().chain(self.groups.keys().filter(|other| **other > group));
        let Some(member) = all.copied().choose(random) else { return };
        if let Some(group) = self.groups.get_mut(&group)
            && !group.members.remove(&member)
        {
            group.members.insert(member);
        }
    }

    /// Another manager of a user or owner of a group, or none.
    fn lead(&mut self, random: &mut ChaCha8Rng) {
        let leader = self.users.keys().copied().choose(random).filter(|_| random.random_bool(0.8));
        if random.random_bool(0.4) {
            if let Some(group) = self.groups.values_mut().choose(random) {
                group.owner = leader;
            }
        } else if let Some((n, user)) = self.users.iter_mut().choose(random) {
            user.manager = leader.filter(|leader| leader != n);
        }
    }

    fn links(&self) -> BTreeSet<(u32, u32)> {
        self.groups.iter().flat_map(|(n, group)| group.members.iter().map(move |member| (*n, *member))).collect()
    }

    /// The wishes that make this of what was wished before.
    fn events(&self, before: &Self) -> Vec<DesiredEvent> {
        let mut events = Vec::new();
        for (n, user) in self.users.iter().filter(|(n, user)| before.users.get(n) != Some(user)) {
            let mut wish = desired(*n, CloudClass::User, user.attributes.clone());
            wish.manager = user.manager.map(anchor);
            events.push(DesiredEvent::ObjectDesired(wish));
        }
        let face = |group: &Group| (group.attributes.clone(), group.owner);
        for (n, group) in self.groups.iter().filter(|(n, g)| before.groups.get(n).map(face) != Some(face(g))) {
            let mut wish = desired(*n, CloudClass::Group, group.attributes.clone());
            wish.owner = group.owner.map(anchor);
            events.push(DesiredEvent::ObjectDesired(wish));
        }
        let (was, is) = (before.links(), self.links());
        events.extend(was.difference(&is).map(|(group, one)| no_member(*group, *one)));
        events.extend(is.difference(&was).map(|(group, one)| member(*group, *one)));
        let gone = before.users.keys().filter(|n| !self.users.contains_key(n));
        events.extend(gone.map(|n| removed(*n, CloudClass::User)));
        let gone = before.groups.keys().filter(|n| !self.groups.contains_key(n));
        events.extend(gone.map(|n| removed(*n, CloudClass::Group)));
        events
    }

    /// The objects in which a tenant differs from the model, with what differs first. Links to objects in `refused` that
    /// are not there, not ours or about to go count for nothing.
    pub(crate) fn differences(&self, dump: &TenantDump, refused: &BTreeSet<u32>) -> BTreeMap<u32, String> {
        let ids = ids(dump);
        let numbers: BTreeMap<&str, u32> = ids.iter().map(|(n, id)| (id.as_str(), *n)).collect();
        let strangers = strangers(dump);
        // who is held keeps its memberships
        let is_wished = |n: &u32| self.users.contains_key(n) || self.groups.contains_key(n);
        let is_strange = |n: &u32| ids.get(n).is_none_or(|id| strangers.contains(id.as_str()));
        let strange: BTreeSet<u32> = refused.iter().copied().filter(|n| is_strange(n) || !is_wished(n)).collect();
        let number = |id: &str, properties: &dyn std::fmt::Debug| -> u32 {
            numbers.get(id).copied().unwrap_or_else(|| panic!("nobody knows {properties:?}"))
        };
        let mut found = BTreeMap::new();
        for user in &dump.users {
            let n = number(&user.id, &user.properties);
            let Some(wished) = self.users.get(&n) else {
                if !is_synced(&user.properties) {
                    found.insert(n, "is not wished".to_owned());
                }
                continue;
            };
            let manager = user.manager.as_ref().map(|id| numbers[id.as_str()]);
            if let Some(what) = differs(&user.properties, &wished.attributes, &USER_ATTRIBUTES) {
                found.insert(n, what);
            } else if manager != wished.manager && !wished.manager.is_some_and(|m| strange.contains(&m)) {
                found.insert(n, format!("manager {manager:?} instead of {:?}", wished.manager));
            }
        }
        for group in &dump.groups {
            let n = number(&group.id, &group.properties);
            let Some(wished) = self.groups.get(&n) else {
                if !is_foreign(&group.properties) {
                    found.insert(n, "is not wished".to_owned());
                }
                continue;
            };
            let known = |all: &[String]| -> BTreeSet<u32> {
                all.iter().map(|id| numbers[id.as_str()]).filter(|n| !strange.contains(n)).collect()
            };
            let (members, owners) = (known(&group.members), known(&group.owners));
            let wished_members: BTreeSet<u32> = wished.members.difference(&strange).copied().collect();
            let wished_owner = wished.owner.filter(|owner| !strange.contains(owner));
            if let Some(what) = differs(&group.properties, &wished.attributes, &GROUP_ATTRIBUTES) {
                found.insert(n, what);
            } else if members != wished_members {
                found.insert(n, format!("members {members:?} instead of {wished_members:?}"));
            } else if wished_owner.is_some_and(|owner| owners != BTreeSet::from([owner])) || owners.len() > 1 {
                found.insert(n, format!("owners {owners:?} instead of {wished_owner:?}"));
            }
        }
        for n in self.users.keys().chain(self.groups.keys()).filter(|n| !ids.contains_key(n)) {
            found.insert(*n, "is not there".to_owned());
        }
        found
    }
}

fn domain(n: u32) -> &'static str {
    if OF_LATER_DOMAIN.contains(&n) { LATER_DOMAIN } else { DOMAIN }
}

/// The tenant's ids of the live objects, by number.
fn ids(dump: &TenantDump) -> BTreeMap<u32, String> {
    let users = USERS.filter_map(|n| Some((n, dump.user(anchor(n).as_str())?.id.clone())));
    users.chain(GROUPS.filter_map(|n| Some((n, dump.group(&anchor(n).unique_name())?.id.clone())))).collect()
}

/// The tenant's ids of what others master.
fn strangers(dump: &TenantDump) -> BTreeSet<&str> {
    let users = dump.users.iter().filter(|user| is_synced(&user.properties)).map(|user| user.id.as_str());
    users.chain(dump.groups.iter().filter(|g| is_foreign(&g.properties)).map(|group| group.id.as_str())).collect()
}

fn is_synced(properties: &serde_json::Map<String, Value>) -> bool {
    properties.get("onPremisesSyncEnabled") == Some(&Value::Bool(true))
}

fn is_foreign(properties: &serde_json::Map<String, Value>) -> bool {
    is_synced(properties) || properties.get("mailEnabled") == Some(&Value::Bool(true))
}

/// The first attribute that is not as it should be.
fn differs(held: &serde_json::Map<String, Value>, wished: &CloudAttributes, names: &[&str]) -> Option<String> {
    let wants = |name: &str| match wished.get(name) {
        None => Value::Null,
        Some(CloudValue::Bool(value)) => json!(value),
        Some(CloudValue::Text(value)) => json!(value),
        Some(other) => panic!("the model has no {other:?}"),
    };
    let has = |name: &str| held.get(name).cloned().unwrap_or(Value::Null);
    let name = names.iter().find(|name| has(name) != wants(name))?;
    Some(format!("{name} is {} instead of {}", has(name), wants(name)))
}
