//! What all instances together have served: each tells what its own state has counted, day by day,
//! and whoever asks adds them up. No request waits for it, and nothing is added twice: a day's counts
//! are told whole, by whoever keeps them.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::gateway::group::Group;
use crate::gateway::group::names::{self, Names};
use crate::gateway::quota_stats::document::{Counted, Today};
use crate::gateway::snapshot::Snapshot;
use crate::state::redis::{Away, Page, Redis, Served, USAGE_LASTS, client_mark};
use crate::state::rows::{UsageKey, UsageSums};
use crate::state::{State, StateError};
use crate::telemetry::spending::day_of;
use crate::time::Timestamp;

/// The shortest pause between two looks at what has been counted.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(5);

/// The pause is so many times as long as the look took: a large state is read more rarely.
const PAUSE_PER_LOOK: u32 = 50;

/// Rows of a day that are told one by one; the rest is told as one row a provider.
const MOST_ROWS: usize = 2_000;

/// What stands in the rest's place of a model, a credential and a client.
const REST: &str = "(others)";

/// A day is told for so long after its end: all of it is in the state by then.
const AFTER_MIDNIGHT: Duration = Duration::from_mins(10);

/// How long a last look waits for what is not written yet.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

const DAY_SECS: i64 = 24 * 60 * 60;

/// What the others have been told, by day.
#[derive(Debug, Default)]
pub(super) struct Told(pub(super) BTreeMap<i64, BTreeMap<Served, UsageSums>>);

impl Told {
    /// The first day that there may be something to tell of.
    pub(super) fn first_day(&self, now: Timestamp) -> i64 {
        if self.0.is_empty() {
            return first_kept(now);
        }
        day_of(now - AFTER_MIDNIGHT)
    }

    /// The days that there are rows of at the server, and how many.
    pub(super) fn days(&self) -> Vec<(i64, usize)> {
        let days = self.0.iter().map(|(day, rows)| (*day, rows.len()));
        days.filter(|(_, rows)| *rows > 0).collect()
    }

    /// Notes that all up to today has been told; earlier days are over. Of these the last with
    /// anything told stays, since the others cannot show that the server forgot them.
    pub(super) fn end(&mut self, today: i64) {
        self.0.entry(today).or_default();
        let last = self.days().into_iter().map(|(day, _)| day).max();
        self.0
            .retain(|day, _| *day >= today - 1 || Some(*day) == last);
    }
}

/// What has changed of a day since it was told, and whether that is all of it.
pub(super) fn news_of(page: &Page, known: &BTreeMap<Served, UsageSums>) -> Option<(Page, bool)> {
    // Which rows are among the rest may have changed as well.
    let is_whole = page.rows.len() >= MOST_ROWS;
    let mut changed = page.rows.clone();
    changed.retain(|served, sums| known.get(served) != Some(sums));
    if changed.is_empty() {
        return None;
    }
    let news = Page {
        day: page.day,
        book: page.book.clone(),
        rows: if is_whole { page.rows.clone() } else { changed },
    };
    Some((news, is_whole))
}

/// What all instances together have served.
#[derive(Debug, Default)]
pub struct Everywhere {
    /// Credentials and clients by the names they have here, where they are known.
    pub rows: Vec<(UsageKey, UsageSums)>,
    /// How many have counted any of it.
    pub instances: usize,
}

/// What this instance has counted, and how it calls whom.
#[derive(Debug)]
pub struct Own {
    /// What its counts are called; see [`State::book`].
    pub book: String,
    pub rows: Vec<(UsageKey, UsageSums)>,
    /// Names of clients that are known besides those in `rows`.
    pub clients: Vec<String>,
}

impl Own {
    /// What a state has counted on these days. Reads the state: not for a runtime's own threads.
    pub fn read(state: &State, days: &RangeInclusive<i64>) -> Result<Self, StateError> {
        Ok(Self {
            book: state.book()?,
            rows: state.usage(
                start_of(*days.start()),
                start_of(days.end().saturating_add(1)),
            )?,
            clients: Vec::new(),
        })
    }
}

/// The first day whose counts are still kept for all.
pub fn first_kept(now: Timestamp) -> i64 {
    day_of(now - USAGE_LASTS) + 1
}

/// Reads what all instances together have served on these days. What this one has counted is taken
/// from itself: the others may be some seconds late.
pub async fn everywhere<'a>(
    redis: &Redis,
    days: RangeInclusive<i64>,
    own: Own,
    names: impl Fn(&str) -> Option<&'a Names>,
) -> Result<Everywhere, Away> {
    let pages = redis.usage(days).await?;
    Ok(added(pages, own, names))
}

