//! Objects that come into sight: undeleted, or moved from where the account could not read. DirSync tells of them only what
//! changed with that, so what else they have is read from the objects themselves, after the page and before its cursor.
//!
//! A rename looks the same, so renamed objects are read as well, and so are those of whose links only a first part came.
//! What cannot be read so is left to a full read.

use std::collections::BTreeSet;

use forestsync_domain::ObjectGuid;

use crate::control;
use crate::entry::{Changes, Life, Links, Wanted};
use crate::error::{SearchError, Trouble};
use crate::events::Mode;
use crate::ranges;
use crate::results::is_busy;
use crate::session::Session;

/// The most entries of one page that are kept for it.
const MOST_ENTRIES: usize = 5_000;

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
        let kept = says_too_little(&changes) || self.objects.contains(&changes.object);
        if !(kept && !whole || changes.is_cut()) {
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
        for changes in entries.iter_mut().filter(|changes| says_too_little(changes) || changes.is_cut()) {
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
    let names = wanted.image_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(entry) = session.read(&format!("<GUID={object}>"), &names, vec![control::extended_dn()]).await? else {
        return Ok(None);
    };
    let mut image = Changes::image(&entry, wanted)?;
    let whole = ranges::complete(session, &mut image, entry.text("uSNChanged").map(str::to_owned)).await?;
    Ok(Some((image, whole)))
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
