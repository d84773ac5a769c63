//! Finding a domain's controllers by DNS: the SRV records that every controller registers (MS-ADTS 6.3.2.3), ordered by
//! priority and weight (RFC 2782).
//!
//! With a site the controllers of the site are asked for first; where it has none, all of the domain are taken, as Windows
//! clients do. The TLS name is the target's host name: whoever forges a record gets no session without that certificate.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::timeout;

use crate::config::{ControllerAddress, Security};

/// Answers are used for at least so long, and for at most so long, whatever their time to live.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// The most controllers of one domain that are kept.
const MOST: usize = 1_000;

/// Where controllers are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvConfig {
    /// The DNS name of the domain to begin with. The controllers of the forest's other domains are asked for under the
    /// names of those.
    pub domain: String,
    /// The Active Directory site whose controllers are preferred.
    pub site: Option<String>,
    /// StartTLS at the port of the record, instead of LDAPS at port 636.
    pub start_tls: bool,
    /// The name servers; empty for those of the system. They are asked for the targets' addresses as well.
    pub servers: Vec<SocketAddr>,
}

impl SrvConfig {
    /// The controllers of `domain`, by the system's name servers, over LDAPS.
    pub fn new(domain: impl Into<String>) -> Self {
        Self { domain: domain.into(), site: None, start_tls: false, servers: Vec::new() }
    }
}

/// Why no controllers were found. Retryable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// The system's resolver configuration cannot be used.
    #[error("the system's name servers are not known: {0}")]
    System(String),
    /// The name servers did not answer, or with an error.
    #[error("{name} cannot be looked up: {detail}")]
    Lookup {
        /// The name that was asked for.
        name: String,
        /// What the resolver said.
        detail: String,
    },
    /// There are no such records.
    #[error("there is no SRV record {name}")]
    NoRecords {
        /// The name that was asked for.
        name: String,
    },
}

impl LocateError {
    /// What a person can do.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::System(_) => "name the servers as `dns_servers`, or correct /etc/resolv.conf",
            Self::Lookup { .. } => {
                "check that this machine may ask the directory's name servers, or name them as `dns_servers`; retried by itself"
            }
            Self::NoRecords { .. } => {
                "check the domain's name in `controllers`; its name servers must be asked, as `dns_servers` if need be"
            }
        }
    }
}

/// What an SRV record says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    priority: u16,
    weight: u16,
    host: String,
    port: u16,
}

/// Controllers and for how long the answer holds.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) controllers: Vec<ControllerAddress>,
    pub(crate) ttl: Duration,
}

/// Asks for controllers.
pub(crate) struct Locator {
    config: SrvConfig,
    limit: Duration,
    resolver: Result<TokioResolver, LocateError>,
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locator").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Locator {
    /// Each look-up takes at most `limit`. Asks nothing yet.
    pub(crate) fn new(config: &SrvConfig, limit: Duration) -> Self {
        Self { config: config.clone(), limit, resolver: resolver(config) }
    }

    /// The domain to begin with.
    pub(crate) fn domain(&self) -> &str {
        &self.config.domain
    }

    /// The controller of that name, where its record has vanished: at the port that it would have.
    pub(crate) fn vanished(&self, host: &str) -> ControllerAddress {
        let (port, security) = if self.config.start_tls { (389, Security::StartTls) } else { (636, Security::Ldaps) };
        ControllerAddress { host: host.to_owned(), port, security, address: None }
    }

    /// The controllers of a domain, the one to try first at the front.
    pub(crate) async fn find(&self, domain: &str) -> Result<Located, LocateError> {
        let everywhere = format!("_ldap._tcp.dc._msdcs.{domain}.");
        let (targets, ttl) = match &self.config.site {
            None => self.srv(&everywhere).await?,
            Some(site) => match self.srv(&format!("_ldap._tcp.{site}._sites.dc._msdcs.{domain}.")).await {
                Err(LocateError::NoRecords { .. }) => self.srv(&everywhere).await?,
                found => found?,
            },
        };
        let mut controllers = Vec::new();
        for target in order(targets, |most| rand::random_range(0..=most)).into_iter().take(MOST) {
            let mut controller = self.vanished(&target.host);
            if self.config.start_tls {
                controller.port = target.port;
            }
            if !self.config.servers.is_empty() {
                let Some(address) = self.address(&target.host).await else {
                    tracing::warn!(controller = target.host, "an SRV record names a host without an address");
                    continue;
                };
                controller = controller.clone().at(SocketAddr::new(address, controller.port));
            }
            controllers.push(controller);
        }
        if controllers.is_empty() {
            return Err(LocateError::NoRecords { name: everywhere });
        }
        Ok(Located { controllers, ttl: ttl.clamp(*TTL.start(), *TTL.end()) })
    }

