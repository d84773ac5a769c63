//! `forestsync check`: whether a forest can be read as configured, line by line, each with what to do if not.
//!
//! Reads only, writes nothing, and stops at a controller's first line that makes the next ones pointless.

use std::collections::VecDeque;

use forestsync_domain::Dn;
use forestsync_schemas::changes::{Method, StopCause};
use ldap3::Scope;
use serde::Serialize;

use crate::config::{ControllerAddress, ForestConfig};
use crate::control;
use crate::entry::Wanted;
use crate::error::{ConnectError, SearchError, Trouble};
use crate::forest::{self, Forest};
use crate::rights::{self, Witnesses};
use crate::session::{Query, RootDse, Session};
use crate::transport::{self, Secured};

/// What a line is about. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckCode {
    /// The configuration itself.
    Configuration,
    /// The name resolves and a TCP connection is accepted.
    Reachable,
    /// The certificate is trusted and carries the name.
    Tls,
    /// The controllers are found by DNS.
    Controllers,
    /// The account is accepted.
    Bind,
    /// The account is accepted by Kerberos.
    Kerberos,
    /// The domains of the forest.
    Domains,
    /// The controller holds the naming context.
    NamingContext,
    /// The account reads the naming context.
    Rights,
    /// DirSync answers.
    DirSync,
    /// USN polling answers, where that is the method.
    UsnPolling,
    /// Deletions are visible.
    Deletions,
    /// Members from other forests are visible.
    ForeignPrincipals,
    /// How long deletions stay visible.
    TombstoneLifetime,
    /// The attributes exist and can be read.
    Attributes,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As it should be.
    Ok,
    /// It works, with a restriction.
    Warning,
    /// It does not work.
    Failed,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// The forest.
    pub forest: String,
    /// The controller; absent for the configuration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The naming context, where the line is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naming_context: Option<Dn>,
    /// What it is about.
    pub code: CheckCode,
    /// How it came out.
    pub outcome: CheckOutcome,
    /// What was seen.
    pub detail: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The lines of one controller while they are being made.
struct Lines<'a> {
    forest: &'a str,
    controller: Option<String>,
    naming_context: Option<Dn>,
    /// A controller refused the account.
    refused: bool,
    out: &'a mut Vec<CheckLine>,
}

impl Lines<'_> {
    fn say(&mut self, code: CheckCode, outcome: CheckOutcome, detail: impl Into<String>, hint: Option<&str>) {
        self.out.push(CheckLine {
            forest: self.forest.to_owned(),
            controller: self.controller.clone(),
            naming_context: self.naming_context.clone(),
            code,
            outcome,
            detail: detail.into(),
            hint: hint.map(str::to_owned),
        });
    }

    fn ok(&mut self, code: CheckCode, detail: impl Into<String>) {
        self.say(code, CheckOutcome::Ok, detail, None);
    }

    fn fail(&mut self, code: CheckCode, trouble: &Trouble) {
        self.say(code, CheckOutcome::Failed, trouble.to_string(), Some(trouble.hint()));
    }
}

/// Checks every controller, listed or found. Bounded by the time limits of the configuration.
pub async fn check(config: &ForestConfig) -> Vec<CheckLine> {
    let mut out = Vec::new();
    let mut lines =
        Lines { forest: &config.name, controller: None, naming_context: None, refused: false, out: &mut out };
    let forest = match Forest::new(config.clone()) {
        Ok(forest) => forest,
        Err(error) => {
            let hint = Some("correct the configuration");
            lines.say(CheckCode::Configuration, CheckOutcome::Failed, error.to_string(), hint);
            return out;
        }
    };
    let mut todo = match forest.roster.entrance().await {
        Ok(found) => VecDeque::from(found),
        Err(error) => {
            lines.fail(CheckCode::Controllers, &error.into());
            return out;
        }
    };
    if let Some(srv) = &config.srv {
        lines.ok(CheckCode::Controllers, format!("{} by the SRV records of {}", names(&todo), srv.domain));
    }
    let (mut done, mut wanted): (Vec<ControllerAddress>, Wanting) = (Vec::new(), Wanting::new(config));
    while let Some(to) = todo.pop_front() {
        lines.controller = Some(to.to_string());
        lines.naming_context = None;
        done.push(to.clone());
        let Some(stream) = connected(config, &to, &mut lines).await else { continue };
        if lines.refused {
            let hint = "correct the account first; every wrong password counts towards locking it";
            lines.say(CheckCode::Bind, CheckOutcome::Warning, "not tried again: the account was refused", Some(hint));
            continue;
        }
        let Some(session) = bound(config, &to, stream, &mut lines).await else { continue };
        Box::pin(controller(config, &to, session, &mut wanted, &mut lines)).await;
        if config.srv.is_some() {
            lines.controller = None;
            elsewhere(&forest, &wanted, &done, &mut todo, &mut lines).await;
        }
    }
    holders(&wanted, &mut lines);
    out
}

