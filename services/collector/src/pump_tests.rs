use std::sync::atomic::AtomicUsize;

use tokio::io::duplex;
use tokio::task::{JoinHandle, yield_now};

use super::*;

/// LDAPMessage { id, op { OCTET STRING of `size` } }
fn message(id: u8, op: u8, size: usize) -> Vec<u8> {
    let mut out = vec![0x30, 0x84];
    out.extend((size as u32 + 15).to_be_bytes());
    out.extend([2, 1, id, op, 0x84]);
    out.extend((size as u32 + 6).to_be_bytes());
    out.extend([4, 0x84]);
    out.extend((size as u32).to_be_bytes());
    out.resize(out.len() + size, b'x');
    out
}

struct Pumped {
    controller: tokio::io::DuplexStream,
    client: UnixStream,
    entries: mpsc::UnboundedReceiver<Chunk>,
    flow: Arc<Flow>,
    task: JoinHandle<()>,
}

/// What the network between a pretended controller and the pump holds.
const NETWORK_BYTES: usize = 16 * 1024;

/// A pump between a pretended controller and a pretended client.
fn pumped(window: u32) -> Pumped {
    let (controller, pump_side) = duplex(NETWORK_BYTES);
    let (client, inner) = UnixStream::pair().unwrap();
    let (sender, entries) = mpsc::unbounded_channel();
    let flow = Arc::new(Flow::new(window));
    let shared = Arc::clone(&flow);
    let task = tokio::spawn(async move { run(pump_side, inner, sender, &shared).await });
    Pumped { controller, client, entries, flow, task }
}

#[tokio::test]
async fn a_slow_consumer_bounds_what_is_under_way() {
    const WINDOW: u32 = 200_000;
    let Pumped { mut controller, mut entries, flow, task, client: _client } = pumped(WINDOW);
    let entry = message(1, op::SEARCH_ENTRY, 980);
    let (size, total) = (entry.len(), 5_000);
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let writer = tokio::spawn(async move {
        for _ in 0..total {
            controller.write_all(&entry).await.unwrap();
            counter.fetch_add(entry.len(), Ordering::AcqRel);
        }
    });
    // nothing is consumed: the window fills, and everything stands still
    let mut still = 0;
    let mut before = 0;
    while still < 1_000 {
        yield_now().await;
        let now = taken.load(Ordering::Acquire);
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    let most = WINDOW as usize + RUN_BYTES + CHUNK_BYTES + NETWORK_BYTES + size;
    assert!((100_000..=most).contains(&before), "the controller could send {before} bytes, {most} at most");
    let mut got = 0;
    while got < total * size {
        let chunk = entries.recv().await.unwrap();
        assert!(chunk.messages.len() <= RUN_BYTES && chunk.messages.len().is_multiple_of(size));
        got += chunk.messages.len();
    }
    writer.await.unwrap();
    task.await.unwrap();
    assert_eq!(flow.end(), Some(EndReason::Closed));
}

#[tokio::test]
async fn an_entry_larger_than_the_window_passes_alone() {
    let Pumped { mut controller, mut entries, client: _client, .. } = pumped(1_000);
    let large = message(1, op::SEARCH_ENTRY, 300_000);
    for _ in 0..3 {
        let expected = large.clone();
        let (sent, chunk) = tokio::join!(controller.write_all(&large), entries.recv());
        sent.unwrap();
        assert_eq!(chunk.unwrap().messages, expected);
    }
}

#[tokio::test]
async fn entries_come_before_the_result_that_follows_them() {
    let Pumped { mut controller, mut client, mut entries, .. } = pumped(100_000);
    // SearchResultDone { 0, "", "" }
    let result = vec![0x30, 12, 2, 1, 1, 0x65, 7, 10, 1, 0, 4, 0, 4, 0];
    let entry = message(1, op::SEARCH_ENTRY, 10);
    let bytes = [entry.clone(), message(2, op::SEARCH_REFERENCE, 3), result.clone()].concat();
    // byte by byte, so that every message comes in parts
    for byte in bytes {
        controller.write_all(&[byte]).await.unwrap();
        yield_now().await;
    }
    let mut got = vec![0; result.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, result, "the client sees results only");
    let mut seen = Vec::new();
    while let Ok(chunk) = entries.try_recv() {
        seen.extend(chunk.messages);
    }
    assert_eq!(seen, [entry, message(2, op::SEARCH_REFERENCE, 3)].concat());
}

#[tokio::test]
async fn what_the_client_cannot_bear_ends_the_connection_with_its_reason() {
    // ExtendedResponse { strongerAuth (8), "", "go away" }
    let extended = |id| {
        let mut out = vec![0x30, 19, 2, 1, id, 0x78, 14, 10, 1, 8, 4, 0, 4, 7];
        out.extend(b"go away");
        out
    };
    let text = "go away".to_owned();
    let expectations = [
        (extended(0), EndReason::Notice { code: 8, text: text.clone() }),
        (extended(3), EndReason::Rejected { code: 8, text }),
        (vec![0x16, 3, 1, 2, 0], EndReason::Frame(frame::FrameError::Start(0x16))),
        (vec![0x30, 5, 2, 1, 1, 0x64, 9], EndReason::Frame(frame::FrameError::Overrun)),
        (message(1, op::BIND_RESPONSE, 1), EndReason::Frame(frame::FrameError::Result)),
        (message(1, 0x65, 1), EndReason::Frame(frame::FrameError::Result)),
        (message(1, 0x67, 1), EndReason::Frame(frame::FrameError::Operation(0x67))),
    ];
    for (bytes, reason) in expectations {
        let Pumped { mut controller, mut client, mut entries, flow, task } = pumped(1_000);
        let entry = message(1, op::SEARCH_ENTRY, 10);
        controller.write_all(&[entry.clone(), bytes].concat()).await.unwrap();
        task.await.unwrap();
        assert_eq!(flow.end(), Some(reason));
        assert_eq!(entries.recv().await.unwrap().messages, entry, "what came before is delivered");
        assert!(entries.recv().await.is_none());
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got.is_empty());
    }
}

#[tokio::test]
async fn requests_go_through_and_the_clients_end_is_noticed() {
    let Pumped { mut controller, mut client, flow, task, .. } = pumped(1_000);
    client.write_all(b"request").await.unwrap();
    let mut got = [0; 7];
    controller.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"request");
    drop(client);
    task.await.unwrap();
    assert_eq!(flow.end(), Some(EndReason::Client));
}
