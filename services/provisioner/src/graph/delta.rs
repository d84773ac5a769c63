//! Delta queries (graph.md section 7.2): what changed in the tenant, page by page.
//!
//! Graph says that objects may come twice, late and in any order, that pages may be empty, and that members of large
//! groups come in parts. Nothing here makes sense of that; whoever asks takes all of it for a hint.

use forestsync_schemas::desired::CloudClass;
use serde_json::Value;

use super::answer::Answer;
use super::extensions::Names;
use super::http::Http;
use super::objects;
use super::requests::{select, set_of};
use crate::target::FailureKind;
use crate::target::{Change, Changes, Next, Outage, own_failure};

/// Codes that say that the state behind a link is lost; they are compared without case.
const LOST: [&str; 3] = ["syncStateNotFound", "resyncRequired", "Directory_ExpiredPageToken"];

/// The path of the first page.
pub(super) fn first(names: &Names, class: CloudClass, attributes: &[String]) -> String {
    let members = if class == CloudClass::Group { ",members" } else { "" };
    format!("/{}/delta?$select={}{members}", set_of(class), select(names, class, attributes))
}

/// What an answer says. A link to another host is an outage: the token would go there.
pub(super) fn changes(
    http: &Http,
    names: &Names,
    class: CloudClass,
    attributes: &[String],
    mut answer: Answer,
) -> Result<Changes, Outage> {
    if !answer.is_success() {
        let failure = answer.failure();
        let is_lost = answer.status == 410 || LOST.iter().any(|code| failure.code.eq_ignore_ascii_case(code));
        return Ok(if is_lost { Changes::Forgotten } else { Changes::Failed(failure) });
    }
    let link = |name: &str| answer.body.get(name).and_then(Value::as_str).map(|link| http.relative(link)).transpose();
    let next = match (link("@odata.nextLink")?, link("@odata.deltaLink")?) {
        (Some(path), _) => Next::Page(path),
        (None, Some(path)) => Next::Later(path),
        (None, None) => return Ok(Changes::Failed(own_failure(FailureKind::Uncertain, "answer_unreadable"))),
    };
    let Some(Value::Array(values)) = answer.body.get_mut("value").map(Value::take) else {
        return Ok(Changes::Failed(own_failure(FailureKind::Uncertain, "answer_unreadable")));
    };
    let change = |value: &Value| {
        let is_removed = value.get("@removed").is_some();
        Some(Change {
            id: objects::id(value)?,
            object: if is_removed { None } else { objects::object(names, class, value, attributes) },
            members: members(value),
        })
    };
    Ok(Changes::Page(values.iter().filter_map(change).collect(), next))
}

fn members(value: &Value) -> Vec<(String, bool)> {
    let links = value.get("members@delta").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    links.iter().filter_map(|link| Some((objects::id(link)?, link.get("@removed").is_none()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_come_and_go() {
        let value = json!({"id": "g", "members@delta": [
            {"@odata.type": "#microsoft.graph.user", "id": "a"},
            {"@odata.type": "#microsoft.graph.user", "id": "b", "@removed": {"reason": "deleted"}},
        ]});
        assert_eq!(members(&value), [("a".to_owned(), true), ("b".to_owned(), false)]);
        assert_eq!(members(&json!({"id": "u"})), []);
    }

    #[test]
    fn asks_for_what_is_managed() {
        let names = Names::default();
        let attributes = ["displayName".to_owned(), "extension.badge".to_owned()];
        assert_eq!(
            first(&names, CloudClass::Group, &attributes),
            "/groups/delta?$select=id,uniqueName,onPremisesSyncEnabled,mailEnabled,displayName,members"
        );
    }
}
