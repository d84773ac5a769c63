//! What an expression reads.

use forestsync_domain::AttributeValue;

/// One directory object, and what is configured around it.
pub trait Input {
    /// The values of an attribute by its lDAPDisplayName; empty if the object has none. Also answers for `dn`, `cn`,
    /// `name`, `objectGUID` and `sourceAnchor`, which need not be attributes of the object.
    fn values(&self, attribute: &str) -> &[AttributeValue];

    /// What a parameter stands for; `None` if it is not known, which fails the expressions that use it.
    fn parameter(&self, parameter: Parameter) -> Option<&str>;
}

/// A name that stands for something of the configuration rather than of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// `%Domain.FQDN%`: DNS name of the object's domain.
    DomainFqdn,
    /// `%Domain.Netbios%`: its short name.
    DomainNetbios,
    /// `%Forest.FQDN%`: DNS name of the object's forest.
    ForestFqdn,
    /// `%Forest.Netbios%`: short name of the forest's root domain.
    ForestNetbios,
    /// `%Connector.ID%`: identifies the connection to the forest.
    ConnectorId,
    /// `DefaultDomain()`: the tenant's default domain.
    DefaultDomain,
}

impl Parameter {
    /// Those that are written between percent signs.
    pub(super) const WRITTEN: [Self; 5] =
        [Self::ConnectorId, Self::DomainFqdn, Self::DomainNetbios, Self::ForestFqdn, Self::ForestNetbios];

    /// As it is written in an expression.
    pub fn name(self) -> &'static str {
        match self {
            Self::DomainFqdn => "%Domain.FQDN%",
            Self::DomainNetbios => "%Domain.Netbios%",
            Self::ForestFqdn => "%Forest.FQDN%",
            Self::ForestNetbios => "%Forest.Netbios%",
            Self::ConnectorId => "%Connector.ID%",
            Self::DefaultDomain => "DefaultDomain()",
        }
    }
}

/// An object without attributes, for expressions that read none.
pub(super) struct Nothing;

impl Input for Nothing {
    fn values(&self, _: &str) -> &[AttributeValue] {
        &[]
    }

    fn parameter(&self, _: Parameter) -> Option<&str> {
        None
    }
}
