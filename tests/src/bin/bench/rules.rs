//! Rules, against the default ones over the same objects; and how soon questions about all of them are answered.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use forestsync_domain::{AttributeValue, Attributes, Dn};
use forestsync_log::{EmbeddedLog, NewRecord, StreamName};
use forestsync_projector::query::{Answer, LintFilter, Query};
use forestsync_projector::{GroupEntry, ProjectorConfig, ScopeEntry, ask};
use forestsync_rules::settings::{Rules, RulesForm};
use forestsync_schemas::changes::{ChangeEvent, LinkValuesChanged, ObjectObserved};
use forestsync_schemas::streams;
use forestsync_tests::peers;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::project::{OBJECTS, guid, projected, record, snapshot, source, user, write_stream};
use crate::{Measured, median};

/// Containers that the configuration names: four in five of them included, the others, below an included one, excluded.
const CONTAINERS: u32 = 500;
/// Groups of which users must be members.
const GROUPS: u32 = 200;
/// Expressions of the configuration.
const EXPRESSIONS: usize = 60;

const FIRST_GROUP: u32 = 1 + CONTAINERS;
const FIRST_USER: u32 = FIRST_GROUP + GROUPS;

fn text(value: String) -> Vec<AttributeValue> {
    vec![AttributeValue::Text(value)]
}

fn named(all: Vec<(&str, Vec<AttributeValue>)>) -> Attributes {
    all.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
}

/// Every fifth container is excluded and lies in the one before it.
fn is_excluded(container: u32) -> bool {
    container.is_multiple_of(5)
}

fn container(n: u32, base: &Dn) -> Dn {
    if is_excluded(n) {
        container(n - 1, base).child("OU", &format!("Not {n}"))
    } else {
        base.child("OU", &format!("Unit {n}"))
    }
}

fn group(n: u32, base: &Dn) -> Dn {
    base.child("OU", "Unit 1").child("CN", &format!("Group {n}"))
}

/// An object of the population: the domain, its containers, its groups with their members, and users in all of them.
fn object(n: u32, base: &Dn) -> Vec<NewRecord> {
    let classes = |all: &[&str]| all.iter().map(|class| AttributeValue::from(*class)).collect::<Vec<_>>();
    let mut records = Vec::new();
    let (dn, parent, attributes) = match n {
        0 => (base.clone(), None, named(vec![("objectClass", classes(&["top", "domain", "domainDNS"]))])),
        n if n < FIRST_GROUP => {
            let parent = if is_excluded(n) { n - 1 } else { 0 };
            (container(n, base), Some(parent), named(vec![("objectClass", classes(&["top", "organizationalUnit"]))]))
        }
        n if n < FIRST_USER => {
            // each twentieth group is a member of the one before it, so that memberships nest
            let members = (FIRST_USER..OBJECTS).skip((n - FIRST_GROUP) as usize).step_by(GROUPS as usize);
            let nested = (n % 20 == 1 && n + 1 < FIRST_USER).then_some(n + 1);
            let added = members.chain(nested).map(guid).collect();
            let attribute = "member".to_owned();
            let links = LinkValuesChanged { snapshot: Some(snapshot()), attribute, removed: Vec::new(), added };
            records.push(record(ChangeEvent::LinkValuesChanged(links), Some(guid(n)), base));
            let all = vec![
                ("objectClass", classes(&["top", "group"])),
                ("sAMAccountName", text(format!("group{n}"))),
                ("groupType", text("-2147483646".into())),
            ];
            (group(n, base), Some(1), named(all))
        }
        n => {
            let unit = n % CONTAINERS + 1;
            let sam = format!("user{n:06}");
            // one in twenty has a flaw
            let mail = if n % 20 == 0 { format!("{sam} @emea.example") } else { format!("{sam}@emea.example") };
            (container(unit, base).child("CN", &sam), Some(unit), user(n, &sam, mail))
        }
    };
    let event = ObjectObserved { snapshot: snapshot(), dn, parent: parent.map(guid), attributes };
    records.insert(0, record(ChangeEvent::ObjectObserved(event), Some(guid(n)), base));
    records
}