/// What is to be read, and who was seen to hold it.
struct Wanting {
    naming_contexts: Vec<Dn>,
    /// By naming context.
    holders: Vec<(Dn, String)>,
    /// A controller said what it holds.
    asked: bool,
    last: String,
}

impl Wanting {
    fn new(config: &ForestConfig) -> Self {
        let naming_contexts = config.naming_contexts.clone();
        Self { naming_contexts, holders: Vec::new(), asked: false, last: String::new() }
    }
}

fn names<'a>(controllers: impl IntoIterator<Item = &'a ControllerAddress>) -> String {
    controllers.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The controllers of the domains that were found meanwhile.
async fn elsewhere(
    forest: &Forest,
    wanted: &Wanting,
    done: &[ControllerAddress],
    todo: &mut VecDeque<ControllerAddress>,
    lines: &mut Lines<'_>,
) {
    for nc in &wanted.naming_contexts {
        match forest.roster.candidates(nc, None).await {
            Ok(found) => {
                let new = found.into_iter().filter(|to| !done.contains(to) && !todo.contains(to)).collect::<Vec<_>>();
                if !new.is_empty() {
                    lines.naming_context = Some(nc.clone());
                    lines.ok(CheckCode::Controllers, format!("{} by SRV records", names(&new)));
                    todo.extend(new);
                }
            }
            Err(error) => {
                lines.naming_context = Some(nc.clone());
                lines.fail(CheckCode::Controllers, &error.into());
            }
        }
    }
    lines.naming_context = None;
}

/// Tells of each naming context who holds it, where that is not plain from the lines before.
fn holders(wanted: &Wanting, lines: &mut Lines<'_>) {
    lines.controller = None;
    for nc in wanted.naming_contexts.iter().filter(|_| wanted.asked) {
        lines.naming_context = Some(nc.clone());
        let hosts: Vec<&str> =
            wanted.holders.iter().filter(|(held, _)| held == nc).map(|(_, host)| host.as_str()).collect();
        if hosts.is_empty() {
            let trouble = Trouble::NotHosted { host: wanted.last.clone(), naming_context: nc.clone() };
            lines.fail(CheckCode::NamingContext, &trouble);
        } else if wanted.naming_contexts.len() > 1 {
            lines.ok(CheckCode::NamingContext, format!("held by {}", hosts.join(", ")));
        }
    }
}

async fn controller(
    config: &ForestConfig,
    to: &ControllerAddress,
    mut session: Session,
    wanted: &mut Wanting,
    lines: &mut Lines<'_>,
) {
    let root = match session.root_dse().await {
        Ok(root) => root,
        Err(trouble) => return lines.fail(CheckCode::NamingContext, &trouble),
    };
    if wanted.naming_contexts.is_empty() && config.all_domains {
        match forest::domains(&mut session, &root).await {
            Ok(found) => {
                let names: Vec<&str> = found.iter().map(|domain| domain.dns_root.as_str()).collect();
                lines.ok(CheckCode::Domains, format!("the forest has {}: {}", found.len(), names.join(", ")));
                wanted.naming_contexts = found.into_iter().map(|domain| domain.naming_context).collect();
            }
            Err(trouble) => return lines.fail(CheckCode::Domains, &trouble),
        }
    }
    if wanted.naming_contexts.is_empty() {
        wanted.naming_contexts.push(root.default_naming_context.clone());
    }
    (wanted.asked, wanted.last) = (true, to.host.clone());
    for nc in wanted.naming_contexts.clone() {
        lines.naming_context = Some(nc.clone());
        if !root.naming_contexts.contains(&nc) {
            lines.ok(CheckCode::NamingContext, "not held by this controller");
            continue;
        }
        wanted.holders.push((nc.clone(), to.host.clone()));
        lines.ok(CheckCode::NamingContext, "held by this controller");
        if let Err((code, trouble)) = naming_context(config, &mut session, &root, &nc, lines).await {
            lines.fail(code, &trouble);
            return; // the session may be unusable
        }
    }
}

async fn connected(config: &ForestConfig, to: &ControllerAddress, lines: &mut Lines<'_>) -> Option<Secured> {
    let stream = match transport::tls_config(config.ca_file.as_deref()) {
        Ok(tls) => transport::connect(to, &tls, config.connect_timeout).await,
        Err(error) => Err(error),
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            let code = match &error {
                ConnectError::Certificate { .. }
                | ConnectError::Roots { .. }
                | ConnectError::Tls { .. }
                | ConnectError::StartTls { .. } => CheckCode::Tls,
                _ => CheckCode::Reachable,
            };
            if code == CheckCode::Tls && !matches!(error, ConnectError::Roots { .. }) {
                lines.ok(CheckCode::Reachable, "a connection is accepted");
            }
            lines.fail(code, &error.into());
            return None;
        }
    };
    lines.ok(CheckCode::Reachable, "a connection is accepted");
    lines.ok(CheckCode::Tls, "the certificate is trusted and carries the name");
    Some(stream)
}

