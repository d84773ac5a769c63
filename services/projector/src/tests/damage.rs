//! Damaged databases.
