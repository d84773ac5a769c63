//! Why: what is known of one object, and what is wrong with all of them. Read from the database as it is; nothing is
//! computed that the projection does not compute itself, and nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use forestsync_domain::{AttributeValue, Dn, ObjectGuid, Rdn, SourceAnchor};
use forestsync_rules::flow::{Origin as RuleOrigin, Subject};
use forestsync_rules::hygiene::{self, UniqueKind};
use forestsync_schemas::desired::CloudValue;

use crate::config::{Source, SourceId};
use crate::eligible::{Eligible, Out};
use crate::engine::Engine;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::person::{Member, Person, Together};
use crate::query::{
    AttributeView, Explanation, FindingView, InputView, LintFilter, LintRow, ObjectView, OriginView, ReferenceView,
};
use crate::round::Round;
use crate::rows::{FindingRow, ObjectRow};
use crate::unique::hash_of;
use crate::{StoreError, store};

type Result<T> = std::result::Result<T, StoreError>;

/// References of one object that are shown.
const MAX_REFERENCES: usize = 100;
/// Findings that are looked through before the answer is cut.
const MAX_FINDINGS: usize = 200_000;

impl Engine {
    /// What is known of an object: by distinguished name, objectGUID, source anchor, sign-in name or mail address.
    pub(crate) fn explain(&self, text: &str) -> Result<Vec<Explanation>> {
        let mut round = self.round()?;
        round.decides = false;
        let mut all = Vec::new();
        let mut seen = BTreeSet::new();
        for key in round.find(text.trim())? {
            if seen.insert(key) {
                let explanation = round.explain(key, &self.holds)?;
                seen.extend(explanation.keys.iter().copied());
                all.push(explanation);
            }
        }
        Ok(all)
    }

    /// What is wrong with objects.
    pub(crate) fn lint(&self, filter: &LintFilter) -> Result<Vec<LintRow>> {
        let mut round = self.round()?;
        let mut rows = Vec::new();
        for row in self.store.scan(&[keys::FINDING], None).take(MAX_FINDINGS) {
            let (row_key, value) = row?;
            let Some(key) = keys::read_object(&row_key) else { continue };
            let finding: FindingRow = store::decode(&self.store, &row_key, &value)?;
            round.lint_object(key, finding, filter, &mut rows)?;
            if rows.len() >= filter.limit {
                break;
            }
        }
        Ok(rows)
    }
}