async fn bound(
    config: &ForestConfig,
    to: &ControllerAddress,
    stream: Secured,
    lines: &mut Lines<'_>,
) -> Option<Session> {
    let code = if config.kerberos.is_some() { CheckCode::Kerberos } else { CheckCode::Bind };
    match Session::bound(stream, to, config).await {
        Ok(session) => {
            lines.ok(code, format!("{} is accepted", config.account()));
            Some(session)
        }
        Err(error) => {
            let trouble = error.into();
            lines.fail(code, &trouble);
            lines.refused = trouble.cause() == Some(StopCause::Credentials);
            None
        }
    }
}

async fn naming_context(
    config: &ForestConfig,
    session: &mut Session,
    root: &RootDse,
    nc: &Dn,
    lines: &mut Lines<'_>,
) -> Result<(), (CheckCode, Trouble)> {
    let at = |code| move |trouble: Trouble| (code, trouble);
    let wanted = Wanted::new(&config.attributes);
    let hidden =
        rights::unreadable(session, &root.schema_naming_context, &wanted).await.map_err(at(CheckCode::Attributes))?;
    if hidden.is_empty() {
        lines.ok(CheckCode::Attributes, format!("{} attributes are read", wanted.names().len()));
    } else {
        let detail = format!("confidential or filtered: {}", hidden.join(", "));
        let hint = "that such an attribute was cleared cannot be told from not being allowed to read it; grant the account control access, or remove it from `attributes`";
        lines.say(CheckCode::Attributes, CheckOutcome::Warning, detail, Some(hint));
    }
    let mut witnesses = Witnesses::new();
    rights::verify(session, nc, &mut witnesses).await.map_err(at(CheckCode::Rights))?;
    lines.ok(CheckCode::Rights, "the root and containers below it can be read");
    match config.method {
        Method::Dirsync => dirsync(config, session, root, nc, lines).await.map_err(at(CheckCode::DirSync))?,
        Method::Usn => usn_polling(session, nc, lines).await.map_err(at(CheckCode::UsnPolling))?,
    }
    let visible = rights::deletions_visible(session, nc).await.map_err(|e| (CheckCode::Deletions, e.into()))?;
    if visible {
        lines.ok(CheckCode::Deletions, "tombstones are visible");
    } else {
        let detail = format!(
            "tombstones are not visible; deletions are found by a full read every {:?}",
            config.snapshot_interval
        );
        let hint = format!(
            "let the account list and read its contents: dsacls \"CN=Deleted Objects,{nc}\" /takeownership, then dsacls \"CN=Deleted Objects,{nc}\" /g ACCOUNT:LCRP"
        );
        lines.say(CheckCode::Deletions, CheckOutcome::Warning, detail, Some(&hint));
    }
    let visible = rights::foreign_principals_visible(session, nc).await;
    if visible.map_err(|e| (CheckCode::ForeignPrincipals, e.into()))? {
        lines.ok(CheckCode::ForeignPrincipals, "nothing hides members of groups from other forests");
    } else {
        let container = format!("CN=ForeignSecurityPrincipals,{nc}");
        let detail = format!("the objects in {container} are hidden; members of groups from other forests are missed");
        let hint = format!("let the account list and read them: dsacls \"{container}\" /I:T /g ACCOUNT:LCRP");
        lines.say(CheckCode::ForeignPrincipals, CheckOutcome::Warning, detail, Some(&hint));
    }
    tombstones(session, root, lines).await.map_err(at(CheckCode::TombstoneLifetime))
}

