//! What the account may read. A reader that lost its rights gets silence from a controller, never an error, and silence must
//! never be taken for deletions.

use std::collections::HashSet;

use forestsync_domain::Dn;
use ldap3::Scope;

use crate::control;
use crate::entry::Wanted;
use crate::error::{SearchError, Trouble};
use crate::session::{Query, Session};

/// searchFlags: fCONFIDENTIAL (MS-ADTS 2.2.9).
const CONFIDENTIAL: i64 = 0x80;
/// searchFlags: fRODCFilteredAttribute.
const RODC_FILTERED: i64 = 0x200;

/// How many children of the root are looked at.
const WITNESSES: i32 = 32;

/// How many attribute names go into one filter.
const NAMES_PER_FILTER: usize = 50;

/// Finds the attributes of the request that an account without special rights cannot read. They would show as empty.
pub(crate) async fn unreadable(session: &mut Session, schema: &str, wanted: &Wanted) -> Result<Vec<String>, Trouble> {
    let (mut known, mut hidden) = (0_usize, Vec::new());
    for names in wanted.names().chunks(NAMES_PER_FILTER) {
        // the names were checked to be letters, digits and '-': nothing in them needs an escape
        let filter = names.join(")(lDAPDisplayName=");
        let query = Query {
            base: schema,
            scope: Scope::OneLevel,
            filter: &format!("(|(lDAPDisplayName={filter}))"),
            attributes: vec!["lDAPDisplayName".into(), "searchFlags".into()],
            controls: Vec::new(),
            size_limit: 0,
        };
        for entry in session.collect(query, NAMES_PER_FILTER * 2).await? {
            let Some(name) = entry.text("lDAPDisplayName") else { continue };
            known += 1;
            let flags: i64 = entry.text("searchFlags").and_then(|text| text.parse().ok()).unwrap_or(0);
            if flags & (CONFIDENTIAL | RODC_FILTERED) != 0 {
                hidden.push(name.to_owned());
            }
        }
    }
    if known == 0 {
        return Err(Trouble::Schema(schema.to_owned()));
    }
    Ok(hidden)
}

/// Children of the root that could be read once.
pub(crate) type Witnesses = HashSet<Vec<u8>>;

/// Verifies that the account reads the root of the naming context and something in it: one of those it read earlier, if
/// any are remembered. Remembers them at the first time.
pub(crate) async fn verify(session: &mut Session, nc: &Dn, witnesses: &mut Witnesses) -> Result<(), Trouble> {
    let blind = |what| Trouble::Blind { naming_context: nc.clone(), what };
    let base = nc.to_string();
    let root = session.read(&base, &["objectGUID"], Vec::new()).await?;
    if root.is_none_or(|entry| entry.values("objectGUID").next().is_none()) {
        return Err(blind("the root of the naming context"));
    }
    let query = Query {
        base: &base,
        scope: Scope::OneLevel,
        filter: "(|(objectClass=container)(objectClass=organizationalUnit)(objectClass=builtinDomain))",
        attributes: vec!["objectGUID".into()],
        controls: Vec::new(),
        size_limit: WITNESSES,
    };
    let children = session.collect(query, WITNESSES as usize).await?;
    let seen: Witnesses =
        children.iter().filter_map(|entry| entry.values("objectGUID").next().map(<[u8]>::to_vec)).collect();
    if seen.is_empty() {
        return Err(blind("any container in the naming context"));
    }
    if witnesses.is_empty() {
        *witnesses = seen;
    } else if witnesses.is_disjoint(&seen) && seen.len() < WITNESSES as usize {
        return Err(blind("any of the containers it could read before"));
    }
    Ok(())
}

/// Whether the account sees deletions: then it reads isDeleted of the container that tombstones are moved to.
pub(crate) async fn deletions_visible(session: &mut Session, nc: &Dn) -> Result<bool, SearchError> {
    let base = nc.child("CN", "Deleted Objects").to_string();
    match session.read(&base, &["isDeleted"], vec![control::show_deleted()]).await {
        Ok(entry) => Ok(entry.is_some_and(|entry| entry.text("isDeleted") == Some("TRUE"))),
        Err(SearchError::Result { code: 50, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the account sees the foreign security principals that stand in groups for members from elsewhere. Each account
/// sees those that mean itself, such as Authenticated Users (S-1-5-11); every domain has Interactive (S-1-5-4) as well.
pub(crate) async fn foreign_principals_visible(session: &mut Session, nc: &Dn) -> Result<bool, SearchError> {
    let container = nc.child("CN", "ForeignSecurityPrincipals");
    let mut visible = Vec::new();
    for sid in ["S-1-5-4", "S-1-5-11"] {
        let base = container.child("CN", sid).to_string();
        visible.push(match session.read(&base, &["objectSid"], Vec::new()).await {
            Ok(entry) => entry.is_some(),
            Err(SearchError::Result { code: 32 | 50, .. }) => false,
            Err(error) => return Err(error),
        });
    }
    Ok(visible != [false, true])
}
