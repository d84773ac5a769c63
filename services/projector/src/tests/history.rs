//! Random histories, as a collector would write them, from a directory that really changes.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{AttributeValue, Attributes, Dn};
use forestsync_log::NewRecord;
use forestsync_schemas::changes::{ChangeEvent, ObjectRestored};

use super::support::{
    CONTACT, Event, GROUP, OU, Source, USER, attributes, changed, completed, deleted, guid, links, observed, started,
};

/// A generator with a seed.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).cloned()
    }
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    parent: Option<u32>,
    class: &'static [&'static str],
    attributes: Attributes,
    dead: bool,
}

/// A directory, and the stream it is written to.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) source: Source,
    entries: BTreeMap<u32, Entry>,
    members: BTreeSet<(u32, u32)>,
    managers: BTreeMap<u32, u32>,
    next: u32,
    snapshots: u64,
    /// Numbers of objects elsewhere in the forest.
    pub(super) elsewhere: Vec<u32>,
}

impl Directory {
    pub(super) fn new(source: Source, base: u32) -> Self {
        let root = Entry { name: String::new(), parent: None, class: OU, attributes: Attributes::new(), dead: false };
        let mut directory = Self {
            source,
            entries: BTreeMap::from([(base, root)]),
            members: BTreeSet::new(),
            managers: BTreeMap::new(),
            next: base + 1,
            snapshots: u64::from(base) << 20,
            elsewhere: Vec::new(),
        };
        for name in ["Staff", "Hidden"] {
            directory.add(OU, name, base);
        }
        directory
    }

