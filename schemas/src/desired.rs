//! `desired.<configuration>`: what the tenant should hold, one record per object and one per membership.
//!
//! The stream is compacted by key: the last record of a key says all there is to say about it, so a reader that starts
//! at offset 0 learns the whole wish, and one that follows learns each change. Records of one append belong together:
//! a reader MUST take in everything up to the tail before it acts on a removal, so that a mass deletion is seen as one.

use std::collections::BTreeMap;

use forestsync_domain::{Dn, ObjectGuid, SourceAnchor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Envelope, EventBody};

/// An event of a `desired` stream.
pub type DesiredRecord = Envelope<DesiredEvent>;

/// Whose wish it is and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DesiredContext {
    /// The configuration's name.
    pub configuration: String,
    /// Digest of the rules and the scope it was computed with.
    pub rules: String,
    /// For each `changes` stream the offset up to which it was read.
    pub offsets: BTreeMap<String, u64>,
    /// W3C trace context of the change that caused it; where no single one did, of the latest look that was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DesiredEvent {
    /// Which attributes are managed for a class.
    AttributeFlowDeclared(AttributeFlowDeclared),
    /// The tenant should hold this object.
    ObjectDesired(ObjectDesired),
    /// The tenant should no longer hold it.
    ObjectRemoved(ObjectRemoved),
    /// A group should have a member.
    LinkDesired(LinkDesired),
    /// A group should no longer have a member.
    LinkRemoved(LinkRemoved),
}

impl DesiredEvent {
    /// The record's key.
    pub fn key(&self) -> String {
        match self {
            Self::AttributeFlowDeclared(e) => format!("flow/{}", e.class.as_str()),
            Self::ObjectDesired(e) => format!("object/{}", e.anchor),
            Self::ObjectRemoved(e) => format!("object/{}", e.anchor),
            Self::LinkDesired(e) => format!("member/{}/{}", e.group, e.member),
            Self::LinkRemoved(e) => format!("member/{}/{}", e.group, e.member),
        }
    }
}

impl EventBody for DesiredEvent {
    type Context = DesiredContext;

    fn type_name(&self) -> &'static str {
        match self {
            Self::AttributeFlowDeclared(_) => "AttributeFlowDeclared",
            Self::ObjectDesired(_) => "ObjectDesired",
            Self::ObjectRemoved(_) => "ObjectRemoved",
            Self::LinkDesired(_) => "LinkDesired",
            Self::LinkRemoved(_) => "LinkRemoved",
        }
    }

    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "AttributeFlowDeclared" => serde_json::from_str(data).map(Self::AttributeFlowDeclared),
            "ObjectDesired" => serde_json::from_str(data).map(Self::ObjectDesired),
            "ObjectRemoved" => serde_json::from_str(data).map(Self::ObjectRemoved),
            "LinkDesired" => serde_json::from_str(data).map(Self::LinkDesired),
            "LinkRemoved" => serde_json::from_str(data).map(Self::LinkRemoved),
            _ => return None,
        })
    }
}

/// What kind of cloud object is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloudClass {
    /// A user.
    User,
    /// A security group without mail.
    Group,
    /// A mail-enabled security group: not writable through Graph.
    MailEnabledGroup,
    /// A distribution list: not writable through Graph.
    DistributionList,
    /// A contact: not writable through Graph.
    Contact,
}

impl CloudClass {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::User, Self::Group, Self::MailEnabledGroup, Self::DistributionList, Self::Contact];

    /// The name in keys and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::MailEnabledGroup => "mail_enabled_group",
            Self::DistributionList => "distribution_list",
            Self::Contact => "contact",
        }
    }

    /// Whether Microsoft Graph lets an application write objects of this class.
    pub fn is_writable(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }
}

/// A value of a cloud attribute. An attribute without a value is not in the map.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CloudValue {
    /// True or false.
    Bool(bool),
    /// A whole number: of directory extensions only.
    Integer(i64),
    /// A text.
    Text(String),
    /// Several texts, in the order of the directory.
    List(Vec<String>),
}

impl std::fmt::Debug for CloudValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "Bool({value})"),
            Self::Integer(_) => f.write_str("Integer"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::List(values) => write!(f, "List({} values)", values.len()),
        }
    }
}

/// Cloud attributes by their Graph name; those of a complex property by path, such as
/// `onPremisesExtensionAttributes.extensionAttribute1`; directory extensions as `extension.<name>`, whichever application
/// holds them.
pub type CloudAttributes = BTreeMap<String, CloudValue>;

