//! The tenant's domains, which rules depend on: read at the start and now and then, written to `tenant.<configuration>`
//! when they are not what they were.
//!
//! This is the stream's one writer, under the lease of the outcomes. A tenant that does not show its domains, or a stream
//! that cannot be written, is warned of once and stops nothing else.

use std::sync::Arc;
use std::time::Duration;

use forestsync_log::{AppendError, Lease, Log, LogWriter, NewRecord, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::tenant::{DomainsObserved, TenantContext, TenantEvent, TenantRecord};
use forestsync_schemas::{EventBody as _, EventId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::config::TenantConfig;
use crate::error::ProvisionerError;
use crate::graph::Graph;

const PATH: &str = "/organization?$select=id,verifiedDomains";

/// Records read at a time.
const CHUNK: usize = 100;

/// A tenant's id and its domains.
type Seen = (String, DomainsObserved);

/// Looks at the domains.
#[derive(Debug)]
pub(crate) struct Domains {
    configuration: String,
    stream: StreamName,
    graph: Arc<Graph>,
    log: Arc<dyn Log>,
    lease: Lease,
    /// Zero for never.
    every: Duration,
    /// After a failure.
    retry: Duration,
    writer: Option<Box<dyn LogWriter>>,
    /// The last record; nothing before the stream was read.
    last: Option<Seen>,
}

/// Why a look came to nothing.
enum Trouble {
    /// Somebody else is the writer, or about to be.
    Ended(ProvisionerError),
    /// It may pass; for a person.
    Passing(String),
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Passing(error.to_string())
    }
}

impl Domains {
    pub(crate) fn new(
        configuration: &str,
        tenant: &TenantConfig,
        stream: StreamName,
        graph: Arc<Graph>,
        log: Arc<dyn Log>,
        lease: Lease,
    ) -> Self {
        let (every, retry) = (tenant.domains_every, tenant.retry_longest);
        let configuration = configuration.to_owned();
        Self { configuration, stream, graph, log, lease, every, retry, writer: None, last: None }
    }

    /// Looks until told to stop; an error means that somebody else does.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), ProvisionerError> {
        let mut has_warned = false;
        while !self.every.is_zero() {
            let wait = match self.look().await {
                Ok(()) => {
                    has_warned = false;
                    self.every
                }
                Err(Trouble::Ended(error)) => return Err(error),
                Err(Trouble::Passing(detail)) => {
                    if !has_warned {
                        tracing::warn!(configuration = self.configuration, %detail, "the tenant's domains are not known");
                    }
                    has_warned = true;
                    self.every.min(self.retry)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
        stop.cancelled().await;
        Ok(())
    }

    async fn look(&mut self) -> Result<(), Trouble> {
        let seen = self.read().await?;
        let last = match &self.last {
            Some(last) => Some(last.clone()),
            None => self.written().await?,
        };
        if last.as_ref() != Some(&seen) {
            self.write(seen.clone()).await?;
        }
        self.last = Some(seen);
        Ok(())
    }

    /// What the tenant shows. Mutable, as is the next one, because a writer cannot be shared between threads.
    async fn read(&mut self) -> Result<Seen, Trouble> {
        match self.graph.get(PATH).await {
            Ok(Ok(body)) => {
                let none = || Trouble::Passing("the tenant shows no organization with domains".to_owned());
                observed(&body).ok_or_else(none)
            }
            Ok(Err(failure)) if failure.status == Some(403) => Err(Trouble::Passing(
                "the tenant denies it (403); grant the application Organization.Read.All and consent to it".to_owned(),
            )),
            Ok(Err(failure)) => {
                let status = failure.status.unwrap_or_default();
                Err(Trouble::Passing(format!("the tenant answers {status} {}", failure.code)))
            }
            Err(outage) if outage.forfeited => Err(Trouble::Ended(ProvisionerError::LeaseEnded)),
            Err(outage) => Err(Trouble::Passing(outage.detail)),
        }
    }

    /// What was written last.
    async fn written(&mut self) -> Result<Option<Seen>, Trouble> {
        let mut reader = self.log.reader(&self.stream, 0).await?;
        let mut last = None;
        loop {
            let records = reader.poll(CHUNK).await?;
            let Some(record) = records.last() else { return Ok(last) };
            let decoded = TenantRecord::decode(&record.value)?;
            let TenantEvent::DomainsObserved(domains) = decoded.event;
            last = Some((decoded.context.tenant, domains));
        }
    }

    async fn write(&mut self, (tenant, domains): Seen) -> Result<(), Trouble> {
        let event = TenantEvent::DomainsObserved(domains);
        let time = clock::now();
        let id = EventId::of([
            self.configuration.as_bytes(),
            event.type_name().as_bytes(),
            &time.as_nanosecond().to_be_bytes(),
            &serde_json::to_vec(&event)?,
        ]);
        let context = TenantContext { configuration: self.configuration.clone(), tenant };
        let kind = event.type_name();
        let mut record = NewRecord::new(None::<String>, TenantRecord { id, time, context, event }.encode()?);
        record.headers.push(("type".to_owned(), kind.into()));
        if !self.lease.is_valid() {
            // becoming the writer would fence the rightful one
            return Err(Trouble::Ended(ProvisionerError::LeaseEnded));
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.log.writer(&self.stream).await?,
        };
        // a writer that failed is of no more use, nor is what was known of the stream
        self.last = None;
        match writer.append(vec![record]).await {
            Ok(_) => {
                self.writer = Some(writer);
                Ok(())
            }
            Err(error @ AppendError::Fenced(_)) => Err(Trouble::Ended(error.into())),
            Err(error) => Err(error.into()),
        }
    }
}

/// The tenant's id and domains in an answer.
fn observed(body: &Value) -> Option<Seen> {
    let organization = body.pointer("/value/0")?;
    let all = organization.get("verifiedDomains")?.as_array()?;
    let name = |domain: &Value| Some(domain.get("name")?.as_str()?.to_ascii_lowercase());
    let marked = |mark: &str| all.iter().find(|d| d.get(mark).and_then(Value::as_bool) == Some(true)).and_then(name);
    let mut verified: Vec<String> = all.iter().filter_map(name).collect();
    verified.sort();
    verified.dedup();
    let id = organization.get("id")?.as_str()?.to_owned();
    Some((id, DomainsObserved { verified, initial: marked("isInitial"), default: marked("isDefault") }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answer_of_the_tenant_is_understood() {
        let body = json!({"value": [{"id": "t", "verifiedDomains": [
            {"name": "Fabrikam.com", "isDefault": true, "isInitial": false, "type": "Managed"},
            {"name": "contoso.onmicrosoft.com", "isDefault": false, "isInitial": true},
            {"name": "contoso.com"}, {"name": "contoso.com"}, {"type": "Managed"},
        ]}]});
        let (tenant, domains) = observed(&body).unwrap();
        assert_eq!(tenant, "t");
        assert_eq!(domains.verified, ["contoso.com", "contoso.onmicrosoft.com", "fabrikam.com"]);
        assert_eq!(domains.initial.as_deref(), Some("contoso.onmicrosoft.com"));
        assert_eq!(domains.default.as_deref(), Some("fabrikam.com"));
        for nothing in [json!({}), json!({"value": []}), json!({"value": [{"id": "t"}]}), json!(null)] {
            assert_eq!(observed(&nothing), None);
        }
    }
}
