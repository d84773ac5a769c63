//! What the practice forest knows of the Active Directory schema: attributes with their syntax, and classes with
//! their chain of ancestors.
//!
//! Every attribute has a small number, [`AttrId`], so that an object stores numbers instead of names. The names are
//! those of the Windows Server schema with the Exchange and Skype extensions, because these are the attributes that a
//! synchronizer reads.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The number of an attribute in this table. Stable within a process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttrId(pub(crate) u16);

/// How values compare and print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Unicode text, compared without regard to case.
    Text,
    Integer,
    Boolean,
    Octets,
    /// Generalized time.
    Time,
    /// A DN that is not a link: stored as text.
    Dn,
    /// A forward link: stored as references to objects.
    Link,
    /// The other side of a link: computed.
    BackLink,
}

/// Where the values of an attribute live, and who may write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Stored, replicated, written by clients.
    Plain,
    /// Stored and replicated, written by the server only.
    System,
    /// Computed from the object when read, or kept by this controller only; never in a DirSync answer.
    Local,
    /// Written by clients, never shown.
    Secret,
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttrDef {
    pub(crate) name: &'static str,
    pub(crate) syntax: Syntax,
    pub(crate) kind: Kind,
    pub(crate) single: bool,
}

macro_rules! well_known {
    ($($constant:ident = $number:literal, $name:literal, $syntax:ident, $kind:ident, $single:literal;)*) => {
        $(pub(crate) const $constant: AttrId = AttrId($number);)*
        const WELL_KNOWN: &[AttrDef] = &[
            $(AttrDef { name: $name, syntax: Syntax::$syntax, kind: Kind::$kind, single: $single },)*
        ];
    };
}

well_known! {
    OBJECT_CLASS = 0, "objectClass", Text, System, false;
    OBJECT_CATEGORY = 1, "objectCategory", Dn, System, true;
    OBJECT_GUID = 2, "objectGUID", Octets, System, true;
    OBJECT_SID = 3, "objectSid", Octets, System, true;
    NAME = 4, "name", Text, System, true;
    CN = 5, "cn", Text, Local, true;
    OU = 6, "ou", Text, Local, true;
    DC = 7, "dc", Text, Local, true;
    DISTINGUISHED_NAME = 8, "distinguishedName", Dn, Local, true;
    INSTANCE_TYPE = 9, "instanceType", Integer, System, true;
    PARENT_GUID = 10, "parentGUID", Octets, Local, true;
    USN_CHANGED = 11, "uSNChanged", Integer, Local, true;
    USN_CREATED = 12, "uSNCreated", Integer, Local, true;
    WHEN_CHANGED = 13, "whenChanged", Time, Local, true;
    WHEN_CREATED = 14, "whenCreated", Time, System, true;
    IS_DELETED = 15, "isDeleted", Boolean, System, true;
    IS_RECYCLED = 16, "isRecycled", Boolean, System, true;
    LAST_KNOWN_PARENT = 17, "lastKnownParent", Dn, System, true;
    MEMBER = 18, "member", Link, Plain, false;
    MEMBER_OF = 19, "memberOf", BackLink, Local, false;
    MANAGER = 20, "manager", Link, Plain, true;
    DIRECT_REPORTS = 21, "directReports", BackLink, Local, false;
    MANAGED_BY = 22, "managedBy", Link, Plain, true;
    MANAGED_OBJECTS = 23, "managedObjects", BackLink, Local, false;
    SAM_ACCOUNT_NAME = 24, "sAMAccountName", Text, Plain, true;
    SAM_ACCOUNT_TYPE = 25, "sAMAccountType", Integer, System, true;
    USER_ACCOUNT_CONTROL = 26, "userAccountControl", Integer, Plain, true;
    GROUP_TYPE = 27, "groupType", Integer, Plain, true;
    PRIMARY_GROUP_ID = 28, "primaryGroupID", Integer, Plain, true;
    PWD_LAST_SET = 29, "pwdLastSet", Integer, Plain, true;
    UNICODE_PWD = 30, "unicodePwd", Octets, Secret, true;
    SUPPLEMENTAL_CREDENTIALS = 31, "supplementalCredentials", Octets, Secret, false;
    IS_CRITICAL = 32, "isCriticalSystemObject", Boolean, System, true;
    SYSTEM_FLAGS = 33, "systemFlags", Integer, System, true;
    INVOCATION_ID = 34, "invocationId", Octets, Local, true;
    SEARCH_FLAGS = 35, "searchFlags", Integer, System, true;
    LDAP_DISPLAY_NAME = 36, "lDAPDisplayName", Text, System, true;
    ACCOUNT_EXPIRES = 37, "accountExpires", Integer, Plain, true;
    LEGACY_EXCHANGE_DN = 38, "legacyExchangeDN", Text, Plain, true;
    SID_HISTORY = 39, "sIDHistory", Octets, System, false;
    DNS_HOST_NAME = 40, "dNSHostName", Text, Plain, true;
    USER_PRINCIPAL_NAME = 41, "userPrincipalName", Text, Plain, true;
    DESCRIPTION = 42, "description", Text, Plain, false;
    CODE_PAGE = 43, "codePage", Integer, Plain, true;
    COUNTRY_CODE = 44, "countryCode", Integer, Plain, true;
    DBCS_PWD = 45, "dBCSPwd", Octets, Secret, true;
    NT_PWD_HISTORY = 46, "ntPwdHistory", Octets, Secret, false;
    LM_PWD_HISTORY = 47, "lmPwdHistory", Octets, Secret, false;
    NC_NAME = 48, "nCName", Dn, System, true;
    DNS_ROOT = 49, "dnsRoot", Text, System, false;
    NETBIOS_NAME = 50, "nETBIOSName", Text, System, true;
}

