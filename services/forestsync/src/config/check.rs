//! Giving a parsed file its meaning, or saying everything that is wrong with it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use forestsync_collector::{KerberosConfig, SrvConfig};
use forestsync_domain::{Dn, ObjectGuid, syntax};
use forestsync_runtime::secret::SecretRef;
use forestsync_schemas::streams;
use url::Url;

use super::file::{self, Cloud, SoftMatch};
use super::{
    ControllerSettings, ForestSettings, GuardSettings, Problem, ScopeEntry, Settings, SettingsError, TenantSettings,
};

/// Collects what is wrong.
#[derive(Debug, Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into(), hint: hint.into() });
    }
}

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
    for (index, forest) in file.forests.into_iter().enumerate() {
        let key = if streams::is_plain(&forest.name) {
            format!("forests.{}", forest.name)
        } else {
            let key = format!("forests[{index}]");
            found.add(format!("{key}.name"), format!("{:?} cannot be used as a name", forest.name), PLAIN);
            key
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
    let tenant = check_tenant(file.tenant, base, &mut found);
    let guard = check_guard(&file.delete_guard, &mut found);
    let digest = blake3::hash(document.as_bytes()).to_hex().to_string();
    match tenant {
        Some(tenant) if found.0.is_empty() => Ok(Settings {
            path: path.to_owned(),
            document,
            digest,
            configuration: file.configuration,
            data: base.join(file.data),
            forests,
            tenant,
            guard,
        }),
        _ => Err(SettingsError::Meaning { path: path.to_owned(), problems: found.0 }),
    }
}

fn check_forest(key: &str, forest: file::Forest, base: &Path, found: &mut Findings) -> ForestSettings {
    let (controllers, srv) = check_controllers(&format!("{key}.controllers"), &forest.controllers, found);
    let password = SecretRef { file: forest.password_file, env: forest.password_env };
    let kerberos = forest.kerberos.map(|kerberos| check_kerberos(key, kerberos, &forest.bind, &password, base, found));
    if kerberos.is_none() {
        if forest.bind.trim().is_empty() {
            found.add(
                format!("{key}.bind"),
                "the account is empty",
                "name the reader account: a distinguished name, user@domain or DOMAIN\\user",
            );
        }
        check_secret(key, "password", &password, found);
    }
    if let Some(attributes) = &forest.attributes {
        check_attributes(&format!("{key}.attributes"), attributes, found);
    }
    if forest.poll_interval < Duration::from_millis(100) {
        found.add(format!("{key}.poll_interval"), "is less than 100ms", "use at least 100ms, such as \"1s\"");
    }
    if forest.operation_timeout < Duration::from_secs(1) {
        found.add(format!("{key}.operation_timeout"), "is less than a second", "use \"120s\" unless you know better");
    }
    let (listed, all_domains) = match &forest.domains {
        file::Domains::Listed(listed) => (listed.as_slice(), false),
        file::Domains::Word(word) => {
            if word != "all" {
                let hint = "write domains = \"all\", or a list of the domains' distinguished names";
                found.add(format!("{key}.domains"), format!("{word:?} means nothing here"), hint);
            }
            (&[][..], true)
        }
    };
    let domains = check_domains(key, listed, found);
    let include = check_scope(&format!("{key}.include"), &forest.include, &domains, all_domains, found);
    let exclude = check_scope(&format!("{key}.exclude"), &forest.exclude, &domains, all_domains, found);
    check_coverage(key, &domains, &include, &exclude, found);
    ForestSettings {
        name: forest.name,
        controllers,
        srv,
        kerberos,
        all_domains,
        attributes: forest.attributes,
        ca_file: forest.ca_file.map(|file| base.join(file)),
        bind: forest.bind,
        password,
        base: base.to_owned(),
        domains,
        poll_interval: forest.poll_interval,
        notifications: forest.notifications,
        object_security: forest.object_security,
        operation_timeout: forest.operation_timeout,
        failover_after: forest.failover_after,
        include,
        exclude,
    }
}

fn check_controllers(
    key: &str,
    controllers: &file::Controllers,
    found: &mut Findings,
) -> (Vec<ControllerSettings>, Option<SrvConfig>) {
    match controllers {
        file::Controllers::Listed(listed) => {
            if listed.is_empty() {
                let hint = "name at least one, such as \"ldaps://dc01.emea.example\", or { srv = \"emea.example\" }";
                found.add(key, "no controller is named", hint);
            }
            (listed.iter().filter_map(|c| check_controller(key, c, found)).collect(), None)
        }
        file::Controllers::Srv(srv) => {
            let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let plain = |name: &str| {
                name.len() <= 253
                    && name.split('.').all(|part| (1..=63).contains(&part.len()) && part.bytes().all(label))
            };
            if !plain(&srv.srv) || srv.site.as_deref().is_some_and(|site| !plain(site)) {
                found.add(
                    key,
                    "srv or site is no DNS name",
                    "write the domain's DNS name, as in { srv = \"emea.example\" }",
                );
            }
            let mut config = SrvConfig::new(srv.srv.to_ascii_lowercase());
            (config.site, config.start_tls) = (srv.site.clone(), srv.starttls);
            for server in &srv.dns_servers {
                match server.parse::<SocketAddr>() {
                    Ok(server) => config.servers.push(server),
                    Err(_) => found.add(key, format!("{server:?} is no ip:port"), "write it as in \"192.0.2.1:53\""),
                }
            }
            (Vec::new(), Some(config))
        }
    }
}

fn check_kerberos(
    key: &str,
    kerberos: file::Kerberos,
    bind: &str,
    password: &SecretRef,
    base: &Path,
    found: &mut Findings,
) -> KerberosConfig {
    if !bind.is_empty() || password.file.is_some() || password.env.is_some() {
        let hint = "keep kerberos, or bind with its password";
        found.add(format!("{key}.kerberos"), "the account is given in two ways", hint);
    }
    if !cfg!(feature = "kerberos") {
        let hint = "build forestsync with the feature kerberos, or use bind with a password";
        found.add(format!("{key}.kerberos"), "this program was built without the feature kerberos", hint);
    }
    let sound = |(name, realm): (&str, &str)| !name.is_empty() && !realm.is_empty();
    if !kerberos.principal.rsplit_once('@').is_some_and(sound) {
        let hint = "write it as name@REALM, as in \"svc-forestsync@EMEA.EXAMPLE\"";
        found.add(format!("{key}.kerberos.principal"), format!("{:?} is no principal", kerberos.principal), hint);
    }
    KerberosConfig { keytab: base.join(kerberos.keytab), principal: kerberos.principal }
}

fn check_attributes(key: &str, attributes: &[String], found: &mut Findings) {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    for attribute in attributes {
        if attribute.is_empty() || attribute.len() > 256 || !attribute.bytes().all(legal) {
            found.add(key, format!("{attribute:?} is no attribute name"), "use the schema's lDAPDisplayName");
        } else if syntax::is_secret(attribute) {
            found.add(key, format!("{attribute} holds a secret and is never read"), "remove it");
        }
    }
}

fn check_controller(key: &str, controller: &file::Controller, found: &mut Findings) -> Option<ControllerSettings> {
    let hint = "write ldaps://host[:port], or ldap://host[:port] for StartTLS";
    let shown: String = controller.url.chars().take(200).collect();
    let Ok(url) = Url::parse(&controller.url) else {
        found.add(key, format!("{shown:?} is no URL"), hint);
        return None;
    };
    let plain = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    if !matches!(url.scheme(), "ldaps" | "ldap") || url.host_str().is_none_or(str::is_empty) {
        found.add(key, format!("{shown:?} is no address of a domain controller"), hint);
        return None;
    }
    if !plain || url.query().is_some() || url.fragment().is_some() {
        found.add(key, "the URL has more than scheme, host and port", hint);
        return None;
    }
    let address = match controller.address.as_deref().map(str::parse::<SocketAddr>) {
        None => None,
        Some(Ok(address)) => Some(address),
        Some(Err(_)) => {
            found.add(key, format!("the address of {shown:?} is no ip:port"), "write it as in \"192.0.2.1:636\"");
            return None;
        }
    };
    Some(ControllerSettings { url: controller.url.clone(), address })
}

fn check_secret(key: &str, what: &str, secret: &SecretRef, found: &mut Findings) {
    match (&secret.file, &secret.env) {
        (None, None) => found.add(
            format!("{key}.{what}"),
            "is missing",
            format!("add {what}_file = \"…\" or {what}_env = \"…\"; the secret itself never stands in this file"),
        ),
        (Some(_), Some(_)) => {
            found.add(
                format!("{key}.{what}"),
                format!("both {what}_file and {what}_env are given"),
                "keep one of them",
            );
        }
        _ => {}
    }
}

fn check_domains(key: &str, domains: &[String], found: &mut Findings) -> Vec<Dn> {
    let mut checked: Vec<Dn> = Vec::with_capacity(domains.len());
    for text in domains {
        match text.parse::<Dn>() {
            Ok(dn) if dn.domain_name().is_empty() || dn.domain_name().split('.').count() != dn.rdns().len() => found
                .add(
                    format!("{key}.domains"),
                    format!("{text:?} is no naming context"),
                    "write the domain's distinguished name, such as \"DC=emea,DC=example\"",
                ),
            Ok(dn) if checked.contains(&dn) => {
                found.add(format!("{key}.domains"), format!("{text:?} stands there twice"), "keep one of them");
            }
            Ok(dn) => checked.push(dn),
            Err(error) => found.add(
                format!("{key}.domains"),
                format!("{text:?}: {error}"),
                "write the domain's distinguished name, such as \"DC=emea,DC=example\"",
            ),
        }
    }
    checked
}

fn check_scope(
    key: &str,
    entries: &[String],
    domains: &[Dn],
    all_domains: bool,
    found: &mut Findings,
) -> Vec<ScopeEntry> {
    let mut checked = Vec::with_capacity(entries.len());
    for text in entries {
        if let Ok(object) = text.trim().parse::<ObjectGuid>() {
            if domains.len() > 1 || all_domains {
                found.add(
                    key,
                    format!("{text:?}: with several domains it is not clear where this object lies"),
                    "name the container by its distinguished name; forestsync keeps it by objectGUID from then on",
                );
            } else {
                checked.push(ScopeEntry::Object(object));
            }
            continue;
        }
        match text.parse::<Dn>() {
            Ok(dn) if dn.rdns().is_empty() => {
                found.add(key, "an entry is empty", "remove it, or name a container by distinguished name or objectGUID");
            }
            Ok(dn) if !domains.is_empty() && !domains.iter().any(|d| dn.is_within(d)) => found.add(
                key,
                format!("{text:?} lies in none of the forest's domains"),
                format!("correct it, or add its domain to domains ({})", join(domains)),
            ),
            Ok(dn) => checked.push(ScopeEntry::Dn(dn)),
            Err(error) => found.add(
                key,
                format!("{text:?}: {error}"),
                "name a container by its distinguished name, such as \"OU=Staff,DC=emea,DC=example\", or its objectGUID",
            ),
        }
    }
    checked
}

/// Where a forest includes something, every domain of it must: else a domain nobody listed would come as a whole.
fn check_coverage(key: &str, domains: &[Dn], include: &[ScopeEntry], exclude: &[ScopeEntry], found: &mut Findings) {
    if !include.is_empty() && domains.len() > 1 {
        for domain in domains {
            let covered = include.iter().any(|e| matches!(e, ScopeEntry::Dn(dn) if owner(domains, dn) == Some(domain)));
            if !covered {
                found.add(
                    format!("{key}.include"),
                    format!("nothing is included of the domain {domain}"),
                    format!("add a container of it, or \"{domain}\" for all of it, or take it out of domains"),
                );
            }
        }
    }
    if let Some(ScopeEntry::Dn(dn)) = include.iter().find(|e| exclude.contains(e)) {
        found.add(format!("{key}.exclude"), format!("{dn} is included as well"), "keep it in one of the two lists");
    }
}

/// The domain an object lies in: the longest one that fits, because domains nest.
pub fn owner<'a>(domains: &'a [Dn], dn: &Dn) -> Option<&'a Dn> {
    domains.iter().filter(|d| dn.is_within(d)).max_by_key(|d| d.rdns().len())
}

