//! The load generator: so many connections, each asking again as soon as it is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use llmproxy::dialects::Dialect;
use memchr::memmem;
use tokio::net::TcpStream;

use crate::Result;

/// What is asked for, in which dialect, of which provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub name: &'static str,
    client: Dialect,
    model: &'static str,
    prompt_bytes: usize,
    pub streams: bool,
}

/// How fast a load asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Again as soon as it is answered.
    Closed,
    /// So many requests a second, over all connections together.
    Fixed(u32),
}

impl Workload {
    pub(crate) const SMALL: Self =
        Self::whole("whole, 1 KB body", Dialect::OpenAiChat, "fake/whole");
    pub(crate) const LARGE: Self = Self {
        name: "whole, 100 KB body",
        prompt_bytes: 100_000,
        ..Self::SMALL
    };
    pub(crate) const STREAM: Self = Self {
        name: "stream, a write an event",
        model: "fake/each",
        streams: true,
        ..Self::SMALL
    };
    pub(crate) const BURST: Self = Self::burst(
        "stream, 20 events a write",
        Dialect::OpenAiChat,
        "fake/burst",
    );

    /// From each dialect into OpenAI's, and from OpenAI's into each.
    pub(crate) const TRANSLATED: [Self; 12] = [
        Self::whole("Anthropic to OpenAI", Dialect::Anthropic, "fake/whole"),
        Self::burst(
            "Anthropic to OpenAI, stream",
            Dialect::Anthropic,
            "fake/burst",
        ),
        Self::whole("Gemini to OpenAI", Dialect::Gemini, "fake/whole"),
        Self::burst("Gemini to OpenAI, stream", Dialect::Gemini, "fake/burst"),
        Self::whole(
            "Responses to OpenAI",
            Dialect::OpenAiResponses,
            "fake/whole",
        ),
        Self::burst(
            "Responses to OpenAI, stream",
            Dialect::OpenAiResponses,
            "fake/burst",
        ),
        Self::whole("OpenAI to Anthropic", Dialect::OpenAiChat, "fake_a/a-whole"),
        Self::burst(
            "OpenAI to Anthropic, stream",
            Dialect::OpenAiChat,
            "fake_a/a-burst",
        ),
        Self::whole("OpenAI to Gemini", Dialect::OpenAiChat, "fake_g/g-whole"),
        Self::burst(
            "OpenAI to Gemini, stream",
            Dialect::OpenAiChat,
            "fake_g/g-burst",
        ),
        Self::whole("OpenAI to Responses", Dialect::OpenAiChat, "fake_r/r-whole"),
        Self::burst(
            "OpenAI to Responses, stream",
            Dialect::OpenAiChat,
            "fake_r/r-burst",
        ),
    ];

    const fn whole(name: &'static str, client: Dialect, model: &'static str) -> Self {
        Self {
            name,
            client,
            model,
            prompt_bytes: 900,
            streams: false,
        }
    }

    const fn burst(name: &'static str, client: Dialect, model: &'static str) -> Self {
        Self {
            streams: true,
            ..Self::whole(name, client, model)
        }
    }

    fn path(self) -> String {
        let model = self.model;
        match (self.client, self.streams) {
            (Dialect::Anthropic, _) => "/v1/messages".to_owned(),
            (Dialect::Gemini, true) => {
                format!("/v1beta/models/{model}:streamGenerateContent?alt=sse")
            }
            (Dialect::Gemini, false) => format!("/v1beta/models/{model}:generateContent"),
            (Dialect::OpenAiChat, _) => "/v1/chat/completions".to_owned(),
            (Dialect::OpenAiResponses, _) => "/v1/responses".to_owned(),
        }
    }

    fn body(self) -> Bytes {
        let line = "Tell me \\\"more\\\" about that,\\nand take your time. ";
        let prompt = line.repeat(self.prompt_bytes / line.len() + 1);
        let (model, streams) = (self.model, self.streams);
        let turn = format!("[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]");
        Bytes::from(match self.client {
            Dialect::Anthropic => format!(
                "{{\"model\":\"{model}\",\"max_tokens\":1000,\"messages\":{turn},\"stream\":{streams}}}"
            ),
            // The name is for the pass-through's upstream, which sees no path of ours.
            Dialect::Gemini => format!(
                "{{\"contents\":[{{\"role\":\"user\",\"parts\":[{{\"text\":\"{prompt}\"}}]}}],\
                 \"labels\":{{\"model\":\"{model}\"}}}}"
            ),
            Dialect::OpenAiChat => format!(
                "{{\"model\":\"{model}\",\"messages\":{turn},\
                 \"stream\":{streams},\"stream_options\":{{\"include_usage\":true}}}}"
            ),
            Dialect::OpenAiResponses => {
                format!("{{\"model\":\"{model}\",\"input\":{turn},\"stream\":{streams}}}")
            }
        })
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
    pace: Pace,
    time: Duration,
) -> Result<Sample> {
    let (path, body) = (workload.path(), workload.body());
    let mut senders = Vec::new();
    for _ in 0..connections {
        senders.push(connect(target).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(at, sender)| {
            let beat = Beat::of(pace, connections, at, begun);
            tokio::spawn(ask_until(
                sender,
                path.clone(),
                body.clone(),
                beat,
                begun + time,
            ))
        })
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

/// When one connection asks.
#[derive(Clone, Copy, Debug)]
struct Beat {
    next: Instant,
    /// Between two requests; `None`: as soon as it can.
    step: Option<Duration>,
}

impl Beat {
    fn of(pace: Pace, connections: usize, at: usize, begun: Instant) -> Self {
        let step = match pace {
            Pace::Closed => None,
            Pace::Fixed(rate) => Some(Duration::from_secs_f64(
                whole_number(connections) / f64::from(rate),
            )),
        };
        let offset = step.map_or(Duration::ZERO, |step| {
            step.mul_f64(whole_number(at) / whole_number(connections))
        });
        Self {
            next: begun + offset,
            step,
        }
    }

    /// Waits for the next request's turn, and says since when it is waited for: what comes late
    /// because the answer before did has waited already.
    async fn turn(&mut self) -> Instant {
        let Some(step) = self.step else {
            return Instant::now();
        };
        let due = self.next;
        self.next += step;
        if Instant::now() >= due {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }
}

async fn ask_until(
    mut sender: SendRequest<Full<Bytes>>,
    path: String,
    body: Bytes,
    mut beat: Beat,
    end: Instant,
) -> Result<Sample> {
    let mut sample = Sample::default();
    while Instant::now() < end {
        let request = Request::post(&path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("authorization", "Bearer client-key")
            .body(Full::new(body.clone()))?;
        let begun = beat.turn().await;
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

fn whole_number(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
    let count = count as f64;
    count
}
