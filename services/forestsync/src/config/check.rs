//! Giving a parsed file its meaning, or saying everything that is wrong with it. Each service checks its own part.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use forestsync_collector::settings::{ForestForm, ForestSettings as Reading};
use forestsync_projector::settings::ScopeSettings;
use forestsync_provisioner::settings::{GuardSettings, TenantSettings};
use forestsync_rules::settings::Rules;
use forestsync_runtime::config::{Findings, SettingsError};
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
    let tenant = TenantSettings::check("tenant", &file.tenant, base, &mut found);
    let guard = GuardSettings::check("delete_guard", &file.delete_guard, &mut found);
    let names: Vec<String> = file.forests.iter().map(|forest| forest.name.clone()).collect();
    let rules = Rules::compile(&file.rules(), &names).unwrap_or_else(|problems| {
        problems.into_iter().for_each(|p| found.add(p.key, p.message, p.hint));
        Rules::default()
    });
    let digest = blake3::hash(document.as_bytes()).to_hex().to_string();
    let settings = tenant.map(|tenant| Settings {
        path: path.to_owned(),
        document,
        digest,
        configuration: file.configuration,
        data: base.join(file.data),
        log: file.log,
        base: base.to_owned(),
        forests,
        tenant,
        guard,
        rules: Arc::new(rules),
    });
    found.into_result(path, settings)
}

fn check_forest(key: &str, form: &ForestForm, base: &Path, found: &mut Findings) -> ForestSettings {
    let reading = Reading::check(key, form, base, found);
    let scope = ScopeSettings::check(key, &form.include, &form.exclude, (&reading.domains, reading.all_domains), found);
    ForestSettings { reading, scope }
}
