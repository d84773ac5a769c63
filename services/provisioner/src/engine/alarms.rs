//! What people are told: each cause once by each channel when it begins, and once when it is over.
//!
//! The causes are what the engine knows anyway, and what holds the projection of the configuration. What was told stands
//! in the outcomes, so that neither a restart nor another process tells it again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use forestsync_log::{Log, LogReader, StreamName};
use forestsync_rules::quarantine::Failing;
use forestsync_runtime::clock;
use forestsync_schemas::decisions::{DecisionEvent, HoldReason};
use forestsync_schemas::outcomes::{DriftPolicy, NotificationSent, Operation, OutcomeEvent};
use forestsync_schemas::streams;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Engine;
use crate::error::{ProvisionerError, decode};
use crate::notify::{Channel, Courier, Delivered, Notice};
use crate::status::DriftPlace;

/// Looks at the causes are this far apart at least.
const BETWEEN: Duration = Duration::from_millis(500);
/// Objects that are named.
const NAMED: usize = 20;
/// Records of decisions read at a time, and chunks that wait.
const CHUNK: usize = 256;
const WAITING: usize = 4;

/// What holds the projection, by reason and forest, with what was seen and what to do; nothing once it is released.
type Hold = ((HoldReason, String), Option<(String, String)>);
type Holds = Vec<Hold>;

/// Something that people are told of.
#[derive(Debug, Default)]
struct Cause {
    title: String,
    count: u64,
    lines: Vec<String>,
    hint: &'static str,
    /// Where it comes from elsewhere.
    own_hint: Option<String>,
}

/// Something that was heard.
#[derive(Debug)]
pub(super) enum Heard {
    Delivered(Delivered),
    Holds(Result<Holds, ProvisionerError>),
}

/// What is told, and to whom.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    courier: Option<Courier>,
    /// Since when each cause is there, and since when each that was told is not.
    since: BTreeMap<String, Instant>,
    gone: BTreeMap<String, Instant>,
    /// Handed to the courier, and not delivered.
    sending: HashSet<(String, Channel)>,
    holds: BTreeMap<(HoldReason, String), (String, String)>,
    heard: Option<mpsc::Receiver<Result<Holds, ProvisionerError>>>,
    follower: JoinSet<()>,
    is_stale: bool,
    looked: Option<Instant>,
    due: Option<Instant>,
}

impl Alarms {
    /// Something changed that people may have to know.
    pub(super) fn stir(&mut self) {
        self.is_stale = true;
    }

    /// When the next look is due.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.courier.as_ref()?;
        let stale = self.looked.filter(|_| self.is_stale).map(|at| at + BETWEEN);
        [stale, self.due].into_iter().flatten().min()
    }

    /// The next thing that is heard; cancel-safe. Never where nobody is told.
    pub(super) async fn next(&mut self) -> Heard {
        let (Some(courier), Some(holds)) = (&mut self.courier, &mut self.heard) else {
            return std::future::pending().await;
        };
        tokio::select! {
            Some(delivered) = courier.next() => Heard::Delivered(delivered),
            Some(heard) = holds.recv() => Heard::Holds(heard),
            else => std::future::pending().await,
        }
    }
}

