//! The binary `forestsync-collector`: the library's service in a process of its own.

use std::process::ExitCode;

use forestsync_collector::service::CollectorService;

/// Rows and records are many small pieces that come and go on different threads: the platform's allocator needs twice
/// the time for them and keeps twice the memory. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    forestsync_host::run::<CollectorService>()
}
