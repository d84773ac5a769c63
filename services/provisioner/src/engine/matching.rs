//! Soft match: who is in the tenant without an anchor may be the one that is wished.
//!
//! By userPrincipalName, then by primary mail address, as the configuration says. Never somebody who carries an anchor or
//! belongs to Azure AD Connect, never somebody who holds a directory role, and nobody for two.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use forestsync_schemas::outcomes::{ExportError, MatchedBy, Operation};

use super::plan::refused;
use super::{Engine, Flight, NewOutcome, Stage};
use crate::target::{Call, CloudObject};

impl Engine {
    /// The question for one that may be there without an anchor, where the configuration asks it.
    pub(super) fn soft_match(&self, class: CloudClass, attributes: &CloudAttributes) -> Option<Call> {
        let text = |name: &str| match attributes.get(name) {
            Some(CloudValue::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let rules = self.config.tenant.soft_match;
        let user_principal_name = text("userPrincipalName").filter(|_| rules.user_principal_name);
        let mail = text("mail").filter(|_| rules.mail);
        let asks = class == CloudClass::User && (user_principal_name.is_some() || mail.is_some());
        asks.then(|| Call::Match { user_principal_name, mail, attributes: self.interesting(class, attributes) })
    }

    /// Takes whom the question found.
    pub(super) fn matched(
        &mut self,
        anchor: &SourceAnchor,
        by_name: Option<CloudObject>,
        by_mail: Option<CloudObject>,
    ) {
        let others = |object: &CloudObject| self.claims.get(&object.id).is_some_and(|claimant| claimant != anchor);
        let stage = match choose(by_name, by_mail, others) {
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

/// Which soft match applies, if one does: the target must not carry an anchor, belong to Azure AD Connect or be somebody
/// else's already.
fn choose(
    by_name: Option<CloudObject>,
    by_mail: Option<CloudObject>,
    others: impl Fn(&CloudObject) -> bool,
) -> Option<(CloudObject, MatchedBy)> {
    let free = |o: &CloudObject| o.anchor.as_deref().is_none_or(str::is_empty) && !o.synced && !others(o);
    let by_name = by_name.filter(free).map(|o| (o, MatchedBy::UserPrincipalName));
    by_name.or_else(|| by_mail.filter(free).map(|o| (o, MatchedBy::Mail)))
}
