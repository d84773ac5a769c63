//! Logs: to stderr, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;

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
    let filter = EnvFilter::try_from_env("FORESTSYNC_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _second = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
