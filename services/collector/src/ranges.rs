//! Values that a controller gives in parts (MS-ADTS 3.1.1.3.1.3.3): `member;range=0-1499` beside an empty `member`, and the rest
//! by reads of the object itself, until a part comes as `;range=N-*`. Mostly members, but any attribute may come so.
//!
//! The parts are of one object in one state, or they are not believed: a value that goes while the parts are read moves those
//! behind it forward, past the next part, and they would look as if they had gone as well. uSNChanged, which comes with each
//! part, tells. After a few attempts at an object that never stands still, what was shown of a link in any of them is given,
//! without the claim to be all: then nobody takes what is missing for removed; an attribute is not spoken of at all. Nothing
//! is lost by that. Whoever changed the object after it was first seen gave it a higher uSNChanged than the search it was seen
//! in started from, so the next poll reads it again.

use std::collections::BTreeSet;

use forestsync_domain::ObjectGuid;

use crate::control;
use crate::entry::{Changes, Entry, range, target, value};
use crate::error::{DecodeError, SearchError, Trouble};
use crate::results::is_busy;
use crate::session::Session;

/// How often an object that changes meanwhile is begun again.
const ATTEMPTS: usize = 5;

/// The most values of one attribute.
const MOST_VALUES: usize = 5_000_000;

/// What is read with each part, to know the state it is of.
const VERSION: &str = "uSNChanged";

/// One attribute of one object.
#[derive(Debug)]
struct Reading<'a> {
    session: &'a mut Session,
    base: String,
    attribute: &'a str,
    version: Option<String>,
}

/// Reads what is missing of the values of an object that was seen with this uSNChanged. False if some of it could not be had:
/// then [`crate::entry::Links::whole`] is false for the link, and the attribute is among those withheld.
pub(crate) async fn complete(
    session: &mut Session,
    changes: &mut Changes,
    version: Option<String>,
) -> Result<bool, Trouble> {
    let Changes { object, dn, links, set, cut, withheld, .. } = changes;
    let mut complete = true;
    for links in links.iter_mut() {
        let Some(next) = links.next.take() else { continue };
        let (base, attribute) = (format!("<GUID={object}>"), links.attribute.as_str());
        let reading = Reading { session: &mut *session, base, attribute, version: version.clone() };
        let first: BTreeSet<ObjectGuid> = links.added.iter().copied().collect();
        let (found, whole) = reading.all(next, first, |bytes| target(dn, attribute, bytes)).await?;
        links.added = found.into_iter().collect();
        links.whole = whole;
        complete &= whole;
    }
    for (attribute, next) in cut.drain(..) {
        let base = format!("<GUID={object}>");
        let reading = Reading { session: &mut *session, base, attribute: &attribute, version: version.clone() };
        let first: BTreeSet<Vec<u8>> =
            set.get(&attribute).into_iter().flatten().map(|value| value.as_bytes().to_vec()).collect();
        let (found, whole) = reading.all(next, first, |bytes| Ok(bytes.to_vec())).await?;
        if whole {
            let values = found.iter().map(|bytes| value(&attribute, bytes)).collect();
            set.insert(attribute, values);
        } else {
            complete = false;
            set.remove(&attribute);
            withheld.push(attribute);
        }
    }
    Ok(complete)
}

impl Reading<'_> {
    /// All values, of which `first` are known and the others begin at `next`; or else, and false, all that were shown.
    async fn all<T: Ord + Clone>(
        mut self,
        next: u64,
        first: BTreeSet<T>,
        read: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<(BTreeSet<T>, bool), Trouble> {
        let mut shown = first.clone();
        let mut found = first;
        let mut from = next;
        for _ in 0..ATTEMPTS {
            let same = self.parts(from, &mut found, &read).await?;
            if same {
                return Ok((found, true));
            }
            shown.append(&mut found);
            from = 0;
        }
        Ok((shown, false))
    }

    /// Adds the values from `from` on. Whether all of them are of the same state; if not, the last one seen is kept in mind.
    async fn parts<T: Ord>(
        &mut self,
        from: u64,
        found: &mut BTreeSet<T>,
        read: &impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<bool, Trouble> {
        let mut next = Some(from);
        while let Some(at) = next {
            let name = format!("{};range={at}-*", self.attribute);
            let entry = match self.session.read(&self.base, &[&name, VERSION], vec![control::extended_dn()]).await {
                Ok(entry) => entry,
                // some servers refuse a range that lies behind the last value
                Err(SearchError::Result { code, .. }) if !is_busy(code) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let Some(entry) = entry else { return Ok(false) };
            let version = entry.text(VERSION).map(str::to_owned);
            let same = at == 0 || version == self.version;
            self.version = version;
            let before = found.len();
            next = take(&entry, self.attribute, found, read)?;
            let progress = found.len() > before && next.is_none_or(|next| next > at);
            if !same || !progress || found.len() > MOST_VALUES {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Takes the values of an entry. Where the next part begins.
fn take<T: Ord>(
    entry: &Entry,
    attribute: &str,
    found: &mut BTreeSet<T>,
    read: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<Option<u64>, DecodeError> {
    let mut next = None;
    for (raw, values) in entry.attributes() {
        let (base, option) = raw.split_once(';').unwrap_or((raw, ""));
        if !base.eq_ignore_ascii_case(attribute) {
            continue;
        }
        for bytes in values {
            found.insert(read(bytes)?);
        }
        let last = range(&option.to_ascii_lowercase()).and_then(|(_, last)| last);
        next = last.and_then(|last| last.checked_add(1)).or(next);
    }
    Ok(next)
}
