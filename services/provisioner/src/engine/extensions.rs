//! Directory extensions: before the first value is written, what is declared is looked up on the application and made
//! where it is missing.
//!
//! Until that was looked at, objects of a class with extensions wait, because nothing but a known name can be read. One
//! that cannot be had is the trouble of the objects that have a value for it, and of no others.

use std::collections::{BTreeMap, HashSet};

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::{CloudAttributes, CloudClass};
use forestsync_schemas::outcomes::{ExportError, ExportQuarantined, Operation, OutcomeEvent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failures::later;
use super::plan::Plan;
use super::turn::Note;
use super::{Engine, Flight, NewOutcome, Purpose};
use crate::error::ProvisionerError;
use crate::store::{Failed, Flow, ObjectRow, Wish, Write};
use crate::target::{ANCHOR_EXTENSION, Extension, ExtensionState, Failure, FailureKind};

/// What an attribute's name begins with.
const OURS: &str = "extension.";

/// Looks in vain after which objects without a value for an extension wait no longer.
const PATIENCE: u32 = 3;

/// What is known of the extensions.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    wanted: Vec<Extension>,
    /// Those that two classes declare in two ways.
    contradicted: HashSet<String>,
    /// What the last look at `wanted` found; nothing before it.
    states: Option<BTreeMap<String, ExtensionState>>,
    /// When to look, if at all.
    next: Option<Instant>,
    in_vain: u32,
    /// When a definition was made the last time.
    made: Option<Instant>,
    /// Objects that wait for the look.
    waiting: HashSet<SourceAnchor>,
}

impl Extensions {
    /// Takes over what is declared; it is looked at soon if it is not what was.
    ///
    /// `with_anchor`: groups that are adopted carry their anchor in one.
    pub(super) fn want<'a>(&mut self, flows: impl Iterator<Item = (CloudClass, &'a Flow)>, with_anchor: bool) {
        let mut wanted: BTreeMap<String, Extension> = BTreeMap::new();
        self.contradicted.clear();
        if with_anchor {
            let anchor = Extension::of_anchors();
            wanted.insert(anchor.name.clone(), anchor);
        }
        for (class, flow) in flows {
            for declared in &flow.extensions {
                let entry = wanted.entry(declared.name.clone()).or_insert_with(|| Extension {
                    name: declared.name.clone(),
                    data_type: declared.data_type,
                    multi_valued: declared.multi_valued,
                    classes: [class].into(),
                });
                if entry.data_type != declared.data_type || entry.multi_valued != declared.multi_valued {
                    self.contradicted.insert(declared.name.clone());
                }
                entry.classes.insert(class);
            }
        }
        // which of the two is meant nobody knows, and a definition cannot be changed
        wanted.retain(|name, _| !self.contradicted.contains(name));
        let wanted: Vec<Extension> = wanted.into_values().collect();
        if wanted != self.wanted {
            self.next = (!wanted.is_empty()).then(Instant::now);
            (self.wanted, self.states, self.in_vain) = (wanted, None, 0);
        }
    }

    /// When something is to be looked at.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether nobody waits.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
    }

    fn concern(&self, class: CloudClass) -> bool {
        self.wanted.iter().any(|e| e.classes.contains(&class))
    }

    /// Why an extension cannot be written, if it cannot.
    fn refusal(&self, name: &str) -> Option<(&'static str, String, &'static str)> {
        if self.contradicted.contains(name) {
            let detail = "two classes declare it with different types".to_owned();
            return Some(("extension_type", detail, "give it one type"));
        }
        match self.states.as_ref().and_then(|states| states.get(name)) {
            Some(ExtensionState::Ready { .. }) => None,
            Some(ExtensionState::Refused { code, detail, hint }) => Some((code, detail.clone(), hint)),
            None => Some((
                "extension_not_declared",
                "no attribute flow declares it".to_owned(),
                "declare the extension with its type in the configuration",
            )),
        }
    }
}

/// The extensions among these attributes.
fn used(attributes: &CloudAttributes) -> impl Iterator<Item = &str> {
    attributes.keys().filter_map(|name| name.strip_prefix(OURS))
}

