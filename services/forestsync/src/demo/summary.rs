//! What the demo found, as a table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::world::World;
use crate::output;
use crate::pipeline::View;

/// Differences that are shown to a person.
const SHOWN: usize = 20;

/// How a change came to the tenant.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Arrival {
    /// What was done.
    change: String,
    /// Milliseconds until the tenant was as it should be; absent where nothing had to change there.
    delay_ms: Option<f64>,
    /// Whether it did not arrive in time.
    late: bool,
    /// Where the tenant was wrong then.
    missing: Vec<String>,
}

impl Arrival {
    pub(super) fn new(change: String, delay: Option<Duration>) -> Self {
        Self {
            change,
            delay_ms: delay.map(|d| (d.as_secs_f64() * 10_000.0).round() / 10.0),
            late: false,
            missing: Vec::new(),
        }
    }

    pub(super) fn late(change: String, missing: Vec<String>) -> Self {
        Self { change, delay_ms: None, late: true, missing }
    }

    /// One line for the person watching.
    pub(super) fn line(&self) -> String {
        let delay = match self.delay_ms {
            _ if self.late => "   LATE".to_owned(),
            Some(ms) => format!("{ms:>4.0} ms"),
            None => "      -".to_owned(),
        };
        let missing = self.missing.iter().take(SHOWN).map(|line| format!("\n           {line}"));
        format!("  {delay}  {}{}", self.change, missing.collect::<String>())
    }
}

/// Objects of a forest that the tenant should hold.
#[derive(Debug, Clone, Serialize)]
struct PerForest {
    forest: &'static str,
    users: usize,
    groups: usize,
    memberships: usize,
    not_writable: usize,
}

/// The summary; the JSON of `demo --json`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    forests: Vec<PerForest>,
    tenant_users: usize,
    tenant_groups: usize,
    tenant_memberships: usize,
    initial_seconds: f64,
    total_seconds: f64,
    requests: u64,
    writes: u64,
    writes_without_effect: u64,
    changes: Vec<Arrival>,
    median_delay_ms: Option<f64>,
    max_delay_ms: Option<f64>,
    held: u64,
    quarantined: u64,
    differences: Vec<String>,
    verified: bool,
}

impl Summary {
    pub(super) fn new(
        world: &World,
        view: &View,
        changes: Vec<Arrival>,
        differences: Vec<String>,
        initial: Duration,
        total: Duration,
    ) -> Self {
        let per_forest = world.forests.iter().map(|forest| {
            let holdings = forest.expected();
            PerForest {
                forest: forest.name,
                users: holdings.users.len(),
                groups: holdings.groups.len(),
                memberships: holdings.groups.values().map(|g| g.members.len()).sum(),
                not_writable: holdings.not_writable,
            }
        });
        let (dump, counters) = (world.tenant.dump(), world.tenant.counters());
        let mut delays: Vec<f64> = changes.iter().filter_map(|c| c.delay_ms).collect();
        delays.sort_by(f64::total_cmp);
        let (held, quarantined) = view.held();
        Self {
            forests: per_forest.collect(),
            tenant_users: dump.users.len(),
            tenant_groups: dump.groups.len(),
            tenant_memberships: dump.groups.iter().map(|g| g.members.len()).sum(),
            initial_seconds: initial.as_secs_f64(),
            total_seconds: total.as_secs_f64(),
            requests: counters.requests.values().sum(),
            writes: counters.writes,
            writes_without_effect: counters.writes_without_effect,
            median_delay_ms: delays.get(delays.len() / 2).copied(),
            max_delay_ms: delays.last().copied(),
            held,
            quarantined,
            verified: differences.is_empty(),
            differences,
            changes,
        }
    }

    /// Whether the tenant holds what it should, every change came, and nothing is held.
    pub(super) fn is_right(&self) -> bool {
        let something = self.forests.iter().all(|f| f.users > 0 && f.groups > 0);
        something && self.verified && self.held == 0 && self.quarantined == 0 && self.changes.iter().all(|c| !c.late)
    }

    /// The summary for a person.
    pub(super) fn render(&self) -> String {
        let mut out = String::from("\nIn scope and in the tenant\n");
        let mut table = output::table(&["", "users", "groups", "memberships", "not writable"]);
        for f in &self.forests {
            let numbers = [f.users, f.groups, f.memberships, f.not_writable].map(|n| n.to_string());
            table.add_row([f.forest.to_owned()].into_iter().chain(numbers));
        }
        let tenant = [self.tenant_users, self.tenant_groups, self.tenant_memberships].map(|n| n.to_string());
        table.add_row(["tenant".to_owned()].into_iter().chain(tenant));
        output::numbers_from(&mut table, 1);
        out.push_str(&output::render(&table));
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
        let lines = [
            ("initial synchronization", format!("{:.1} s", self.initial_seconds)),
            ("whole demo", format!("{:.1} s", self.total_seconds)),
            ("changes", format!("{} of them", self.changes.len())),
            (
                "delay, directory to tenant",
                format!("median {}, longest {}", ms(self.median_delay_ms), ms(self.max_delay_ms)),
            ),
            (
                "requests to the tenant",
                format!(
                    "{} over https, {} writes, {} without effect",
                    self.requests, self.writes, self.writes_without_effect
                ),
            ),
            ("held, quarantined", format!("{}, {}", self.held, self.quarantined)),
        ];
        out.push('\n');
        for (name, value) in lines {
            let _never = writeln!(out, "  {name:<28}{value}");
        }
        out.push('\n');
        for difference in self.differences.iter().take(SHOWN) {
            let _never = writeln!(out, "  DIFFERENCE: {difference}");
        }
        if self.differences.len() > SHOWN {
            let _never = writeln!(out, "  and {} more", self.differences.len() - SHOWN);
        }
        let verdict = if self.is_right() {
            "Verified: the tenant holds exactly what the three directories say, computed by other means."
        } else {
            "NOT verified: see above."
        };
        let _never = writeln!(out, "{verdict}");
        out
    }
}
