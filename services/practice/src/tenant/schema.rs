//! The properties of users, groups and devices: shape, who may write them, what an answer shows without `$select`.
//!
//! After the property descriptions of Graph v1.0: read-only, create-only and update-only properties, those that an
//! application may not update, those that are sensitive on administrators, lengths, and values that cannot be cleared.

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A string of at most so many UTF-16 units.
    Text(usize),
    Bool,
    Number,
    /// A date and time with zone.
    Time,
    /// Strings, at most so many.
    Texts(usize),
    /// An object with these string properties.
    Object(&'static [&'static str]),
    /// A list of objects, not looked into.
    List,
    /// Not looked into.
    Any,
}

/// Who may set a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    ReadOnly,
    CreateOnly,
    UpdateOnly,
    /// Only with a signed-in user, never by an application; kept outside the directory store.
    NotByApp,
}

/// One property.
#[derive(Clone, Copy, Debug)]
pub(super) struct Property {
    pub name: &'static str,
    pub shape: Shape,
    pub access: Access,
    pub clearable: bool,
    pub sensitive: bool,
    /// Shown without `$select`.
    pub default: bool,
}

impl Property {
    const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, access: Access::Write, clearable: true, sensitive: false, default: false }
    }
    const fn shown(mut self) -> Self {
        self.default = true;
        self
    }
    const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
    const fn kept(mut self) -> Self {
        self.clearable = false;
        self
    }
    const fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
}

const fn text(name: &'static str, most: usize) -> Property {
    Property::new(name, Shape::Text(most))
}

const fn read_only(name: &'static str, shape: Shape) -> Property {
    Property::new(name, shape).access(Access::ReadOnly)
}

const fn person(name: &'static str, shape: Shape) -> Property {
    Property::new(name, shape).access(Access::NotByApp)
}

const LONG: usize = 1_024;

/// `extensionAttribute1` to `extensionAttribute15`.
pub(super) const EXTENSION_ATTRIBUTES: &[&str] = &[
    "extensionAttribute1",
    "extensionAttribute2",
    "extensionAttribute3",
    "extensionAttribute4",
    "extensionAttribute5",
    "extensionAttribute6",
    "extensionAttribute7",
    "extensionAttribute8",
    "extensionAttribute9",
    "extensionAttribute10",
    "extensionAttribute11",
    "extensionAttribute12",
    "extensionAttribute13",
    "extensionAttribute14",
    "extensionAttribute15",
];

/// The properties of a user.
pub(super) static USER: &[Property] = &[
    read_only("id", Shape::Text(LONG)).shown(),
    Property::new("businessPhones", Shape::Texts(1)).shown().sensitive(),
    text("displayName", 256).shown().kept(),
    text("givenName", 64).shown(),
    text("jobTitle", 128).shown(),
    text("mail", LONG).shown(),
    text("mobilePhone", 64).shown().sensitive(),
    text("officeLocation", 128).shown(),
    text("preferredLanguage", LONG).shown(),
    text("surname", 64).shown(),
    text("userPrincipalName", LONG).shown().sensitive().kept(),
    Property::new("accountEnabled", Shape::Bool).sensitive().kept(),
    text("ageGroup", LONG),
    text("city", 128),
    text("companyName", 64),
    text("consentProvidedForMinor", LONG),
    text("country", 128),
    text("department", 64),
    Property::new("employeeHireDate", Shape::Time),
    text("employeeId", 16),
    Property::new("employeeLeaveDateTime", Shape::Time),
    Property::new("employeeOrgData", Shape::Object(&["costCenter", "division"])),
    text("employeeType", LONG),
    text("faxNumber", LONG),
    Property::new("identities", Shape::List),
    text("mailNickname", 64).kept(),
    Property::new("onPremisesExtensionAttributes", Shape::Object(EXTENSION_ATTRIBUTES)),
    text("onPremisesImmutableId", LONG).sensitive(),
    Property::new("otherMails", Shape::Texts(250)).sensitive(),
    text("passwordPolicies", LONG),
    Property::new("passwordProfile", Shape::Any).sensitive(),
    text("postalCode", 40),
    text("preferredDataLocation", LONG),
    text("state", 128),
    text("streetAddress", LONG),
    text("usageLocation", 2).kept(),
    text("userType", LONG),
    Property::new("customSecurityAttributes", Shape::Any),
    text("identityParentId", LONG),
    Property::new("authorizationInfo", Shape::Any),
    person("aboutMe", Shape::Text(LONG)),
    person("birthday", Shape::Time),
    person("hireDate", Shape::Time),
    person("interests", Shape::Texts(250)),
    person("mySite", Shape::Text(LONG)),
    person("pastProjects", Shape::Texts(250)),
    person("preferredName", Shape::Text(LONG)),
    person("responsibilities", Shape::Texts(250)),
    person("schools", Shape::Texts(250)),
    person("skills", Shape::Texts(250)),
    read_only("assignedLicenses", Shape::List),
    read_only("assignedPlans", Shape::List),
    read_only("createdDateTime", Shape::Time),
    read_only("creationType", Shape::Text(LONG)),
    read_only("deletedDateTime", Shape::Time),
    read_only("externalUserState", Shape::Text(LONG)),
    read_only("externalUserStateChangeDateTime", Shape::Time),
    read_only("imAddresses", Shape::Texts(250)),
    read_only("isManagementRestricted", Shape::Bool),
    read_only("isResourceAccount", Shape::Bool),
    read_only("lastPasswordChangeDateTime", Shape::Time),
    read_only("legalAgeGroupClassification", Shape::Text(LONG)),
    read_only("licenseAssignmentStates", Shape::List),
    read_only("onPremisesDistinguishedName", Shape::Text(LONG)),
    read_only("onPremisesDomainName", Shape::Text(LONG)),
    read_only("onPremisesLastSyncDateTime", Shape::Time),
    read_only("onPremisesProvisioningErrors", Shape::List),
    read_only("onPremisesSamAccountName", Shape::Text(LONG)),
    read_only("onPremisesSecurityIdentifier", Shape::Text(LONG)),
    read_only("onPremisesSyncEnabled", Shape::Bool),
    read_only("onPremisesUserPrincipalName", Shape::Text(LONG)),
    read_only("provisionedPlans", Shape::List),
    read_only("proxyAddresses", Shape::Texts(LONG)),
    read_only("securityIdentifier", Shape::Text(LONG)),
    read_only("serviceProvisioningErrors", Shape::List),
    read_only("showInAddressList", Shape::Bool),
    read_only("signInActivity", Shape::Any),
    read_only("signInSessionsValidFromDateTime", Shape::Time),
];

