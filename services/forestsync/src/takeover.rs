//! Who is there already: what a configuration would take over in its tenant, what it would leave, and why.
//!
//! Made of a rehearsal and of a list of the tenant's users and groups. Each object of the directory has one line for what
//! becomes of it, and one more for each object of the tenant that it matches and is not joined with; each object of the
//! tenant that nobody manages, joins or matches has one line. Fields are added, never removed or given another meaning.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use forestsync_domain::SourceAnchor;
use forestsync_provisioner::{MatchResult, Rehearsal, SeenMatch};
use forestsync_rules::hygiene::TenantHolder;
use forestsync_schemas::OutcomeRecord;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{AttributeChanges, AttributePair, Operation, OutcomeEvent};
use serde::Serialize;

use crate::config::Settings;
use crate::output::{self, printable, quoted};
use crate::plan::change_lines;
use crate::status::name_of;

/// Objects of one kind that are shown unless all are asked for.
const SHOWN: usize = 20;

/// The JSON of `take-over`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TakeOver {
    /// The configuration's name.
    pub configuration: String,
    /// The tenant.
    pub tenant: String,
    /// Wishes up to this offset (exclusive) of `desired` are in it.
    pub desired_offset: u64,
    /// Why nothing at all would be wished anew, where that is so.
    pub holds: Vec<String>,
    /// How many objects there are of each kind, by class.
    pub counts: Vec<Count>,
    /// The objects, but for those that are managed already.
    pub objects: Vec<Line>,
}

/// How many objects there are of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Of which class.
    pub class: CloudClass,
    /// What becomes of them.
    pub fate: Fate,
    /// How many.
    pub count: u64,
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is managed already.
    Managed,
    /// An object of the tenant carries its anchor and is joined.
    JoinedByAnchor,
    /// An object of the tenant is found by a pair of attributes and joined.
    Joined,
    /// The same, once somebody has approved it.
    Held,
    /// It matches an object of the tenant that is not joined.
    Refused,
    /// A deleted object of the tenant is brought back.
    Restored,
    /// It is created.
    Created,
    /// It can be neither joined nor created as it is.
    Failed,
    /// An object of the tenant that nobody matches stays as it is.
    Untouched,
}

impl Fate {
    fn title(self) -> &'static str {
        match self {
            Self::Managed => "managed already",
            Self::JoinedByAnchor => "joined by the source anchor",
            Self::Joined => "joined by attributes",
            Self::Held => "joined by attributes once approved",
            Self::Refused => "matched and not joined",
            Self::Restored => "brought back",
            Self::Created => "created",
            Self::Failed => "neither joined nor created",
            Self::Untouched => "left untouched in the tenant",
        }
    }
}

/// An object of the directory, of the tenant, or both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What becomes of it.
    pub fate: Fate,
    /// Its class.
    pub class: CloudClass,
    /// Its distinguished name in the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dn: Option<String>,
    /// Its source anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    /// The objects of the tenant: one, or all that have a value in common.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cloud: Vec<CloudName>,
    /// By what it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<AttributePair>,
    /// What a join or a return changes in the tenant, attribute by attribute.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: AttributeChanges,
    /// A code for the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The reason, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An object of the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloudName {
    /// Its id.
    pub id: String,
    /// A user's name for signing in, a group's display name.
    pub name: String,
}

impl TakeOver {
    /// What the rehearsal shows, in a tenant that has these users and groups.
    pub fn of(settings: &Settings, rehearsal: &Rehearsal, holders: &[TenantHolder], holds: Vec<String>) -> Self {
        let mut gathering = Gathering::new(rehearsal, holders);
        for record in &rehearsal.outcomes {
            gathering.outcome(record);
        }
        for (anchor, matches) in &rehearsal.matches {
            gathering.matches(anchor, matches);
        }
        gathering.untouched(holders);
        let counts = gathering.counts();
        let mut objects = gathering.lines;
        objects.sort_by(|a, b| (a.fate, a.class, &a.dn, first(a)).cmp(&(b.fate, b.class, &b.dn, first(b))));
        Self {
            configuration: settings.configuration.clone(),
            tenant: settings.tenant.tenant_id.clone(),
            desired_offset: rehearsal.desired_next,
            holds,
            counts,
            objects,
        }
    }

