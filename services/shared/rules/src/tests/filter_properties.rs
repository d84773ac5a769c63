//! What holds for any filter and any object.

use std::collections::BTreeSet;

use forestsync_domain::{AttributeValue, Attributes};
use proptest::prelude::*;

use crate::classify::DirectoryClass::{self, Computer, Contact, Group, InetOrgPerson, Other, User};
use crate::filter::FilterVerdict::{Fails, Passes};
use crate::filter::{Clause, ClauseValue, Filter, FilterClass, FilterForm, FilterObject, Operator};

const CLASSES: [DirectoryClass; 6] = [User, InetOrgPerson, Group, Contact, Computer, Other];

fn clause() -> impl Strategy<Value = Clause> {
    let value = || {
        prop_oneof![
            "[ab]{0,2}".prop_map(ClauseValue::Text),
            "CN=[ab],DC=x".prop_map(ClauseValue::Text),
            any::<i64>().prop_map(ClauseValue::Integer),
            (0..5i64).prop_map(ClauseValue::Integer),
            any::<bool>().prop_map(ClauseValue::Bool),
            ".{0,6}".prop_map(ClauseValue::Text),
        ]
    };
    let operator = proptest::sample::select(Operator::all().collect::<Vec<_>>());
    let attribute = proptest::option::weighted(0.9, prop_oneof![9 => "[abc]", 1 => ".{0,5}"]);
    let values = proptest::option::of(proptest::collection::vec(value(), 0..3));
    (attribute, operator, proptest::option::of(value()), values, any::<bool>()).prop_map(
        |(attribute, operator, value, values, ignore_case)| Clause { attribute, operator, value, values, ignore_case },
    )
}

/// One that compiles, of the attributes a, b and c.
fn sound() -> impl Strategy<Value = Clause> {
    let texts = proptest::collection::vec("[ab]{1,2}".prop_map(ClauseValue::Text), 1..3);
    let operator = proptest::sample::select(Operator::all().collect::<Vec<_>>());
    ("[abc]", operator, texts, 0..3u32, any::<bool>()).prop_map(|(attribute, operator, texts, bit, ignore_case)| {
        use Operator as O;
        let mut clause = Clause { attribute: Some(attribute), operator, value: None, values: None, ignore_case: false };
        match operator {
            O::IsNull | O::IsNotNull | O::IsTrue | O::IsFalse => {}
            O::IsIn | O::IsNotIn => clause.values = Some(texts),
            O::IsMemberOf | O::IsNotMemberOf => {
                clause.attribute = None;
                clause.values = Some(texts.iter().map(|text| format!("CN={text}").as_str().into()).collect());
            }
            O::LessThan
            | O::LessThanOrEqual
            | O::GreaterThan
            | O::GreaterThanOrEqual
            | O::IsBitSet
            | O::IsBitNotSet
            | O::BitsAnd
            | O::NotBitsAnd => clause.value = Some((1 << bit).into()),
            _ => {
                clause.value = texts.into_iter().next();
                clause.ignore_case = ignore_case;
            }
        }
        clause
    })
}

fn form(clause: impl Strategy<Value = Clause>) -> impl Strategy<Value = FilterForm> {
    let classes = proptest::sample::subsequence(FilterClass::ALL.to_vec(), 1..=3);
    (classes, proptest::collection::vec(clause, 1..4)).prop_map(|(classes, clauses)| FilterForm { classes, clauses })
}

fn object() -> impl Strategy<Value = Attributes> {
    let value = prop_oneof![
        "[abAB]{0,2}".prop_map(AttributeValue::Text),
        (0..8u8).prop_map(|n| AttributeValue::Text(n.to_string())),
        any::<[u8; 2]>().prop_map(|bytes| AttributeValue::Binary(bytes.to_vec())),
        ".{0,4}".prop_map(AttributeValue::Text),
    ];
    proptest::collection::btree_map("[abc]", proptest::collection::vec(value, 0..4), 0..4)
}

/// The operator that asks for the opposite.
fn opposite(operator: Operator) -> Option<Operator> {
    use Operator as O;
    Some(match operator {
        O::Equals => O::NotEquals,
        O::IsIn => O::IsNotIn,
        O::Contains => O::NotContains,
        O::StartsWith => O::NotStartsWith,
        O::EndsWith => O::NotEndsWith,
        O::RegexMatch => O::NotRegexMatch,
        O::IsBitSet => O::IsBitNotSet,
        O::BitsAnd => O::NotBitsAnd,
        O::IsNull => O::IsNotNull,
        O::IsMemberOf => O::IsNotMemberOf,
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_form_compiles_or_is_refused(forms in proptest::collection::vec(form(clause()), 0..4), object in object()) {
        match Filter::compile(&forms) {
            Ok(filter) => for class in CLASSES {
                let groups = (0..filter.groups().len()).collect();
                let input = FilterObject { attributes: &object, groups: &groups };
                let verdict = filter.verdict(class, &input);
                prop_assert_eq!(verdict, filter.verdict(class, &input));
                if let Fails { group, clause } = verdict {
                    prop_assert!(clause < forms[group].clauses.len());
                    prop_assert!(FilterClass::of(class).is_some_and(|class| forms[group].classes.contains(&class)));
                }
            },
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    #[test]
    fn order_means_nothing(mut forms in proptest::collection::vec(form(sound()), 1..4), object in object(), member in any::<[bool; 12]>()) {
        // places in groups() change with the order, so membership goes by name
        let passes = |forms: &[FilterForm], object: &Attributes| {
            let filter = Filter::compile(forms).unwrap();
            let is_member = |name: &String| member[name.bytes().map(usize::from).sum::<usize>() % 12];
            let groups = filter.groups().iter().enumerate().filter(|(_, name)| is_member(name)).map(|(i, _)| i).collect();
            CLASSES.map(|class| filter.verdict(class, &FilterObject { attributes: object, groups: &groups }) == Passes)
        };
        let expected = passes(&forms, &object);
        forms.reverse();
        for form in &mut forms {
            form.clauses.reverse();
            form.classes.reverse();
            for clause in &mut form.clauses {
                if let Some(values) = &mut clause.values {
                    values.reverse();
                }
            }
        }
        let mut object = object;
        for values in object.values_mut() {
            values.reverse();
        }
        prop_assert_eq!(passes(&forms, &object), expected);
    }

    #[test]
    fn no_clause_and_its_negation_hold_both(clause in sound(), object in object(), member in any::<bool>()) {
        let Some(operator) = opposite(clause.operator) else { return Ok(()) };
        let answer = |clause: &Clause| {
            let form = FilterForm { classes: FilterClass::ALL.to_vec(), clauses: vec![clause.clone()] };
            let groups = if member { (0..4).collect() } else { BTreeSet::new() };
            Filter::compile(&[form]).unwrap().verdict(User, &FilterObject { attributes: &object, groups: &groups }) == Passes
        };
        let (one, other) = (answer(&clause), answer(&Clause { operator, ..clause.clone() }));
        prop_assert!(!(one && other));
        let has_text = clause.attribute.as_ref().is_none_or(|name| {
            object.get(name).is_some_and(|values| values.iter().any(|v| v.as_text().is_some_and(|text| !text.is_empty())))
        });
        let is_integer = matches!(clause.operator, Operator::IsBitSet | Operator::BitsAnd);
        prop_assert!(one || other || is_integer || !has_text, "one of the two holds where there is a value");
    }

    #[test]
    fn forms_round_trip(form in form(clause())) {
        let json = serde_json::to_string(&form).unwrap();
        prop_assert_eq!(serde_json::from_str::<FilterForm>(&json).unwrap(), form);
    }
}