/// The properties of a group.
pub(super) static GROUP: &[Property] = &[
    read_only("id", Shape::Text(LONG)).shown(),
    read_only("deletedDateTime", Shape::Time).shown(),
    text("classification", LONG).shown(),
    read_only("createdDateTime", Shape::Time).shown(),
    text("description", LONG).shown(),
    text("displayName", 256).shown().kept(),
    read_only("expirationDateTime", Shape::Time).shown(),
    Property::new("groupTypes", Shape::Texts(2)).shown(),
    Property::new("isAssignableToRole", Shape::Bool).shown().access(Access::CreateOnly),
    read_only("mail", Shape::Text(LONG)).shown(),
    Property::new("mailEnabled", Shape::Bool).shown().kept(),
    text("mailNickname", 64).shown().kept(),
    text("membershipRule", 3_072).shown(),
    text("membershipRuleProcessingState", LONG).shown(),
    read_only("onPremisesDomainName", Shape::Text(LONG)).shown(),
    read_only("onPremisesLastSyncDateTime", Shape::Time).shown(),
    read_only("onPremisesNetBiosName", Shape::Text(LONG)).shown(),
    read_only("onPremisesProvisioningErrors", Shape::List).shown(),
    read_only("onPremisesSamAccountName", Shape::Text(LONG)).shown(),
    read_only("onPremisesSecurityIdentifier", Shape::Text(LONG)).shown(),
    read_only("onPremisesSyncEnabled", Shape::Bool).shown(),
    text("preferredDataLocation", LONG).shown(),
    text("preferredLanguage", LONG).shown(),
    read_only("proxyAddresses", Shape::Texts(LONG)).shown(),
    read_only("renewedDateTime", Shape::Time).shown(),
    Property::new("resourceBehaviorOptions", Shape::Texts(LONG)).shown().access(Access::CreateOnly),
    Property::new("resourceProvisioningOptions", Shape::Texts(LONG)).shown(),
    Property::new("securityEnabled", Shape::Bool).shown().kept(),
    read_only("securityIdentifier", Shape::Text(LONG)).shown(),
    read_only("serviceProvisioningErrors", Shape::List).shown(),
    text("theme", LONG).shown(),
    read_only("uniqueName", Shape::Text(LONG)).shown(),
    text("visibility", LONG).shown(),
    Property::new("allowExternalSenders", Shape::Bool).access(Access::UpdateOnly),
    Property::new("assignedLabels", Shape::List),
    read_only("assignedLicenses", Shape::List),
    Property::new("autoSubscribeNewMembers", Shape::Bool).access(Access::UpdateOnly),
    read_only("hasMembersWithLicenseErrors", Shape::Bool),
    Property::new("hideFromAddressLists", Shape::Bool).access(Access::UpdateOnly),
    Property::new("hideFromOutlookClients", Shape::Bool).access(Access::UpdateOnly),
    read_only("isArchived", Shape::Bool),
    read_only("isManagementRestricted", Shape::Bool),
    Property::new("isSubscribedByMail", Shape::Bool).access(Access::UpdateOnly),
    read_only("licenseProcessingState", Shape::Any),
    read_only("onPremisesExtensionAttributes", Shape::Object(EXTENSION_ATTRIBUTES)),
    Property::new("unseenCount", Shape::Number).access(Access::UpdateOnly),
];

/// The properties of a device: what an application that may create one sends, and what the service adds.
pub(super) static DEVICE: &[Property] = &[
    read_only("id", Shape::Text(LONG)).shown(),
    read_only("deletedDateTime", Shape::Time).shown(),
    Property::new("accountEnabled", Shape::Bool).shown().kept(),
    Property::new("alternativeSecurityIds", Shape::List).shown().kept(),
    text("deviceId", LONG).shown().access(Access::CreateOnly),
    text("displayName", 256).shown().kept(),
    text("operatingSystem", LONG).shown(),
    text("operatingSystemVersion", LONG).shown(),
    read_only("registrationDateTime", Shape::Time).shown(),
    read_only("trustType", Shape::Text(LONG)).shown(),
];

/// The property named so.
pub(super) fn find(table: &'static [Property], name: &str) -> Option<&'static Property> {
    table.iter().find(|p| p.name == name)
}

/// Whether the name has the form of a directory or schema extension property.
pub(super) fn is_extension(name: &str) -> bool {
    name.strip_prefix("extension_").is_some_and(|rest| {
        rest.split_once('_')
            .is_some_and(|(app, own)| app.len() == 32 && app.bytes().all(|b| b.is_ascii_hexdigit()) && !own.is_empty())
    })
}
