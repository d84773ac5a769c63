//! End-to-end suites and benchmarks.
