//! The seeded population generator.
