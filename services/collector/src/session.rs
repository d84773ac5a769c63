//! A session with one controller: connected, secured, bound, with a time limit on every wait.
//!
//! A session on which a search failed or was left unfinished MUST be dropped: entries that nobody consumes would fill the
//! pump's window for ever. Dropping a session closes the connection. One search at a time is read; entries of another one
//! that come meanwhile are passed over.

use std::fmt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forestsync_domain::{Dn, InvocationId, ObjectGuid, Usn};
use ldap3::controls::{Control, RawControl};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchOptions, SearchStream, StdStream};
use rustls::ClientConfig;
use secrecy::ExposeSecret as _;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{ControllerAddress, ForestConfig};
use crate::control;
use crate::entry::Entry;
use crate::error::{ConnectError, EndReason, SearchError, Trouble};
use crate::frame::{self, op};
use crate::gate::Gate;
use crate::kerberos;
use crate::pump::{self, Chunk, Flow, WINDOW_BYTES};
use crate::transport::{self, Secured};

/// What a controller says about itself (MS-ADTS 3.1.1.3.2).
#[derive(Debug, Clone)]
pub(crate) struct RootDse {
    pub(crate) dns_host_name: String,
    pub(crate) default_naming_context: Dn,
    pub(crate) naming_contexts: Vec<Dn>,
    pub(crate) schema_naming_context: String,
    pub(crate) configuration_naming_context: String,
    pub(crate) supports_dirsync: bool,
}

/// A search to be made.
#[derive(Debug, Clone)]
pub(crate) struct Query<'a> {
    pub(crate) base: &'a str,
    pub(crate) scope: Scope,
    pub(crate) filter: &'a str,
    pub(crate) attributes: Vec<String>,
    pub(crate) controls: Vec<RawControl>,
    /// The most entries wanted; 0 for all.
    pub(crate) size_limit: i32,
}

