//! Where streams stood at a moment.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{Log, ReadError, StreamName};

/// The offset that the first record appended after `time` has: what stands before it had been appended by then. The tail,
/// if nothing was appended later; 0 for a stream that does not exist.
///
/// Found by halving, with a look at one record at a time. Records' times come from the clock of the machine that holds the
/// log. Where that clock was set back while the stream was written, several offsets may lie between an earlier and a later
/// record; then it is one of those. In a compacted stream it need not be the offset of a record.
pub async fn offset_at(log: &dyn Log, stream: &StreamName, time: Timestamp) -> Result<u64, ReadError> {
    let (mut low, mut high) = (0, log.tail(stream).await?);
    while low < high {
        let middle = low + (high - low) / 2;
        let record = log.reader(stream, middle).await?.poll(1).await?.into_iter().next();
        match record.filter(|record| record.offset < high) {
            Some(record) if record.timestamp <= time => low = record.offset + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// [`offset_at`] of each of these streams: one moment of all of them.
pub async fn offsets_at(
    log: &dyn Log,
    streams: impl IntoIterator<Item = StreamName>,
    time: Timestamp,
) -> Result<BTreeMap<StreamName, u64>, ReadError> {
    let mut offsets = BTreeMap::new();
    for stream in streams {
        let offset = offset_at(log, &stream, time).await?;
        offsets.insert(stream, offset);
    }
    Ok(offsets)
}
