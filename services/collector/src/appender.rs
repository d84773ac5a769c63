//! The way into the log: batches of bounded size, one being written while the next one is being filled.
//!
//! [`Appender::push`] may send what was pushed before on its way; [`Appender::add`] never does, so that what is added last
//! goes with the last that was pushed, in one atomic append.

use std::fmt;
use std::sync::Arc;

use forestsync_log::{AppendError, Log, LogWriter, MAX_RECORD_BYTES, NewRecord, StreamName, WriterError};
use tokio::task::JoinHandle;

use crate::error::{CollectorError, Trouble};
use crate::status::StatusLine;

/// The most records of one append, but for what is added at its end.
const BATCH_RECORDS: usize = 2_000;

/// The most bytes of one append, but for what is added at its end.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

type Writer = Box<dyn LogWriter>;

/// The writer, how many records it was given, and what came of it.
type Appended = (Writer, usize, Result<u64, AppendError>);

/// Writes one stream.
pub(crate) struct Appender {
    log: Arc<dyn Log>,
    stream: StreamName,
    writer: Option<Writer>,
    under_way: Option<JoinHandle<Appended>>,
    batch: Vec<NewRecord>,
    bytes: usize,
    flushed: bool,
    status: StatusLine,
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender")
            .field("stream", &self.stream)
            .field("batch", &self.batch.len())
            .finish_non_exhaustive()
    }
}

impl Appender {
    pub(crate) fn new(log: Arc<dyn Log>, stream: StreamName, status: StatusLine) -> Self {
        let (batch, bytes) = (Vec::new(), 0);
        Self { log, stream, writer: None, under_way: None, batch, bytes, flushed: false, status }
    }

    /// Becomes the stream's writer, if it is not already. The next offset, and whether the writer is a new one.
    pub(crate) async fn open(&mut self) -> Result<(u64, bool), Trouble> {
        self.settle().await?;
        if let Some(writer) = &self.writer {
            return Ok((writer.next_offset(), false));
        }
        let writer = self.log.writer(&self.stream).await.map_err(|error| match error {
            error @ WriterError::Damaged { .. } => CollectorError::Writer(error).into(),
            error => Trouble::Writer(error),
        })?;
        let tail = writer.next_offset();
        self.writer = Some(writer);
        self.status.update(|row| row.tail = tail);
        Ok((tail, true))
    }

    /// Begins a new piece of work: what was pushed and not sent is thrown away.
    pub(crate) fn begin(&mut self) {
        self.batch.clear();
        self.bytes = 0;
        self.flushed = false;
    }

    /// Whether anything was sent since [`Appender::begin`].
    pub(crate) fn has_flushed(&self) -> bool {
        self.flushed
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Takes a record; sends the ones before it if there are enough. True if it did.
    pub(crate) async fn push(&mut self, record: NewRecord) -> Result<bool, Trouble> {
        let full = self.batch.len() >= BATCH_RECORDS || self.bytes + record.size() > BATCH_BYTES;
        let sent = full && !self.batch.is_empty();
        if sent {
            self.flush().await?;
        }
        self.add(record)?;
        Ok(sent)
    }

    /// Takes a record and sends nothing.
    pub(crate) fn add(&mut self, record: NewRecord) -> Result<(), Trouble> {
        let size = record.size();
        if size > MAX_RECORD_BYTES {
            let object = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            return Err(Trouble::TooLarge { object, size, attribute: largest_attribute(&record.value) });
        }
        self.bytes += size;
        self.batch.push(record);
        Ok(())
    }

    /// Sends what there is. Waits for the append before it, not for this one.
    pub(crate) async fn flush(&mut self) -> Result<(), Trouble> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.settle().await?;
        let mut writer =
            self.writer.take().ok_or_else(|| Trouble::Append(AppendError::Unusable(self.stream.clone())))?;
        let records = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.flushed = true;
        // a task of its own: an append must not be dropped half way
        self.under_way = Some(tokio::spawn(async move {
            let count = records.len();
            let result = writer.append(records).await;
            (writer, count, result)
        }));
        Ok(())
    }

    /// Waits until all that was sent is durable.
    pub(crate) async fn settle(&mut self) -> Result<(), Trouble> {
        let Some(task) = self.under_way.as_mut() else {
            return Ok(());
        };
        let ended = task.await;
        self.under_way = None;
        let Ok((writer, count, result)) = ended else {
            return Err(Trouble::Append(AppendError::Unusable(self.stream.clone())));
        };
        match result {
            Ok(_) => {
                let tail = writer.next_offset();
                self.writer = Some(writer);
                self.status.update(|row| {
                    row.appended += count as u64;
                    row.tail = tail;
                });
                Ok(())
            }
            Err(AppendError::Fenced(stream)) => Err(CollectorError::Fenced(stream).into()),
            // nothing was written, but a new writer starts from what is really there
            Err(error) => Err(Trouble::Append(error)),
        }
    }
}

/// The attribute that takes most of a record, by its name only.
fn largest_attribute(value: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
    let attributes = json.get("data").and_then(|data| data.get("attributes").or_else(|| data.get("set")));
    let sizes = attributes.and_then(serde_json::Value::as_object).into_iter().flatten();
    let largest = sizes.max_by_key(|(_, values)| values.to_string().len());
    largest.map_or_else(|| "unknown".to_owned(), |(name, _)| name.clone())
}
