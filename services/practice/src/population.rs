//! The seeded population generator: organizational units, users, contacts and groups of any number, the same for the
//! same seed.
//!
//! Objects come in an order in which LDAP can add them: a parent before its children, a manager before those who
//! report to her, members before their group. Nothing is kept in memory: each object follows from the seed and its
//! number alone, so that a million of them can be streamed, and the DN of any one can be asked for.
//!
//! The names are awkward on purpose: every character that a DN has to escape, scripts that run from right to left,
//! emoji, names of 64 characters, and neighbours that differ in diacritics only. Unless it is to be tidy, every twentieth
//! object breaks a rule of identity hygiene beside, as grown directories do.

mod flaws;
mod names;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::forest::escape_rdn;
use flaws::{Kind, Makings};
use names::{
    CITIES, COMPANIES, DEPARTMENTS, GIVEN, LANGUAGES, SURNAMES, TITLES, gcd, group_name, pick, plain, truncated,
    unit_name,
};

/// One object to add: its DN and its attributes as LDAP wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// The DN, escaped.
    pub dn: String,
    /// Attribute names and values, objectClass among them.
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// How large a population is and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopulationOptions {
    /// The DN below which everything goes; it must exist.
    pub base: String,
    /// The name of the organizational unit that holds everything.
    pub top: String,
    /// What follows the @ of user principal names and mail addresses, such as `emea.example`.
    pub upn_suffix: String,
    /// Goes before every sAMAccountName, to keep populations in one domain apart. At most 8 characters.
    pub account_prefix: String,
    /// Organizational units below the top one, at least 1.
    pub ous: usize,
    /// Users.
    pub users: usize,
    /// Contacts.
    pub contacts: usize,
    /// Groups: security groups, every fourth mail-enabled, every fifth a distribution list.
    pub groups: usize,
    /// Users in each group; groups hold other groups beside.
    pub members_per_group: usize,
    /// Write attributes of the Exchange schema (mailNickname, targetAddress, extensionAttribute1..15). A practice
    /// forest has them, a fresh Samba does not.
    pub exchange_schema: bool,
    /// Give every tenth user a small thumbnailPhoto.
    pub photos: bool,
    /// Let every twentieth object break a rule of identity hygiene; see [`Population::flaws`]. Some of these users cannot
    /// be in a tenant, since their userPrincipalName or mail is refused or somebody else's.
    pub flawed: bool,
}

impl PopulationOptions {
    /// A population of a size in which everything occurs, below `base`, as untidy as grown directories are.
    pub fn new(base: &str, upn_suffix: &str) -> Self {
        Self {
            base: base.into(),
            top: "Practice".into(),
            upn_suffix: upn_suffix.into(),
            account_prefix: String::new(),
            ous: 12,
            users: 200,
            contacts: 20,
            groups: 40,
            members_per_group: 15,
            exchange_schema: true,
            photos: false,
            flawed: true,
        }
    }
}

/// A population: a seed and options.
#[derive(Clone, Debug)]
pub struct Population {
    seed: u64,
    options: PopulationOptions,
    /// The DNs of the units.
    units: Vec<String>,
}

/// What a random number is drawn for. Each purpose has its own stream.
#[derive(Clone, Copy)]
enum For {
    User = 1,
    Contact = 2,
    Group = 3,
    Unit = 4,
}

/// Collects attributes.
struct Attributes(Vec<(String, Vec<Vec<u8>>)>);

impl Attributes {
    fn of_class(classes: &[&str]) -> Self {
        let mut attributes = Self(Vec::with_capacity(40));
        attributes.many("objectClass", classes.iter().map(ToString::to_string).collect());
        attributes
    }

    fn one(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), vec![value.into()]));
    }

    fn many(&mut self, name: &str, values: Vec<String>) {
        if !values.is_empty() {
            self.0.push((name.to_owned(), values.into_iter().map(String::into_bytes).collect()));
        }
    }
}

struct Person {
    given: &'static str,
    surname: &'static str,
    name: String,
}