/// What administrators write, a few times over.
fn rules() -> Rules {
    let shapes = [
        r#"IIF(IsPresent([company]) AND [company] <> "Nobody", Left(Trim([title]), 64), "none")"#,
        r#"Join("; ", [title], [department], [company])"#,
        r#"Switch([department], "Elsewhere", "Department 1", "One", "Department 2", "Two", "Department 3", "Three")"#,
        r#"Replace([telephoneNumber], " ", "")"#,
        r#"ToUpper(NormalizeDiacritics([sn])) & ", " & [givenName]"#,
        "IIF(BitAnd([userAccountControl], 2) = 0, Mid([employeeID], 2, 4), IgnoreThisFlow)",
    ];
    let plain = ["jobTitle", "companyName", "department", "city", "country", "state", "officeLocation", "faxNumber"];
    let extended = (1..=15).map(|n| format!("onPremisesExtensionAttributes.extensionAttribute{n}"));
    let targets: Vec<String> = plain.iter().map(|name| (*name).to_owned()).chain(extended).collect();
    let mut document = "[scope]\nclasses = [\"user\"]\n".to_owned();
    for n in 0..EXPRESSIONS {
        let target = targets.get(n).cloned().unwrap_or_else(|| {
            write!(document, "[[flow.extensions]]\nname = \"bench{n}\"\ntype = \"String\"\n").unwrap();
            format!("extension.bench{n}")
        });
        let expression = shapes[n % shapes.len()];
        write!(document, "[[flow.rules]]\nclass = \"user\"\ntarget = \"{target}\"\nexpression = '{expression}'\n")
            .unwrap();
    }
    let form: RulesForm = toml::from_str(&document).unwrap();
    Rules::compile(&form, &["emea".to_owned()]).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn config(stream: &StreamName, base: &Dn, directory: &Path, name: &str) -> ProjectorConfig {
    ProjectorConfig {
        configuration: name.to_owned(),
        directory: directory.join(name),
        sources: vec![source(stream, base)],
        rules: Arc::default(),
        tenant: None,
        removed: None,
    }
}

/// The longest of several questions of a kind, in milliseconds.
async fn slowest(config: &ProjectorConfig, log: &Arc<EmbeddedLog>, queries: Vec<Query>) -> f64 {
    let mut slowest: f64 = 0.0;
    for query in queries {
        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            let answer = ask(config.clone(), Arc::<EmbeddedLog>::clone(log), query.clone()).await.unwrap();
            times.push(start.elapsed().as_secs_f64() * 1_000.0);
            let is_answered = match &answer {
                Answer::Explain(found) => found.iter().any(|object| !object.attributes.is_empty()),
                // that nothing is found takes as long: all findings are looked at
                Answer::Lint(found) => {
                    !found.is_empty() || matches!(&query, Query::Lint(filter) if filter.severity.is_some())
                }
                Answer::WhatIf(_) | Answer::TakenUp(_) | Answer::Failed(_) => false,
            };
            assert!(is_answered, "{query:?}");
        }
        slowest = slowest.max(median(times));
    }
    slowest
}

pub(crate) async fn against_the_default() -> Vec<Measured> {
    let base: Dn = "DC=emea,DC=example".parse().unwrap();
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let log = Arc::new(EmbeddedLog::open(folder.path().join("log")).unwrap());
    let stream: StreamName = streams::changes("emea", &base).parse().unwrap();
    write_stream(&log, &stream, &base, (0..OBJECTS).map(|n| object(n, &base))).await;
    let rules = Arc::new(rules());
    let entries = |wanted: bool| {
        let all = (1..FIRST_GROUP).filter(|n| is_excluded(*n) == wanted);
        all.map(|n| ScopeEntry::Dn(container(n, &base))).collect::<Vec<_>>()
    };
    let (mut ratios, mut rates, mut last) = (Vec::new(), Vec::new(), None);
    for n in 0..3 {
        // the default configuration: the same objects, no narrowing
        let plain = config(&stream, &base, folder.path(), &format!("plain{n}"));
        let (projector, by_default) = projected(&log, plain).await;
        drop(projector);
        let mut ruled = config(&stream, &base, folder.path(), &format!("ruled{n}"));
        ruled.rules = Arc::clone(&rules);
        (ruled.sources[0].include, ruled.sources[0].exclude) = (entries(false), entries(true));
        let groups = (FIRST_GROUP..FIRST_USER).map(|n| ScopeEntry::Dn(group(n, &base)));
        ruled.sources[0].include_groups = groups.map(|group| GroupEntry { forest: "emea".to_owned(), group }).collect();
        let (projector, by_rules) = projected(&log, ruled.clone()).await;
        let desired: u64 = projector.status().borrow().projected.values().sum();
        assert!(desired > u64::from(OBJECTS) * 3 / 4, "most of them are in scope: {desired}");
        ratios.push(by_default / by_rules);
        rates.push(f64::from(OBJECTS) / by_rules);
        last = Some((projector, ruled));
    }
    let (projector, ruled) = last.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(projector.run(shutdown.clone()));
    let some = FIRST_USER + 1;
    let asked = [
        "user000702@emea.example".to_owned(),
        guid(some).to_string(),
        container(some % CONTAINERS + 1, &base).child("CN", "user000702").to_string(),
    ];
    let explain = slowest(&ruled, &log, asked.map(Query::Explain).into()).await;
    let filter = |severity: Option<&str>| LintFilter {
        severity: severity.map(str::to_owned),
        limit: 1_000,
        ..LintFilter::default()
    };
    let lint = slowest(&ruled, &log, vec![Query::Lint(filter(None)), Query::Lint(filter(Some("error")))]).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let ratio = median(ratios);
    let answer = |what, took: f64| Measured {
        what,
        value: format!("{took:.1} ms"),
        floor: "< 200 ms".into(),
        met: took < 200.0,
    };
    vec![
        Measured {
            what: "rules: 500 OUs, 200 groups, 60 expressions / default, 100,000",
            value: format!("{ratio:.2} ({:.0} objects/s)", median(rates)),
            floor: ">= 0.50".into(),
            met: ratio >= 0.5,
        },
        answer("rules: explain at 100,000 objects", explain),
        answer("rules: lint at 100,000 objects, 5,000 with a flaw", lint),
    ]
}
