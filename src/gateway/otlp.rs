//! Sends finished requests as traces to a collector: OTLP over HTTP in JSON. Serving never waits for
//! it, and a collector that is gone costs a bounded queue and a count of what was dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::gateway::upstream::{
    self, Address, Client, ClientError, Limits, Outbound, SendError, Way,
};
use crate::providers::hints;
use crate::telemetry::journal::Story;
use crate::telemetry::traces::Trace;
use crate::telemetry::traces::settings::Settings;
use crate::telemetry::traces::wire;
use crate::time::Timestamp;

/// How long a connection to the collector may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The first pause before a batch is sent again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Largest answer of a collector that is read.
const MAX_ANSWER: usize = 64 << 10;

/// What collectors may be asked again after (OTLP 1.x, "retryable response codes").
const RETRYABLE: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Sends what a gateway finishes.
pub struct Exporter {
    gateway: Arc<Gateway>,
    settings: Settings,
    client: Client,
    url: Address,
    stories: Receiver<Arc<dyn Story>>,
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0} is no address")]
    Address(String),
    #[error("it was begun before")]
    Begun,
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why a batch did not arrive.
enum Undelivered {
    /// It never will.
    ForGood(String),
    /// It may, after the pause that the collector asks for.
    Later(String, Option<Duration>),
}

impl Exporter {
    /// Has the gateway's finished requests traced from now on.
    pub fn start(gateway: &Arc<Gateway>, settings: Settings) -> Result<Self, StartError> {
        let url = Address::parse(&settings.endpoint)
            .map_err(|_| StartError::Address(settings.endpoint.clone()))?;
        let client = upstream::client(Way::Environment, CONNECT)?;
        let stories = gateway.telemetry.traces.start(&settings);
        Ok(Self {
            gateway: Arc::clone(gateway),
            settings,
            client,
            url,
            stories: stories.ok_or(StartError::Begun)?,
        })
    }

    /// Exports batches until told to close, and then what is left.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut was_down = false;
        while let Some(batch) = self.next_batch(&closing).await {
            let traces: Vec<Trace> = batch.iter().map(|story| story.trace()).collect();
            let counts = &self.gateway.telemetry.traces;
            match self.deliver(&traces).await {
                Ok(()) => {
                    counts.note_exported(traces.len());
                    was_down = false;
                }
                Err(why) => {
                    counts.note_dropped(traces.len());
                    let host = self.url.host();
                    // Said once; the count tells the rest.
                    if was_down {
                        tracing::debug!("traces do not reach {host}: {why}");
                    } else {
                        tracing::warn!("traces do not reach {host} and are dropped: {why}");
                    }
                    was_down = true;
                }
            }
        }
    }

    /// The next requests to export, once there are enough or the first has waited long enough.
    async fn next_batch(&mut self, closing: &CancellationToken) -> Option<Vec<Arc<dyn Story>>> {
        let mut batch = Vec::new();
        let mut until: Option<Instant> = None;
        while batch.len() < self.settings.max_batch {
            let story = tokio::select! {
                biased;
                story = self.stories.recv() => story,
                () = closing.cancelled(), if !self.stories.is_closed() => {
                    // What is in it still comes out.
                    self.stories.close();
                    continue;
                }
                () = due(until) => break,
            };
            let Some(story) = story else { break };
            batch.push(story);
            until = until.or(Some(Instant::now() + self.settings.delay));
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Sends a batch, again where that may help, for as long as a batch may take.
    async fn deliver(&self, traces: &[Trace]) -> Result<(), String> {
        let body = Bytes::from(wire::request(&self.settings.resource, traces));
        let end = Instant::now() + self.settings.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = timeout_at(end, self.post(body.clone())).await;
            let (why, asked) = match sent {
                Err(_) => return Err("no answer in time".to_owned()),
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Undelivered::ForGood(why))) => return Err(why),
                Ok(Err(Undelivered::Later(why, asked))) => (why, asked),
            };
            let wait = asked.unwrap_or_else(|| pause.mul_f64(0.5 + fastrand::f64()));
            if Instant::now() + wait >= end {
                return Err(why);
            }
            sleep(wait).await;
            pause *= 2;
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Undelivered> {
        let mut headers: HeaderMap = self.settings.headers.clone();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let outbound = Outbound {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body,
        };
        let limit = self.settings.timeout;
        let limits = Limits {
            first_byte: limit,
            idle: limit,
            total: limit,
        };
        let sent = upstream::send(&self.client, outbound, limits).await;
        let later = |error: SendError| Undelivered::Later(error.to_string(), None);
        let mut reply = sent.map_err(later)?;
        let status = reply.status;
        if RETRYABLE.contains(&status) {
            let now = Timestamp::now();
            let hint = hints::hint(status.as_u16(), &reply.headers, &[], now);
            let asked = hint.map(|hint| now.until(hint.end(now)));
            return Err(Undelivered::Later(status.to_string(), asked));
        }
        if !status.is_success() {
            return Err(Undelivered::ForGood(status.to_string()));
        }
        let answer = reply.body.read_prefix(MAX_ANSWER).await;
        match wire::rejected(&answer) {
            0 => {}
            spans => tracing::debug!("the collector has refused {spans} spans"),
        }
        Ok(())
    }
}

/// Waits for a time; for ever where there is none.
async fn due(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
