//! The configuration file as it is written. Each service says what its own part looks like.

use std::path::PathBuf;

use forestsync_collector::settings::ForestForm;
use forestsync_log::LogConfig;
use forestsync_provisioner::settings::{
    AuditForm, ChangeGuardForm, DriftForm, GuardForm, Mode, NotifyForm, QuarantineForm, TenantForm,
};
use forestsync_rules::flow::{FlowForm, TestForm};
use forestsync_rules::hygiene::Options;
use forestsync_rules::join::JoinForm;
use forestsync_rules::precedence::PrecedenceForm;
use forestsync_rules::settings::{RulesForm, ScopeForm};
use serde::Deserialize;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The configuration's name: part of the names of its streams.
    pub configuration: String,
    /// The folder of the log and of the databases, relative to the file.
    #[serde(default = "default_data")]
    pub data: PathBuf,
    /// The log, where it is not a folder of `data`.
    #[serde(default)]
    pub log: Option<LogConfig>,
    /// The forests that are read.
    #[serde(default)]
    pub forests: Vec<ForestForm>,
    /// Whether the tenant is written: `"active"`, or `"staging"`.
    #[serde(default)]
    pub mode: Mode,
    /// The tenant that is written.
    pub tenant: TenantForm,
    /// When deletions are held back.
    #[serde(default)]
    pub delete_guard: GuardForm,
    /// When disabling users is held back.
    #[serde(default)]
    pub disable_guard: ChangeGuardForm,
    /// When changing userPrincipalNames is held back.
    #[serde(default)]
    pub upn_guard: ChangeGuardForm,
    /// When the configuration as a whole is quarantined.
    #[serde(default)]
    pub quarantine: QuarantineForm,
    /// Who is told of what goes wrong.
    #[serde(default)]
    pub notify: NotifyForm,
    /// Where anchors of the log's chains are kept.
    #[serde(default)]
    pub audit: Option<AuditForm>,
    /// What becomes of what others do in the tenant; without it nobody looks.
    #[serde(default)]
    pub drift: Option<DriftForm>,
    /// Which objects are synchronized.
    #[serde(default)]
    pub scope: ScopeForm,
    /// Which objects of different forests are one.
    #[serde(default)]
    pub joins: Vec<JoinForm>,
    /// Which of joined objects says what.
    #[serde(default)]
    pub precedence: Vec<PrecedenceForm>,
    /// Which attributes flow, and how.
    #[serde(default)]
    pub flow: FlowForm,
    /// How identity hygiene is judged.
    #[serde(default)]
    pub hygiene: Options,
    /// Tests of the flow, for `forestsync check`.
    #[serde(default)]
    pub test: Vec<TestForm>,
}

impl File {
    /// The tables that are the rules'.
    pub fn rules(&self) -> RulesForm {
        let Self { scope, joins, precedence, flow, hygiene, test, .. } = self.clone();
        RulesForm { scope, joins, precedence, flow, hygiene, test }
    }
}

fn default_data() -> PathBuf {
    PathBuf::from("data")
}
