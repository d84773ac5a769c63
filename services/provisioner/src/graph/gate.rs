//! The one place every request to the tenant passes.

use forestsync_log::Lease;

/// Which requests may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// All.
    #[default]
    Open,
    /// Those that write nothing.
    ReadOnly,
}

/// Lets requests leave, or not.
#[derive(Debug, Default)]
pub(super) struct Gate {
    kind: Kind,
    /// The right to act at all; a process that has the log to itself needs none.
    lease: Option<Lease>,
}

impl Gate {
    pub(super) fn new(lease: Option<Lease>) -> Self {
        Self { kind: Kind::Open, lease }
    }

    /// One that lets no write pass.
    pub(super) fn read_only() -> Self {
        Self { kind: Kind::ReadOnly, lease: None }
    }

    /// Whether a request may leave. A batch writes if one of its requests does.
    pub(super) fn lets_pass(&self, writes: bool) -> bool {
        match self.kind {
            Kind::Open => true,
            Kind::ReadOnly => !writes,
        }
    }

    /// Whether this process has the right to act at this moment. Asked right where a request leaves: nothing fences one
    /// that is sent without it.
    pub(super) fn is_ours(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::is_valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_stops_writes_only() {
        let (open, closed) = (Gate::default(), Gate::read_only());
        assert!(open.lets_pass(true) && open.lets_pass(false));
        assert!(!closed.lets_pass(true) && closed.lets_pass(false));
    }

    #[test]
    fn a_lease_that_ended_stops_everything() {
        let lease = Lease::forever("outcomes.contoso".parse().unwrap());
        let gate = Gate::new(Some(lease.clone()));
        assert!(gate.is_ours() && Gate::default().is_ours());
        lease.revoke();
        assert!(!gate.is_ours());
    }
}
