//! What can go wrong, per operation. Messages hold names, codes and what the server said; never a value, a cookie or a
//! password.

use std::io;
use std::time::Duration;

use forestsync_domain::{Dn, DnError, GuidError};
use forestsync_log::{AppendError, ReadError, StreamName, WriterError};
use forestsync_schemas::changes::StopCause;

use crate::config::ConfigError;
use crate::control::ControlError;
use crate::frame::{FrameError, seconds};
use crate::kerberos::KerberosError;
use crate::locate::LocateError;
use crate::results;

/// Why a collector ended. What a directory does never ends it; it retries for ever.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another collector took the stream over: this one is a stand-by now and must end.
    #[error("stream {0} was taken over by another collector; this one ends")]
    Fenced(StreamName),
    /// The stream's cursors do not follow one another.
    #[error(
        "stream {stream}: the cursor at offset {offset} does not follow the one before it; two collectors wrote, or a record is missing: restore the stream from a copy"
    )]
    CursorChain {
        /// The stream.
        stream: StreamName,
        /// Where the chain breaks.
        offset: u64,
    },
    /// A record of the stream cannot be understood.
    #[error("stream {stream}: the record at offset {offset} cannot be read: {source}")]
    Record {
        /// The stream.
        stream: StreamName,
        /// Its offset.
        offset: u64,
        /// Why.
        #[source]
        source: forestsync_schemas::DecodeError,
    },
    /// The stream cannot be written, and will not be by waiting.
    #[error(transparent)]
    Writer(WriterError),
    /// The stream is damaged.
    #[error(transparent)]
    Read(ReadError),
    /// The name of a stream is not legal.
    #[error("naming context {naming_context} gives no stream name: {source}")]
    StreamName {
        /// The naming context.
        naming_context: Dn,
        /// Why.
        #[source]
        source: forestsync_log::StreamNameError,
    },
}

impl CollectorError {
    /// Whether the same may succeed later without anybody's doing.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Writer(error) => error.is_retryable(),
            Self::Read(error) => !matches!(error, ReadError::Damaged { .. }),
            _ => false,
        }
    }
}

/// Why a single pass did not come to its end. What was written before is durable, and the next pass goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError {
    /// It must not be tried again without somebody's doing.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// The directory cannot be read now. Retryable, as the hint says.
    #[error("naming context {naming_context}: {detail}; {hint}")]
    Stopped {
        /// What was being read; empty while the naming contexts were being sought.
        naming_context: Dn,
        /// Why.
        cause: StopCause,
        /// What was seen.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// The log cannot be written now, such as because another collector writes the stream. Retryable.
    #[error("naming context {naming_context}: {detail}")]
    Log {
        /// What was being read.
        naming_context: Dn,
        /// What the log said.
        detail: String,
    },
    /// It was told to stop. Retryable.
    #[error("the pass was interrupted")]
    Interrupted,
}

impl OnceError {
    pub(crate) fn of(naming_context: Dn, trouble: Trouble) -> Self {
        let (detail, hint) = (trouble.to_string(), trouble.hint().to_owned());
        match (trouble.cause(), trouble) {
            (_, Trouble::Fatal(error)) => Self::Collector(*error),
            (Some(cause), _) => Self::Stopped { naming_context, cause, detail, hint },
            (None, _) => Self::Log { naming_context, detail },
        }
    }
}

