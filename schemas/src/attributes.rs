//! The directory attributes that travel from a collector to the rules.
//!
//! A collector asks for attributes and knows no rules; the rules read attributes and know no directory. Both take the list
//! from here, so that what is read is exactly what is used.

/// Every directory attribute that the default rules read, by lDAPDisplayName, sorted bytewise and without repetition, link
/// attributes included.
///
/// A collector asks for these and for nothing else, unless its configuration says otherwise, so that what nobody
/// synchronizes never enters the history. A change to this list makes every collector read its forest anew.
///
/// `name` and `objectClass` tell what an object is, `objectSid` is what references across forests resolve by, and the three
/// links (`manager`, `managedBy`, `member`) are followed by the projection. `cn` is not here because DirSync never answers
/// it: the name an object has is the first part of its distinguished name. `accountExpires` ends accounts, `primaryGroupID`
/// and the SIDs that point to other forests make members and joins.
pub const REQUESTED: [&str; 57] = [
    "accountExpires",
    "adminDescription",
    "c",
    "co",
    "company",
    "department",
    "description",
    "displayName",
    "employeeID",
    "extensionAttribute1",
    "extensionAttribute10",
    "extensionAttribute11",
    "extensionAttribute12",
    "extensionAttribute13",
    "extensionAttribute14",
    "extensionAttribute15",
    "extensionAttribute2",
    "extensionAttribute3",
    "extensionAttribute4",
    "extensionAttribute5",
    "extensionAttribute6",
    "extensionAttribute7",
    "extensionAttribute8",
    "extensionAttribute9",
    "facsimileTelephoneNumber",
    "givenName",
    "groupType",
    "isCriticalSystemObject",
    "l",
    "mS-DS-ConsistencyGuid",
    "mail",
    "mailNickname",
    "managedBy",
    "manager",
    "member",
    "mobile",
    "msExchHideFromAddressLists",
    "msExchMasterAccountSid",
    "msExchRecipientTypeDetails",
    "msRTCSIP-OriginatorSid",
    "name",
    "objectClass",
    "objectSid",
    "physicalDeliveryOfficeName",
    "postalCode",
    "preferredLanguage",
    "primaryGroupID",
    "proxyAddresses",
    "sAMAccountName",
    "sn",
    "st",
    "streetAddress",
    "targetAddress",
    "telephoneNumber",
    "title",
    "userAccountControl",
    "userPrincipalName",
];
