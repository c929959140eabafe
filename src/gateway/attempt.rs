//! The loop of one request: pick a credential, send, judge, settle, and again until somebody has
//! answered or nobody can before the deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::routing::{Action, ErrorRule};
use crate::dialects::Operation;
use crate::dialects::error::ErrorReply;
use crate::dialects::estimate::estimate_tokens;
use crate::dialects::head::SessionKeys;
use crate::gateway::Gateway;
use crate::gateway::answer::{Answered, AnsweredBody};
use crate::gateway::count;
use crate::gateway::exchange::{self, Exchange, Wish};
use crate::gateway::failure::{DeadEnd, Lost, unserved};
use crate::gateway::inbound::{Inbound, Scanned};
use crate::gateway::plan::{self, MayUse, Target};
use crate::gateway::remote_media::{self, Fetcher};
use crate::gateway::settle::Served;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::trail::{self, Attempt, Trail, Who};
use crate::gateway::turns::Turns;
use crate::gateway::under_way::Errand;
use crate::pool::{Acquire, Ask, Lease, Next, Outcome, Refusal, Rule, Stop, Waiting};
use crate::telemetry::Ending;
use crate::time::Timestamp;

/// The status of a request whose client left before there was one, as web servers log it.
const CLIENT_LEFT: u16 = 499;

/// After a failure that is the request's and can be mended. The lease is given back unsettled.
const SAME_AGAIN: Next = Next::Again {
    after: Duration::ZERO,
    same_credential: true,
};

/// Serves one request: the whole trip up to the first content byte.
///
/// The error is what the client must be told; nothing has been sent to it yet.
pub async fn serve(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    may_use: MayUse<'_>,
) -> Result<Answered, Box<DeadEnd>> {
    let arrived = Instant::now();
    let snapshot = gateway.snapshot();
    let recording = gateway.telemetry.request_log.begin(|| inbound.asked());
    let told = |end: &DeadEnd| {
        let finished = end.finished(arrived.elapsed());
        if let Some(recording) = &recording {
            let (status, headers, body) = end.answer(inbound.dialect);
            recording.answer(status, &headers);
            recording.piece(&body);
            recording.finish(&finished.story.to_json());
        }
        gateway.telemetry.finished(finished);
    };
    let refused = |error, trail| {
        let end = DeadEnd::of_request(error, trail);
        told(&end);
        end
    };
    let unread = |error| refused(error, Trail::unread(&inbound));
    let resumed;
    let mut scanned = inbound.scan().map_err(unread)?;
    let kept = gateway.responses.resumed(&scanned, Timestamp::now());
    if let Some(body) = kept
        .await
        .map_err(|error| refused(error, Trail::new(&scanned)))?
    {
        let previous = scanned.head.previous_response.clone();
        resumed = inbound.with_body(body);
        scanned = resumed.scan().map_err(unread)?;
        scanned.resumed_from = previous.map(Into::into);
    }
    scanned.recording.clone_from(&recording);
    let targets = plan::targets(&snapshot, &scanned.model, may_use)
        .map_err(|error| refused(error, Trail::new(&scanned)))?;
    let mut trip = Trip {
        gateway,
        snapshot: &snapshot,
        scanned: &scanned,
        arrived,
        deadline: inbound
            .patience()
            .map_or(snapshot.deadline, |own| own.min(snapshot.deadline)),
        trail: Trail::new(&scanned),
        errand: gateway.under_way.enter(&scanned),
        under_way: None,
        is_over: false,
    };
    let mut ends = Vec::new();
    let mut ask: Option<Ask> = None;
    let mut turns = Turns::new(&targets);
    while let Some((target, patience)) = turns.next(Instant::now()) {
        let asking = match ask.take() {
            Some(mut ask) => {
                ask.retarget(target.model.clone());
                ask
            }
            None => trip.first_ask(target),
        };
        match trip.on_target(target, asking, patience).await {
            Ok(answered) => return Ok(*answered),
            Err((Left::Later(until), asked)) => {
                trip.trail.left("another target may serve before it");
                turns.postpone(target, until);
                ask = Some(*asked);
            }
            Err((Left::Ended(end), asked)) => {
                trip.trail.left(end.words());
                let is_final = end.is_final();
                ends.push(end);
                if is_final {
                    break;
                }
                ask = Some(*asked);
            }
        }
    }
    let dead_end = DeadEnd::new(ends, trip.close(), Timestamp::now());
    told(&dead_end);
    Err(Box::new(dead_end))
}

