//! The load generator: so many connections, each asking again as soon as it is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpStream;

use crate::Result;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub name: &'static str,
    model: &'static str,
    prompt_bytes: usize,
    pub streams: bool,
}

impl Workload {
    pub(crate) const SMALL: Self = Self {
        name: "whole, 1 KB body",
        model: "fake/whole",
        prompt_bytes: 900,
        streams: false,
    };
    pub(crate) const LARGE: Self = Self {
        name: "whole, 100 KB body",
        model: "fake/whole",
        prompt_bytes: 100_000,
        streams: false,
    };
    pub(crate) const STREAM: Self = Self {
        name: "stream, a write an event",
        model: "fake/each",
        prompt_bytes: 900,
        streams: true,
    };
    pub(crate) const BURST: Self = Self {
        name: "stream, 20 events a write",
        model: "fake/burst",
        prompt_bytes: 900,
        streams: true,
    };

    fn body(self) -> Bytes {
        let line = "Tell me \\\"more\\\" about that,\\nand take your time. ";
        let prompt = line.repeat(self.prompt_bytes / line.len() + 1);
        let (model, streams) = (self.model, self.streams);
        Bytes::from(format!(
            "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}],\
             \"stream\":{streams},\"stream_options\":{{\"include_usage\":true}}}}"
        ))
    }
}

/// What one or more rounds came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// From sending a request to the end of its answer.
    latencies: Vec<Duration>,
    /// From sending a request to the first byte of its answer's body.
    first_bytes: Vec<Duration>,
    pub events: usize,
    pub elapsed: Duration,
    /// CPU time of the gateway.
    pub cpu: Duration,
}

impl Sample {
    /// Adds another round's.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.first_bytes.extend(other.first_bytes);
        self.events += other.events;
        self.elapsed += other.elapsed;
        self.cpu += other.cpu;
    }

    /// How many requests were answered.
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// The latency that `percent` of the requests stayed below.
    pub(crate) fn latency(&self, percent: usize) -> Duration {
        percentile(&self.latencies, percent)
    }

    /// The time to the first byte of the body that `percent` of the requests stayed below.
    pub(crate) fn first_byte(&self, percent: usize) -> Duration {
        percentile(&self.first_bytes, percent)
    }
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Loads `target` for `time`. Any answer but a whole 200 is an error: a fast refusal is no speed.
pub(crate) async fn run(
    target: SocketAddr,
    workload: Workload,
    connections: usize,
    time: Duration,
) -> Result<Sample> {
    let body = workload.body();
    let mut senders = Vec::new();
    for _ in 0..connections {
        senders.push(connect(target).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = senders
        .into_iter()
        .map(|sender| tokio::spawn(ask_until(sender, body.clone(), begun + time)))
        .collect();
    let mut sample = Sample::default();
    for task in tasks {
        sample.add(task.await??);
    }
    sample.elapsed = begun.elapsed();
    Ok(sample)
}

async fn connect(target: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask_until(
    mut sender: SendRequest<Full<Bytes>>,
    body: Bytes,
    end: Instant,
) -> Result<Sample> {
    let mut sample = Sample::default();
    while Instant::now() < end {
        let request = Request::post("/v1/chat/completions")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("authorization", "Bearer client-key")
            .body(Full::new(body.clone()))?;
        let begun = Instant::now();
        sender.ready().await?;
        let mut answer = sender.send_request(request).await?;
        let mut first_byte = None;
        let mut answer_bytes = Vec::new();
        while let Some(frame) = answer.frame().await {
            first_byte.get_or_insert_with(|| begun.elapsed());
            if let Ok(data) = frame?.into_data() {
                sample.events += memmem::find_iter(&data, b"data: {").count();
                answer_bytes = data.to_vec();
            }
        }
        if answer.status() != StatusCode::OK {
            let text = String::from_utf8_lossy(&answer_bytes);
            return Err(format!("{} from the gateway: {text}", answer.status()).into());
        }
        sample.latencies.push(begun.elapsed());
        sample.first_bytes.push(first_byte.unwrap_or_default());
    }
    Ok(sample)
}
