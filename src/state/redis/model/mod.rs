//! The server in memory, for simulations: what our functions do there (`scripts`), written a second
//! time. Its time is given to it. That it does as a real server does is checked by `against_server`.

mod against_server;
mod caller;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use crate::state::redis::call::Call;
use crate::state::redis::scripts::Function;

pub(crate) use caller::{Asked, Caller};

/// What is kept under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Hash(BTreeMap<String, Vec<u8>>),
    Scores(BTreeMap<String, i64>),
    Set(BTreeSet<String>),
    Text(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Kept {
    value: Value,
    /// The last millisecond of it, if it ends by itself.
    ends: Option<i64>,
}

/// All that the server keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    kept: BTreeMap<String, Kept>,
    now: i64,
    /// Messages that nobody has taken yet.
    published: Vec<String>,
}

impl Store {
    /// Forgets everything.
    pub(crate) fn flush(&mut self) {
        self.kept.clear();
    }

    /// The messages published since the last call.
    pub(crate) fn take_published(&mut self) -> Vec<String> {
        std::mem::take(&mut self.published)
    }

    /// Names whose score is higher than this, in any set of scores whose key ends so.
    pub(crate) fn scored_above(&self, key_ends: &str, score: i64) -> Vec<&str> {
        let sets = self.kept.iter().filter(|(key, _)| key.ends_with(key_ends));
        let scores = sets.filter_map(|(_, kept)| match &kept.value {
            Value::Scores(scores) => Some(scores),
            Value::Hash(_) | Value::Set(_) | Value::Text(_) => None,
        });
        let live = scores.flatten().filter(|(_, known)| **known > score);
        live.map(|(name, _)| name.as_str()).collect()
    }

    /// Lets time pass: what has ended is gone.
    pub(super) fn at(&mut self, now: i64) -> &mut Self {
        self.now = now;
        self.kept
            .retain(|_, kept| kept.ends.is_none_or(|ends| ends >= now));
        self
    }

    /// Runs one of our functions. Its answer, or the one number it answers with.
    pub(super) fn run(&mut self, call: &Call) -> Vec<i64> {
        let (keys, args) = (call.keys.as_slice(), Args(&call.args));
        match call.function {
            Function::Admit => self.admit(keys, &args),
            Function::Beat => self.beat(keys, &args),
            Function::Keep => vec![self.keep(&keys[0], &args)],
            Function::Offer => vec![self.offer(&keys[0], &args)],
            Function::Publish => vec![self.publish(&keys[0], &args)],
            Function::Renew => vec![self.renew(&keys[0], &args)],
            Function::Settle => vec![self.settle(keys, &args)],
            Function::Tell => vec![self.tell(&keys[0], &args)],
            Function::Unlock => vec![self.unlock(&keys[0], &args)],
        }
    }

    fn beat(&mut self, keys: &[String], args: &Args<'_>) -> Vec<i64> {
        let (now, life) = (self.now, args.number(2));
        let gone: Vec<String> = {
            let silent = self.scores(&keys[0]).iter();
            let silent = silent.filter(|(_, at)| **at <= now - life);
            silent.map(|(name, _)| name.clone()).collect()
        };
        for gone in gone {
            self.scores(&keys[0]).remove(&gone);
            self.hash(&keys[1]).remove(&gone);
        }
        let present = self.scores(&keys[0]);
        present.insert(args.text(0), now);
        let count = number(present.len());
        self.hash(&keys[1]).insert(args.text(0), args.0[1].clone());
        for key in keys {
            self.ends_in(key, 2 * life);
        }
        vec![now, count]
    }

    fn keep(&mut self, key: &str, args: &Args<'_>) -> i64 {
        let most = args.number(1);
        let kept = self.hash(key);
        for pair in args.0[2..].chunks(2) {
            let field = text(&pair[0]);
            if number(kept.len()) < most || kept.contains_key(&field) {
                kept.insert(field, pair[1].clone());
            }
        }
        self.ends_in(key, args.number(0));
        1
    }

    fn offer(&mut self, key: &str, args: &Args<'_>) -> i64 {
        let tokens = self.hash(key);
        let known = tokens.get("generation").map_or(-1, |known| parsed(known));
        if known >= args.number(0) {
            return 0;
        }
        tokens.insert("generation".to_owned(), args.0[0].clone());
        tokens.insert("sealed".to_owned(), args.0[1].clone());
        self.ends_in(key, args.number(2));
        1
    }

    fn publish(&mut self, key: &str, args: &Args<'_>) -> i64 {
        let now = self.now;
        let states = self.hash(key);
        for word in args.0[4..].chunks(3) {
            let field = text(&word[0]);
            let known = states.get(&field).map(|known| text(known));
            let time = known.and_then(|known| known.split_once(' ')?.0.parse::<i64>().ok());
            if time.is_none_or(|time| time <= parsed(&word[1])) {
                states.insert(field, [&word[1], &b" "[..], &word[2]].concat());
            }
        }
        let after = states.get("version").map_or(0, |known| parsed(known));
        let version = now.max(after + 1);
        states.insert("version".to_owned(), version.to_string().into_bytes());
        self.ends_in(key, args.number(1));
        self.published.push(format!(
            "{}{version},\"after\":{after}{}",
            args.text(2),
            args.text(3)
        ));
        version
    }

