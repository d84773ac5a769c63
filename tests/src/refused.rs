//! What forestsync says it could not do, and whether that is exactly where the tenant differs from what it should hold.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_practice::oracle::{self, Holdings, Object};
use forestsync_practice::tenant::TenantDump;
use serde_json::{Map, Value};

use crate::pipeline::Pipeline;

/// The objects that are held or quarantined, by anchor, with what is said of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused(pub BTreeMap<String, Vec<String>>);

impl Refused {
    /// What `status` says. Nothing is being tried any more: a write that waits for its next attempt is a failure here.
    pub fn of(pipeline: &Pipeline) -> Self {
        let status = pipeline.json(&["status", "--all"]);
        for list in ["failed", "deferred", "holds"] {
            assert_eq!(status[list].as_array().map(Vec::len), Some(0), "{list}: {}", status[list]);
        }
        assert_eq!(status["export_stopped"], Value::Null, "the tenant takes what it can");
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for list in ["held", "quarantined"] {
            for issue in status[list].as_array().unwrap() {
                all.entry(text(issue, "anchor")).or_default().push(format!("{list}: {issue}"));
            }
        }
        // what is wrong with them in the directory keeps these from being sent
        for finding in status["findings"].as_array().unwrap().iter().filter(|finding| finding["blocking"] == true) {
            let guid: ObjectGuid = text(finding, "object").parse().unwrap();
            all.entry(SourceAnchor::from_guid(guid).as_str().to_owned())
                .or_default()
                .push(format!("blocked: {finding}"));
        }
        let listed = pipeline.json(&["held"]);
        assert_eq!(listed["held"], status["held"], "both commands say the same");
        Self(all)
    }

    /// The anchors alone.
    pub fn anchors(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}")).to_owned()
}

/// Where the tenant differs from what it should hold, by anchor. Of the `refused` those that are not there, are not ours,
/// or are about to go count for nothing as members and managers of others, and what is not ours and not wished either
/// counts for nothing at all.
pub fn differing(expected: &Holdings, dump: &TenantDump, refused: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let (mut expected, mut found) = (expected.clone(), Holdings::of(dump));
    let foreign = foreign(dump);
    let is_wished = |anchor: &String| expected.users.contains_key(anchor) || expected.groups.contains_key(anchor);
    let is_there = |anchor: &String| found.users.contains_key(anchor) || found.groups.contains_key(anchor);
    let is_strange = |anchor: &&String| !is_there(anchor) || foreign.contains(*anchor) || !is_wished(anchor);
    let strange: BTreeSet<String> = refused.iter().filter(is_strange).cloned().collect();
    let stray: BTreeSet<String> = foreign.iter().filter(|anchor| !is_wished(anchor)).cloned().collect();
    found.users.retain(|anchor, _| !stray.contains(anchor));
    found.groups.retain(|anchor, _| !stray.contains(anchor));
    for (anchor, user) in &mut expected.users {
        if user.manager.as_ref().is_some_and(|manager| strange.contains(manager)) {
            user.manager = found.users.get(anchor).and_then(|found| found.manager.clone());
        }
    }
    let without = |groups: &mut BTreeMap<String, Object>| {
        for group in groups.values_mut() {
            group.members.retain(|member| !strange.contains(member) && !stray.contains(member));
        }
    };
    without(&mut expected.groups);
    without(&mut found.groups);
    oracle::differing(&expected, &found, &oracle::managed_user_properties())
}

/// The anchors of what others master: Azure AD Connect, or Exchange.
fn foreign(dump: &TenantDump) -> BTreeSet<String> {
    let is = |properties: &Map<String, Value>, name: &str| properties.get(name) == Some(&Value::Bool(true));
    let users = dump.users.iter().filter(|user| is(&user.properties, "onPremisesSyncEnabled"));
    let groups = dump.groups.iter();
    let groups = groups.filter(|g| is(&g.properties, "onPremisesSyncEnabled") || is(&g.properties, "mailEnabled"));
    let only =
        TenantDump { users: users.cloned().collect(), groups: groups.cloned().collect(), ..TenantDump::default() };
    let held = Holdings::of(&only);
    held.users.into_keys().chain(held.groups.into_keys()).collect()
}
