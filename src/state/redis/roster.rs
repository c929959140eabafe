//! Who is there: each instance says so every few seconds, with what it holds; who is silent for
//! longer than a lease lives is gone. What clients spend is summed up here too.

use std::collections::HashMap;

use crate::state::redis::call::Call;
use crate::state::redis::keys::Keys;
use crate::state::redis::link::Away;
use crate::state::redis::scripts::Function;
use crate::state::redis::{BACKGROUND_PATIENCE, LEASE, Redis, millis};
use crate::time::Timestamp;

/// What clients spent on a day is kept for so long.
const COUNTS_LAST_MS: i64 = 2 * 24 * 3_600_000;

/// An instance as it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    /// What it says of itself, as JSON.
    pub words: String,
}

/// Says that an instance is there, with its words.
pub(super) fn beat(instance: &str, words: &str, keys: &Keys) -> Call {
    let mut call = Call::new(Function::Beat);
    call.key(keys.instances()).key(keys.instance_words());
    call.arg(instance).arg(words).arg(millis(LEASE));
    call
}

impl Redis {
    /// Says that this instance is there, and what it has to say of itself. Returns how many there
    /// are; takes the server's time over.
    pub async fn beat(&self, words: &str) -> Result<u32, Away> {
        let call = beat(&self.instance, words, &self.keys);
        let (now_ms, count): (i64, u32) = self.call(BACKGROUND_PATIENCE, &call).await?;
        self.clock.note(now_ms, Timestamp::now());
        Ok(count.max(1))
    }

    /// Says goodbye: nobody counts on this instance any more.
    pub async fn leave(&self) -> Result<(), Away> {
        let (instances, words) = (self.keys.instances(), self.keys.instance_words());
        let mut pipe = redis::pipe();
        pipe.cmd("ZREM").arg(instances).arg(&self.instance).ignore();
        pipe.cmd("HDEL").arg(words).arg(&self.instance).ignore();
        self.ask(&pipe).await
    }

    /// All instances that are there.
    pub async fn instances(&self) -> Result<Vec<Instance>, Away> {
        let now = self.clock.to_server(Timestamp::now()).as_millis();
        let since = now.saturating_sub(millis(LEASE));
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGEBYSCORE")
            .arg(self.keys.instances())
            .arg(since)
            .arg("+inf");
        pipe.cmd("HGETALL").arg(self.keys.instance_words());
        let (present, mut words): (Vec<String>, HashMap<String, String>) = self.ask(&pipe).await?;
        let instances = present.into_iter().map(|id| Instance {
            words: words.remove(&id).unwrap_or_default(),
            id,
        });
        Ok(instances.collect())
    }

    /// Adds what clients (by their [`client_mark`](super::client_mark)) have spent on a day (counted
    /// from the epoch), in US dollars, and returns what everybody together has.
    pub async fn spend(
        &self,
        day: i64,
        spent: &[(String, f64)],
    ) -> Result<HashMap<String, f64>, Away> {
        let key = self.keys.spent(day);
        let mut pipe = redis::pipe();
        for (client, dollars) in spent {
            pipe.cmd("HINCRBYFLOAT")
                .arg(&key)
                .arg(client)
                .arg(*dollars)
                .ignore();
        }
        pipe.cmd("PEXPIRE").arg(&key).arg(COUNTS_LAST_MS).ignore();
        pipe.cmd("HGETALL").arg(&key);
        let (mut sums,): (HashMap<String, f64>,) = self.ask(&pipe).await?;
        // What is no amount would keep a client out, or let it spend without end.
        sums.retain(|_, dollars| dollars.is_finite());
        Ok(sums)
    }

    pub(super) async fn ask<T: redis::FromRedisValue>(
        &self,
        pipe: &redis::Pipeline,
    ) -> Result<T, Away> {
        let asked = |mut connection| async move { pipe.query_async(&mut connection).await };
        self.link.ask(BACKGROUND_PATIENCE, asked).await
    }
}
