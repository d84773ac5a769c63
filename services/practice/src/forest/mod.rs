//! The practice forest: an LDAP server that behaves as an Active Directory domain controller does towards a directory
//! synchronizer.
//!
//! It speaks LDAP over TCP with StartTLS and over TLS (LDAPS), with simple binds, searches, DirSync, change
//! notification and writes, and keeps everything in memory. Where Samba and Windows differ it does as Samba does, with
//! the exception of what Samba lacks: it pages DirSync answers (MoreResults), ordinary searches (MaxPageSize) and
//! multi-valued attributes (MaxValRange), as Windows does.
//!
//! Faults, rights, backups and bulk loads are behind [`ForestControl`].
//!
//! Not there: SASL binds, the global catalog, security descriptors, more than one controller, the Recycle Bin.

mod add;
mod codec;
mod connection;
mod control;
mod dirsync;
mod dn;
mod filter;
mod modify;
mod object;
mod options;
mod outlet;
mod relocate;
mod request;
mod root_dse;
mod schema;
mod search;
mod seed;
mod server;
mod store;
mod text;
mod view;
mod write;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::tls::PrivateCa;

pub use control::{Backup, ForestControl, LiveObject};
pub use dn::escape_rdn;
pub use options::{AccountOptions, ForestOptions};
pub use server::ForestCounters;
pub use store::Refusal;

use server::Shared;

/// How many connections are served at a time; more wait.
const CONNECTIONS_MAX: usize = 512;

/// The rights of the reader account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Replicating Directory Changes on the domain: DirSync without the OBJECT_SECURITY flag.
    pub may_dirsync: bool,
    /// Reads the container of deleted objects, and so sees tombstones.
    pub sees_deleted: bool,
    /// Reads the objects of the domain. Without it searches succeed and find nothing.
    pub reads_objects: bool,
}

impl Rights {
    /// What a synchronizer wants.
    pub const FULL: Self = Self { may_dirsync: true, sees_deleted: true, reads_objects: true };
}

/// A running practice forest. It stops when it is dropped.
#[derive(Debug)]
pub struct PracticeForest {
    shared: Arc<Shared>,
    ldap: SocketAddr,
    ldaps: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl PracticeForest {
    /// Binds both ports and starts to answer. Fails when a port is taken or the base is not the root of a domain.
    pub async fn start(options: ForestOptions, ca: &PrivateCa) -> anyhow::Result<Self> {
        let tls = ca.server_config(&[&options.host, "localhost", "127.0.0.1"], &[])?;
        let beginning = seed::Plan {
            base: &options.base,
            host: &options.host,
            netbios: options.name.to_uppercase(),
            other_domains: &options.other_domains,
            seed: options.seed,
            now: server::now(),
            accounts: vec![&options.admin.name, &options.reader.name],
        };
        let (directory, random) = seed::plant(&beginning)?;
        let plain = listen(options.listen_ldap).await?;
        let secure = listen(options.listen_ldaps).await?;
        let (ldap, ldaps) = (plain.local_addr()?, secure.local_addr()?);
        let shared = Arc::new(Shared::new(options, tls, directory, random));
        let tasks = vec![
            tokio::spawn(accept(Arc::clone(&shared), plain, false)),
            tokio::spawn(accept(Arc::clone(&shared), secure, true)),
        ];
        Ok(Self { shared, ldap, ldaps, tasks })
    }

    /// Where LDAPS listens.
    pub fn ldaps_addr(&self) -> SocketAddr {
        self.ldaps
    }

    /// Where plain LDAP with StartTLS listens.
    pub fn ldap_addr(&self) -> SocketAddr {
        self.ldap
    }

    /// The root of the domain.
    pub fn base(&self) -> &str {
        &self.shared.options.base
    }

    /// How the forest was set up.
    pub fn options(&self) -> &ForestOptions {
        &self.shared.options
    }

    /// The handle for everything that LDAP does not offer.
    pub fn control(&self) -> ForestControl {
        ForestControl { shared: Arc::clone(&self.shared) }
    }

    /// Stops listening, cuts all connections, and waits until both have happened.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        for task in self.tasks.drain(..) {
            // A listener that panicked has stopped as well.
            let _stopped = task.await;
        }
    }
}

impl Drop for PracticeForest {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; choose another port"))
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: bool) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(Arc::clone(&shared), stream, tls));
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the practice forest could not accept a connection");
                    tokio::task::yield_now().await;
                }
            },
        }
    }
    // Each connection sees the same signal and ends by itself.
    while connections.join_next().await.is_some() {}
}
