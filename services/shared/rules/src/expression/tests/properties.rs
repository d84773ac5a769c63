//! What holds for any expression and any object.

use forestsync_domain::AttributeValue;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::super::functions::{self, Definition, Want};
use super::super::{Expression, Output, Schema, Value};
use super::support::Object;

const ATTRIBUTES: [&str; 12] = [
    "c",
    "title",
    "displayName",
    "proxyAddresses",
    "description",
    "userAccountControl",
    "pwdLastSet",
    "msExchHideFromAddressLists",
    "whenCreated",
    "objectGUID",
    "userCertificate",
    "manager",
];

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        ".{0,20}".prop_map(AttributeValue::Text),
        "[ -~]{0,40}".prop_map(AttributeValue::Text),
        any::<i64>().prop_map(|n| AttributeValue::Text(n.to_string())),
        "(TRUE|FALSE|20240131235959.0Z|CN=a,OU=b|SMTP:a@b|smtp:c@d|2024-02-29|QUI=)".prop_map(AttributeValue::Text),
        vec(any::<u8>(), 0..30).prop_map(AttributeValue::Binary),
        Just(AttributeValue::Binary(include_bytes!("ann.der").to_vec())),
    ]
}

fn object() -> impl Strategy<Value = Object> {
    let attribute = proptest::sample::select(ATTRIBUTES.to_vec()).prop_map(str::to_owned);
    proptest::collection::btree_map(attribute, vec(value(), 0..4), 0..12).prop_map(Object)
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9@:;, .-]{0,8}".prop_map(|text| format!("\"{text}\"")),
        "[^\"\\\\]{0,8}".prop_map(|text| format!("\"{text}\"")),
        any::<i64>().prop_map(|number| number.to_string()),
        (-3..20i64).prop_map(|number| number.to_string()),
        proptest::sample::select(ATTRIBUTES.to_vec()).prop_map(|name| format!("[{name}]")),
        proptest::sample::select(vec![
            "True",
            "False",
            "NULL",
            "AuthoritativeNull",
            "IgnoreThisFlow",
            "%Domain.FQDN%",
            "$item",
            "\"yyyy-MM-dd\"",
            "\"(?<g>.)\"",
            "\"a:b\"",
            "&HFF",
        ])
        .prop_map(str::to_owned),
    ]
}

/// The text of a call; `seed` chooses words and optional arguments.
fn call(definition: &Definition, arguments: &[String], seed: usize) -> String {
    let (least, most) = definition.arity();
    let mut count = least + seed % (most.unwrap_or(least + 4) - least + 1);
    if definition.repeats > 1 {
        count -= (count - least) % definition.repeats;
    }
    let written: Vec<String> = (0..count)
        .map(|index| {
            let given = arguments.get(index % arguments.len().max(1)).cloned().unwrap_or_default();
            match definition.parameter(index).want {
                Want::Word(words) => words[seed % words.len()].to_owned(),
                Want::Variable(_) => "$item".to_owned(),
                _ if definition.parameter(index).optional && (seed >> index).is_multiple_of(3) => String::new(),
                // the kinds that have no literal come from attributes
                Want::Binary if seed.is_multiple_of(2) => "[objectGUID]".to_owned(),
                Want::Text | Want::Integer if given.contains("[proxyAddresses]") => format!("Item({given},1)"),
                _ => given,
            }
        })
        .collect();
    format!("{}({})", definition.name, written.join(","))
}

fn expression() -> impl Strategy<Value = String> {
    let names: Vec<&str> = functions::names().collect();
    literal().prop_recursive(5, 40, 4, move |inner| {
        let function = proptest::sample::select(names.clone());
        prop_oneof![
            6 => (function, vec(inner.clone(), 1..5), any::<usize>()).prop_map(|(name, arguments, seed)| {
                functions::find(name).map_or_else(String::new, |definition| call(definition, &arguments, seed))
            }),
            1 => (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("({one} & {two})")),
            1 => (inner.clone(), inner.clone(), proptest::sample::select(vec!["=", "<>", "<", ">=", " AND ", " OR "]))
                .prop_map(|(one, two, operator)| format!("({one}{operator}{two})")),
            1 => inner.prop_map(|one| format!("(NOT {one})")),
        ]
    })
}

fn is_flat(value: &Value<'_>) -> bool {
    match value {
        Value::List(values) => values.len() > 1 && !values.iter().any(|value| matches!(value, Value::List(_))),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_text_is_compiled_or_refused(text in ".{0,60}") {
        if let Err(error) = Expression::compile(&text, &Schema::active_directory()) {
            prop_assert!(error.position >= 1 && error.position <= text.chars().count() + 1);
            prop_assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn any_words_are_compiled_or_refused(words in vec("([a-zA-Z]{1,4}|[(),&=<>%$\"\\[\\]]|AND|NOT|IIF|&H|-|1| )", 0..40)) {
        let text = words.concat();
        if let Err(error) = Expression::compile(&text, &Schema::active_directory()) {
            prop_assert!(error.position >= 1 && error.position <= text.chars().count() + 1);
        }
    }

    #[test]
    fn any_expression_has_one_outcome(text in expression(), object in object()) {
        let schema = Schema::active_directory();
        let Ok(expression) = Expression::compile(&text, &schema) else { return Ok(()) };
        let again = Expression::compile(&text, &schema).unwrap();
        prop_assert_eq!(expression.result_type(), again.result_type());
        let outcome = expression.evaluate(&object);
        prop_assert_eq!(&outcome, &again.evaluate(&object));
        if let Ok(Output::Value(value)) = &outcome {
            prop_assert!(is_flat(value), "{} gives a list within a list", text);
        }
        if let Ok(output) = outcome {
            prop_assert_eq!(output.clone().into_owned(), output);
        }
    }

    #[test]
    fn what_it_does_not_read_does_not_matter(text in expression(), object in object(), other in object()) {
        let Ok(expression) = Expression::compile(&text, &Schema::active_directory()) else { return Ok(()) };
        let mut mixed = other.0;
        for name in expression.attributes() {
            mixed.remove(name);
            if let Some(values) = object.0.get(name) {
                mixed.insert(name.clone(), values.clone());
            }
        }
        let mixed = Object(mixed);
        prop_assert_eq!(expression.evaluate(&object), expression.evaluate(&mixed));
    }

    #[test]
    fn a_list_of_one_and_a_missing_one_are_as_the_directory_has_them(text in expression()) {
        let Ok(expression) = Expression::compile(&text, &Schema::active_directory()) else { return Ok(()) };
        let absent = Object::default();
        let empty = Object(ATTRIBUTES.iter().map(|name| ((*name).to_owned(), Vec::new())).collect());
        prop_assert_eq!(expression.evaluate(&absent), expression.evaluate(&empty));
    }
}

/// The properties above say nothing about expressions that do not compile: a good part of them has to.
#[test]
fn many_of_the_expressions_compile() {
    let mut runner = TestRunner::deterministic();
    let schema = Schema::active_directory();
    let texts = (0..1_000).map(|_| expression().new_tree(&mut runner).unwrap().current());
    let compiled = texts.filter(|text| Expression::compile(text, &schema).is_ok()).count();
    assert!(compiled > 300, "{compiled} of 1,000");
}
