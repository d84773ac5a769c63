//! Who works on what: the groups of the services, as the log knows them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use forestsync_log::{GroupStatus, Log};
use forestsync_schemas::streams;
use serde::Serialize;
use serde_json::Value;

use crate::config::Settings;

/// The members that share the work of a service.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// `collector.FOREST`, `projector` or `provisioner`.
    pub group: String,
    /// Who takes part; no stream of this configuration means a stand-by.
    pub members: Vec<Member>,
    /// What is owned, and what its owner says about it.
    pub streams: Vec<Owned>,
}

/// A process.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// What it is called.
    pub instance: String,
    /// From where it speaks, where that is known.
    pub host: String,
    /// What it owns.
    pub streams: Vec<String>,
}

/// A stream and its owner.
#[derive(Debug, Clone, Serialize)]
pub struct Owned {
    /// The stream.
    pub stream: String,
    /// Who owns it; absent while nobody does.
    pub owner: Option<String>,
    /// What the owner said last about its work.
    pub report: Value,
    /// When.
    pub reported: Option<String>,
}

/// The groups of a configuration's services. None where the log is one process's own.
pub(super) async fn gather(log: &dyn Log, settings: &Settings) -> Result<Vec<Group>> {
    if settings.log.is_none() {
        return Ok(Vec::new());
    }
    let configuration = &settings.configuration;
    let mut groups = Vec::new();
    for forest in &settings.forests {
        let name = format!("collector.{}", forest.name());
        groups.push(group(name.clone(), &log.group(&name).await?, None));
    }
    for (name, stream) in
        [("projector", streams::decisions(configuration)), ("provisioner", streams::outcomes(configuration))]
    {
        groups.push(group(name.to_owned(), &log.group(name).await?, Some(&stream)));
    }
    Ok(groups)
}

/// A group, as far as `only` is concerned.
fn group(group: String, status: &GroupStatus, only: Option<&str>) -> Group {
    let ours = |stream: &&String| only.is_none_or(|only| stream.as_str() == only);
    let members: Vec<Member> = status
        .members
        .iter()
        .map(|member| Member {
            instance: member.instance.clone(),
            host: member.host.clone(),
            streams: member.streams.iter().filter(ours).cloned().collect(),
        })
        .collect();
    let owners: BTreeMap<&str, &str> = members
        .iter()
        .flat_map(|member| member.streams.iter().map(|stream| (stream.as_str(), member.instance.as_str())))
        .collect();
    let named: BTreeSet<&str> =
        owners.keys().copied().chain(status.reports.keys().filter(ours).map(String::as_str)).chain(only).collect();
    let streams = named
        .into_iter()
        .map(|stream| {
            let report = status.reports.get(stream);
            Owned {
                stream: stream.to_owned(),
                owner: owners.get(stream).map(|owner| (*owner).to_owned()),
                report: report.and_then(|r| serde_json::from_str(&r.text).ok()).unwrap_or(Value::Null),
                reported: report.map(|r| r.time.to_string()),
            }
        })
        .collect();
    Group { group, members, streams }
}

#[cfg(test)]
mod tests {
    use forestsync_log::{GroupMember, Report};

    use super::*;

    #[test]
    fn owners_stand_bys_and_what_nobody_owns() {
        let member = |instance: &str, streams: &[&str]| GroupMember {
            instance: instance.into(),
            host: "h".into(),
            streams: streams.iter().map(|s| (*s).to_owned()).collect(),
        };
        let time = forestsync_runtime::clock::now();
        let text = r#"{"phase":"following"}"#.to_owned();
        let status = GroupStatus {
            members: vec![member("a", &["decisions.one", "decisions.two"]), member("b", &[])],
            reports: [("decisions.one".to_owned(), Report { instance: "a".into(), time, text })].into(),
        };
        let one = group("projector".into(), &status, Some("decisions.one"));
        assert_eq!(one.members.iter().map(|m| m.streams.len()).collect::<Vec<_>>(), [1, 0]);
        assert_eq!((one.streams.len(), one.streams[0].owner.as_deref()), (1, Some("a")));
        assert_eq!(one.streams[0].report["phase"], "following");
        let none = group("projector".into(), &GroupStatus::default(), Some("decisions.one"));
        assert_eq!((none.streams.len(), &none.streams[0].owner), (1, &None));
    }
}
