//! The reader: frames fetched by a blocking task, records cut out of them one call at a time.
//!
//! At most one chunk of frames is held. A call that is dropped leaves its fetch in the reader, and the next call takes it
//! up, so nothing is lost or read twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::{io, mem};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Duration, sleep};

use super::cursor::{Committed, Cursor, Frame};
use super::folder::Folder;
use super::frame::Records;
use crate::{LogReader, Mark, ReadError, Record, StreamName};

type Fetch = JoinHandle<(Cursor, Result<Vec<Frame>, ReadError>)>;

/// A reader of a stream of the embedded log.
#[derive(Debug)]
pub(super) struct EmbeddedReader {
    folder: Arc<Folder>,
    committed: watch::Receiver<Committed>,
    /// Keeps the channel open when the log itself is gone.
    _sender: Arc<watch::Sender<Committed>>,
    interval: Duration,
    position: u64,
    frames: VecDeque<Frame>,
    /// What is left of the frame taken up last, with its place.
    records: Option<(Records, u64, u64)>,
    /// Where the frame of the record given last stands.
    mark: Option<Mark>,
    state: State,
}

/// Where the cursor is.
#[derive(Debug)]
enum State {
    Idle(Box<Cursor>),
    Fetching(Fetch),
    /// The task that had it is gone; a new one is made from the position.
    Gone,
}

impl EmbeddedReader {
    pub(super) fn new(
        folder: Arc<Folder>,
        sender: Arc<watch::Sender<Committed>>,
        interval: Duration,
        from: u64,
    ) -> Self {
        let state = State::Idle(Box::new(Cursor::new(Arc::clone(&folder), from)));
        let committed = sender.subscribe();
        let frames = VecDeque::new();
        Self { folder, committed, _sender: sender, interval, position: from, frames, records: None, mark: None, state }
    }

    /// Begins at a place where a reader was before.
    pub(super) fn near(mut self, mark: Mark) -> Self {
        self.state = State::Idle(Box::new(Cursor::near(Arc::clone(&self.folder), self.position, mark)));
        self
    }

    /// Gets frames, if there are any. True when the answer is from a fetch that began in this call.
    async fn fetch(&mut self) -> Result<bool, ReadError> {
        let fresh = !matches!(self.state, State::Fetching(_));
        if fresh {
            let mut cursor = match mem::replace(&mut self.state, State::Gone) {
                State::Idle(cursor) => *cursor,
                _ => Cursor::new(Arc::clone(&self.folder), self.position),
            };
            let committed = *self.committed.borrow_and_update();
            self.state = State::Fetching(spawn_blocking(move || {
                let fetched = cursor.fetch(committed);
                (cursor, fetched)
            }));
        }
        let State::Fetching(fetch) = &mut self.state else { return Ok(fresh) };
        let joined = fetch.await;
        self.state = State::Gone;
        let (cursor, fetched) = joined.map_err(|e| self.folder.unreadable(io::Error::other(e)))?;
        self.state = State::Idle(Box::new(cursor));
        self.frames.extend(fetched?);
        Ok(fresh)
    }

    /// Cuts at most `max` records out of the frames held.
    fn take(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let mut taken = Vec::new();
        while taken.len() < max {
            if self.records.is_none() {
                let Some(frame) = self.frames.pop_front() else { break };
                self.mark = Some(Mark { offset: frame.header.base, place: [frame.segment, frame.at] });
                self.records = Some((Records::new(&frame.header, frame.payload), frame.segment, frame.at));
            }
            let Some((records, segment, at)) = self.records.as_mut() else { break };
            match records.take() {
                Ok(Some(record)) if record.offset < self.position => {}
                Ok(Some(record)) => {
                    self.position = record.offset + 1;
                    taken.push(record);
                }
                Ok(None) => self.records = None,
                Err(_) if !taken.is_empty() => break,
                Err(_) => {
                    let detail = "the records do not fill their frame";
                    return Err(self.folder.damaged(*segment, *at, detail));
                }
            }
        }
        Ok(taken)
    }
}

#[async_trait]
impl LogReader for EmbeddedReader {
    fn stream(&self) -> &StreamName {
        &self.folder.stream
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn mark(&self) -> Option<Mark> {
        self.mark
    }

    async fn next(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        loop {
            let taken = self.poll(max.max(1)).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            // The sender is held here, so a change is the only thing that can come; one that came since the fetch began
            // is seen at once.
            let live = self.committed.borrow().live;
            tokio::select! {
                _ = self.committed.changed() => {}
                () = sleep(self.interval), if !live => {}
            }
        }
    }

    async fn poll(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let taken = self.take(max)?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            let fresh = self.fetch().await?;
            if fresh && self.frames.is_empty() {
                return Ok(taken);
            }
        }
    }
}
