//! The tests that a configuration brings along.

use forestsync_domain::{AttributeValue, Attributes, Dn};
use forestsync_schemas::desired::CloudValue;

use super::form::{FlowClass, TestForm, TestValue, TestValues};
use super::{CompiledFlow, Flowed, Subject};
use crate::classify::DirectoryClass;

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// What was not as expected; nothing if it passed. Shows the values of the test, which are nobody's.
    pub failures: Vec<String>,
}

/// Runs tests. Pure: nothing but the flow and the test decides.
pub fn run_tests(flow: &CompiledFlow, tests: &[TestForm]) -> Vec<TestResult> {
    tests.iter().map(|test| TestResult { name: test.name.clone(), failures: run(flow, test) }).collect()
}

fn run(flow: &CompiledFlow, test: &TestForm) -> Vec<String> {
    let dn: Dn = match test.dn.parse() {
        Ok(dn) => dn,
        Err(error) => return vec![format!("dn: {error}")],
    };
    let class = match test.class {
        FlowClass::User => DirectoryClass::User,
        FlowClass::Group => DirectoryClass::Group,
        FlowClass::Contact => DirectoryClass::Contact,
    };
    let attributes = attributes(test, class);
    let mut subject = Subject::new(&attributes, &dn, &domain_of(&dn));
    subject.is_expired = test.expired;
    let flowed = flow.flow(class, &subject);
    let mut failures = Vec::new();
    for (name, expected) in &test.expect {
        let found = value(&flowed, name, test.at_creation);
        if found.as_ref() != Some(&of_test(expected)) {
            failures.push(format!("{name} is {}, not {}", shown(found.as_ref()), shown(Some(&of_test(expected)))));
        }
    }
    for name in &test.absent {
        let found = value(&flowed, name, test.at_creation);
        if found.is_some() {
            failures.push(format!("{name} is {}, and should have no value", shown(found.as_ref())));
        }
    }
    if let Some(expected) = &test.findings {
        let found: Vec<&String> = flowed.problems.iter().map(|problem| &problem.attribute).collect();
        if found.len() != expected.len() || !expected.iter().all(|name| found.contains(&name)) {
            failures.push(format!("there are findings on {found:?}, not on {expected:?}"));
        }
    }
    let is_blocked = flowed.blocking().is_some();
    let expects_values = !test.expect.is_empty() && test.blocked.is_none();
    if test.blocked.is_some_and(|blocked| blocked != is_blocked) || (expects_values && is_blocked) {
        let why = flowed.blocking().map_or("it is sent", |problem| problem.message.as_str());
        failures.push(format!("whether it is kept from the tenant is not as expected: {why}"));
    }
    failures
}

/// What a user needs at the least is there unless the test says otherwise.
fn attributes(test: &TestForm, class: DirectoryClass) -> Attributes {
    let text = |text: &str| AttributeValue::Text(text.to_owned());
    let mut all = Attributes::new();
    match class {
        DirectoryClass::User => {
            all.insert("sAMAccountName".into(), vec![text("test")]);
            all.insert("userAccountControl".into(), vec![text("512")]);
        }
        DirectoryClass::Group => {
            all.insert("sAMAccountName".into(), vec![text("test")]);
            all.insert("groupType".into(), vec![text("-2147483646")]);
        }
        _ => {}
    }
    for (name, values) in &test.object {
        let values: Vec<AttributeValue> = match values {
            TestValues::One(TestValue::Bool(value)) => vec![text(if *value { "TRUE" } else { "FALSE" })],
            TestValues::One(TestValue::Integer(number)) => vec![text(&number.to_string())],
            TestValues::One(TestValue::Text(value)) => vec![text(value)],
            TestValues::One(TestValue::List(values)) | TestValues::Several(values) => {
                values.iter().map(|value| text(value)).collect()
            }
        };
        if values.is_empty() {
            all.remove(name);
        } else {
            all.insert(name.clone(), values);
        }
    }
    all
}

fn domain_of(dn: &Dn) -> Dn {
    let domain = dn.rdns().iter().filter(|rdn| rdn.kind().eq_ignore_ascii_case("dc"));
    domain.rev().fold(Dn::default(), |dn, rdn| dn.child("DC", rdn.value()))
}

fn value(flowed: &Flowed, name: &str, at_creation: bool) -> Option<CloudValue> {
    let found = flowed.attributes.get(name);
    found.or_else(|| flowed.at_creation.get(name).filter(|_| at_creation)).cloned()
}

fn of_test(value: &TestValue) -> CloudValue {
    match value {
        TestValue::Bool(value) => CloudValue::Bool(*value),
        TestValue::Integer(number) => CloudValue::Integer(*number),
        TestValue::Text(text) => CloudValue::Text(text.clone()),
        TestValue::List(values) => CloudValue::List(values.clone()),
    }
}

fn shown(value: Option<&CloudValue>) -> String {
    match value {
        None => "without a value".into(),
        Some(CloudValue::Bool(value)) => value.to_string(),
        Some(CloudValue::Integer(number)) => number.to_string(),
        Some(CloudValue::Text(text)) => format!("{text:?}"),
        Some(CloudValue::List(values)) => format!("{values:?}"),
    }
}