fn added<'a>(pages: Vec<Page>, own: Own, names: impl Fn(&str) -> Option<&'a Names>) -> Everywhere {
    let served = own.rows.iter().map(|(key, _)| key.client.clone());
    let clients = own.clients.into_iter().chain(served);
    let clients: HashMap<String, String> = clients
        .map(|client| (client_mark(&client), client))
        .collect();
    let mut books: Vec<&str> = pages
        .iter()
        .filter(|page| !page.rows.is_empty())
        .map(|page| page.book.as_str())
        .chain((!own.rows.is_empty()).then_some(own.book.as_str()))
        .collect();
    books.sort_unstable();
    books.dedup();
    let instances = books.len();
    let others = pages.into_iter().filter(|page| page.book != own.book);
    let others = others.flat_map(|page| {
        let hour = page.day.saturating_mul(24);
        page.rows.into_iter().map(move |row| (hour, row))
    });
    let others = others.map(|(hour, (served, sums))| {
        let key = UsageKey {
            hour,
            credential: credential(&served, names(&served.provider)),
            client: client(&served.client, &clients),
            provider: served.provider,
            model: served.model,
            fingerprint: served.name,
        };
        (key, sums)
    });
    let mut rows = own.rows;
    rows.extend(others);
    Everywhere { rows, instances }
}

/// What a credential is called here. One that is not here keeps the id it has elsewhere, with the
/// beginning of its name in the group if that id is another's here.
fn credential(served: &Served, names: Option<&Names>) -> String {
    if let Some((id, _)) = names.and_then(|names| names.here(&served.name)) {
        return id.to_string();
    }
    let is_taken = names.is_some_and(|names| names.knows(&served.credential));
    match served.name.get(..6) {
        Some(name) if is_taken => format!("{}~{name}", served.credential),
        _ => served.credential.clone(),
    }
}

fn client(mark: &str, clients: &HashMap<String, String>) -> String {
    match clients.get(mark) {
        Some(name) => name.clone(),
        None if mark.is_empty() || mark == REST => mark.to_owned(),
        None => format!("#{mark}"),
    }
}

impl Group {
    /// Tells what this instance has served, again and again.
    pub(super) async fn tell_usage(&self, gateway: &Arc<Gateway>) {
        let mut told = Told::default();
        loop {
            let began = Instant::now();
            // What cannot be told now is told as a whole when the server is back.
            let _ = self.tell_usage_once(gateway, &mut told).await;
            let pause = began.elapsed().saturating_mul(PAUSE_PER_LOOK);
            tokio::time::sleep(pause.max(TELL_EVERY)).await;
        }
    }

    /// Tells what has been served up to now.
    pub(super) async fn tell_last_usage(&self, gateway: &Arc<Gateway>) {
        if let Some(persistence) = gateway.persistence.clone() {
            // Late or not: what is written is told.
            let flush = move || persistence.state().flush(LAST_PATIENCE);
            let _ = spawn_blocking(flush).await;
        }
        let _ = self.tell_usage_once(gateway, &mut Told::default()).await;
    }

    async fn tell_usage_once(&self, gateway: &Arc<Gateway>, told: &mut Told) -> Result<(), Away> {
        let now = Timestamp::now();
        let today = day_of(now);
        for (day, rows) in told.days() {
            // A server that was flushed has fewer.
            if !self.holds(gateway, day, rows).await? {
                told.0.clear();
            }
        }
        let from = told.first_day(now);
        let own = Arc::clone(gateway);
        let pages = spawn_blocking(move || pages(&own, from..=today)).await;
        for page in pages.unwrap_or_default() {
            self.tell_page(page, today, told).await?;
        }
        told.end(today);
        Ok(())
    }

    /// Whether the server still has so many rows of ours.
    async fn holds(&self, gateway: &Arc<Gateway>, day: i64, rows: usize) -> Result<bool, Away> {
        let Some(persistence) = &gateway.persistence else {
            return Ok(true);
        };
        let Ok(book) = persistence.state().book() else {
            return Ok(true);
        };
        Ok(self.redis.told_usage(day, &book).await? >= rows)
    }

    /// Tells what has changed of a day; all of it the first time, if there is less of it.
    async fn tell_page(&self, page: Page, today: i64, told: &mut Told) -> Result<(), Away> {
        let Some(known) = told.0.get_mut(&page.day) else {
            let is_over = page.day < today - 1;
            if !is_over || self.redis.told_usage(page.day, &page.book).await? < page.rows.len() {
                self.redis.tell_usage(&page, true).await?;
            }
            told.0.insert(page.day, page.rows);
            return Ok(());
        };
        let Some((news, is_whole)) = news_of(&page, known) else {
            return Ok(());
        };
        self.redis.tell_usage(&news, is_whole).await?;
        *known = page.rows;
        Ok(())
    }

