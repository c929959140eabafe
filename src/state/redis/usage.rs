//! What has been served on each day, as each instance counts it: whole counts, never additions, so
//! that telling them twice, or again to a server that forgot them, changes nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::state::redis::call::Call;
use crate::state::redis::keys::Keys;
use crate::state::redis::link::Away;
use crate::state::redis::scripts::Function;
use crate::state::redis::{BACKGROUND_PATIENCE, Redis, millis};
use crate::state::rows::UsageSums;
use crate::time::Timestamp;

/// A day's counts are kept for so long after the last word on them.
pub const USAGE_LASTS: Duration = Duration::from_hours(93 * 24);

/// Calls under way at once while counts are read.
const AT_ONCE: usize = 16;

/// Whom and what counts belong to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    pub provider: String,
    pub model: String,
    /// The credential's name in the group; empty for one that is gone.
    pub name: String,
    /// What it is called where it served.
    pub credential: String,
    /// The client's [`client_mark`](super::client_mark); empty where there is only one.
    pub client: String,
}

/// What one book holds on one day.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Counted from the epoch.
    pub day: i64,
    /// Whose counts they are: the state they are kept in, whatever process wrote them.
    pub book: String,
    pub rows: BTreeMap<Served, UsageSums>,
}

impl Page {
    /// Tells what is on it, or what has changed on it.
    pub(super) fn tell(&self, is_whole: bool, keys: &Keys) -> Call {
        let mut call = Call::new(Function::Tell);
        call.key(keys.usage(self.day, &self.book));
        call.arg(millis(USAGE_LASTS)).arg(u8::from(is_whole));
        for (served, sums) in &self.rows {
            if let (Some(field), Some(value)) = (field(served), value(sums)) {
                call.arg(field).arg(value);
            }
        }
        call
    }
}

impl Redis {
    /// Tells what a book holds on a day: all of it if `is_whole`, else only what has changed.
    pub async fn tell_usage(&self, page: &Page, is_whole: bool) -> Result<(), Away> {
        let call = page.tell(is_whole, &self.keys);
        let lasts = millis(USAGE_LASTS);
        self.call::<()>(BACKGROUND_PATIENCE, &call).await?;
        let books = self.keys.usage_books(page.day);
        let mut pipe = redis::pipe();
        pipe.cmd("SADD").arg(&books).arg(&page.book).ignore();
        pipe.cmd("PEXPIRE").arg(&books).arg(lasts).ignore();
        self.ask(&pipe).await
    }

    /// How many rows are there of a book's day; fewer than were told, if some were lost.
    pub async fn told_usage(&self, day: i64, book: &str) -> Result<usize, Away> {
        let mut pipe = redis::pipe();
        pipe.cmd("HLEN").arg(self.keys.usage(day, book));
        let (count,): (usize,) = self.ask(&pipe).await?;
        Ok(count)
    }

    /// All that was told of these days.
    pub async fn usage(&self, days: RangeInclusive<i64>) -> Result<Vec<Page>, Away> {
        let books = stream::iter(days).map(|day| async move {
            let mut pipe = redis::pipe();
            pipe.cmd("SMEMBERS").arg(self.keys.usage_books(day));
            let (books,): (Vec<String>,) = self.ask(&pipe).await?;
            Ok::<_, Away>(stream::iter(
                books.into_iter().map(move |book| Ok((day, book))),
            ))
        });
        let pages = books.buffered(AT_ONCE).try_flatten();
        let pages = pages.map_ok(|(day, book)| self.page(day, book));
        pages.try_buffered(AT_ONCE).try_collect().await
    }

    async fn page(&self, day: i64, book: String) -> Result<Page, Away> {
        let mut pipe = redis::pipe();
        pipe.cmd("HGETALL").arg(self.keys.usage(day, &book));
        let (fields,): (Vec<(String, String)>,) = self.ask(&pipe).await?;
        let rows = fields.iter();
        let rows = rows.filter_map(|(field, value)| read(field, value));
        Ok(Page {
            day,
            rows: rows.collect(),
            book,
        })
    }
}

fn field(served: &Served) -> Option<String> {
    let Served {
        provider,
        model,
        name,
        credential,
        client,
    } = served;
    serde_json::to_string(&[provider, model, name, credential, client]).ok()
}

/// The counts by their place, so that a later version may add to them; then the cost.
fn value(sums: &UsageSums) -> Option<String> {
    let counts = [
        sums.requests,
        sums.failures,
        sums.prompt_tokens,
        sums.cached_tokens,
        sums.cache_write_tokens,
        sums.completion_tokens,
        sums.reasoning_tokens,
        sums.estimated,
        sums.timed,
        sums.duration_ms,
        sums.first_tokens,
        sums.first_token_ms,
        u64::try_from(sums.last_used.as_millis()).unwrap_or_default(),
    ];
    serde_json::to_string(&(counts, sums.cost_usd)).ok()
}

/// A row as it was told; `None` for what another version says in a shape of its own.
pub(super) fn read(field: &str, value: &str) -> Option<(Served, UsageSums)> {
    let [provider, model, name, credential, client] = serde_json::from_str(field).ok()?;
    let (counts, cost_usd): (Vec<u64>, f64) = serde_json::from_str(value).ok()?;
    let mut counts = counts.into_iter();
    let mut next = || counts.next().unwrap_or_default();
    // In the order of their places.
    let sums = UsageSums {
        requests: next(),
        failures: next(),
        prompt_tokens: next(),
        cached_tokens: next(),
        cache_write_tokens: next(),
        completion_tokens: next(),
        reasoning_tokens: next(),
        estimated: next(),
        timed: next(),
        duration_ms: next(),
        first_tokens: next(),
        first_token_ms: next(),
        last_used: Timestamp::from_millis(i64::try_from(next()).unwrap_or_default()),
        cost_usd,
    };
    let served = Served {
        provider,
        model,
        name,
        credential,
        client,
    };
    Some((served, sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> (Served, UsageSums) {
        let served = Served {
            provider: "acme".to_owned(),
            model: "m \"1\"".to_owned(),
            name: "ab".to_owned(),
            credential: "acme/1".to_owned(),
            client: String::new(),
        };
        let sums = UsageSums {
            requests: 1,
            failures: 2,
            prompt_tokens: 3,
            cached_tokens: 4,
            cache_write_tokens: 5,
            completion_tokens: 6,
            reasoning_tokens: 7,
            cost_usd: 0.125,
            estimated: 8,
            timed: 9,
            duration_ms: 10,
            first_tokens: 11,
            first_token_ms: 12,
            last_used: Timestamp::from_millis(13),
        };
        (served, sums)
    }

    #[test]
    fn a_row_is_read_as_it_was_told() {
        let (served, sums) = row();
        let (field, value) = (field(&served).expect("JSON"), value(&sums).expect("JSON"));
        assert_eq!(read(&field, &value), Some((served, sums)));
    }

    #[test]
    fn counts_of_another_version_are_taken_as_far_as_they_are_known() {
        let field = field(&row().0).expect("JSON");
        let more = read(&field, "[[1,2,3,4,5,6,7,8,9,10,11,12,13,99,99],0.125]");
        assert_eq!(more, Some(row()));
        let (_, fewer) = read(&field, "[[1],0.0]").expect("a row");
        assert_eq!((fewer.requests, fewer.failures), (1, 0));
        assert_eq!(read(&field, "{}"), None);
        assert_eq!(read("nonsense", "[[1],0.0]"), None);
    }
}
