//! Walking a chain.

use forestsync_runtime::clock;

use super::{Anchor, ChainHash, Link};
use crate::{Log, ReadError, Record, StreamName};

/// Records read at a time.
const BATCH: usize = 64;

/// Bytes behind the last whole record of a stream, which no reader is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LooseEnd {
    /// Where they begin.
    pub place: String,
    /// How many.
    pub bytes: u64,
    /// Whether they are the beginning of an append and nothing else: one that is under way, or that died before anybody
    /// was told of it. If not, they may be an append that was acknowledged and then damaged.
    pub torn: bool,
}

/// The first thing wrong with a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The first offset that is not proved: the record there is changed, missing, or cannot be read.
    pub offset: u64,
    /// Where that is kept, where the record could not even be read.
    pub place: Option<String>,
    /// What is wrong.
    pub detail: String,
}

/// What a walk over a stream found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The stream.
    pub stream: StreamName,
    /// The first offset that the chain proves; none in a stream without a chain.
    pub begins: Option<u64>,
    /// Records before that: an earlier version wrote them, and nothing proves them.
    pub unproved: u64,
    /// Records whose links fit.
    pub proved: u64,
    /// Places where a record's neighbour is gone, so that only the record itself is proved.
    pub gaps: u64,
    /// The offset after the last record read.
    pub next_offset: u64,
    /// Anchors that the stream agrees with.
    pub anchors: u64,
    /// Anchors whose record is gone, with nothing to compare them with.
    pub anchors_gone: u64,
    /// The first thing wrong.
    pub broken: Option<Broken>,
    /// An append at the end that is not whole and was never acknowledged: nothing is wrong with that.
    pub torn: Option<LooseEnd>,
}

/// The anchor of a stream as it is now; none where it has no chain yet.
pub async fn anchor(log: &dyn Log, stream: &StreamName) -> Result<Option<Anchor>, ReadError> {
    let Some(from) = log.tail(stream).await?.checked_sub(1) else { return Ok(None) };
    let time = clock::now();
    let last = log.reader(stream, from).await?.poll(1).await?.pop();
    let anchor = |record: Record| {
        let Link { own, .. } = record.link?;
        Some(Anchor { stream: stream.clone(), offset: record.offset, own, time })
    };
    Ok(last.and_then(anchor))
}

/// Walks a stream from its beginning to its end and checks every link, and the anchors of this stream among those given.
/// `progress` is told the offset after each batch and its number of records.
///
/// Damage is a verdict and no error: an error is a log that does not answer.
pub async fn verify(
    log: &dyn Log,
    stream: &StreamName,
    anchors: &[Anchor],
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Verdict, ReadError> {
    let mut walk = Walk::new(stream, anchors);
    let mut reader = log.reader(stream, 0).await?;
    loop {
        let records = match reader.poll(BATCH).await {
            Ok(records) => records,
            Err(ReadError::Damaged { place, detail, .. }) => {
                let broken = Broken { offset: reader.position(), place: Some(place), detail };
                return Ok(walk.end(Some(broken)));
            }
            Err(error) => return Err(error),
        };
        if records.is_empty() {
            break;
        }
        for record in &records {
            if let Err(broken) = walk.take(record) {
                return Ok(walk.end(Some(broken)));
            }
        }
        progress(reader.position(), records.len() as u64);
    }
    let loose = log.loose_end(stream).await?;
    if let Some(end) = loose.as_ref().filter(|end| !end.torn) {
        let detail = format!("{} bytes at the end of the stream form no whole record", end.bytes);
        let broken = Broken { offset: walk.verdict.next_offset, place: Some(end.place.clone()), detail };
        return Ok(walk.end(Some(broken)));
    }
    walk.verdict.torn = loose;
    let cut = walk.beyond_the_end();
    Ok(walk.end(cut))
}

/// What is known on the way.
struct Walk<'a> {
    verdict: Verdict,
    /// The anchors of the stream that were not come to yet, the last one first.
    anchors: Vec<&'a Anchor>,
    /// The value of the last record, once the chain has begun.
    last: Option<ChainHash>,
}