/// One request on its way.
pub(super) struct Trip<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) snapshot: &'a Arc<Snapshot>,
    pub(super) scanned: &'a Scanned<'a>,
    arrived: Instant,
    /// From then on: the configuration's or the client's, whichever is shorter.
    deadline: Duration,
    pub(super) trail: Trail,
    /// Shows others where it is.
    errand: Arc<Errand>,
    /// The call that is being waited for.
    pub(super) under_way: Option<(Who, String, Instant)>,
    /// How it came out is, or will be, told by others.
    is_over: bool,
}

/// Why the request turned away from a target.
enum Left {
    /// It does not serve.
    Ended(TargetEnd),
    /// It may serve by then, too late for the patience there was; where nobody knows when, now.
    Later(Instant),
}

/// Why a target did not serve.
pub enum TargetEnd {
    /// Nobody could; the last failure, if anybody was tried.
    Refused {
        provider: String,
        refusal: Refusal,
        last: Option<Lost>,
    },
    /// An attempt failed, and there is to be no further one on this target.
    Stopped {
        provider: String,
        stop: Stop,
        lost: Lost,
    },
    /// No request could be made for it.
    Unfit(ErrorReply),
}

impl TargetEnd {
    /// `true` if no other target may be tried: the request itself is at fault.
    fn is_final(&self) -> bool {
        matches!(self, Self::Stopped { stop, .. } if !stop.may_fall_back())
    }

    /// For the decision trail.
    const fn words(&self) -> &'static str {
        match self {
            Self::Refused { refusal, .. } => trail::refused(*refusal),
            Self::Stopped { stop, .. } => trail::words(*stop),
            Self::Unfit(_) => "the request cannot be made in the provider's form",
        }
    }
}

