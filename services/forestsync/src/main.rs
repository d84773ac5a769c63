//! The binary `forestsync`: crypto provider, command line, logs, runtime, command, exit code, in this order.

use std::process::ExitCode;

use clap::Parser as _;
use forestsync::cli::{Cli, LogFormat};
use forestsync::exit::{self, Exit};
use forestsync::{commands, output, progress};
use forestsync_runtime::telemetry;

/// Rows and records are many small pieces that come and go on different threads: the platform's allocator needs twice
/// the time for them and keeps twice the memory. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // One provider for the whole process, chosen before anything can ask for the default one.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        output::note("error: another TLS provider is installed already");
        return Exit::Failed.into();
    }
    let cli = Cli::parse();
    let format = match cli.log_format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    let level = progress::log_level(&cli.command);
    telemetry::init_to(format, level, progress::log_writer);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("error: the runtime cannot be started: {error}"));
            return Exit::Failed.into();
        }
    };
    let result = runtime.block_on(Box::pin(commands::dispatch(cli)));
    // blocking readers of a severed log must not keep a finished process alive
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::note(&format!("error: {}", exit::message(&error)));
            Exit::of(&error).into()
        }
    }
}
