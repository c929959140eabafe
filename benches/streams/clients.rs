//! The clients: open so many streams, wait, leave, as told on stdin.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{Result, say};

/// Streams being opened at once.
const OPENING: usize = 200;

pub(crate) async fn run() -> Result<()> {
    let mut streams = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, count, prompt, address] = words.as_slice() else {
            streams.clear();
            say("left")?;
            continue;
        };
        match open(count.parse()?, prompt.parse()?, address.parse()?).await {
            Ok(opened) => {
                streams = opened;
                say("open")?;
            }
            Err(error) => say(&error.to_string())?,
        }
    }
    Ok(())
}

async fn open(count: usize, prompt: usize, address: SocketAddr) -> Result<Vec<TcpStream>> {
    let places = Arc::new(Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let place = Arc::clone(&places).acquire_owned().await?;
        opening.spawn(async move {
            let stream = one(prompt, address).await;
            drop(place);
            stream
        });
    }
    let mut streams = Vec::with_capacity(count);
    while let Some(stream) = opening.join_next().await {
        streams.push(stream??);
    }
    Ok(streams)
}

/// A stream whose first event has come.
async fn one(prompt: usize, address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let prompt = "x".repeat(prompt);
    let body = format!(
        "{{\"model\":\"fake/m\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}"
    );
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut seen = Vec::new();
    while !seen.windows(6).any(|bytes| bytes == b" word\"") {
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(format!("a stream ended: {}", String::from_utf8_lossy(&seen)).into());
        }
    }
    Ok(stream)
}
