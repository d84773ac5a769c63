//! Events in a form a person can read: one line each, attribute names but no values.
//!
//! This works on the JSON of an event, not on its types, so that an event of a later version can still be shown.

use forestsync_log::Record;
use serde_json::{Value, json};

use crate::output::count;

/// The types of events that are known, by kind of stream.
pub const TYPES: [(&str, &[&str]); 6] = [
    (
        "changes",
        &[
            "SnapshotStarted",
            "SnapshotCompleted",
            "ObjectObserved",
            "ObjectChanged",
            "LinkValuesChanged",
            "ObjectDeleted",
            "ObjectRestored",
            "CursorAdvanced",
            "ReadingStopped",
            "ReadingResumed",
        ],
    ),
    ("desired", &["AttributeFlowDeclared", "ObjectDesired", "ObjectRemoved", "LinkDesired", "LinkRemoved"]),
    (
        "decisions",
        &[
            "AnchorAssigned",
            "ScopeResolved",
            "ConfigurationHeld",
            "ConfigurationReleased",
            "FindingRaised",
            "FindingCleared",
            "StreamStopped",
            "StreamResumed",
            "FullReadJudged",
            "FullReadApproved",
            "JoinMade",
            "JoinBroken",
            "TimerFired",
        ],
    ),
    (
        "outcomes",
        &[
            "ObjectProvisioned",
            "ObjectUpdated",
            "ObjectAdopted",
            "ObjectRestored",
            "ObjectDeprovisioned",
            "ObjectRelinquished",
            "ManagerChanged",
            "OwnerChanged",
            "MemberAdded",
            "MemberRemoved",
            "ExportFailed",
            "ExportHeld",
            "ExportReleased",
            "DeletionDeferred",
            "ExportQuarantined",
            "NotWritable",
            "ExportStopped",
            "ExportResumed",
            "ConfigurationQuarantined",
            "ConfigurationRecovered",
            "NotificationSent",
            "DriftFound",
            "MembersDrifted",
            "DeletedByOthers",
            "DriftEnded",
            "TenantCompared",
        ],
    ),
    ("control", &["ConfigurationActivated", "HeldDecided", "ConfigurationRemoved", "SourceDecided"]),
    ("tenant", &["DomainsObserved"]),
];

/// The event's type, from the record's header where it has one.
pub fn kind(record: &Record) -> String {
    let header = record.headers.iter().find(|(name, _)| name == "type");
    if let Some((_, value)) = header {
        return String::from_utf8_lossy(value).into_owned();
    }
    let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    text(&event, "type").to_owned()
}

/// One line: offset, time, type, what it is about, what it says.
pub fn line(record: &Record) -> String {
    let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    let kind = text(&event, "type");
    let (kind, what) = if kind.is_empty() {
        ("?", format!("{} bytes that are no event", record.value.len()))
    } else {
        (kind, describe(kind, &event))
    };
    let time = record.timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    printable(&format!("{:>8}  {time}  {kind:<21}  {what}", record.offset))
}

/// The event's type, and what it says without values.
pub fn described(record: &Record) -> (String, String) {
    let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    let kind = text(&event, "type");
    (kind.to_owned(), describe(kind, &event))
}

