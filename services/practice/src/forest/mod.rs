//! The practice forest.
