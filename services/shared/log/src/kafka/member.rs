//! Membership by Kafka's group protocol.
//!
//! A thread of its own drives the consumer: rebalances, heartbeats, and about once a second a synchronous commit on what is
//! owned. The commit is what a lease rests on:
//!
//! ```text
//!   t0 = now ─> commit ─ok─> the coordinator saw a living member at t0 or later, and waits a session timeout
//!                            for it from then on: the lease holds until t0 + session timeout - margin
//!                     └─refused─> nothing is renewed; a lease that was not renewed ends by itself
//! ```
//!
//! The commit's metadata is the owner's report. Its offset means nothing, for readers of streams keep their own.
//!
//! What is owned is a table that the thread writes and [`Membership::next`] compares with what it has told: a member
//! that does not ask for a while is told how things are, not how they came to be so.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::mpsc::{self, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use forestsync_runtime::clock;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Duration, Instant, sleep};

use super::Shared;
use super::client::{Context, as_io, log_error, log_line, refuses};
use crate::membership::{Change, Lease, Member, Membership, MembershipError, Report};
use crate::{StreamName, WriterError};

/// How often leases are renewed at the least.
const RENEWAL: Duration = Duration::from_secs(1);

/// How often the thread looks for orders.
const TURN: Duration = Duration::from_millis(50);

/// How often an owner looks whether its leases still hold.
const WATCH: Duration = Duration::from_millis(50);

/// The longest report, in bytes of text.
const REPORT_BYTES: usize = 2048;

/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(10);

/// A place in a group.
pub(super) struct KafkaMember {
    shared: Arc<Shared>,
    member: Member,
    inner: Arc<Inner>,
    orders: SyncSender<Order>,
    /// What [`Membership::next`] has told.
    told: BTreeMap<StreamName, Lease>,
}

/// What the thread and the member share.
struct Inner {
    session: Duration,
    prefix: String,
    /// What the coordinator has assigned, by topic.
    assigned: Mutex<Vec<String>>,
    owned: Mutex<BTreeMap<StreamName, Lease>>,
    reports: Mutex<BTreeMap<StreamName, String>>,
    failure: Mutex<Option<MembershipError>>,
    changed: Notify,
}

enum Order {
    Offer(Vec<String>, oneshot::Sender<Result<(), KafkaError>>),
    Leave(oneshot::Sender<()>),
}

impl fmt::Debug for KafkaMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaMember").field("member", &self.member).field("told", &self.told).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KafkaMember {
    pub(super) fn join(shared: &Arc<Shared>, member: Member) -> Result<Self, MembershipError> {
        let session = member.session_timeout;
        let inner = Arc::new(Inner {
            session,
            prefix: shared.settings.prefix.clone(),
            assigned: Mutex::default(),
            owned: Mutex::default(),
            reports: Mutex::default(),
            failure: Mutex::default(),
            changed: Notify::new(),
        });
        let mut config = shared.settings.client(&member.instance);
        let heartbeat = (session / 6).clamp(Duration::from_millis(100), RENEWAL);
        config
            .set("group.id", shared.settings.named(&member.group))
            .set("session.timeout.ms", session.as_millis().to_string())
            .set("heartbeat.interval.ms", heartbeat.as_millis().to_string())
            .set("max.poll.interval.ms", session.max(Duration::from_secs(30)).as_millis().to_string())
            // Who keeps a stream is not disturbed by who comes and goes, and single partitions are spread evenly.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest");
        let context = MemberContext { context: shared.settings.context(), inner: Arc::clone(&inner) };
        let io = |source| MembershipError::Io { group: member.group.clone(), source };
        let consumer: BaseConsumer<MemberContext> = config.create_with_context(context).map_err(|e| io(as_io(&e)))?;
        let (orders, taken) = mpsc::sync_channel(4);
        let turning = Turning { inner: Arc::clone(&inner), member: member.clone(), consumer };
        std::thread::Builder::new().name("kafka-member".to_owned()).spawn(move || turning.run(&taken)).map_err(io)?;
        Ok(Self { shared: Arc::clone(shared), member, inner, orders, told: BTreeMap::new() })
    }

    fn io(&self, source: io::Error) -> MembershipError {
        MembershipError::Io { group: self.member.group.clone(), source }
    }

    /// The next difference between what is so and what was told.
    fn difference(&mut self) -> Option<Change> {
        let owned = locked(&self.inner.owned);
        let holds = |lease: &Lease| lease.is_valid() && owned.get(lease.stream()).is_some_and(|now| now.is_same(lease));
        if let Some((stream, _)) =
            self.told.extract_if(.., |_, lease| !holds(lease)).next().inspect(|(_, l)| l.revoke())
        {
            return Some(Change::Lost(stream));
        }
        let gained = owned.values().find(|lease| lease.is_valid() && !self.told.contains_key(lease.stream()))?.clone();
        self.told.insert(gained.stream().clone(), gained.clone());
        Some(Change::Gained(gained))
    }
}