    /// The same as a table for a spreadsheet.
    pub fn csv(&self) -> String {
        let mut out = "fate,class,dn,anchor,cloud_ids,cloud_names,found_by,changes,code,detail\n".to_owned();
        for line in &self.objects {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let many = |of: fn(&CloudName) -> &str| line.cloud.iter().map(of).collect::<Vec<_>>().join("; ");
            let fields = [
                name_of(&line.fate),
                line.class.as_str().to_owned(),
                text(&line.dn),
                text(&line.anchor),
                many(|cloud| &cloud.id),
                many(|cloud| &cloud.name),
                line.pair.as_ref().map(ToString::to_string).unwrap_or_default(),
                change_lines(&line.changes).join("; "),
                text(&line.code),
                text(&line.detail),
            ];
            out += &fields.map(|field| quoted(&field)).join(",");
            out.push('\n');
        }
        out
    }
}

fn first(line: &Line) -> Option<&str> {
    line.cloud.first().map(|cloud| cloud.name.as_str())
}

/// Where lines come together.
struct Gathering<'a> {
    rehearsal: &'a Rehearsal,
    /// What the tenant's objects are called, by id.
    names: HashMap<&'a str, &'a str>,
    /// Attributes that would be written, by anchor.
    changes: HashMap<&'a SourceAnchor, AttributeChanges>,
    /// Those that are taken over, brought back or created.
    new: HashSet<&'a SourceAnchor>,
    /// Objects of the tenant that stand in a line, by id.
    seen: HashSet<String>,
    lines: Vec<Line>,
}

impl<'a> Gathering<'a> {
    fn new(rehearsal: &'a Rehearsal, holders: &'a [TenantHolder]) -> Self {
        let mut changes: HashMap<&SourceAnchor, AttributeChanges> = HashMap::new();
        for record in &rehearsal.outcomes {
            if let OutcomeEvent::ObjectUpdated(updated) = &record.event {
                changes.entry(&record.context.anchor).or_default().extend(updated.changes.clone());
            }
        }
        let names = holders.iter().map(|holder| (holder.id.as_str(), called(holder))).collect();
        Self { rehearsal, names, changes, new: HashSet::new(), seen: HashSet::new(), lines: Vec::new() }
    }

    fn line(&self, fate: Fate, class: CloudClass, anchor: &SourceAnchor) -> Line {
        let dn = self.rehearsal.names.get(anchor).cloned();
        let anchor = Some(anchor.to_string());
        let (cloud, changes) = (Vec::new(), AttributeChanges::new());
        Line { fate, class, dn, anchor, cloud, pair: None, changes, code: None, detail: None }
    }

    fn cloud(&self, id: Option<&String>) -> Vec<CloudName> {
        let name = |id: &String| self.names.get(id.as_str()).copied().unwrap_or_default().to_owned();
        id.into_iter().map(|id| CloudName { id: id.clone(), name: name(id) }).collect()
    }

    fn outcome(&mut self, record: &'a OutcomeRecord) {
        let (anchor, class) = (&record.context.anchor, record.context.class);
        let changes = || self.changes.get(anchor).cloned().unwrap_or_default();
        let cloud = self.cloud(record.context.cloud_id.as_ref());
        let line = match &record.event {
            OutcomeEvent::ObjectAdopted(adopted) => {
                let fate = if adopted.pair.is_some() { Fate::Joined } else { Fate::JoinedByAnchor };
                Line { cloud, changes: changes(), pair: adopted.pair.clone(), ..self.line(fate, class, anchor) }
            }
            OutcomeEvent::ObjectRestored(_) => {
                Line { cloud, changes: changes(), ..self.line(Fate::Restored, class, anchor) }
            }
            OutcomeEvent::ObjectProvisioned(_) => self.line(Fate::Created, class, anchor),
            // what was found and is not joined is told by the match itself, with what was found
            OutcomeEvent::ExportQuarantined(e) if e.operation == Operation::Create && !self.is_refused(anchor) => {
                let error = &e.error;
                let (code, detail) = (Some(error.code.clone()), Some(error.detail.clone()));
                Line { code, detail, ..self.line(Fate::Failed, class, anchor) }
            }
            _ => return,
        };
        if line.fate != Fate::Failed {
            self.new.insert(anchor);
        }
        self.seen.extend(line.cloud.iter().map(|cloud| cloud.id.clone()));
        self.lines.push(line);
    }

    fn is_refused(&self, anchor: &SourceAnchor) -> bool {
        let refused = |seen: &SeenMatch| matches!(seen.result, MatchResult::Refused { .. });
        self.rehearsal.matches.get(anchor).is_some_and(|matches| matches.iter().any(refused))
    }