    fn add(&mut self, class: &'static [&'static str], name: &str, parent: u32) -> u32 {
        let number = self.next;
        self.next += 1;
        let entry =
            Entry { name: name.into(), parent: Some(parent), class, attributes: attributes(class, name), dead: false };
        self.entries.insert(number, entry);
        number
    }

    fn dn(&self, number: u32) -> Dn {
        let entry = &self.entries[&number];
        match entry.parent {
            None => self.source.root.clone(),
            Some(parent) => self.dn(parent).child(if entry.class == OU { "OU" } else { "CN" }, &entry.name),
        }
    }

    fn live(&self, classes: &[&[&str]]) -> Vec<u32> {
        let fits = |entry: &Entry| !entry.dead && classes.contains(&entry.class);
        self.entries.iter().filter(|(_, entry)| fits(entry)).map(|(number, _)| *number).collect()
    }

    fn has_children(&self, number: u32) -> bool {
        self.entries.values().any(|entry| entry.parent == Some(number) && !entry.dead)
    }

    fn is_within(&self, number: u32, ancestor: u32) -> bool {
        number == ancestor || self.entries[&number].parent.is_some_and(|parent| self.is_within(parent, ancestor))
    }

    /// One change, as the events of a delta.
    pub(super) fn step(&mut self, dice: &mut Dice) -> Vec<Event> {
        let containers = self.live(&[OU]);
        let parent = dice.pick(&containers).unwrap();
        let people = self.live(&[USER, GROUP, CONTACT]);
        match dice.below(16) {
            0..=4 => {
                let class = dice.pick(&[USER, USER, USER, GROUP, GROUP, CONTACT, OU]).unwrap();
                let number = self.add(class, &format!("n{}", self.next), parent);
                let dn = self.dn(number);
                vec![changed(number, &dn, Some(parent), self.entries[&number].attributes.clone(), &[])]
            }
            5 | 6 => {
                let Some(number) = dice.pick(&people) else { return Vec::new() };
                let value = format!("Name {}", dice.below(50));
                let set = Attributes::from([("displayName".to_owned(), vec![AttributeValue::Text(value)])]);
                let dn = self.dn(number);
                if dice.one_in(4) {
                    self.entries.get_mut(&number).unwrap().attributes.remove("displayName");
                    return vec![changed(number, &dn, None, Attributes::new(), &["displayName"])];
                }
                self.entries.get_mut(&number).unwrap().attributes.extend(set.clone());
                vec![changed(number, &dn, None, set, &[])]
            }
            7 | 8 => self.relocate(dice, parent),
            9 => {
                let gone: Vec<u32> = people.into_iter().chain(containers).filter(|n| !self.has_children(*n)).collect();
                let named = |n: &u32| ["", "Staff", "Hidden"].contains(&self.entries[n].name.as_str());
                let gone: Vec<u32> = gone.into_iter().filter(|n| !named(n)).collect();
                let Some(number) = dice.pick(&gone) else { return Vec::new() };
                self.kill(number);
                vec![deleted(number, &self.source.root.clone())]
            }
            10 => {
                let dead: Vec<u32> = self.entries.iter().filter(|(_, e)| e.dead).map(|(number, _)| *number).collect();
                let Some(number) = dice.pick(&dead) else { return Vec::new() };
                let entry = self.entries.get_mut(&number).unwrap();
                entry.dead = false;
                entry.parent = Some(parent);
                let (set, dn) = (entry.attributes.clone(), self.dn(number));
                let event = ObjectRestored { dn, parent: Some(guid(parent)), set, cleared: Vec::new() };
                vec![(Some(guid(number)), ChangeEvent::ObjectRestored(event))]
            }
            11..=13 => self.membership(dice),
            14 => {
                let users = self.live(&[USER]);
                let (Some(user), Some(boss)) = (dice.pick(&users), dice.pick(&users)) else { return Vec::new() };
                let old: Vec<u32> = self.managers.insert(user, boss).into_iter().collect();
                vec![links(None, user, "manager", &old, &[boss])]
            }
            _ => {
                let Some(number) = dice.pick(&people) else { return Vec::new() };
                // nothing that is there, and an object nobody knows
                vec![
                    links(None, number, "member", &[999_999], &[]),
                    deleted(900_000 + number, &self.source.root.clone()),
                ]
            }
        }
    }

    fn kill(&mut self, number: u32) {
        let entry = self.entries.get_mut(&number).unwrap();
        entry.dead = true;
        entry.attributes.remove("displayName");
        self.members.retain(|(group, member)| *group != number && *member != number);
        self.managers.retain(|user, boss| *user != number && *boss != number);
    }

    fn relocate(&mut self, dice: &mut Dice, parent: u32) -> Vec<Event> {
        let all = self.live(&[USER, GROUP, CONTACT, OU, OU, OU]);
        let Some(number) = dice.pick(&all).filter(|n| self.entries[n].parent.is_some()) else { return Vec::new() };
        if dice.one_in(2) && !self.is_within(parent, number) {
            self.entries.get_mut(&number).unwrap().parent = Some(parent);
        } else {
            self.next += 1;
            self.entries.get_mut(&number).unwrap().name = format!("r{}", self.next);
        }
        let now = self.entries[&number].parent;
        vec![changed(number, &self.dn(number), now, Attributes::new(), &[])]
    }

    fn membership(&mut self, dice: &mut Dice) -> Vec<Event> {
        let groups = self.live(&[GROUP]);
        let mut others = self.live(&[USER, GROUP, CONTACT]);
        others.extend(&self.elsewhere);
        let (Some(group), Some(member)) = (dice.pick(&groups), dice.pick(&others)) else { return Vec::new() };
        if self.members.remove(&(group, member)) {
            return vec![links(None, group, "member", &[member], &[])];
        }
        self.members.insert((group, member));
        vec![links(None, group, "member", &[], &[member])]
    }

    /// Loses many objects, or memberships, without a word.
    pub(super) fn forget(&mut self, dice: &mut Dice) {
        let gone: Vec<u32> = self.live(&[USER, GROUP, CONTACT]).into_iter().filter(|_| dice.one_in(2)).collect();
        if dice.one_in(3) {
            self.members.retain(|_| dice.one_in(4));
            return;
        }
        for number in gone {
            self.kill(number);
            self.entries.remove(&number);
        }
    }

    /// A full read in pages. What is lost on the way, a few objects and links, is lost without a word.
    pub(super) fn snapshot(&mut self, dice: &mut Dice, losses: bool, is_whole: bool) -> Vec<Vec<NewRecord>> {
        self.snapshots += 1;
        let id = self.snapshots;
        let known = self.live(&[USER, GROUP, CONTACT]);
        if losses && known.len() > 12 {
            let gone = dice.pick(&known).unwrap();
            self.kill(gone);
            self.entries.remove(&gone);
            let links: Vec<_> = self.members.iter().copied().collect();
            if let Some(lost) = dice.pick(&links) {
                self.members.remove(&lost);
            }
        }
        let mut shown: Vec<u32> = self.entries.iter().filter(|(_, e)| !e.dead).map(|(number, _)| *number).collect();
        for at in (1..shown.len()).rev() {
            shown.swap(at, dice.below(at + 1));
        }
        let (mut events, mut seen) = (Vec::new(), 0);
        for number in shown {
            let (entry, dn) = (self.entries[&number].clone(), self.dn(number));
            let (mut first, mut second) = (entry.attributes.clone(), Attributes::new());
            if dice.one_in(4) {
                second = first.split_off("n");
            }
            events.push(observed(id, number, &dn, entry.parent, first));
            seen += 1;
            if !second.is_empty() {
                events.push(observed(id, number, &dn, entry.parent, second));
                seen += 1;
            }
        }
        for (group, member) in &self.members {
            events.push(links(Some(id), *group, "member", &[], &[*member]));
        }
        for (user, boss) in &self.managers {
            events.push(links(Some(id), *user, "manager", &[], &[*boss]));
        }
        let size = 1 + dice.below(20);
        let count = events.len().div_ceil(size);
        let keep = if is_whole { count } else { dice.below(count) };
        let mut pages = Vec::new();
        for (at, chunk) in events.chunks(size).enumerate().take(keep) {
            let mut page = Vec::new();
            if at == 0 {
                page.push(started(id));
            }
            page.extend_from_slice(chunk);
            let is_last = at + 1 == count;
            if is_last {
                page.push(completed(id, seen));
            }
            pages.push(self.source.page(&page, is_last));
        }
        pages
    }
}

