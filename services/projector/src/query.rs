//! Questions to a projector, and its answers.
//!
//! A running projector answers on a socket beside its database, which only the account it runs as may open: answers hold
//! attribute values. One line of JSON is asked, one is answered. Without a running projector the database is opened for
//! the question.

use forestsync_rules::hygiene::TenantHolder;
use forestsync_schemas::sighting::{News, Sighting};
use serde::{Deserialize, Serialize};

use crate::keys::ObjectKey;

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// What is known of an object, by distinguished name, objectGUID, source anchor, sign-in name or mail address.
    Explain(String),
    /// What is wrong with objects.
    Lint(LintFilter),
    /// Who wishes for what these cloud objects have. Answered by findings.
    Taken(Vec<TenantHolder>, LintFilter),
    /// What would follow from an object as it was read just now.
    WhatIf(Box<Sighting>),
    /// To let the projection that a replay has built take the place of the one at work; see [`swap`](crate::swap).
    TakeUp,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One for each object that was meant.
    Explain(Vec<Explanation>),
    /// One for each finding.
    Lint(Vec<LintRow>),
    /// What would follow.
    WhatIf(Box<WhatIf>),
    /// Whether there was one that could take the place.
    TakenUp(bool),
    /// Why there is none.
    Failed(String),
}

/// Which findings are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintFilter {
    /// Of this forest only.
    pub forest: Option<String>,
    /// By these rules only; all if empty.
    pub rules: Vec<String>,
    /// On these attributes only; all if empty.
    pub attributes: Vec<String>,
    /// At least this bad: `error`, `warning` or `info`.
    pub severity: Option<String>,
    /// Whether values are shown.
    pub values: bool,
    /// The most rows.
    pub limit: usize,
}

impl LintFilter {
    pub(crate) fn takes(&self, finding: &FindingView) -> bool {
        let rank = |severity: &str| ["info", "warning", "error"].iter().position(|known| *known == severity);
        let is_bad_enough = self.severity.as_ref().is_none_or(|least| rank(&finding.severity) >= rank(least));
        is_bad_enough
            && (self.rules.is_empty() || self.rules.contains(&finding.rule))
            && (self.attributes.is_empty() || self.attributes.contains(&finding.attribute))
    }
}

/// What would follow from an object as it was read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WhatIf {
    /// The stream that carries the object.
    pub stream: String,
    /// The offset up to which (exclusive) its stream is projected.
    pub applied: u64,
    /// How much of what is wished, of whatever object, is still to be written.
    pub waiting: u64,
    /// Why nothing follows from anything at the moment.
    pub obstacle: Option<String>,
    /// The name by which the history knows it; none if it does not, or knows it as deleted.
    pub known_as: Option<String>,
    /// Whether the history says anything else of it.
    pub is_news: bool,
    /// What its collector would have to take in.
    pub news: News,
    /// Attributes with other values.
    pub changes: Vec<ValueDifference>,
    /// Links with other values.
    pub links: Vec<LinkDifference>,
    /// Links with too many values to compare them.
    pub long_links: Vec<String>,
    /// So much depends on it that the rest was not looked at: nothing is said of what would be written.
    pub is_cut: bool,
    /// The source anchor it stands for, or stood for; none if it never had one.
    pub anchor: Option<String>,
    /// The object as it would be then.
    pub explanation: Option<Explanation>,
    /// The records of `desired` that would follow, as JSON; none if all of it was written already.
    pub desired: Vec<String>,
}

/// An attribute whose values are others now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueDifference {
    /// lDAPDisplayName.
    pub attribute: String,
    /// As the history has them.
    pub before: Vec<String>,
    /// As they were read.
    pub after: Vec<String>,
}

/// A link whose values are others now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDifference {
    /// `member`, `manager` or `managedBy`.
    pub attribute: String,
    /// Objects that the history does not have in it, by name or objectGUID.
    pub added: Vec<String>,
    /// Objects that only the history has in it.
    pub removed: Vec<String>,
}

/// What is known of an object, or of several that are joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explanation {
    #[serde(skip)]
    pub(crate) keys: Vec<ObjectKey>,
    /// The source anchor it stands for; none if it is not wished.
    pub anchor: Option<String>,
    /// What kind of cloud object.
    pub class: Option<String>,
    /// It is not sent as it is, because of a finding.
    pub is_kept_back: bool,
    /// What must happen before more can be said.
    pub state: Option<String>,
    /// How often its wish was written; none if it was not.
    pub revision: Option<u64>,
    /// Why nothing is written at the moment.
    pub held: Vec<String>,
    /// The directory objects, the one that says how to sign in first.
    pub objects: Vec<ObjectView>,
    /// The cloud attributes, by rule.
    pub attributes: Vec<AttributeView>,
    /// Where its references lead.
    pub references: Vec<ReferenceView>,
    /// Directory attributes with a place in Azure AD that Graph cannot write.
    pub not_writable: Vec<String>,
}

/// A directory object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObjectView {
    /// The forest's configured name.
    pub forest: String,
    /// Its naming context.
    pub naming_context: String,
    /// The stream that carries it.
    pub stream: String,
    /// objectGUID.
    pub object: String,
    /// Its name now.
    pub dn: String,
    /// Its class.
    pub class: String,
    /// Whether it is in scope.
    pub is_in_scope: bool,
    /// Why, or why not.
    pub scope: String,
    /// The join rule that made it part of the others.
    pub joined_by: Option<String>,
    /// Whether its account has expired.
    pub is_expired: bool,
    /// What is wrong with it.
    pub findings: Vec<FindingView>,
    /// The record that made its image.
    pub image: Option<OriginView>,
}

/// A cloud attribute and where its value comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttributeView {
    /// Graph's name.
    pub target: String,
    /// The value, if any.
    pub value: Option<String>,
    /// The rule.
    pub rule: String,
    /// Where the rule comes from.
    pub origin: String,
    /// Whether it is for the creation only.
    pub at_creation: bool,
    /// What the rule said.
    pub outcome: String,
    /// What it read.
    pub inputs: Vec<InputView>,
}

/// A directory attribute that a rule read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputView {
    /// lDAPDisplayName.
    pub attribute: String,
    /// Its values.
    pub values: Vec<String>,
    /// The forest of the object that has them.
    pub forest: String,
    /// That object.
    pub object: String,
    /// The stream they came in.
    pub stream: String,
    /// The record.
    pub origin: OriginView,
}

/// A record of a `changes` stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginView {
    /// Its offset.
    pub offset: u64,
    /// When it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// From which controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// uSNChanged, where the directory told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usn: Option<u64>,
}

impl OriginView {
    pub(crate) fn at(offset: u64) -> Self {
        Self { offset, ..Self::default() }
    }
}

/// A reference of an object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReferenceView {
    /// `member`, `manager` or `managedBy`.
    pub attribute: String,
    /// The object it names.
    pub object: String,
    /// Its name, if it is known.
    pub dn: Option<String>,
    /// The anchors it leads to.
    pub anchors: Vec<String>,
    /// Whether it is resolved, or what it waits for.
    pub state: String,
}

/// What is wrong with an object, by rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingView {
    /// The rule's id.
    pub rule: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// The directory attribute.
    pub attribute: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// A finding with its object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LintRow {
    /// The forest's configured name.
    pub forest: String,
    /// objectGUID.
    pub object: String,
    /// Its name now.
    pub dn: String,
    /// The rule's id.
    pub rule: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// The directory attribute.
    pub attribute: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The value, where values were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What to write instead, where values were asked for and there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