/// The record as JSON: `{stream, offset, timestamp, key, headers, event}`; `headers` is a list of `{name, value}`, and
/// `event` the value, null where that is no JSON. Without `values`, attribute values are null.
pub fn json_line(stream: &str, record: &Record, values: bool) -> Value {
    let mut event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    if let Some(data) = event.get_mut("data") {
        redact(data, values);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = record.headers.iter().map(|(name, value)| json!({ "name": name, "value": text(value) }));
    json!({
        "stream": stream,
        "offset": record.offset,
        "timestamp": record.timestamp.to_string(),
        "key": record.key.as_ref().map(|key| text(key)),
        "headers": headers.collect::<Vec<_>>(),
        "event": event,
    })
}

/// Takes out what must not be shown: cookies always, values unless asked for.
fn redact(data: &mut Value, values: bool) {
    if let Some(cookie) = data.pointer_mut("/to/cookie") {
        *cookie = Value::Null;
    }
    if values {
        return;
    }
    for name in ["attributes", "at_creation", "set"] {
        if let Some(Value::Object(map)) = data.get_mut(name) {
            map.values_mut().for_each(|value| *value = Value::Null);
        }
    }
    if let Some(Value::Object(changes)) = data.get_mut("changes") {
        for change in changes.values_mut().filter_map(Value::as_object_mut) {
            change.values_mut().for_each(|value| *value = Value::Null);
        }
    }
    if let Some(document) = data.get_mut("document") {
        *document = Value::Null;
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn length(value: &Value, name: &str) -> usize {
    value.get(name).and_then(Value::as_array).map_or(0, Vec::len)
}

fn strings(value: &Value, name: &str) -> String {
    let list = value.get(name).and_then(Value::as_array);
    list.map_or_else(String::new, |l| l.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
}

/// Names of attributes.
fn attributes(value: &Value, name: &str) -> String {
    let map = value.get(name).and_then(Value::as_object);
    map.map_or_else(String::new, |map| map.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// Joins the parts that say something.
fn parts(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("; ")
}

fn labelled(label: &str, text: String) -> String {
    if text.is_empty() { text } else { format!("{label} {text}") }
}

fn describe(kind: &str, event: &Value) -> String {
    let none = Value::Null;
    let (context, data) = (event.get("context").unwrap_or(&none), event.get("data").unwrap_or(&none));
    match kind {
        "SnapshotStarted" => format!("full read, because: {}", text(data, "reason").replace('_', " ")),
        "SnapshotCompleted" => format!("{} seen", count(number(data, "seen"), "object")),
        "ObjectObserved" => parts([text(data, "dn").to_owned(), attributes(data, "attributes")]),
        _ if context.get("anchor").is_some() => outcome(context, data),
        "ObjectChanged" | "ObjectRestored" | "ObjectDeleted" => parts([
            text(data, "dn").to_owned(),
            labelled("set", attributes(data, "set")),
            labelled("cleared", strings(data, "cleared")),
            labelled("parent", text(data, "parent").to_owned()),
        ]),
        "LinkValuesChanged" => link_values(context, data),
        "CursorAdvanced" => cursor(data),
        "ReadingStopped" => {
            parts([text(data, "cause").to_owned(), text(data, "detail").to_owned(), text(data, "hint").to_owned()])
        }
        "AttributeFlowDeclared" => format!("{}: {}", text(data, "class"), strings(data, "attributes")),
        "ObjectDesired" => parts([
            wished(data),
            attributes(data, "attributes"),
            labelled("at creation:", attributes(data, "at_creation")),
            labelled("manager", text(data, "manager").to_owned()),
            labelled("owner", text(data, "owner").to_owned()),
            labelled("not writable:", strings(data, "not_writable")),
            match length(data, "joined") {
                0 => String::new(),
                joined => format!("joined with {}", count(joined as u64, "object")),
            },
        ]),
        "ObjectRemoved" => parts([
            wished(data),
            format!("because: {}", text(data, "reason").replace('_', " ")),
            if data.get("keep").and_then(Value::as_bool) == Some(true) {
                "left as it is".into()
            } else {
                String::new()
            },
        ]),
        "LinkDesired" | "LinkRemoved" => format!("group {} member {}", text(data, "group"), text(data, "member")),
        "AnchorAssigned" => {
            format!("{} {} is {}", text(data, "forest"), text(data, "object"), text(data, "anchor"))
        }
        "ScopeResolved" => format!("{} {} is {}", text(data, "forest"), text(data, "dn"), text(data, "object")),
        "ConfigurationHeld" | "ConfigurationReleased" => parts([
            format!("{} {}", text(data, "forest"), text(data, "reason").replace('_', " ")),
            text(data, "detail").to_owned(),
            text(data, "hint").to_owned(),
            labelled("approved by", text(data, "approval").to_owned()),
        ]),
        "FindingRaised" | "FindingCleared" => parts([
            format!("{} {}", text(data, "forest"), text(data, "object")),
            text(data, "dn").to_owned(),
            if data.get("blocking").and_then(Value::as_bool) == Some(true) { "not sent".into() } else { String::new() },
            strings(data, "messages"),
            rules(data),
        ]),
        "StreamStopped" => parts([
            format!("{} at offset {}", text(data, "stream"), number(data, "offset")),
            text(data, "detail").into(),
        ]),
        "FullReadJudged" => {
            parts([format!("{} {}", text(data, "forest"), text(data, "naming_context")), judgement(data)])
        }
        "FullReadApproved" => parts([
            format!("{} {}", text(data, "forest"), text(data, "naming_context")),
            judgement(data),
            format!("from offset {} on", number(data, "offset")),
            labelled("approved by", text(data, "approval").to_owned()),
        ]),
        "StreamResumed" => text(data, "stream").to_owned(),
        "JoinMade" => format!(
            "{} {} stands for {}, by rule {}",
            text(data, "forest"),
            text(data, "object"),
            text(data, "anchor"),
            text(data, "rule")
        ),
        "JoinBroken" => {
            format!("{} {} no longer stands for {}", text(data, "forest"), text(data, "object"), text(data, "anchor"))
        }
        "TimerFired" => {
            format!("{} {} expired at {}", text(data, "forest"), text(data, "object"), text(data, "due"))
        }
        "DomainsObserved" => parts([
            labelled("initial", text(data, "initial").to_owned()),
            labelled("verified:", strings(data, "verified")),
        ]),
        "ConfigurationActivated" => parts([
            format!("revision {} by {}", number(data, "revision"), text(context, "actor")),
            format!("digest {}", text(data, "digest")),
        ]),
        "ConfigurationRemoved" => parts([
            format!(
                "{} by {}, {} listed",
                text(data, "objects"),
                text(context, "actor"),
                count(length(data, "listed") as u64, "object")
            ),
            text(data, "reason").to_owned(),
        ]),
        "HeldDecided" => parts([
            format!(
                "{} of {} by {}",
                text(data, "verdict"),
                count(length(data, "writes") as u64, "write"),
                text(context, "actor")
            ),
            text(data, "reason").to_owned(),
            labelled("until", text(data, "expires").to_owned()),
        ]),
        "SourceDecided" => {
            let seen = data.get("seen").unwrap_or(&none);
            let what = match text(seen, "kind") {
                "full_read" => labelled("full read", judgement(seen)),
                _ => format!(
                    "empty: {} of the scope",
                    count((length(seen, "emptied") + length(seen, "bare")) as u64, "part")
                ),
            };
            parts([
                format!(
                    "{} of {} by {}",
                    text(data, "verdict"),
                    format!("{} {}", text(data, "forest"), text(data, "naming_context")).trim_end(),
                    text(context, "actor")
                ),
                what,
                text(data, "reason").to_owned(),
                labelled("until", text(data, "expires").to_owned()),
            ])
        }
        _ => String::new(),
    }
}

/// Whether a full read is believed.
fn judgement(data: &Value) -> String {
    let doubt = data.get("doubt").filter(|doubt| !doubt.is_null());
    doubt.map_or_else(
        || "believed".to_owned(),
        |d| format!("not believed: {} {} of {}", text(d, "kind"), number(d, "missing"), number(d, "known")),
    )
}

/// The rules of identity hygiene that an object breaks.
fn rules(data: &Value) -> String {
    let findings = data.get("findings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    findings.iter().map(|finding| text(finding, "rule")).collect::<Vec<_>>().join(", ")
}

fn link_values(context: &Value, data: &Value) -> String {
    let side = |name: &str| match length(data, name) {
        0 => String::new(),
        n => format!("{n} {name}"),
    };
    let about = format!("{} of {}", text(data, "attribute"), text(context, "object"));
    parts([about, side("removed"), side("added")])
}

fn cursor(data: &Value) -> String {
    let to = data.get("to").unwrap_or(&Value::Null);
    let controller = to.get("controller").unwrap_or(&Value::Null);
    let progress = to.get("snapshot").filter(|s| !s.is_null());
    parts([
        format!("{} USN {}", text(controller, "dns_name"), number(to, "highest_committed_usn")),
        progress
            .map_or_else(String::new, |s| format!("full read goes on after {}", count(number(s, "seen"), "object"))),
        if to.get("complete").and_then(Value::as_bool) == Some(false) {
            "more pages follow".into()
        } else {
            String::new()
        },
    ])
}

fn wished(data: &Value) -> String {
    let source = data.get("source").unwrap_or(&Value::Null);
    format!("{} {} r{} {}", text(data, "class"), text(data, "anchor"), number(data, "revision"), text(source, "dn"))
}

/// Everything in `outcomes` says what object it is about in the same way.
fn outcome(context: &Value, data: &Value) -> String {
    let error = data.get("error").unwrap_or(&Value::Null);
    let status = context.get("status").and_then(Value::as_u64);
    let both = |name: &str| {
        let value = data.get(name).and_then(Value::as_str);
        value.unwrap_or("none").to_owned()
    };
    let reference = data.get("after").is_some() || data.get("before").is_some();
    parts([
        format!("{} {} {}", text(context, "class"), text(context, "anchor"), text(context, "cloud_id"))
            .trim_end()
            .into(),
        text(data, "operation").to_owned(),
        labelled("matched by", text(data, "matched_by").replace('_', " ")),
        attributes(data, "attributes"),
        attributes(data, "changes"),
        if data.get("attributes").is_some_and(Value::is_array) { strings(data, "attributes") } else { String::new() },
        labelled("members", strings(data, "members")),
        labelled("added", strings(data, "added")),
        labelled("removed", strings(data, "removed")),
        text(data, "policy").to_owned(),
        if reference { format!("{} -> {}", both("before"), both("after")) } else { String::new() },
        text(error, "code").to_owned(),
        labelled("attribute", text(error, "attribute").to_owned()),
        text(error, "detail").to_owned(),
        text(error, "hint").to_owned(),
        text(data, "detail").to_owned(),
        text(data, "reason").to_owned(),
        failing(data),
        told(data),
        labelled("again at", text(data, "retry_at").to_owned()),
        labelled("until", text(data, "until").to_owned()),
        status.map_or_else(String::new, |s| format!("status {s}")),
    ])
}

/// How much of a configuration fails.
fn failing(data: &Value) -> String {
    let of = data.get("objects").and_then(Value::as_u64).map_or_else(String::new, |of| format!(" of {of}"));
    data.get("failing").map_or_else(String::new, |_| format!("{}{of} failing", number(data, "failing")))
}

/// What people were told, and by what.
fn told(data: &Value) -> String {
    let over = if data.get("over").and_then(Value::as_bool) == Some(true) { "over: " } else { "" };
    data.get("channel")
        .map_or_else(String::new, |_| format!("{over}{} by {}", text(data, "cause"), text(data, "channel")))
}

/// Names in a directory may hold anything; a terminal must not be told what to do by one.
fn printable(text: &str) -> String {
    let safe = |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if safe(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use forestsync_schemas::samples;

    use super::*;

    fn record(offset: u64, value: Vec<u8>) -> Record {
        Record {
            offset,
            timestamp: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            value: Bytes::from(value),
            headers: Vec::new(),
            link: None,
        }
    }

    fn all() -> Vec<Record> {
        let mut values: Vec<Vec<u8>> = samples::changes().iter().map(|r| r.encode().unwrap()).collect();
        values.extend(samples::desired().iter().map(|r| r.encode().unwrap()));
        values.extend(samples::decisions().iter().map(|r| r.encode().unwrap()));
        values.extend(samples::outcomes().iter().map(|r| r.encode().unwrap()));
        values.extend(samples::tenant().iter().map(|r| r.encode().unwrap()));
        values.extend(samples::control().iter().map(|r| r.encode().unwrap()));
        values.into_iter().enumerate().map(|(offset, value)| record(offset as u64, value)).collect()
    }

    #[test]
    fn every_event_has_a_line_and_no_values() {
        let lines: Vec<String> = all().iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn the_types_are_those_that_can_be_read() {
        use forestsync_schemas::{
            ChangeEvent, ControlEvent, DecisionEvent, DesiredEvent, EventBody as _, OutcomeEvent, TenantEvent,
        };
        for (stream, types) in TYPES {
            for kind in types {
                let known = match stream {
                    "changes" => ChangeEvent::from_data(kind, "").is_some(),
                    "desired" => DesiredEvent::from_data(kind, "").is_some(),
                    "decisions" => DecisionEvent::from_data(kind, "").is_some(),
                    "outcomes" => OutcomeEvent::from_data(kind, "").is_some(),
                    "tenant" => TenantEvent::from_data(kind, "").is_some(),
                    _ => ControlEvent::from_data(kind, "").is_some(),
                };
                assert!(known, "{kind} in {stream}");
            }
        }
        for record in all() {
            let kind = kind(&record);
            assert!(TYPES.iter().any(|(_, types)| types.contains(&kind.as_str())), "{kind}");
        }
    }

    #[test]
    fn json_hides_values_and_cookies() {
        for record in all() {
            let hidden = json_line("changes.x", &record, false);
            let data = &hidden["event"]["data"];
            for name in ["attributes", "set"] {
                if let Some(Value::Object(map)) = data.get(name) {
                    assert!(map.values().all(Value::is_null), "{hidden}");
                }
            }
            assert!(data.pointer("/to/cookie").is_none_or(Value::is_null), "{hidden}");
            let shown = json_line("changes.x", &record, true);
            assert!(shown.pointer("/event/data/to/cookie").is_none_or(Value::is_null), "{shown}");
        }
    }

    #[test]
    fn what_is_no_event_is_still_shown() {
        assert!(line(&record(3, b"\x1b[2J".to_vec())).ends_with("?                      4 bytes that are no event"));
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