    /// What all instances together have served today; `None` while nobody knows.
    pub(super) async fn today(&self, gateway: &Arc<Gateway>) -> Option<Today> {
        let mut known = self.today.lock().await;
        if let Some((at, today)) = &*known
            && at.elapsed() < TELL_EVERY
        {
            return Some(today.clone());
        }
        let day = day_of(Timestamp::now());
        let persistence = gateway.persistence.clone()?;
        let own = spawn_blocking(move || Own::read(persistence.state(), &(day..=day)).ok());
        let own = own.await.ok()??;
        let snapshot = gateway.snapshot();
        let names = |provider: &str| snapshot.providers.get(provider).map(|one| &one.names);
        let served = everywhere(&self.redis, day..=day, own, names).await.ok()?;
        let today = summed(&served, day);
        *known = Some((Instant::now(), today.clone()));
        Some(today)
    }
}

fn summed(served: &Everywhere, day: i64) -> Today {
    let mut today = Today {
        since: day.saturating_mul(DAY_SECS),
        instances: served.instances,
        ..Today::default()
    };
    for (key, sums) in &served.rows {
        let provider = today.providers.entry(key.provider.clone()).or_default();
        let credential = provider.credentials.entry(key.credential.clone());
        for counted in [&mut today.all, &mut provider.all, credential.or_default()] {
            count(counted, sums);
        }
    }
    today
}

fn count(counted: &mut Counted, sums: &UsageSums) {
    let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
    add(&mut counted.requests, sums.requests);
    add(&mut counted.failures, sums.failures);
    add(&mut counted.prompt_tokens, sums.prompt_tokens);
    add(&mut counted.completion_tokens, sums.completion_tokens);
    counted.approx_cost += sums.cost_usd;
}

/// What this instance's state holds of these days, in the group's terms. Reads the state.
fn pages(gateway: &Gateway, days: RangeInclusive<i64>) -> Vec<Page> {
    let Some(persistence) = &gateway.persistence else {
        return Vec::new();
    };
    match Own::read(persistence.state(), &days) {
        Ok(own) => paged(own, &gateway.snapshot()),
        Err(error) => {
            tracing::debug!("cannot read the usage to tell it: {error}");
            Vec::new()
        }
    }
}

fn paged(own: Own, snapshot: &Snapshot) -> Vec<Page> {
    let mut days: BTreeMap<i64, BTreeMap<Served, UsageSums>> = BTreeMap::new();
    for (key, sums) in own.rows {
        let names = snapshot.providers.get(&key.provider).map(|one| &one.names);
        let name = names.and_then(|names| names.of_secret(&key.credential, &key.fingerprint));
        let served = Served {
            provider: key.provider,
            model: key.model,
            name: name.map_or_else(String::new, |name| name.to_string()),
            credential: names::told(&key.credential),
            client: if key.client.is_empty() {
                key.client
            } else {
                client_mark(&key.client)
            },
        };
        let rows = days.entry(key.hour.div_euclid(24)).or_default();
        *rows.entry(served).or_default() += &sums;
    }
    let pages = days.into_iter().map(|(day, rows)| Page {
        day,
        book: own.book.clone(),
        rows: bounded(rows),
    });
    pages.collect()
}

/// The most used rows, and all others as one a provider.
fn bounded(rows: BTreeMap<Served, UsageSums>) -> BTreeMap<Served, UsageSums> {
    if rows.len() < MOST_ROWS {
        return rows;
    }
    let mut rows: Vec<(Served, UsageSums)> = rows.into_iter().collect();
    rows.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.requests));
    let rest = rows.split_off(MOST_ROWS - 1);
    let mut rows: BTreeMap<Served, UsageSums> = rows.into_iter().collect();
    for (served, sums) in rest {
        let rest = Served {
            provider: served.provider,
            model: REST.to_owned(),
            name: String::new(),
            credential: REST.to_owned(),
            client: REST.to_owned(),
        };
        *rows.entry(rest).or_default() += &sums;
    }
    rows
}