impl Population {
    /// A population; the same seed and options give the same objects.
    pub fn new(seed: u64, options: PopulationOptions) -> Self {
        let options = PopulationOptions { ous: options.ous.max(1), ..options };
        let mut population = Self { seed, options, units: Vec::new() };
        for i in 0..population.options.ous {
            let above = (!i.is_multiple_of(3)).then(|| (i - 1) / 3 * 2).and_then(|at| population.units.get(at));
            let parent = above.map_or_else(|| population.top_dn(), Clone::clone);
            population.units.push(format!("OU={},{parent}", escape_rdn(&unit_name(i))));
        }
        population
    }

    /// The options it was made with.
    pub fn options(&self) -> &PopulationOptions {
        &self.options
    }

    /// How many objects [`Population::objects`] yields.
    pub fn count(&self) -> usize {
        let o = &self.options;
        1 + o.ous + o.users + o.contacts + o.groups
    }

    /// All objects, in an order in which they can be added.
    pub fn objects(&self) -> impl Iterator<Item = NewObject> + '_ {
        let o = &self.options;
        std::iter::once(self.top())
            .chain((0..o.ous).map(|i| self.unit(i)))
            .chain((0..o.users).map(|i| self.user(i)))
            .chain((0..o.contacts).map(|i| self.contact(i)))
            .chain((0..o.groups).map(|i| self.group(i)))
    }

    /// The DN of the unit that holds everything.
    pub fn top_dn(&self) -> String {
        format!("OU={},{}", escape_rdn(&self.options.top), self.options.base)
    }

    /// The DN of unit `i`, counted round. Every third unit lies directly below the top, the others below an earlier one.
    pub fn unit_dn(&self, i: usize) -> &str {
        &self.units[i % self.units.len()]
    }

    /// The DN of user `i`.
    pub fn user_dn(&self, i: usize) -> String {
        format!("CN={},{}", escape_rdn(&self.person(For::User, i).name), self.unit_dn(i))
    }

    /// The DN of contact `i`.
    pub fn contact_dn(&self, i: usize) -> String {
        let name = format!("{} (ext)", self.person(For::Contact, i).name);
        format!("CN={},{}", escape_rdn(&truncated(&name)), self.unit_dn(i))
    }

    /// The DN of group `i`.
    pub fn group_dn(&self, i: usize) -> String {
        format!("CN={},{}", escape_rdn(&group_name(i)), self.unit_dn(i))
    }

    /// The sAMAccountName of user `i`.
    pub fn user_account(&self, i: usize) -> String {
        format!("{}u{i:07}", self.options.account_prefix)
    }

    /// The userPrincipalName of user `i`.
    pub fn user_principal_name(&self, i: usize) -> String {
        let person = self.person(For::User, i);
        format!("{}.{}.{i}@{}", plain(person.given), plain(person.surname), self.options.upn_suffix)
    }

    /// The DNs of the objects that are flawed, each with the name of the rule that it breaks, as forestsync reports it. All
    /// rules of a multi-tenant directory occur among 720 users. Those named `…-duplicate` are broken by the other object
    /// with the value too; `samaccountname-duplicate` is broken if another forest holds a population of the same prefix.
    pub fn flaws(&self) -> impl Iterator<Item = (String, &'static str)> + '_ {
        let o = &self.options;
        let of = |kind, count: usize, dn: fn(&Self, usize) -> String| {
            let rule = move |i| flaws::rule(kind, o.exchange_schema, flaws::turn(kind, i).filter(|_| o.flawed)?);
            (0..count).filter_map(move |i| Some((dn(self, i), rule(i)?)))
        };
        of(Kind::User, o.users, Self::user_dn).chain(of(Kind::Contact, o.contacts, Self::contact_dn)).chain(of(
            Kind::Group,
            o.groups,
            Self::group_dn,
        ))
    }

    /// Breaks a rule if it is the object's turn. `stem` is free in this population to make names of.
    fn flaw(&self, a: &mut Attributes, kind: Kind, i: usize, stem: &str) {
        let Some(turn) = flaws::turn(kind, i).filter(|_| self.options.flawed) else { return };
        let o = &self.options;
        // one that is never flawed itself, whether this is a user or a group
        let neighbour = i.saturating_sub(3);
        let makings = Makings {
            account: stem.to_owned(),
            suffix: &o.upn_suffix,
            neighbour: self.user_principal_name(neighbour),
            nickname: nickname(&self.person(For::User, neighbour), neighbour),
            target: format!("SMTP:{}", contact_mail(&self.person(For::Contact, 0), 0)),
        };
        flaws::apply(a, kind, o.exchange_schema, turn, &makings);
    }

    fn random(&self, purpose: For, i: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream((purpose as u64) << 56 | i as u64);
        rng
    }

    /// Two neighbours share their number's half and differ in diacritics only, in different units.
    fn person(&self, purpose: For, i: usize) -> Person {
        let pair = i % 20 < 2;
        let mut rng = self.random(purpose, if pair { i / 2 } else { i });
        let (given, surname) = (rng.random_range(0..GIVEN.len()), rng.random_range(0..SURNAMES.len()));
        let (given, surname) = (pick(GIVEN, given).unwrap_or("Ann"), pick(SURNAMES, surname).unwrap_or("Lee"));
        if pair {
            let (given, surname) = if i.is_multiple_of(2) { ("Jose", "Nunez") } else { ("José", "Núñez") };
            return Person { given, surname, name: format!("{given} {surname} {}", i / 2) };
        }
        let name = match i % 20 {
            2 => format!("{surname}, {given} {i}"),
            3 => format!("#{given} {surname} {i}"),
            4 => format!(" {given} {surname} {i} "),
            5 => format!("{given} \"{surname}\" {i}"),
            6 => format!("{given} + {surname} {i}"),
            7 => format!("{given}\\{surname} {i}"),
            8 => format!("{given}={surname} {i}"),
            9 => format!("{given} <{surname}> {i}"),
            10 => format!("{given} 😀🌲 {surname} {i}"),
            11 => format!("אבי {surname} {i}"),
            12 => format!("{given} {surname}; {i}"),
            13 => truncated(&format!("{i} {given} {}", surname.repeat(12))),
            _ => format!("{given} {surname} {i}"),
        };
        Person { given, surname, name }
    }

    fn top(&self) -> NewObject {
        let mut attributes = Attributes::of_class(&["top", "organizationalUnit"]);
        attributes.one("description", "the practice population");
        NewObject { dn: self.top_dn(), attributes: attributes.0 }
    }

    fn unit(&self, i: usize) -> NewObject {
        let mut rng = self.random(For::Unit, i);
        let mut attributes = Attributes::of_class(&["top", "organizationalUnit"]);
        attributes.one("description", format!("floor {}", rng.random_range(1..40)));
        NewObject { dn: self.unit_dn(i).to_owned(), attributes: attributes.0 }
    }

    fn user(&self, i: usize) -> NewObject {
        let person = self.person(For::User, i);
        let mut rng = self.random(For::User, self.options.users.saturating_add(i));
        let mut a = Attributes::of_class(&["top", "person", "organizationalPerson", "user"]);
        let principal = self.user_principal_name(i);
        a.one("sAMAccountName", self.user_account(i));
        a.one("userPrincipalName", principal.as_str());
        // Enabled accounts without a password are allowed only with the bit "password not required" (32).
        a.one("userAccountControl", if i % 17 == 16 { "546" } else { "544" });
        if !i.is_multiple_of(23) {
            a.one("displayName", person.name.trim());
        }
        a.one("givenName", person.given);
        a.one("sn", person.surname);
        a.one("mail", principal.as_str());
        a.many(
            "proxyAddresses",
            vec![format!("SMTP:{principal}"), format!("smtp:{}@{}", self.user_account(i), self.options.upn_suffix)],
        );
        workplace(&mut a, &mut rng, i);
        if i.is_multiple_of(11) {
            a.one("mS-DS-ConsistencyGuid", rng.random::<[u8; 16]>());
        }
        if self.options.photos && i.is_multiple_of(10) {
            let mut photo = vec![0xff, 0xd8, 0xff, 0xe0];
            photo.extend((0..256).map(|_| rng.random::<u8>()));
            a.one("thumbnailPhoto", photo);
        }
        // Everybody but the first reports to somebody with a lower number.
        if i > 0 {
            a.one("manager", self.user_dn((i - 1) / 8));
        }
        if self.options.exchange_schema {
            a.one("mailNickname", nickname(&person, i));
            for n in 1..=15 {
                if (i + n).is_multiple_of(4) {
                    a.one(&format!("extensionAttribute{n}"), format!("value {} of {n}", rng.random_range(0..50)));
                }
            }
        }
        self.flaw(&mut a, Kind::User, i, &self.user_account(i));
        NewObject { dn: self.user_dn(i), attributes: a.0 }
    }

    fn contact(&self, i: usize) -> NewObject {
        let person = self.person(For::Contact, i);
        let mail = contact_mail(&person, i);
        let mut a = Attributes::of_class(&["top", "person", "organizationalPerson", "contact"]);
        a.one("displayName", person.name.trim());
        a.one("givenName", person.given);
        a.one("sn", person.surname);
        a.one("mail", mail.as_str());
        a.one("company", pick(COMPANIES, i).unwrap_or_default());
        if self.options.exchange_schema {
            a.one("targetAddress", format!("SMTP:{mail}"));
            a.one("mailNickname", format!("contact.{i}"));
        }
        self.flaw(&mut a, Kind::Contact, i, &format!("{}c{i:07}", self.options.account_prefix));
        NewObject { dn: self.contact_dn(i), attributes: a.0 }
    }

    fn group(&self, i: usize) -> NewObject {
        let mut rng = self.random(For::Group, i);
        let mut a = Attributes::of_class(&["top", "group"]);
        let mail = format!("{}group.{i}@{}", self.options.account_prefix, self.options.upn_suffix);
        let (distribution, mail_enabled) = (i % 5 == 4, i % 4 == 3);
        a.one("sAMAccountName", format!("{}g{i:06}", self.options.account_prefix));
        a.one(
            "groupType",
            match (distribution, mail_enabled) {
                (true, _) => "8",
                (false, true) => "-2147483640",
                (false, false) => "-2147483646",
            },
        );
        a.one("displayName", group_name(i));
        a.one("description", format!("practice group {i} of {}", self.options.groups));
        if distribution || mail_enabled {
            a.one("mail", mail.as_str());
            a.many("proxyAddresses", vec![format!("SMTP:{mail}")]);
            if self.options.exchange_schema {
                a.one("mailNickname", format!("group.{i}"));
            }
        }
        if self.options.users > 0 {
            a.one("managedBy", self.user_dn(rng.random_range(0..self.options.users)));
        }
        a.many("member", self.members(&mut rng, i));
        self.flaw(&mut a, Kind::Group, i, &format!("{}g{i:06}", self.options.account_prefix));
        NewObject { dn: self.group_dn(i), attributes: a.0 }
    }

    fn members(&self, rng: &mut ChaCha8Rng, i: usize) -> Vec<String> {
        let users = self.options.users;
        let wanted = self.options.members_per_group.min(users);
        let mut members = Vec::with_capacity(wanted + 2);
        if users > 0 {
            // A stride that shares no factor with the number of users meets each user once.
            let (start, mut stride) = (rng.random_range(0..users), rng.random_range(1..=users));
            while gcd(stride, users) != 1 {
                stride += 1;
            }
            members.extend((0..wanted).map(|n| self.user_dn((start + n * stride) % users)));
        }
        // Global groups hold users and global groups only; distribution and universal ones hold anything.
        let kind = |j: usize| j % 5 == 4 || j % 4 == 3;
        if i > 0 && i.is_multiple_of(3) {
            let nested = rng.random_range(0..i);
            if kind(i) || !kind(nested) {
                members.push(self.group_dn(nested));
            }
        }
        if i % 5 == 4 && self.options.contacts > 0 {
            members.push(self.contact_dn(rng.random_range(0..self.options.contacts)));
        }
        members
    }
}