impl<'a> Walk<'a> {
    fn new(stream: &StreamName, anchors: &'a [Anchor]) -> Self {
        let mut anchors: Vec<&Anchor> = anchors.iter().filter(|anchor| anchor.stream == *stream).collect();
        anchors.sort_by_key(|anchor| std::cmp::Reverse(anchor.offset));
        let verdict = Verdict {
            stream: stream.clone(),
            begins: None,
            unproved: 0,
            proved: 0,
            gaps: 0,
            next_offset: 0,
            anchors: 0,
            anchors_gone: 0,
            broken: None,
            torn: None,
        };
        Self { verdict, anchors, last: None }
    }

    fn end(mut self, broken: Option<Broken>) -> Verdict {
        self.verdict.broken = broken;
        self.verdict
    }

    /// Checks the next record.
    fn take(&mut self, record: &Record) -> Result<(), Broken> {
        let offset = record.offset;
        let broken = |detail: String| Broken { offset, place: None, detail };
        let contiguous = offset == self.verdict.next_offset;
        self.anchors_before(record)?;
        match record.link {
            Some(link) if !link.proves(&self.verdict.stream, record) => {
                return Err(broken("the record is not the one that was written: its hash does not fit".to_owned()));
            }
            Some(link) => {
                self.behind(link, offset, contiguous).map_err(broken)?;
                self.verdict.begins.get_or_insert(offset);
                self.verdict.proved += 1;
                self.last = Some(link.own);
            }
            None => match self.verdict.begins {
                Some(begins) => {
                    return Err(broken(format!("the record has no link, although the chain began at {begins}")));
                }
                None => self.verdict.unproved += 1,
            },
        }
        self.anchors_at(record)?;
        self.verdict.next_offset = offset + 1;
        Ok(())
    }

    /// Checks that a link goes on from the record before.
    fn behind(&mut self, link: Link, offset: u64, contiguous: bool) -> Result<(), String> {
        let keeps_all = !self.verdict.stream.is_compacted();
        match self.last {
            Some(_) if link.prev == ChainHash::BEGIN => Err("a second chain begins here".to_owned()),
            Some(last) if contiguous && link.prev != last => {
                let before = offset.saturating_sub(1);
                Err(format!("it was not written behind the record {before} that is there: one of the two was replaced"))
            }
            None if keeps_all && link.prev != ChainHash::BEGIN => {
                Err("the beginning of the chain is gone, or its links were taken away".to_owned())
            }
            _ if keeps_all && !contiguous && !link.gap => {
                let from = self.verdict.next_offset;
                Err(format!("the records from {from} on are missing before it, and nobody took them out on purpose"))
            }
            Some(_) if !contiguous => {
                self.verdict.gaps += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Anchors of records that are not there: the next record may still know their value.
    fn anchors_before(&mut self, next: &Record) -> Result<(), Broken> {
        while let Some(anchor) = self.anchors.pop_if(|anchor| anchor.offset < next.offset) {
            match next.link.filter(|_| anchor.offset + 1 == next.offset) {
                Some(link) => self.compare(anchor, Some(link.prev))?,
                None => self.verdict.anchors_gone += 1,
            }
        }
        Ok(())
    }

    fn anchors_at(&mut self, record: &Record) -> Result<(), Broken> {
        while let Some(anchor) = self.anchors.pop_if(|anchor| anchor.offset == record.offset) {
            self.compare(anchor, record.link.map(|link| link.own))?;
        }
        Ok(())
    }

    fn compare(&mut self, anchor: &Anchor, found: Option<ChainHash>) -> Result<(), Broken> {
        if found == Some(anchor.own) {
            self.verdict.anchors += 1;
            return Ok(());
        }
        let detail = format!("the stream was another one at {}: an anchor of then does not fit", anchor.time);
        Err(Broken { offset: anchor.offset, place: None, detail })
    }

    /// An anchor of a record that the stream does not come to.
    fn beyond_the_end(&self) -> Option<Broken> {
        let next = self.verdict.next_offset;
        let Anchor { offset, time, .. } = self.anchors.first()?;
        let detail =
            format!("the stream ends here, and an anchor of {time} knows records up to {offset}: they were cut off");
        Some(Broken { offset: next, place: None, detail })
    }
}
