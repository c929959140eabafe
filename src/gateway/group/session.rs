//! The time this instance spends with the others: it joins, hears, tells, and says every other
//! second that it is still there; and when the server is lost, it goes on alone and tries again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::gateway::Gateway;
use crate::gateway::group::outbox::{Letter, Parcel};
use crate::gateway::group::{Group, Said, words};
use crate::gateway::persist::heed_log_in;
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::Snapshot;
use crate::pool::Change;
use crate::state::redis::{Away, Message, News, client_mark};
use crate::telemetry::spending::{Spending, day_of};
use crate::time::Timestamp;

/// How often an instance says that it is there, and looks whether it missed something.
pub(super) const BEAT: Duration = Duration::from_secs(2);

/// Leases are renewed with every so many beats: often enough that one may be lost.
pub(super) const RENEW_EVERY: u32 = 2;

/// Where nothing is urgent, so long is gathered what is told at once.
pub(super) const GATHER: Duration = Duration::from_millis(20);

/// Longest pause between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Calls under way at once in the background.
const AT_ONCE: usize = 16;

/// Notices published in one call.
const MOST_AT_ONCE: usize = 100;

/// The log says at most this often that the server went.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Belongs to the group for as long as the gateway serves.
pub async fn run(gateway: Arc<Gateway>) {
    let Some(group) = gateway.group.clone() else {
        return;
    };
    let mut voice = Voice::default();
    let mut failures: u32 = 0;
    loop {
        if let Ok(news) = group.redis.join().await {
            let began = Instant::now();
            if group.meet(&gateway, news, &mut voice).await.is_ok() || began.elapsed() > BEAT {
                failures = 0;
            }
            group.is_joined.store(false, Ordering::Release);
            group.ledger.lost();
            group.outages.fetch_add(1, Ordering::Relaxed);
        }
        voice.lost(&group);
        group.settled.notify_one();
        let longest = pause(failures, group.instances());
        failures = failures.saturating_add(1);
        sleep(longest.mul_f64(fastrand::f64())).await;
    }
}

/// The longest next pause: growing, and longer for a larger group from the start, so that a server
/// that comes back is not met by all at once.
pub(super) fn pause(failures: u32, instances: u32) -> Duration {
    let first = Duration::from_millis(50).saturating_mul(instances.max(2));
    first
        .saturating_mul(1 << failures.min(10))
        .min(LONGEST_PAUSE)
}

/// What clients spent and the others are to be told; what is dropped before is kept for later.
struct UntoldSpending<'a> {
    spending: &'a Spending,
    dollars: Vec<(String, f64)>,
    now: Timestamp,
}

impl Drop for UntoldSpending<'_> {
    fn drop(&mut self) {
        let dollars = std::mem::take(&mut self.dollars);
        self.spending.put_back(dollars, self.now);
    }
}

/// What the log says of the server, once each time.
#[derive(Default)]
struct Voice {
    is_away_said: bool,
    last_lost: Option<Instant>,
    was_found: bool,
}

impl Voice {
    fn lost(&mut self, group: &Group) {
        let is_recent = |last: Instant| last.elapsed() < SAY_EVERY;
        if self.is_away_said || self.last_lost.is_some_and(is_recent) {
            return;
        }
        self.is_away_said = true;
        self.last_lost = Some(Instant::now());
        let trouble = group.redis.trouble().unwrap_or_default();
        tracing::warn!(
            "the shared state is away ({trouble}): serving goes on with what this instance knows and \
             its share of the limits"
        );
    }

    fn found(&mut self, group: &Group) {
        let is_news = std::mem::take(&mut self.is_away_said) || !self.was_found;
        if is_news {
            self.was_found = true;
            let instances = group.instances();
            tracing::info!(instances, "joined the shared state, instances: {instances}");
        }
    }
}

impl Group {
    /// Tells what is still to be told, and says goodbye; where the server is away it notices by
    /// itself.
    pub async fn leave(&self, gateway: &Arc<Gateway>) {
        self.settle().await;
        self.tell_last_usage(gateway).await;
        let _ = self.redis.leave().await;
    }

