//! What has a value in the directory and a place in Azure AD, but none that Graph can write.
//!
//! Only attributes that are read anyway or that people miss when they do not arrive. The copies of an object's identity
//! that Azure AD keeps of objects its own service synchronizes (SID, account name, distinguished name) are not reported:
//! they would be, for every object, and nobody can do anything about it.

use forestsync_domain::Attributes;
use forestsync_schemas::desired::CloudClass;

use crate::value::{is_present, text, texts};

/// Of users: the country's code, the description, and the address of a mailbox elsewhere.
const USER: [&str; 3] = ["c", "description", "targetAddress"];

/// Of groups.
const GROUP: [&str; 16] = [
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
    "mail",
];

/// The attributes of an object that cannot be written, sorted; none for a class that cannot be written at all.
pub(super) fn of(class: CloudClass, attributes: &Attributes) -> Vec<String> {
    let names: &[&str] = match class {
        CloudClass::User => &USER,
        CloudClass::Group => &GROUP,
        CloudClass::MailEnabledGroup | CloudClass::DistributionList | CloudClass::Contact => return Vec::new(),
    };
    let mut names: Vec<String> =
        names.iter().filter(|name| is_present(attributes, name)).map(|&name| name.to_owned()).collect();
    if has_other_addresses(class, attributes) {
        names.push("proxyAddresses".to_owned());
    }
    names.sort_unstable();
    names
}

/// Whether proxyAddresses holds more than the one address that Azure AD makes of a user's mail by itself.
fn has_other_addresses(class: CloudClass, attributes: &Attributes) -> bool {
    let mail = (class == CloudClass::User).then(|| text(attributes, "mail").map(str::trim)).flatten();
    texts(attributes, "proxyAddresses").any(|address| {
        let same = address.split_once(':').is_some_and(|(kind, address)| {
            kind.eq_ignore_ascii_case("smtp") && mail.is_some_and(|mail| mail.eq_ignore_ascii_case(address))
        });
        !same
    })
}
