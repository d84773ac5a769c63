//! The rootDSE: what the controller says about itself to anybody.

use ldap3_proto::proto::LdapSearchResultEntry;

use super::object::Context;
use super::request::SUPPORTED;
use super::search::text;
use super::server::now;
use super::store::Store;

/// Capabilities of an Active Directory of Windows Server 2008 R2 and later (MS-ADTS 3.1.1.3.4.3).
const CAPABILITIES: &[&str] = &[
    "1.2.840.113556.1.4.800",
    "1.2.840.113556.1.4.1670",
    "1.2.840.113556.1.4.1791",
    "1.2.840.113556.1.4.1935",
    "1.2.840.113556.1.4.2080",
];

/// The entry, with the attributes that were asked for or all of them.
pub(crate) fn entry(store: &Store, attrs: &[String]) -> LdapSearchResultEntry {
    let dn = |context| store.dn(store.root_of(context));
    let names = &store.names;
    let ntds = store.dn(store.landmarks.ntds);
    let server = store.dn(store.get(store.landmarks.ntds).parent);
    let domain = dn(Context::Domain);
    let (configuration, schema) = (dn(Context::Configuration), dn(Context::Schema));
    let one = |value: &str| vec![value.to_owned()];
    let all = [
        ("currentTime", vec![super::text::generalized_time(now())]),
        ("defaultNamingContext", vec![domain.clone()]),
        ("rootDomainNamingContext", vec![domain.clone()]),
        ("configurationNamingContext", vec![configuration.clone()]),
        ("schemaNamingContext", vec![schema.clone()]),
        ("subschemaSubentry", vec![format!("CN=Aggregate,{schema}")]),
        ("namingContexts", vec![domain, configuration, schema]),
        ("dnsHostName", one(&names.host)),
        ("dsServiceName", vec![ntds]),
        ("serverName", vec![server]),
        (
            "ldapServiceName",
            vec![format!("{0}:{1}@{2}", names.dns_domain, short(&names.host), names.dns_domain.to_uppercase())],
        ),
        ("highestCommittedUSN", vec![store.usn.to_string()]),
        ("supportedControl", SUPPORTED.iter().map(ToString::to_string).collect()),
        ("supportedExtension", one("1.3.6.1.4.1.1466.20037")),
        ("supportedCapabilities", CAPABILITIES.iter().map(ToString::to_string).collect()),
        ("supportedLDAPVersion", vec!["2".into(), "3".into()]),
        ("domainFunctionality", one("4")),
        ("forestFunctionality", one("4")),
        ("domainControllerFunctionality", one("4")),
        ("isSynchronized", one("TRUE")),
        ("isGlobalCatalogReady", one("TRUE")),
        ("vendorName", one("forestsync practice forest")),
    ];
    let wanted =
        |name: &str| attrs.is_empty() || attrs.iter().any(|a| a == "*" || a == "+" || a.eq_ignore_ascii_case(name));
    let attributes =
        all.into_iter().filter(|(name, _)| wanted(name)).map(|(name, values)| text(name, values)).collect();
    LdapSearchResultEntry { dn: String::new(), attributes }
}

fn short(host: &str) -> String {
    format!("{}$", host.split('.').next().unwrap_or(host).to_lowercase())
}
