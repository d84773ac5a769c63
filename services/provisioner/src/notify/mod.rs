//! Telling people what they must know without looking: by webhook, by mail.
//!
//! The engine says what is the case; each channel has a task of its own that delivers one notice after the other and
//! repeats each until it is taken, so that a mail server that is down holds nothing up. What was delivered is an outcome,
//! so that nobody is told twice of the same, whatever process tells.

mod mail;
mod webhook;

pub(crate) use webhook::post;

use std::path::PathBuf;
use std::time::Duration;

use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::secret::SecretRef;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::engine::jitter;

/// Notices of one channel that wait.
const WAITING: usize = 64;
/// Deliveries that are waiting to be taken note of.
const HEARD: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Who is told, and how. Without a channel nobody is.
#[derive(Debug, Clone)]
pub struct NotifyConfig {
    /// How long something is the case before it is told, so that what comes together is told together.
    pub gather: Duration,
    /// By a request to somebody's endpoint.
    pub webhook: Option<WebhookConfig>,
    /// By mail.
    pub mail: Option<MailConfig>,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self { gather: Duration::from_mins(1), webhook: None, mail: None }
    }
}

/// An endpoint that takes notices as JSON.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Where its address is kept: for many services whoever knows it may write.
    pub url: SecretRef,
    /// Where the key is that its requests are signed with.
    pub key: Option<SecretRef>,
    /// The folder that places are relative to.
    pub base: PathBuf,
    /// Certificate authorities in PEM to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
}

/// How a mail server is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the beginning (RFC 8314).
    Implicit,
    /// STARTTLS, which must succeed (RFC 3207).
    Starttls,
    /// None: to a server on this machine only.
    None,
}

/// A mail server and who gets mails.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its TLS.
    pub tls: MailTls,
    /// The sender's address.
    pub from: String,
    /// Who gets them.
    pub to: Vec<String>,
    /// Who logs in, with the place of the password.
    pub login: Option<(String, SecretRef)>,
    /// The folder that places are relative to.
    pub base: PathBuf,
    /// Certificate authorities in PEM to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
}

/// A way to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Channel {
    Webhook,
    Mail,
}

impl Channel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Mail => "mail",
        }
    }
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Notice {
    /// The configuration it is about.
    pub configuration: String,
    /// The tenant that it writes.
    pub tenant: String,
    /// What it is about; the same as long as it lasts.
    pub cause: String,
    /// It is over.
    pub over: bool,
    /// In one line.
    pub title: String,
    /// How many objects it concerns, where it concerns objects.
    pub count: u64,
    /// Some of them, and what was seen.
    pub lines: Vec<String>,
    /// What to do.
    pub hint: String,
    /// When it was written.
    pub time: Timestamp,
}

impl Notice {
    /// All of it, for people.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![self.title.clone()];
        lines.extend(self.lines.iter().map(|line| format!("  {line}")));
        if !self.hint.is_empty() {
            lines.extend([String::new(), self.hint.clone()]);
        }
        lines.extend([String::new(), format!("forestsync, configuration {}, {}", self.configuration, self.time)]);
        lines.join("\n")
    }
}

/// Whether it is a mail address, with or without a name before it.
pub(crate) fn is_mailbox(text: &str) -> bool {
    mail::mailbox("", text).is_ok()
}

/// A notice that was taken.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub cause: String,
    pub channel: Channel,
    pub over: bool,
    pub count: u64,
}

/// Why a notice was not delivered; it is repeated. Names the key, never a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error("notify.{0}")]
    Secret(#[from] forestsync_runtime::secret::SecretError),
    #[error("notify.{key} {problem}")]
    Setting { key: &'static str, problem: String },
    #[error("the webhook answers {0}")]
    Refused(u16),
    #[error("the webhook cannot be reached: {0}")]
    Unreached(String),
    #[error("the mail server: {0}")]
    Mail(String),
}

/// An error with what led to it.
fn with_cause(error: &dyn std::error::Error) -> String {
    let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
    format!("{error}{source}")
}

/// Takes notices to the channels.
#[derive(Debug)]
pub(crate) struct Courier {
    channels: Vec<(Channel, mpsc::Sender<Notice>)>,
    heard: mpsc::Receiver<Delivered>,
    /// One task for each channel; they end with this.
    _tasks: JoinSet<()>,
}

impl Courier {
    /// One for the channels that there are.
    pub(crate) fn new(config: &NotifyConfig) -> Self {
        let (say, heard) = mpsc::channel(HEARD);
        let (mut channels, mut tasks) = (Vec::new(), JoinSet::new());
        let ways = [config.webhook.clone().map(Way::Webhook), config.mail.clone().map(Way::Mail)];
        for way in ways.into_iter().flatten() {
            let (sender, notices) = mpsc::channel(WAITING);
            channels.push((way.channel(), sender));
            tasks.spawn(deliver(way, notices, say.clone()));
        }
        Self { channels, heard, _tasks: tasks }
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = Channel> + '_ {
        self.channels.iter().map(|(channel, _)| *channel)
    }

    /// Whether the channel has room for the notice and takes it to people.
    pub(crate) fn send(&self, channel: Channel, notice: Notice) -> bool {
        let sender = self.channels.iter().find(|(c, _)| *c == channel);
        sender.is_some_and(|(_, sender)| sender.try_send(notice).is_ok())
    }

    /// The next one that was delivered; nothing if there is no channel.
    pub(crate) async fn next(&mut self) -> Option<Delivered> {
        self.heard.recv().await
    }
}

/// A channel with all it takes.
#[derive(Debug)]
enum Way {
    Webhook(WebhookConfig),
    Mail(MailConfig),
}

impl Way {
    fn channel(&self) -> Channel {
        match self {
            Self::Webhook(_) => Channel::Webhook,
            Self::Mail(_) => Channel::Mail,
        }
    }

    async fn send(&self, notice: &Notice) -> Result<(), DeliveryError> {
        match self {
            Self::Webhook(config) => webhook::send(config, notice).await,
            Self::Mail(config) => mail::send(config, notice).await,
        }
    }
}

/// Delivers one after the other, each until it is taken.
async fn deliver(way: Way, mut notices: mpsc::Receiver<Notice>, say: mpsc::Sender<Delivered>) {
    let (channel, mut backoff) = (way.channel(), Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
    while let Some(notice) = notices.recv().await {
        while let Err(error) = way.send(&notice).await {
            let pause = jitter(backoff.next_delay());
            tracing::warn!(channel = channel.as_str(), %error, cause = notice.cause, retry_in = ?pause, "nobody could be told");
            tokio::time::sleep(pause).await;
        }
        backoff.reset();
        let Notice { cause, over, count, .. } = notice;
        if say.send(Delivered { cause, channel, over, count }).await.is_err() {
            return;
        }
    }
}
