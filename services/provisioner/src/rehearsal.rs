//! A rehearsal: the engine as it is, against the tenant as it is, and not one write.
//!
//! ```text
//!  fork of the log ---> engine ---> understudy --- reads ---> Graph (through a gate that lets no write pass)
//!        ^                 |             |
//!        +--- outcomes ----+             +--- writes: answered as if they had gone through
//! ```
//!
//! What the engine then writes to the outcomes of the fork is what it would do. Nothing decides twice: a run with the same
//! wishes, the same ledger and an unchanged tenant makes the same writes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_log::{Lease, Log, NewRecord, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use forestsync_schemas::{DesiredRecord, OutcomeRecord, streams};
use tokio_util::sync::CancellationToken;

use crate::config::{ProvisionerConfig, QuarantineConfig};
use crate::engine::{Matches, SeenMatch};
use crate::error::{ProvisionerError, decode};
use crate::excerpt::{Excerpt, Surroundings};
use crate::graph::Graph;
use crate::provisioner::Provisioner;
use crate::status::Status;
use crate::store::Store;
use crate::target::{Call, Changes, CloudObject, Done, Extension, ExtensionState, Outage, Reply, Target};

/// Records read at a time.
const CHUNK: usize = 1_000;
/// A retry that is due sooner is waited for; a later one is no part of the rehearsal.
const SOON: Duration = Duration::from_secs(30);
/// What the ids of objects begin with that exist in the rehearsal only.
const INVENTED: &str = "rehearsed-";

/// What a provisioner would do, or did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rehearsal {
    /// The offset in `desired` up to which (exclusive) wishes were taken in.
    pub desired_next: u64,
    /// The offset in `outcomes` at which it began.
    pub outcomes_from: u64,
    /// What would be done and said, in the order of the rehearsal; that of different objects is of no meaning.
    pub outcomes: Vec<OutcomeRecord>,
    /// Distinguished names of all objects that are wished, or were.
    pub names: HashMap<SourceAnchor, String>,
    /// The cloud objects that would be managed in the end, by id, with their anchors.
    pub managed: HashMap<String, SourceAnchor>,
    /// What soft matches found, pair by pair.
    pub matches: BTreeMap<SourceAnchor, Vec<SeenMatch>>,
    /// What would be held or quarantined in the end, and why nothing goes on if that is so.
    pub status: Status,
}

/// Rehearses on `log`, which MUST be a fork, with a ledger that is made in `config.directory`, which MUST be empty. Returns
/// when nothing is left to do, or nothing but what waits for a retry.
///
/// Reads the tenant; a tenant that does not answer is waited for, until `stop`. The write quota is not waited for.
pub async fn rehearse(
    mut config: ProvisionerConfig,
    log: Arc<dyn Log>,
    stop: CancellationToken,
) -> Result<Rehearsal, ProvisionerError> {
    config.tenant.write_quota = 0;
    // its pauses are no part of what is to be done
    config.tenant.quarantine = QuarantineConfig::never();
    let wishes = log.tail(&streams::desired(&config.configuration).parse()?).await?;
    let graph = Arc::new(Graph::read_only(&config.tenant)?);
    let understudy: Arc<dyn Target> = Arc::new(Understudy::new(Arc::clone(&graph)));
    perform(config, log, graph, understudy, Scene { wishes, surroundings: Surroundings::default() }, stop, |_| ()).await
}

/// The same for a few objects alone: on an excerpt of the ledger, with wishes that nobody has written. `log` MUST be a
/// fork; the wishes are appended to it. The status counts what is in the excerpt, and nobody else.
///
/// No wishes, nothing to rehearse: what is known of the objects says all.
pub async fn rehearse_objects(
    mut config: ProvisionerConfig,
    log: Arc<dyn Log>,
    excerpt: Excerpt,
    subjects: &[SourceAnchor],
    wishes: Vec<DesiredRecord>,
    stop: CancellationToken,
) -> Result<Rehearsal, ProvisionerError> {
    config.tenant.write_quota = 0;
    config.tenant.quarantine = QuarantineConfig::never();
    let desired: StreamName = streams::desired(&config.configuration).parse()?;
    let (directory, subjects) = (config.directory.clone(), subjects.to_vec());
    let next = log.tail(&desired).await?;
    let surroundings = excerpt.surroundings.clone();
    tokio::task::spawn_blocking(move || excerpt.plant(&Store::open(&directory)?.store, &subjects, next)).await??;
    let mut records = Vec::with_capacity(wishes.len());
    for wish in wishes {
        records.push(NewRecord::new(Some(wish.event.key()), wish.encode().map_err(ProvisionerError::Encode)?));
    }
    if !records.is_empty() {
        log.writer(&desired).await?.append(records).await?;
    }
    let wishes = log.tail(&desired).await?;
    let graph = Arc::new(Graph::read_only(&config.tenant)?);
    let understudy: Arc<dyn Target> = Arc::new(Understudy::new(Arc::clone(&graph)));
    perform(config, log, graph, understudy, Scene { wishes, surroundings }, stop, |_| ()).await
}