/// Why there is no session with a controller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name does not resolve. Retryable.
    #[error("{host} does not resolve: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// No TCP connection. Retryable.
    #[error("{host} cannot be reached: {source}")]
    Tcp {
        /// The controller.
        host: String,
        /// What the network said.
        #[source]
        source: io::Error,
    },
    /// A step took too long. Retryable.
    #[error("{host}: no answer to {step} within {}", seconds(*after))]
    TimedOut {
        /// The controller.
        host: String,
        /// Which step.
        step: &'static str,
        /// The limit.
        after: Duration,
    },
    /// There are no certificates to trust. Not retryable without a change of configuration.
    #[error("no trusted certificates in {place}: {detail}")]
    Roots {
        /// A file, or the system's store.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The controller's certificate is not trusted, or carries another name.
    #[error("the certificate of {host} is not accepted: {detail}")]
    Certificate {
        /// The name it was checked against.
        host: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The TLS handshake failed otherwise. Retryable.
    #[error("{host}: TLS failed: {source}")]
    Tls {
        /// The controller.
        host: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The controller does not do StartTLS.
    #[error("{host} refuses StartTLS with code {code}: {text}")]
    StartTls {
        /// The controller.
        host: String,
        /// The result code.
        code: u32,
        /// Its diagnostic text.
        text: String,
    },
    /// The account or its password is refused.
    #[error("{host} refuses the account {account} with code {code}: {text}")]
    Refused {
        /// The controller.
        host: String,
        /// The account's name.
        account: String,
        /// The result code.
        code: u32,
        /// Its diagnostic text.
        text: String,
    },
    /// The password is empty; nothing was sent.
    #[error("{host}: the password of {account} is empty and was not sent")]
    EmptyPassword {
        /// The controller.
        host: String,
        /// The account's name.
        account: String,
    },
    /// There is no Kerberos credential, or the controller does not take it.
    #[error("{host}: {fault}")]
    Kerberos {
        /// The controller.
        host: String,
        /// What is wrong.
        #[source]
        fault: KerberosError,
    },
    /// The connection ended before the session was there. Retryable.
    #[error("{host}: the connection ended: {reason}")]
    Ended {
        /// The controller.
        host: String,
        /// Why.
        reason: EndReason,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The controller closed it.
    #[error("the controller closed it")]
    Closed,
    /// The network failed.
    #[error("{0}")]
    Network(String),
    /// The controller said that it closes it (RFC 4511 4.4.1).
    #[error("the controller ends it with code {code}: {text}")]
    Notice {
        /// The result code.
        code: u32,
        /// The diagnostic text.
        text: String,
    },
    /// The controller answered a request with an answer of another kind, as Samba does for controls it cannot read.
    #[error("the controller rejects the request with code {code}: {text}")]
    Rejected {
        /// The result code.
        code: u32,
        /// The diagnostic text.
        text: String,
    },
    /// The controller sent what is no LDAP.
    #[error("the controller sent no sound LDAP message: {0}")]
    Frame(#[from] FrameError),
    /// This side ended it.
    #[error("the client ended it")]
    Client,
}

/// Why a search did not give its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The controller was silent for too long. The session is unusable.
    #[error("search of {base:?}: silence for {}", seconds(*after))]
    TimedOut {
        /// The base of the search.
        base: String,
        /// The limit.
        after: Duration,
    },
    /// The connection ended. The session is unusable.
    #[error("search of {base:?}: the connection ended: {reason}")]
    Ended {
        /// The base of the search.
        base: String,
        /// Why.
        reason: EndReason,
    },
    /// The client library refuses the request.
    #[error("search of {base:?} cannot be sent: {detail}")]
    Request {
        /// The base of the search.
        base: String,
        /// Why.
        detail: String,
    },
    /// The controller answered with a result code.
    #[error("search of {base:?}: code {code}: {text}")]
    Result {
        /// The base of the search.
        base: String,
        /// The code (RFC 4511 appendix A).
        code: u32,
        /// The diagnostic text.
        text: String,
    },
    /// An entry cannot be understood.
    #[error(transparent)]
    Entry(#[from] DecodeError),
}

/// Why an entry cannot be understood. Not retryable: the entry will be the same next time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The entry is not of the form of RFC 4511 4.5.2.
    #[error("an entry has no sound {0}")]
    Shape(&'static str),
    /// The name cannot be read.
    #[error("the name {name:?} of an entry cannot be read: {source}")]
    Name {
        /// As it came, cut.
        name: String,
        /// Why.
        #[source]
        source: DnError,
    },
    /// An attribute that every entry must have is missing.
    #[error("object {object}: the attribute {attribute} is missing")]
    Missing {
        /// The object's name.
        object: Dn,
        /// The attribute.
        attribute: &'static str,
    },
    /// A GUID does not have sixteen bytes.
    #[error("object {object}: the attribute {attribute} is no GUID: {source}")]
    Guid {
        /// The object's name.
        object: Dn,
        /// The attribute.
        attribute: String,
        /// Why.
        #[source]
        source: GuidError,
    },
    /// A value of link syntax does not name its target by GUID.
    #[error("object {object}: a value of {attribute} has no readable GUID")]
    Link {
        /// The object's name.
        object: Dn,
        /// The attribute.
        attribute: String,
    },
    /// An attribute option that is not understood; its values mean something else than the attribute's.
    #[error("object {object}: the attribute {attribute} has an option that is not understood")]
    Option {
        /// The object's name.
        object: Dn,
        /// The attribute with its option.
        attribute: String,
    },
    /// A single value that must be of a certain form is not.
    #[error("object {object}: the value of {attribute} cannot be read")]
    Value {
        /// The object's name.
        object: Dn,
        /// The attribute.
        attribute: &'static str,
    },
}

/// What ends a session with a controller and makes the collector try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Locate(#[from] LocateError),
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("naming context {naming_context}: {source}")]
    Control { naming_context: Dn, source: ControlError },
    #[error("{host}: the rootDSE lacks {attribute}, or it cannot be read")]
    RootDse { host: String, attribute: &'static str },
    #[error("{host} holds no naming context {naming_context}")]
    NotHosted { host: String, naming_context: Dn },
    #[error("the schema under {0:?} shows none of the attributes that are read")]
    Schema(String),
    #[error("naming context {naming_context}: the account can no longer read {what}")]
    Blind { naming_context: Dn, what: &'static str },
    #[error("naming context {naming_context}: the cookie is refused with code {code}: {text}")]
    CookieRefused { naming_context: Dn, code: u32, text: String },
    #[error("object {object}: a record of {size} bytes is too large for the log; its largest attribute is {attribute}")]
    TooLarge { object: String, size: usize, attribute: String },
    #[error("an event cannot be written as JSON: {0}")]
    Json(#[source] serde_json::Error),
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Writer(WriterError),
    #[error(transparent)]
    ReadLog(ReadError),
    #[error(transparent)]
    Fatal(Box<CollectorError>),
}

impl From<CollectorError> for Trouble {
    fn from(error: CollectorError) -> Self {
        Self::Fatal(Box::new(error))
    }
}

impl Trouble {
    /// What kind of cause it is, `None` where the directory has no part in it.
    pub(crate) fn cause(&self) -> Option<StopCause> {
        Some(match self {
            Self::Connect(error) => match error {
                ConnectError::Roots { .. } | ConnectError::Certificate { .. } => StopCause::Certificate,
                ConnectError::Refused { code, text, .. } => results::of_bind(*code, text).cause,
                ConnectError::EmptyPassword { .. } => StopCause::Credentials,
                ConnectError::Kerberos { fault, .. } => fault.cause(),
                ConnectError::Ended { reason: EndReason::Notice { code, .. }, .. } => results::of_notice(*code).cause,
                ConnectError::StartTls { code, .. } if !results::is_busy(*code) => StopCause::Protocol,
                ConnectError::Ended { reason: EndReason::Frame(_) | EndReason::Rejected { .. }, .. } => {
                    StopCause::Protocol
                }
                _ => StopCause::Unreachable,
            },
            Self::Search(SearchError::Result { code, .. }) => results::of_search(*code).cause,
            Self::Locate(_) | Self::Search(SearchError::TimedOut { .. }) => StopCause::Unreachable,
            Self::Search(SearchError::Ended { reason, .. }) => match reason {
                EndReason::Frame(_) | EndReason::Rejected { .. } => StopCause::Protocol,
                EndReason::Notice { code, .. } => results::of_notice(*code).cause,
                _ => StopCause::Unreachable,
            },
            Self::Blind { .. } => StopCause::Rights,
            Self::NotHosted { .. } => StopCause::NamingContext,
            Self::Search(_)
            | Self::Decode(_)
            | Self::Control { .. }
            | Self::RootDse { .. }
            | Self::Schema(_)
            | Self::CookieRefused { .. }
            | Self::TooLarge { .. }
            | Self::Json(_) => StopCause::Protocol,
            Self::Append(_) | Self::Writer(_) | Self::ReadLog(_) | Self::Fatal(_) => return None,
        })
    }

    /// Whether it may pass by itself so soon that nobody should be told at the first time.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Search(SearchError::TimedOut { .. } | SearchError::Ended { .. }) | Self::CookieRefused { .. } => true,
            Self::Search(SearchError::Result { code, .. }) => results::of_search(*code).passing,
            _ => false,
        }
    }

    /// What a person can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "remove that attribute from `attributes`, or values from the object",
            Self::Search(SearchError::Result { code, .. }) => results::of_search(*code).hint,
            Self::Connect(ConnectError::Refused { code, text, .. }) => results::of_bind(*code, text).hint,
            Self::Connect(ConnectError::Kerberos { fault, .. }) => fault.hint(),
            Self::Connect(ConnectError::Ended { reason: EndReason::Notice { code, .. }, .. })
            | Self::Search(SearchError::Ended { reason: EndReason::Notice { code, .. }, .. }) => {
                results::of_notice(*code).hint
            }
            Self::Locate(error) => error.hint(),
            Self::Blind { .. } => {
                "give the account back the right to read the naming context; a full read follows by itself"
            }
            other => other.cause().map_or("see the log's storage", hint_for),
        }
    }
}

/// What a person can do about a cause.
pub(crate) fn hint_for(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Unreachable => {
            "check name, port and firewall from this machine to the controllers; retried by itself"
        }
        StopCause::Certificate => {
            "give the issuing certificate as `ca_file`, and a controller name that its certificate carries"
        }
        StopCause::Credentials => {
            "check the account's name, password, lock and expiry; after a new password restart the collector"
        }
        StopCause::Rights => "give the account the right to read the naming context",
        StopCause::NamingContext => "check `domains` against the naming contexts that the controllers hold",
        StopCause::Protocol => "the controller answers what cannot be used; report it with this message",
    }
}