    /// One connection's time, from joining to losing it.
    async fn meet(
        &self,
        gateway: &Arc<Gateway>,
        mut news: News,
        voice: &mut Voice,
    ) -> Result<(), Away> {
        self.beat().await?;
        self.is_joined.store(true, Ordering::Release);
        self.renew().await?;
        self.reconcile(&gateway.snapshot()).await?;
        voice.found(self);
        self.settled.notify_one();
        let hearing = async {
            while let Some(message) = news.next().await {
                let snapshot = gateway.snapshot();
                self.hear(&snapshot, message).await;
            }
            self.redis.hang_up();
        };
        let telling = async {
            loop {
                self.posted.notified().await;
                if !self.outbox().has_words() {
                    sleep(GATHER).await;
                }
                self.post_letters(&gateway.snapshot()).await;
            }
        };
        let settling = async {
            loop {
                self.settle().await;
                self.ledger.came_back().await;
            }
        };
        let beating = async {
            let mut ticks = interval(BEAT);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut beats: u32 = 0;
            loop {
                ticks.tick().await;
                beats = beats.wrapping_add(1);
                let _ = self.beat().await;
                let _ = self.spend(gateway).await;
                if beats.is_multiple_of(RENEW_EVERY) {
                    let _ = self.renew().await;
                }
                let _ = self.look_for_missed(&gateway.snapshot()).await;
            }
        };
        tokio::select! {
            () = hearing => {}
            () = telling => {}
            () = settling => {}
            () = beating => {}
            () = self.tell_usage(gateway) => {}
            () = self.redis.lost() => {}
        }
        Ok(())
    }

    async fn beat(&self) -> Result<(), Away> {
        let said = Said {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            names: self.redis.mark().to_owned(),
            leases: self.ledger.named(),
        };
        let words = serde_json::to_string(&said).unwrap_or_default();
        let instances = self.redis.beat(&words).await?;
        self.instances.store(instances, Ordering::Relaxed);
        Ok(())
    }

    /// Tells what clients have spent, and takes over what they have spent everywhere.
    async fn spend(&self, gateway: &Gateway) -> Result<(), Away> {
        let now = self.redis.clock().to_server(Timestamp::now());
        let spending = &gateway.telemetry.spending;
        let mut untold = UntoldSpending {
            spending,
            dollars: spending.take_untold(now),
            now,
        };
        let marked = untold.dollars.iter();
        let marked = marked.map(|(client, dollars)| (client_mark(client), *dollars));
        let marked: Vec<(String, f64)> = marked.collect();
        let everywhere = self.redis.spend(day_of(now), &marked).await?;
        untold.dollars.clear();
        spending.heed(everywhere, now);
        Ok(())
    }

    /// Renews all leases; those the server forgot are there again after it.
    async fn renew(&self) -> Result<(), Away> {
        let held = self.ledger.held();
        let renewed = stream::iter(held)
            .map(|(tag, leases)| async move { self.redis.renew(&tag, &leases).await })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>();
        renewed.await.into_iter().collect()
    }

    /// Tells what came back; what cannot be told now is kept.
    async fn settle(&self) {
        loop {
            let batch = self.ledger.take(MOST_AT_ONCE);
            if batch.is_empty() {
                return;
            }
            let told = stream::iter(batch)
                .map(|mut untold| async move {
                    if let Some(back) = untold.tell() {
                        let settled = self.redis.settle(&back.limits, &back.ticket, back.ended);
                        settled.await?;
                    }
                    untold.told();
                    Ok::<(), Away>(())
                })
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>()
                .await;
            if told.iter().any(Result::is_err) {
                return;
            }
        }
    }

    /// Takes over what the others know, and tells them what they do not.
    async fn reconcile(&self, snapshot: &Snapshot) -> Result<(), Away> {
        for (provider, runtime) in &snapshot.providers {
            self.read_anew(provider, runtime).await?;
            self.read_conversations(provider, runtime).await?;
        }
        let accounts = snapshot.providers.values().flat_map(|runtime| {
            let holders = runtime.holders.values();
            holders.filter_map(|holder| holder.account().cloned())
        });
        stream::iter(accounts.collect::<Vec<_>>())
            .for_each_concurrent(AT_ONCE, |account| async move {
                account.live.meet(Timestamp::now()).await;
            })
            .await;
        Ok(())
    }

