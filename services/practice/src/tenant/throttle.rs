//! The documented quotas of identity and access, per application and tenant, as token buckets.
//!
//! Resource units: 3,500 per 10 s under 50 users, 5,000 up to 500, 8,000 above; writes: 3,000 per 150 s. A factor
//! scales both, and another one shortens the time. Throttled calls still count, so a client that ignores `Retry-After` waits longer.

use std::time::Duration;

use tokio::time::Instant;

use super::clock;
use super::options::RetryAfter;
use super::reply::GraphError;
use super::request::{GraphRequest, Payload};

/// What one request costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub units: u32,
    pub writes: u32,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
    full: bool,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { left: 0.0, at: now, full: true }
    }

    fn refill(&mut self, capacity: f64, window: f64, now: Instant) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * capacity / window;
        self.left = if self.full { capacity } else { (self.left + earned).min(capacity) };
        self.full = false;
        self.at = now;
    }
}

/// A refusal: how long to wait, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub wait: Duration,
    pub why: &'static str,
}

/// The two buckets of one application in one tenant.
#[derive(Debug)]
pub(super) struct Quota {
    units: Bucket,
    writes: Bucket,
}

const UNITS_WINDOW: f64 = 10.0;
const WRITES: f64 = 3_000.0;
const WRITES_WINDOW: f64 = 150.0;

impl Quota {
    pub(super) fn new(now: Instant) -> Self {
        Self { units: Bucket::new(now), writes: Bucket::new(now) }
    }

    /// Takes the cost; the answer is the share of the quota in use (1.0 is all of it).
    pub(super) fn take(
        &mut self,
        cost: Cost,
        scale: f64,
        haste: f64,
        users: usize,
        now: Instant,
    ) -> Result<f64, Refusal> {
        let units = scale
            * match users {
                0..50 => 3_500.0,
                50..=500 => 5_000.0,
                _ => 8_000.0,
            };
        let writes = scale * WRITES;
        let (units_window, writes_window) = (UNITS_WINDOW / haste, WRITES_WINDOW / haste);
        self.units.refill(units, units_window, now);
        self.writes.refill(writes, writes_window, now);
        let (asked_units, asked_writes) = (f64::from(cost.units), f64::from(cost.writes));
        let short_units = (asked_units - self.units.left) * units_window / units;
        let short_writes =
            if cost.writes == 0 { 0.0 } else { (asked_writes - self.writes.left) * writes_window / writes };
        let wait = short_units.max(short_writes);
        if wait > 0.0 {
            // It counts, but no client is locked out for more than a tenth of the window.
            self.units.left = (self.units.left - asked_units).max(-units / 10.0);
            let why = if short_writes > short_units { "WriteLimitExceeded" } else { "ResourceUnitLimitExceeded" };
            return Err(Refusal { wait: Duration::from_secs_f64(wait.clamp(0.001, 3_600.0)), why });
        }
        self.units.left -= asked_units;
        self.writes.left -= asked_writes;
        Ok(1.0 - (self.units.left / units).min(self.writes.left / writes))
    }
}

/// The documented cost of a request.
pub(super) fn cost(request: &GraphRequest) -> Cost {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let reading = matches!(segments.as_slice(), ["directoryObjects", "getByIds" | "getAvailableExtensionProperties"]);
    if request.method != "GET" && !reading {
        let links = match &request.payload {
            Payload::Json(body) => ["members@odata.bind", "owners@odata.bind"]
                .iter()
                .filter_map(|k| body.get(*k).and_then(serde_json::Value::as_array).map(Vec::len))
                .sum::<usize>(),
            _ => 0,
        };
        return Cost { units: 1, writes: u32::try_from(links.div_ceil(3)).unwrap_or(1).max(1) };
    }
    let base: i64 = match segments.as_slice() {
        ["users"] | ["applications", _, "extensionProperties"] => 2,
        ["groups", _, "members"] | ["directoryObjects", "getByIds"] => 3,
        ["groups", _, "transitiveMembers"] => 5,
        _ => 1,
    };
    let select = i64::from(request.option("$select").is_some());
    let expand = i64::from(request.option("$expand").is_some());
    let small = i64::from(request.option("$top").and_then(|t| t.parse::<u32>().ok()).is_some_and(|t| t < 20));
    Cost { units: u32::try_from((base - select + expand - small).max(1)).unwrap_or(1), writes: 0 }
}

/// The 429, with `Retry-After` in the form asked for.
pub(super) fn refuse(refusal: &Refusal, form: RetryAfter, app: &str, tenant: &str) -> Box<GraphError> {
    let wait = refusal.wait.as_secs_f64();
    let error = GraphError::throttled()
        .header("x-ms-throttle-scope", format!("Tenant_Application/ReadWrite/{app}/{tenant}"))
        .header("x-ms-throttle-information", refusal.why.to_owned());
    match form {
        RetryAfter::Absent => error,
        RetryAfter::Seconds => error.header("Retry-After", format!("{}", wait.ceil() as u64)),
        RetryAfter::Fractional => error.header("Retry-After", format!("{wait:.3}")),
        RetryAfter::HttpDate => {
            let seconds = jiff::SignedDuration::from_secs(wait.ceil() as i64);
            let at = clock::now().checked_add(seconds).unwrap_or(jiff::Timestamp::MAX);
            error.header("Retry-After", clock::http_date(at))
        }
    }
}
