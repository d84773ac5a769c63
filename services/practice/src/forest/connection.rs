//! One connection: TLS, binds, and the requests that follow.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use ldap3_proto::DisconnectionNotice;
use ldap3_proto::LdapResultCode as Rc;
use ldap3_proto::proto::{LdapBindCred, LdapBindRequest, LdapBindResponse, LdapExtendedResponse, LdapOp, LdapResult};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use super::codec::{Request, Requests, encode};
use super::dn::fold;
use super::outlet::{Outlet, refused, success};
use super::request::Controls;
use super::search::{Search, Session};
use super::server::{Counters, Shared};
use super::store::Refusal;
use super::write;

const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many searches one connection may have under way.
const SEARCHES_MAX: usize = 64;

/// Serves a connection until either side ends it, the forest stops, or all connections are cut.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, tls: bool) {
    let mut cuts = shared.cuts.subscribe();
    let stop = shared.stop.clone();
    Counters::add(&shared.counters.connections, 1);
    tokio::select! {
        () = stop.cancelled() => {}
        _ = cuts.changed() => {}
        result = talk(shared, stream, tls) => {
            if let Err(error) = result {
                tracing::debug!(error = %error, "a connection to the practice forest ended");
            }
        }
    }
}

async fn talk(shared: Arc<Shared>, mut stream: TcpStream, tls: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !tls && !plain(&shared, &mut stream).await? {
        return Ok(());
    }
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls));
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    secured(shared, stream).await
}

/// The time before StartTLS: the rootDSE can be read, everything else is refused. True when TLS is to start.
async fn plain(shared: &Arc<Shared>, stream: &mut TcpStream) -> io::Result<bool> {
    let (reader, mut writer) = stream.split();
    let mut requests = FramedRead::new(reader, Requests::new());
    while let Some(request) = requests.next().await {
        let Request { id, op, .. } = request?;
        let mut out = BytesMut::new();
        match op {
            LdapOp::ExtendedRequest(request) if request.name == START_TLS => {
                encode(&mut out, id, extended(success(), Some(START_TLS)), vec![])?;
                writer.write_all(&out).await?;
                // A client that sent more than the request before it had the answer is not to be trusted.
                return Ok(requests.read_buffer().is_empty());
            }
            LdapOp::UnbindRequest => return Ok(false),
            LdapOp::AbandonRequest(_) => continue,
            LdapOp::SearchRequest(search) if search.base.is_empty() => {
                let entry = super::root_dse::entry(&shared.read(), &search.attrs);
                encode(&mut out, id, LdapOp::SearchResultEntry(entry), vec![])?;
                encode(&mut out, id, LdapOp::SearchResultDone(success()), vec![])?;
            }
            LdapOp::BindRequest(bind) if !is_anonymous(&bind) => {
                let refusal = Refusal::new(Rc::StrongerAuthRequired, "BindSimple: Transport encryption required.");
                encode(&mut out, id, bound(refused(refusal)), vec![])?;
            }
            LdapOp::BindRequest(_) => encode(&mut out, id, bound(success()), vec![])?,
            op => {
                let message = "000004DC: Operation unavailable without authentication";
                let refusal = Refusal::new(Rc::OperationsError, message);
                let Some(answer) = write::answer_to(&op, refused(refusal)) else { return Ok(false) };
                encode(&mut out, id, answer, vec![])?;
            }
        }
        writer.write_all(&out).await?;
    }
    Ok(false)
}

/// The time under TLS.
async fn secured<S>(shared: Arc<Shared>, stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let outlet = Outlet::new(Box::new(writer), Arc::clone(&shared));
    let session = Arc::new(Session::new(Arc::clone(&shared), outlet));
    let mut requests = FramedRead::new(reader, Requests::new());
    let mut state =
        State { session: Arc::clone(&session), account: None, searches: JoinSet::new(), open: HashMap::new() };
    loop {
        let request = tokio::select! {
            () = session.outlet.cut.cancelled() => return Ok(()),
            Some(done) = state.searches.join_next(), if !state.searches.is_empty() => {
                if let Ok(id) = done {
                    state.open.remove(&id);
                }
                continue;
            }
            request = requests.next() => request,
        };
        match request {
            None => return Ok(()),
            Some(Err(error)) => {
                let notice = DisconnectionNotice::gen_response(Rc::ProtocolError, "the request could not be read");
                session.outlet.answer(0, notice.op, vec![]).await?;
                return Err(error);
            }
            Some(Ok(request)) => {
                if !state.take(request).await? {
                    return Ok(());
                }
            }
        }
    }
}

