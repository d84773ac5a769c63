//! Anchors of the log's chains are taken elsewhere: what is exported agrees with the log.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use forestsync_log::chain::Anchor;
use forestsync_log::{EmbeddedLog, Log as _, NewRecord};
use forestsync_provisioner::{AuditConfig, WebhookConfig, export_anchors};
use forestsync_runtime::secret::SecretRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers one request after the other with a status, and gives what it was sent.
async fn endpoint(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                return body.to_owned();
            }
        }
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        request.extend_from_slice(&part[..count]);
    }
}

async fn append(log: &EmbeddedLog, stream: &str) {
    let mut writer = log.writer(&stream.parse().unwrap()).await.unwrap();
    writer.append(vec![NewRecord::new(None::<&str>, "{}")]).await.unwrap();
}

/// What is exported agrees with the log, is not exported again, and survives an endpoint and a folder that fail.
#[tokio::test]
async fn anchors_are_taken_elsewhere_until_they_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path().join("log")).unwrap();
    append(&log, "changes.corp.corp.example").await;
    append(&log, "somebody-elses").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = dir.path().join("url");
    std::fs::write(&url, format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let folder = dir.path().join("evidence");
    let file = folder.join("anchors.jsonl");
    let url = SecretRef { file: Some(url), env: None };
    let webhook = WebhookConfig { url, key: None, base: dir.path().to_owned(), ca_file: None };
    let every = Duration::from_millis(20);
    let config = AuditConfig { file: Some(file.clone()), webhook: Some(webhook), every };
    let stop = CancellationToken::new();
    let exporter = tokio::spawn(export_anchors(Arc::new(log.clone()), config, stop.clone()));
    // neither place takes anything at first
    endpoint(&listener, "503 Busy").await;
    std::fs::create_dir(&folder).unwrap();
    let body: serde_json::Value = serde_json::from_str(&endpoint(&listener, "204 Taken").await).unwrap();
    let anchors: Vec<Anchor> = serde_json::from_value(body["anchors"].clone()).unwrap();
    let (stream, other) = ("changes.corp.corp.example".parse().unwrap(), "control.contoso".parse().unwrap());
    assert_eq!(anchors.iter().map(|a| (&a.stream, a.offset)).collect::<Vec<_>>(), [(&stream, 0)]);
    append(&log, "control.contoso").await;
    let body: serde_json::Value = serde_json::from_str(&endpoint(&listener, "204 Taken").await).unwrap();
    assert_eq!(body["anchors"].as_array().unwrap().len(), 1, "what did not grow is not told again: {body}");
    stop.cancel();
    exporter.await.unwrap();
    let kept = Anchor::read(&file).unwrap();
    assert_eq!(kept.iter().map(|a| (&a.stream, a.offset)).collect::<Vec<_>>(), [(&stream, 0), (&other, 0)]);
    for stream in [stream, other] {
        let verdict = forestsync_log::chain::verify(&log, &stream, &kept, &mut |_, _| ()).await.unwrap();
        assert_eq!((verdict.anchors, verdict.broken), (1, None));
    }
}
