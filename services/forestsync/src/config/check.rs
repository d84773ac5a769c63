//! Giving a parsed file its meaning, or saying everything that is wrong with it. Each service checks its own part.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forestsync_collector::settings::{ForestForm, ForestSettings as Reading};
use forestsync_domain::syntax;
use forestsync_log::{DESIRED_HISTORY, LogConfig, OpenError};
use forestsync_projector::settings::ScopeSettings;
use forestsync_provisioner::settings::{GuardSettings, TenantSettings};
use forestsync_rules::settings::Rules;
use forestsync_runtime::config::{Findings, SettingsError};
use forestsync_schemas::attributes::REQUESTED;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::streams;

use super::file;
use super::{ForestSettings, Settings};

const PLAIN: &str = "use 1 to 100 of a-z, 0-9, '-' and '_': it becomes part of the names of streams and folders";

/// Gives a parsed file its meaning, or says everything that is wrong with it.
pub fn check(path: &Path, file: file::File, document: String, base: &Path) -> Result<Settings, SettingsError> {
    let mut found = Findings::default();
    if !streams::is_plain(&file.configuration) {
        found.add("configuration", format!("{:?} cannot be used as a name", file.configuration), PLAIN);
    }
    if file.forests.is_empty() {
        found.add("forests", "no forest is configured", "add a [[forests]] table for each forest to be read");
    }
    let mut names = BTreeSet::new();
    let mut forests = Vec::with_capacity(file.forests.len());
    for (index, forest) in file.forests.iter().enumerate() {
        let key = if streams::is_plain(&forest.name) {
            format!("forests.{}", forest.name)
        } else {
            format!("forests[{index}]")
        };
        if !names.insert(forest.name.clone()) {
            found.add(
                format!("{key}.name"),
                "two forests have this name",
                "give each forest a name of its own: its streams are named after it",
            );
        }
        forests.push(check_forest(&key, forest, base, &mut found));
    }
    let (log, desired_history) = check_log(file.log.clone(), &mut found);
    let tenant = TenantSettings::check("tenant", &file.tenant, base, &mut found);
    if log.is_some() && file.tenant.tenant_id.is_none() && tenant.is_some() {
        let hint = "write it: other services on the shared log know by it which configurations are for the same tenant";
        found.add("tenant.tenant_id", "is left to the environment, and [log] names a log that services share", hint);
    }
    let guard = GuardSettings::check("", &file.delete_guard, &file.disable_guard, &file.upn_guard, &mut found);
    let quarantine = file.quarantine.check("", &mut found);
    let notify = file.notify.check("", base, &mut found);
    let audit = file.audit.as_ref().map(|audit| audit.check("", base, &mut found));
    let names: Vec<String> = file.forests.iter().map(|forest| forest.name.clone()).collect();
    let rules = Rules::compile(&file.rules(), &names).unwrap_or_else(|problems| {
        for p in problems {
            found.add(p.key, p.message, p.hint);
        }
        Rules::default()
    });
    let drift = file.drift.as_ref().map(|drift| {
        let managed: Vec<String> =
            [CloudClass::User, CloudClass::Group].iter().flat_map(|class| rules.flow.managed(*class)).collect();
        drift.check("drift", Some(&managed), &mut found)
    });
    if let Some(tenant) = &tenant {
        check_what_matches(&rules, tenant, &mut found);
    }
    let more = rules.more_attributes();
    for forest in &mut forests {
        read_what_rules_need(forest, &more, &mut found);
    }
    let digest = blake3::hash(document.as_bytes()).to_hex().to_string();
    let settings = tenant.map(|tenant| Settings {
        path: path.to_owned(),
        document,
        digest,
        configuration: file.configuration,
        data: base.join(file.data),
        log,
        desired_history,
        base: base.to_owned(),
        forests,
        mode: file.mode,
        tenant,
        guard,
        quarantine,
        notify,
        audit,
        drift,
        rules: Arc::new(rules),
    });
    found.into_result(path, settings)
}

/// The log that services share, and how long the one in `data` keeps history: a table that names no log is about that one.
fn check_log(log: Option<LogConfig>, found: &mut Findings) -> (Option<LogConfig>, Duration) {
    let history = log.as_ref().map_or(Ok(DESIRED_HISTORY), LogConfig::history).unwrap_or_else(|error| {
        let (key, problem, hint) = match error {
            OpenError::Config { key, problem, hint } => (key, problem, hint),
            other => ("desired_history", other.to_string(), String::new()),
        };
        found.add(format!("log.{key}"), problem, hint);
        DESIRED_HISTORY
    });
    (log.filter(|log| !log.names_no_log()), history)
}

/// What is compared with objects of the tenant must flow to them.
fn check_what_matches(rules: &Rules, tenant: &TenantSettings, found: &mut Findings) {
    let all = [
        (CloudClass::User, "tenant.soft_match", "users", &tenant.soft_match),
        (CloudClass::Group, "tenant.group_match", "groups", &tenant.group_match),
    ];
    for (class, key, who, pairs) in all {
        let flows = rules.flow.managed(class);
        for pair in pairs.iter().filter(|pair| !flows.contains(&pair.wished)) {
            let hint = format!("name an attribute that flows to {who}, or let this one flow");
            found.add(key, format!("{:?} does not flow to {who}", pair.wished), hint);
        }
    }
}

/// Lets a collector read the attributes that rules need beyond those that are read anyway.
fn read_what_rules_need(forest: &mut ForestSettings, more: &BTreeSet<String>, found: &mut Findings) {
    let key = format!("forests.{}.attributes", forest.reading.name);
    if let Some(secret) = more.iter().find(|name| syntax::is_secret(name)) {
        found.add(&key, format!("a rule reads {secret}, which is never read"), "take it out of the rules");
        return;
    }
    match &mut forest.reading.attributes {
        Some(listed) => {
            let missing: Vec<&str> = more.iter().filter(|name| !listed.contains(name)).map(String::as_str).collect();
            if !missing.is_empty() {
                let message = format!("the rules need {}, which is not listed", missing.join(", "));
                found.add(&key, message, "add it, or take it out of the rules");
            }
        }
        None if more.is_empty() => {}
        listed @ None => {
            let all: BTreeSet<String> =
                REQUESTED.iter().map(|&name| name.to_owned()).chain(more.iter().cloned()).collect();
            *listed = Some(all.into_iter().collect());
        }
    }
}

fn check_forest(key: &str, form: &ForestForm, base: &Path, found: &mut Findings) -> ForestSettings {
    let reading = Reading::check(key, form, base, found);
    let scope = ScopeSettings::check(key, &form.include, &form.exclude, (&reading.domains, reading.all_domains), found);
    ForestSettings { reading, scope }
}
