//! Where anchors of the log's chains are kept: the keys as they are written, and what is wrong with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forestsync_runtime::config::{Findings, duration};
use serde::Deserialize;

use super::WebhookForm;
use crate::anchors::AuditConfig;

/// Where anchors are kept, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditForm {
    /// The file that they are appended to, one JSON object a line; best on another machine.
    pub anchors: Option<PathBuf>,
    /// An endpoint that takes them.
    pub webhook: Option<WebhookForm>,
    /// The time between two exports.
    #[serde(default = "hourly", deserialize_with = "duration")]
    pub every: Duration,
}

fn hourly() -> Duration {
    Duration::from_hours(1)
}

impl AuditForm {
    /// Gives it its meaning. What is wrong goes to `found`; `key` is what its keys begin with. No secret is read.
    pub fn check(&self, key: &str, base: &Path, found: &mut Findings) -> AuditConfig {
        if self.anchors.is_none() && self.webhook.is_none() {
            let hint = "name a file in audit.anchors or an endpoint in audit.webhook, or take the table out";
            found.add(format!("{key}audit"), "names no place where anchors are kept", hint);
        }
        if self.every.is_zero() {
            found.add(format!("{key}audit.every"), "is zero", "use \"1h\" unless you know better");
        }
        AuditConfig {
            file: self.anchors.as_ref().map(|file| base.join(file)),
            webhook: self.webhook.as_ref().map(|form| form.check(&format!("{key}audit.webhook"), base, found)),
            every: self.every,
        }
    }
}
