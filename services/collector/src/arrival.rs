//! Objects that come into sight: undeleted, or moved from where the account could not read. DirSync tells of them only what
//! changed with that, so what else they have is read from the objects themselves, after the page and before its cursor.
//!
//! A rename looks the same, so renamed objects are read as well. What cannot be read so is left to a full read.

use std::collections::BTreeSet;

use forestsync_domain::{ObjectGuid, syntax};

use crate::control;
use crate::entry::{Changes, Entry, Life, Links, Wanted};
use crate::error::{SearchError, Trouble};
use crate::events::Mode;
use crate::results::is_busy;
use crate::session::Session;

/// The most entries of one page that are kept for it.
const MOST_ENTRIES: usize = 5_000;

/// The most times that more values of one attribute are asked for.
const MOST_RANGES: usize = 1_000;

/// The entries of a page that wait for its end.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    entries: Vec<Changes>,
    objects: BTreeSet<ObjectGuid>,
    /// Not all of them could be kept or read.
    pub(crate) incomplete: bool,
}

impl Arrivals {
    /// Keeps what may say too little, and what more is said about the same object; gives back everything else.
    pub(crate) fn keep(&mut self, changes: Changes, mode: Mode) -> Option<Changes> {
        let whole = matches!(mode, Mode::Snapshot { first_page: true, .. });
        if whole || !(says_too_little(&changes) || self.objects.contains(&changes.object)) {
            return Some(changes);
        }
        if self.entries.len() >= MOST_ENTRIES {
            self.incomplete = true;
            return Some(changes);
        }
        self.objects.insert(changes.object);
        self.entries.push(changes);
        None
    }

    /// Reads what the objects have. Gives the entries in the order in which they came, and whether nothing is left to a
    /// full read.
    pub(crate) async fn complete(
        self,
        session: &mut Session,
        wanted: &Wanted,
    ) -> Result<(Vec<Changes>, bool), Trouble> {
        let Self { mut entries, incomplete, .. } = self;
        let mut complete = !incomplete;
        for changes in entries.iter_mut().filter(|changes| says_too_little(changes)) {
            match image(session, wanted, changes.object).await {
                Ok(Some((image, whole))) => {
                    complete &= whole;
                    merge(changes, image);
                }
                Ok(None) => {} // gone again: the next delta says so
                Err(Trouble::Search(SearchError::Result { code, .. })) if !is_busy(code) => complete = false,
                Err(Trouble::Decode(_)) => complete = false,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok((entries, complete))
    }
}

/// Whether the object may have been unknown although it is not new: a new one states its class.
fn says_too_little(changes: &Changes) -> bool {
    match changes.life {
        Life::Deleted => false,
        Life::Restored => true,
        Life::Unstated => changes.set.contains_key("name") && !changes.set.contains_key("objectClass"),
    }
}

/// What a controller shows of one object, `None` if nothing. False if values of a link are missing in it.
async fn image(session: &mut Session, wanted: &Wanted, object: ObjectGuid) -> Result<Option<(Changes, bool)>, Trouble> {
    let base = format!("<GUID={object}>");
    let names: Vec<&str> = wanted.names().iter().map(String::as_str).collect();
    let Some(entry) = session.read(&base, &names, vec![control::extended_dn()]).await? else {
        return Ok(None);
    };
    let mut image = Changes::image(&entry, wanted)?;
    let mut whole = true;
    for name in names.into_iter().filter(|name| syntax::is_link(name)) {
        let (mut targets, mut next) = values(&image, &entry, name)?;
        let mut ranges = 0;
        while let Some(from) = next {
            ranges += 1;
            let more = session.read(&base, &[&format!("{name};range={from}-*")], vec![control::extended_dn()]).await?;
            let found = more.map(|entry| values(&image, &entry, name)).transpose()?;
            let Some((found, after)) = found.filter(|(found, _)| !found.is_empty() && ranges <= MOST_RANGES) else {
                whole = false;
                break;
            };
            targets.extend(found);
            next = after.filter(|after| *after > from);
        }
        if !targets.is_empty() {
            image.links.push(Links { attribute: name.to_owned(), added: targets, ..Links::default() });
        }
    }
    Ok(Some((image, whole)))
}

/// The targets that an entry of an ordinary search shows for a link, and from where on to ask for more (MS-ADTS
/// 3.1.1.3.1.3.3).
fn values(image: &Changes, entry: &Entry, name: &str) -> Result<(Vec<ObjectGuid>, Option<u64>), Trouble> {
    let (mut targets, mut next) = (Vec::new(), None);
    for (raw, values) in entry.attributes() {
        let (base, option) = raw.split_once(';').unwrap_or((raw, ""));
        if !base.eq_ignore_ascii_case(name) {
            continue;
        }
        for value in values {
            targets.push(crate::entry::target(&image.dn, name, value)?);
        }
        let last = option.to_ascii_lowercase();
        let last = last.strip_prefix("range=").and_then(|range| range.split_once('-')).map(|(_, last)| last);
        next = last.and_then(|last| last.parse::<u64>().ok()).and_then(|last| last.checked_add(1)).or(next);
    }
    Ok((targets, next))
}

/// Adds what the object has to what was said of it. What was cleared and has come back meanwhile is not cleared.
fn merge(changes: &mut Changes, image: Changes) {
    changes.set.extend(image.set);
    changes.parent = changes.parent.or(image.parent);
    let set = &changes.set;
    changes.cleared.retain(|name| !set.contains_key(name));
    for Links { attribute, added, .. } in image.links {
        match changes.links.iter_mut().find(|links| links.attribute == attribute) {
            Some(links) => {
                let known: BTreeSet<ObjectGuid> = links.added.iter().copied().collect();
                links.added.extend(added.into_iter().filter(|target| !known.contains(target)));
            }
            None => changes.links.push(Links { attribute, added, ..Links::default() }),
        }
    }
}