const SINGLE_TEXT: &str = "displayName givenName sn initials middleName l st co c company department division title \
    streetAddress street postalCode physicalDeliveryOfficeName telephoneNumber facsimileTelephoneNumber mobile pager \
    homePhone ipPhone mail mailNickname targetAddress info comment employeeID employeeNumber employeeType \
    preferredLanguage wWWHomePage personalTitle generationQualifier displayNamePrintable homeDirectory homeDrive \
    scriptPath profilePath operatingSystem operatingSystemVersion operatingSystemServicePack telephoneAssistant \
    extensionAttribute1 extensionAttribute2 extensionAttribute3 extensionAttribute4 extensionAttribute5 \
    extensionAttribute6 extensionAttribute7 extensionAttribute8 extensionAttribute9 extensionAttribute10 \
    extensionAttribute11 extensionAttribute12 extensionAttribute13 extensionAttribute14 extensionAttribute15 \
    msDS-cloudExtensionAttribute1 msDS-cloudExtensionAttribute2 msDS-cloudExtensionAttribute3 \
    msDS-cloudExtensionAttribute4 msDS-cloudExtensionAttribute5 msDS-PhoneticDisplayName msExchAssistantName \
    msExchImmutableId msExchLitigationHoldOwner msExchResourceDisplay msExchRetentionComment msExchRetentionURL \
    msExchTeamMailboxSharePointUrl msRTCSIP-Line msRTCSIP-OwnerUrn msRTCSIP-PrimaryUserAddress \
    msRTCSIP-DeploymentLocator ms-Mcs-AdmPwd msDS-ExternalDirectoryObjectId msFVE-RecoveryPassword gecos loginShell \
    unixHomeDirectory preferredDataLocation adminDescription adminDisplayName";
const MULTI_TEXT: &str = "proxyAddresses postOfficeBox otherFacsimileTelephoneNumber otherHomePhone otherIpPhone \
    otherMobile otherPager otherTelephone url o servicePrincipalName msExchArchiveName \
    msExchExtensionCustomAttribute1 msExchExtensionCustomAttribute2 msExchExtensionCustomAttribute3 \
    msExchExtensionCustomAttribute4 msExchExtensionCustomAttribute5 msExchResourceMetaData \
    msExchResourceSearchProperties msExchSenderHintTranslations msExchUserHoldPolicies carLicense departmentNumber \
    otherMailbox msDS-KeyCredentialLink";
const SINGLE_INTEGER: &str = "msDS-HABSeniorityIndex msExchAuditAdmin msExchAuditDelegate msExchAuditDelegateAdmin \
    msExchAuditOwner msExchELCMailboxFlags msExchModerationFlags msExchRecipientDisplayType \
    msExchRecipientTypeDetails msExchRemoteRecipientType msExchMailboxAuditLogAgeLimit msExchResourceCapacity \
    msRTCSIP-OptionFlags msRTCSIP-ApplicationOptions lastLogonTimestamp lockoutTime adminCount uidNumber gidNumber \
    msDS-SupportedEncryptionTypes msDS-Behavior-Version";
const SINGLE_BOOLEAN: &str = "hideDLMembership msExchBypassAudit msExchEnableModeration msExchHideFromAddressLists \
    msExchMailboxAuditEnable msExchRequireAuthToSendTo msOrg-IsOrganizational msRTCSIP-UserEnabled \
    oOFReplyToOriginator reportToOriginator reportToOwner showInAdvancedViewOnly";
