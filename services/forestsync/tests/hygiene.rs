//! The rules of identity hygiene against a practice population, which knows by itself what is wrong with it.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use forestsync_domain::{AttributeValue, Attributes, Dn, syntax};
use forestsync_practice::population::{NewObject, Population, PopulationOptions};
use forestsync_rules::classify::{DirectoryClass, classify};
use forestsync_rules::hygiene::{
    Mode, Options, RULES, RuleId, Skipped, UniqueKind, UniqueSpace, check, duplicate, skipped, unique_values,
    unverified_suffix,
};

/// Rules that a multi-tenant directory cannot break.
const DEDICATED: [&str; 10] = [
    "displayname-whitespace",
    "mail-domainpart",
    "mail-format",
    "mail-localpart",
    "mail-toplevel",
    "mail-whitespace",
    "mailnickname-blank",
    "mailnickname-character",
    "mailnickname-trailing-period",
    "targetaddress-blank",
];

struct Object {
    dn: String,
    class: DirectoryClass,
    attributes: Attributes,
}

fn object(new: NewObject) -> Object {
    let value = |name: &str, value: Vec<u8>| match String::from_utf8(value) {
        Ok(text) if !syntax::is_binary(name) => AttributeValue::Text(text),
        Ok(text) => AttributeValue::Binary(text.into_bytes()),
        Err(error) => AttributeValue::Binary(error.into_bytes()),
    };
    let attributes = new.attributes.into_iter().map(|(name, values)| {
        let values = values.into_iter().map(|v| value(&name, v)).collect();
        (name, values)
    });
    let attributes: Attributes = attributes.collect();
    Object { dn: new.dn, class: classify(&attributes), attributes }
}

/// The users, contacts and groups of a forest of about 2,000 objects.
fn forest(seed: u64, domain: &str, flawed: bool) -> (Population, Vec<Object>) {
    let base = domain.split('.').map(|label| format!("DC={label}")).collect::<Vec<_>>().join(",");
    let options =
        PopulationOptions { users: 1_700, groups: 212, contacts: 76, flawed, ..PopulationOptions::new(&base, domain) };
    let population = Population::new(seed, options);
    let objects = population.objects().map(object).filter(|o| o.class.is_synchronized()).collect();
    (population, objects)
}

/// Values that several objects have, by how many.
fn shared(objects: &[Object], of: impl Fn(UniqueKind) -> bool) -> HashMap<(UniqueSpace, String), usize> {
    let mut counts = HashMap::new();
    for object in objects {
        for (kind, value) in unique_values(object.class, &object.attributes) {
            if of(kind) {
                *counts.entry((kind.space(), value)).or_default() += 1;
            }
        }
    }
    counts.retain(|_, count| *count > 1);
    counts
}

/// What is found, by DN: `accounts` are the account names of both forests, everything else is compared within this one.
fn findings(
    objects: &[Object],
    accounts: &HashMap<(UniqueSpace, String), usize>,
    domain: &str,
) -> BTreeMap<String, BTreeSet<RuleId>> {
    let mut shared = shared(objects, |kind| kind != UniqueKind::AccountName);
    shared.extend(accounts.iter().map(|(value, count)| (value.clone(), *count)));
    let verified = BTreeSet::from([domain.to_owned()]);
    let mut found = BTreeMap::new();
    for object in objects {
        let dn: Dn = object.dn.parse().unwrap();
        assert!(matches!(skipped(object.class, &dn, &object.attributes), None | Some(Skipped::GroupWithoutMail)));
        let mut rules: BTreeSet<RuleId> =
            check(object.class, &dn, &object.attributes, &Options::default()).into_iter().map(|f| f.rule).collect();
        let counts = unique_values(object.class, &object.attributes).into_iter().map(|(kind, value)| {
            let count = shared.get(&(kind.space(), value)).copied().unwrap_or(1);
            (kind, count)
        });
        rules.extend(counts.filter_map(|(kind, count)| duplicate(kind, count)).map(|f| f.rule));
        let principal = object.attributes.get("userPrincipalName").and_then(|values| values[0].as_text());
        // one that has a wrong form is not asked for its domain, too
        if rules.iter().all(|rule| rule.rule().attribute != "userPrincipalName") {
            rules.extend(principal.and_then(|p| unverified_suffix(p, &verified)).map(|f| f.rule));
        }
        if !rules.is_empty() {
            found.insert(object.dn.clone(), rules);
        }
    }
    found
}

#[test]
fn every_flaw_is_found_and_nothing_else() {
    let (emea, objects) = forest(1, "emea.example", true);
    let (_, others) = forest(2, "apac.example", true);
    let both: Vec<Object> = objects.into_iter().chain(others).collect();
    let accounts = shared(&both, |kind| kind == UniqueKind::AccountName);
    let objects: Vec<Object> = both.into_iter().filter(|o| o.dn.ends_with("DC=emea,DC=example")).collect();
    let mut found = findings(&objects, &accounts, "emea.example");

    let mut broken = BTreeSet::new();
    for (dn, rule) in emea.flaws() {
        let rule: RuleId = rule.parse().unwrap();
        assert_eq!(found.remove(&dn), Some(BTreeSet::from([rule])), "{dn} breaks {rule}");
        broken.insert(rule.name());
    }
    // the others are those with whom a flawed object shares a value
    for (dn, rules) in found {
        assert!(rules.iter().all(|rule| rule.name().ends_with("-duplicate")), "{dn} breaks {rules:?}");
    }
    let multi_tenant: BTreeSet<&str> =
        RULES.iter().map(|rule| rule.name).filter(|name| !DEDICATED.contains(name)).collect();
    assert_eq!(broken, multi_tenant);
    let share = emea.flaws().count() as f64 / objects.len() as f64;
    assert!((0.045..0.055).contains(&share), "{share}");
}

#[test]
fn a_tidy_forest_has_no_findings() {
    let (emea, objects) = forest(1, "emea.example", false);
    assert_eq!(emea.flaws().count(), 0);
    assert_eq!(findings(&objects, &HashMap::new(), "emea.example"), BTreeMap::new());
    // nor any that only a dedicated directory has, but for contacts' and groups' own
    let dedicated = Options { mode: Mode::Dedicated, ..Options::default() };
    for object in objects.iter().filter(|object| object.class.is_user()) {
        assert_eq!(check(object.class, &object.dn.parse().unwrap(), &object.attributes, &dedicated), []);
    }
}