/// When a day begins, counted from the epoch.
pub fn start_of(day: i64) -> Timestamp {
    Timestamp::from_secs(day.saturating_mul(DAY_SECS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Credential, Source};
    use crate::ids::CredentialId;
    use crate::secret::{FingerprintKey, Secret};

    const DAY_1: i64 = 20_000;

    fn names(id: &str) -> Names {
        let id = CredentialId::parse(id).expect("an id");
        let key = Secret::new("sk-0123456789abcdef");
        let credential = Credential::api_key(id, Source::Config, key);
        let (group, own) = (FingerprintKey::new(&[1; 32]), FingerprintKey::new(&[2; 32]));
        Names::new([&credential].into_iter(), &group, &own)
    }

    fn served(name: String, credential: &str, client: &str) -> Served {
        Served {
            provider: "acme".to_owned(),
            model: "m".to_owned(),
            name,
            credential: credential.to_owned(),
            client: client.to_owned(),
        }
    }

    fn requests(requests: u64) -> UsageSums {
        UsageSums {
            requests,
            ..UsageSums::default()
        }
    }

    fn own() -> Own {
        let key = UsageKey {
            hour: DAY_1 * 24 + 5,
            provider: "acme".to_owned(),
            model: "m".to_owned(),
            credential: "acme/1".to_owned(),
            fingerprint: "f".to_owned(),
            client: "laptop".to_owned(),
        };
        Own {
            book: "ours".to_owned(),
            rows: vec![(key, requests(4))],
            clients: vec!["desk".to_owned()],
        }
    }

    fn page(book: &str, rows: impl IntoIterator<Item = (Served, u64)>) -> Page {
        let rows = rows.into_iter();
        Page {
            day: DAY_1,
            book: book.to_owned(),
            rows: rows.map(|(row, count)| (row, requests(count))).collect(),
        }
    }

    #[test]
    fn instances_are_added_up_under_the_names_they_have_here() {
        let here = names("acme/1");
        let id = CredentialId::parse("acme/1").expect("an id");
        let name = here.of(&id).expect("it is known").to_string();
        let (laptop, desk) = (client_mark("laptop"), client_mark("desk"));
        let theirs = page(
            "theirs",
            [
                // Ours under another id, another under ours, one that only they have.
                (served(name, "acme/work", &laptop), 10),
                (served("abcdef99".to_owned(), "acme/1", &desk), 20),
                (served(String::new(), "acme/old", "0123"), 30),
            ],
        );
        // What we told ourselves some seconds ago is not added to what we know.
        let told = page("ours", [(served(String::new(), "acme/1", &laptop), 3)]);
        let all = added(vec![told, theirs], own(), |_| Some(&here));
        assert_eq!(all.instances, 2);
        let mut rows: Vec<_> = all
            .rows
            .iter()
            .map(|(key, sums)| (&*key.credential, &*key.client, sums.requests))
            .collect();
        rows.sort_unstable();
        let expected = [
            ("acme/1", "laptop", 4),
            ("acme/1", "laptop", 10),
            ("acme/1~abcdef", "desk", 20),
            ("acme/old", "#0123", 30),
        ];
        assert_eq!(rows, expected);
        let today = summed(&all, DAY_1);
        assert_eq!(today.all.requests, 64);
        assert_eq!(today.providers["acme"].credentials["acme/1"].requests, 14);
    }

    #[test]
    fn a_day_is_told_in_bounded_rows_and_nothing_of_it_is_lost() {
        let rows = (0..2 * MOST_ROWS as u64).map(|number| {
            let row = served(String::new(), &format!("acme/{number}"), "");
            (row, requests(number))
        });
        let bounded = bounded(rows.collect());
        assert_eq!(bounded.len(), MOST_ROWS);
        let most = 2 * MOST_ROWS as u64 - 1;
        let sum: u64 = bounded.values().map(|sums| sums.requests).sum();
        assert_eq!(sum, most * (most + 1) / 2);
        let rest = bounded.keys().filter(|row| row.credential == REST);
        assert_eq!(rest.count(), 1);
    }

    #[test]
    fn a_server_that_forgot_is_noticed_on_a_day_with_nothing_to_tell() {
        let mut told = Told::default();
        assert_eq!(told.first_day(start_of(DAY_1)), first_kept(start_of(DAY_1)));
        let row = (served(String::new(), "acme/1", ""), requests(1));
        told.0.insert(DAY_1, [row].into());
        for day in [DAY_1, DAY_1 + 1, DAY_1 + 5] {
            told.end(day);
            assert_eq!(told.days(), [(DAY_1, 1)], "what is to be there still");
        }
        told.0.clear();
        let now = start_of(DAY_1 + 5);
        assert_eq!(told.first_day(now), first_kept(now), "all is told anew");
    }

    #[test]
    fn hours_are_told_as_days() {
        let mut own = own();
        let (mut later, sums) = own.rows[0].clone();
        later.hour += 18;
        own.rows.push((later.clone(), sums));
        later.hour += 1;
        own.rows.push((later, sums));
        let pages = paged(own, &Snapshot::default());
        let days: Vec<_> = pages
            .iter()
            .map(|page| {
                (
                    page.day,
                    page.rows.values().map(|sums| sums.requests).sum::<u64>(),
                )
            })
            .collect();
        assert_eq!(days, [(DAY_1, 8), (DAY_1 + 1, 4)]);
        let clients = pages[0].rows.keys().map(|row| row.client.clone());
        assert_eq!(clients.collect::<Vec<_>>(), [client_mark("laptop")]);
    }
}
