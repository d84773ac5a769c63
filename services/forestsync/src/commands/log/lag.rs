//! How far the services have read the streams.
//!
//! Where the owners of the streams report that (a log shared by several processes), it is exact. Else the log itself
//! tells at least how far they had come when they last wrote something: a wish names the offsets it was computed with,
//! an outcome the wish it answers. Most changes lead to no wish and some wishes to no outcome, so the lag is then an
//! upper bound.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use forestsync_log::{Log, Report};
use forestsync_schemas::streams;
use serde::Serialize;
use serde_json::Value;

use super::Walk;

/// How many of the last outcomes are looked at for the wish that was taken up last.
const LAST_OUTCOMES: u64 = 1000;

/// One service's place in one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reading {
    /// `projector` or `provisioner`.
    pub(super) service: &'static str,
    /// The configuration it works for.
    pub(super) configuration: String,
    /// The stream it reads.
    #[serde(skip)]
    pub(super) stream: String,
    /// The offset of the next record it will apply, if that is known.
    pub(super) applied: Option<u64>,
    /// The offset the next record will get.
    pub(super) tail: u64,
    /// The difference.
    pub(super) lag: Option<u64>,
    /// Whether `applied` is exact; else it is the least, and `lag` the most.
    pub(super) exact: bool,
    /// Which process said so.
    pub(super) instance: Option<String>,
}

/// Known places in streams, and who told.
type Known = (BTreeMap<String, u64>, Option<String>);

/// All readings, for streams with these tails.
pub(super) async fn gather(log: &dyn Log, tails: &BTreeMap<String, u64>) -> Result<Vec<Reading>> {
    let configurations: BTreeSet<&str> = tails
        .keys()
        .filter_map(|stream| ["desired.", "decisions.", "control."].iter().find_map(|kind| stream.strip_prefix(kind)))
        .collect();
    let projectors = log.group("projector").await?.reports;
    let provisioners = log.group("provisioner").await?.reports;
    let mut readings = Vec::new();
    for configuration in configurations {
        let desired = streams::desired(configuration);
        let known = match reported(projectors.get(&streams::decisions(configuration)), "") {
            Some(known) => known,
            None => (offsets_of_last_wish(log, &desired).await?, None),
        };
        let unknown = known.0.is_empty();
        let expected = |stream: &str| stream.starts_with("changes.") && (unknown || known.0.contains_key(stream));
        for (stream, tail) in tails.iter().filter(|(stream, _)| expected(stream)) {
            readings.push(reading("projector", configuration, stream, *tail, &known));
        }
        let outcomes = streams::outcomes(configuration);
        let known = match reported(provisioners.get(&outcomes), &desired) {
            Some(known) => known,
            None => (last_wish_answered(log, &outcomes, &desired).await?, None),
        };
        if let Some(tail) = tails.get(&desired) {
            readings.push(reading("provisioner", configuration, &desired, *tail, &known));
        }
    }
    Ok(readings)
}

fn reading(service: &'static str, configuration: &str, stream: &str, tail: u64, (places, who): &Known) -> Reading {
    // of a stream that nobody has written to there is nothing to apply
    let applied = places.get(stream).copied().or_else(|| (tail == 0).then_some(0));
    Reading {
        service,
        configuration: configuration.to_owned(),
        stream: stream.to_owned(),
        applied,
        tail,
        lag: applied.map(|applied| tail.saturating_sub(applied)),
        exact: who.is_some() || tail == 0,
        instance: who.clone(),
    }
}

/// What a report tells of what was applied, if there is one that can be read: a place for each stream, or one alone for
/// who reads one stream. Whatever else it tells is not looked at here.
fn reported(report: Option<&Report>, only: &str) -> Option<Known> {
    let report = report?;
    let told: Value = serde_json::from_str(&report.text).ok()?;
    let applied: BTreeMap<String, u64> = match told.get("applied")? {
        Value::Object(places) => {
            places.iter().filter_map(|(stream, place)| Some((stream.clone(), place.as_u64()?))).collect()
        }
        place => [(only.to_owned(), place.as_u64()?)].into(),
    };
    (!applied.is_empty()).then(|| (applied, Some(report.instance.clone())))
}

/// The offsets that the last wish was computed with.
async fn offsets_of_last_wish(log: &dyn Log, desired: &str) -> Result<BTreeMap<String, u64>> {
    let stream = desired.parse()?;
    let tail = log.tail(&stream).await?;
    let Some(last) = tail.checked_sub(1) else { return Ok(BTreeMap::new()) };
    let last = Walk::new(log, &stream, last, tail).await?.next().await?;
    let event: Value = last.and_then(|record| serde_json::from_slice(&record.value).ok()).unwrap_or_default();
    let offsets = event.pointer("/context/offsets").cloned().unwrap_or_default();
    Ok(serde_json::from_value(offsets).unwrap_or_default())
}

/// The offset after the latest wish that the last outcomes answer.
async fn last_wish_answered(log: &dyn Log, outcomes: &str, desired: &str) -> Result<BTreeMap<String, u64>> {
    let stream = outcomes.parse()?;
    let tail = log.tail(&stream).await?;
    let mut walk = Walk::new(log, &stream, tail.saturating_sub(LAST_OUTCOMES), tail).await?;
    let mut answered = None;
    while let Some(record) = walk.next().await? {
        let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
        let wish = event.pointer("/context/desired_offset").and_then(Value::as_u64);
        answered = answered.max(wish.map(|offset| offset.saturating_add(1)));
    }
    Ok(answered.map(|answered| (desired.to_owned(), answered)).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn reports_of_any_kind_are_borne() {
        let report = |text: &str| Report { instance: "a".into(), time: Timestamp::UNIX_EPOCH, text: text.to_owned() };
        let known = reported(Some(&report(r#"{"phase": "following", "applied": {"changes.a": 7}}"#)), "").unwrap();
        assert_eq!(known, (BTreeMap::from([("changes.a".to_owned(), 7)]), Some("a".to_owned())));
        let lone = reported(Some(&report(r#"{"applied": 7, "tail": null}"#)), "desired.a").unwrap();
        assert_eq!(lone.0, BTreeMap::from([("desired.a".to_owned(), 7)]));
        for text in
            ["", "no json", "[]", "{}", r#"{"applied": {}}"#, r#"{"applied": {"a": -1}}"#, r#"{"applied": "7"}"#]
        {
            assert!(reported(Some(&report(text)), "desired.a").is_none(), "{text}");
        }
        assert!(reported(None, "").is_none());
        let row = reading("projector", "c", "changes.a", 5, &known);
        assert_eq!((row.lag, row.exact), (Some(0), true), "applied may be read later than the tail");
        assert_eq!(reading("projector", "c", "changes.b", 5, &known).lag, None);
    }
}