/// Which attributes are managed for a class: one that is managed and has no value in a desired object shall have none in
/// the tenant; one that is not managed is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttributeFlowDeclared {
    /// The class.
    pub class: CloudClass,
    /// Graph names of the managed attributes, sorted.
    pub attributes: Vec<String>,
    /// The directory extensions among them, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionDeclared>,
}

/// A directory extension that values flow into; it must exist on the application before the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtensionDeclared {
    /// Its name: without the prefix that Graph makes of the application's id.
    pub name: String,
    /// What its values are.
    pub data_type: ExtensionType,
    /// Whether it holds several values.
    #[serde(default)]
    pub multi_valued: bool,
}

/// The types of directory extensions, by Graph's names (extensionProperty, `dataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ExtensionType {
    /// Bytes, at most 256; in base64.
    Binary,
    /// True or false.
    Boolean,
    /// A moment, in ISO 8601 and UTC.
    DateTime,
    /// 32 bits.
    Integer,
    /// 64 bits.
    LargeInteger,
    /// A text of at most 256 characters.
    String,
}

impl ExtensionType {
    /// Graph's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "Binary",
            Self::Boolean => "Boolean",
            Self::DateTime => "DateTime",
            Self::Integer => "Integer",
            Self::LargeInteger => "LargeInteger",
            Self::String => "String",
        }
    }
}

/// The tenant should hold this object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectDesired {
    /// Its anchor.
    pub anchor: SourceAnchor,
    /// What kind of object.
    pub class: CloudClass,
    /// Counts the changes of this object's record since the projection was built.
    pub revision: u64,
    /// The attributes that have a value.
    pub attributes: CloudAttributes,
    /// Values for the object's creation only: attributes that are not managed, and defaults of managed ones that have no
    /// value.
    #[serde(default, skip_serializing_if = "CloudAttributes::is_empty")]
    pub at_creation: CloudAttributes,
    /// Managed attributes that stay as the tenant has them, sorted: a rule said so for this object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<String>,
    /// The manager's anchor, once the manager is desired as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<SourceAnchor>,
    /// The anchor of a group's owner, once that user is desired as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<SourceAnchor>,
    /// Directory attributes that have a value and a place in Azure AD, but none that Graph can write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_writable: Vec<String>,
    /// The directory object it comes from; of several that are joined, the one that says how the person signs in.
    pub source: SourceObject,
    /// The other objects that are joined with it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<SourceObject>,
}

/// A directory object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceObject {
    /// The forest's configured name.
    pub forest: String,
    /// objectGUID.
    pub object: ObjectGuid,
    /// Its name when the record was written; names change, objectGUIDs do not.
    pub dn: Dn,
}

/// The tenant should no longer hold this object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRemoved {
    /// Its anchor.
    pub anchor: SourceAnchor,
    /// What kind of object it was.
    pub class: CloudClass,
    /// Counts on from the object's last revision.
    pub revision: u64,
    /// Why.
    pub reason: RemovalReason,
    /// The cloud object stays as it is and is let go, not deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
    /// The directory object it came from.
    pub source: SourceObject,
}

/// Why an object should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemovalReason {
    /// It was deleted in the directory.
    Deleted,
    /// A completed full read did not show it any more.
    Absent,
    /// It left the scope.
    OutOfScope,
    /// A default exclusion applies to it now.
    Excluded,
    /// It became an object of another class; the new one has its own record.
    ClassChanged,
    /// A rebuilt projection does not have it, although an earlier record wished it.
    Rebuilt,
    /// It belongs to the record of another object now, with which it is joined.
    Joined,
    /// It left the scope of this configuration and is in that of another one for the same tenant.
    HandedOver,
    /// The whole configuration was removed.
    ConfigurationRemoved,
}

/// A group should have a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkDesired {
    /// The group's anchor.
    pub group: SourceAnchor,
    /// The member's anchor.
    pub member: SourceAnchor,
}

/// A group should no longer have a member.
///
/// A membership also ends, without this record, when the group or the member is removed; once the directory has
/// forgotten it, this record follows, so that the last record of the key is right in a compacted stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkRemoved {
    /// The group's anchor.
    pub group: SourceAnchor,
    /// The member's anchor.
    pub member: SourceAnchor,
}
