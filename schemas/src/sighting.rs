//! A directory object as one look showed it. No event: what of it is news, and thus becomes one, is found out by
//! comparison with the history.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{Attributes, Dn, ObjectGuid, Usn};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::changes::Controller;

/// An object, read now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context it lies in.
    pub naming_context: Dn,
    /// objectGUID.
    pub object: ObjectGuid,
    /// Its name.
    pub dn: Dn,
    /// objectGUID of its parent; none for the root of the naming context.
    pub parent: Option<ObjectGuid>,
    /// Who answered.
    pub controller: Controller,
    /// uSNChanged on that controller, if the account can read it.
    pub usn_changed: Option<Usn>,
    /// whenChanged, likewise.
    pub when_changed: Option<Timestamp>,
    /// The attributes that have a value, of those that are asked for.
    pub attributes: Attributes,
    /// The links of which all values were seen.
    pub links: BTreeMap<String, Vec<ObjectGuid>>,
    /// The links with so many values that they are not in it.
    pub long_links: Vec<String>,
    /// The attributes that it would show if it had a value of them, as far as the schema tells: one of them that it does
    /// not show has none.
    pub readable: BTreeSet<String>,
    /// Whether objects of its class are read at all.
    pub is_read: bool,
}

/// What of a [`Sighting`] is news. Names and links only: whoever writes it down reads the values once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The attributes with other values than the history has.
    pub attributes: BTreeSet<String>,
    /// Whether it has another parent, or is not known yet.
    pub is_moved: bool,
    /// The values of links that the history does not have.
    pub links: BTreeMap<String, BTreeSet<ObjectGuid>>,
}