/// A bound connection.
pub(crate) struct Session {
    ldap: Ldap,
    flow: Arc<Flow>,
    entries: Arc<Mutex<mpsc::UnboundedReceiver<Chunk>>>,
    host: String,
    operation_timeout: Duration,
    first_entry_timeout: Duration,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, secures and binds.
    pub(crate) async fn open(
        config: &ForestConfig,
        gate: &Gate,
        to: &ControllerAddress,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, ConnectError> {
        let stream = Box::pin(transport::connect(to, tls, config.connect_timeout)).await?;
        Box::pin(gate.bind(stream, to, config)).await
    }

    /// Binds on a connection that nothing was sent on yet.
    pub(crate) async fn bound(
        mut stream: Secured,
        to: &ControllerAddress,
        config: &ForestConfig,
    ) -> Result<Self, ConnectError> {
        if let Some(account) = &config.kerberos {
            Box::pin(kerberos::bind(&mut stream, to, account, config.connect_timeout)).await?;
            return Self::over(stream, to, config).await;
        }
        let mut session = Self::over(stream, to, config).await?;
        session.bind(config).await?;
        Ok(session)
    }

    /// Connects and secures; the account is not yet known there.
    pub(crate) async fn connect(
        config: &ForestConfig,
        to: &ControllerAddress,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, ConnectError> {
        let stream = Box::pin(transport::connect(to, tls, config.connect_timeout)).await?;
        Self::over(stream, to, config).await
    }

    /// Gives the connection to the LDAP client.
    async fn over(stream: Secured, to: &ControllerAddress, config: &ForestConfig) -> Result<Self, ConnectError> {
        let local = |source| ConnectError::Tcp { host: to.host.clone(), source };
        let (outer, inner) = StdUnixStream::pair().map_err(local)?;
        inner.set_nonblocking(true).map_err(local)?;
        let inner = UnixStream::from_std(inner).map_err(local)?;
        let flow = Arc::new(Flow::new(WINDOW_BYTES));
        let shared = Arc::clone(&flow);
        let (sender, entries) = mpsc::unbounded_channel(); // bounded by the room in the pump's window
        let pumping = tokio::spawn(async move { pump::run(stream, inner, sender, &shared).await });
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(outer));
        let library = |error: LdapError| ConnectError::Ended {
            host: to.host.clone(),
            reason: EndReason::Network(frame::diagnostic(&error.to_string())),
        };
        let (connection, ldap) = LdapConnAsync::with_settings(settings, "ldapi://pump").await.map_err(library)?;
        let driving = tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "an LDAP connection ended");
            }
        });
        Ok(Self {
            ldap,
            flow,
            entries: Arc::new(Mutex::new(entries)),
            host: to.host.clone(),
            operation_timeout: config.operation_timeout,
            first_entry_timeout: config.first_entry_timeout,
            _tasks: [AbortOnDropHandle::new(pumping), AbortOnDropHandle::new(driving)],
        })
    }

    /// Binds by name and password. An empty password is refused before it is sent: RFC 4513 5.1.2 makes it an anonymous
    /// bind that succeeds.
    async fn bind(&mut self, config: &ForestConfig) -> Result<(), ConnectError> {
        let (host, account) = (self.host.clone(), config.bind_name.clone());
        let password = config.password.expose_secret();
        if password.is_empty() {
            return Err(ConnectError::EmptyPassword { host, account });
        }
        let limit = config.connect_timeout;
        let result = timeout(limit, self.ldap.simple_bind(&config.bind_name, password))
            .await
            .map_err(|_| ConnectError::TimedOut { host: host.clone(), step: "the bind", after: limit })?
            .map_err(|error| ConnectError::Ended { host: host.clone(), reason: self.end_reason(&error) })?;
        match result.rc {
            0 => Ok(()),
            code => Err(ConnectError::Refused { host, account, code, text: frame::diagnostic(&result.text) }),
        }
    }

    fn end_reason(&self, error: &LdapError) -> EndReason {
        self.flow.end().unwrap_or_else(|| EndReason::Network(frame::diagnostic(&error.to_string())))
    }

    /// Sends a search. Its answer must be read to the end before the next one is sent.
    pub(crate) async fn search(&mut self, query: Query<'_>) -> Result<Answer, SearchError> {
        let base = query.base.to_owned();
        self.ldap.with_search_options(SearchOptions::new().sizelimit(query.size_limit));
        if !query.controls.is_empty() {
            self.ldap.with_controls(query.controls);
        }
        let sending = self.ldap.streaming_search(query.base, query.scope, query.filter, query.attributes);
        let mut stream = match timeout(self.operation_timeout, sending).await {
            Err(_) => return Err(SearchError::TimedOut { base, after: self.operation_timeout }),
            Ok(Err(error @ (LdapError::FilterParsing | LdapError::AdapterInit(_)))) => {
                return Err(SearchError::Request { base, detail: error.to_string() });
            }
            Ok(Err(error)) => return Err(SearchError::Ended { base, reason: self.end_reason(&error) }),
            Ok(Ok(stream)) => stream,
        };
        let id = i64::from(stream.ldap_handle().last_id());
        Ok(Answer {
            stream,
            id,
            done: false,
            chunk: None,
            rest: Bytes::new(),
            entries: Arc::clone(&self.entries),
            flow: Arc::clone(&self.flow),
            base,
            patience: self.first_entry_timeout,
            later: self.operation_timeout,
        })
    }

    /// Reads all entries of a small answer, at most `most`. A size limit that cut it is no error.
    pub(crate) async fn collect(&mut self, query: Query<'_>, most: usize) -> Result<Vec<Entry>, SearchError> {
        let base = query.base.to_owned();
        let mut answer = self.search(query).await?;
        answer.patience = self.operation_timeout;
        let mut entries = Vec::new();
        while let Some(entry) = answer.next().await? {
            if entries.len() < most {
                entries.push(entry);
            }
        }
        match answer.finish().await {
            Outcome { code: 0 | 4, .. } => Ok(entries),
            Outcome { code, text, .. } => Err(SearchError::Result { base, code, text }),
        }
    }

    /// Reads one object, `None` if it is not there or not visible.
    pub(crate) async fn read(
        &mut self,
        base: &str,
        attributes: &[&str],
        controls: Vec<RawControl>,
    ) -> Result<Option<Entry>, SearchError> {
        let query = Query {
            base,
            scope: Scope::Base,
            filter: "(objectClass=*)",
            attributes: attributes.iter().map(ToString::to_string).collect(),
            controls,
            size_limit: 0,
        };
        match self.collect(query, 1).await {
            Ok(entries) => Ok(entries.into_iter().next()),
            Err(SearchError::Result { code: 32, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads what the controller says about itself.
    pub(crate) async fn root_dse(&mut self) -> Result<RootDse, Trouble> {
        const NAMES: [&str; 6] = [
            "dnsHostName",
            "defaultNamingContext",
            "namingContexts",
            "schemaNamingContext",
            "configurationNamingContext",
            "supportedControl",
        ];
        let entry = self.read("", &NAMES, Vec::new()).await?;
        let missing = |attribute| Trouble::RootDse { host: self.host.clone(), attribute };
        let entry = entry.ok_or_else(|| missing("everything"))?;
        let text = |attribute: &'static str| entry.text(attribute).ok_or_else(|| missing(attribute));
        let name = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<Dn>().ok());
        Ok(RootDse {
            dns_host_name: text("dnsHostName")?.to_ascii_lowercase(),
            default_naming_context: text("defaultNamingContext")?
                .parse()
                .map_err(|_| missing("defaultNamingContext"))?,
            naming_contexts: entry.values("namingContexts").filter_map(name).collect(),
            schema_naming_context: text("schemaNamingContext")?.to_owned(),
            configuration_naming_context: text("configurationNamingContext")?.to_owned(),
            supports_dirsync: entry.values("supportedControl").any(|oid| oid == control::DIRSYNC.as_bytes()),
        })
    }

    /// highestCommittedUSN and the name of the controller's settings object, read afresh.
    pub(crate) async fn usn(&mut self) -> Result<(Usn, String), Trouble> {
        let entry = self.read("", &["highestCommittedUSN", "dsServiceName"], Vec::new()).await?;
        let missing = |attribute| Trouble::RootDse { host: self.host.clone(), attribute };
        let entry = entry.ok_or_else(|| missing("everything"))?;
        let usn = entry.text("highestCommittedUSN").and_then(|text| text.parse().ok());
        let service = entry.text("dsServiceName").ok_or_else(|| missing("dsServiceName"))?;
        // some servers write the name in its extended form
        let service = service.rsplit_once(">;").map_or(service, |(_, name)| name);
        Ok((Usn(usn.ok_or_else(|| missing("highestCommittedUSN"))?), service.to_owned()))
    }

    /// invocationId of the settings object.
    pub(crate) async fn invocation_id(&mut self, service: &str) -> Result<InvocationId, Trouble> {
        let entry = self.read(service, &["invocationId"], Vec::new()).await?;
        let value = entry.as_ref().and_then(|entry| entry.values("invocationId").next());
        value
            .and_then(|bytes| ObjectGuid::from_slice(bytes).ok())
            .map(InvocationId)
            .ok_or_else(|| Trouble::RootDse { host: self.host.clone(), attribute: "invocationId" })
    }
}

/// The result of a search that came to its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: u32,
    pub(crate) text: String,
    pub(crate) controls: Vec<Control>,
}

/// The entries of a search as they come.
pub(crate) struct Answer {
    stream: SearchStream<'static, String, Vec<String>>,
    /// The message id of the search.
    id: i64,
    /// The result is here; what is still in the channel is all there is.
    done: bool,
    /// Holds the room that `rest` takes.
    chunk: Option<Chunk>,
    /// Messages not yet looked at.
    rest: Bytes,
    entries: Arc<Mutex<mpsc::UnboundedReceiver<Chunk>>>,
    flow: Arc<Flow>,
    base: String,
    /// The longest silence before the next entry.
    patience: Duration,
    /// The longest silence after the first one.
    later: Duration,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Answer {
    /// Bears so long a silence, before the first entry and after it.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self.later = patience;
        self
    }

    /// The next entry, `None` at the end. References to other naming contexts are passed over. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Entry>, SearchError> {
        loop {
            while !self.rest.is_empty() {
                if let Some(body) = self.take() {
                    self.patience = self.later;
                    return Ok(Some(Entry::parse(body)?));
                }
            }
            self.chunk = None;
            if !self.refill().await? {
                return Ok(None);
            }
        }
    }

    /// Takes the next message: the content of an entry of this search, or nothing.
    fn take(&mut self) -> Option<Bytes> {
        // the pump lets sound messages pass only, so none of this fails
        let length = frame::message_length(&self.rest).ok().flatten().unwrap_or(self.rest.len());
        let bytes = self.rest.split_to(length.min(self.rest.len()));
        let message = frame::message_unchecked(&bytes).ok()?;
        (message.op == op::SEARCH_ENTRY && message.id == self.id).then(|| bytes.slice_ref(message.body))
    }

    /// Waits for the next chunk. False when there will be none.
    async fn refill(&mut self) -> Result<bool, SearchError> {
        let mut since = Instant::now();
        let entries = Arc::clone(&self.entries);
        let mut entries = entries.lock().await;
        loop {
            if self.done {
                let chunk = entries.try_recv().ok();
                return Ok(self.hold(chunk));
            }
            let open = !entries.is_closed() || !entries.is_empty();
            tokio::select! {
                biased;
                chunk = entries.recv(), if open => if let Some(chunk) = chunk {
                    return Ok(self.hold(Some(chunk)));
                },
                item = self.stream.next() => match item {
                    Ok(None) => self.done = true,
                    Ok(Some(_)) => {} // entries go past the client; it has none to give
                    Err(error) => {
                        let unknown = || EndReason::Network(frame::diagnostic(&error.to_string()));
                        let reason = self.flow.end().unwrap_or_else(unknown);
                        return Err(SearchError::Ended { base: self.base.clone(), reason });
                    }
                },
                () = sleep_until(since + self.patience) => {
                    // a large entry may arrive slowly: only silence counts
                    let last = self.flow.last_byte();
                    if last <= since {
                        return Err(SearchError::TimedOut { base: self.base.clone(), after: self.patience });
                    }
                    since = last;
                }
            }
        }
    }

    fn hold(&mut self, chunk: Option<Chunk>) -> bool {
        self.rest = chunk.as_ref().map(|chunk| chunk.messages.clone()).unwrap_or_default();
        self.chunk = chunk;
        self.chunk.is_some()
    }

    /// The result, after [`Answer::next`] gave `None`.
    pub(crate) async fn finish(mut self) -> Outcome {
        let result = self.stream.finish().await;
        Outcome { code: result.rc, text: frame::diagnostic(&result.text), controls: result.ctrls }
    }
}
