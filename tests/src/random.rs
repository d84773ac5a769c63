//! Random changes of a directory that are always possible: a model of what is there says what may come next.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::scenario::Change;

/// Every user of the initial population has these. A value that only few objects have would look like a loss of rights
/// when a controller is restored from before it was set.
const ATTRIBUTES: [&str; 6] = ["displayName", "title", "department", "company", "telephoneNumber", "l"];

/// Fewer users than this are added to, more than [`MOST`] are not.
const FEWEST: usize = 20;
const MOST: usize = 60;

#[derive(Debug, Clone)]
struct Container {
    rdn: String,
    parent: Option<usize>,
}

#[derive(Debug, Clone)]
struct Object {
    cn: String,
    container: usize,
}

/// What is in one forest, as far as changes are made to it. A clone is a backup.
#[derive(Debug, Clone)]
pub struct Model {
    forest: usize,
    containers: Vec<Container>,
    users: BTreeMap<String, Object>,
    groups: BTreeMap<String, (Object, BTreeSet<String>)>,
    made: usize,
}

impl Model {
    /// The initial population of a forest of the scenario.
    pub fn new(forest: usize) -> Self {
        let containers = [
            ("OU=Staff", None),
            ("OU=Sales", Some(0)),
            ("OU=Deep", Some(1)),
            ("OU=Service", Some(0)),
            ("OU=Partners", None),
            ("OU=Outside", None),
        ];
        let user = |n: usize| {
            let sam = format!("u{forest}{n:03}");
            (sam.clone(), Object { cn: sam, container: n % 3 })
        };
        let members = (0..25).map(|n| user(n).0).collect();
        let all = Object { cn: format!("All {forest}"), container: 0 };
        Self {
            forest,
            containers: containers.map(|(rdn, parent)| Container { rdn: rdn.to_owned(), parent }).into(),
            users: (0..30).map(user).collect(),
            groups: [(format!("all{forest}"), (all, members))].into(),
            made: 0,
        }
    }

    /// What was there at the time of a backup, with names that were not used since either.
    pub fn restored(&self, backup: Self) -> Self {
        Self { made: self.made, ..backup }
    }

    fn path(&self, container: usize) -> String {
        let Container { rdn, parent } = &self.containers[container];
        parent.map_or_else(|| rdn.clone(), |parent| format!("{rdn},{}", self.path(parent)))
    }

