//! Soft match: who is in the tenant without an anchor may be the one that is wished.
//!
//! By pairs of attributes, in the order of the configuration. Never somebody who carries an anchor or belongs to Azure AD
//! Connect, never somebody who holds a directory role, and nobody for two.
//!
//! A user whose value several have, or that is not free, is passed over: what Graph keeps unique then refuses a second one.
//! Nothing keeps groups apart, and a second one of the same name would go unnoticed; so a group that stands in the way of
//! being joined is said, and nothing is created beside it. Groups that carry an anchor are other groups, and no matter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use forestsync_schemas::outcomes::{
    AttributeChanges, AttributePair, ExportError, ExportQuarantined, Operation, OutcomeEvent,
};

use super::failures::later;
use super::plan::refused;
use super::turn::Note;
use super::{Engine, Flight, NewOutcome, Stage};
use crate::config::SoftMatch;
use crate::error::ProvisionerError;
use crate::store::{Failed, StoreError, WishKind};
use crate::target::{Call, CloudObject, MatchKey};

/// Objects that are named of those that have a value in common.
const NAMED: usize = 10;

/// What a soft match found for an object.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenMatch {
    /// What kind of object.
    pub class: CloudClass,
    /// By what it was found.
    pub pair: AttributePair,
    /// What was found: of each object its id, and what it is called.
    pub objects: Vec<(String, String)>,
    /// What becomes of it.
    pub result: MatchResult,
}

/// What becomes of what a soft match found.
#[derive(Debug, Clone, PartialEq)]
pub enum MatchResult {
    /// It is joined, and these attributes of it then change.
    Joins(AttributeChanges),
    /// It is not.
    Refused {
        /// A code of ours for the reason.
        code: String,
        /// Why, as in "it …".
        why: String,
    },
}

/// Where a rehearsal keeps what soft matches found, by anchor; a look takes the place of the one before.
pub(crate) type Matches = Arc<Mutex<BTreeMap<SourceAnchor, Vec<SeenMatch>>>>;

/// Why an object that was found is not joined.
#[derive(Debug, Clone, Copy)]
struct Bar {
    code: &'static str,
    why: &'static str,
    hint: &'static str,
}

const ANCHORED: Bar = Bar { code: "anchored_match", why: "carries another source anchor", hint: "" };
const CLAIMED: Bar = Bar { code: "claimed_match", why: "was found for another object of the directory", hint: "" };
const AMBIGUOUS: Bar = Bar {
    code: "ambiguous_match",
    why: "is one of several that have the value",
    hint: "give the one that is meant a value of its own in the tenant, or let the value in the directory differ",
};
const SYNCED: Bar = Bar {
    code: "synced_match",
    why: "belongs to Azure AD Connect",
    hint: "take the object out of the scope of Azure AD Connect or of this configuration, or let their names differ",
};
const MAIL_ENABLED: Bar = Bar {
    code: "mail_enabled_match",
    why: "has mail: Microsoft 365 groups belong to their owners, and Graph cannot write the members of others",
    hint: "let the names of the two differ, or delete the one in the tenant",
};
const ROLE_ASSIGNABLE: Bar = Bar {
    code: "role_assignable_match",
    why: "can be given directory roles, and with it whoever is its member",
    hint: "let the names of the two differ: whoever writes a group in a directory must not make administrators",
};
const DYNAMIC: Bar = Bar {
    code: "dynamic_match",
    why: "has members that a rule chooses, which cannot be written",
    hint: "give it assigned members in the tenant, or let the names of the two differ",
};

/// What bars a group from being joined, whoever asks.
fn group_bar(group: &CloudObject) -> Option<Bar> {
    let bars = [
        (group.synced, SYNCED),
        (group.role_assignable, ROLE_ASSIGNABLE),
        (group.dynamic, DYNAMIC),
        (group.mail_enabled, MAIL_ENABLED),
    ];
    bars.into_iter().find_map(|(is, bar)| is.then_some(bar))
}

fn is_anchored(object: &CloudObject) -> bool {
    object.anchor.as_deref().is_some_and(|anchor| !anchor.is_empty())
}

/// What is to be done about what one pair found.
enum Found {
    /// Nobody.
    Nothing,
    /// It carries the anchor already, and was not found by it a moment ago.
    Own(Box<CloudObject>),
    Free(Box<CloudObject>),
    /// Somebody who is passed over.
    Other(Bar),
    /// Somebody beside whom nothing is created.
    InTheWay(Bar),
}

impl Engine {
    /// The question for one that may be there without an anchor, where the configuration asks it, and what each of its
    /// keys stands for.
    pub(super) fn soft_match(&self, class: CloudClass, attributes: &CloudAttributes) -> Option<(Call, Vec<SoftMatch>)> {
        let key = |rule: &SoftMatch| match attributes.get(&rule.wished) {
            Some(CloudValue::Text(value)) if !value.trim().is_empty() => {
                Some((MatchKey { attribute: rule.cloud.clone(), value: value.clone() }, rule.clone()))
            }
            _ => None,
        };
        let (keys, rules): (Vec<_>, Vec<_>) = self.config.tenant.matching(class).iter().filter_map(key).unzip();
        let asks = !keys.is_empty();
        asks.then(|| (Call::Match { class, keys, attributes: self.interesting(class, attributes) }, rules))
    }

