//! One upstream call of one request, with one credential.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::time::Instant;

use crate::dialects::embeddings::{self, EmbeddingsReply};
use crate::gateway::Gateway;
use crate::gateway::accounts::{self, Pass, Unready};
use crate::gateway::answer::{Circumstances, Ready, ReadyBody};
use crate::gateway::exchange::{Back, Batches, Exchange};
use crate::gateway::failure::Lost;
use crate::gateway::headers;
use crate::gateway::inbound::Scanned;
use crate::gateway::plan::Target;
use crate::gateway::trail::Renewal;
use crate::gateway::upstream::{Outbound, Reply, SendError, send};
use crate::ids::CredentialId;
use crate::providers::Outgoing;
use crate::providers::forms::FailedForm;
use crate::providers::verdict::Verdict;
use crate::secret::Secret;
use crate::telemetry::request_log::Sent;
use crate::time::Timestamp;

/// A request for one target, ready to be sent with any of its credentials.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub scanned: &'a Scanned<'a>,
    pub target: &'a Target,
    pub exchange: &'a Exchange,
    /// Where renewed tokens are noted.
    pub renewals: &'a Mutex<Vec<Renewal>>,
}

impl Caller<'_> {
    /// One call with one credential, up to the first content byte of a good answer. An access
    /// token that is refused is renewed and the call repeated, if it `may_renew`.
    pub(super) async fn call(
        &self,
        credential: &CredentialId,
        may_renew: bool,
    ) -> Result<Ready, Lost> {
        let runtime = &self.target.runtime;
        let unready = |unready: Unready| unready.lost(Timestamp::now());
        let asked = Instant::now();
        let pass = accounts::ready(runtime, credential)
            .await
            .map_err(unready)?
            .ok_or_else(|| Lost::unsent(SendError::unconfigured(&runtime.id)))?;
        if pass.is_renewed {
            self.note_renewal(credential, "it had ended", asked);
        }
        let mut outcome = self.call_with(&pass).await;
        if let Err(lost) = &outcome
            && let Some(fact) = runtime.adapter.wrong_fact(&lost.failure)
            && let Some(anew) = accounts::without_fact(runtime, credential, fact)
                .await
                .map_err(unready)?
        {
            outcome = self.call_with(&anew).await;
        }
        let is_refused = |lost: &Lost| lost.failure.verdict == Verdict::Auth;
        if !may_renew || !outcome.as_ref().is_err_and(is_refused) {
            return outcome;
        }
        let asked = Instant::now();
        match accounts::renewed(runtime, credential, &pass)
            .await
            .map_err(unready)?
        {
            Some(renewed) => {
                self.note_renewal(credential, "the provider refused it", asked);
                outcome = self.call_with(&renewed).await;
            }
            None => return outcome,
        }
        let refused = outcome.as_ref().err().filter(|lost| is_refused(lost));
        let Some(lost) = refused else { return outcome };
        match accounts::refused_anew(runtime, credential, &lost.failure).await {
            Some(final_word) => Err(unready(final_word)),
            None => outcome,
        }
    }

    fn note_renewal(&self, credential: &CredentialId, why: &'static str, asked: Instant) {
        let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        renewals.push(Renewal {
            credential: credential.clone(),
            why,
            took: asked.elapsed(),
        });
    }

    /// The request in one form after the other, as long as its adapter knows another one for how it
    /// failed.
    async fn call_with(&self, pass: &Pass) -> Result<Ready, Lost> {
        let (runtime, exchange) = (&self.target.runtime, self.exchange);
        let view = pass.view();
        let mut body = exchange.body_for(&pass.id).clone();
        let mut outgoing = Outgoing {
            stream: self.scanned.stream,
            translated: exchange.translated,
            account: Some(&view),
            session: self
                .scanned
                .session
                .as_ref()
                .and_then(|keys| keys.iter().last()),
            entropy: fastrand::u64(..),
            now: Timestamp::now(),
            canonical: exchange.back.canonical(),
            switches: runtime.switches,
            ..Outgoing::new(exchange.operation, exchange.dialect, &self.target.model)
        };
        let mut times = 0;
        loop {
            let outcome = self.call_once(pass, &body, &outgoing).await;
            let Err(lost) = &outcome else {
                return outcome;
            };
            let failed = FailedForm {
                failure: &lost.failure,
                answer: lost.reply.as_ref().map_or(&[], |reply| &reply.body),
                body: &body,
            };
            let Some(next) = runtime.adapter.second_form(&failed, &outgoing, times) else {
                return outcome;
            };
            times += 1;
            if !next.pause.is_zero() {
                tokio::time::sleep(next.pause).await;
            }
            body = next.body;
            outgoing.switches = next.switches;
        }
    }

    /// One call. A base URL that cannot be reached or is broken hands over to the next one.
    async fn call_once(
        &self,
        pass: &Pass,
        body: &Bytes,
        outgoing: &Outgoing<'_>,
    ) -> Result<Ready, Lost> {
        let (runtime, exchange) = (&self.target.runtime, self.exchange);
        let view = pass.view();
        let mut headers = self.headers(&pass.secret);
        let mut outcome = Err(Lost::unsent(SendError::unconfigured(&runtime.id)));
        let bases = runtime.bases(&view);
        for (at, base) in bases.iter().enumerate() {
            let is_last = at + 1 == bases.len();
            let mut outbound = Outbound {
                method: Method::POST,
                url: runtime
                    .parsed(&runtime.adapter.url(base, &exchange.path))
                    .map_err(Lost::unsent)?,
                headers: if is_last {
                    std::mem::take(&mut headers)
                } else {
                    headers.clone()
                },
                body: runtime.adapter.wrap(body.clone(), outgoing),
            };
            if let Back::Embeddings(batches) = &exchange.back {
                outcome = self.embed(batches, outbound, pass, outgoing).await;
            } else {
                self.sign(&mut outbound, pass, outgoing);
                outcome = self.send(outbound, pass).await;
            }
            match &outcome {
                Err(lost) if runtime.adapter.tries_next_base(&lost.failure) => {}
                _ => break,
            }
        }
        outcome
    }

    fn sign(&self, outbound: &mut Outbound, pass: &Pass, outgoing: &Outgoing<'_>) {
        let adapter = self.target.runtime.adapter;
        let (secret, headers) = (pass.secret.expose(), &mut outbound.headers);
        adapter.sign(secret, outgoing, &outbound.body, headers);
    }

    async fn send(&self, outbound: Outbound, pass: &Pass) -> Result<Ready, Lost> {
        let first_byte_by = Instant::now() + self.target.runtime.limits.first_byte;
        let reply = self.dial(outbound, pass).await?;
        let circumstances = self.circumstances(pass, first_byte_by);
        circumstances.judge(reply).await
    }

    /// Sends, up to the answer's head; noted where requests are logged.
    async fn dial(&self, outbound: Outbound, pass: &Pass) -> Result<Reply, Lost> {
        let runtime = &self.target.runtime;
        let tap = self.scanned.recording.as_ref().map(|recording| {
            recording.attempt(Sent {
                credential: &pass.id,
                secret: &pass.secret,
                url: outbound.url.as_str(),
                headers: &outbound.headers,
                body: &outbound.body,
            })
        });
        let sent = send(runtime.clients.of(&pass.id), outbound, runtime.limits).await;
        match (sent, tap) {
            (Ok(mut reply), Some(tap)) => {
                reply.note_on(tap);
                Ok(reply)
            }
            (Ok(reply), None) => Ok(reply),
            (Err(error), tap) => {
                if let Some(tap) = tap {
                    tap.failed(&error.message);
                }
                Err(Lost::unsent(error))
            }
        }
    }

    /// Vectors of another dialect: one call after the other, one answer made of all.
    async fn embed(
        &self,
        batches: &Batches,
        outbound: Outbound,
        pass: &Pass,
        outgoing: &Outgoing<'_>,
    ) -> Result<Ready, Lost> {
        let (runtime, exchange) = (&self.target.runtime, self.exchange);
        let mut gathered: Option<EmbeddingsReply> = None;
        let mut last = None;
        for (range, body) in &batches.calls {
            let mut outbound = Outbound {
                body: runtime.adapter.wrap(body.clone(), outgoing),
                ..outbound.clone()
            };
            self.sign(&mut outbound, pass, outgoing);
            let first_byte_by = Instant::now() + runtime.limits.first_byte;
            let reply = self.dial(outbound, pass).await?;
            let circumstances = self.circumstances(pass, first_byte_by);
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

    fn circumstances<'b>(&'b self, pass: &'b Pass, first_byte_by: Instant) -> Circumstances<'b> {
        Circumstances {
            gateway: self.gateway,
            scanned: self.scanned,
            target: self.target,
            exchange: self.exchange,
            credential: &pass.id,
            secret: Some(&pass.secret),
            first_byte_by,
        }
    }

    fn headers(&self, secret: &Secret) -> HeaderMap {
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
        runtime.adapter.authorise(secret.expose(), &mut sent);
        sent
    }
}
