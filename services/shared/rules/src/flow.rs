//! Attribute flow: what Azure AD should hold of a directory object.
//!
//! The default map, as code. Per class:
//! - **users**: the table in `flow/table.rs`, and by their own rules accountEnabled, businessPhones, displayName, mail,
//!   mailNickname and userPrincipalName;
//! - **groups**: displayName, mailNickname, description, securityEnabled, mailEnabled; groupType and mail decide whether
//!   it is a security group, a mail-enabled one or a distribution list, of which Graph can write the first only;
//! - **contacts**: displayName and mail, to be reported; Graph cannot write them.
//!
//! A value is the directory's first one, without white space at its ends where the map says so; a blank one is none.
//! Lengths are counted in UTF-16 code units, as directories do. Nothing is cut silently: a group's description is cut at
//! 448 because the map says so, a mailNickname to what Graph takes; of everything else that is too long a [`Problem`]
//! tells. The limits are those of Graph's own description of its properties.
//!
//! Links (manager, member), the source anchor and the photo do not flow here: they are written by requests of their own.

mod draft;
mod group;
pub(crate) mod nickname;
mod not_writable;
pub(crate) mod table;
mod user;

use forestsync_domain::{Attributes, Dn};
use forestsync_schemas::desired::{CloudAttributes, CloudClass};
use serde::{Deserialize, Serialize};

use crate::classify::DirectoryClass;
use draft::Draft;

/// What Azure AD should hold of an object. Not to be used if a problem is [`ProblemKind::Blocking`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flowed {
    /// What kind of cloud object it is.
    pub class: CloudClass,
    /// The attributes that have a value. Those not in [`managed`] are for the create only.
    pub attributes: CloudAttributes,
    /// Directory attributes that have a value and a place in Azure AD, but none that Graph can write; sorted. Empty for
    /// a class of which Graph cannot write anything.
    pub not_writable: Vec<String>,
    /// What is wrong with the object, in the order in which it was found.
    pub problems: Vec<Problem>,
}

impl Flowed {
    /// The first problem for which the object must not be sent.
    pub fn blocking(&self) -> Option<&Problem> {
        self.problems.iter().find(|problem| problem.kind == ProblemKind::Blocking)
    }
}

/// Something about an object that a person should mend in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The directory attribute at fault.
    pub attribute: String,
    /// What follows from it.
    pub kind: ProblemKind,
    /// What is wrong and what to do; holds no attribute values.
    pub message: String,
}

/// What follows from a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The object must not be sent: it stays in the tenant as it is, and is not created.
    Blocking,
    /// The value is sent as it is, because Azure AD requires one; its answer is reported.
    Kept,
    /// The value is left out, as if the directory had none.
    LeftOut,
    /// Something close to the value is sent.
    Adjusted,
}

/// The flow of an object of a class that [`DirectoryClass::is_synchronized`]. `naming_context` is the root of the
/// object's domain. Of any other class the answer has a blocking problem.
pub fn flow(class: DirectoryClass, dn: &Dn, naming_context: &Dn, attributes: &Attributes) -> Flowed {
    let mut draft = Draft::new(attributes);
    let class = match class {
        DirectoryClass::User | DirectoryClass::InetOrgPerson => user::flow(&mut draft, dn, naming_context),
        DirectoryClass::Group => group::flow(&mut draft, dn),
        DirectoryClass::Contact => {
            draft.display_name(dn);
            draft.unchecked_mail();
            CloudClass::Contact
        }
        _ => {
            let message = "objects of this class are not synchronized".to_owned();
            draft.problem("objectClass", ProblemKind::Blocking, message);
            CloudClass::Contact
        }
    };
    let not_writable = not_writable::of(class, attributes);
    Flowed { class, attributes: draft.attributes, not_writable, problems: draft.problems }
}

/// The Graph names of the attributes that are kept in step for a class, sorted: one without a value in [`Flowed`] shall
/// have none in the tenant. mailEnabled of a group is not among them, since it can be said at creation only.
pub fn managed(class: CloudClass) -> Vec<String> {
    let mut names: Vec<String> = match class {
        CloudClass::User => {
            table::USER.iter().map(|row| row.target).chain(table::USER_OWN_RULES).map(Into::into).collect()
        }
        CloudClass::Group => table::GROUP.map(Into::into).into(),
        CloudClass::MailEnabledGroup | CloudClass::DistributionList => {
            table::GROUP.into_iter().chain(["mail"]).map(Into::into).collect()
        }
        CloudClass::Contact => table::CONTACT.map(Into::into).into(),
    };
    names.sort_unstable();
    names
}

/// Raised whenever a rule of this crate changes its meaning without a change to its tables.
const REVISION: u32 = 1;

/// The version of the rules, in hexadecimal digits: two programs with the same digest compute the same wishes from the
/// same directory objects.
pub fn digest() -> String {
    let managed = CloudClass::ALL.map(managed);
    let text = format!("{REVISION} {:?} {:?} {managed:?}", table::USER, crate::attributes::requested());
    blake3::hash(text.as_bytes()).to_hex().chars().take(32).collect()
}