    /// Takes what the question found: the first one that is free.
    pub(super) fn matched(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        rules: &[SoftMatch],
        found: Vec<Vec<CloudObject>>,
    ) -> Result<(), ProvisionerError> {
        self.forget_seen(anchor);
        if !self.store.object(anchor)?.is_some_and(|row| row.is_wished()) {
            // not any more
            self.stages.remove(anchor);
            return Ok(());
        }
        for (rule, objects) in rules.iter().zip(found) {
            let names: Vec<(String, String)> =
                objects.iter().map(|o| (o.id.clone(), o.name.clone().unwrap_or_default())).collect();
            match self.sort_out(anchor, flight.class, objects)? {
                Found::Nothing => {}
                Found::Own(object) => {
                    self.stages.remove(anchor);
                    self.adopt(anchor, flight, *object, None, None);
                    return Ok(());
                }
                Found::Free(object) => {
                    self.see_join(anchor, flight.class, rule, names, &object)?;
                    self.claims.insert(object.id.clone(), anchor.clone());
                    // groups that can hold a role are barred
                    let is_plain = flight.class != CloudClass::User;
                    self.stages.insert(anchor.clone(), Stage::Matched { object, rule: rule.clone(), is_plain });
                    return Ok(());
                }
                Found::Other(bar) => self.see_refusal(anchor, flight.class, rule, names, (bar.code, bar.why)),
                Found::InTheWay(bar) => {
                    self.stages.remove(anchor);
                    self.see_refusal(anchor, flight.class, rule, names.clone(), (bar.code, bar.why));
                    return self.stand_aside(anchor, flight, rule, &names, bar);
                }
            }
        }
        self.stages.insert(anchor.clone(), Stage::NoMatch);
        Ok(())
    }

    fn sort_out(
        &self,
        anchor: &SourceAnchor,
        class: CloudClass,
        mut objects: Vec<CloudObject>,
    ) -> Result<Found, ProvisionerError> {
        let is_user = class == CloudClass::User;
        let own = if is_user { anchor.as_str().to_owned() } else { anchor.unique_name() };
        if let Some(place) = objects.iter().position(|object| object.anchor.as_deref() == Some(&own)) {
            return Ok(Found::Own(Box::new(objects.swap_remove(place))));
        }
        let count = objects.len();
        let mut taken = None;
        let mut free = Vec::new();
        for object in objects {
            if is_anchored(&object) {
                taken = Some(ANCHORED);
            } else if self.is_anothers(anchor, &object.id)? {
                taken = Some(CLAIMED);
            } else {
                free.push(object);
            }
        }
        if is_user && count > 1 {
            return Ok(Found::Other(AMBIGUOUS));
        }
        Ok(match (free.pop(), free.is_empty()) {
            (None, _) => taken.map_or(Found::Nothing, Found::Other),
            (Some(_), false) => Found::InTheWay(AMBIGUOUS),
            (Some(user), true) if is_user && user.synced => Found::Other(SYNCED),
            (Some(user), true) if is_user => Found::Free(Box::new(user)),
            (Some(group), true) => match group_bar(&group) {
                Some(bar) => Found::InTheWay(bar),
                None => Found::Free(Box::new(group)),
            },
        })
    }

    /// Whether an object of the tenant is that of another anchor, or was found for it.
    fn is_anothers(&self, anchor: &SourceAnchor, id: &str) -> Result<bool, StoreError> {
        if let Some(claimant) = self.claims.get(id).filter(|claimant| *claimant != anchor) {
            let may_join = self.flights.contains_key(claimant) || self.stages.contains_key(claimant);
            let wishes = self.store.object(claimant)?.is_some_and(|row| row.is_wished());
            if (may_join || wishes) && !self.decisions.is_rejected_join(claimant, id) {
                return Ok(true);
            }
        }
        // the tenant may not show yet that it carries that anchor
        let Some(other) = self.store.anchor_of(id)?.filter(|other| other != anchor) else { return Ok(false) };
        Ok(self.store.object(&other)?.is_some_and(|row| row.live_id() == Some(id)))
    }

    /// Takes how many directory roles the one that was found holds: an administrator is not taken over by whoever can
    /// write a name or a mail address in a directory.
    pub(super) fn roles_read(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        roles: usize,
    ) -> Result<(), ProvisionerError> {
        if roles == 0 {
            if let Some(Stage::Matched { is_plain, .. }) = self.stages.get_mut(anchor) {
                *is_plain = true;
            }
            return Ok(());
        }
        let hint = "if the two are one person, take its roles away and change the object in the directory, or write the \
                    anchor to its onPremisesImmutableId yourself; else let their names and mail addresses differ";
        self.refuse_match(anchor, flight, "privileged_match", "holds a directory role", hint)
    }

