//! What the tests share.

use forestsync_domain::{AttributeValue, Attributes};

use super::super::{Expression, Input, Output, Parameter, Schema, Value};

/// An object with attributes and all parameters.
#[derive(Default, Debug)]
pub(crate) struct Object(pub(crate) Attributes);

impl Input for Object {
    fn values(&self, attribute: &str) -> &[AttributeValue] {
        self.0.get(attribute).map(Vec::as_slice).unwrap_or_default()
    }

    fn parameter(&self, parameter: Parameter) -> Option<&str> {
        Some(match parameter {
            Parameter::DomainFqdn => "corp.lab.test",
            Parameter::DomainNetbios => "CORP",
            Parameter::ForestFqdn => "lab.test",
            Parameter::ForestNetbios => "LAB",
            Parameter::ConnectorId => return None,
            Parameter::DefaultDomain => "lab.onmicrosoft.test",
        })
    }
}

/// The object that the tables of the tests read: what is not here is absent.
pub(crate) fn object() -> Object {
    let text = |value: &str| vec![AttributeValue::from(value)];
    let texts = |values: &[&str]| values.iter().map(|value| AttributeValue::from(*value)).collect::<Vec<_>>();
    let mut attributes = Attributes::new();
    for (name, values) in [
        ("sAMAccountName", text("ann")),
        ("cn", text("Ann Müller")),
        ("displayName", text("  Ann  Müller ")),
        ("c", text("DE")),
        ("title", text("")),
        ("employeeID", text("0042")),
        ("userAccountControl", text("514")),
        ("groupType", text("-2147483646")),
        ("adminCount", text("many")),
        ("msExchHideFromAddressLists", text("TRUE")),
        ("pwdLastSet", text("133483680000000000")),
        ("whenCreated", text("20240131235959.0Z")),
        ("dn", text("CN=Ann\\, the first,OU=X,DC=lab,DC=test")),
        ("manager", text("CN=Bob,DC=lab,DC=test")),
        ("memberOf", texts(&["CN=G1,DC=lab,DC=test", "CN=G2,DC=lab,DC=test"])),
        ("proxyAddresses", texts(&["smtp:a@lab.test", "SMTP:Ann@lab.test", "smtp:b@lab.test", "X500:/o=x"])),
        ("otherMobile", texts(&[" 1 ", "2", " 1 "])),
        ("description", texts(&["first", "second"])),
        ("objectGUID", vec![AttributeValue::Binary((0..16).collect())]),
        ("objectSid", vec![AttributeValue::Binary(vec![1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0])]),
        ("userCertificate", vec![AttributeValue::Binary(include_bytes!("ann.der").to_vec())]),
    ] {
        attributes.insert(name.to_owned(), values);
    }
    Object(attributes)
}

/// What an expression gives for [`object`], as a line: a value in a form that tells its kind, or what is wrong.
pub(crate) fn show(text: &str) -> String {
    let expression = match Expression::compile(text, &Schema::active_directory()) {
        Ok(expression) => expression,
        Err(error) => return format!("compile: {error}"),
    };
    let object = object();
    match expression.evaluate(&object) {
        Ok(Output::Null) => "Null".to_owned(),
        Ok(Output::Clear) => "Clear".to_owned(),
        Ok(Output::Ignore) => "Ignore".to_owned(),
        Ok(Output::Value(value)) => show_value(&value),
        Err(error) => format!("{:?}", error.kind),
    }
}

fn show_value(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => if *value { "True" } else { "False" }.to_owned(),
        Value::Date(date) => date.to_string(),
        Value::Binary(bytes) => format!("{bytes:02X?}"),
        Value::List(values) => format!("{{{}}}", values.iter().map(show_value).collect::<Vec<_>>().join(", ")),
    }
}

/// Compares what expressions give with what they should; an expected text that begins with `compile` need only be the
/// beginning of what is said.
#[track_caller]
pub(crate) fn check(table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let found = show(text);
        let fits = if expected.starts_with("compile") { found.starts_with(expected) } else { found == *expected };
        if !fits {
            wrong.push(format!("{text}\n   gives {found}\n  should {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A test per function, named as it, and the list of the functions that have one.
macro_rules! functions {
    ($($name:ident: $table:expr;)*) => {
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            #[allow(non_snake_case)]
            fn $name() {
                $crate::expression::tests::support::check(&$table);
            }
        )*
    };
}
pub(crate) use functions;
