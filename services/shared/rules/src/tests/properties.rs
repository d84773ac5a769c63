//! What holds for any directory object, however broken.

use forestsync_domain::{AttributeValue, Attributes, Dn};
use forestsync_schemas::desired::{CloudClass, CloudValue};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::classify::{DirectoryClass, classify};
use crate::exclusion::exclusion;
use crate::flow::{flow, managed};
use crate::{anchor, diff};

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        ".*".prop_map(AttributeValue::Text),
        "[ -~]{0,80}".prop_map(AttributeValue::Text),
        "[a-z.]{1,70}@[a-z]{1,60}".prop_map(AttributeValue::Text),
        "(SMTP|smtp|x):[a-z@]{0,8}".prop_map(AttributeValue::Text),
        any::<i32>().prop_map(|n| AttributeValue::Text(n.to_string())),
        Just(AttributeValue::from("-2147483646")),
        Just(AttributeValue::from("512")),
        vec(any::<u8>(), 0..20).prop_map(AttributeValue::Binary),
    ]
}

fn object() -> impl Strategy<Value = Attributes> {
    let name = prop_oneof![
        9 => proptest::sample::select(crate::attributes::requested()).prop_map(str::to_owned),
        1 => ".{0,12}",
    ];
    // values may be missing altogether: no rule relies on a list that is not empty
    btree_map(name, vec(value(), 0..3), 0..24)
}

fn class() -> impl Strategy<Value = DirectoryClass> {
    use DirectoryClass as C;
    let all = [
        C::User,
        C::InetOrgPerson,
        C::Group,
        C::Contact,
        C::Container,
        C::ForeignSecurityPrincipal,
        C::Computer,
        C::Other,
    ];
    proptest::sample::select(all.to_vec())
}

fn name() -> impl Strategy<Value = Dn> {
    vec(".{0,10}", 0..3).prop_map(|values| values.iter().fold(Dn::default(), |dn, value| dn.child("CN", value)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn flow_is_total_and_keeps_its_word(class in class(), dn in name(), object in object(), root in name()) {
        let flowed = flow(class, &dn, &root, &object);
        prop_assert_eq!(&flow(class, &dn, &root, &object), &flowed);
        prop_assert!(flowed.not_writable.is_sorted());
        let of = managed(flowed.class);
        for (name, value) in &flowed.attributes {
            prop_assert!(of.contains(name) || name == "mailEnabled", "{} is sent and not managed", name);
            match value {
                CloudValue::Text(text) => prop_assert!(!text.trim().is_empty(), "{} is blank", name),
                CloudValue::List(values) => prop_assert_eq!(values.len(), 1),
                CloudValue::Bool(_) | CloudValue::Integer(_) => {}
            }
        }
        if flowed.blocking().is_none() {
            let required: &[&str] = match flowed.class {
                CloudClass::User => &["accountEnabled", "displayName", "mailNickname", "userPrincipalName"],
                CloudClass::Contact => &["displayName"],
                _ => &["displayName", "mailEnabled", "mailNickname", "securityEnabled"],
            };
            for name in required {
                prop_assert!(flowed.attributes.contains_key(*name), "{} is missing", name);
            }
        }
        exclusion(class, &dn, &object);
        classify(&object);
    }

    #[test]
    fn nicknames_are_always_legal(is_user in any::<bool>(), dn in name(), object in object()) {
        let class = if is_user { DirectoryClass::User } else { DirectoryClass::Group };
        let flowed = flow(class, &dn, &dn, &object);
        let Some(CloudValue::Text(nickname)) = flowed.attributes.get("mailNickname") else {
            return Err(TestCaseError::fail("no mailNickname"));
        };
        prop_assert!((1..=64).contains(&nickname.len()));
        prop_assert!(nickname.chars().all(|c| ('!'..='~').contains(&c) && !r#"@()\[]";:<>,"#.contains(c)), "{}", nickname);
    }

    #[test]
    fn messages_hold_no_values(dn in name(), object in object(), secret in "[A-Z]{12}") {
        // every text is replaced by one that can be found again
        let marked: Attributes = object
            .into_keys()
            .map(|name| (name, vec![AttributeValue::Text(secret.repeat(30))]))
            .collect();
        for class in [DirectoryClass::User, DirectoryClass::Group, DirectoryClass::Contact] {
            for problem in flow(class, &dn, &dn, &marked).problems {
                prop_assert!(!problem.message.contains(&secret));
                prop_assert!(!problem.message.ends_with('.'));
            }
        }
    }

    #[test]
    fn a_sent_wish_leaves_nothing_to_send(dn in name(), before in object(), after in object()) {
        let wish = |object| flow(DirectoryClass::User, &dn, &dn, object).attributes;
        let (before, after, names) = (wish(&before), wish(&after), managed(CloudClass::User));
        let result = diff::apply(&before, &diff::diff(&before, &after, &names));
        prop_assert!(diff::diff(&result, &after, &names).is_empty());
    }

    #[test]
    fn anchors_are_of_sixteen_bytes(guid in any::<[u8; 16]>(), object in object()) {
        let (anchor, _) = anchor::anchor(forestsync_domain::ObjectGuid::from_bytes(guid), &object);
        prop_assert!(anchor.guid().is_ok());
    }
}