/// The pages of a history in which now and then much is lost, and may be there again in the next full read.
pub(super) fn doubtful(directory: &mut Directory, dice: &mut Dice, steps: usize) -> Vec<Vec<NewRecord>> {
    let mut pages = history(directory, dice, steps / 3);
    for _ in 0..steps {
        let events: Vec<Event> = (0..=dice.below(3)).flat_map(|_| directory.step(dice)).collect();
        pages.push(directory.source.page(&events, true));
        if dice.one_in(5) {
            let (entries, members) = (directory.entries.clone(), directory.members.clone());
            directory.forget(dice);
            pages.extend(directory.snapshot(dice, false, true));
            if dice.one_in(2) {
                (directory.entries, directory.members) = (entries, members);
            }
        }
    }
    pages
}

/// The pages of a history.
pub(super) fn history(directory: &mut Directory, dice: &mut Dice, steps: usize) -> Vec<Vec<NewRecord>> {
    let mut pages = Vec::new();
    for _ in 0..12 {
        directory.step(dice);
    }
    if dice.one_in(3) {
        // a full read that was interrupted
        pages.extend(directory.snapshot(dice, false, false));
    }
    pages.extend(directory.snapshot(dice, false, true));
    for _ in 0..steps {
        match dice.below(12) {
            0 => pages.extend(directory.snapshot(dice, true, true)),
            1 => {
                // an answer of two pages
                let first = directory.step(dice);
                pages.push(directory.source.page(&first, false));
                let second = directory.step(dice);
                pages.push(directory.source.page(&second, true));
            }
            2 => pages.extend(pages.last().cloned()),
            _ => {
                let events: Vec<Event> = (0..=dice.below(3)).flat_map(|_| directory.step(dice)).collect();
                pages.push(directory.source.page(&events, true));
            }
        }
    }
    pages
}
