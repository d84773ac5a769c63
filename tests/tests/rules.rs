//! Scope, joins and hand-over in front of directories: three practice forests, and three Samba forests as the truth.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use forestsync_tests::rules::Stage;
use forestsync_tests::{peers, samba};

#[tokio::test(flavor = "multi_thread")]
async fn in_practice_forests() {
    Stage::practice().await.play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_samba_forests() {
    if let Some(why) = samba::missing() {
        return peers::skipped("Samba AD DC", why);
    }
    Stage::samba(&[1, 2, 3]).await.play().await;
    peers::ran("Samba AD DC");
}