/// What is acted on.
#[derive(Debug)]
struct Scene {
    /// The wishes before this offset.
    wishes: u64,
    /// Of the objects that are not in the ledger, where that is an excerpt.
    surroundings: Surroundings,
}

/// Does what a rehearsal showed: acts on the wishes before `wishes` and on no later one, and returns what was done, when
/// nothing is left of it or nothing but what waits for a retry. `show` is told how it goes.
///
/// The caller MUST be the only provisioner of the configuration; another one that is at work on the same ledger or log is
/// an error.
pub async fn carry_out(
    config: ProvisionerConfig,
    log: Arc<dyn Log>,
    wishes: u64,
    stop: CancellationToken,
    show: impl FnMut(&Status),
) -> Result<Rehearsal, ProvisionerError> {
    let graph = Arc::new(Graph::new(&config.tenant, None)?);
    let target: Arc<dyn Target> = Arc::clone(&graph) as Arc<dyn Target>;
    perform(config, log, graph, target, Scene { wishes, surroundings: Surroundings::default() }, stop, show).await
}

/// Runs the engine until it has taken in the wishes before `wishes` and rests.
async fn perform(
    config: ProvisionerConfig,
    log: Arc<dyn Log>,
    graph: Arc<Graph>,
    target: Arc<dyn Target>,
    Scene { wishes, surroundings }: Scene,
    stop: CancellationToken,
    mut show: impl FnMut(&Status),
) -> Result<Rehearsal, ProvisionerError> {
    let directory = config.directory.clone();
    let outcomes: StreamName = streams::outcomes(&config.configuration).parse()?;
    let outcomes_from = log.tail(&outcomes).await?;
    let lease = Lease::forever(outcomes.clone());
    let mut provisioner = Provisioner::open_with(config, Arc::clone(&log), lease, false, graph, target).await?;
    provisioner.engine.surroundings = surroundings;
    let seen = Matches::default();
    provisioner.engine.seen = Some(Arc::clone(&seen));
    let mut status = provisioner.status();
    let ended = stop.child_token();
    let run = provisioner.act(wishes, ended.clone());
    let watch = async {
        let rests = |status: &Status| {
            show(status);
            let now = clock::now();
            let waits =
                status.next_retry.is_some_and(|at| Duration::try_from(at.duration_since(now)).is_ok_and(|d| d > SOON));
            let rests = status.pending == 0 && status.in_flight == 0 && waits && status.stopped.is_none();
            status.desired_applied >= wishes && (status.idle || rests)
        };
        let last = status.wait_for(rests).await.map(|status| status.clone());
        ended.cancel();
        last
    };
    let (ran, watched) = tokio::join!(Box::pin(run), watch);
    ran?;
    let status = watched.unwrap_or_else(|_| status.borrow().clone());
    let mut reader = log.reader(&outcomes, outcomes_from).await?;
    let mut all = Vec::new();
    loop {
        let records = reader.poll(CHUNK).await?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            all.push(decode(&outcomes, record)?);
        }
    }
    let opened = tokio::task::spawn_blocking(move || Store::open(&directory)).await??;
    let (names, managed) = names(&opened.store)?;
    let matches = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let desired_next = status.desired_applied;
    Ok(Rehearsal { desired_next, outcomes_from, outcomes: all, names, managed, matches, status })
}

/// What objects are called, and which cloud object each has.
type Known = (HashMap<SourceAnchor, String>, HashMap<String, SourceAnchor>);

fn names(store: &Store) -> Result<Known, ProvisionerError> {
    let (mut names, mut managed) = Known::default();
    for entry in store.objects() {
        let (anchor, row) = entry?;
        if let Some(id) = row.live_id() {
            managed.insert(id.to_owned(), anchor.clone());
        }
        if let Some(wish) = row.wish {
            names.insert(anchor, wish.name);
        }
    }
    Ok((names, managed))
}

/// Stands in for the tenant where something would be written.
#[derive(Debug)]
struct Understudy {
    graph: Arc<Graph>,
    played: Mutex<Played>,
}

/// What was answered to writes, as far as reads depend on it.
#[derive(Debug, Default)]
struct Played {
    /// Soft-deleted objects that were looked up, by id; they are read when they were brought back.
    deleted: HashMap<String, CloudObject>,
    restored: HashMap<String, CloudObject>,
    /// What was written over groups that were there already, by anchor.
    written: HashMap<SourceAnchor, CloudAttributes>,
}

impl Understudy {
    fn new(graph: Arc<Graph>) -> Self {
        Self { graph, played: Mutex::default() }
    }

