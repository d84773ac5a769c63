//! The embedded engine.
/// The embedded engine.
#[derive(Debug)]
pub struct EmbeddedLog;
