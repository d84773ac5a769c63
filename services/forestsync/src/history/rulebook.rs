//! Which rules were in force when.

use std::path::Path;

use anyhow::Result;
use forestsync_rules::flow::{CompiledFlow, FlowClass, FlowRule, Origin};
use forestsync_rules::settings::Rules;
use forestsync_schemas::ControlRecord;
use forestsync_schemas::control::{ConfigurationActivated, ControlEvent};
use forestsync_schemas::desired::CloudClass;
use jiff::Timestamp;

use super::History;
use super::index::Key;
use crate::config::file::File;

/// The configurations that were in force, in order.
#[derive(Debug, Default)]
pub struct Rulebook(Vec<Edition>);

#[derive(Debug)]
struct Edition {
    since: Timestamp,
    revision: u64,
    /// None where this version of the program does not understand the document.
    flow: Option<CompiledFlow>,
}

impl Rulebook {
    /// From what was activated.
    pub async fn read(history: &mut History) -> Result<Self> {
        let control = history.control.clone();
        let records = history.about(&control, &[Key::kind("ConfigurationActivated")]).await?;
        let editions = records.iter().filter_map(|record| {
            let decoded = ControlRecord::decode(&record.value).ok()?;
            let ControlEvent::ConfigurationActivated(event) = decoded.event else { return None };
            Some(Edition { since: record.timestamp, revision: event.revision, flow: flow(&event) })
        });
        Ok(Self(editions.collect()))
    }

    /// The rule of an attribute at a time: as it can be written, where it stands, and what it reads.
    pub fn rule(&self, time: Timestamp, class: CloudClass, target: &str) -> Option<(String, Vec<String>)> {
        // a projection of the moment of activation may have been written with a clock that is a little behind
        let edition = self.0.iter().rev().find(|edition| edition.since <= time).or(self.0.first())?;
        let rules = edition.flow.as_ref()?.rules(match class {
            CloudClass::User => FlowClass::User,
            CloudClass::Contact => FlowClass::Contact,
            CloudClass::Group | CloudClass::MailEnabledGroup | CloudClass::DistributionList => FlowClass::Group,
        });
        let rule = rules.iter().find(|rule| rule.target() == target)?;
        Some((shown(rule, edition.revision), rule.reads().to_vec()))
    }
}

fn shown(rule: &FlowRule, revision: u64) -> String {
    match rule.origin() {
        Origin::Default => format!("{}, default flow", rule.text()),
        Origin::Configuration(at) => format!("{}, flow.rules[{at}] of configuration revision {revision}", rule.text()),
    }
}

fn flow(activated: &ConfigurationActivated) -> Option<CompiledFlow> {
    let file: File = forestsync_runtime::config::parse(Path::new("log"), &activated.document).ok()?;
    let names: Vec<String> = file.forests.iter().map(|forest| forest.name.clone()).collect();
    Rules::compile(&file.rules(), &names).ok().map(|rules| rules.flow)
}
