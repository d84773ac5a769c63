//! The metrics of the services: their names, labels and meaning, in one place.
//!
//! Services export these and no others, on `/metrics`; alert rules, dashboards and documents name no others. A test holds
//! that. This table knows no metrics library: whoever exports describes what it exports by [`ALL`].
//!
//! **Labels are bounded**: a stream, a configuration, a class of objects, a fixed word. Never an object, an attribute or an
//! address. Times are seconds; a time of day is seconds since 1970. A value that a process does not know is not exported,
//! so a stand-by shows what it does not own by its silence: rules take the `max` over the instances of a service.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and starts with 0 when the process does.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets; exported with the suffixes `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Metric {
    /// The names under which its samples stand on `/metrics`.
    pub fn samples(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram => ["_bucket", "_sum", "_count"].iter().map(|s| format!("{}{s}", self.name)).collect(),
        }
    }
}

/// Upper bounds of the buckets of [`PROVISIONER_CHANGE_TO_REQUEST`]. 0.4 s is what is promised for the median, 15 s
/// for a takeover, 150 s is the window of Graph's quota.
pub const CHANGE_TO_REQUEST_BUCKETS: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 5.0, 15.0, 60.0, 150.0, 600.0, 3600.0, 21_600.0];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $constant:ident = $name:literal, $kind:ident, $labels:expr;)+) => {
        $($(#[doc = $help])+ pub const $constant: &str = $name;)+

        /// Every metric of every service.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $constant, kind: Kind::$kind, labels: &$labels, help: concat!($($help),+) },)+
        ];
    };
}

