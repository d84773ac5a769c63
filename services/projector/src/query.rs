//! Questions to a projector, and its answers.
//!
//! A running projector answers on a socket beside its database, which only the account it runs as may open: answers hold
//! attribute values. One line of JSON is asked, one is answered. Without a running projector the database is opened for
//! the question.

use forestsync_rules::hygiene::TenantHolder;
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
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One for each object that was meant.
    Explain(Vec<Explanation>),
    /// One for each finding.
    Lint(Vec<LintRow>),
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