fn join(domains: &[Dn]) -> String {
    domains.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn check_tenant(tenant: file::Tenant, base: &Path, found: &mut Findings) -> Option<TenantSettings> {
    let id_like = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    if !id_like(&tenant.tenant_id) || matches!(tenant.tenant_id.as_str(), "common" | "organizations" | "consumers") {
        found.add(
            "tenant.tenant_id",
            format!("{:?} is no tenant", tenant.tenant_id),
            "write the directory (tenant) id shown in the Entra admin center, or one of the tenant's domains",
        );
    }
    if !id_like(&tenant.client_id) {
        found.add(
            "tenant.client_id",
            format!("{:?} is no application id", tenant.client_id),
            "write the application (client) id of the app registration",
        );
    }
    let client_secret = SecretRef { file: tenant.client_secret_file, env: tenant.client_secret_env };
    check_secret("tenant", "client_secret", &client_secret, found);
    if tenant.writes_per_150_seconds == 0 {
        found.add("tenant.writes_per_150_seconds", "is zero", "use 3000, the quota Microsoft documents, or less");
    }
    if !(1..=256).contains(&tenant.in_flight) {
        found.add("tenant.in_flight", "is not between 1 and 256", "use 16 unless you know better");
    }
    let (authority, graph) = check_cloud(&tenant.cloud, found)?;
    Some(TenantSettings {
        tenant_id: tenant.tenant_id,
        client_id: tenant.client_id,
        client_secret,
        base: base.to_owned(),
        authority,
        graph,
        ca_file: tenant.ca_file.map(|file| base.join(file)),
        writes_per_150_seconds: tenant.writes_per_150_seconds,
        in_flight: tenant.in_flight,
        soft_match_upn: tenant.soft_match.contains(&SoftMatch::Upn),
        soft_match_mail: tenant.soft_match.contains(&SoftMatch::Mail),
    })
}

fn check_cloud(cloud: &Cloud, found: &mut Findings) -> Option<(Url, Url)> {
    match cloud {
        Cloud::Named(name) => {
            let known = forestsync_provisioner::clouds();
            if let Some(cloud) = known.iter().find(|c| c.name == name.as_str()) {
                return Some((Url::parse(cloud.authority).ok()?, Url::parse(cloud.graph).ok()?));
            }
            let names: Vec<&str> = known.iter().map(|c| c.name).collect();
            found.add(
                "tenant.cloud",
                format!("{name:?} is no cloud"),
                format!("known are {}; or {{ authority = \"https://…\", graph = \"https://…\" }}", names.join(", ")),
            );
            None
        }
        Cloud::Custom { authority, graph } => {
            let authority = check_https("tenant.cloud.authority", authority, found);
            let graph = check_https("tenant.cloud.graph", graph, found);
            authority.zip(graph)
        }
    }
}

fn check_https(key: &str, text: &str, found: &mut Findings) -> Option<Url> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.host_str().is_some() => Some(url),
        _ => {
            found.add(
                key,
                format!("{text:?} is no https URL"),
                "write it as in \"https://graph.microsoft.com\": tokens are never sent in the clear",
            );
            None
        }
    }
}

fn check_guard(guard: &file::DeleteGuard, found: &mut Findings) -> GuardSettings {
    if !(0.0..=1.0).contains(&guard.share) {
        found.add("delete_guard.share", "is not between 0 and 1", "0.2 means a fifth of what is managed");
    }
    if guard.window.is_zero() {
        found.add("delete_guard.window", "is zero", "use \"1h\" unless you know better");
    }
    GuardSettings { count: guard.count, share: guard.share, member_minimum: guard.member_minimum, window: guard.window }
}
