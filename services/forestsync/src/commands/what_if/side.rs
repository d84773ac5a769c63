//! One of the two projections: what it wishes, and what it did on the way there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_domain::SourceAnchor;
use forestsync_log::{Log, PastLog, StreamName};
use forestsync_projector::{Projector, ProjectorConfig};
use forestsync_schemas::decisions::{DecisionEvent, DecisionRecord};
use forestsync_schemas::desired::{CloudClass, DesiredEvent, DesiredRecord, ObjectDesired};
use forestsync_schemas::streams;
use jiff::civil::Date;
use serde::Serialize;

/// Records taken in at a time.
const BATCH: usize = 1_000;

/// How often something would have been done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Objects made.
    pub(super) created: u64,
    /// Changes of objects.
    pub(super) updated: u64,
    /// Objects deleted.
    pub(super) deleted: u64,
    /// Objects let go: they stay, and are nobody's.
    pub(super) let_go: u64,
    /// Memberships begun.
    pub(super) linked: u64,
    /// Memberships ended, without those that end with an object.
    pub(super) unlinked: u64,
    /// Joins of objects with others' wishes.
    pub(super) joined: u64,
    /// Joins that ended.
    pub(super) parted: u64,
    /// Findings raised about objects.
    pub(super) findings: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        let Self { created, updated, deleted, let_go, linked, unlinked, joined, parted, findings } = other;
        self.created += created;
        self.updated += updated;
        self.deleted += deleted;
        self.let_go += let_go;
        self.linked += linked;
        self.unlinked += unlinked;
        self.joined += joined;
        self.parted += parted;
        self.findings += findings;
    }
}

/// What is wished of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) class: CloudClass,
    pub(super) name: String,
    /// Of everything that is wished but its revision and its names in the directory.
    pub(super) content: blake3::Hash,
    /// Where in `desired` it stands.
    pub(super) offset: u64,
}

/// See the [module](self).
pub(super) struct Side {
    log: Arc<PastLog>,
    projector: Projector,
    desired: StreamName,
    decisions: StreamName,
    /// How far each of the two is read.
    read: [u64; 2],
    pub(super) standing: HashMap<SourceAnchor, Standing>,
    /// Memberships that no record of their own has ended; those of objects that are gone do not count.
    pub(super) links: BTreeSet<(SourceAnchor, SourceAnchor)>,
    /// When objects were deleted, with their names.
    pub(super) deletions: BTreeMap<SourceAnchor, (Date, CloudClass, String)>,
    /// Why nothing was written for a while, with the first day of each.
    pub(super) holds: BTreeMap<String, Date>,
}

impl Side {
    /// A projection by these rules, that decides for itself from `decided` on.
    pub(super) async fn begin(
        config: ProjectorConfig,
        base: &Arc<dyn Log>,
        folder: &Path,
        limits: &BTreeMap<StreamName, u64>,
        decided: u64,
    ) -> Result<Self> {
        let desired: StreamName = streams::desired(&config.configuration).parse()?;
        let decisions: StreamName = streams::decisions(&config.configuration).parse()?;
        let forks = BTreeMap::from([(desired.clone(), 0), (decisions.clone(), decided)]);
        let log = Arc::new(PastLog::new(Arc::clone(base), folder.join("log"), forks)?);
        log.advance(limits);
        let config = ProjectorConfig { directory: folder.join("projection"), removed: None, ..config };
        let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        let projector = Projector::open(config, shared).await.context("the projection")?;
        Ok(Self {
            log,
            projector,
            desired,
            decisions,
            read: [0, decided],
            standing: HashMap::new(),
            links: BTreeSet::new(),
            deletions: BTreeMap::new(),
            holds: BTreeMap::new(),
        })
    }

