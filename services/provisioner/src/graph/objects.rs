//! Answers as replies.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use serde_json::Value;

use super::answer::Answer;
use super::extensions::Names;
use super::requests::anchor_names;
use crate::target::{Call, CloudObject, Failure, FailureKind, Reply, own_failure};

/// An anchor as Graph holds it of a class.
pub(super) fn anchor_text(class: CloudClass, anchor: &SourceAnchor) -> String {
    if class == CloudClass::User { anchor.as_str().to_owned() } else { anchor.unique_name() }
}

/// The id of an object in an answer.
pub(super) fn id(value: &Value) -> Option<String> {
    value.get("id").and_then(Value::as_str).map(str::to_owned)
}

/// An object in an answer, with those of `attributes` that have a value.
pub(super) fn object(names: &Names, class: CloudClass, value: &Value, attributes: &[String]) -> Option<CloudObject> {
    let is = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let is_user = class == CloudClass::User;
    let anchor =
        if is_user { text("onPremisesImmutableId") } else { text("uniqueName").or_else(|| text(&names.anchor()?)) };
    let types = value.get("groupTypes").and_then(Value::as_array);
    let held: CloudAttributes =
        attributes.iter().filter_map(|name| Some((name.clone(), cloud_value(names.value(value, name)?)?))).collect();
    Some(CloudObject {
        id: id(value)?,
        anchor,
        attributes: held,
        synced: is("onPremisesSyncEnabled"),
        mail_enabled: is("mailEnabled"),
        name: text(if is_user { "userPrincipalName" } else { "displayName" }),
        role_assignable: is("isAssignableToRole"),
        dynamic: types.is_some_and(|types| types.iter().any(|kind| kind == "DynamicMembership")),
    })
}

fn cloud_value(value: &Value) -> Option<CloudValue> {
    match value {
        Value::Bool(value) => Some(CloudValue::Bool(*value)),
        Value::String(text) if !text.is_empty() => Some(CloudValue::Text(text.clone())),
        Value::Array(values) if !values.is_empty() => Some(CloudValue::List(values.iter().filter_map(item).collect())),
        // no property of ours holds fractions
        Value::Number(number) => number.as_i64().map(CloudValue::Integer),
        _ => None,
    }
}

/// One of several values. Wishes have texts only.
fn item(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// How many of the answers to a look-up are about live objects; they come first.
pub(super) fn live_answers(names: &Names, call: &Call) -> usize {
    match call {
        Call::LookUp { class, by_extension, .. } => anchor_names(names, *class, *by_extension).len(),
        _ => 1,
    }
}

/// Whether the answers of a look-up about deleted objects refuse the filter.
pub(super) fn is_filter_refused(names: &Names, call: &Call, answers: &[Answer]) -> bool {
    let (live, deleted) = answers.split_at(live_answers(names, call).min(answers.len()));
    live.iter().all(Answer::is_success) && deleted.iter().any(|answer| matches!(answer.status, 400 | 501))
}

/// The reply that these answers make up.
pub(super) fn reply(names: &Names, call: &Call, answers: &[Answer]) -> Reply {
    let list = |class, attributes: &[String], answer: Option<&Answer>| -> Result<Vec<CloudObject>, Failure> {
        let Some(answer) = answer else { return Ok(Vec::new()) };
        if !answer.is_success() {
            return Err(answer.failure());
        }
        let values = answer.body.get("value").and_then(Value::as_array);
        let values = values.ok_or_else(|| own_failure(FailureKind::Uncertain, "answer_unreadable"))?;
        Ok(values.iter().filter_map(|value| object(names, class, value, attributes)).collect())
    };
    let found = match call {
        Call::LookUp { class, anchor, attributes, .. } => {
            // Graph compares without case, anchors differ by it
            let text = anchor_text(*class, anchor);
            let pick = |answers: &[Answer]| -> Result<Option<CloudObject>, Failure> {
                let mut found = Vec::new();
                for answer in answers {
                    found.extend(list(*class, attributes, Some(answer))?);
                }
                Ok(found.into_iter().find(|o| o.anchor.as_deref() == Some(&text)))
            };
            let (live, deleted) = answers.split_at(live_answers(names, call).min(answers.len()));
            pick(live).and_then(|live| Ok(Reply::Found { live, deleted: pick(deleted)? }))
        }
        Call::Match { class, keys, attributes } => {
            let all = |place: usize| list(*class, attributes, answers.get(place));
            (0..keys.len()).map(all).collect::<Result<Vec<_>, _>>().map(Reply::Matches)
        }
        Call::Read { class, attributes, .. } => {
            single(answers).map(|a| Reply::Object(a.and_then(|a| object(names, *class, &a.body, attributes))))
        }
        Call::ReadGroup { attributes, .. } => single(answers).map(|a| {
            let live = a.and_then(|a| object(names, CloudClass::Group, &a.body, attributes));
            Reply::Found { live, deleted: None }
        }),
        Call::ReadManager { .. } => single(answers).map(|a| Reply::Manager(a.and_then(|a| id(&a.body)))),
        Call::AddEach { .. } | Call::RemoveMembers { .. } => Ok(Reply::Each(
            answers.iter().map(|a| if a.is_success() { Ok(a.done()) } else { Err(a.failure()) }).collect(),
        )),
        _ => match answers.first() {
            Some(answer) if answer.is_success() => Ok(Reply::Done(answer.done())),
            Some(answer) => Err(answer.failure()),
            None => Err(own_failure(FailureKind::Uncertain, "answer_missing")),
        },
    };
    found.unwrap_or_else(|failure| Reply::Failed(names.failure(failure)))
}

/// The answer to a read of one object: none where there is no such object.
fn single(answers: &[Answer]) -> Result<Option<&Answer>, Failure> {
    match answers.first() {
        Some(answer) if answer.is_success() => Ok(Some(answer)),
        Some(answer) if answer.status == 404 => Ok(None),
        Some(answer) => Err(answer.failure()),
        None => Err(own_failure(FailureKind::Uncertain, "answer_missing")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_what_was_asked_for() {
        let names: Vec<String> =
            ["a.b", "a.c", "list", "none", "no", "extra", "numbers"].into_iter().map(str::to_owned).collect();
        let value = json!({"id": "1", "onPremisesImmutableId": "x", "onPremisesSyncEnabled": null, "extra": 1,
            "a": {"b": "v", "c": null}, "list": [], "none": "", "no": false, "numbers": [1, "2"]});
        let object = object(&Names::default(), CloudClass::User, &value, &names).unwrap();
        let expected = CloudAttributes::from([
            ("a.b".into(), CloudValue::Text("v".into())),
            ("extra".into(), CloudValue::Integer(1)),
            ("no".into(), CloudValue::Bool(false)),
            ("numbers".into(), CloudValue::List(vec!["1".into(), "2".into()])),
        ]);
        assert_eq!(object.attributes, expected);
        assert!(!object.synced);
    }

    #[test]
    fn an_anchor_matches_in_its_case_only() {
        let call = Call::LookUp {
            class: CloudClass::User,
            anchor: SourceAnchor::from("Ab==".to_owned()),
            attributes: Vec::new(),
            by_extension: false,
        };
        let list = |anchor: &str| Answer {
            status: 200,
            body: json!({"value": [{"id": "1", "onPremisesImmutableId": anchor}]}),
            ..Answer::default()
        };
        let found =
            |anchor| matches!(reply(&Names::default(), &call, &[list(anchor)]), Reply::Found { live: Some(_), .. });
        assert!(found("Ab==") && !found("aB=="));
    }
}
