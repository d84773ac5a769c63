//! The commands, one module each, and the way to them.

pub mod activate;
pub mod apply;
pub mod audit;
pub mod check;
pub mod diff;
pub mod drift;
pub mod explain;
pub mod held;
pub mod log;
pub mod plan;
pub mod practice;
pub mod remove;
pub mod replay;
pub mod rules;
pub mod run;
pub mod state;
pub mod status;
pub mod sync_object;
pub mod take_over;
pub mod what_if;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

/// Does what the command line says.
pub async fn dispatch(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Demo(args) => Box::pin(crate::demo::demo(args)).await,
        Command::Run(args) => Box::pin(run::run(args)).await,
        Command::Activate(args) => activate::activate(args).await,
        Command::Check(args) => check::check(args).await,
        Command::Status(args) => status::status(args).await,
        Command::Apply(args) => Box::pin(apply::apply(args)).await,
        Command::Explain(args) => Box::pin(explain::explain(args)).await,
        Command::Drift(args) => drift::drift(args).await,
        Command::Held(args) => held::held(args).await,
        Command::Approve(args) => held::approve(args).await,
        Command::Reject(args) => held::reject(args).await,
        Command::RemoveConfiguration(args) => Box::pin(remove::remove(args)).await,
        Command::SyncObject(args) => Box::pin(sync_object::sync_object(args)).await,
        Command::Lint(args) => Box::pin(explain::lint(args)).await,
        Command::Plan(args) => Box::pin(plan::plan(args)).await,
        Command::TakeOver(args) => Box::pin(take_over::take_over(args)).await,
        Command::Rules(command) => rules::rules(command),
        Command::WhatIf(args) => Box::pin(what_if::what_if(args)).await,
        Command::Audit(command) => Box::pin(audit::audit(command)).await,
        Command::State(args) => Box::pin(state::state(args)).await,
        Command::Diff(args) => Box::pin(diff::diff(args)).await,
        Command::Log(command) => Box::pin(log::log(command)).await,
        Command::Replay(args) => Box::pin(replay::replay(args)).await,
        Command::Practice(command) => practice::practice(command).await,
    }
}
