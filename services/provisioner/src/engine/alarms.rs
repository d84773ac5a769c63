//! What people are told: each cause once by each channel when it begins, and once when it is over.
//!
//! The causes are what the engine knows anyway, and what holds the projection of the configuration. What was told stands
//! in the outcomes, so that neither a restart nor another process tells it again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use forestsync_log::{Log, Record, StreamName};
use forestsync_rules::quarantine::Failing;
use forestsync_runtime::clock;
use forestsync_schemas::decisions::{DecisionEvent, HoldReason};
use forestsync_schemas::outcomes::{DriftPolicy, NotificationSent, Operation, OutcomeEvent};
use forestsync_schemas::streams;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Engine;
use super::decisions::follow;
use crate::error::{ProvisionerError, decode};
use crate::notify::{Channel, Courier, Delivered, Notice};
use crate::status::{DriftItem, DriftPlace, name_of};

/// Looks at the causes are this far apart at least.
const BETWEEN: Duration = Duration::from_millis(500);
/// Objects that are named.
const NAMED: usize = 20;
/// Chunks of decisions that wait to be taken.
const WAITING: usize = 4;

/// What holds the projection, by reason and forest, with what was seen and what to do; nothing once it is released.
type Hold = (HoldKey, Option<(String, String)>);
/// Reason, forest and key of the naming context, if it is about one.
type HoldKey = (HoldReason, String, Option<String>);
type Holds = Vec<Hold>;

