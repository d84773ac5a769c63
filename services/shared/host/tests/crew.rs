//! The loop that keeps one worker for each owned stream: whatever the group says, in whatever order workers end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forestsync_host::{Board, Crew, Post, Timing, WorkerError, Workers};
use forestsync_log::{Change, GroupStatus, Lease, Log, LogReader, LogWriter, Member, Membership, MembershipError};
use forestsync_log::{ReadError, StreamInfo, StreamName, WriterError};
use forestsync_runtime::shutdown::Shutdown;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What the group says, as a test wants it.
type Script = mpsc::UnboundedReceiver<Result<Change, MembershipError>>;

/// A log of which only the group is used.
#[derive(Debug)]
struct Scripted {
    scripts: Mutex<Vec<Script>>,
    left: Arc<Mutex<u32>>,
}

#[derive(Debug)]
struct Place {
    script: Script,
    left: Arc<Mutex<u32>>,
}

#[async_trait]
impl Membership for Place {
    async fn next(&mut self) -> Result<Change, MembershipError> {
        match self.script.recv().await {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    async fn offer(&mut self, _streams: &[StreamName]) -> Result<(), MembershipError> {
        Ok(())
    }

    fn report(&self, _stream: &StreamName, _report: String) {}

    async fn leave(self: Box<Self>) {
        *self.left.lock().unwrap() += 1;
    }
}

#[async_trait]
impl Log for Scripted {
    async fn writer(&self, stream: &StreamName) -> Result<Box<dyn LogWriter>, WriterError> {
        Err(WriterError::Busy(stream.clone()))
    }

    async fn reader(&self, _stream: &StreamName, _from: u64) -> Result<Box<dyn LogReader>, ReadError> {
        panic!("nobody reads")
    }

    async fn tail(&self, _stream: &StreamName) -> Result<u64, ReadError> {
        Ok(0)
    }

    async fn stream_info(&self, _stream: &StreamName) -> Result<StreamInfo, ReadError> {
        panic!("nobody asks")
    }

    async fn create(&self, _streams: &[StreamName]) -> Result<(), WriterError> {
        Ok(())
    }

    async fn streams(&self) -> Result<Vec<StreamName>, ReadError> {
        Ok(Vec::new())
    }

    async fn join(&self, _member: Member) -> Result<Box<dyn Membership>, MembershipError> {
        let script = self.scripts.lock().unwrap().pop();
        match script {
            Some(script) => Ok(Box::new(Place { script, left: Arc::clone(&self.left) })),
            None => std::future::pending().await,
        }
    }

    async fn group(&self, _group: &str) -> Result<GroupStatus, ReadError> {
        Ok(GroupStatus::default())
    }
}

/// What workers do when they are not told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Work until told.
    Work,
    /// End soon, in one way or another.
    Fall,
    /// Never end by themselves, not even when told.
    Stubborn,
}

/// Counts who is at work.
#[derive(Debug)]
struct Counting {
    habit: Habit,
    at_work: Mutex<BTreeMap<StreamName, u32>>,
    wrong: Mutex<Vec<String>>,
    begun: watch::Sender<u32>,
}

/// A worker at work, also if it is aborted.
struct AtWork<'a>(&'a Counting, StreamName);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        *self.0.at_work.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

#[async_trait]
impl Workers for Counting {
    async fn work(&self, lease: Lease, stop: CancellationToken, post: Post) -> Result<(), WorkerError> {
        let stream = lease.stream().clone();
        // one that is lost at this very moment is told of at once
        let told = tokio::time::timeout(Duration::from_secs(5), stop.cancelled());
        if !lease.is_valid() && told.await.is_err() {
            self.wrong.lock().unwrap().push(format!("{stream} without a lease"));
        }
        {
            let mut at_work = self.at_work.lock().unwrap();
            let count = at_work.entry(stream.clone()).or_default();
            *count += 1;
            if *count > 1 {
                self.wrong.lock().unwrap().push(format!("{stream} twice"));
            }
        }
        let _at_work = AtWork(self, stream.clone());
        let nth = { *self.begun.borrow() };
        self.begun.send_modify(|n| *n += 1);
        post.ready();
        match self.habit {
            Habit::Work => stop.cancelled().await,
            Habit::Stubborn => std::future::pending().await,
            Habit::Fall => {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_millis(u64::from(nth % 7))) => return match nth % 4 {
                        0 => Err(WorkerError::fenced("somebody else writes")),
                        1 => Err(WorkerError::retryable("the log is away")),
                        2 => Err(WorkerError::fatal("a bad file")),
                        _ => panic!("a worker breaks down"),
                    },
                }
            }
        }
        // some take a while to end
        tokio::time::sleep(Duration::from_millis(u64::from(nth % 5))).await;
        Ok(())
    }
}

fn timing() -> Timing {
    Timing {
        stop_limit: Duration::from_millis(200),
        retry_first: Duration::from_millis(1),
        retry_longest: Duration::from_millis(4),
        fatal_pause: Duration::from_millis(5),
        recheck: Duration::from_millis(2),
        tick: Duration::from_millis(10),
    }
}

struct Run {
    say: Vec<mpsc::UnboundedSender<Result<Change, MembershipError>>>,
    workers: Arc<Counting>,
    board: Board,
    shutdown: Shutdown,
    left: Arc<Mutex<u32>>,
    task: tokio::task::JoinHandle<()>,
}

