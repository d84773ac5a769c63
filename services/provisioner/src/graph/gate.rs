//! The one place every request to the tenant passes.

/// Which requests may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Gate {
    /// All.
    #[default]
    Open,
    /// Those that write nothing. No configuration asks for it yet; staging will.
    #[cfg_attr(not(test), expect(dead_code, reason = "staging closes it"))]
    ReadOnly,
}

impl Gate {
    /// Whether a request may leave. A batch writes if one of its requests does.
    pub(super) fn lets_pass(self, writes: bool) -> bool {
        match self {
            Self::Open => true,
            Self::ReadOnly => !writes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_stops_writes_only() {
        assert!(Gate::Open.lets_pass(true) && Gate::Open.lets_pass(false));
        assert!(!Gate::ReadOnly.lets_pass(true) && Gate::ReadOnly.lets_pass(false));
    }
}
