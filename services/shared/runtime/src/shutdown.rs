//! Ending: SIGTERM and SIGINT become a token that everything watches.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals ask for.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled by the first SIGTERM or SIGINT: finish what is begun, lose nothing, end.
    pub stop: CancellationToken,
    /// Cancelled by the second one: end now.
    pub abort: CancellationToken,
}

/// Installs the handlers. MUST be called within a tokio runtime; from then on the signals no longer end the process by
/// themselves.
pub fn on_signals() -> io::Result<Shutdown> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = Shutdown { stop: CancellationToken::new(), abort: CancellationToken::new() };
    let tokens = shutdown.clone();
    tokio::spawn(async move {
        for token in [tokens.stop, tokens.abort] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(shutdown)
}
