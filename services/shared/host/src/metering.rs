//! From what services say to Prometheus. The names and what they mean stand in [`forestsync_runtime::metrics`].

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use forestsync_runtime::metrics::{self as names, Kind};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

/// A gauge that nobody has set for so long is not shown any more: a stand-by is silent about what it does not own.
const SILENCE: Duration = Duration::from_secs(15);

/// Between two publications of what a worker says about itself.
pub const PUBLISH: Duration = Duration::from_secs(1);

/// Makes this process measure, once; a second call returns the same.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let buckets = Matcher::Full(names::PROVISIONER_CHANGE_TO_REQUEST.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(buckets, names::CHANGE_TO_REQUEST_BUCKETS)?
        .idle_timeout(MetricKindMask::GAUGE, Some(SILENCE))
        .build_recorder();
    let handle = HANDLE.get_or_init(|| recorder.handle()).clone();
    if metrics::set_global_recorder(recorder).is_ok() {
        for metric in names::ALL {
            let help = metric.help.trim();
            match metric.kind {
                Kind::Counter => metrics::describe_counter!(metric.name, help),
                Kind::Gauge => metrics::describe_gauge!(metric.name, help),
                Kind::Histogram => metrics::describe_histogram!(metric.name, help),
            }
        }
    }
    Ok(handle)
}

/// Sets a gauge.
pub fn gauge(name: &'static str, labels: &[(&'static str, &str)], value: f64) {
    let labels: Vec<metrics::Label> = labels.iter().map(|(k, v)| metrics::Label::new(*k, (*v).to_owned())).collect();
    metrics::gauge!(name, labels).set(value);
}

/// Turns totals that begin anew with each worker into counters that never go back.
#[derive(Debug, Default)]
pub struct Totals(HashMap<&'static str, u64>);

impl Totals {
    /// Counts by how much `total` has grown since the last call for this name.
    pub fn count(&mut self, name: &'static str, labels: &[(&'static str, &str)], total: u64) {
        let last = self.0.insert(name, total).unwrap_or(0);
        let labels: Vec<metrics::Label> =
            labels.iter().map(|(k, v)| metrics::Label::new(*k, (*v).to_owned())).collect();
        metrics::counter!(name, labels).increment(total.saturating_sub(last));
    }
}