const SINGLE_OCTETS: &str = "mS-DS-ConsistencyGuid mS-DS-CreatorSID msExchArchiveGUID msExchMailboxGuid \
    msExchMasterAccountSid msRTCSIP-OriginatorSid \
    msExchBlockedSendersHash msExchSafeRecipientsHash msExchSafeSendersHash thumbnailPhoto \
    unixUserPassword schemaIDGUID nTSecurityDescriptor";
const MULTI_OCTETS: &str = "userCertificate userSMIMECertificate jpegPhoto";
const SINGLE_TIME: &str = "msExchELCExpirySuspensionEnd msExchELCExpirySuspensionStart msExchLitigationHoldDate \
    msExchTeamMailboxExpiration";
const SINGLE_DN: &str = "assistant altRecipient msExchTeamMailboxSharePointLinkedBy";
const MULTI_DN: &str = "authOrig unauthOrig dLMemRejectPerms dLMemSubmitPerms publicDelegates secretary seeAlso \
    msExchCoManagedByLink msExchDelegateListLink msExchModeratedByLink msExchTeamMailboxOwners";
const LOCAL_INTEGER: &str = "lastLogon lastLogoff logonCount badPwdCount badPasswordTime";

/// What changes when a password is set, none of it ever shown.
pub(crate) const PASSWORD_PARTS: &[AttrId] =
    &[UNICODE_PWD, SUPPLEMENTAL_CREDENTIALS, DBCS_PWD, NT_PWD_HISTORY, LM_PWD_HISTORY];

/// Attributes whose `searchFlags` have the confidential bit (128) from the start.
pub(crate) const CONFIDENTIAL: &[&str] = &["unixUserPassword", "ms-Mcs-AdmPwd", "msFVE-RecoveryPassword"];

/// The whole table.
#[derive(Debug)]
pub(crate) struct Schema {
    defs: Vec<AttrDef>,
    by_name: HashMap<String, AttrId>,
}

impl Schema {
    fn build() -> Self {
        let mut defs = WELL_KNOWN.to_vec();
        for (names, syntax, kind, single) in [
            (SINGLE_TEXT, Syntax::Text, Kind::Plain, true),
            (MULTI_TEXT, Syntax::Text, Kind::Plain, false),
            (SINGLE_INTEGER, Syntax::Integer, Kind::Plain, true),
            (SINGLE_BOOLEAN, Syntax::Boolean, Kind::Plain, true),
            (SINGLE_OCTETS, Syntax::Octets, Kind::Plain, true),
            (MULTI_OCTETS, Syntax::Octets, Kind::Plain, false),
            (SINGLE_TIME, Syntax::Time, Kind::Plain, true),
            (SINGLE_DN, Syntax::Dn, Kind::Plain, true),
            (MULTI_DN, Syntax::Dn, Kind::Plain, false),
            (LOCAL_INTEGER, Syntax::Integer, Kind::Local, true),
        ] {
            defs.extend(names.split_whitespace().map(|name| AttrDef { name, syntax, kind, single }));
        }
        let by_name =
            defs.iter().enumerate().map(|(at, def)| (def.name.to_ascii_lowercase(), AttrId(at as u16))).collect();
        Self { defs, by_name }
    }

    /// The attribute of that name, in any case.
    pub(crate) fn find(&self, name: &str) -> Option<AttrId> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// What an attribute is.
    pub(crate) fn def(&self, id: AttrId) -> &AttrDef {
        // An AttrId is only ever made from this table.
        self.defs.get(usize::from(id.0)).unwrap_or(&WELL_KNOWN[0])
    }

    /// All attributes with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (AttrId, &AttrDef)> {
        self.defs.iter().enumerate().map(|(at, def)| (AttrId(at as u16), def))
    }
}

/// The schema, built once.
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(Schema::build)
}

/// The back link that belongs to a forward link, and the other way round.
pub(crate) const LINK_PAIRS: &[(AttrId, AttrId)] =
    &[(MEMBER, MEMBER_OF), (MANAGER, DIRECT_REPORTS), (MANAGED_BY, MANAGED_OBJECTS)];

/// A structural class: its chain from `top` down, the RDN attribute, the name of its object category, and whether its
/// objects get a security identifier.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) chain: &'static [&'static str],
    pub(crate) rdn: Rdn,
    pub(crate) category: &'static str,
    pub(crate) principal: bool,
}

impl Class {
    /// The most derived class name.
    pub(crate) fn name(&self) -> &'static str {
        self.chain.last().copied().unwrap_or("top")
    }

    /// True when the class is, or derives from, `name`.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.chain.iter().any(|c| c.eq_ignore_ascii_case(name))
    }
}

