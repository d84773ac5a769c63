//! Answering questions: on a socket while a projector runs, or from its database when none does.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forestsync_log::{Log, StreamName};
use forestsync_schemas::ChangeRecord;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::query::{Answer, Explanation, OriginView, Query};
use crate::{ProjectorConfig, ProjectorError, StoreError};

/// A question and where its answer goes.
pub(crate) type Asked = (Query, oneshot::Sender<Answer>);

/// Questions that wait for their turn.
pub(crate) const WAITING: usize = 16;
/// The longest question, in bytes.
const MAX_QUESTION: u64 = 4 * 1024 * 1024;
/// Records that are looked up for one answer.
const MAX_RECORDS: usize = 64;
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a projector may take from its database to its first question.
const BEGINNING: Duration = Duration::from_secs(10);
/// Pause between two looks at whether it takes questions.
const LOOK: Duration = Duration::from_millis(50);

/// The folder of the socket. Its path may be longer than a socket's address can be, so it is gone to by an open handle.
fn folder(directory: &Path) -> PathBuf {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    directory.with_file_name(format!("{name}.query"))
}

/// A path to the socket that is short enough, for as long as the handle lives.
fn address(directory: &Path) -> io::Result<(std::fs::File, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let folder = std::fs::File::open(folder(directory))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/socket", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Listens for questions, in a folder that nobody else may enter. The caller holds the lock of the database.
pub(crate) fn listen(directory: &Path) -> io::Result<UnixListener> {
    let folder = folder(directory);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match std::fs::remove_file(folder.join("socket")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_handle, path) = address(directory)?;
    UnixListener::bind(path)
}

/// Takes questions for as long as somebody answers them.
pub(crate) async fn serve(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    while !asked.is_closed() {
        match listener.accept().await {
            Ok((stream, _)) => {
                let asked = asked.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, asked).await {
                        tracing::debug!(error = %error, "a question was not answered");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "questions cannot be taken");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, asked: mpsc::Sender<Asked>) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(MAX_QUESTION)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Query>(&line) {
        Ok(query) => {
            let (reply, answer) = oneshot::channel();
            match asked.send((query, reply)).await {
                Ok(()) => answer.await.unwrap_or_else(|_| Answer::Failed("the projector is stopping".into())),
                Err(_) => Answer::Failed("the projector is stopping".into()),
            }
        }
        Err(error) => Answer::Failed(format!("the question is not understood: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writing.write_all(&text).await?;
    writing.shutdown().await
}

/// Asks the projector of this database, or the database itself where no projector runs.
pub async fn ask(config: ProjectorConfig, log: Arc<dyn Log>, query: Query) -> Result<Answer, ProjectorError> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask_running(&config.directory, &query).await {
            return Ok(answer);
        }
        match ask_database(&config, &log, &query).await {
            // a projector that has just begun has the database before it takes questions
            Err(ProjectorError::Store(StoreError::Locked(_))) if begun.elapsed() < BEGINNING => {
                tokio::time::sleep(LOOK).await;
            }
            answered => return answered,
        }
    }
}

async fn ask_database(config: &ProjectorConfig, log: &Arc<dyn Log>, query: &Query) -> Result<Answer, ProjectorError> {
    if !config.directory.exists() {
        return Err(StoreError::Missing(config.directory.clone()).into());
    }
    let plan = crate::config::Plan::new(config.clone())?;
    let (directory, query) = (config.directory.clone(), query.clone());
    let work = move || {
        crate::projector::catch(&directory, || {
            let engine = Engine::open_for_questions(plan)?;
            Ok(engine.answer(&query))
        })
    };
    let answer =
        spawn_blocking(work).await.unwrap_or_else(|_| Err(ProjectorError::Ended(config.configuration.clone())))?;
    Ok(with_origins(log, answer).await)
}

/// The answer of a running projector; none if there is none, or it says nothing.
async fn ask_running(directory: &Path, query: &Query) -> Option<Answer> {
    let talk = async {
        let (_handle, path) = address(directory)?;
        let (reading, mut writing) = UnixStream::connect(path).await?.into_split();
        let mut question = serde_json::to_vec(query)?;
        question.push(b'\n');
        writing.write_all(&question).await?;
        let mut line = Vec::new();
        BufReader::new(reading).read_until(b'\n', &mut line).await?;
        Ok::<_, io::Error>(serde_json::from_slice(&line)?)
    };
    tokio::time::timeout(PATIENCE, talk).await.ok()?.ok()
}

impl Engine {
    /// The answer to a question, from what is committed.
    pub(crate) fn answer(&self, query: &Query) -> Answer {
        let answer = match query {
            Query::Explain(text) => self.explain(text).map(Answer::Explain),
            Query::Lint(filter) => self.lint(filter).map(Answer::Lint),
            Query::Taken(holders, filter) => self.taken(holders, filter).map(Answer::Lint),
        };
        answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }
}

/// The answer with what the log says of the records that it names.
pub(crate) async fn with_origins(log: &Arc<dyn Log>, mut answer: Answer) -> Answer {
    let Answer::Explain(explanations) = &mut answer else { return answer };
    let mut known: BTreeMap<(String, u64), OriginView> = BTreeMap::new();
    let mut wanted: Vec<(String, u64)> = Vec::new();
    for explanation in explanations.iter_mut() {
        each_origin(explanation, |stream, origin| wanted.push((stream.into(), origin.offset)));
    }
    wanted.sort();
    wanted.dedup();
    for (stream, offset) in wanted.into_iter().take(MAX_RECORDS) {
        if let Some(origin) = look_up(log, &stream, offset).await {
            known.insert((stream, offset), origin);
        }
    }
    for explanation in explanations {
        each_origin(explanation, |stream, origin| {
            if let Some(found) = known.get(&(stream.to_owned(), origin.offset)) {
                *origin = found.clone();
            }
        });
    }
    answer
}

fn each_origin(explanation: &mut Explanation, mut look: impl FnMut(&str, &mut OriginView)) {
    for object in &mut explanation.objects {
        if let Some(image) = &mut object.image {
            look(&object.stream, image);
        }
    }
    for input in explanation.attributes.iter_mut().flat_map(|attribute| &mut attribute.inputs) {
        look(&input.stream, &mut input.origin);
    }
}

/// What a record of a `changes` stream says of itself; none if it cannot be read.
async fn look_up(log: &Arc<dyn Log>, stream: &str, offset: u64) -> Option<OriginView> {
    let stream: StreamName = stream.parse().ok()?;
    let records = log.reader(&stream, offset).await.ok()?.poll(1).await.ok()?;
    let record = records.first().filter(|record| record.offset == offset)?;
    let decoded = ChangeRecord::decode(&record.value).ok()?;
    Some(OriginView {
        offset,
        time: Some(decoded.time.to_string()),
        controller: decoded.context.controller.map(|controller| controller.dns_name),
        usn: decoded.context.usn_changed.map(|usn| usn.0),
    })
}
