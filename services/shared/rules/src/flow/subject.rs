//! What a flow reads: one object, or what several that are joined say together.

use std::collections::BTreeSet;

use forestsync_domain::{AttributeValue, Attributes, Dn, ObjectGuid, SourceAnchor};
use serde::{Deserialize, Serialize};

use super::draft::common_name;
use crate::expression::{Input, Parameter};

/// What is known of the tenant's domains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantDomains {
    /// The verified ones, in lower case.
    pub verified: BTreeSet<String>,
    /// The one the tenant began with.
    pub initial: Option<String>,
    /// The one that new users get by default.
    pub default: Option<String>,
}

/// An object that a flow is asked about.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    attributes: &'a Attributes,
    dn: &'a Dn,
    domain: String,
    netbios: String,
    forest: &'a str,
    common_name: Vec<AttributeValue>,
    name: Vec<AttributeValue>,
    guid: Vec<AttributeValue>,
    anchor: Vec<AttributeValue>,
    /// Whether its account is known to have expired.
    pub is_expired: bool,
    /// What is known of the tenant; nothing before it was looked at.
    pub tenant: Option<&'a TenantDomains>,
}

impl<'a> Subject<'a> {
    /// An object of a domain, which `naming_context` is the root of.
    pub fn new(attributes: &'a Attributes, dn: &'a Dn, naming_context: &Dn) -> Self {
        let text = |text: &str| vec![AttributeValue::Text(text.to_owned())];
        let netbios = naming_context.rdn().map(|rdn| rdn.value().to_uppercase()).unwrap_or_default();
        Self {
            attributes,
            dn,
            domain: naming_context.domain_name(),
            netbios,
            forest: "",
            common_name: common_name(attributes, dn).map(text).unwrap_or_default(),
            name: text(&dn.to_string()),
            guid: Vec::new(),
            anchor: Vec::new(),
            is_expired: false,
            tenant: None,
        }
    }

    /// With its identity and the forest's configured name.
    #[must_use]
    pub fn identified(mut self, object: ObjectGuid, anchor: &SourceAnchor, forest: &'a str) -> Self {
        self.guid = vec![AttributeValue::Binary(object.as_bytes().to_vec())];
        self.anchor = vec![AttributeValue::Text(anchor.as_str().to_owned())];
        self.forest = forest;
        self
    }

    /// Its attributes.
    pub fn attributes(&self) -> &'a Attributes {
        self.attributes
    }

    /// Its name.
    pub fn dn(&self) -> &'a Dn {
        self.dn
    }
}

impl Input for Subject<'_> {
    fn values(&self, attribute: &str) -> &[AttributeValue] {
        match attribute {
            "cn" => &self.common_name,
            "dn" | "distinguishedName" => &self.name,
            "objectGUID" if !self.guid.is_empty() => &self.guid,
            "sourceAnchor" => &self.anchor,
            _ => self.attributes.get(attribute).map(Vec::as_slice).unwrap_or_default(),
        }
    }

    fn parameter(&self, parameter: Parameter) -> Option<&str> {
        match parameter {
            // forests that cannot see each other are told apart by their configured names
            Parameter::DomainFqdn | Parameter::ForestFqdn => Some(&self.domain),
            Parameter::DomainNetbios | Parameter::ForestNetbios => Some(&self.netbios),
            Parameter::ConnectorId => Some(self.forest).filter(|forest| !forest.is_empty()),
            Parameter::DefaultDomain => self.tenant?.default.as_deref(),
        }
    }
}
