//! Records that cannot be applied.
