//! Answering questions: on a socket while a projector runs, or from its database when none does.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forestsync_log::{Log, StreamName};
use forestsync_runtime::questions;
use forestsync_schemas::ChangeRecord;
use tokio::net::UnixListener;
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
/// Records that are looked up for one answer.
const MAX_RECORDS: usize = 64;
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a projector may take from its database to its first question.
const BEGINNING: Duration = Duration::from_secs(10);
/// Pause between two looks at whether it takes questions.
const LOOK: Duration = Duration::from_millis(50);

/// Listens for questions. The caller holds the lock of the database.
pub(crate) fn listen(directory: &Path) -> io::Result<UnixListener> {
    questions::listen(directory)
}

/// Takes questions for as long as somebody answers them.
pub(crate) async fn serve(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    let closed = asked.clone();
    let serving = questions::serve(listener, move |line| {
        let asked = asked.clone();
        async move {
            let answer = answer_line(&line, &asked).await;
            serde_json::to_vec(&answer).unwrap_or_default()
        }
    });
    tokio::select! {
        () = serving => {}
        () = closed.closed() => {}
    }
}

async fn answer_line(line: &str, asked: &mpsc::Sender<Asked>) -> Answer {
    match serde_json::from_str::<Query>(line) {
        Ok(query) => {
            let (reply, answer) = oneshot::channel();
            match asked.send((query, reply)).await {
                Ok(()) => answer.await.unwrap_or_else(|_| Answer::Failed("the projector is stopping".into())),
                Err(_) => Answer::Failed("the projector is stopping".into()),
            }
        }
        Err(error) => Answer::Failed(format!("the question is not understood: {error}")),
    }
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

/// Asks the projector that runs on this database to let what [`build`](crate::build) has made take its place. Whether it
/// did; `None` if none runs, or it says nothing within the time there is for an answer.
pub async fn ask_to_take_up(directory: &Path) -> Option<bool> {
    match ask_running(directory, &Query::TakeUp).await? {
        Answer::TakenUp(is_taken) => Some(is_taken),
        _ => None,
    }
}

/// The answer of a running projector; none if there is none, or it says nothing.
async fn ask_running(directory: &Path, query: &Query) -> Option<Answer> {
    let question = serde_json::to_vec(query).ok()?;
    let line = questions::ask(directory, question, PATIENCE).await.ok()?;
    serde_json::from_slice(&line).ok()
}

impl Engine {
    /// The answer to a question, from what is committed.
    pub(crate) fn answer(&self, query: &Query) -> Answer {
        let answer: Result<Answer, ProjectorError> = match query {
            Query::Explain(text) => self.explain(text).map(Answer::Explain).map_err(Into::into),
            Query::Lint(filter) => self.lint(filter).map(Answer::Lint).map_err(Into::into),
            Query::Taken(holders, filter) => self.taken(holders, filter).map(Answer::Lint).map_err(Into::into),
            // the projector's own doing
            Query::TakeUp => Ok(Answer::TakenUp(false)),
            Query::WhatIf(sighting) => self.what_if(sighting).map(|found| Answer::WhatIf(Box::new(found))),
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
