//! The attributes that flow as they are.

/// A text that flows from one directory attribute to one Graph property.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextRow {
    /// lDAPDisplayName.
    pub(crate) source: &'static str,
    /// Graph's name, with dots for a part of a complex property.
    pub(crate) target: &'static str,
    /// The longest value that Graph takes, in UTF-16 code units, where it says.
    pub(crate) limit: Option<usize>,
    /// Whether white space at the ends is taken off.
    pub(crate) trim: bool,
}

const fn row(source: &'static str, target: &'static str, limit: Option<usize>) -> TextRow {
    TextRow { source, target, limit, trim: true }
}

/// Users' texts.
pub(crate) const USER: [TextRow; 30] = [
    row("l", "city", Some(128)),
    row("company", "companyName", Some(64)),
    row("co", "country", Some(128)),
    row("department", "department", Some(64)),
    TextRow { source: "employeeID", target: "employeeId", limit: Some(16), trim: false },
    row("facsimileTelephoneNumber", "faxNumber", None),
    row("givenName", "givenName", Some(64)),
    row("title", "jobTitle", Some(128)),
    row("mobile", "mobilePhone", Some(64)),
    row("physicalDeliveryOfficeName", "officeLocation", None),
    row("extensionAttribute1", "onPremisesExtensionAttributes.extensionAttribute1", None),
    row("extensionAttribute2", "onPremisesExtensionAttributes.extensionAttribute2", None),
    row("extensionAttribute3", "onPremisesExtensionAttributes.extensionAttribute3", None),
    row("extensionAttribute4", "onPremisesExtensionAttributes.extensionAttribute4", None),
    row("extensionAttribute5", "onPremisesExtensionAttributes.extensionAttribute5", None),
    row("extensionAttribute6", "onPremisesExtensionAttributes.extensionAttribute6", None),
    row("extensionAttribute7", "onPremisesExtensionAttributes.extensionAttribute7", None),
    row("extensionAttribute8", "onPremisesExtensionAttributes.extensionAttribute8", None),
    row("extensionAttribute9", "onPremisesExtensionAttributes.extensionAttribute9", None),
    row("extensionAttribute10", "onPremisesExtensionAttributes.extensionAttribute10", None),
    row("extensionAttribute11", "onPremisesExtensionAttributes.extensionAttribute11", None),
    row("extensionAttribute12", "onPremisesExtensionAttributes.extensionAttribute12", None),
    row("extensionAttribute13", "onPremisesExtensionAttributes.extensionAttribute13", None),
    row("extensionAttribute14", "onPremisesExtensionAttributes.extensionAttribute14", None),
    row("extensionAttribute15", "onPremisesExtensionAttributes.extensionAttribute15", None),
    row("postalCode", "postalCode", Some(40)),
    row("preferredLanguage", "preferredLanguage", None),
    row("st", "state", Some(128)),
    row("streetAddress", "streetAddress", Some(1024)),
    row("sn", "surname", Some(64)),
];

/// What users have by rules of their own.
pub(crate) const USER_OWN_RULES: [&str; 6] =
    ["accountEnabled", "businessPhones", "displayName", "mail", "mailNickname", "userPrincipalName"];

/// What is kept in step of groups.
pub(crate) const GROUP: [&str; 4] = ["description", "displayName", "mailNickname", "securityEnabled"];

/// What is reported of contacts.
pub(crate) const CONTACT: [&str; 2] = ["displayName", "mail"];

/// The longest displayName that Graph takes.
pub(crate) const DISPLAY_NAME_LIMIT: usize = 256;
/// Where a group's description is cut.
pub(crate) const DESCRIPTION_CUT: usize = 448;
/// The longest mailNickname that Graph takes.
pub(crate) const NICKNAME_LIMIT: usize = 64;
/// The longest userPrincipalName that Azure AD takes: 64 characters, an `@` and 48 more.
pub(crate) const PRINCIPAL_LIMIT: usize = 113;