#[async_trait]
impl Membership for KafkaMember {
    async fn next(&mut self) -> Result<Change, MembershipError> {
        loop {
            if let Some(change) = self.difference() {
                return Ok(change);
            }
            if let Some(failure) = locked(&self.inner.failure).take() {
                return Err(failure);
            }
            let watched = !self.told.is_empty();
            tokio::select! {
                () = self.inner.changed.notified() => {}
                () = sleep(WATCH), if watched => {}
            }
        }
    }

    async fn offer(&mut self, streams: &[StreamName]) -> Result<(), MembershipError> {
        let mut topics = Vec::new();
        for stream in streams {
            self.shared.ensure_topic(stream).await.map_err(|error| match error {
                WriterError::Io { source, .. } => self.io(source),
                other => MembershipError::Refused { group: self.member.group.clone(), detail: other.to_string() },
            })?;
            topics.push(self.shared.topic(stream));
        }
        let (done, answer) = oneshot::channel();
        let gone = || self.io(io::Error::other("the member has ended"));
        self.orders.try_send(Order::Offer(topics, done)).map_err(|_| gone())?;
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.io(as_io(&error))),
            Err(_) => Err(gone()),
        }
    }

    fn report(&self, stream: &StreamName, report: String) {
        let end = report.floor_char_boundary(REPORT_BYTES);
        let report = report.get(..end).unwrap_or_default().to_owned();
        locked(&self.inner.reports).insert(stream.clone(), report);
    }

    async fn leave(self: Box<Self>) {
        self.inner.revoke_all();
        let (done, left) = oneshot::channel();
        if self.orders.try_send(Order::Leave(done)).is_ok() && tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!(
                group = self.member.group,
                "leaving the group takes too long; the others wait for it to time out"
            );
        }
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.inner.revoke_all();
    }
}

impl Inner {
    fn revoke_all(&self) {
        for (_, lease) in std::mem::take(&mut *locked(&self.owned)) {
            lease.revoke();
        }
        self.changed.notify_one();
    }

    fn stream(&self, topic: &str) -> Option<StreamName> {
        topic.strip_prefix(self.prefix.as_str())?.parse().ok()
    }

    fn fail(&self, failure: MembershipError) {
        *locked(&self.failure) = Some(failure);
        self.changed.notify_one();
    }

    /// A commit that was sent at `sent` has succeeded: what is assigned is owned for a while.
    fn renew(&self, topics: &[String], sent: Instant) {
        let margin = (self.session / 10).max(Duration::from_millis(200));
        let until = sent + self.session.saturating_sub(margin);
        let assigned = locked(&self.assigned);
        let mut owned = locked(&self.owned);
        let still = topics.iter().filter(|topic| assigned.contains(topic));
        for stream in still.filter_map(|topic| self.stream(topic)) {
            match owned.get(&stream) {
                Some(lease) if lease.is_valid() => lease.renew(until),
                ended => {
                    if let Some(lease) = ended {
                        lease.revoke();
                    }
                    owned.insert(stream.clone(), Lease::until(stream, until));
                    self.changed.notify_one();
                }
            }
        }
    }
}

/// What the thread has.
struct Turning {
    inner: Arc<Inner>,
    member: Member,
    consumer: BaseConsumer<MemberContext>,
}

