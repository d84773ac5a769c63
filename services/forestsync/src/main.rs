//! The forestsync command.
fn main() {}
