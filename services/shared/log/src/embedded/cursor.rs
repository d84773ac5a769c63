//! Reading frames, by blocking calls.
//!
//! A cursor answers with whole, durable frames only, and tells two things apart: the end of the stream, where an append
//! may be under way or have been cut off by a death (no error: nothing is there yet), and damage (an error that stays).
//!
//! What counts as there:
//! - while this handle's own writer lives: the bytes that writer has made durable, and all of them must be whole;
//! - else, in the last segment: whole frames. The file is synced before they are handed out, so that nobody acts on an
//!   append that a power failure could still take back. Bytes that form no frame are the end, unless a whole frame
//!   follows them: then they are damage, because an append begins only when the one before it is durable;
//! - in every segment before the last: every byte.
//!
//! Compaction replaces or removes files under a cursor. It holds on to the file it has open, which is whole, and finds
//! its next one by name.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;

use super::folder::Folder;
use super::frame::{HEADER_BYTES, Header, MAGIC, NoHeader};
use crate::{Mark, ReadError};

/// How much is read at a time, in bytes; a longer frame is read whole.
const CHUNK_BYTES: u64 = 512 * 1024;

/// How often something must look damaged before it is believed: a writer may have been rewriting its torn end.
const LOOKS: u32 = 3;

/// What this handle's own writer has made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Committed {
    /// Whether that writer lives. If not, the rest means nothing.
    pub(super) live: bool,
    /// The segment it appends to.
    pub(super) segment: u64,
    /// The durable bytes of that segment.
    pub(super) bytes: u64,
    /// The offset the next record will get.
    pub(super) next: u64,
}

/// A whole frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) payload: Bytes,
    /// The segment it was found in.
    pub(super) segment: u64,
    /// Where in it, in bytes.
    pub(super) at: u64,
}

/// A place in a stream.
#[derive(Debug)]
pub(super) struct Cursor {
    folder: Arc<Folder>,
    /// Frames that end here or before are passed over.
    position: u64,
    /// Whether to stay in the segment that is open.
    confined: bool,
    /// Where to look first.
    near: Option<Mark>,
    open: Option<Open>,
    /// The last frame passed or handed out.
    last: Option<Passed>,
}

/// What is remembered of a frame: its place in its segment and its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    pub(super) at: u64,
    pub(super) total: u64,
    pub(super) time_ms: i64,
}

#[derive(Debug)]
struct Open {
    base: u64,
    file: File,
    /// Where the next frame begins.
    at: u64,
    /// The offset after the last frame passed; at first, the segment's own.
    next: u64,
    /// The bytes known to be durable.
    synced: u64,
    /// Whether a later segment exists, so that this one grows no more.
    closed: bool,
    /// Where and up to where a whole frame was looked for in vain.
    barren: Option<(u64, u64)>,
}

/// Why a look at a segment stopped.
#[derive(Debug)]
enum Stop {
    /// There is more to read.
    Chunk,
    /// Everything there is was read.
    End,
    /// The last bytes are the beginning of a frame.
    Incomplete,
    /// The bytes form no frame; whole ones may follow from this position on.
    Bad { detail: String, resume: u64 },
    /// A whole frame that cannot stand here.
    Misplaced { detail: String },
}

impl Cursor {
    /// A cursor before the first frame that ends after `position`.
    pub(super) fn new(folder: Arc<Folder>, position: u64) -> Self {
        Self { folder, position, confined: false, near: None, open: None, last: None }
    }

    /// The same, where a frame that ends after `position` or an earlier one is said to begin at `mark`.
    pub(super) fn near(folder: Arc<Folder>, position: u64, mark: Mark) -> Self {
        Self { near: Some(mark), ..Self::new(folder, position) }
    }

    /// A cursor over one segment, from its first frame on.
    pub(super) fn within(folder: Arc<Folder>, base: u64) -> Result<Self, ReadError> {
        let file = File::open(folder.segment(base)).map_err(|e| folder.unreadable(e))?;
        let open = Some(Open::new(base, file));
        Ok(Self { folder, position: base, confined: true, near: None, open, last: None })
    }

