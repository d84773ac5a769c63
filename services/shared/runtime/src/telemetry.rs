//! Logs: to stderr, as text for people or JSON for machines.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr. `default` applies where the environment variable `FORESTSYNC_LOG` is not set; both are
/// filters such as `info` or `warn,forestsync_collector=debug`. A second call does nothing.
pub fn init(format: LogFormat, default: &str) {
    init_to(format, default, io::stderr);
}

/// As [`init`], to a writer of the caller's: one that keeps log lines and progress bars apart, for example.
pub fn init_to<W>(format: LogFormat, default: &str, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env("FORESTSYNC_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let _second = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
