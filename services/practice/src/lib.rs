//! The practice peers: an Active Directory forest over LDAP and an Azure AD tenant over Microsoft Graph, for the
//! demo, for scale and for faults on demand.
//!
//! They are peers on the wire, not mocks of our own code: nothing here knows collector, projector or provisioner.
//! Where a practice peer and the real one differ, the real one is right.

pub mod contract;
pub mod forest;
pub mod identity;
pub mod oracle;
pub mod population;
pub mod tenant;
pub mod tls;
