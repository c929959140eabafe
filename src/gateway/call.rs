//! One upstream call of one request, with one credential.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use tokio::time::Instant;

use crate::dialects::embeddings::{self, EmbeddingsReply};
use crate::gateway::Gateway;
use crate::gateway::answer::{Circumstances, Ready, ReadyBody};
use crate::gateway::exchange::{Back, Batches, Exchange};
use crate::gateway::failure::Lost;
use crate::gateway::headers;
use crate::gateway::inbound::Scanned;
use crate::gateway::plan::Target;
use crate::gateway::upstream::{Client, Outbound, SendError, send};
use crate::ids::CredentialId;
use crate::secret::Secret;

/// A request for one target, ready to be sent with any of its credentials.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub scanned: &'a Scanned<'a>,
    pub target: &'a Target,
    pub exchange: &'a Exchange,
}

/// A credential's secret, and the client of its proxy.
#[derive(Clone, Copy)]
struct Way<'a> {
    client: &'a Client,
    secret: Option<&'a Secret>,
}

impl Caller<'_> {
    /// One call with one credential, up to the first content byte of a good answer. A base URL
    /// that cannot be reached or answers 5xx hands over to the next one.
    pub(super) async fn call(&self, credential: &CredentialId) -> Result<Ready, Lost> {
        let (runtime, exchange) = (&self.target.runtime, self.exchange);
        let secret = runtime.secrets.get(credential);
        let way = Way {
            client: runtime.clients.of(credential),
            secret,
        };
        let headers = self.headers(secret);
        let mut outcome = Err(Lost::unsent(SendError::unconfigured(&runtime.id)));
        for base in &runtime.base_urls {
            let outbound = Outbound {
                method: Method::POST,
                url: runtime
                    .parsed(&runtime.adapter.url(base, &exchange.path))
                    .map_err(Lost::unsent)?,
                headers: headers.clone(),
                body: exchange.body.clone(),
            };
            outcome = self.send(outbound, way).await;
            match &outcome {
                Err(lost) if lost.is_of_the_address() => {}
                _ => break,
            }
        }
        outcome
    }

    async fn send(&self, outbound: Outbound, way: Way<'_>) -> Result<Ready, Lost> {
        if let Back::Embeddings(batches) = &self.exchange.back {
            return self.embed(batches, outbound, way).await;
        }
        let Way { client, secret } = way;
        let runtime = &self.target.runtime;
        let first_byte_by = Instant::now() + runtime.limits.first_byte;
        let reply = send(client, outbound, runtime.limits)
            .await
            .map_err(Lost::unsent)?;
        self.circumstances(secret, first_byte_by).judge(reply).await
    }

    /// Vectors of another dialect: one call after the other, one answer made of all.
    async fn embed(
        &self,
        batches: &Batches,
        outbound: Outbound,
        Way { client, secret }: Way<'_>,
    ) -> Result<Ready, Lost> {
        let (runtime, exchange) = (&self.target.runtime, self.exchange);
        let mut gathered: Option<EmbeddingsReply> = None;
        let mut last = None;
        for (range, body) in &batches.calls {
            let outbound = Outbound {
                body: body.clone(),
                ..outbound.clone()
            };
            let first_byte_by = Instant::now() + runtime.limits.first_byte;
            let reply = send(client, outbound, runtime.limits)
                .await
                .map_err(Lost::unsent)?;
            let circumstances = self.circumstances(secret, first_byte_by);
            let ready = circumstances.judge(reply).await?;
            let ReadyBody::Whole { body, .. } = &ready.body else {
                continue;
            };
            let vectors =
                EmbeddingsReply::read(exchange.dialect, body, range.len()).map_err(|error| {
                    Lost::garbage(ready.status, format!("the vectors cannot be read: {error}"))
                })?;
            match &mut gathered {
                Some(gathered) => gathered.append(vectors),
                None => gathered = Some(vectors),
            }
            last = Some(ready);
        }
        let (Some(mut vectors), Some(ready)) = (gathered, last) else {
            return Err(Lost::unsent(SendError::unconfigured(&runtime.id)));
        };
        if embeddings::needs_normalising(&self.target.model, batches.request.dimensions) {
            vectors.normalise();
        }
        let inbound = self.scanned.inbound;
        let body = batches
            .request
            .write_reply(inbound.dialect, &vectors, &self.scanned.model);
        let body = ReadyBody::Whole {
            body: body.into(),
            usage: vectors.usage,
            output_chars: 0,
        };
        Ok(Ready { body, ..ready })
    }

    fn circumstances<'b>(
        &'b self,
        secret: Option<&'b Secret>,
        first_byte_by: Instant,
    ) -> Circumstances<'b> {
        Circumstances {
            gateway: self.gateway,
            scanned: self.scanned,
            target: self.target,
            exchange: self.exchange,
            secret,
            first_byte_by,
        }
    }

    fn headers(&self, secret: Option<&Secret>) -> HeaderMap {
        let (runtime, exchange) = (&self.target.runtime, self.exchange);
        let mut sent = headers::to_upstream(&self.scanned.inbound.headers);
        if exchange.dialect != self.scanned.inbound.dialect {
            // Versions and betas of another dialect mean nothing there.
            for foreign in [
                "anthropic-version",
                "anthropic-beta",
                "openai-beta",
                "x-goog-api-client",
            ] {
                sent.remove(foreign);
            }
        }
        let accept = if self.scanned.stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        sent.insert(header::ACCEPT, HeaderValue::from_static(accept));
        runtime.adapter.headers(exchange.dialect, &mut sent);
        runtime.add_headers(&mut sent);
        if let Some(secret) = secret {
            runtime.adapter.authorise(secret.expose(), &mut sent);
        }
        sent
    }
}