struct State {
    session: Arc<Session>,
    account: Option<usize>,
    /// Each returns the message id that it answered.
    searches: JoinSet<i32>,
    open: HashMap<i32, CancellationToken>,
}

impl State {
    /// Handles one request; false when the connection is to end.
    async fn take(&mut self, request: Request) -> io::Result<bool> {
        let Request { id, op, controls } = request;
        let outlet = &self.session.outlet;
        match op {
            LdapOp::UnbindRequest => return Ok(false),
            LdapOp::AbandonRequest(other) => {
                if let Some(search) = self.open.get(&other) {
                    search.cancel();
                }
            }
            LdapOp::BindRequest(request) => {
                let result = self.bind(&request);
                self.session.outlet.answer(id, bound(result), vec![]).await?;
            }
            LdapOp::SearchRequest(request) => match Controls::read(&controls) {
                Err(refusal) => {
                    outlet.answer(id, LdapOp::SearchResultDone(refused(refusal)), vec![]).await?;
                }
                Ok(_) if self.searches.len() >= SEARCHES_MAX => {
                    let refusal = Refusal::new(Rc::Busy, "too many searches are under way on this connection");
                    outlet.answer(id, LdapOp::SearchResultDone(refused(refusal)), vec![]).await?;
                }
                Ok(controls) => {
                    let abandoned = CancellationToken::new();
                    self.open.insert(id, abandoned.clone());
                    let search = Search { id, request, controls, account: self.account, abandoned };
                    let session = Arc::clone(&self.session);
                    self.searches.spawn(async move {
                        session.search(search).await;
                        id
                    });
                }
            },
            op => {
                let result = write::handle(&self.session.shared, self.account, &op, &controls);
                let Some(answer) = write::answer_to(&op, result) else { return Ok(false) };
                outlet.answer(id, answer, vec![]).await?;
            }
        }
        Ok(true)
    }

    /// A simple bind; the text of a refusal is the one that AD's clients know.
    fn bind(&mut self, request: &LdapBindRequest) -> LdapResult {
        self.account = None;
        let wrong = || {
            let message = "80090308: AcceptSecurityContext error, data 52e, v1db1";
            refused(Refusal::new(Rc::InvalidCredentials, message))
        };
        if is_anonymous(request) {
            return success();
        }
        let LdapBindCred::Simple(password) = &request.cred else {
            return refused(Refusal::new(Rc::AuthMethodNotSupported, "only simple binds are supported"));
        };
        let shared = &self.session.shared;
        if let Some(refusal) = shared.take_bind_refusal() {
            Counters::add(&shared.counters.refused_binds, 1);
            return refused(refusal);
        }
        let found = shared.accounts().iter().position(|account| {
            account.options.password == *password && names(shared, &account.options.name, &request.dn)
        });
        match found.filter(|_| !password.is_empty()) {
            None => {
                Counters::add(&shared.counters.refused_binds, 1);
                wrong()
            }
            Some(at) => {
                self.account = Some(at);
                Counters::add(&shared.counters.binds, 1);
                success()
            }
        }
    }
}

/// True when `given` is the DN of the account, its principal name, or `DOMAIN\name`.
fn names(shared: &Shared, account: &str, given: &str) -> bool {
    let store = shared.read();
    let given_folded = fold(given);
    if given_folded == fold(&format!("{account}@{}", store.names.dns_domain))
        || given_folded == fold(&format!("{}\\{account}", store.names.netbios))
    {
        return true;
    }
    matches!(store.resolve(given), Ok(Some(id)) if store.by_account(account) == Some(id))
}

fn is_anonymous(request: &LdapBindRequest) -> bool {
    request.dn.is_empty() && matches!(&request.cred, LdapBindCred::Simple(password) if password.is_empty())
}

fn bound(res: LdapResult) -> LdapOp {
    LdapOp::BindResponse(LdapBindResponse { res, saslcreds: None })
}

fn extended(res: LdapResult, name: Option<&str>) -> LdapOp {
    LdapOp::ExtendedResponse(LdapExtendedResponse { res, name: name.map(ToOwned::to_owned), value: None })
}
