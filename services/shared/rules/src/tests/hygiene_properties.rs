//! What holds for any object, however untidy.

use forestsync_domain::{AttributeValue, Attributes, Dn};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::classify::DirectoryClass;
use crate::hygiene::{Mode, Options, Proposal, RULES, RuleId, check, proposals, skipped, unique_values};

const CLASSES: [DirectoryClass; 5] = [
    DirectoryClass::User,
    DirectoryClass::InetOrgPerson,
    DirectoryClass::Group,
    DirectoryClass::Contact,
    DirectoryClass::Computer,
];

fn value() -> impl Strategy<Value = AttributeValue> {
    let nearly = "(SMTP:|smtp:|x500:|sip:|:|)(smtp:|)[a-z.' äö()]{0,12}(@|@@|)[a-z.-]{0,6}(\\.example|\\.local|\\.e|)";
    prop_oneof![
        4 => nearly.prop_map(AttributeValue::Text),
        2 => "(SMTP:|x400:|)[a-z😀. :@]{50,300}(@lab\\.example|)".prop_map(AttributeValue::Text),
        1 => "[ .]{0,3}".prop_map(AttributeValue::Text),
        2 => ".*".prop_map(AttributeValue::Text),
        1 => vec(any::<u8>(), 0..20).prop_map(AttributeValue::Binary),
    ]
}

fn object() -> impl Strategy<Value = Attributes> {
    let names: Vec<&str> = RULES.iter().map(|rule| rule.attribute).chain(["groupType"]).collect();
    btree_map(select(names).prop_map(str::to_owned), vec(value(), 0..4), 0..8)
}

fn name() -> impl Strategy<Value = Dn> {
    prop_oneof!["[A-Z a-z.]{0,12}", ".{0,300}"].prop_map(|name| Dn::default().child("DC", "lab").child("CN", &name))
}

fn options() -> impl Strategy<Value = Options> {
    (select(vec![Mode::MultiTenant, Mode::Dedicated]), any::<bool>(), prop_oneof![Just(113), 0..200usize])
        .prop_map(|(mode, alternate_id, principal_limit)| Options { mode, alternate_id, principal_limit })
}

/// The object with a proposal followed.
fn follow(object: &Attributes, proposal: &Proposal) -> Attributes {
    let mut object = object.clone();
    let values = object.entry(proposal.attribute.to_owned()).or_default();
    let new = AttributeValue::Text(proposal.new.clone());
    match values.get_mut(proposal.index) {
        Some(value) => *value = new,
        None => values.push(new),
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_object_is_checked(class in select(CLASSES.to_vec()), dn in name(), object in object(), options in options()) {
        let found = check(class, &dn, &object, &options);
        prop_assert_eq!(&check(class, &dn, &object, &options), &found);
        prop_assert!(found.is_sorted_by_key(|finding| (finding.attribute.clone(), finding.index)));
        for finding in &found {
            prop_assert_eq!(finding.attribute.as_str(), finding.rule.rule().attribute);
            prop_assert!(!finding.message.is_empty() && !finding.message.ends_with('.'));
        }
        skipped(class, &dn, &object);
        let unique = unique_values(class, &object);
        prop_assert!(unique.iter().all(|(_, value)| *value == value.to_lowercase() || !value.is_ascii()));
    }

    #[test]
    fn a_proposal_mends_what_it_is_for(
        class in select(CLASSES.to_vec()), dn in name(), object in object(), options in options(),
    ) {
        for rule in RULES.iter().map(|rule| rule.id) {
            let broken = |object: &Attributes| -> Vec<usize> {
                let found = check(class, &dn, object, &options);
                found.into_iter().filter(|finding| finding.rule == rule).map(|finding| finding.index).collect()
            };
            for proposal in proposals(rule, class, &dn, &object, &options) {
                prop_assert!(broken(&object).contains(&proposal.index), "{} is not broken", rule);
                prop_assert!(proposal.old.as_deref() != Some(proposal.new.as_str()));
                prop_assert!(!broken(&follow(&object, &proposal)).contains(&proposal.index), "{} stays", rule);
            }
        }
    }

    #[test]
    fn messages_hold_no_values(class in select(CLASSES.to_vec()), options in options(), secret in "[A-Z]{12}") {
        let names = RULES.iter().map(|rule| rule.attribute.to_owned());
        let object: Attributes = names.map(|name| (name, vec![AttributeValue::Text(secret.repeat(30))])).collect();
        for finding in check(class, &Dn::default(), &object, &options) {
            prop_assert!(!finding.message.contains(&secret));
        }
        for proposal in proposals(RuleId::DisplayNameLength, class, &Dn::default(), &object, &options) {
            let text = format!("{proposal:?}");
            prop_assert!(!text.contains(&secret));
        }
    }
}
