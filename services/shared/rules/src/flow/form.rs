//! Attribute flow as it is written in a configuration.

use std::collections::BTreeMap;

use forestsync_schemas::desired::ExtensionType;
use serde::Deserialize;

/// `[flow]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowForm {
    /// How much of the default flow is in force.
    #[serde(default)]
    pub defaults: Defaults,
    /// Targets that are taken out of it, such as `"user.faxNumber"`.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Rules beside it, or in the place of its own for the same target.
    #[serde(default)]
    pub rules: Vec<RuleForm>,
    /// Directory extensions that values may flow into.
    #[serde(default)]
    pub extensions: Vec<ExtensionForm>,
    /// Attributes of the directory's schema that are not known by themselves.
    #[serde(default)]
    pub attributes: Vec<AttributeForm>,
    /// Whether an account that has expired is disabled in the tenant; it is unless written.
    pub disable_expired: Option<bool>,
    /// What becomes of a sign-in name whose domain is not verified in the tenant.
    #[serde(default)]
    pub unverified_suffix: UnverifiedSuffix,
    /// The domains to write in the place of others, for `unverified_suffix = "rewrite"`.
    #[serde(default)]
    pub rewrite_suffix: BTreeMap<String, String>,
}

/// How much of the default flow is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Defaults {
    /// All of it.
    #[default]
    Full,
    /// What the tenant requires, and nothing else.
    Minimal,
    /// Nothing: every target has a rule of the configuration.
    None,
}

/// What becomes of a sign-in name whose domain is not verified in the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnverifiedSuffix {
    /// The object is not sent, with a finding.
    #[default]
    Fail,
    /// mailNickname at the tenant's initial domain, as Azure AD's own synchronization does.
    InitialDomain,
    /// The domain is replaced as `rewrite_suffix` says; one that is not listed there fails the object.
    Rewrite,
}

/// The classes that rules are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowClass {
    /// Users and inetOrgPersons.
    User,
    /// Groups of all kinds.
    Group,
    /// Contacts.
    Contact,
}

impl FlowClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::User, Self::Group, Self::Contact];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Contact => "contact",
        }
    }
}

/// `[[flow.rules]]`. Exactly one of `source`, `constant`, `expression` and `none` is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleForm {
    /// What it is for.
    pub class: FlowClass,
    /// Graph's name of the property, or `extension.<name>`.
    pub target: String,
    /// The directory attribute whose value flows as it is.
    pub source: Option<String>,
    /// The same value for every object.
    pub constant: Option<String>,
    /// An expression.
    pub expression: Option<String>,
    /// Nothing flows: the property is left to the tenant.
    #[serde(default)]
    pub none: bool,
    /// When it flows.
    #[serde(default)]
    pub apply: Apply,
    /// The value of an object that has none, at its creation only.
    pub default: Option<String>,
    /// An expression that must be true for the rule to say anything.
    pub when: Option<String>,
}

/// When a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    /// At creation and whenever the value changes.
    #[default]
    Always,
    /// At creation only.
    Create,
}

/// `[[flow.extensions]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionForm {
    /// Its name.
    pub name: String,
    /// The classes whose objects have it.
    #[serde(default = "users")]
    pub classes: Vec<FlowClass>,
    /// What its values are, by Graph's names.
    #[serde(rename = "type")]
    pub data_type: ExtensionType,
    /// Whether it holds several values.
    #[serde(default)]
    pub multi_valued: bool,
}

fn users() -> Vec<FlowClass> {
    vec![FlowClass::User]
}

/// `[[flow.attributes]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeForm {
    /// lDAPDisplayName.
    pub name: String,
    /// What its values are.
    #[serde(default)]
    pub syntax: SyntaxForm,
    /// Whether it may have several values.
    #[serde(default)]
    pub multi_valued: bool,
}

/// What the values of an attribute are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyntaxForm {
    /// Text.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// TRUE or FALSE.
    Boolean,
    /// Generalized time.
    Time,
    /// Hundreds of nanoseconds since 1601.
    FileTime,
    /// Bytes.
    Binary,
    /// A distinguished name.
    Reference,
}

/// `[[test]]`: an object, and what should become of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestForm {
    /// What it is about.
    pub name: String,
    /// The class of the object.
    #[serde(default = "user")]
    pub class: FlowClass,
    /// Its distinguished name.
    #[serde(default = "nobody")]
    pub dn: String,
    /// Its attributes: a text, or a list of texts.
    pub object: BTreeMap<String, TestValues>,
    /// Whether its account has expired.
    #[serde(default)]
    pub expired: bool,
    /// The properties it should have; others may be there.
    #[serde(default)]
    pub expect: BTreeMap<String, TestValue>,
    /// The properties it should not have.
    #[serde(default)]
    pub absent: Vec<String>,
    /// The attributes that a problem should be told of; exactly these, where written.
    pub findings: Option<Vec<String>>,
    /// Whether it should be kept from the tenant; not asked unless written.
    pub blocked: Option<bool>,
    /// Whether values for the creation count.
    #[serde(default)]
    pub at_creation: bool,
}

fn user() -> FlowClass {
    FlowClass::User
}

fn nobody() -> String {
    "CN=Test,DC=example".to_owned()
}

/// The values of an attribute in a test.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum TestValues {
    /// One.
    One(TestValue),
    /// Several.
    Several(Vec<String>),
}

/// A value in a test.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TestValue {
    /// True or false.
    Bool(bool),
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}