    /// The application may not see who holds a directory role: then nobody is taken over.
    pub(super) fn roles_hidden(&mut self, anchor: &SourceAnchor, flight: &Flight) -> Result<(), ProvisionerError> {
        let hint =
            "grant the application Directory.Read.All and change the object in the directory, or switch soft_match off";
        self.refuse_match(anchor, flight, "roles_hidden", "may hold a directory role, which cannot be seen", hint)
    }

    fn refuse_match(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        code: &str,
        why: &str,
        hint: &str,
    ) -> Result<(), ProvisionerError> {
        let Some(Stage::Matched { object, rule, .. }) = self.stages.remove(anchor) else { return Ok(()) };
        self.forget_seen(anchor);
        let name = object.name.clone().unwrap_or_default();
        self.see_refusal(anchor, flight.class, &rule, vec![(object.id.clone(), name)], (code, why));
        self.end_join_hold(anchor, flight, "what it matches cannot be joined")?;
        let error = ExportError {
            code: code.to_owned(),
            attribute: None,
            other: None,
            detail: format!("the cloud user {} that it matches {why}, and is not taken over", object.id),
            hint: Some(hint.to_owned()),
        };
        self.turn.outcome(NewOutcome::after(anchor, flight, None, refused(Operation::Create, error)));
        Ok(())
    }

    /// Says that a group is neither joined nor created, and looks again from time to time: the reason lies in the tenant.
    fn stand_aside(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        rule: &SoftMatch,
        found: &[(String, String)],
        bar: Bar,
    ) -> Result<(), ProvisionerError> {
        self.end_join_hold(anchor, flight, "what it matches cannot be joined")?;
        let retry_at = later(self.config.tenant.retry_longest);
        let row = self.store.object(anchor)?;
        if let Some(failed) = row.as_ref().and_then(|row| row.failure()).filter(|f| f.quarantined && f.code == bar.code)
        {
            // it was said
            let failed = Failed { retry_at: retry_at.as_millisecond(), ..failed.clone() };
            self.turn.note(Note::Object(anchor.clone(), failed));
            return Ok(());
        }
        let ids: Vec<&str> = found.iter().take(NAMED).map(|(id, _)| id.as_str()).collect();
        let more = found.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let event = OutcomeEvent::ExportQuarantined(ExportQuarantined {
            operation: Operation::Create,
            error: ExportError {
                code: bar.code.to_owned(),
                attribute: Some(rule.wished.clone()),
                other: None,
                detail: format!(
                    "the cloud group that it matches by {} {}: {}{more}; it is not joined, and no other one is created",
                    rule.pair(),
                    bar.why,
                    ids.join(", ")
                ),
                hint: Some(bar.hint.to_owned()),
            },
            attempts: 0,
            retry_at: Some(retry_at),
            members: Vec::new(),
        });
        self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        Ok(())
    }

    fn forget_seen(&self, anchor: &SourceAnchor) {
        if let Some(seen) = &self.seen {
            seen.lock().unwrap_or_else(PoisonError::into_inner).remove(anchor);
        }
    }

    fn see(
        &self,
        anchor: &SourceAnchor,
        class: CloudClass,
        rule: &SoftMatch,
        objects: Vec<(String, String)>,
        result: MatchResult,
    ) {
        if let Some(seen) = &self.seen {
            let one = SeenMatch { class, pair: rule.pair(), objects, result };
            seen.lock().unwrap_or_else(PoisonError::into_inner).entry(anchor.clone()).or_default().push(one);
        }
    }

    fn see_refusal(
        &self,
        anchor: &SourceAnchor,
        class: CloudClass,
        rule: &SoftMatch,
        objects: Vec<(String, String)>,
        (code, why): (&str, &str),
    ) {
        self.see(anchor, class, rule, objects, MatchResult::Refused { code: code.to_owned(), why: why.to_owned() });
    }

    fn see_join(
        &self,
        anchor: &SourceAnchor,
        class: CloudClass,
        rule: &SoftMatch,
        objects: Vec<(String, String)>,
        object: &CloudObject,
    ) -> Result<(), StoreError> {
        if self.seen.is_none() {
            return Ok(());
        }
        let row = self.store.object(anchor)?;
        let changes = match row.as_ref().and_then(|row| row.wish.as_ref()) {
            Some(wish) => match &wish.kind {
                WishKind::Present { attributes, .. } => diff::diff(&object.attributes, attributes, &self.written(wish)),
                _ => AttributeChanges::new(),
            },
            None => AttributeChanges::new(),
        };
        self.see(anchor, class, rule, objects, MatchResult::Joins(changes));
        Ok(())
    }
}
