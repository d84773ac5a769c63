//! Tests of the language as a whole.

mod support;
mod syntax;