impl Trip<'_> {
    /// The trail, for whoever tells how it came out.
    fn close(&mut self) -> Trail {
        self.is_over = true;
        std::mem::take(&mut self.trail)
    }

    /// The request's wish on its first target; its conversation is made known there.
    fn first_ask(&self, target: &Target) -> Ask {
        let session = self
            .scanned
            .session
            .as_ref()
            .filter(|_| self.snapshot.affinity);
        let mut ask = Ask::new(
            target.model.clone(),
            session.map(SessionKeys::newest),
            Timestamp::now() + self.time_left(),
        );
        ask.client = self.scanned.inbound.client_number();
        ask
    }

    /// Makes the request for a target. What the client named by URL is fetched before, if the
    /// target needs the bytes and the user agreed.
    async fn prepare(&self, wish: Wish<'_>) -> Result<Exchange, ErrorReply> {
        if let Some(dialect) = exchange::wants_bytes(self.scanned, wish.target)? {
            if !self.snapshot.fetch_remote_media {
                return Err(remote_media::refusal(wish.target.runtime.id.as_str()));
            }
            let request = self.scanned.canonical()?;
            let fetched = Fetcher::default().fetched(&request, dialect).await?;
            self.scanned.set_fetched(fetched);
        }
        exchange::prepare(wish)
    }

    /// Makes the conversation known to a target's pool.
    fn arrive(&self, target: &Target) {
        let session = self.scanned.session.as_ref();
        if let Some(keys) = session.filter(|_| self.snapshot.affinity) {
            let pool = &target.runtime.pool;
            pool.continue_session(&target.model, keys.iter(), Timestamp::now());
        }
    }

    /// What is left of the request's deadline, whatever the wall clock does meanwhile.
    fn time_left(&self) -> Duration {
        self.deadline.saturating_sub(self.arrived.elapsed())
    }

    /// Asks a target's pool for a credential, and the instances that share it where there are any.
    async fn acquire(&mut self, target: &Target, ask: &mut Ask) -> Acquire {
        loop {
            let now = Timestamp::now();
            ask.deadline = now + self.time_left();
            let acquired = target.runtime.pool.acquire(ask, now);
            if let Some(passed_over) = ask.passed_over.take() {
                self.trail.visit(target, passed_over);
            }
            let Acquire::Lease(lease) = acquired else {
                return acquired;
            };
            if let Some(lease) = self.confirm(target, lease).await {
                return Acquire::Lease(lease);
            }
        }
    }

    /// Has a lease confirmed by the instances that share the pool, where there are any.
    pub(super) async fn confirm(&self, target: &Target, lease: Lease) -> Option<Lease> {
        match &self.gateway.group {
            Some(group) => group.confirm(&target.runtime, lease).await,
            None => Some(lease),
        }
    }

    /// Tries a target. `patience` is until when it may be waited for; `None`: to the deadline.
    async fn on_target(
        &mut self,
        target: &Target,
        mut ask: Ask,
        patience: Option<Instant>,
    ) -> Result<Box<Answered>, (Left, Box<Ask>)> {
        let ended = |end, ask| (Left::Ended(end), Box::new(ask));
        let unfit = |error, ask| ended(TargetEnd::Unfit(error), ask);
        if let Some(counted) = self.estimated_count(target) {
            return counted.map_err(|error| unfit(error, ask));
        }
        let mut wish = Wish {
            scanned: self.scanned,
            target,
            thoughts: &self.gateway.thoughts,
            reasoning: &self.gateway.reasoning,
            unsigned: false,
        };
        let mut exchange = match self.prepare(wish).await {
            Ok(exchange) => exchange,
            Err(error) => return Err(unfit(error, ask)),
        };
        self.arrive(target);
        let mut last: Option<Lost> = None;
        loop {
            let lease = match self.acquire(target, &mut ask).await {
                Acquire::Lease(lease) => lease,
                Acquire::Wait(waiting) => {
                    self.errand.waits();
                    if let Some(later) = self.wait(waiting, &ask, patience).await {
                        return Err((Left::Later(later), Box::new(ask)));
                    }
                    continue;
                }
                Acquire::Refused(refusal) => {
                    let end = TargetEnd::Refused {
                        provider: target.runtime.id.to_string(),
                        refusal,
                        last,
                    };
                    return Err(ended(end, ask));
                }
            };
            self.errand.asks(lease.credential());
            let raced = self.race(target, &exchange, &mut ask, lease).await;
            self.under_way = None;
            let (lease, started) = (raced.lease, raced.started);
            let who = (lease.credential().clone(), lease.fingerprint());
            match raced.outcome {
                Ok(ready) => {
                    let status = ready.status.as_u16();
                    let attempt = Attempt::served(who, &target.model, status, started);
                    self.trail.attempts.push(attempt);
                    let trail = self.close();
                    let served = Served {
                        gateway: self.gateway,
                        target,
                        exchange,
                        ready,
                        lease,
                        trail,
                        errand: Arc::clone(&self.errand),
                        arrived: self.arrived,
                        recording: self.scanned.recording.clone(),
                    };
                    return Ok(Box::new(served.commit()));
                }
                Err(lost) => {
                    let next = if self.goes_unsigned(&mut wish, &mut exchange, &lost) {
                        SAME_AGAIN
                    } else {
                        self.settle(target, lease, &mut ask, &lost)
                    };
                    self.trail.attempts.push(Attempt::lost(
                        who,
                        &target.model,
                        &lost,
                        next,
                        started,
                    ));
                    match next {
                        // Asking again would teach it nothing.
                        Next::Again { .. } | Next::Answer(_) if self.lacks_counting(&lost) => {
                            return self.estimate(target).map_err(|error| unfit(error, ask));
                        }
                        Next::Again { after, .. } => {
                            last = Some(lost);
                            if !after.is_zero() {
                                tokio::time::sleep(after).await;
                            }
                        }
                        Next::Answer(stop) => {
                            let provider = target.runtime.id.to_string();
                            let end = TargetEnd::Stopped {
                                provider,
                                stop,
                                lost,
                            };
                            return Err(ended(end, ask));
                        }
                    }
                }
            }
        }
    }

    /// Waits until a credential is set aside for the request, or it is time to ask again. With no
    /// patience left it does not, and returns when one is expected: now, where nobody knows.
    async fn wait(
        &mut self,
        waiting: Waiting,
        ask: &Ask,
        patience: Option<Instant>,
    ) -> Option<Instant> {
        let since = Instant::now();
        let expected = Timestamp::now().until(waiting.until());
        let patience = patience.map(|end| end.saturating_duration_since(since));
        if patience.is_some_and(|left| left.is_zero()) {
            // All busy: a slot may come free at any time.
            let is_known = waiting.until() < ask.deadline;
            return Some(if is_known { since + expected } else { since });
        }
        let longest = patience.unwrap_or(Duration::MAX).min(self.time_left());
        // Which of the two it was does not matter: asking again is what counts.
        let _ = tokio::time::timeout(expected.min(longest), waiting.woken()).await;
        self.trail.waited(since.elapsed());
        None
    }

    /// Makes the request anew without signatures, once, if the upstream refused one; it is not
    /// sent again in later requests either. Nobody is blamed for a client's old thinking.
    fn goes_unsigned(&self, wish: &mut Wish<'_>, exchange: &mut Exchange, lost: &Lost) -> bool {
        if wish.unsigned || !lost.refuses_signature() {
            return false;
        }
        wish.unsigned = true;
        let inbound = self.scanned.inbound;
        if let Ok(request) = self.scanned.canonical() {
            let thoughts = &self.gateway.thoughts;
            thoughts.forget(&inbound.owner, &request, Timestamp::now());
        }
        let Ok(unsigned) = exchange::prepare(*wish) else {
            return false;
        };
        *exchange = unsigned;
        let (provider, verdict) = (&wish.target.runtime.id, lost.failure.verdict);
        let metrics = &self.gateway.telemetry.metrics;
        metrics.attempt(provider.as_str(), verdict.as_str());
        true
    }

    /// A token count for a provider that cannot count: estimated here, without any call.
    fn estimated_count(&mut self, target: &Target) -> Option<Result<Box<Answered>, ErrorReply>> {
        let inbound = self.scanned.inbound;
        let counts =
            target
                .runtime
                .adapter
                .dialect_for(inbound.operation, inbound.dialect, &target.model);
        if inbound.operation != Operation::CountTokens || counts.is_some() {
            return None;
        }
        Some(self.estimate(target))
    }

    /// A token count made here.
    fn estimate(&mut self, target: &Target) -> Result<Box<Answered>, ErrorReply> {
        let request = self.scanned.canonical()?;
        let dialect = self.scanned.inbound.dialect;
        let body = count::write_reply(dialect, estimate_tokens(&request), true);
        let answered = Answered::made_here(body);
        self.told_here(target, &answered);
        Ok(Box::new(answered))
    }

    /// `true` if the upstream was to count tokens and does not know how, or answered with something
    /// else: a server of the user's own may lack what its vendor has.
    fn lacks_counting(&self, lost: &Lost) -> bool {
        self.scanned.inbound.operation == Operation::CountTokens
            && matches!(lost.status(), Some(200 | 404 | 405 | 501))
    }

    /// Notes an answer that nobody was asked for.
    fn told_here(&mut self, target: &Target, answered: &Answered) {
        self.trail.visit(target, Vec::new());
        let trail = self.close();
        let (status, elapsed) = (answered.status, self.arrived.elapsed());
        let finished = unserved(trail, Ending::Served, status.as_u16(), None, elapsed);
        if let (Some(recording), AnsweredBody::Whole(body)) =
            (&self.scanned.recording, &answered.body)
        {
            recording.answer(status, &answered.headers);
            recording.piece(body);
            recording.finish(&finished.story.to_json());
        }
        self.gateway.telemetry.finished(finished);
    }

    /// Tells the pool of a failure: by the user's own rule where one fits, else by the vendor's
    /// table.
    pub(super) fn settle(&self, target: &Target, lease: Lease, ask: &mut Ask, lost: &Lost) -> Next {
        let (provider, verdict) = (target.runtime.id.as_str(), lost.failure.verdict.as_str());
        self.gateway.telemetry.metrics.attempt(provider, verdict);
        let (id, credential) = (self.scanned.inbound.id, lease.credential().clone());
        tracing::debug!(
            request = %id, %credential, verdict, status = lost.status(),
            "{credential} failed for request {id}: {verdict}: {}", lost.failure.message,
        );
        let rule = lost
            .rule
            .or_else(|| rule_for(&self.snapshot.rules, target, lost));
        let outcome = match rule {
            Some(rule) => Outcome::Ruled {
                rule,
                failure: &lost.failure,
            },
            None => Outcome::Failed {
                failure: &lost.failure,
                after_content: false,
            },
        };
        let now = Timestamp::now();
        ask.deadline = now + self.time_left();
        lease.settle(ask, outcome, now)
    }
}