fn start(habit: Habit, memberships: usize) -> Run {
    let (mut say, mut scripts) = (Vec::new(), Vec::new());
    for _ in 0..memberships {
        let (sender, script) = mpsc::unbounded_channel();
        say.push(sender);
        scripts.insert(0, script);
    }
    let left = Arc::new(Mutex::new(0));
    let log = Arc::new(Scripted { scripts: Mutex::new(scripts), left: Arc::clone(&left) });
    let workers =
        Arc::new(Counting { habit, at_work: Mutex::default(), wrong: Mutex::default(), begun: watch::Sender::new(0) });
    let board = Board::default();
    let member = Member { group: "projector".into(), instance: "a".into(), session_timeout: Duration::from_secs(6) };
    let (_offer, offers) = watch::channel(Vec::new());
    let crew = Crew {
        service: "projector",
        log,
        member,
        offers,
        workers: Arc::clone(&workers),
        board: board.clone(),
        timing: timing(),
    };
    let shutdown = Shutdown { stop: CancellationToken::new(), abort: CancellationToken::new() };
    let signals = shutdown.clone();
    let task = tokio::spawn(async move { Box::pin(crew.run(&signals)).await });
    Run { say, workers, board, shutdown, left, task }
}

impl Run {
    async fn begun(&self, at_least: u32) {
        let mut begun = self.workers.begun.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), begun.wait_for(|n| *n >= at_least)).await;
        waited.expect("workers begin").unwrap();
    }

    async fn end(self) {
        self.shutdown.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it ends").unwrap();
        assert_eq!(self.workers.wrong.lock().unwrap().as_slice(), <[String; 0]>::default());
        assert!(self.workers.at_work.lock().unwrap().values().all(|n| *n == 0), "nobody is left at work");
        assert_eq!(*self.left.lock().unwrap(), 1, "the group was left, once");
    }
}

fn stream(n: usize) -> StreamName {
    format!("decisions.c{n}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_for_each_stream_whatever_the_group_says() {
    for seed in 0..12_u64 {
        for habit in [Habit::Work, Habit::Fall] {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let run = start(habit, 1);
            let mut leases: BTreeMap<usize, Lease> = BTreeMap::new();
            for _ in 0..60 {
                let n = rng.random_range(0..3);
                if let Some(lease) = leases.remove(&n) {
                    // sometimes the lease ends before the group says so
                    lease.revoke();
                    if rng.random_bool(0.5) {
                        tokio::task::yield_now().await;
                    }
                    run.say[0].send(Ok(Change::Lost(stream(n)))).unwrap();
                } else {
                    let lease = Lease::forever(stream(n));
                    leases.insert(n, lease.clone());
                    run.say[0].send(Ok(Change::Gained(lease))).unwrap();
                }
                if rng.random_bool(0.3) {
                    let pause = Duration::from_millis(rng.random_range(0..4));
                    // the moment of the next change is what is random here
                    tokio::time::sleep(pause).await;
                }
            }
            println!("seed {seed} {habit:?}: {} workers", *run.workers.begun.borrow());
            run.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_lease_nobody_begins() {
    let run = start(Habit::Work, 1);
    let over = Lease::forever(stream(0));
    over.revoke();
    run.say[0].send(Ok(Change::Gained(over))).unwrap();
    run.say[0].send(Ok(Change::Gained(Lease::forever(stream(1))))).unwrap();
    run.begun(1).await;
    assert_eq!(run.workers.at_work.lock().unwrap().keys().collect::<Vec<_>>(), [&stream(1)]);
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_falls_is_started_again_while_the_lease_is_valid() {
    let run = start(Habit::Fall, 1);
    let lease = Lease::forever(stream(0));
    run.say[0].send(Ok(Change::Gained(lease.clone()))).unwrap();
    run.begun(9).await;
    lease.revoke();
    run.say[0].send(Ok(Change::Lost(stream(0)))).unwrap();
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_stop_is_aborted_and_the_next_one_begins_after_it() {
    let run = start(Habit::Stubborn, 1);
    let first = Lease::forever(stream(0));
    run.say[0].send(Ok(Change::Gained(first.clone()))).unwrap();
    run.begun(1).await;
    first.revoke();
    run.say[0].send(Ok(Change::Lost(stream(0)))).unwrap();
    run.say[0].send(Ok(Change::Gained(Lease::forever(stream(0))))).unwrap();
    run.begun(2).await;
    assert_eq!(run.workers.wrong.lock().unwrap().as_slice(), <[String; 0]>::default());
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_ends_ends_its_workers_and_is_had_anew() {
    let run = start(Habit::Work, 2);
    let first = Lease::forever(stream(0));
    run.say[0].send(Ok(Change::Gained(first.clone()))).unwrap();
    run.begun(1).await;
    let source = std::io::Error::other("the brokers are away");
    run.say[0].send(Err(MembershipError::Io { group: "projector".into(), source })).unwrap();
    run.say[1].send(Ok(Change::Gained(Lease::forever(stream(0))))).unwrap();
    run.begun(2).await;
    assert!(!first.is_valid(), "what an ended membership gave is worth nothing");
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_tells_what_is_waited_for() {
    let run = start(Habit::Work, 1);
    let patience = async {
        while !run.board.readiness().ok {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), patience).await.expect("a stand-by is ready");
    assert!(run.board.health().ok && run.board.readiness().streams.is_empty());
    run.board.trouble("log", Some("no broker answers".into()));
    assert_eq!(run.board.readiness().reasons, ["log: no broker answers"]);
    run.board.trouble("log", None);
    run.say[0].send(Ok(Change::Gained(Lease::forever(stream(0))))).unwrap();
    run.begun(1).await;
    let patience = async {
        while !run.board.readiness().ok || run.board.readiness().streams.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), patience).await.expect("the worker says it is ready");
    run.end().await;
}
