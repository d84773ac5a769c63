//! Directory identities and names, parsed once at the edge and trusted afterwards.
//!
//! Every type here normalises or refuses its input when it is made; what holds a value of such a type need not look
//! at it again. Equality is that of the directory: distinguished names compare without regard to case, objectGUIDs by
//! their sixteen bytes. Serialised forms are text that a person can compare with what directory tools print.
//!
//! **Invariant**: pure. No I/O, no clock, no runtime; nothing here knows LDAP messages, events or Graph.

mod anchor;
mod cookie;
mod dn;
mod guid;
mod sid;
pub mod syntax;
mod usn;
mod value;

pub use anchor::SourceAnchor;
pub use cookie::Cookie;
pub use dn::{Dn, DnError, ExtendedDn, Rdn};
pub use guid::{GuidError, InvocationId, ObjectGuid};
pub use sid::{Sid, SidError};
pub use usn::Usn;
pub use value::{AttributeValue, Attributes};