    async fn srv(&self, name: &str) -> Result<(Vec<Target>, Duration), LocateError> {
        let records = self.ask(name, RecordType::SRV).await?;
        let mut targets = Vec::new();
        let mut ttl = *TTL.end();
        for (data, seconds) in records {
            let RData::SRV(srv) = data else { continue };
            ttl = ttl.min(Duration::from_secs(u64::from(seconds)));
            let host = srv.target.to_ascii();
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            // a target of "." says that the service is not there (RFC 2782)
            if !host.is_empty() {
                targets.push(Target { priority: srv.priority, weight: srv.weight, host, port: srv.port });
            }
        }
        if targets.is_empty() { Err(LocateError::NoRecords { name: name.to_owned() }) } else { Ok((targets, ttl)) }
    }

    async fn address(&self, host: &str) -> Option<IpAddr> {
        for kind in [RecordType::A, RecordType::AAAA] {
            for (data, _) in self.ask(&format!("{host}."), kind).await.unwrap_or_default() {
                match data {
                    RData::A(a) => return Some(IpAddr::V4(a.0)),
                    RData::AAAA(a) => return Some(IpAddr::V6(a.0)),
                    _ => {}
                }
            }
        }
        None
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<(RData, u32)>, LocateError> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        let failed = |detail: String| LocateError::Lookup { name: name.to_owned(), detail };
        let asked = timeout(self.limit, resolver.lookup(name, kind)).await;
        match asked.map_err(|_| failed(format!("no answer within {}", crate::frame::seconds(self.limit))))? {
            Ok(found) => Ok(found.answers().iter().map(|record| (record.data.clone(), record.ttl)).collect()),
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => {
                Err(LocateError::NoRecords { name: name.to_owned() })
            }
            Err(error) => Err(failed(crate::frame::diagnostic(&error.to_string()))),
        }
    }
}

fn resolver(config: &SrvConfig) -> Result<TokioResolver, LocateError> {
    let system = |error: &dyn fmt::Display| LocateError::System(crate::frame::diagnostic(&error.to_string()));
    let mut builder = if config.servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| system(&error))?
    } else {
        let server = |at: &SocketAddr| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = at.port();
            }
            NameServerConfig::new(at.ip(), true, connections)
        };
        let servers = config.servers.iter().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    // how long an answer holds is kept by whoever asks
    builder.options_mut().cache_size = 0;
    builder.build().map_err(|error| system(&error))
}

/// Orders targets by RFC 2782: lower priorities first; among equals each is drawn with a chance in proportion to its weight.
/// `draw(n)` gives a number from 0 to n.
fn order(mut targets: Vec<Target>, mut draw: impl FnMut(u32) -> u32) -> Vec<Target> {
    // those without weight first, so that they are drawn with a small chance only
    targets.sort_by(|a, b| (a.priority, a.weight, &a.host, a.port).cmp(&(b.priority, b.weight, &b.host, b.port)));
    targets.dedup();
    let mut ordered = Vec::with_capacity(targets.len());
    while let Some(priority) = targets.first().map(|target| target.priority) {
        let equals = targets.iter().take_while(|target| target.priority == priority);
        let total: u32 = equals.clone().map(|target| u32::from(target.weight)).sum();
        let drawn = draw(total).min(total);
        let mut sum = 0;
        let chosen = equals.take_while(|target| {
            sum += u32::from(target.weight);
            sum < drawn
        });
        let at = chosen.count();
        ordered.push(targets.remove(at.min(targets.len() - 1)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(priority: u16, weight: u16, host: &str) -> Target {
        Target { priority, weight, host: host.to_owned(), port: 389 }
    }

    #[test]
    fn weight_is_the_chance_among_equals() {
        let all = || vec![target(0, 10, "a"), target(0, 30, "b"), target(0, 0, "z"), target(1, 100, "late")];
        let first = |drawn| order(all(), |_| drawn)[0].host.clone();
        assert_eq!((first(0).as_str(), first(1).as_str(), first(10).as_str()), ("z", "a", "a"));
        assert_eq!((first(11).as_str(), first(40).as_str()), ("b", "b"));
        let hosts: Vec<String> = order(all(), |most| most).into_iter().map(|target| target.host).collect();
        assert_eq!(hosts, ["b", "a", "z", "late"]);
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_priorities_hold(
            given in prop::collection::vec((0u16..4, any::<u16>()), 0..20),
            draws in prop::collection::vec(any::<u32>(), 20),
        ) {
            let targets: Vec<Target> =
                given.iter().enumerate().map(|(n, (p, w))| target(*p, *w, &format!("dc{n}"))).collect();
            let mut draws = draws.into_iter();
            let ordered = order(targets.clone(), |_| draws.next().unwrap_or_default());
            prop_assert!(ordered.is_sorted_by_key(|target| target.priority));
            prop_assert_eq!(ordered.len(), targets.len());
            prop_assert!(targets.iter().all(|target| ordered.contains(target)));
        }
    }
}
