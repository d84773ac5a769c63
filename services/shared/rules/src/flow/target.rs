//! The properties that Graph takes: what they hold, how long, and what becomes of a value that does not fit.

use super::form::FlowClass;
use super::table::{DISPLAY_NAME_LIMIT, PRINCIPAL_LIMIT};

/// What a property holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// A text of at most so many UTF-16 code units, where Graph says.
    Text(Option<usize>),
    /// A list with exactly one text.
    OneText,
    /// A list of texts.
    Texts,
    /// A moment.
    Date,
    /// One of these words.
    Word(&'static [&'static str]),
    /// accountEnabled.
    Enabled,
    /// displayName.
    DisplayName,
    /// mail.
    Mail,
    /// mailNickname.
    Nickname,
    /// userPrincipalName.
    Principal,
    /// securityEnabled.
    Security,
}

/// A property.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) class: FlowClass,
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    /// Graph refuses an object without it.
    pub(super) is_required: bool,
    /// It can be said at creation only.
    pub(super) at_creation_only: bool,
}

const fn text(name: &'static str, limit: Option<usize>) -> Target {
    of(FlowClass::User, name, Holds::Text(limit))
}

const fn of(class: FlowClass, name: &'static str, holds: Holds) -> Target {
    Target { class, name, holds, is_required: false, at_creation_only: false }
}

const fn required(class: FlowClass, name: &'static str, holds: Holds) -> Target {
    Target { class, name, holds, is_required: true, at_creation_only: false }
}

/// Every property that a rule may name.
pub(super) const TARGETS: &[Target] = &[
    required(FlowClass::User, "accountEnabled", Holds::Enabled),
    text("ageGroup", None),
    of(FlowClass::User, "businessPhones", Holds::OneText),
    text("city", Some(128)),
    text("companyName", Some(64)),
    text("consentProvidedForMinor", None),
    text("country", Some(128)),
    text("department", Some(64)),
    required(FlowClass::User, "displayName", Holds::DisplayName),
    of(FlowClass::User, "employeeHireDate", Holds::Date),
    text("employeeId", Some(16)),
    text("employeeOrgData.costCenter", None),
    text("employeeOrgData.division", None),
    text("employeeType", None),
    text("faxNumber", None),
    text("givenName", Some(64)),
    text("jobTitle", Some(128)),
    of(FlowClass::User, "mail", Holds::Mail),
    required(FlowClass::User, "mailNickname", Holds::Nickname),
    text("mobilePhone", Some(64)),
    text("officeLocation", None),
    text("onPremisesExtensionAttributes.extensionAttribute1", None),
    text("onPremisesExtensionAttributes.extensionAttribute2", None),
    text("onPremisesExtensionAttributes.extensionAttribute3", None),
    text("onPremisesExtensionAttributes.extensionAttribute4", None),
    text("onPremisesExtensionAttributes.extensionAttribute5", None),
    text("onPremisesExtensionAttributes.extensionAttribute6", None),
    text("onPremisesExtensionAttributes.extensionAttribute7", None),
    text("onPremisesExtensionAttributes.extensionAttribute8", None),
    text("onPremisesExtensionAttributes.extensionAttribute9", None),
    text("onPremisesExtensionAttributes.extensionAttribute10", None),
    text("onPremisesExtensionAttributes.extensionAttribute11", None),
    text("onPremisesExtensionAttributes.extensionAttribute12", None),
    text("onPremisesExtensionAttributes.extensionAttribute13", None),
    text("onPremisesExtensionAttributes.extensionAttribute14", None),
    text("onPremisesExtensionAttributes.extensionAttribute15", None),
    of(FlowClass::User, "otherMails", Holds::Texts),
    text("passwordPolicies", None),
    text("postalCode", Some(40)),
    Target { at_creation_only: true, ..text("preferredDataLocation", None) },
    text("preferredLanguage", None),
    text("state", Some(128)),
    text("streetAddress", Some(1024)),
    text("surname", Some(64)),
    text("usageLocation", Some(2)),
    required(FlowClass::User, "userPrincipalName", Holds::Principal),
    of(FlowClass::User, "userType", Holds::Word(&["Member", "Guest"])),
    of(FlowClass::Group, "description", Holds::Text(Some(1024))),
    required(FlowClass::Group, "displayName", Holds::DisplayName),
    of(FlowClass::Group, "mail", Holds::Text(None)),
    required(FlowClass::Group, "mailNickname", Holds::Nickname),
    required(FlowClass::Group, "securityEnabled", Holds::Security),
    required(FlowClass::Contact, "displayName", Holds::DisplayName),
    of(FlowClass::Contact, "mail", Holds::Text(None)),
];

/// The property of this name.
pub(super) fn find(class: FlowClass, name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.class == class && target.name == name)
}

impl Holds {
    /// The longest text, in UTF-16 code units.
    pub(super) fn limit(self) -> Option<usize> {
        match self {
            Self::Text(limit) => limit,
            Self::DisplayName => Some(DISPLAY_NAME_LIMIT),
            Self::Principal => Some(PRINCIPAL_LIMIT),
            _ => None,
        }
    }
}
