//! The synchronization rules: pure functions, no I/O and no clock.
