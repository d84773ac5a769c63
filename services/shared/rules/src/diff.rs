//! The difference between what the tenant holds and what it should hold, and the bodies that say so to Graph.
//!
//! An empty text and an empty list are the same as no value, because Graph answers either for a cleared property.

use std::collections::BTreeSet;

use forestsync_schemas::desired::{CloudAttributes, CloudValue};
pub use forestsync_schemas::outcomes::{AttributeChange, AttributeChanges};
use serde_json::{Map, Value};

/// Properties that Graph refuses to clear. They always have a value in a wish that may be sent.
pub const NOT_CLEARABLE: [&str; 7] = [
    "accountEnabled",
    "displayName",
    "mailEnabled",
    "mailNickname",
    "securityEnabled",
    "usageLocation",
    "userPrincipalName",
];

/// Properties that are collections: cleared by an empty one, where others are cleared by null.
const LISTS: [&str; 2] = ["businessPhones", "otherMails"];

fn held(value: Option<&CloudValue>) -> Option<&CloudValue> {
    value.filter(|value| match value {
        CloudValue::Bool(_) | CloudValue::Integer(_) => true,
        CloudValue::Text(text) => !text.is_empty(),
        CloudValue::List(values) => !values.is_empty(),
    })
}

/// What must change so that the managed attributes are as desired; empty if nothing must.
///
/// An attribute that is managed and not desired is cleared, except one of [`NOT_CLEARABLE`], which stays. One that is
/// not managed is left alone, whatever either side holds.
pub fn diff(confirmed: &CloudAttributes, desired: &CloudAttributes, managed: &[String]) -> AttributeChanges {
    diff_unsure(confirmed, desired, managed, &BTreeSet::new())
}

/// The same where `confirmed` is not sure of some attributes: those are written as desired, whatever it says of them.
pub fn diff_unsure(
    confirmed: &CloudAttributes,
    desired: &CloudAttributes,
    managed: &[String],
    unsure: &BTreeSet<String>,
) -> AttributeChanges {
    let change = |name: &String| {
        let (before, after) = (held(confirmed.get(name)), held(desired.get(name)));
        let is_right = before == after && !unsure.contains(name);
        let stays = is_right || (after.is_none() && NOT_CLEARABLE.contains(&name.as_str()));
        (!stays).then(|| (name.clone(), AttributeChange { before: before.cloned(), after: after.cloned() }))
    };
    managed.iter().filter_map(change).collect()
}

/// What the tenant holds once the changes are made.
pub fn apply(confirmed: &CloudAttributes, changes: &AttributeChanges) -> CloudAttributes {
    let mut result = confirmed.clone();
    for (name, change) in changes {
        match &change.after {
            Some(value) => result.insert(name.clone(), value.clone()),
            None => result.remove(name),
        };
    }
    result
}

fn json(value: &CloudValue) -> Value {
    match value {
        CloudValue::Bool(value) => Value::Bool(*value),
        CloudValue::Integer(value) => Value::from(*value),
        CloudValue::Text(text) => Value::String(text.clone()),
        CloudValue::List(values) => values.iter().cloned().map(Value::String).collect(),
    }
}

/// Puts a value at a path whose parts are separated by dots.
fn put(body: &mut Map<String, Value>, path: &str, value: Value) {
    let (parents, leaf) = path.rsplit_once('.').map_or(("", path), |(parents, leaf)| (parents, leaf));
    let mut at = body;
    for part in parents.split('.').filter(|part| !part.is_empty()) {
        let entry = at.entry(part).or_insert(Value::Null);
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        let Value::Object(inner) = entry else { return };
        at = inner;
    }
    at.insert(leaf.to_owned(), value);
}

/// The body of a PATCH: new values, null for what is cleared, `[]` for a collection that is cleared. A path with dots
/// becomes nested objects.
pub fn patch_body(changes: &AttributeChanges) -> Map<String, Value> {
    let mut body = Map::new();
    for (name, change) in changes {
        let is_list = LISTS.contains(&name.as_str()) || matches!(change.before, Some(CloudValue::List(_)));
        let value = match &change.after {
            Some(value) => json(value),
            None if is_list => Value::Array(Vec::new()),
            None => Value::Null,
        };
        put(&mut body, name, value);
    }
    body
}