impl Engine {
    /// Looks at the definitions, if it is time.
    pub(super) async fn prepare_extensions(&mut self, shutdown: &CancellationToken) -> Result<(), ProvisionerError> {
        let now = Instant::now();
        if self.outage.active(now).is_some() || self.extensions.next.is_none_or(|at| at > now) {
            return Ok(());
        }
        if let Some(until) = self.pace.blocked(false, now) {
            self.extensions.next = Some(until);
            return Ok(());
        }
        let tenant = &self.config.tenant;
        // nothing is lost with a look that is broken off
        let found = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            found = self.target.extensions(&self.extensions.wanted) => found,
        };
        match found {
            Ok(states) => {
                let refused = states.values().any(|s| matches!(s, ExtensionState::Refused { .. }));
                // whoever heals it tells nobody
                self.extensions.next = refused.then(|| now + tenant.retry_longest);
                if states.values().any(|s| *s == ExtensionState::Ready { made: true }) {
                    self.extensions.made = Some(now);
                }
                (self.extensions.states, self.extensions.in_vain) = (Some(states), 0);
            }
            Err(outage) if outage.forfeited => return Err(ProvisionerError::LeaseEnded),
            Err(outage) => {
                let in_vain = self.extensions.in_vain;
                if in_vain == 0 {
                    tracing::warn!(detail = %outage.detail, "the definitions of directory extensions cannot be read yet");
                }
                let delay = tenant.retry_first.saturating_mul(1 << in_vain.min(20)).min(tenant.retry_longest);
                self.extensions.next = Some(now + delay.max(outage.retry_after.unwrap_or_default()));
                self.extensions.in_vain = in_vain + 1;
                if self.extensions.in_vain < PATIENCE {
                    return Ok(());
                }
            }
        }
        for anchor in std::mem::take(&mut self.extensions.waiting) {
            self.ready.push(&anchor);
        }
        Ok(())
    }

    /// What stands in the way of an object because of its extensions, if anything does.
    pub(super) fn plan_extensions(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wish: &Wish,
        attributes: &CloudAttributes,
        at_creation: &CloudAttributes,
    ) -> Option<Plan> {
        let once = Some(at_creation).filter(|_| !row.is_managed());
        let mut names: Vec<&str> = used(attributes).chain(once.into_iter().flat_map(used)).collect();
        if wish.class == CloudClass::Group && self.config.tenant.adopts_groups() && !row.is_managed() {
            // whether it is there can only be seen by it
            names.push(ANCHOR_EXTENSION);
        }
        if self.extensions.concern(wish.class) && self.extensions.states.is_none() {
            if !names.is_empty() || self.extensions.in_vain < PATIENCE {
                self.extensions.waiting.insert(anchor.clone());
                return Some(Plan::Nothing);
            }
            return None;
        }
        if names.is_empty() {
            return None;
        }
        if !self.extensions.concern(wish.class) && !self.at_tail {
            // its declaration may come further on
            self.tail_waits.insert(anchor.clone());
            return Some(Plan::Nothing);
        }
        let refused = names
            .into_iter()
            .find_map(|name| self.extensions.refusal(name).map(|refusal| (format!("{OURS}{name}"), refusal)));
        let (attribute, (code, detail, hint)) = refused?;
        if self.rests(anchor, row.failure()) {
            return Some(Plan::Nothing);
        }
        let operation = if row.is_managed() { Operation::Update } else { Operation::Create };
        let retry_at = later(self.config.tenant.retry_longest);
        if let Some(failed) = row.failure().filter(|f| f.quarantined && f.code == code) {
            let failed = Failed { retry_at: retry_at.as_millisecond(), ..failed.clone() };
            self.turn.note(Note::Object(anchor.clone(), failed));
            return Some(Plan::Nothing);
        }
        let event = OutcomeEvent::ExportQuarantined(ExportQuarantined {
            operation,
            error: ExportError {
                code: code.to_owned(),
                attribute: Some(attribute),
                other: None,
                detail,
                hint: Some(hint.to_owned()),
            },
            attempts: 0,
            retry_at: Some(retry_at),
            members: Vec::new(),
        });
        Some(Plan::Report(NewOutcome::of(anchor, row, wish, event)))
    }

    /// A refusal that may come of a definition that is not known everywhere yet, as what it is.
    pub(super) fn may_be_young(&self, flight: &Flight, failure: &Failure) -> Option<Failure> {
        let young = self.extensions.made.is_some_and(|at| at.elapsed() < self.config.tenant.visible_within);
        let by_anchor = flight.class == CloudClass::Group && self.config.tenant.adopts_groups();
        let uses = match &flight.purpose {
            Purpose::LookUp => by_anchor,
            Purpose::Write(write) => match write.as_ref() {
                Write::Create { attributes } => used(attributes).next().is_some(),
                Write::Update { changes } => changes.keys().any(|name| name.starts_with(OURS)),
                Write::Adopt { .. } => by_anchor,
                _ => false,
            },
            _ => false,
        };
        let refused = matches!(failure.kind, FailureKind::Invalid | FailureKind::NotFound);
        (young && uses && refused).then(|| Failure { kind: FailureKind::NotFound, ..failure.clone() })
    }
}