/// The mailNickname of user `i`.
fn nickname(person: &Person, i: usize) -> String {
    format!("{}.{i}", plain(person.given))
}

/// The mail address of contact `i`.
fn contact_mail(person: &Person, i: usize) -> String {
    format!("{}.{}.{i}@partner.example", plain(person.given), plain(person.surname))
}

fn workplace(a: &mut Attributes, rng: &mut ChaCha8Rng, i: usize) {
    let mut text = |name: &str, list: &[&'static str]| {
        let at = rng.random_range(0..list.len());
        a.one(name, pick(list, at).unwrap_or_default());
    };
    text("department", DEPARTMENTS);
    text("company", COMPANIES);
    text("title", TITLES);
    text("preferredLanguage", LANGUAGES);
    let at = rng.random_range(0..CITIES.len());
    if let Some((city, state, country, code)) = pick(CITIES, at) {
        a.one("l", city);
        a.one("st", state);
        a.one("co", country);
        a.one("c", code);
    }
    a.one("streetAddress", format!("{} Practice Street\r\nBuilding {}", rng.random_range(1..400), i % 9));
    a.one("postalCode", format!("{:05}", rng.random_range(1000..99_999)));
    a.one("physicalDeliveryOfficeName", format!("{}/{:03}", rng.random_range(1..9), i % 1000));
    a.one("telephoneNumber", format!("+49 30 {i:08}"));
    a.one("facsimileTelephoneNumber", format!("+49 30 {i:08}-9"));
    if i.is_multiple_of(2) {
        a.one("mobile", format!("+49 170 {i:08}"));
    }
    a.one("employeeID", format!("E{i:07}"));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn population(seed: u64) -> Population {
        let options = PopulationOptions::new("DC=emea,DC=example", "emea.example");
        Population::new(seed, PopulationOptions { flawed: false, ..options })
    }

    #[test]
    fn the_seed_decides_everything() {
        let all: Vec<_> = population(7).objects().collect();
        assert_eq!(all.len(), population(7).count());
        assert_eq!(all, population(7).objects().collect::<Vec<_>>());
        assert_ne!(all, population(8).objects().collect::<Vec<_>>());
    }

    #[test]
    fn names_are_unique_and_references_come_after_what_they_name() {
        let mut known: HashSet<String> = HashSet::from(["dc=emea,dc=example".into()]);
        let (mut accounts, mut principals) = (HashSet::new(), HashSet::new());
        for object in population(1).objects() {
            for (name, values) in &object.attributes {
                let text = |v: &Vec<u8>| String::from_utf8(v.clone()).unwrap().to_lowercase();
                match name.as_str() {
                    "member" | "manager" | "managedBy" => {
                        let mut seen = HashSet::new();
                        for dn in values.iter().map(text) {
                            assert!(known.contains(&dn), "{} names {dn} too early", object.dn);
                            assert!(seen.insert(dn));
                        }
                    }
                    "sAMAccountName" => assert!(accounts.insert(text(&values[0])) && values[0].len() <= 20),
                    "userPrincipalName" => assert!(principals.insert(text(&values[0]))),
                    _ => {}
                }
            }
            assert!(known.insert(object.dn.to_lowercase()), "{} occurs twice", object.dn);
        }
        assert_eq!(principals.len(), 200);
    }

    #[test]
    fn one_object_in_twenty_is_flawed_unless_it_is_to_be_tidy() {
        let mut options =
            PopulationOptions { users: 720, ..PopulationOptions::new("DC=emea,DC=example", "emea.example") };
        let tidy = Population::new(1, PopulationOptions { flawed: false, ..options.clone() });
        let clean: Vec<_> = tidy.objects().collect();
        assert_eq!(tidy.flaws().count(), 0);
        for exchange_schema in [true, false] {
            options.exchange_schema = exchange_schema;
            let population = Population::new(1, options.clone());
            let flaws: Vec<_> = population.flaws().collect();
            assert_eq!(flaws.len(), 720 / 20 + 20 / 20 + 40 / 20);
            let rules: HashSet<_> = flaws.iter().map(|(_, rule)| *rule).collect();
            assert_eq!(rules.len(), if exchange_schema { 36 } else { 25 });
            if exchange_schema {
                let changed = population.objects().zip(&clean).filter(|(flawed, clean)| flawed != *clean);
                let changed: HashSet<_> = changed.map(|(flawed, _)| flawed.dn).collect();
                assert_eq!(changed, flaws.into_iter().map(|(dn, _)| dn).collect());
            }
        }
    }

    #[test]
    fn every_awkward_name_occurs() {
        let all: String = population(1).objects().map(|o| o.dn + "\n").collect();
        for part in ["AT&T Ltd", "R&D\\3B Dept", "\\,", "\\+", "\\\"", "\\#", "CN=\\ ", "\\\\", "\\3D", "😀", "אבי"]
        {
            assert!(all.contains(part), "{part}");
        }
        assert!(all.contains("Jose Nunez 0,") && all.contains("José Núñez 0,"));
    }
}
