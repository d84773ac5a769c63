//! `[service]`: what every service may be told beside its work.

use std::net::SocketAddr;
use std::time::Duration;

use forestsync_runtime::config::{Findings, duration};
use forestsync_runtime::telemetry::LogFormat;
use serde::Deserialize;

/// How long others wait for a member that is silent, unless the file says otherwise: a takeover takes about twice as long.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// `[service]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceForm {
    /// `ip:port` where `/healthz`, `/readyz` and `/metrics` answer; without it nothing listens.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// What this process is called; without it the name of the machine and the number of the process.
    #[serde(default)]
    pub instance: Option<String>,
    /// How long others wait for this process when it is silent, before one of them takes over.
    #[serde(default = "default_session_timeout", deserialize_with = "duration")]
    pub session_timeout: Duration,
    /// The form of log lines: `"text"` or `"json"`.
    #[serde(default)]
    pub log_format: LogFormatForm,
}

impl Default for ServiceForm {
    fn default() -> Self {
        Self { listen: None, instance: None, session_timeout: SESSION_TIMEOUT, log_format: LogFormatForm::default() }
    }
}

/// The form of log lines as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormatForm {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

fn default_session_timeout() -> Duration {
    SESSION_TIMEOUT
}

/// What a service is told beside its work.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Where the admin endpoint listens, if it does.
    pub listen: Option<SocketAddr>,
    /// What this process is called in its group.
    pub instance: String,
    /// How long others wait for it.
    pub session_timeout: Duration,
    /// The form of log lines.
    pub log_format: LogFormat,
}

impl ServiceSettings {
    /// Gives the table its meaning. What is wrong goes to `found`.
    pub fn check(form: &ServiceForm, found: &mut Findings) -> Self {
        let instance = form.instance.clone().unwrap_or_else(own_name);
        if instance.trim().is_empty() || instance.len() > 100 || instance.chars().any(char::is_control) {
            let hint = "name each process differently, such as \"collector-1\", or leave it out";
            found.add("service.instance", "cannot be used as a name", hint);
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(5)).contains(&form.session_timeout) {
            let hint = "use \"6s\": others take over after about twice that time";
            found.add("service.session_timeout", "is not between 1s and 5m", hint);
        }
        let log_format = match form.log_format {
            LogFormatForm::Text => LogFormat::Text,
            LogFormatForm::Json => LogFormat::Json,
        };
        Self { listen: form.listen, instance, session_timeout: form.session_timeout, log_format }
    }
}

/// The name of the machine and the number of the process: different for any two at a time.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "host",
        host => host,
    };
    format!("{}-{}", host.chars().take(64).collect::<String>(), std::process::id())
}