/// A request that is dropped on its way has lost its client.
impl Drop for Trip<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some((who, model, since)) = self.under_way.take() {
            let left = Attempt::left(who, &model, since);
            self.trail.attempts.push(left);
        }
        let elapsed = self.arrived.elapsed();
        let trail = std::mem::take(&mut self.trail);
        let finished = unserved(trail, Ending::Cancelled, CLIENT_LEFT, None, elapsed);
        if let Some(recording) = &self.scanned.recording {
            recording.finish(&finished.story.to_json());
        }
        self.gateway.telemetry.finished(finished);
    }
}

/// The first of the user's rules that fits a failure.
fn rule_for(rules: &[ErrorRule], target: &Target, lost: &Lost) -> Option<Rule> {
    let fits = |rule: &&ErrorRule| {
        rule.provider
            .as_deref()
            .is_none_or(|provider| provider == target.runtime.id.as_str())
            && rule
                .status
                .is_none_or(|status| lost.status() == Some(status))
            && rule
                .body_contains
                .as_deref()
                .is_none_or(|text| lost.body_contains(text))
    };
    rules.iter().find(fits).map(|rule| match rule.action {
        Action::Cool(wait) => Rule::Cool(wait),
        Action::Dead => Rule::Dead,
        Action::Fail => Rule::Fail,
        Action::Retry => Rule::Retry,
        Action::Rotate => Rule::Rotate,
    })
}
