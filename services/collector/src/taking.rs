//! Taking single objects in, because somebody asked for them.
//!
//! ```text
//!  an object is asked for -> it is read again -> what was said to be news of it --+
//!                            the delta since the cursor, as always ---------------+--> one append, with its cursor
//! ```
//!
//! - Who asks names attributes and link values, never values of attributes: what is written is what the controller shows
//!   at that moment. What the delta says after it is as new or newer.
//! - Only what is there is written. That a value went, or the whole object, is told by the delta or by a full read: not to
//!   see something may also mean not to be allowed to.

use std::sync::{Mutex, PoisonError};

use forestsync_domain::{Dn, ObjectGuid, Usn};
use forestsync_schemas::sighting::News;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::entry::{Changes, Life};
use crate::error::{SearchError, Trouble};
use crate::events::Mode;
use crate::look;
use crate::pass::{Progress, is_of_read_class};
use crate::reader::Reader;
use crate::results::is_busy;
use crate::session::Session;
use crate::usn::generalized_time;

/// The most objects that wait.
const WAITING: usize = 64;

/// An object was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The stream.
    pub stream: String,
    /// The offset that the stream's next record will get.
    pub tail: u64,
    /// How many records the look wrote, those about other objects and its cursor included.
    pub written: u64,
    /// W3C trace context of the look.
    pub trace: Option<String>,
}

/// Why an object was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TakeError {
    /// This collector does not read the naming context.
    #[error("{0} is not read here")]
    NotRead(Dn),
    /// Too many are waiting.
    #[error("too many objects wait for being taken in; try again")]
    Busy,
    /// A full read is under way; it shows the object as well.
    #[error("a full read is under way, {seen} objects so far; it shows this one too")]
    FullRead {
        /// Objects so far.
        seen: u64,
    },
    /// The controller cannot be read.
    #[error("{detail}; {hint}")]
    Stopped {
        /// What was seen.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// The collector ended, or lost its stream.
    #[error("the collector ended before it answered")]
    Stopping,
}

/// A wish for an object.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) object: ObjectGuid,
    pub(crate) news: News,
    pub(crate) reply: oneshot::Sender<Result<Taken, TakeError>>,
}

/// Wishes that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<Vec<Wish>>);

impl Queue {
    pub(crate) fn push(&self, wish: Wish) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // nobody waits for the answer any more
        all.retain(|wish| !wish.reply.is_closed());
        let has_room = all.len() < WAITING;
        if has_room {
            all.push(wish);
        }
        has_room
    }

    pub(crate) fn take(&self) -> Vec<Wish> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reader {
    /// Puts what was said to be news of the objects that were asked for on its way. Within a full read there is nothing to
    /// do: it shows them.
    pub(crate) async fn take_in_asked(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
    ) -> Result<(), Trouble> {
        if progress.snapshot.is_some() {
            return Ok(());
        }
        let asked: Vec<(ObjectGuid, News)> =
            self.wishes_of_people.iter().map(|wish| (wish.object, wish.news.clone())).collect();
        for (object, news) in asked.into_iter().filter(|(_, news)| *news != News::default()) {
            match self.take_in(session, progress, object, &news).await {
                // one object that cannot be read is no trouble of the others; the delta may have it
                Err(Trouble::Decode(error)) => {
                    tracing::warn!(forest.id = self.config.name, object.guid = %object, error = %error, "an object cannot be taken in");
                }
                Err(Trouble::Search(SearchError::Result { code, .. })) if !is_busy(code) => {
                    tracing::warn!(forest.id = self.config.name, object.guid = %object, code, "an object cannot be taken in");
                }
                taken => taken?,
            }
        }
        Ok(())
    }

    async fn take_in(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        object: ObjectGuid,
        news: &News,
    ) -> Result<(), Trouble> {
        let base = format!("<GUID={object}>");
        let Some((entry, mut changes, _)) = look::read(session, &self.wanted, &base).await? else { return Ok(()) };
        if progress.borders.is_foreign(&changes) || !is_of_read_class(&changes) || changes.life == Life::Deleted {
            return Ok(());
        }
        keep(&mut changes, news);
        let usn = entry.text("uSNChanged").and_then(|text| text.parse().ok()).map(Usn);
        let when = entry.text("whenChanged").and_then(generalized_time);
        let usn_bytes = usn.unwrap_or_default().0.to_be_bytes();
        let anchor = [progress.anchor(self.position.written).as_slice(), &usn_bytes].concat();
        progress.scribe.stamp(usn, when);
        let taken = self.take(changes, Mode::Delta, &anchor, progress).await;
        progress.scribe.stamp(None, None);
        taken
    }

    /// Answers those who asked.
    pub(crate) async fn answer_wishes(
        &mut self,
        asked: Vec<Wish>,
        before: u64,
        trouble: Option<&Trouble>,
    ) -> Result<(), Trouble> {
        let answer = if let Some(trouble) = trouble {
            Err(TakeError::Stopped { detail: trouble.to_string(), hint: trouble.hint().to_owned() })
        } else {
            let (tail, _) = self.appender.open().await?;
            let stream = self.stream.to_string();
            Ok(Taken { stream, tail, written: tail.saturating_sub(before), trace: self.trace.clone() })
        };
        for wish in asked {
            // whoever asked may have gone
            drop(wish.reply.send(answer.clone()));
        }
        Ok(())
    }
}

/// Leaves of an object what was said to be news.
fn keep(changes: &mut Changes, news: &News) {
    changes.set.retain(|name, _| news.attributes.contains(name));
    changes.parent = changes.parent.filter(|_| news.is_moved);
    changes.cleared.clear();
    for links in &mut changes.links {
        let wanted = news.links.get(&links.attribute);
        links.added.retain(|target| wanted.is_some_and(|wanted| wanted.contains(target)));
        links.removed.clear();
        // a part of them: nothing is concluded about the others
        links.whole = false;
    }
    changes.links.retain(|links| !links.added.is_empty());
}
