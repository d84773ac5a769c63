//! Which naming contexts there are to read, where the configuration leaves that to the directory.

use forestsync_domain::Dn;

use crate::config::{ControllerAddress, ForestConfig};
use crate::error::Trouble;
use crate::session::Session;
use crate::transport;

/// The controllers' default naming context: of the first one that answers. The error says what the last one said.
pub(crate) async fn default_domain(config: &ForestConfig) -> Result<Dn, String> {
    let mut said = "no controller is configured".to_owned();
    for to in &config.controllers {
        match ask(config, to).await {
            Ok(found) => return Ok(found),
            Err(trouble) => said = format!("{trouble} ({})", trouble.hint()),
        }
    }
    Err(said)
}

/// The rootDSE needs no bind, so a wrong password does not count against the account here.
async fn ask(config: &ForestConfig, to: &ControllerAddress) -> Result<Dn, Trouble> {
    let tls = transport::tls_config(config.ca_file.as_deref())?;
    let mut session = Session::connect(config, to, &tls).await?;
    Ok(session.root_dse().await?.default_naming_context)
}
