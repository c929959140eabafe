//! One instance's words to the model: the calls that [`Redis`](crate::state::redis::Redis) makes, and
//! what it makes of the answers.

use crate::secret::Fingerprint;
use crate::state::redis::bulletin::{Letter, snapshot_of};
use crate::state::redis::handover::{LOCK, offer, unlock};
use crate::state::redis::keys::Keys;
use crate::state::redis::limits::renew;
use crate::state::redis::model::{Store, number};
use crate::state::redis::roster::beat;
use crate::state::redis::usage;
use crate::state::redis::{
    Admission, Ended, Limits, Notice, Page, Served, ServerClock, Snapshot, Ticket, USAGE_LASTS,
    millis,
};
use crate::state::rows::UsageSums;
use crate::time::Timestamp;

/// What is done in the server once it gets there, by the server's time.
pub(crate) trait Asked<T>: FnOnce(&mut Store, i64) -> T + 'static {}

impl<T, F: FnOnce(&mut Store, i64) -> T + 'static> Asked<T> for F {}

/// An instance.
#[derive(Debug)]
pub(crate) struct Caller {
    keys: Keys,
    instance: String,
    next: std::cell::Cell<u64>,
    pub(crate) clock: ServerClock,
}

impl Caller {
    pub(crate) fn new(instance: String) -> Self {
        Self {
            keys: Keys::new("llmproxy"),
            instance,
            next: std::cell::Cell::new(0),
            clock: ServerClock::default(),
        }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// A name for something this instance holds.
    pub(crate) fn next_id(&self) -> String {
        let number = self.next.replace(self.next.get() + 1);
        format!("{}:{number}", self.instance)
    }

    pub(crate) fn own_ticket(&self) -> Ticket {
        Ticket::own(self.next_id())
    }

    pub(crate) fn admit(&self, limits: &Limits, lease: &str) -> impl Asked<Vec<i64>> + use<> {
        let call = limits.admit(lease, &self.keys);
        move |store: &mut Store, now| store.at(now).run(&call)
    }

    /// What an answer to the call above means, heard at this time of the instance's.
    pub(crate) fn admission(
        &self,
        answer: &[i64],
        limits: &Limits,
        lease: String,
        now: Timestamp,
    ) -> Admission {
        self.clock.note(answer[1], now);
        Admission::read(answer, limits, lease, &self.clock)
    }

    pub(crate) fn settle(
        &self,
        limits: &Limits,
        ticket: &Ticket,
        ended: Ended,
    ) -> impl Asked<()> + use<> {
        let call = limits.settle(ticket, ended, &self.keys);
        move |store: &mut Store, now| drop(store.at(now).run(&call))
    }

    pub(crate) fn renew(&self, tag: &str, leases: &[String]) -> impl Asked<()> + use<> {
        let call = renew(tag, leases, &self.keys);
        move |store: &mut Store, now| drop(store.at(now).run(&call))
    }

    pub(crate) fn beat(&self) -> impl Asked<Vec<i64>> + use<> {
        let call = beat(&self.instance, "{}", &self.keys);
        move |store: &mut Store, now| store.at(now).run(&call)
    }

    /// How many instances there are, of the answer to a beat.
    pub(crate) fn present(&self, answer: &[i64], now: Timestamp) -> u32 {
        self.clock.note(answer[0], now);
        u32::try_from(answer[1]).expect("a small group").max(1)
    }

    pub(crate) fn publish(
        &self,
        provider: &str,
        notices: &[Notice],
        passing: &[String],
    ) -> impl Asked<()> + use<> {
        let letter = Letter {
            from: &self.instance,
            provider,
            notices,
            passing,
        };
        let kept = (!notices.is_empty()).then(|| letter.publish(&self.keys));
        let message = format!("{}0{}", crate::state::redis::bulletin::START, letter.rest());
        move |store: &mut Store, now| match kept {
            Some(call) => drop(store.at(now).run(&call)),
            None => store.published.push(message),
        }
    }

    pub(crate) fn states(&self, provider: &str) -> impl Asked<Snapshot> + use<> {
        let key = self.keys.states(provider);
        move |store: &mut Store, now| snapshot_of(store.at(now).fields(&key))
    }

    pub(crate) fn versions(&self, providers: &[String]) -> impl Asked<Vec<u64>> + use<> {
        let keys = providers.iter().map(|provider| self.keys.states(provider));
        let keys: Vec<String> = keys.collect();
        move |store: &mut Store, now| {
            let store = store.at(now);
            let version = |key: &String| snapshot_of(store.fields(key)).version;
            keys.iter().map(version).collect()
        }
    }

    pub(crate) fn forget(&self, provider: &str, fields: Vec<String>) -> impl Asked<()> + use<> {
        let key = self.keys.states(provider);
        move |store: &mut Store, now| {
            let states = store.at(now).hash(&key);
            states.retain(|field, _| !fields.contains(field));
            store.drop_empty(&key);
        }
    }

    /// Takes an account's lock; when it ends by the server's clock, if it was free.
    pub(crate) fn lock(
        &self,
        account: Fingerprint,
        holder: &str,
    ) -> impl Asked<Option<i64>> + use<> {
        let (key, holder) = (self.keys.lock(account), holder.to_owned());
        move |store: &mut Store, now| {
            let is_taken = store.at(now).set_if_absent(&key, &holder, millis(LOCK));
            is_taken.then(|| now + millis(LOCK))
        }
    }

    pub(crate) fn unlock(&self, account: Fingerprint, holder: &str) -> impl Asked<()> + use<> {
        let call = unlock(account, holder, &self.keys);
        move |store: &mut Store, now| drop(store.at(now).run(&call))
    }

    pub(crate) fn offer(
        &self,
        account: Fingerprint,
        generation: u64,
        text: &str,
    ) -> impl Asked<()> + use<> {
        let call = offer(account, generation, text.as_bytes(), &self.keys);
        move |store: &mut Store, now| drop(store.at(now).run(&call))
    }

    /// The generation and the text of the tokens that were handed over.
    pub(crate) fn fetch(&self, account: Fingerprint) -> impl Asked<Option<(u64, String)>> + use<> {
        let key = self.keys.tokens(account);
        move |store: &mut Store, now| {
            let fields = store.at(now).fields(&key);
            let find = |name| fields.iter().find(|(field, _)| field == name);
            let generation = find("generation")?.1.parse().ok()?;
            Some((generation, find("sealed")?.1.clone()))
        }
    }

    pub(crate) fn tell_usage(&self, page: &Page, is_whole: bool) -> impl Asked<()> + use<> {
        let call = page.tell(is_whole, &self.keys);
        let (books, book) = (self.keys.usage_books(page.day), page.book.clone());
        move |store: &mut Store, now| {
            let store = store.at(now);
            store.run(&call);
            store.set(&books).insert(book);
            store.ends_in(&books, millis(USAGE_LASTS));
        }
    }

    pub(crate) fn told_usage(&self, day: i64, book: &str) -> impl Asked<usize> + use<> {
        let key = self.keys.usage(day, book);
        move |store: &mut Store, now| store.at(now).fields(&key).len()
    }

    /// All that was told of a day.
    pub(crate) fn usage(&self, day: i64) -> impl Asked<Vec<(Served, UsageSums)>> + use<> {
        let (keys, books) = (self.keys.clone(), self.keys.usage_books(day));
        move |store: &mut Store, now| {
            let store = store.at(now);
            let books = store.members(&books);
            let fields = books.iter();
            let fields = fields.flat_map(|book| store.fields(&keys.usage(day, book)));
            let rows = fields.filter_map(|(field, value)| usage::read(&field, &value));
            rows.collect()
        }
    }

    /// How many leases of an instance there are after this time.
    pub(crate) fn leases_of(instance: &str) -> impl Asked<i64> + use<> {
        let prefix = format!("{instance}:");
        move |store: &mut Store, now| {
            let live = store.at(now).scored_above(":leases", now);
            number(live.iter().filter(|name| name.starts_with(&prefix)).count())
        }
    }
}