/// Something that people are told of.
#[derive(Debug, Default)]
struct Cause {
    title: String,
    count: u64,
    lines: Vec<String>,
    hint: Cow<'static, str>,
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
    holds: BTreeMap<HoldKey, (String, String)>,
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

fn objects(count: u64) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

/// What is of one kind, together.
fn gathered<'a, K: Ord, T>(all: impl Iterator<Item = &'a T>, key: impl Fn(&'a T) -> K) -> BTreeMap<K, Vec<&'a T>> {
    let mut kinds = BTreeMap::<K, Vec<&T>>::new();
    for one in all {
        kinds.entry(key(one)).or_default().push(one);
    }
    kinds
}

impl Cause {
    /// One about these, of which some are named.
    fn about<T>(
        items: &[&T],
        line: impl Fn(&T) -> String,
        title: impl FnOnce(u64) -> String,
        hint: &'static str,
    ) -> Self {
        let count = items.len() as u64;
        let mut lines: Vec<String> = items.iter().take(NAMED).map(|item| line(item)).collect();
        if items.len() > NAMED {
            lines.push(format!("and {} more", items.len() - NAMED));
        }
        Self { title: title(count), count, lines, hint: hint.into() }
    }
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
        self.alarms.follower.spawn(follow(reader, sender, move |records| holds(&stream, &records)));
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
        for channel in courier.channels() {
            let was_told = |cause: &String| told.contains(&(cause.clone(), channel.as_str().to_owned()));
            let begun = causes.iter().filter(|(cause, _)| !was_told(cause)).map(|(cause, what)| (cause, Some(what)));
            let over = told.iter().filter(|(cause, by)| by == channel.as_str() && !causes.contains_key(cause));
            for (cause, what) in begun.chain(over.map(|(cause, _)| (cause, None))) {
                let times = if what.is_some() { &mut *since } else { &mut *gone };
                let at = *times.entry(cause.clone()).or_insert(now) + gather;
                let key = (cause.clone(), channel);
                if at > now {
                    due.push(at);
                } else if !sending.contains(&key) && courier.send(channel, notice(&self.config, cause, what)) {
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
            let hint = super::stop::hint(said).into();
            causes.insert(format!("stopped.{}", name_of(&said)), Cause { title, hint, ..Cause::default() });
        }
        if self.wards.is_quarantined() {
            let Failing { objects: count, references, of } = self.index.failing;
            let title = format!("so much fails that the tenant is written to from time to time only: {count} of {of}");
            let lines = vec![format!("{references} managers, owners and memberships fail besides")];
            let hint = "forestsync status tells what fails most; it goes on by itself once most of it succeeds".into();
            causes.insert("quarantine".to_owned(), Cause { title, count, lines, hint });
        }
        self.resting(&mut causes);
        self.held_back(&mut causes);
        self.drifted_away(&mut causes);
        for ((reason, forest, _), (detail, hint)) in &self.alarms.holds {
            let new = || Cause { title: detail.clone(), hint: hint.clone().into(), ..Cause::default() };
            let cause = causes.entry(format!("hold.{}.{forest}", name_of(reason))).or_insert_with(new);
            // of several naming contexts of a forest
            if cause.title != *detail {
                cause.lines.push(detail.clone());
            }
        }
        causes
    }

    /// Objects and memberships that rest, by what went wrong.
    fn resting(&self, causes: &mut BTreeMap<String, Cause>) {
        let kinds = gathered(self.index.quarantined.values(), |item| (item.code.as_str(), item.attribute.as_deref()));
        for ((code, attribute), items) in kinds {
            let of = attribute.map_or_else(String::new, |attribute| format!(", {attribute}"));
            let cause = Cause::about(
                &items,
                |item| format!("{} {}: {}", item.class.as_str(), item.name, name_of(&item.operation)),
                |count| format!("{} could not be written too often: {code}{of}", objects(count)),
                "forestsync status names the objects, what is wrong with each and what to do",
            );
            causes.insert(format!("objects.{code}.{}", attribute.unwrap_or("-")), cause);
        }
        let count = self.index.quarantined_edges.len() as u64;
        if count > 0 {
            let title = format!("{count} memberships could not be written too often");
            let hint = "forestsync status names the groups, what is wrong with each and what to do".into();
            causes.insert("memberships".to_owned(), Cause { title, count, hint, ..Cause::default() });
        }
    }

    /// What others did in the tenant and is left as they did it until somebody looks.
    fn drifted_away(&self, causes: &mut BTreeMap<String, Cause>) {
        let reported = self.index.drift.values().filter(|item| item.policy == DriftPolicy::Report);
        for (is_deletion, items) in gathered(reported, |item| item.place == DriftPlace::Deletion) {
            let (key, what) = if is_deletion { ("drift.deletions", "deleted") } else { ("drift.changes", "changed") };
            let place = |item: &DriftItem| match &item.place {
                DriftPlace::Deletion => "deleted".to_owned(),
                DriftPlace::Attribute(name) => name.clone(),
                DriftPlace::Member(_) => "members".to_owned(),
            };
            let cause = Cause::about(
                &items,
                |item| format!("{} {}: {}", item.class.as_str(), item.name, place(item)),
                |count| format!("others {what} in the tenant what is managed here: {count} found"),
                "forestsync drift lists what differs; [drift] says what becomes of it",
            );
            causes.insert(key.to_owned(), cause);
        }
    }

    /// What waits for a decision.
    fn held_back(&self, causes: &mut BTreeMap<String, Cause>) {
        for ((operation, class), items) in gathered(self.index.held.values(), |item| (item.operation, item.class)) {
            let (name, class) = (name_of(&operation), class.as_str());
            let what = match operation {
                Operation::RemoveMembers => "groups that would lose members".to_owned(),
                _ => format!("of class {class}: {name}"),
            };
            let cause = Cause::about(
                &items,
                |item| format!("{class} {}: {}", item.name, item.detail),
                |count| format!("{} held until somebody decides, {what}", objects(count)),
                "forestsync held lists them; forestsync approve lets them go, forestsync reject keeps them back",
            );
            causes.insert(format!("held.{name}.{class}"), cause);
        }
    }
}

fn notice(config: &crate::ProvisionerConfig, name: &str, cause: Option<&Cause>) -> Notice {
    Notice {
        configuration: config.configuration.clone(),
        tenant: config.tenant.tenant_id.clone(),
        cause: name.to_owned(),
        over: cause.is_none(),
        title: cause.map_or_else(|| format!("over: {name}"), |cause| cause.title.clone()),
        count: cause.map_or(0, |cause| cause.count),
        lines: cause.map(|cause| cause.lines.clone()).unwrap_or_default(),
        hint: cause.map(|cause| cause.hint.to_string()).unwrap_or_default(),
        time: clock::now(),
    }
}

/// What of these records holds the projection, or does no more.
fn holds(stream: &StreamName, records: &[Record]) -> Result<Option<Holds>, ProvisionerError> {
    let decoded = records.iter().map(|record| decode::<DecisionEvent>(stream, record));
    let holds = decoded.filter_map(|record| record.map(|record| hold(record.event)).transpose());
    let holds = holds.collect::<Result<Holds, _>>()?;
    Ok(Some(holds).filter(|holds| !holds.is_empty()))
}

fn hold(event: DecisionEvent) -> Option<Hold> {
    match event {
        DecisionEvent::ConfigurationHeld(held) => {
            let key = (held.reason, held.forest, held.naming_context.map(|root| root.key()));
            Some((key, Some((held.detail, held.hint))))
        }
        DecisionEvent::ConfigurationReleased(released) => {
            Some(((released.reason, released.forest, released.naming_context.map(|root| root.key())), None))
        }
        _ => None,
    }
}
