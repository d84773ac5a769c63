use std::sync::Arc;

use tokio::io::duplex;

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

/// A pump between a pretended controller and a pretended client.
fn pumped(window: usize) -> (tokio::io::DuplexStream, UnixStream, Arc<Flow>, tokio::task::JoinHandle<()>) {
    let (controller, pump_side) = duplex(1 << 20);
    let (client, inner) = UnixStream::pair().unwrap();
    let flow = Arc::new(Flow::new(window));
    let shared = Arc::clone(&flow);
    let task = tokio::spawn(async move { run(pump_side, inner, &shared).await });
    (controller, client, flow, task)
}

#[tokio::test]
async fn a_slow_consumer_bounds_what_is_under_way() {
    let (mut controller, mut client, flow, task) = pumped(10_000);
    let entry = message(1, op::SEARCH_ENTRY, 980);
    let total = 2_000;
    let all = entry.repeat(total);
    let size = entry.len();
    let writer = tokio::spawn(async move {
        controller.write_all(&all).await.unwrap();
        controller
    });
    // nothing is consumed: the window fills and no further byte comes
    let mut got = vec![0; 9 * size];
    client.read_exact(&mut got).await.unwrap();
    for _ in 0..9 {
        flow.consumed_one();
    }
    for _ in 9..total {
        client.read_exact(&mut got[..size]).await.unwrap();
        assert_eq!(got[..size], entry[..]);
        flow.consumed_one();
    }
    let most = flow.most_under_way.load(Ordering::Acquire);
    assert!((9_000..=10_000).contains(&most), "{most} bytes were under way");
    drop(writer.await.unwrap());
    task.await.unwrap();
    assert_eq!(flow.end(), Some(EndReason::Closed));
}

#[tokio::test]
async fn an_entry_larger_than_the_window_passes_alone() {
    let (mut controller, mut client, flow, _task) = pumped(1_000);
    let large = message(1, op::SEARCH_ENTRY, 300_000);
    controller.write_all(&large).await.unwrap();
    let mut got = vec![0; large.len()];
    client.read_exact(&mut got).await.unwrap();
    flow.consumed_one();
    controller.write_all(&large).await.unwrap();
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, large);
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
    ];
    for (bytes, reason) in expectations {
        let (mut controller, mut client, flow, task) = pumped(1_000);
        let entry = message(1, op::SEARCH_ENTRY, 10);
        controller.write_all(&entry).await.unwrap();
        controller.write_all(&bytes).await.unwrap();
        task.await.unwrap();
        assert_eq!(flow.end(), Some(reason));
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, entry, "what came before is delivered, and nothing else");
    }
}

#[tokio::test]
async fn requests_go_through_and_the_clients_end_is_noticed() {
    let (mut controller, mut client, flow, task) = pumped(1_000);
    client.write_all(b"request").await.unwrap();
    let mut got = [0; 7];
    controller.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"request");
    drop(client);
    task.await.unwrap();
    assert_eq!(flow.end(), Some(EndReason::Client));
}