/// The attributes as part of the body of a create: those that have a value, nested as in [`patch_body`]. The anchor and
/// a user's initial password are the caller's to add.
pub fn create_body(attributes: &CloudAttributes) -> Map<String, Value> {
    let mut body = Map::new();
    for (name, value) in attributes {
        if let Some(value) = held(Some(value)) {
            put(&mut body, name, json(value));
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> CloudValue {
        CloudValue::Text(text.into())
    }

    fn list(values: &[&str]) -> CloudValue {
        CloudValue::List(values.iter().map(|&v| v.into()).collect())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.into()).collect()
    }

    const ONE: &str = "onPremisesExtensionAttributes.extensionAttribute1";
    const TWO: &str = "onPremisesExtensionAttributes.extensionAttribute2";

    #[test]
    fn says_what_graph_understands() {
        let confirmed = CloudAttributes::from([
            ("businessPhones".into(), list(&["1"])),
            ("city".into(), text("Bern")),
            ("jobTitle".into(), text("x")),
            (ONE.into(), text("a")),
            ("unmanaged".into(), text("stays")),
        ]);
        let desired = CloudAttributes::from([
            ("accountEnabled".into(), CloudValue::Bool(false)),
            ("jobTitle".into(), text("x")),
            (TWO.into(), text("b")),
        ]);
        let managed = names(&["accountEnabled", "businessPhones", "city", "jobTitle", ONE, TWO]);
        let changes = diff(&confirmed, &desired, &managed);
        assert_eq!(
            Value::Object(patch_body(&changes)),
            json!({
                "accountEnabled": false,
                "businessPhones": [],
                "city": null,
                "onPremisesExtensionAttributes": {"extensionAttribute1": null, "extensionAttribute2": "b"},
            })
        );
        assert_eq!(changes["city"].before, Some(text("Bern")));
        assert_eq!(apply(&confirmed, &changes)["unmanaged"], text("stays"));
        assert_eq!(
            Value::Object(create_body(&desired)),
            json!({
                "accountEnabled": false,
                "jobTitle": "x",
                "onPremisesExtensionAttributes": {"extensionAttribute2": "b"},
            })
        );
    }

    #[test]
    fn what_cannot_be_cleared_stays() {
        for name in NOT_CLEARABLE {
            let confirmed = CloudAttributes::from([(name.into(), text("x"))]);
            assert!(diff(&confirmed, &CloudAttributes::new(), &names(&[name])).is_empty(), "{name}");
        }
    }

    #[test]
    fn empty_is_no_value() {
        let confirmed = CloudAttributes::from([("city".into(), text("")), ("businessPhones".into(), list(&[]))]);
        let managed = names(&["businessPhones", "city"]);
        assert!(diff(&confirmed, &CloudAttributes::new(), &managed).is_empty());
        assert!(diff(&CloudAttributes::new(), &confirmed, &managed).is_empty());
        assert!(create_body(&confirmed).is_empty());
    }

    fn value() -> impl Strategy<Value = CloudValue> {
        prop_oneof![
            any::<bool>().prop_map(CloudValue::Bool),
            "[a-c]{1,2}".prop_map(CloudValue::Text),
            proptest::collection::vec("[a-c]{1,2}", 1..3).prop_map(CloudValue::List),
        ]
    }

    fn some_attributes() -> impl Strategy<Value = CloudAttributes> {
        proptest::collection::btree_map("(x\\.)?[p-w]", value(), 0..8)
    }

    proptest! {
        #[test]
        fn applied_it_is_as_desired(
            confirmed in some_attributes(), desired in some_attributes(),
            managed in proptest::collection::btree_set("(x\\.)?[p-w]", 0..10),
        ) {
            let managed: Vec<String> = managed.into_iter().collect();
            let changes = diff(&confirmed, &desired, &managed);
            let result = apply(&confirmed, &changes);
            for name in confirmed.keys().chain(desired.keys()) {
                let expected = if managed.contains(name) { desired.get(name) } else { confirmed.get(name) };
                prop_assert_eq!(result.get(name), expected);
            }
            prop_assert!(diff(&result, &desired, &managed).is_empty());
            prop_assert!(diff(&desired, &desired, &managed).is_empty());
            prop_assert_eq!(patch_body(&changes).is_empty(), changes.is_empty());
        }
    }
}
