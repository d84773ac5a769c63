//! The admin endpoint over real sockets.

#![allow(clippy::unwrap_used)]

use forestsync_host::{Admin, Board, metering};
use forestsync_runtime::metrics as names;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn get(admin: &Admin, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(admin.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test]
async fn tells_states_and_numbers() {
    let board = Board::default();
    let metrics = metering::install().unwrap();
    let admin = Admin::listen("127.0.0.1:0".parse().unwrap(), board.clone(), metrics).await.unwrap();
    assert_eq!(get(&admin, "/healthz").await.0, 200);
    let (status, said) = get(&admin, "/readyz").await;
    assert_eq!(status, 503);
    assert!(said.contains("it is not a member of its group yet"), "{said}");
    board.trouble("log", Some("no broker answers".into()));
    assert!(get(&admin, "/readyz").await.1.contains("log: no broker answers"));
    metering::gauge(names::STREAM_OWNED, &[("service", "collector"), ("stream", "changes.a.b")], 1.0);
    let mut totals = metering::Totals::default();
    for total in [3, 5] {
        totals.count(names::COLLECTOR_EVENTS, &[("stream", "changes.a.b")], total);
    }
    let (status, said) = get(&admin, "/metrics").await;
    assert_eq!(status, 200);
    assert!(said.contains("forestsync_stream_owned{service=\"collector\",stream=\"changes.a.b\"} 1"), "{said}");
    assert!(said.contains("forestsync_collector_events_total{stream=\"changes.a.b\"} 5"), "{said}");
    assert!(said.contains("# HELP forestsync_stream_owned "), "{said}");
    assert_eq!(get(&admin, "/other").await.0, 404);
}