/// Makes a DirSync read that matches next to nothing.
async fn dirsync(
    config: &ForestConfig,
    session: &mut Session,
    root: &RootDse,
    nc: &Dn,
    lines: &mut Lines<'_>,
) -> Result<(), Trouble> {
    let security = if config.object_security { control::OBJECT_SECURITY } else { 0 };
    let base = nc.to_string();
    let query = Query {
        base: &base,
        scope: Scope::Subtree,
        filter: "(objectClass=domainDNS)",
        attributes: vec!["objectGUID".to_owned()],
        controls: vec![
            control::dirsync(control::INCREMENTAL_VALUES | control::ANCESTORS_FIRST | security, 64 * 1024, &[]),
            control::extended_dn(),
        ],
        size_limit: 0,
    };
    let mut answer = session.search(query).await?;
    while answer.next().await?.is_some() {}
    let outcome = answer.finish().await;
    if outcome.code != 0 {
        return Err(SearchError::Result { base, code: outcome.code, text: outcome.text }.into());
    }
    control::dirsync_response(&outcome.controls)
        .map_err(|source| Trouble::Control { naming_context: nc.clone(), source })?;
    let announced = if root.supports_dirsync { "" } else { ", although the rootDSE does not announce it" };
    let security = if config.object_security { "with the account's own rights" } else { "with Get-Changes" };
    lines.ok(CheckCode::DirSync, format!("answers {security}{announced}"));
    Ok(())
}

/// Asks for what changed last, a page of one entry.
async fn usn_polling(session: &mut Session, nc: &Dn, lines: &mut Lines<'_>) -> Result<(), Trouble> {
    let (usn, service) = session.usn().await?;
    session.invocation_id(&service).await?;
    let base = nc.to_string();
    let query = Query {
        base: &base,
        scope: Scope::Subtree,
        filter: &format!("(uSNChanged>={})", usn.0),
        attributes: vec!["uSNChanged".to_owned()],
        controls: vec![control::paged(1, &[]), control::extended_dn(), control::show_deleted()],
        size_limit: 0,
    };
    let mut answer = session.search(query).await?;
    while answer.next().await?.is_some() {}
    let outcome = answer.finish().await;
    if outcome.code != 0 {
        return Err(SearchError::Result { base, code: outcome.code, text: outcome.text }.into());
    }
    control::paged_response(&outcome.controls)
        .map_err(|source| Trouble::Control { naming_context: nc.clone(), source })?;
    lines.ok(CheckCode::UsnPolling, "answers in pages, with the account's own rights");
    Ok(())
}

/// tombstoneLifetime of the forest (MS-ADTS 6.1.1.2.4.1.1); 60 days where it is not set.
async fn tombstones(session: &mut Session, root: &RootDse, lines: &mut Lines<'_>) -> Result<(), Trouble> {
    let configuration = root.schema_naming_context.split_once(',').map_or("", |(_, parent)| parent);
    let base = format!("CN=Directory Service,CN=Windows NT,CN=Services,{configuration}");
    let entry = match session.read(&base, &["tombstoneLifetime"], Vec::new()).await {
        Err(SearchError::Result { .. }) => None,
        other => other?,
    };
    let days: u32 = entry.and_then(|e| e.text("tombstoneLifetime").and_then(|t| t.parse().ok())).unwrap_or(60);
    let detail = format!("{days} days; a collector that was away for more than 30 begins with a full read");
    if days < 30 {
        let hint = "deletions may be gone before a collector that was away for long reads them; raise tombstoneLifetime to 60 days or more";
        lines.say(CheckCode::TombstoneLifetime, CheckOutcome::Warning, detail, Some(hint));
    } else {
        lines.ok(CheckCode::TombstoneLifetime, detail);
    }
    Ok(())
}