    fn front(&self, object: &Object) -> String {
        format!("CN={},{}", object.cn, self.path(object.container))
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}{:04}", self.forest, self.made)
    }

    fn somebody(&self, rng: &mut ChaCha8Rng) -> (String, Object) {
        let sam = self.users.keys().nth(rng.random_range(0..self.users.len())).unwrap().clone();
        let object = self.users[&sam].clone();
        (sam, object)
    }

    /// The next change.
    pub fn change(&mut self, rng: &mut ChaCha8Rng) -> Random {
        let kind = match self.users.len() {
            n if n < FEWEST => 10,
            n if n > MOST => 14,
            _ => rng.random_range(0..20),
        };
        match kind {
            0..=6 => Random::kept(self.attribute(rng)),
            7 | 8 => Random::kept(self.account(rng)),
            9..=11 => Random::kept(self.add_user(rng)),
            12 => Random::kept(self.manager(rng)),
            13 => Random::kept(self.rename_container(rng)),
            14 => Random::taken(self.delete_user(rng)),
            15 => Random::taken(self.move_user(rng)),
            16 => Random::kept(self.rename_user(rng)),
            17 => Random::taken(self.group(rng)),
            _ => Random::kept(self.membership(rng)),
        }
    }

    /// A change that the tenant shows for certain, and that no other one takes back.
    pub fn visible(&mut self) -> Change {
        let in_scope = |object: &&Object| object.container <= 2;
        let front = self.front(self.users.values().find(in_scope).expect("some users are in scope"));
        Change::Set(self.forest, front, "displayName".to_owned(), self.fresh("seen"))
    }

    fn attribute(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let (front, attribute) = (self.front(&self.somebody(rng).1), ATTRIBUTES.choose(rng).unwrap());
        let value = format!("{attribute} {}", self.fresh("v"));
        Change::Set(self.forest, front, (*attribute).to_owned(), value)
    }

    fn account(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let front = self.front(&self.somebody(rng).1);
        let value = if rng.random_bool(0.5) { "546" } else { "544" };
        Change::Set(self.forest, front, "userAccountControl".to_owned(), value.to_owned())
    }

    fn add_user(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let sam = self.fresh("n");
        let object = Object { cn: sam.clone(), container: rng.random_range(0..self.containers.len()) };
        let front = self.front(&object);
        let mut attributes: Vec<(String, String)> = ATTRIBUTES.map(|a| (a.to_owned(), format!("{a} of {sam}"))).into();
        for (name, value) in [
            ("objectClass", "user"),
            ("sAMAccountName", &sam),
            ("userAccountControl", "544"),
            ("userPrincipalName", &format!("{sam}@{{domain}}")),
        ] {
            attributes.push((name.to_owned(), value.to_owned()));
        }
        self.users.insert(sam, object);
        Change::Add(self.forest, front, attributes)
    }

    fn manager(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let (front, boss) = (self.front(&self.somebody(rng).1), self.front(&self.somebody(rng).1));
        Change::Set(self.forest, front, "manager".to_owned(), format!("{boss},{{base}}"))
    }

    fn rename_container(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let container = rng.random_range(1..=2);
        let (front, rdn) = (self.path(container), format!("OU={}", self.fresh("ou")));
        self.containers[container].rdn.clone_from(&rdn);
        Change::Rename(self.forest, front, rdn)
    }

    fn delete_user(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let (sam, object) = self.somebody(rng);
        self.users.remove(&sam);
        for (_, members) in self.groups.values_mut() {
            members.remove(&sam);
        }
        Change::Delete(self.forest, self.front(&object))
    }

    fn move_user(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let (sam, object) = self.somebody(rng);
        let there: Vec<usize> = (0..self.containers.len()).filter(|c| *c != object.container).collect();
        let container = *there.choose(rng).unwrap();
        let moved = Object { container, ..object.clone() };
        let change = Change::Move(self.forest, self.front(&object), format!("CN={}", object.cn), self.path(container));
        self.users.insert(sam, moved);
        change
    }

    fn rename_user(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let ((sam, object), cn) = (self.somebody(rng), self.fresh("r"));
        let change = Change::Rename(self.forest, self.front(&object), format!("CN={cn}"));
        self.users.insert(sam, Object { cn, ..object });
        change
    }

    fn group(&mut self, rng: &mut ChaCha8Rng) -> Change {
        if self.groups.len() > 4 && rng.random_bool(0.5) {
            let sam = self.groups.keys().find(|sam| sam.starts_with('g')).unwrap().clone();
            let (object, _) = self.groups.remove(&sam).unwrap();
            return Change::Delete(self.forest, self.front(&object));
        }
        let sam = self.fresh("g");
        let object = Object { cn: sam.clone(), container: rng.random_range(0..3) };
        let front = self.front(&object);
        self.groups.insert(sam.clone(), (object, BTreeSet::new()));
        let attributes = [("objectClass", "group"), ("sAMAccountName", sam.as_str()), ("groupType", "-2147483646")];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Change::Add(self.forest, front, attributes.into())
    }

    fn membership(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let group = self.groups.keys().nth(rng.random_range(0..self.groups.len())).unwrap().clone();
        let (sam, user) = self.somebody(rng);
        let value = vec![format!("{},{{base}}", self.front(&user))];
        let front = self.front(&self.groups[&group].0);
        let members = &mut self.groups.get_mut(&group).unwrap().1;
        let attribute = "member".to_owned();
        if members.remove(&sam) {
            return Change::RemoveValues(self.forest, front, attribute, value);
        }
        members.insert(sam);
        Change::AddValues(self.forest, front, attribute, value)
    }
}

/// A random change.
#[derive(Debug)]
pub struct Random {
    /// What to do.
    pub change: Change,
    /// Whether it may take an object out of the scope.
    pub takes_away: bool,
}

impl Random {
    fn kept(change: Change) -> Self {
        Self { change, takes_away: false }
    }

    fn taken(change: Change) -> Self {
        Self { change, takes_away: true }
    }
}