    fn matches(&mut self, anchor: &'a SourceAnchor, matches: &[SeenMatch]) {
        let is_new = self.new.contains(anchor);
        for SeenMatch { class, pair, objects, result } in matches {
            let cloud = objects.iter().map(|(id, name)| CloudName { id: id.clone(), name: name.clone() }).collect();
            let line = match result {
                // the outcome tells it
                MatchResult::Joins(_) if is_new => continue,
                MatchResult::Joins(changes) => {
                    Line { changes: changes.clone(), ..self.line(Fate::Held, *class, anchor) }
                }
                MatchResult::Refused { code, why } => {
                    let beside = if is_new { "" } else { "; nothing is created beside it" };
                    let detail = Some(format!("it {why}{beside}"));
                    Line { code: Some(code.clone()), detail, ..self.line(Fate::Refused, *class, anchor) }
                }
            };
            self.seen.extend(objects.iter().map(|(id, _)| id.clone()));
            self.lines.push(Line { cloud, pair: Some(pair.clone()), ..line });
        }
    }

    fn untouched(&mut self, holders: &[TenantHolder]) {
        let is_left = |holder: &&TenantHolder| {
            !self.rehearsal.managed.contains_key(&holder.id) && !self.seen.contains(&holder.id)
        };
        let left = holders.iter().filter(is_left).map(|holder| Line {
            fate: Fate::Untouched,
            class: if holder.is_user { CloudClass::User } else { CloudClass::Group },
            dn: None,
            anchor: None,
            cloud: vec![CloudName { id: holder.id.clone(), name: called(holder).to_owned() }],
            pair: None,
            changes: AttributeChanges::new(),
            code: None,
            detail: why_untouched(holder).map(str::to_owned),
        });
        let left: Vec<Line> = left.collect();
        self.lines.extend(left);
    }

    fn counts(&self) -> Vec<Count> {
        let mut counts: BTreeMap<(Fate, CloudClass), u64> = BTreeMap::new();
        for line in &self.lines {
            *counts.entry((line.fate, line.class)).or_default() += 1;
        }
        for (class, all) in &self.rehearsal.status.managed {
            let of = |fate: Fate| counts.get(&(fate, *class)).copied().unwrap_or_default();
            let new = [Fate::JoinedByAnchor, Fate::Joined, Fate::Restored, Fate::Created].map(of).iter().sum::<u64>();
            let before = all.saturating_sub(new);
            if before > 0 {
                counts.insert((Fate::Managed, *class), before);
            }
        }
        counts.into_iter().map(|((fate, class), count)| Count { class, fate, count }).collect()
    }
}

fn called(holder: &TenantHolder) -> &str {
    let names = [&holder.user_principal_name, &holder.display_name, &holder.mail_nickname];
    names.into_iter().flatten().next().map_or("", String::as_str)
}

fn why_untouched(holder: &TenantHolder) -> Option<&'static str> {
    if holder.is_synced {
        Some("it belongs to Azure AD Connect")
    } else if holder.anchor.is_some() {
        Some("it carries an anchor that nobody here has")
    } else {
        None
    }
}

/// The report for a terminal.
pub fn render(report: &TakeOver, all: bool) -> String {
    let mut out: String = report.holds.iter().fold(String::new(), |out, hold| out + "held: " + hold + "\n");
    let mut table = output::table(&["what becomes of it", "class", "count"]);
    output::numbers_from(&mut table, 2);
    for Count { class, fate, count } in &report.counts {
        table.add_row([fate.title().to_owned(), class.as_str().to_owned(), count.to_string()]);
    }
    out += &output::render(&table);
    let mut shown: BTreeMap<Fate, usize> = BTreeMap::new();
    for line in &report.objects {
        let so_far = shown.entry(line.fate).or_default();
        *so_far += 1;
        if *so_far == 1 {
            let _written = writeln!(out, "\n{}", line.fate.title());
        }
        if all || *so_far <= SHOWN {
            render_line(&mut out, line);
        } else if *so_far == SHOWN + 1 {
            out += "  and more; --all shows them\n";
        }
    }
    out
}

fn render_line(out: &mut String, line: &Line) {
    let cloud: Vec<String> =
        line.cloud.iter().map(|cloud| printable(&format!("{} ({})", cloud.name, cloud.id))).collect();
    let dn = line.dn.as_deref().or(line.anchor.as_deref()).map(printable);
    let both = [dn, Some(cloud.join(", ")).filter(|cloud| !cloud.is_empty())];
    let both = both.into_iter().flatten().collect::<Vec<_>>().join(" <-> ");
    let by = line.pair.as_ref().map(|pair| format!(", by {pair}")).unwrap_or_default();
    let _written = writeln!(out, "  {} {both}{by}", line.class.as_str());
    let detail = match (&line.code, &line.detail) {
        (Some(code), Some(detail)) => Some(format!("{code}: {detail}")),
        (None, Some(detail)) => Some(detail.clone()),
        _ => None,
    };
    for text in detail.iter().map(|detail| printable(detail)).chain(change_lines(&line.changes)) {
        let _written = writeln!(out, "      {text}");
    }
}
