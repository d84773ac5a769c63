//! Where other commands ask a running pipeline: on a socket beside its data folder, which only its own account may open.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use forestsync_collector::{CollectorHandle, TakeError, Taken};
use forestsync_domain::{Dn, ObjectGuid, SourceAnchor};
use forestsync_provisioner::{Excerpt, ExcerptQuery, ProvisionerHandle};
use forestsync_runtime::questions;
use forestsync_schemas::sighting::News;
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

/// A question, or a wish.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Takes an object in.
    TakeIn {
        /// The forest's configured name.
        forest: String,
        /// The naming context.
        naming_context: Dn,
        /// The object.
        object: ObjectGuid,
        /// What of it is news.
        news: News,
    },
    /// What the ledger says of objects.
    Excerpt(ExcerptQuery),
    /// Tries what failed of an object again now.
    Retry(SourceAnchor),
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was taken in.
    Taken(Taken),
    /// It was not.
    NotTaken(TakeError),
    /// What the ledger says.
    Excerpt(Box<Excerpt>),
    /// Whether there was anything to be tried.
    Retried(bool),
    /// Nothing is written to the tenant, and no ledger is open.
    Staging,
    /// There is none, and why.
    Failed(String),
}

/// Whom questions are about.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    /// By the forests' names.
    pub(super) collectors: Vec<(String, CollectorHandle)>,
    /// None in staging.
    pub(super) provisioner: Option<ProvisionerHandle>,
}

fn place(data: &Path) -> PathBuf {
    data.join("run")
}

impl Desk {
    /// Answers until the handle is dropped. The caller holds the lock of the data folder. Without a socket everything goes
    /// on; nobody can ask.
    pub(super) fn open(self, data: &Path) -> Option<AbortOnDropHandle<()>> {
        let listener = match questions::listen(&place(data)) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(error = %error, "forestsync sync-object cannot reach this process");
                return None;
            }
        };
        let served = questions::serve(listener, move |line| {
            let desk = self.clone();
            async move {
                let answer = match serde_json::from_str(&line) {
                    Ok(question) => desk.answer(question).await,
                    Err(error) => Answer::Failed(format!("the question is not understood: {error}")),
                };
                serde_json::to_vec(&answer).unwrap_or_default()
            }
        });
        Some(AbortOnDropHandle::new(tokio::spawn(served)))
    }

    async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::TakeIn { forest, naming_context, object, news } => {
                let Some((_, collector)) = self.collectors.iter().find(|(name, _)| *name == forest) else {
                    return Answer::NotTaken(TakeError::NotRead(naming_context));
                };
                match collector.take_in(&naming_context, object, news).await {
                    Ok(taken) => Answer::Taken(taken),
                    Err(error) => Answer::NotTaken(error),
                }
            }
            Question::Excerpt(query) => {
                let Some(provisioner) = &self.provisioner else { return Answer::Staging };
                let excerpt = provisioner.excerpt(query).await;
                excerpt.map_or_else(ended, |excerpt| Answer::Excerpt(Box::new(excerpt)))
            }
            Question::Retry(anchor) => {
                let Some(provisioner) = &self.provisioner else { return Answer::Staging };
                provisioner.retry(anchor).await.map_or_else(ended, Answer::Retried)
            }
        }
    }
}

fn ended() -> Answer {
    Answer::Failed("the provisioner is stopping".to_owned())
}

/// Asks the pipeline that works on this data folder; nothing if none does.
pub async fn ask(data: &Path, question: &Question, patience: Duration) -> Result<Option<Answer>> {
    let line = match questions::ask(&place(data), serde_json::to_vec(question)?, patience).await {
        Ok(line) => line,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => {
            let what = || format!("forestsync run on {} does not answer", data.display());
            return Err(error).with_context(what);
        }
    };
    match serde_json::from_slice(&line).context("the answer of forestsync run")? {
        Answer::Failed(why) => bail!("forestsync run: {why}"),
        answer => Ok(Some(answer)),
    }
}