/// The attribute that names an object within its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rdn {
    Cn,
    Ou,
    Dc,
}

impl Rdn {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Cn => "CN",
            Self::Ou => "OU",
            Self::Dc => "DC",
        }
    }

    pub(crate) fn attribute(self) -> AttrId {
        match self {
            Self::Cn => CN,
            Self::Ou => OU,
            Self::Dc => DC,
        }
    }
}

/// The number of a class in [`CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassId(pub(crate) u8);

impl ClassId {
    pub(crate) fn get(self) -> &'static Class {
        CLASSES.get(usize::from(self.0)).unwrap_or(&CLASSES[0])
    }

    /// The class with exactly this most derived name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        CLASSES.iter().position(|c| c.name().eq_ignore_ascii_case(name)).map(|at| Self(at as u8))
    }

    /// The class that a set of objectClass values means: the most derived one, whose chain holds all of them.
    pub(crate) fn of_values<'a>(values: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let derived = values.clone().filter_map(Self::named).max_by_key(|c| c.get().chain.len())?;
        values.into_iter().all(|v| derived.get().is(v)).then_some(derived)
    }
}

const fn class(chain: &'static [&'static str], rdn: Rdn, category: &'static str, principal: bool) -> Class {
    Class { chain, rdn, category, principal }
}

/// The structural classes of the practice forest.
pub(crate) const CLASSES: &[Class] = &[
    class(&["top", "container"], Rdn::Cn, "Container", false),
    class(&["top", "person", "organizationalPerson", "user"], Rdn::Cn, "Person", true),
    class(&["top", "person", "organizationalPerson", "user", "computer"], Rdn::Cn, "Computer", true),
    class(&["top", "person", "organizationalPerson", "user", "inetOrgPerson"], Rdn::Cn, "Person", true),
    class(
        &["top", "person", "organizationalPerson", "user", "computer", "msDS-GroupManagedServiceAccount"],
        Rdn::Cn,
        "ms-DS-Group-Managed-Service-Account",
        true,
    ),
    class(&["top", "person", "organizationalPerson", "contact"], Rdn::Cn, "Person", false),
    class(&["top", "group"], Rdn::Cn, "Group", true),
    class(&["top", "organizationalUnit"], Rdn::Ou, "Organizational-Unit", false),
    class(&["top", "foreignSecurityPrincipal"], Rdn::Cn, "Foreign-Security-Principal", false),
    class(&["top", "domain", "domainDNS"], Rdn::Dc, "Domain-DNS", false),
    class(&["top", "builtinDomain"], Rdn::Cn, "Builtin-Domain", false),
    class(&["top", "lostAndFound"], Rdn::Cn, "Lost-And-Found", false),
    class(&["top", "configuration"], Rdn::Cn, "Configuration", false),
    class(&["top", "dMD"], Rdn::Cn, "DMD", false),
    class(&["top", "attributeSchema"], Rdn::Cn, "Attribute-Schema", false),
    class(&["top", "classSchema"], Rdn::Cn, "Class-Schema", false),
    class(&["top", "sitesContainer"], Rdn::Cn, "Sites-Container", false),
    class(&["top", "site"], Rdn::Cn, "Site", false),
    class(&["top", "serversContainer"], Rdn::Cn, "Servers-Container", false),
    class(&["top", "server"], Rdn::Cn, "Server", false),
    class(&["top", "crossRefContainer"], Rdn::Cn, "Cross-Ref-Container", false),
    class(&["top", "crossRef"], Rdn::Cn, "Cross-Ref", false),
    class(&["top", "applicationSettings", "nTDSDSA"], Rdn::Cn, "NTDS-DSA", false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for (constant, name) in [
            (OBJECT_CLASS, "objectclass"),
            (MEMBER, "MEMBER"),
            (UNICODE_PWD, "unicodePwd"),
            (COUNTRY_CODE, "countryCode"),
        ] {
            assert_eq!(schema().find(name), Some(constant), "{name}");
        }
        let mut names: Vec<_> = schema().all().map(|(_, d)| d.name.to_ascii_lowercase()).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before, "an attribute is listed twice");
    }

    #[test]
    fn the_most_derived_class_wins_and_strangers_are_refused() {
        let of = |values: &[&str]| ClassId::of_values(values.iter().copied()).map(|c| c.get().name());
        assert_eq!(of(&["top", "user"]), Some("user"));
        assert_eq!(of(&["computer", "user", "top"]), Some("computer"));
        assert_eq!(of(&["group", "user"]), None);
        assert_eq!(of(&["unheardOf"]), None);
    }
}