metrics! {
    /// Always 1; its labels say which service of which version answers.
    BUILD_INFO = "forestsync_build_info", Gauge, ["service", "version"];
    /// Whether this process holds a valid lease for the stream, 0 or 1. Over all members of a group at most one 1.
    STREAM_OWNED = "forestsync_stream_owned", Gauge, ["service", "stream"];
    /// Streams that this process gained and lost; `change` is `gained` or `lost`.
    OWNERSHIP_CHANGES = "forestsync_ownership_changes_total", Counter, ["service", "change"];
    /// Workers started again after they ended although their lease was valid.
    WORKER_RESTARTS = "forestsync_worker_restarts_total", Counter, ["service"];

    /// Events appended to the stream.
    COLLECTOR_EVENTS = "forestsync_collector_events_total", Counter, ["stream"];
    /// Reads of the directory that ended well, with or without changes.
    COLLECTOR_PASSES = "forestsync_collector_passes_total", Counter, ["stream"];
    /// Full reads that were started.
    COLLECTOR_SNAPSHOTS = "forestsync_collector_snapshots_total", Counter, ["stream"];
    /// When the last read of the directory ended well.
    COLLECTOR_LAST_PASS = "forestsync_collector_last_pass_timestamp_seconds", Gauge, ["stream"];
    /// Whether reading has stopped until a person helps, 0 or 1; `cause` is one of a few words.
    COLLECTOR_STOPPED = "forestsync_collector_stopped", Gauge, ["stream", "cause"];
    /// Whether the account can see deletions, 0 or 1; with 0 they are found by full reads only.
    COLLECTOR_DELETIONS_VISIBLE = "forestsync_collector_deletions_visible", Gauge, ["stream"];

    /// Records of the stream that are applied: the offset that is read next.
    PROJECTOR_STREAM_APPLIED = "forestsync_projector_stream_applied", Gauge, ["configuration", "stream"];
    /// Records that the stream has: the offset that is written next.
    PROJECTOR_STREAM_TAIL = "forestsync_projector_stream_tail", Gauge, ["configuration", "stream"];
    /// Directory objects in the projection.
    PROJECTOR_OBJECTS = "forestsync_projector_objects", Gauge, ["configuration"];
    /// Objects that the tenant should hold.
    PROJECTOR_WISHED = "forestsync_projector_wished", Gauge, ["configuration", "class"];
    /// Objects in scope that cannot be wished for as they are.
    PROJECTOR_BLOCKED = "forestsync_projector_blocked", Gauge, ["configuration"];
    /// Findings: what a person should put right in a directory.
    PROJECTOR_FINDINGS = "forestsync_projector_findings", Gauge, ["configuration"];
    /// Wishes computed and not yet written.
    PROJECTOR_OUTBOX = "forestsync_projector_outbox", Gauge, ["configuration"];
    /// Whether the configuration is held, so that no wish is written, 0 or 1.
    PROJECTOR_HELD = "forestsync_projector_held", Gauge, ["configuration"];
    /// Whether the database is being rebuilt from the log, 0 or 1.
    PROJECTOR_REBUILDING = "forestsync_projector_rebuilding", Gauge, ["configuration"];
    /// Streams that are not read any further because a record in them is not understood.
    PROJECTOR_STOPPED_STREAMS = "forestsync_projector_stopped_streams", Gauge, ["configuration"];

    /// Wishes that are read: the offset that is read next.
    PROVISIONER_DESIRED_APPLIED = "forestsync_provisioner_desired_applied", Gauge, ["configuration"];
    /// Wishes that there are: the offset that is written next.
    PROVISIONER_DESIRED_TAIL = "forestsync_provisioner_desired_tail", Gauge, ["configuration"];
    /// Objects and members with something left to send.
    PROVISIONER_PENDING = "forestsync_provisioner_pending", Gauge, ["configuration"];
    /// Requests that wait for their answer.
    PROVISIONER_IN_FLIGHT = "forestsync_provisioner_in_flight", Gauge, ["configuration"];
    /// Objects that failed and are tried again.
    PROVISIONER_RETRYING = "forestsync_provisioner_retrying", Gauge, ["configuration"];
    /// Deletions that the guard holds until a person looks at them.
    PROVISIONER_HELD = "forestsync_provisioner_held", Gauge, ["configuration"];
    /// Objects that are not tried again before a person has looked at them.
    PROVISIONER_QUARANTINED = "forestsync_provisioner_quarantined", Gauge, ["configuration"];
    /// What others did in the tenant, by what becomes of it: `enforce`, `report`, `accept`.
    PROVISIONER_DRIFT = "forestsync_provisioner_drift", Gauge, ["configuration", "policy"];
    /// When the tenant was last compared with what was written, in seconds since 1970.
    PROVISIONER_COMPARED = "forestsync_provisioner_compared_timestamp_seconds", Gauge, ["configuration"];
    /// Objects in the tenant that are ours.
    PROVISIONER_MANAGED = "forestsync_provisioner_managed", Gauge, ["configuration", "class"];
    /// Requests sent to Graph.
    PROVISIONER_REQUESTS = "forestsync_provisioner_requests_total", Counter, ["configuration"];
    /// Whether Graph has told us to wait and we do, 0 or 1.
    PROVISIONER_THROTTLED = "forestsync_provisioner_throttled", Gauge, ["configuration"];
    /// Whether nothing is sent until a person helps, 0 or 1.
    PROVISIONER_STOPPED = "forestsync_provisioner_stopped", Gauge, ["configuration"];
    /// Objects whose writes fail, tried again or resting.
    PROVISIONER_FAILING = "forestsync_provisioner_failing", Gauge, ["configuration"];
    /// Whether so much fails that the tenant is written to from time to time only, 0 or 1.
    PROVISIONER_PAUSED = "forestsync_provisioner_configuration_quarantined", Gauge, ["configuration"];
    /// From the moment a change was read from its directory to the moment its request to Graph left.
    PROVISIONER_CHANGE_TO_REQUEST = "forestsync_provisioner_change_to_request_seconds", Histogram, ["configuration"];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let legal = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let mut seen = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("forestsync_") && legal(name), "{name}");
            assert_eq!(
                metric.kind == Kind::Counter,
                name.ends_with("_total"),
                "{name}: counters, and only they, end so"
            );
            assert!(metric.labels.iter().all(|l| legal(l) && !["instance", "job", "le"].contains(l)), "{name}");
            assert!(metric.help.trim().ends_with('.'), "{name} is not described");
        }
        assert_eq!(CHANGE_TO_REQUEST_BUCKETS, {
            let mut sorted = CHANGE_TO_REQUEST_BUCKETS.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted
        });
    }
}