fn name_of(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn objects(count: u64) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

impl Engine {
    /// Begins to tell people, if anybody is to be told.
    pub(super) async fn follow_alarms(&mut self, log: &dyn Log) -> Result<(), ProvisionerError> {
        let courier = Courier::new(&self.config.notify);
        if courier.channels().next().is_none() {
            return Ok(());
        }
        let stream: StreamName = streams::decisions(&self.config.configuration).parse()?;
        let reader = log.reader(&stream, 0).await?;
        let (sender, heard) = mpsc::channel(WAITING);
        self.alarms.follower.spawn(follow(stream, reader, sender));
        (self.alarms.courier, self.alarms.heard) = (Some(courier), Some(heard));
        (self.alarms.is_stale, self.alarms.looked) = (true, Some(Instant::now()));
        Ok(())
    }

    /// Takes in what was delivered, or what holds the projection.
    pub(super) fn heard(&mut self, heard: Heard) -> Result<(), ProvisionerError> {
        match heard {
            Heard::Delivered(Delivered { cause, channel, over, count }) => {
                self.alarms.sending.remove(&(cause.clone(), channel));
                let channel = channel.as_str().to_owned();
                self.say(OutcomeEvent::NotificationSent(NotificationSent { cause, channel, over, count }));
            }
            Heard::Holds(holds) => {
                for (key, hold) in holds? {
                    match hold {
                        Some(hold) => _ = self.alarms.holds.insert(key, hold),
                        None => _ = self.alarms.holds.remove(&key),
                    }
                }
                self.alarms.is_stale = true;
            }
        }
        Ok(())
    }

    /// Tells what has been the case for long enough and was not told, and what was told and is over.
    pub(super) fn review_alarms(&mut self) -> Result<(), ProvisionerError> {
        let now = Instant::now();
        if !self.at_tail || self.alarms.next_look().is_none_or(|at| at > now) {
            return Ok(());
        }
        let causes = self.causes(now);
        let told: BTreeSet<(String, String)> = self.store.meta()?.told.into_iter().collect();
        let gather = self.config.notify.gather;
        let Alarms { courier: Some(courier), since, gone, sending, .. } = &mut self.alarms else { return Ok(()) };
        since.retain(|cause, _| causes.contains_key(cause));
        gone.retain(|cause, _| !causes.contains_key(cause) && told.iter().any(|(told, _)| told == cause));
        let mut due = Vec::new();
        let write = |cause: &str, what: Option<&Cause>| notice(&self.config, cause, what);
        for channel in courier.channels() {
            let open = |cause: &String| told.contains(&(cause.clone(), channel.as_str().to_owned()));
            for (cause, what) in causes.iter().filter(|(cause, _)| !open(cause)) {
                let at = *since.entry(cause.clone()).or_insert(now) + gather;
                let key = (cause.clone(), channel);
                if at > now {
                    due.push(at);
                } else if !sending.contains(&key) && courier.send(channel, write(cause, Some(what))) {
                    sending.insert(key);
                }
            }
            let over = told.iter().filter(|(cause, by)| by == channel.as_str() && !causes.contains_key(cause));
            for (cause, _) in over {
                let at = *gone.entry(cause.clone()).or_insert(now) + gather;
                let key = (cause.clone(), channel);
                if at > now {
                    due.push(at);
                } else if !sending.contains(&key) && courier.send(channel, write(cause, None)) {
                    sending.insert(key);
                }
            }
        }
        (self.alarms.is_stale, self.alarms.looked, self.alarms.due) = (false, Some(now), due.into_iter().min());
        Ok(())
    }

    /// What is the case, by its name.
    fn causes(&self, now: Instant) -> BTreeMap<String, Cause> {
        let mut causes = BTreeMap::new();
        let stop = self.denial.lasting(Duration::ZERO, now).or_else(|| self.outage.lasting(Duration::ZERO, now));
        if let Some(said) = self.stop_said {
            let detail = stop.map_or_else(String::new, |(_, detail)| format!(": {detail}"));
            let title = format!("nothing can be written to the tenant{detail}");
            let hint = super::stop::hint(said);
            causes.insert(format!("stopped.{}", name_of(&said)), Cause { title, hint, ..Cause::default() });
        }
        if self.wards.is_quarantined() {
            let Failing { objects: failing, references, of } = self.index.failing;
            let title =
                format!("so much fails that the tenant is written to from time to time only: {failing} of {of}");
            let lines = vec![format!("{references} managers, owners and memberships fail besides")];
            let hint = "forestsync status tells what fails most; it goes on by itself once most of it succeeds";
            causes.insert("quarantine".to_owned(), Cause { title, count: failing, lines, hint, own_hint: None });
        }
        self.resting(&mut causes);
        self.held_back(&mut causes);
        self.drifted_away(&mut causes);
        for ((reason, forest), (detail, hint)) in &self.alarms.holds {
            let own_hint = Some(hint.clone());
            let cause = Cause { title: detail.clone(), own_hint, ..Cause::default() };
            causes.insert(format!("hold.{}.{forest}", name_of(reason)), cause);
        }
        causes
    }

    /// Objects and memberships that rest, by what went wrong.
    fn resting(&self, causes: &mut BTreeMap<String, Cause>) {
        for item in self.index.quarantined.values() {
            let attribute = item.attribute.as_deref().unwrap_or("-");
            let cause = causes.entry(format!("objects.{}.{attribute}", item.code)).or_default();
            cause.count += 1;
            cause.hint = "forestsync status names the objects, what is wrong with each and what to do";
            if cause.lines.len() < NAMED {
                cause.lines.push(format!("{} {}: {}", item.class.as_str(), item.name, name_of(&item.operation)));
            }
            let of = item.attribute.as_ref().map_or_else(String::new, |attribute| format!(", {attribute}"));
            cause.title = format!("{} could not be written too often: {}{of}", objects(cause.count), item.code);
        }
        let edges = self.index.quarantined_edges.len() as u64;
        if edges > 0 {
            let title = format!("{edges} memberships could not be written too often");
            let hint = "forestsync status names the groups, what is wrong with each and what to do";
            causes.insert("memberships".to_owned(), Cause { title, count: edges, hint, ..Cause::default() });
        }
    }

    /// What others did in the tenant and is left as they did it until somebody looks.
    fn drifted_away(&self, causes: &mut BTreeMap<String, Cause>) {
        for item in self.index.drift.values().filter(|item| item.policy == DriftPolicy::Report) {
            let (key, what, place) = match &item.place {
                DriftPlace::Deletion => ("drift.deletions", "deleted", "deleted"),
                DriftPlace::Attribute(name) => ("drift.changes", "changed", name.as_str()),
                DriftPlace::Member(_) => ("drift.changes", "changed", "members"),
            };
            let cause = causes.entry(key.to_owned()).or_default();
            cause.count += 1;
            cause.title = format!("others {what} in the tenant what is managed here: {} found", cause.count);
            cause.hint = "forestsync drift lists what differs; [drift] says what becomes of it";
            if cause.lines.len() < NAMED {
                cause.lines.push(format!("{} {}: {place}", item.class.as_str(), item.name));
            }
        }
    }

    /// What waits for a decision.
    fn held_back(&self, causes: &mut BTreeMap<String, Cause>) {
        for item in self.index.held.values() {
            let operation = name_of(&item.operation);
            let cause = causes.entry(format!("held.{operation}.{}", item.class.as_str())).or_default();
            cause.count += 1;
            cause.hint =
                "forestsync held lists them; forestsync approve lets them go, forestsync reject keeps them back";
            if cause.lines.len() < NAMED {
                cause.lines.push(format!("{} {}: {}", item.class.as_str(), item.name, item.detail));
            }
            let what = match item.operation {
                Operation::RemoveMembers => "groups that would lose members".to_owned(),
                _ => format!("of class {}: {operation}", item.class.as_str()),
            };
            cause.title = format!("{} held until somebody decides, {what}", objects(cause.count));
        }
    }
}

fn notice(config: &crate::ProvisionerConfig, name: &str, cause: Option<&Cause>) -> Notice {
    let (title, count, lines, hint) = match cause {
        Some(Cause { title, count, lines, hint, own_hint }) => {
            let mut lines = lines.clone();
            let more = (*count as usize).saturating_sub(lines.len());
            if more > 0 && !lines.is_empty() && lines.len() == NAMED {
                lines.push(format!("and {more} more"));
            }
            (title.clone(), *count, lines, own_hint.clone().unwrap_or_else(|| (*hint).to_owned()))
        }
        None => (format!("over: {name}"), 0, Vec::new(), String::new()),
    };
    Notice {
        configuration: config.configuration.clone(),
        tenant: config.tenant.tenant_id.clone(),
        cause: name.to_owned(),
        over: cause.is_none(),
        title,
        count,
        lines,
        hint,
        time: clock::now(),
    }
}

/// Reads what holds the projection.
async fn follow(
    stream: StreamName,
    mut reader: Box<dyn LogReader>,
    sender: mpsc::Sender<Result<Holds, ProvisionerError>>,
) {
    loop {
        let heard = match reader.next(CHUNK).await {
            Ok(records) => records
                .iter()
                .map(|record| decode::<DecisionEvent>(&stream, record))
                .filter_map(|record| record.map(|record| hold(record.event)).transpose())
                .collect::<Result<Holds, _>>(),
            Err(error) => Err(error.into()),
        };
        let is_over = heard.is_err();
        let is_quiet = heard.as_ref().is_ok_and(Vec::is_empty);
        if !is_quiet && (sender.send(heard).await.is_err() || is_over) {
            return;
        }
    }
}

fn hold(event: DecisionEvent) -> Option<Hold> {
    match event {
        DecisionEvent::ConfigurationHeld(held) => Some(((held.reason, held.forest), Some((held.detail, held.hint)))),
        DecisionEvent::ConfigurationReleased(released) => Some(((released.reason, released.forest), None)),
        _ => None,
    }
}