    /// The offset after the last frame passed; 0 in a stream that has none.
    pub(super) fn next_offset(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.next)
    }

    /// The last frame passed.
    pub(super) fn last(&self) -> Option<Passed> {
        self.last
    }

    /// The byte after the last frame passed, in its segment.
    pub(super) fn at(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.at)
    }

    /// The next frames, as many as one chunk holds; none at the end of what is there.
    pub(super) fn fetch(&mut self, committed: Committed) -> Result<Vec<Frame>, ReadError> {
        let folder = Arc::clone(&self.folder);
        let mut looks = 0;
        loop {
            if self.open.is_none() && !self.seek()? {
                return Ok(Vec::new());
            }
            let limit = self.limit(committed).map_err(|e| folder.unreadable(e))?;
            let mut frames = Vec::new();
            let stop = self.take(limit, &mut frames).map_err(|e| folder.unreadable(e))?;
            if !frames.is_empty() {
                return Ok(frames);
            }
            if matches!(stop, Stop::Chunk) || (matches!(stop, Stop::End) && self.advance(committed, limit)?) {
                continue;
            }
            let Some(open) = self.open.as_mut() else { return Ok(frames) };
            let (base, at) = (open.base, open.at);
            let (detail, resume) = match stop {
                Stop::Chunk | Stop::End => return Ok(frames),
                Stop::Incomplete => ("the frame is cut short".to_owned(), limit),
                Stop::Bad { detail, resume } => (detail, resume),
                Stop::Misplaced { detail } => return Err(folder.damaged(base, at, detail)),
            };
            let settled = open.closed || (committed.live && base <= committed.segment);
            if !settled {
                if folder.segments().map_err(|e| folder.unreadable(e))?.last().is_some_and(|last| *last > base) {
                    open.closed = true;
                    continue;
                }
                if !open.frame_follows(resume, limit).map_err(|e| folder.unreadable(e))? {
                    return Ok(frames);
                }
            }
            looks += 1;
            if looks == LOOKS {
                return Err(folder.damaged(base, at, detail));
            }
        }
    }

    /// Opens the segment that holds the position; false where the stream has none.
    fn seek(&mut self) -> Result<bool, ReadError> {
        loop {
            let bases = self.folder.segments().map_err(|e| self.folder.unreadable(e))?;
            let Some(first) = bases.first().copied() else { return Ok(false) };
            if let Some(mut open) = self.near.take().and_then(|mark| self.open_near(mark)) {
                open.closed = bases.last().is_some_and(|last| *last > open.base);
                self.open = Some(open);
                return Ok(true);
            }
            if first > 0 && !self.folder.stream.is_compacted() {
                return Err(self.folder.damaged(0, 0, format!("records 0 to {} are missing", first - 1)));
            }
            let base = bases.iter().rev().copied().find(|base| *base <= self.position).unwrap_or(first);
            if let Some(mut open) = self.open_segment(base)? {
                open.closed = bases.last().is_some_and(|last| *last > base);
                self.open = Some(open);
                return Ok(true);
            }
        }
    }

    /// Opens a segment; none when compaction has removed it meanwhile.
    fn open_segment(&self, base: u64) -> Result<Option<Open>, ReadError> {
        match File::open(self.folder.segment(base)) {
            Ok(file) => Ok(Some(Open::new(base, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.folder.unreadable(error)),
        }
    }

    /// Opens a segment at the frame that a mark names. A header is valid in one place only, so a mark that is right no more
    /// is noticed; so is one that leads behind the position.
    fn open_near(&self, mark: Mark) -> Option<Open> {
        let [base, at] = mark.place;
        let mut open = self.open_segment(base).ok().flatten()?;
        let header = Header::parse(&open.read(at, HEADER_BYTES as u64).ok()?, base, at).ok()?;
        (header.base == mark.offset && header.base <= self.position).then(|| {
            (open.at, open.next) = (at, header.base);
            open
        })
    }

    /// Up to where the open segment may be read.
    fn limit(&mut self, committed: Committed) -> io::Result<u64> {
        let Some(open) = self.open.as_mut() else { return Ok(0) };
        if committed.live && open.base >= committed.segment {
            return Ok(if open.base == committed.segment { committed.bytes.max(open.at) } else { open.at });
        }
        let bytes = open.file.metadata()?.len();
        open.closed |= committed.live;
        if !open.closed && bytes > open.synced {
            sync_for_reading(&open.file)?;
            open.synced = bytes;
        }
        Ok(bytes)
    }

    /// Passes over and collects frames from one chunk.
    fn take(&mut self, limit: u64, frames: &mut Vec<Frame>) -> io::Result<Stop> {
        let Some(open) = self.open.as_mut() else { return Ok(Stop::End) };
        if open.at > limit {
            return Ok(Stop::Misplaced { detail: "the file is shorter than it was".to_owned() });
        }
        if open.at == limit {
            return Ok(Stop::End);
        }
        let compacted = self.folder.stream.is_compacted();
        let mut chunk = open.read(open.at, CHUNK_BYTES.min(limit - open.at))?;
        let mut start = 0_usize;
        loop {
            let rest = chunk.slice(start..);
            if rest.len() < HEADER_BYTES {
                let incomplete = limit - open.at < HEADER_BYTES as u64 && !rest.is_empty();
                return Ok(if incomplete || start == 0 { Stop::Incomplete } else { Stop::Chunk });
            }
            let header = match Header::parse(&rest, open.base, open.at) {
                Ok(header) => header,
                Err(NoHeader::Unfit(detail)) => {
                    return Ok(Stop::Bad { detail: detail.to_owned(), resume: open.at + 1 });
                }
                Err(NoHeader::Foreign(version)) => {
                    let detail = format!("the frame is of version {version}, which a later program wrote");
                    return Ok(Stop::Misplaced { detail });
                }
            };
            let total = header.total();
            let end = open.at + total as u64;
            if end > limit {
                return Ok(Stop::Incomplete);
            }
            if let Some(detail) = open.gap(&header, compacted) {
                return Ok(Stop::Misplaced { detail });
            }
            let wanted = header.end > self.position;
            if rest.len() < total {
                if start > 0 {
                    return Ok(Stop::Chunk);
                }
                if !wanted && end < limit {
                    self.last = Some(open.pass(&header));
                    return Ok(Stop::Chunk);
                }
                chunk = open.read(open.at, total as u64)?;
                if chunk.len() < total {
                    return Ok(Stop::Incomplete);
                }
                continue;
            }
            let payload = rest.slice(HEADER_BYTES..total);
            if !header.fits(&payload) {
                let detail = "the checksum of the frame's payload does not fit".to_owned();
                return Ok(Stop::Bad { detail, resume: end });
            }
            if wanted {
                frames.push(Frame { header, payload, segment: open.base, at: open.at });
                self.position = header.end;
            }
            self.last = Some(open.pass(&header));
            start += total;
        }
    }

    /// Goes on to the next segment, or notices that this one has grown; false at the end of the stream.
    fn advance(&mut self, committed: Committed, limit: u64) -> Result<bool, ReadError> {
        let folder = Arc::clone(&self.folder);
        loop {
            let Some(open) = self.open.as_mut() else { return Ok(false) };
            if self.confined || (committed.live && open.base >= committed.segment) {
                return Ok(false);
            }
            let bases = folder.segments().map_err(|e| folder.unreadable(e))?;
            let Some(next) = bases.iter().copied().find(|base| *base > open.base) else { return Ok(false) };
            open.closed = true;
            if open.file.metadata().map_err(|e| folder.unreadable(e))?.len() > limit {
                return Ok(true);
            }
            if next != open.next && !folder.stream.is_compacted() {
                let detail = format!("the next segment begins at record {next} and not at {}", open.next);
                return Err(folder.damaged(open.base, open.at, detail));
            }
            if let Some(mut following) = self.open_segment(next)? {
                following.closed = bases.last().is_some_and(|last| *last > next);
                self.open = Some(following);
                return Ok(true);
            }
        }
    }
}

impl Open {
    fn new(base: u64, file: File) -> Self {
        Self { base, file, at: 0, next: base, synced: 0, closed: false, barren: None }
    }

    /// At most `bytes` bytes from `from` on; fewer at the end of the file.
    fn read(&self, from: u64, bytes: u64) -> io::Result<Bytes> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))?;
        let mut buffer = Vec::with_capacity(bytes as usize);
        file.take(bytes).read_to_end(&mut buffer)?;
        Ok(Bytes::from(buffer))
    }

    /// Why a frame cannot follow the one before.
    fn gap(&self, header: &Header, compacted: bool) -> Option<String> {
        let fits = if compacted { header.base >= self.next } else { header.base == self.next };
        (!fits).then(|| format!("record {} stands where {} belongs", header.base, self.next))
    }

    fn pass(&mut self, header: &Header) -> Passed {
        let total = header.total() as u64;
        let passed = Passed { at: self.at, total, time_ms: header.time_ms };
        self.at += total;
        self.next = header.end;
        passed
    }

    /// Whether a whole frame begins at `from` or later and ends by `limit`.
    fn frame_follows(&mut self, from: u64, limit: u64) -> io::Result<bool> {
        if self.barren == Some((from, limit)) {
            return Ok(false);
        }
        let mut at = from;
        while at + HEADER_BYTES as u64 <= limit {
            let window = self.read(at, (2 * CHUNK_BYTES).min(limit - at))?;
            if window.len() < HEADER_BYTES {
                break;
            }
            for (index, candidate) in window.windows(HEADER_BYTES).enumerate() {
                let place = at + index as u64;
                if candidate.starts_with(&MAGIC)
                    && let Ok(header) = Header::parse(candidate, self.base, place)
                    && header.fits(&self.read(place + HEADER_BYTES as u64, header.payload as u64)?)
                {
                    return Ok(true);
                }
            }
            at += (window.len() - HEADER_BYTES + 1) as u64;
        }
        self.barren = Some((from, limit));
        Ok(false)
    }
}

/// Makes sure that what was found in a file stays there. A place that cannot be written to has nothing to sync.
fn sync_for_reading(file: &File) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    match file.sync_data() {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported) => {
            Ok(())
        }
        result => result,
    }
}
