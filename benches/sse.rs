//! Cutting a stream into frames and observing them, for chunks of one frame, of many, and of one
//! byte; and one long line. `cargo bench --bench sse`.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use llmproxy::dialects::observe::observer;
use llmproxy::dialects::sse::Splitter;
use llmproxy::dialects::{Dialect, Operation};

fn main() {
    divan::main();
}

/// An OpenAI chunk as it comes: about 250 bytes around one word.
const FRAME: &str = "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\",\
\"created\":1764000000,\"model\":\"gpt-5.1-2026-01-01\",\"service_tier\":\"default\",\
\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":null}],\
\"usage\":null}\n\n";

const FRAMES: usize = 1000;

/// The stream in chunks of so many bytes; 0: one frame a chunk.
fn chunks(chunk_bytes: usize) -> Vec<Bytes> {
    let stream = Bytes::from(FRAME.repeat(FRAMES));
    let size = if chunk_bytes == 0 {
        FRAME.len()
    } else {
        chunk_bytes
    };
    (0..stream.len())
        .step_by(size)
        .map(|at| stream.slice(at..stream.len().min(at + size)))
        .collect()
}

#[divan::bench(args = [0, 1, 100, 1400, 16 * 1024])]
fn split(bencher: Bencher<'_, '_>, chunk_bytes: usize) {
    let chunks = chunks(chunk_bytes);
    bencher
        .counter(ItemsCount::new(FRAMES))
        .counter(BytesCount::new(FRAME.len() * FRAMES))
        .bench(|| {
            let mut splitter = Splitter::new();
            let mut raw_bytes = 0;
            for chunk in &chunks {
                splitter.push(chunk.clone());
                while let Some(Ok(frame)) = splitter.next() {
                    raw_bytes += frame.raw.len();
                }
            }
            raw_bytes
        });
}

#[divan::bench(args = [0, 16 * 1024])]
fn split_and_observe(bencher: Bencher<'_, '_>, chunk_bytes: usize) {
    let chunks = chunks(chunk_bytes);
    bencher
        .counter(ItemsCount::new(FRAMES))
        .counter(BytesCount::new(FRAME.len() * FRAMES))
        .bench(|| {
            let mut splitter = Splitter::new();
            let mut observer = observer(Dialect::OpenAiChat, Operation::Chat);
            for chunk in &chunks {
                splitter.push(chunk.clone());
                loop {
                    let skimmed = splitter.ahead().map(|ahead| observer.skim(ahead));
                    splitter.advance(skimmed.unwrap_or_default().length);
                    let Some(Ok(frame)) = splitter.next() else {
                        break;
                    };
                    observer.frame(&frame);
                }
            }
            observer.output_chars()
        });
}

/// What observation saves: the same frames, each parsed.
#[divan::bench]
fn split_and_parse_all(bencher: Bencher<'_, '_>) {
    let chunks = chunks(0);
    bencher.counter(ItemsCount::new(FRAMES)).bench(|| {
        let mut splitter = Splitter::new();
        let mut parsed = 0;
        for chunk in &chunks {
            splitter.push(chunk.clone());
            while let Some(Ok(frame)) = splitter.next() {
                let value = serde_json::from_slice::<serde_json::Value>(&frame.data());
                parsed += usize::from(value.is_ok());
            }
        }
        parsed
    });
}

/// One line of 4 MiB (a picture), in network-sized chunks: linear, or minutes.
#[divan::bench]
fn split_long_line(bencher: Bencher<'_, '_>) {
    let line = Bytes::from(format!("data: {}\n\n", "x".repeat(4 * 1024 * 1024)));
    bencher.counter(BytesCount::new(line.len())).bench(|| {
        let mut splitter = Splitter::new();
        for at in (0..line.len()).step_by(1400) {
            splitter.push(line.slice(at..line.len().min(at + 1400)));
            if let Some(Ok(frame)) = splitter.next() {
                return frame.raw.len();
            }
        }
        0
    });
}