    fn played(&self) -> std::sync::MutexGuard<'_, Played> {
        self.played.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a write, and to a question about what the tenant knows nothing of.
    async fn play(&self, call: &Call) -> Result<Option<Reply>, Outage> {
        let done = |status, id| Some(Reply::Done(Done { status, request_id: None, id }));
        Ok(match call {
            Call::Create { class: CloudClass::Group, anchor, attributes } => {
                // written over, if it is there
                let question = Call::ReadGroup { anchor: anchor.clone(), attributes: Vec::new() };
                let mut answer = self.graph.perform(&[question], &[None]).await?;
                match answer.pop() {
                    Some(Reply::Found { live: None, .. }) => done(201, Some(format!("{INVENTED}{anchor}"))),
                    Some(Reply::Found { .. }) => {
                        self.played().written.insert(anchor.clone(), attributes.clone());
                        done(204, None)
                    }
                    other => other,
                }
            }
            Call::Create { anchor, .. } => done(201, Some(format!("{INVENTED}{anchor}"))),
            Call::Restore { id, .. } => {
                let mut played = self.played();
                if let Some(object) = played.deleted.get(id).cloned() {
                    played.restored.insert(id.clone(), restored(object));
                }
                done(200, Some(id.clone()))
            }
            Call::Update { .. }
            | Call::Delete { .. }
            | Call::SetManager { .. }
            | Call::AddOwner { .. }
            | Call::RemoveOwner { .. }
            | Call::AddMembers { .. } => done(204, None),
            Call::AddEach { members, .. } | Call::RemoveMembers { members, .. } => {
                let answer = || Ok(Done { status: 204, request_id: None, id: None });
                Some(Reply::Each(members.iter().map(|_| answer()).collect()))
            }
            Call::Read { id, .. } => match self.played().restored.get(id) {
                Some(object) => Some(Reply::Object(Some(object.clone()))),
                None => id.starts_with(INVENTED).then_some(Reply::Object(None)),
            },
            Call::ReadManager { id } => id.starts_with(INVENTED).then_some(Reply::Manager(None)),
            Call::ListMembers { group } | Call::ListOwners { group } => {
                group.starts_with(INVENTED).then(|| Reply::Members(HashSet::new()))
            }
            Call::LookUp { .. } | Call::Match { .. } | Call::ReadGroup { .. } | Call::ListRoles { .. } => None,
        })
    }

    /// Remembers what an answer shows, and shows what was written since.
    fn note(&self, call: &Call, reply: &mut Reply) {
        let Reply::Found { live, deleted } = reply else { return };
        let mut played = self.played();
        if let Some(object) = deleted {
            played.deleted.insert(object.id.clone(), object.clone());
        }
        let (Call::LookUp { anchor, attributes, .. } | Call::ReadGroup { anchor, attributes }) = call else { return };
        if let (Some(object), Some(written)) = (live, played.written.get(anchor)) {
            let asked = written.iter().filter(|(name, _)| attributes.contains(name));
            object.attributes.extend(asked.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
}

/// A deleted object as it comes back: its name for signing in has the object's id before it meanwhile (graph.md section 6).
fn restored(mut object: CloudObject) -> CloudObject {
    if let Some(CloudValue::Text(name)) = object.attributes.get_mut("userPrincipalName")
        && let Some(own) = name.strip_prefix(&object.id.replace('-', ""))
    {
        *name = own.to_owned();
    }
    object
}

#[async_trait::async_trait]
impl Target for Understudy {
    async fn perform(&self, calls: &[Call], traces: &[Option<String>]) -> Result<Vec<Reply>, Outage> {
        let (mut replies, mut questions) = (Vec::with_capacity(calls.len()), Vec::new());
        for (place, call) in calls.iter().enumerate() {
            let reply = self.play(call).await?;
            if reply.is_none() {
                questions.push((place, call.clone(), traces.get(place).cloned().flatten()));
            }
            replies.push(reply);
        }
        if !questions.is_empty() {
            let calls: Vec<Call> = questions.iter().map(|(_, call, _)| call.clone()).collect();
            let traces: Vec<Option<String>> = questions.iter().map(|(.., trace)| trace.clone()).collect();
            let answers = self.graph.perform(&calls, &traces).await?;
            for ((place, call, _), mut answer) in questions.into_iter().zip(answers) {
                self.note(&call, &mut answer);
                if let Some(reply) = replies.get_mut(place) {
                    *reply = Some(answer);
                }
            }
        }
        Ok(replies.into_iter().flatten().collect())
    }

    async fn extensions(&self, wanted: &[Extension]) -> Result<BTreeMap<String, ExtensionState>, Outage> {
        self.graph.extensions(wanted).await
    }

    async fn permitted(&self) -> BTreeMap<CloudClass, bool> {
        self.graph.permitted().await
    }

    fn first_changes(&self, class: CloudClass, attributes: &[String]) -> String {
        self.graph.first_changes(class, attributes)
    }

    async fn changes(&self, class: CloudClass, attributes: &[String], place: &str) -> Result<Changes, Outage> {
        self.graph.changes(class, attributes, place).await
    }

    fn shows(&self, attribute: &str) -> bool {
        self.graph.shows(attribute)
    }

    fn requests(&self) -> u64 {
        self.graph.requests()
    }
}