    fn renew(&mut self, key: &str, args: &Args<'_>) -> i64 {
        let (ends, life) = (self.now + args.number(0), args.number(0));
        let leases = self.scores(key);
        leases.extend(args.0[1..].iter().map(|lease| (text(lease), ends)));
        self.ends_in(key, 2 * life);
        1
    }

    fn tell(&mut self, key: &str, args: &Args<'_>) -> i64 {
        let rows = self.hash(key);
        if args.number(1) == 1 {
            rows.clear();
        }
        for pair in args.0[2..].chunks(2) {
            rows.insert(text(&pair[0]), pair[1].clone());
        }
        self.ends_in(key, args.number(0));
        1
    }

    fn unlock(&mut self, key: &str, args: &Args<'_>) -> i64 {
        if self.text_at(key) != Some(&args.0[0]) {
            return 0;
        }
        self.kept.remove(key);
        1
    }

    /// `SET … NX PX …`: whether it was set.
    pub(super) fn set_if_absent(&mut self, key: &str, value: &str, life: i64) -> bool {
        if self.kept.contains_key(key) {
            return false;
        }
        let value = Value::Text(value.as_bytes().to_vec());
        self.kept.insert(key.to_owned(), Kept { value, ends: None });
        self.ends_in(key, life);
        true
    }

    pub(super) fn text_at(&self, key: &str) -> Option<&Vec<u8>> {
        match &self.kept.get(key)?.value {
            Value::Text(text) => Some(text),
            Value::Hash(_) | Value::Scores(_) | Value::Set(_) => None,
        }
    }

    /// `HGETALL`.
    pub(super) fn fields(&self, key: &str) -> Vec<(String, String)> {
        let Some(Value::Hash(hash)) = self.kept.get(key).map(|kept| &kept.value) else {
            return Vec::new();
        };
        let fields = hash.iter();
        fields
            .map(|(field, value)| (field.clone(), text(value)))
            .collect()
    }

    /// `SMEMBERS`.
    pub(super) fn members(&self, key: &str) -> BTreeSet<String> {
        match self.kept.get(key).map(|kept| &kept.value) {
            Some(Value::Set(set)) => set.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// Drops a key if nothing is left under it.
    fn drop_empty(&mut self, key: &str) {
        let is_empty = self.kept.get(key).is_some_and(|kept| match &kept.value {
            Value::Hash(hash) => hash.is_empty(),
            Value::Scores(scores) => scores.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::Text(_) => false,
        });
        if is_empty {
            self.kept.remove(key);
        }
    }

    /// `PEXPIRE`.
    pub(super) fn ends_in(&mut self, key: &str, life: i64) {
        self.drop_empty(key);
        let now = self.now;
        if let Some(kept) = self.kept.get_mut(key) {
            kept.ends = Some(now + life);
        }
    }

    /// `PTTL`, where it is no error.
    fn left(&self, key: &str) -> Option<i64> {
        Some(self.kept.get(key)?.ends? - self.now)
    }

    /// A hash to write to; whoever leaves it empty has to drop it.
    pub(super) fn hash(&mut self, key: &str) -> &mut BTreeMap<String, Vec<u8>> {
        match self.value(key, || Value::Hash(BTreeMap::new())) {
            Value::Hash(hash) => hash,
            other => panic!("{key} is no hash: {other:?}"),
        }
    }

    fn scores(&mut self, key: &str) -> &mut BTreeMap<String, i64> {
        match self.value(key, || Value::Scores(BTreeMap::new())) {
            Value::Scores(scores) => scores,
            other => panic!("{key} has no scores: {other:?}"),
        }
    }

    pub(super) fn set(&mut self, key: &str) -> &mut BTreeSet<String> {
        match self.value(key, || Value::Set(BTreeSet::new())) {
            Value::Set(set) => set,
            other => panic!("{key} is no set: {other:?}"),
        }
    }

    fn value(&mut self, key: &str, empty: impl FnOnce() -> Value) -> &mut Value {
        let kept = self.kept.entry(key.to_owned());
        let fresh = || Kept {
            value: empty(),
            ends: None,
        };
        &mut kept.or_insert_with(fresh).value
    }
}

/// The arguments of a call.
struct Args<'a>(&'a [Vec<u8>]);

impl Args<'_> {
    fn number(&self, at: usize) -> i64 {
        parsed(&self.0[at])
    }

    fn text(&self, at: usize) -> String {
        text(&self.0[at])
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parsed(bytes: &[u8]) -> i64 {
    text(bytes).parse().expect("a whole number")
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("a small number")
}
