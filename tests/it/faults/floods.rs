//! C16: HTTP/2 clients that send frames which cost them nothing. Written by hand, since no proper
//! client would send them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{CHAT, Request};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, pair, patiently, size};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;

/// `:method: POST`, `:scheme: http`, `:path: /v1/chat/completions`, `:authority: localhost`
/// (RFC 7541: indexed, and literals without Huffman).
const POST: &[u8] = b"\x83\x86\x04\x14/v1/chat/completions\x01\x09localhost";

/// How much memory a flood may cost.
const MOST_KIB: u64 = 64 << 10;

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A flood: what opens it, and what is sent again and again.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let begun = frame(HEADERS, 0, 1, POST);
    let open = frame(HEADERS, END_HEADERS, 1, POST);
    let more_headers = [b"\x00\x05x-pad\x7f\x81\x1f".as_slice(), &[b'a'; 4096]].concat();
    vec![
        (
            "CONTINUATION",
            begun.clone(),
            frame(CONTINUATION, 0, 1, &more_headers),
        ),
        ("empty CONTINUATION", begun, frame(CONTINUATION, 0, 1, &[])),
        ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, &[])),
        ("PING", Vec::new(), frame(PING, 0, 0, &[7; 8])),
        ("empty DATA", open, frame(DATA, 0, 1, &[])),
        (
            "PRIORITY",
            Vec::new(),
            frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]),
        ),
        (
            "WINDOW_UPDATE",
            Vec::new(),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
    ]
}

/// Sends a flood without reading anything, as fast as it is taken, until the gateway has enough or
/// takes no more.
async fn pour(gateway: &Gateway, opening: &[u8], repeated: &[u8], times: usize) {
    let stream = TcpStream::connect(gateway.address()).await;
    let mut stream = stream.expect("a connection");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let opening = [preface.as_slice(), &frame(SETTINGS, 0, 0, &[]), opening].concat();
    let batch = repeated.repeat(64);
    let pouring = async {
        stream.write_all(&opening).await?;
        for _ in 0..times.div_ceil(64) {
            stream.write_all(&batch).await?;
        }
        std::io::Result::Ok(())
    };
    // Held up, cut off or swallowed: it is the gateway's choice.
    let _ = tokio::time::timeout(Duration::from_secs(1), pouring).await;
    let mut last = Vec::new();
    let reading = stream.read_to_end(&mut last);
    let _ = tokio::time::timeout(Duration::from_millis(100), reading).await;
}

/// Resident memory of a process in KiB; 0 where the platform does not say.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn c16_ab2_frames_that_cost_nothing_take_neither_memory_nor_service() {
    let times = size("LLMPROXY_FRAMES", 20_000);
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    for _ in 0..20 {
        assert_eq!(gateway.chat(CHAT).await.status, 200);
    }
    let before = memory(gateway.pid());
    for (name, opening, repeated) in floods() {
        let pouring = async {
            let floods = (0..4).map(|_| pour(&gateway, &opening, &repeated, times));
            futures_util::future::join_all(floods).await;
        };
        let asking = async {
            for _ in 0..20 {
                let answer = gateway.send(&Request::chat(CHAT)).await;
                assert_eq!(answer.status, 200, "during {name}");
            }
        };
        patiently(name, async { tokio::join!(pouring, asking) }).await;
        let more = memory(gateway.pid()).saturating_sub(before);
        assert!(more < MOST_KIB, "{name}: {more} KiB more");
    }
    gateway.idle().await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
}