    /// Reads all that is kept of a provider, and adds what is missing there.
    async fn read_anew(&self, provider: &str, runtime: &ProviderRuntime) -> Result<(), Away> {
        self.outbox().forget(provider);
        self.read(provider, runtime).await?;
        let mut standings = runtime.pool.standings();
        {
            let mut outbox = self.outbox();
            standings.retain(|change| outbox.is_news(provider, change));
        }
        let letter = Letter {
            provider: provider.to_owned(),
            kept: standings,
            passing: Vec::new(),
        };
        self.publish(runtime, letter).await
    }

    /// Reads all that is kept of a provider.
    async fn read(&self, provider: &str, runtime: &ProviderRuntime) -> Result<(), Away> {
        let states = self.redis.states(provider).await?;
        self.heard().read(provider, states.version);
        let now = self.redis.clock().to_server(Timestamp::now());
        let (changes, over) = words::sorted(states.notices, now);
        self.adopt(provider, runtime, changes);
        self.redis.forget(provider, &over).await
    }

    /// Takes over which credential conversations are on.
    async fn read_conversations(
        &self,
        provider: &str,
        runtime: &ProviderRuntime,
    ) -> Result<(), Away> {
        let kept = self.redis.conversations(provider).await?;
        let changes = kept.iter();
        let changes = changes.filter_map(|record| serde_json::from_str(record).ok());
        self.adopt(provider, runtime, changes.collect());
        Ok(())
    }

    /// Hears a message; one that shows that another was missed has all read again.
    async fn hear(&self, snapshot: &Snapshot, message: Message) {
        let Some(runtime) = snapshot.providers.get(&message.provider) else {
            return;
        };
        let versions = (message.version, message.after);
        let is_gap = self.heard().hear(&message.provider, versions);
        if message.from != self.redis.instance() {
            let records = message.records.iter();
            let changes = records.filter_map(|record| serde_json::from_str(record.get()).ok());
            self.adopt(&message.provider, runtime, changes.collect());
        }
        if is_gap {
            let _ = self.read_anew(&message.provider, runtime).await;
        }
    }

    fn adopt(&self, provider: &str, runtime: &ProviderRuntime, changes: Vec<Change>) {
        let now = Timestamp::now();
        let clocks = (self.redis.clock().offset_ms(), now);
        let mut outbox = self.outbox();
        let mut incoming = outbox.take_in(provider, changes, &runtime.names, clocks);
        drop(outbox);
        for change in &mut incoming {
            heed_log_in(runtime, change);
        }
        if incoming.is_empty() {
            return;
        }
        runtime.pool.adopt(incoming, now);
    }

    async fn post_letters(&self, snapshot: &Snapshot) {
        let letters = self.outbox().take_letters();
        for letter in letters {
            let Some(runtime) = snapshot.providers.get(&letter.provider) else {
                continue;
            };
            // What cannot be told now is told as a whole when the server is back.
            let _ = self.publish(runtime, letter).await;
        }
    }

    async fn publish(&self, runtime: &ProviderRuntime, letter: Letter) -> Result<(), Away> {
        let provider = &letter.provider;
        let offset = self.redis.clock().offset_ms();
        let parcel = Parcel::new(letter.kept, letter.passing, &runtime.names, offset);
        let mut passing = parcel.passing;
        for batch in parcel.notices.chunks(MOST_AT_ONCE) {
            let passing = std::mem::take(&mut passing);
            self.redis.publish(provider, batch, &passing).await?;
        }
        if !passing.is_empty() {
            self.redis.publish(provider, &[], &passing).await?;
        }
        if !parcel.conversations.is_empty() {
            let kept = self
                .redis
                .keep_conversations(provider, &parcel.conversations);
            kept.await?;
        }
        Ok(())
    }

    /// Reads again what has another version than was heard: messages may be lost, and nobody says
    /// so; and a server that was flushed, or lost its latest words, is told all anew.
    async fn look_for_missed(&self, snapshot: &Snapshot) -> Result<(), Away> {
        let providers: Vec<String> = snapshot.providers.keys().cloned().collect();
        let versions = self.redis.versions(&providers).await?;
        for (provider, version) in providers.iter().zip(versions) {
            let heard = self.heard().of(provider);
            let Some(runtime) = snapshot.providers.get(provider) else {
                continue;
            };
            if version != heard {
                self.read_anew(provider, runtime).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_begin_longer_in_a_larger_group() {
        let small: Vec<u128> = (0..8).map(|n| pause(n, 1).as_millis()).collect();
        assert_eq!(small, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(0, 1000), LONGEST_PAUSE);
    }
}