impl Turning {
    fn run(self, orders: &mpsc::Receiver<Order>) {
        let mut due = Instant::now();
        let every = (self.inner.session / 6).min(RENEWAL);
        loop {
            match orders.try_recv() {
                Ok(Order::Offer(topics, done)) => {
                    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
                    let offered = if topics.is_empty() {
                        self.consumer.unsubscribe();
                        Ok(())
                    } else {
                        self.consumer.subscribe(&topics)
                    };
                    done.send(offered).ok();
                }
                Ok(Order::Leave(done)) => {
                    drop(self.consumer);
                    done.send(()).ok();
                    return;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return self.linger(),
            }
            if self.gained() || Instant::now() >= due {
                due = Instant::now() + every;
                self.commit();
            }
            if let Some(Err(error)) = self.consumer.poll(TURN) {
                self.trouble(&error);
            }
        }
    }

    /// Nobody has left in good order: the others wait as long as for a member that died.
    fn linger(self) {
        self.inner.revoke_all();
        let end = Instant::now() + self.inner.session;
        while Instant::now() < end {
            drop(self.consumer.poll(TURN));
        }
    }

    /// Whether something is assigned that is not owned yet.
    fn gained(&self) -> bool {
        let assigned = locked(&self.inner.assigned);
        let owned = locked(&self.inner.owned);
        assigned.iter().filter_map(|topic| self.inner.stream(topic)).any(|stream| !owned.contains_key(&stream))
    }

    /// Commits on all that is assigned, and renews the leases where that succeeds.
    fn commit(&self) {
        let topics = locked(&self.inner.assigned).clone();
        if topics.is_empty() {
            return;
        }
        let list = match self.reports(&topics) {
            Ok(list) => list,
            Err(error) => return self.trouble(&error),
        };
        let sent = Instant::now();
        match self.consumer.commit(&list, CommitMode::Sync) {
            // Once thrown out of its group, the client would commit as somebody who is in none, and that may succeed.
            Ok(()) if self.consumer.assignment_lost() => {}
            Ok(()) => self.inner.renew(&topics, sent),
            Err(error) => self.trouble(&error),
        }
    }

    fn reports(&self, topics: &[String]) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        let reports = locked(&self.inner.reports);
        for topic in topics {
            list.add_partition_offset(topic, 0, Offset::Offset(0))?;
            let text = self.inner.stream(topic).and_then(|stream| reports.get(&stream).cloned()).unwrap_or_default();
            let report = Report { instance: self.member.instance.clone(), time: clock::now(), text };
            let metadata = serde_json::to_string(&report).unwrap_or_default();
            if let Some(mut part) = list.find_partition(topic, 0) {
                part.set_metadata(metadata);
            }
        }
        Ok(list)
    }

    fn trouble(&self, error: &KafkaError) {
        let group = &self.member.group;
        let code = error.rdkafka_error_code();
        let refused =
            code.is_some_and(|code| refuses(code) || code == rdkafka::error::RDKafkaErrorCode::InvalidSessionTimeout);
        if refused {
            let detail = format!(
                "{error}; check the account's rights on the group, and the session timeout against \
                the brokers' group.min.session.timeout.ms"
            );
            self.inner.fail(MembershipError::Refused { group: group.clone(), detail });
        } else if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            self.inner.fail(MembershipError::Io { group: group.clone(), source: as_io(error) });
        } else {
            tracing::debug!(group, error = %error, "the group goes on after an error");
        }
    }
}

/// What the consumer of a member calls back, on the member's thread.
struct MemberContext {
    context: Context,
    inner: Arc<Inner>,
}

impl ClientContext for MemberContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let topics: Vec<String> = list.elements().iter().map(|part| part.topic().to_owned()).collect();
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Owned, not read: from its end, and held there.
            let assigned = list
                .set_all_offsets(Offset::End)
                .and_then(|()| consumer.incremental_assign(list))
                .and_then(|()| consumer.pause(list));
            if assigned.is_ok() {
                locked(&self.inner.assigned).extend(topics.iter().cloned());
            }
            assigned
        } else {
            // The leases end before anybody else can be given the streams.
            locked(&self.inner.assigned).retain(|topic| !topics.contains(topic));
            for stream in topics.iter().filter_map(|topic| self.inner.stream(topic)) {
                if let Some(lease) = locked(&self.inner.owned).remove(&stream) {
                    lease.revoke();
                }
            }
            self.inner.changed.notify_one();
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::warn!(error = %error, "a change of the group could not be followed");
        }
    }
}
