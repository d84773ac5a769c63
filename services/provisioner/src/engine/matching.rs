//! Soft match: who is in the tenant without an anchor may be the one that is wished.
//!
//! By pairs of attributes, in the order of the configuration; a value that several users have matches none of them. Never
//! somebody who carries an anchor or belongs to Azure AD Connect, never somebody who holds a directory role, and nobody for
//! two.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use forestsync_schemas::outcomes::{ExportError, MatchedBy, Operation};

use super::plan::refused;
use super::{Engine, Flight, NewOutcome, Stage};
use crate::config::SoftMatch;
use crate::target::{Call, CloudObject, MatchKey};

impl Engine {
    /// The question for one that may be there without an anchor, where the configuration asks it, and what each of its
    /// keys stands for.
    pub(super) fn soft_match(&self, class: CloudClass, attributes: &CloudAttributes) -> Option<(Call, Vec<MatchedBy>)> {
        if class != CloudClass::User {
            return None;
        }
        let key = |rule: &SoftMatch| match attributes.get(&rule.wished) {
            Some(CloudValue::Text(value)) if !value.trim().is_empty() => {
                Some((MatchKey { attribute: rule.cloud.clone(), value: value.clone() }, rule.matched_by()))
            }
            _ => None,
        };
        let (keys, stands_for): (Vec<_>, Vec<_>) = self.config.tenant.soft_match.iter().filter_map(key).unzip();
        let asks = !keys.is_empty();
        asks.then(|| (Call::Match { keys, attributes: self.interesting(class, attributes) }, stands_for))
    }

    /// Takes whom the question found: the first one that is free.
    pub(super) fn matched(&mut self, anchor: &SourceAnchor, keys: &[MatchedBy], found: Vec<Option<CloudObject>>) {
        let others = |object: &CloudObject| self.claims.get(&object.id).is_some_and(|claimant| claimant != anchor);
        let free = |o: &CloudObject| o.anchor.as_deref().is_none_or(str::is_empty) && !o.synced && !others(o);
        let mut found = keys.iter().copied().zip(found);
        let stage = match found.find_map(|(by, object)| Some((object.filter(free)?, by))) {
            Some((object, by)) => {
                self.claims.insert(object.id.clone(), anchor.clone());
                Stage::Matched { object: Box::new(object), by, is_plain: false }
            }
            None => Stage::NoMatch,
        };
        self.stages.insert(anchor.clone(), stage);
    }

    /// Takes how many directory roles the one that was found holds: an administrator is not taken over by whoever can
    /// write a name or a mail address in a directory.
    pub(super) fn roles_read(&mut self, anchor: &SourceAnchor, flight: &Flight, roles: usize) {
        if roles == 0 {
            if let Some(Stage::Matched { is_plain, .. }) = self.stages.get_mut(anchor) {
                *is_plain = true;
            }
            return;
        }
        let hint = "if the two are one person, take its roles away and change the object in the directory, or write the \
                    anchor to its onPremisesImmutableId yourself; else let their names and mail addresses differ";
        self.refuse_match(anchor, flight, "privileged_match", "holds a directory role", hint);
    }

    /// The application may not see who holds a directory role: then nobody is taken over.
    pub(super) fn roles_hidden(&mut self, anchor: &SourceAnchor, flight: &Flight) {
        let hint =
            "grant the application Directory.Read.All and change the object in the directory, or switch soft_match off";
        self.refuse_match(anchor, flight, "roles_hidden", "may hold a directory role, which cannot be seen", hint);
    }

    fn refuse_match(&mut self, anchor: &SourceAnchor, flight: &Flight, code: &str, why: &str, hint: &str) {
        let Some(Stage::Matched { object, .. }) = self.stages.remove(anchor) else { return };
        let error = ExportError {
            code: code.to_owned(),
            attribute: None,
            other: None,
            detail: format!("the cloud user {} that it matches {why}, and is not taken over", object.id),
            hint: Some(hint.to_owned()),
        };
        self.turn.outcome(NewOutcome::after(anchor, flight, None, refused(Operation::Create, error)));
    }
}
