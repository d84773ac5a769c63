//! Waiting for conditions.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Asks `condition` until it says nothing is wrong any more; panics with what was wrong last once `limit` has passed.
pub async fn until<F, Fut>(what: &str, limit: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let start = Instant::now();
    loop {
        let wrong = match condition().await {
            Ok(()) => return,
            Err(wrong) => wrong,
        };
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}: {wrong}");
        sleep(Duration::from_millis(25)).await;
    }
}