impl Round<'_> {
    // ---- finding an object

    fn find(&mut self, text: &str) -> Result<Vec<ObjectKey>> {
        let plan = self.plan;
        if let Ok(guid) = text.parse::<ObjectGuid>() {
            let keys: Vec<ObjectKey> = plan.sources.iter().map(|s| ObjectKey { source: s.id, guid }).collect();
            return self.known(keys);
        }
        if text.contains('=')
            && let Ok(dn) = text.parse::<Dn>()
        {
            let mut found = Vec::new();
            for source in plan.sources.iter().filter(|source| dn.is_within(&source.config.naming_context)) {
                found.extend(self.find_by_name(source, &dn)?);
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let anchor = SourceAnchor::from(text.to_owned());
        let row = self.anchor_row(&anchor)?;
        if let Some(wish) = self.wish(&anchor)? {
            return Ok(vec![wish.object]);
        }
        if !row.claimants.is_empty() {
            return Ok(row.claimants.iter().map(|claimant| claimant.object).collect());
        }
        let mut found = Vec::new();
        for kind in [UniqueKind::PrincipalName, UniqueKind::Mail, UniqueKind::Nickname] {
            let (space, hash) = hash_of(kind, text);
            for anchor in self.holders(space, &hash)? {
                found.extend(self.wish(&anchor)?.map(|wish| wish.object));
            }
        }
        Ok(found)
    }

    fn known(&mut self, keys: Vec<ObjectKey>) -> Result<Vec<ObjectKey>> {
        let mut found = Vec::new();
        for key in keys {
            if self.head(key)?.is_some() {
                found.push(key);
            }
        }
        Ok(found)
    }

    /// Goes down the tree from the root of the naming context.
    pub(crate) fn find_by_name(&mut self, source: &Source, dn: &Dn) -> Result<Option<ObjectKey>> {
        let Some(root) = self.meta.sources.get(&source.id).and_then(|state| state.root) else { return Ok(None) };
        let mut at = ObjectKey { source: source.id, guid: root };
        let depth = dn.rdns().len().saturating_sub(source.config.naming_context.rdns().len());
        for rdn in dn.rdns().iter().take(depth).rev() {
            let rows = self.txn.scan(&keys::children_named(at, rdn), None, 16)?;
            let mut next = None;
            for guid in rows.iter().filter_map(|(row_key, _)| keys::read_child(row_key)) {
                let key = ObjectKey { source: source.id, guid };
                if self.head(key)?.is_some_and(|head| !head.deleted && has_name(&head.dn, rdn)) {
                    next = Some(key);
                }
            }
            match next {
                Some(key) => at = key,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    // ---- explaining it

    pub(crate) fn explain(&mut self, key: ObjectKey, holds: &[crate::Hold]) -> Result<Explanation> {
        let row = self.object(key)?.map(Rc::new);
        let (person, state) = match self.together(key, row.as_ref())? {
            Together::Is(person) => (Some(person), None),
            Together::Later => (None, Some("an answer of the directory is still being taken in".to_owned())),
            Together::Nobody => (None, None),
        };
        let mut objects = Vec::new();
        let members: Vec<ObjectKey> = match &person {
            Some(person) => person.members.iter().map(|member| member.key).collect(),
            None => vec![key],
        };
        for member in &members {
            let of = person.as_ref().and_then(|person| person.members.iter().find(|m| m.key == *member));
            objects.push(self.view(*member, of)?);
        }
        let anchor = self.stands_for(key)?;
        let wish = match &anchor {
            Some(anchor) => self.wish(anchor)?,
            None => None,
        };
        let attributes = match (&person, &anchor) {
            (Some(person), Some(anchor)) => self.attributes_of(person, anchor)?,
            _ => Vec::new(),
        };
        let mut references = Vec::new();
        for member in &members {
            self.references_of(*member, &mut references)?;
        }
        let emitted = match &anchor {
            Some(anchor) => self.emitted(anchor)?,
            None => None,
        };
        let not_writable = wish.as_ref().map(|wish| wish.not_writable.clone()).unwrap_or_default();
        Ok(Explanation {
            keys: members,
            anchor: anchor.map(|anchor| anchor.as_str().to_owned()),
            class: wish.as_ref().map(|wish| wish.class.as_str().to_owned()),
            is_kept_back: wish.as_ref().is_some_and(|wish| wish.blocked),
            state,
            revision: emitted.filter(|emitted| emitted.alive).map(|emitted| emitted.revision),
            held: holds.iter().map(|hold| format!("{}: {}", hold.forest, hold.detail)).collect(),
            objects,
            attributes,
            references,
            not_writable,
        })
    }

    fn view(&mut self, key: ObjectKey, member: Option<&Member>) -> Result<ObjectView> {
        let plan = self.plan;
        let source = plan.source(key.source);
        let row = self.object(key)?;
        let dn = match &row {
            Some(row) => self.name_of(key, &row.dn, row.parent)?,
            None => Dn::default(),
        };
        let eligible = self.eligible(key, row.as_ref())?;
        let finding: Option<FindingRow> = self.read(&keys::of_object(keys::FINDING, key))?;
        let joined_by = match member.and_then(|member| member.rule) {
            Some(rule) => Some(plan.config.rules.joins.name(rule).to_owned()),
            None => self.adopted(key)?.map(|adopted| adopted.rule),
        };
        Ok(ObjectView {
            forest: source.map(|s| s.config.forest.clone()).unwrap_or_default(),
            naming_context: source.map(|s| s.config.naming_context.to_string()).unwrap_or_default(),
            stream: source.map(|s| s.config.stream.to_string()).unwrap_or_default(),
            object: key.guid.to_string(),
            dn: dn.to_string(),
            class: row.as_ref().map(|row| format!("{:?}", row.class)).unwrap_or_default(),
            is_in_scope: matches!(eligible, Eligible::Yes | Eligible::Partner),
            scope: self.say(key, row.as_ref(), eligible)?,
            joined_by,
            is_expired: match &row {
                Some(row) => self.is_expired(key, row)?,
                None => false,
            },
            findings: finding.map(views_of).unwrap_or_default(),
            image: row.as_ref().map(|row| OriginView::at(row.image_offset)),
        })
    }

    /// The verdict in words, with the container, group or clause that decided.
    fn say(&mut self, key: ObjectKey, row: Option<&ObjectRow>, eligible: Eligible) -> Result<String> {
        let filters = &self.plan.config.rules.scope;
        Ok(match eligible {
            Eligible::Yes => match self.deciding_container(key, row)? {
                Some(dn) => format!("in scope: it lies in {dn}, which is included"),
                None => "in scope: everything is that is not excluded".into(),
            },
            Eligible::Partner => "in scope together with the account it is joined with: it is a linked mailbox".into(),
            Eligible::Unknown => "not known: no directory that is read has shown it".into(),
            Eligible::Deleted => "deleted in the directory".into(),
            Eligible::Removed => "not synchronized any more: the configuration was removed".into(),
            Eligible::Class => "not synchronized: objects of its class have no counterpart".into(),
            Eligible::Excluded(exclusion) => format!("not synchronized: {exclusion}"),
            Eligible::OutOfScope(out) => match out {
                Out::Class => "out of scope: scope.classes does not name its class".into(),
                Out::Container => match self.deciding_container(key, row)? {
                    Some(dn) => format!("out of scope: it lies in {dn}, which is excluded"),
                    None => "out of scope: it lies in no container that is included".into(),
                },
                Out::NoMember => "out of scope: it is a member of none of the groups that decide".into(),
                Out::ExcludedMember => "out of scope: it is a member of a group that is excluded".into(),
                Out::NoPilot => "out of scope: scope.pilot does not name it".into(),
                Out::Filter(group, clause) => {
                    debug_assert!(!filters.filter.is_empty());
                    format!("out of scope: the filter refuses it, at scope.filters[{group}].where[{clause}]")
                }
            },
        })
    }

    /// The listed container that lies nearest above an object.
    fn deciding_container(&mut self, key: ObjectKey, row: Option<&ObjectRow>) -> Result<Option<Dn>> {
        let Some(parent) = row.and_then(|row| row.parent) else { return Ok(None) };
        let place = self.place(ObjectKey { source: key.source, guid: parent })?;
        let listed = self.plan.index(key.source).and_then(|at| self.scopes.get(at)).map(|scope| &scope.containers);
        let is_listed =
            |guid: &&ObjectGuid| listed.is_some_and(|l| l.include.contains(guid) || l.exclude.contains(guid));
        match place.chain.iter().find(is_listed).copied() {
            Some(guid) => Ok(Some(self.place(ObjectKey { source: key.source, guid })?.dn.clone())),
            None => Ok(None),
        }
    }

    fn attributes_of(&mut self, person: &Person, anchor: &SourceAnchor) -> Result<Vec<AttributeView>> {
        let Some(first) = person.members.first() else { return Ok(Vec::new()) };
        let rules = &self.plan.config.rules;
        let dn = self.name_of(first.key, &first.row.dn, first.row.parent)?;
        let source = self.plan.source(first.key.source);
        let root = source.map(|source| source.config.naming_context.clone()).unwrap_or_default();
        let forest = source.map_or("", |source| source.config.forest.as_str());
        let merged = person.attributes(&rules.precedence);
        let is_expired = self.is_expired(first.key, &first.row)?;
        let mut subject = Subject::new(&merged, &dn, &root).identified(first.key.guid, anchor, forest);
        (subject.is_expired, subject.tenant) = (is_expired, self.tenant.as_deref());
        let mut views = Vec::new();
        for explained in rules.flow.explain(first.row.class, &subject) {
            let inputs = explained.reads.iter().filter_map(|name| self.input(person, name)).collect();
            views.push(AttributeView {
                target: explained.target,
                value: explained.value.as_ref().map(shown),
                rule: explained.rule,
                origin: match explained.origin {
                    RuleOrigin::Default => "default".into(),
                    RuleOrigin::Configuration(at) => format!("flow.rules[{at}]"),
                },
                at_creation: explained.at_creation,
                outcome: explained.outcome.to_owned(),
                inputs,
            });
        }
        Ok(views)
    }

    fn input(&self, person: &Person, name: &str) -> Option<InputView> {
        let precedence = &self.plan.config.rules.precedence;
        let giver = person.giver(precedence, name).or_else(|| person.members.first())?;
        let source = self.plan.source(giver.key.source)?;
        let values = giver.row.values(name);
        Some(InputView {
            attribute: name.to_owned(),
            values: values.iter().take(20).map(plain).collect(),
            forest: source.config.forest.clone(),
            object: giver.key.guid.to_string(),
            stream: source.config.stream.to_string(),
            origin: OriginView::at(giver.row.origin(name)),
        })
    }

    fn references_of(&mut self, key: ObjectKey, into: &mut Vec<ReferenceView>) -> Result<()> {
        let rows = self.txn.scan(&keys::of_object(keys::EDGE, key), None, MAX_REFERENCES)?;
        for (row_key, _) in rows {
            let Some((from, kind, to)) = keys::read_edge(&row_key) else { continue };
            let anchors = self.resolve_reference(from, to)?;
            let mut dn = None;
            for source in self.plan.forest_of(from.source).collect::<Vec<SourceId>>() {
                let target = ObjectKey { source, guid: to };
                if let Some(head) = self.head(target)? {
                    dn = Some(self.name_of(target, &head.dn, head.parent)?.to_string());
                }
            }
            let state = match (anchors.is_empty(), &dn) {
                (false, _) => "resolved",
                (true, Some(_)) => "waits: the object is not synchronized",
                (true, None) => "waits: the object is not known yet",
            };
            into.push(ReferenceView {
                attribute: match kind {
                    LinkKind::Member => "member",
                    LinkKind::Manager => "manager",
                    LinkKind::ManagedBy => "managedBy",
                }
                .to_owned(),
                object: to.to_string(),
                dn,
                anchors: anchors.iter().map(|anchor| anchor.as_str().to_owned()).collect(),
                state: state.to_owned(),
            });
        }
        Ok(())
    }

    // ---- what is wrong with objects

    fn lint_object(
        &mut self,
        key: ObjectKey,
        finding: FindingRow,
        filter: &LintFilter,
        rows: &mut Vec<LintRow>,
    ) -> Result<()> {
        let plan = self.plan;
        let Some(source) = plan.source(key.source) else { return Ok(()) };
        if filter.forest.as_ref().is_some_and(|forest| *forest != source.config.forest) {
            return Ok(());
        }
        let views: Vec<FindingView> = views_of(finding).into_iter().filter(|view| filter.takes(view)).collect();
        if views.is_empty() {
            return Ok(());
        }
        let row = self.object(key)?;
        let dn = match &row {
            Some(row) => self.name_of(key, &row.dn, row.parent)?,
            None => Dn::default(),
        };
        let mut proposals: BTreeMap<(String, String), (Option<String>, String)> = BTreeMap::new();
        if let Some(row) = row.as_ref().filter(|_| filter.values) {
            for rule in hygiene::RULES {
                let found = hygiene::proposals(rule.id, row.class, &dn, &row.attributes, &plan.config.rules.hygiene);
                for proposal in found {
                    let at = (rule.id.name().to_owned(), proposal.attribute.to_owned());
                    proposals.entry(at).or_insert((proposal.old, proposal.new));
                }
            }
        }
        for view in views {
            let proposed = proposals.get(&(view.rule.clone(), view.attribute.clone()));
            let (value, fix) = if let Some((old, new)) = proposed {
                (old.clone(), Some(new.clone()))
            } else {
                let first = row.as_ref().filter(|_| filter.values).and_then(|r| r.values(&view.attribute).first());
                (first.map(plain), None)
            };
            rows.push(LintRow {
                forest: source.config.forest.clone(),
                object: key.guid.to_string(),
                dn: dn.to_string(),
                rule: view.rule,
                severity: view.severity,
                attribute: view.attribute,
                message: view.message,
                value,
                fix,
            });
        }
        Ok(())
    }
}

/// Whether a name begins with this part, whatever the case of letters.
fn has_name(dn: &Dn, rdn: &Rdn) -> bool {
    dn.rdn().is_some_and(|own| {
        own.kind().eq_ignore_ascii_case(rdn.kind()) && own.value().to_lowercase() == rdn.value().to_lowercase()
    })
}

fn views_of(finding: FindingRow) -> Vec<FindingView> {
    let severity = if finding.blocking { "error" } else { "warning" };
    let messages = finding.messages.into_iter().map(|message| {
        // a message begins with the attribute that it is about
        let attribute = message.split_once(": ").map(|(name, _)| name).filter(|name| !name.contains(' '));
        FindingView {
            rule: if finding.blocking { "not-sent" } else { "flow" }.to_owned(),
            severity: severity.to_owned(),
            attribute: attribute.unwrap_or_default().to_owned(),
            message: message.clone(),
        }
    });
    let rules = finding.rules.into_iter().map(|rule| FindingView {
        rule: rule.rule,
        severity: format!("{:?}", rule.severity).to_lowercase(),
        attribute: rule.attribute,
        message: rule.message,
    });
    messages.chain(rules).collect()
}

fn shown(value: &CloudValue) -> String {
    match value {
        CloudValue::Bool(value) => value.to_string(),
        CloudValue::Integer(number) => number.to_string(),
        CloudValue::Text(text) => text.clone(),
        CloudValue::List(values) => values.join("; "),
    }
}

pub(crate) fn plain(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Text(text) => text.clone(),
        AttributeValue::Binary(bytes) => bytes.iter().fold(String::new(), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
            text
        }),
    }
}