    /// Goes on to a moment; what was done on the way there, on that day.
    pub(super) async fn go_on(&mut self, limits: &BTreeMap<StreamName, u64>, day: Date) -> Result<Counts> {
        self.log.advance(limits);
        let status = self.projector.catch_up().await.context("the projection")?;
        for hold in &status.held {
            self.holds.entry(hold.detail.clone()).or_insert(day);
        }
        for (stream, status) in &status.streams {
            if let Some(stopped) = &status.stopped {
                anyhow::bail!("the projection of {stream} stopped: {stopped}");
            }
        }
        let mut counts = Counts::default();
        self.take_wishes(day, &mut counts).await?;
        self.take_decisions(&mut counts).await?;
        Ok(counts)
    }

    async fn take_wishes(&mut self, day: Date, counts: &mut Counts) -> Result<()> {
        let mut reader = self.log.reader(&self.desired, self.read[0]).await?;
        loop {
            let records = reader.poll(BATCH).await?;
            if records.is_empty() {
                self.read[0] = reader.position();
                return Ok(());
            }
            for record in records {
                let event = DesiredRecord::decode(&record.value)?.event;
                self.take(record.offset, event, day, counts)?;
            }
        }
    }

    fn take(&mut self, offset: u64, event: DesiredEvent, day: Date, counts: &mut Counts) -> Result<()> {
        match event {
            DesiredEvent::AttributeFlowDeclared(_) => {}
            DesiredEvent::ObjectDesired(event) => {
                let standing = Standing {
                    class: event.class,
                    name: event.source.dn.to_string(),
                    content: content(&event)?,
                    offset,
                };
                match self.standing.insert(event.anchor, standing) {
                    None => counts.created += 1,
                    Some(_) => counts.updated += 1,
                }
            }
            DesiredEvent::ObjectRemoved(event) => {
                if self.standing.remove(&event.anchor).is_none() {
                    return Ok(());
                }
                if event.keep {
                    counts.let_go += 1;
                } else {
                    counts.deleted += 1;
                    let name = event.source.dn.to_string();
                    self.deletions.insert(event.anchor, (day, event.class, name));
                }
            }
            DesiredEvent::LinkDesired(event) => {
                counts.linked += u64::from(self.links.insert((event.group, event.member)));
            }
            DesiredEvent::LinkRemoved(event) => {
                counts.unlinked += u64::from(self.links.remove(&(event.group, event.member)));
            }
        }
        Ok(())
    }

    async fn take_decisions(&mut self, counts: &mut Counts) -> Result<()> {
        let mut reader = self.log.reader(&self.decisions, self.read[1]).await?;
        loop {
            let records = reader.poll(BATCH).await?;
            if records.is_empty() {
                self.read[1] = reader.position();
                return Ok(());
            }
            for record in records {
                match DecisionRecord::decode(&record.value)?.event {
                    DecisionEvent::JoinMade(_) => counts.joined += 1,
                    DecisionEvent::JoinBroken(_) => counts.parted += 1,
                    DecisionEvent::FindingRaised(_) => counts.findings += 1,
                    _ => {}
                }
            }
        }
    }

    /// Memberships of objects that are wished.
    pub(super) fn memberships(&self) -> BTreeSet<&(SourceAnchor, SourceAnchor)> {
        let stands = |anchor| self.standing.contains_key(anchor);
        self.links.iter().filter(|(group, member)| stands(group) && stands(member)).collect()
    }

    /// What is wished of an object, as it stands in `desired`.
    pub(super) async fn wish(&self, standing: &Standing) -> Result<Option<ObjectDesired>> {
        let records = self.log.reader(&self.desired, standing.offset).await?.poll(1).await?;
        let Some(record) = records.first().filter(|record| record.offset == standing.offset) else { return Ok(None) };
        match DesiredRecord::decode(&record.value)?.event {
            DesiredEvent::ObjectDesired(event) => Ok(Some(event)),
            _ => Ok(None),
        }
    }
}

/// A hash of what is wished, however the directory names it and however often it changed.
fn content(event: &ObjectDesired) -> Result<blake3::Hash> {
    let references = (&event.manager, &event.owner, &event.left_alone);
    let parts = (event.class, &event.attributes, &event.at_creation, references);
    Ok(blake3::hash(&serde_json::to_vec(&parts)?))
}
