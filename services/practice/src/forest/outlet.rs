//! The writing side of a connection: answers go out in whole messages, one writer at a time, as fast as the client
//! reads them and no faster.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapOp, LdapResult};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::codec::encode;
use super::server::Shared;
use super::store::Refusal;

/// Where the answers of one connection go.
pub(crate) struct Outlet {
    writer: Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    shared: Arc<Shared>,
    /// Set when the connection is to be cut.
    pub(crate) cut: CancellationToken,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").finish_non_exhaustive()
    }
}

impl Outlet {
    pub(crate) fn new(writer: Box<dyn AsyncWrite + Send + Unpin>, shared: Arc<Shared>) -> Self {
        Self { writer: Mutex::new(writer), shared, cut: CancellationToken::new() }
    }

    /// Sends whole messages, once the forest is not paused.
    pub(crate) async fn send(&self, messages: &[u8]) -> io::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut paused = self.shared.paused.subscribe();
        // The sender lives as long as the forest, so waiting cannot fail while there is one.
        if paused.wait_for(|paused| !paused).await.is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut writer = self.writer.lock().await;
        writer.write_all(messages).await?;
        writer.flush().await
    }

    /// Sends one message.
    pub(crate) async fn answer(&self, id: i32, op: LdapOp, controls: Vec<LdapControl>) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        encode(&mut buffer, id, op, controls)?;
        self.send(&buffer).await
    }
}

/// A result that says success.
pub(crate) fn success() -> LdapResult {
    LdapResult {
        code: ldap3_proto::LdapResultCode::Success,
        matcheddn: String::new(),
        message: String::new(),
        referral: vec![],
    }
}

/// The result that a refusal is sent as.
pub(crate) fn refused(refusal: Refusal) -> LdapResult {
    LdapResult { code: refusal.code, matcheddn: String::new(), message: refusal.message, referral: vec![] }
}
