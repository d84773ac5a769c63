//! `forestsync demo`: three practice forests, a practice tenant and the real pipeline in one process.
//!
//! The pipeline is that of `run`, from a configuration file on disk, over LDAPS and https. What the demo adds is
//! outside of it: the peers ([`world`]), changes made over LDAP ([`changes`], [`ldap`]), and a verification that
//! computes by other means what the tenant should hold. It succeeds only if the tenant holds exactly that.

mod changes;
mod ldap;
mod summary;
mod world;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use forestsync_runtime::shutdown::{self, Shutdown};
use tokio::time::Instant;

use crate::cli::DemoArgs;
use crate::exit::Exit;
use crate::pipeline::{Ending, Pipeline, RunOptions, Until};
use crate::progress::{self, Progress};
use crate::{config, output};

use changes::Step;
use summary::{Arrival, Summary};
use world::World;

/// The longest time for a synchronization without any progress.
const PATIENCE: Duration = Duration::from_mins(2);

/// The longest time for one change to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Pause between two looks at the tenant while a change is on its way.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the demo.
pub async fn demo(args: DemoArgs) -> Result<Exit> {
    let started = Instant::now();
    let shutdown = shutdown::on_signals()?;
    progress::say("Starting three practice forests and a practice tenant on this machine …");
    let mut world = World::start(&args).await?;
    let settings = config::load(&world.config_file())?;
    progress::say(&world.describe());

    let mut pipeline = Pipeline::start(&settings, RunOptions::default(), None).await?;
    let result = Box::pin(show(&mut world, &mut pipeline, &shutdown, started)).await;
    let stopped = pipeline.stop(&shutdown).await;
    let summary = result?;
    stopped?;
    let right = summary.is_right();
    if args.json {
        output::json(&summary)?;
    } else {
        output::text(&summary.render())?;
    }
    if let Some(dir) = &args.keep {
        progress::say(&format!("Configuration, log and databases are kept in {}.", dir.display()));
    }
    world.stop().await?;
    Ok(if right { Exit::Done } else { Exit::Differs })
}

/// Initial synchronization, changes, verification.
async fn show(world: &mut World, pipeline: &mut Pipeline, shutdown: &Shutdown, started: Instant) -> Result<Summary> {
    settle(pipeline, shutdown).await.context("the initial synchronization did not come to its end")?;
    let initial = started.elapsed();
    let objects = world.tenant_objects();
    let differences = world.differences();
    if !differences.is_empty() {
        progress::say("The tenant is not as it should be after the initial synchronization; nothing is changed.");
        return Ok(Summary::new(world, pipeline.view(), Vec::new(), differences, initial, started.elapsed()));
    }
    progress::say(&format!(
        "Initial synchronization: {objects} users and groups are in the tenant after {:.1} s.\n\n\
         Now changes, made over LDAP in the forests, each with the delay until the tenant shows it:\n",
        initial.as_secs_f64()
    ));
    let mut arrivals = Vec::new();
    for step in Step::ALL {
        let arrival = make(world, pipeline, shutdown, step).await?;
        progress::say(&arrival.line());
        arrivals.push(arrival);
    }
    settle(pipeline, shutdown).await.context("the changes did not come to their end")?;
    let differences = world.differences();
    Ok(Summary::new(world, pipeline.view(), arrivals, differences, initial, started.elapsed()))
}

/// Waits until everything has been read and applied.
async fn settle(pipeline: &mut Pipeline, shutdown: &Shutdown) -> Result<()> {
    let mut progress = Progress::new(pipeline.view());
    match pipeline.wait(Until::Idle { patience: PATIENCE }, shutdown, |view| progress.show(view)).await? {
        Ending::Idle => Ok(()),
        Ending::Signalled => bail!("interrupted"),
        Ending::Turned => bail!("the configuration was removed"),
        Ending::Patience(waited_for) => {
            bail!("nothing went on for {} s; waited for {waited_for}", PATIENCE.as_secs())
        }
    }
}

/// Makes one change and waits until the tenant is as it should be.
async fn make(world: &mut World, pipeline: &mut Pipeline, shutdown: &Shutdown, step: Step) -> Result<Arrival> {
    let before = world.expected();
    let writes = world.write_count();
    let made = Instant::now();
    let what = changes::make(world, step).await?;
    let expected = world.expected();
    if expected.users == before.users && expected.groups == before.groups {
        return Ok(Arrival::new(what, None));
    }
    loop {
        let differences = world.differences_to(&expected);
        if differences.is_empty() {
            break;
        }
        if made.elapsed() > ARRIVAL {
            return Ok(Arrival::late(what, differences));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.stop.cancelled() => bail!("interrupted"),
            failure = pipeline.failure() => return Err(failure),
        }
    }
    // the tenant keeps the moment of each write, so the delay is not rounded up to the next look
    let delay = world.last_write_since(writes).map(|at| at.saturating_duration_since(made));
    Ok(Arrival::new(what, Some(delay.unwrap_or_else(|| made.elapsed()))))
}
