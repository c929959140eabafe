//! A bounded memory: values by key, the least recently used go first, and any that lie unused too
//! long go by themselves. Pure of clocks: `now` comes in.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::state::kept::Limits;
use crate::time::Timestamp;

/// How exactly a file knows when something in it was last used: telling it each time would cost a
/// write for each turn of each request.
const NOTED_EVERY: Duration = Duration::from_hours(1);

/// When the file was last told that something is in use.
#[derive(Debug)]
pub struct Noted(AtomicI64);

impl Noted {
    /// Told then.
    pub fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.as_millis()))
    }

    /// `true` once each time that the file should be told.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let last = Timestamp::from_millis(self.0.load(Ordering::Relaxed));
        let is_due = now.since(last) >= NOTED_EVERY;
        if is_due {
            self.0.store(now.as_millis(), Ordering::Relaxed);
        }
        is_due
    }
}

/// Values by key, within [`Limits`].
#[derive(Debug)]
pub struct Shelf<K, V> {
    limits: Limits,
    held: HashMap<K, Held<V>>,
    /// By when they were last used, the oldest first.
    order: BTreeMap<u64, K>,
    bytes: usize,
    /// Goes up with each use.
    uses: u64,
}

#[derive(Debug)]
struct Held<V> {
    value: V,
    bytes: usize,
    used: Timestamp,
    /// Its place in [`Shelf::order`].
    place: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Shelf<K, V> {
    /// An empty shelf.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            held: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            uses: 0,
        }
    }

    /// `true` if nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Keeps a value that takes so many bytes, in place of an older one of the key; what it takes
    /// to keep books is added.
    pub fn put(&mut self, key: K, value: V, bytes: usize, now: Timestamp) {
        let bytes = bytes + 2 * size_of::<K>() + size_of::<Held<V>>();
        self.remove(&key);
        if bytes > self.limits.bytes {
            return;
        }
        let held = Held {
            value,
            bytes,
            used: now,
            place: self.uses,
        };
        self.bytes += bytes;
        self.order.insert(self.uses, key.clone());
        self.held.insert(key, held);
        self.uses += 1;
        self.trim(now);
    }

    /// The value of a key, which counts as used.
    pub fn get(&mut self, key: &K, now: Timestamp) -> Option<V> {
        self.trim(now);
        let held = self.held.get_mut(key)?;
        if let Some(key) = self.order.remove(&held.place) {
            self.order.insert(self.uses, key);
        }
        (held.used, held.place) = (now, self.uses);
        self.uses += 1;
        Some(held.value.clone())
    }

    /// Lets a value go; `None` if there was none.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let held = self.held.remove(key)?;
        self.bytes -= held.bytes;
        self.order.remove(&held.place);
        Some(held.value)
    }

    /// Lets the longest unused go until the limits hold.
    fn trim(&mut self, now: Timestamp) {
        while let Some((_, oldest)) = self.order.first_key_value() {
            let is_stale = self
                .held
                .get(oldest)
                .is_none_or(|held| now.since(held.used) >= self.limits.idle);
            let is_full = self.held.len() > self.limits.entries || self.bytes > self.limits.bytes;
            if !is_stale && !is_full {
                return;
            }
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
    const LIMITS: Limits = Limits {
        entries: 1000,
        bytes: 1 << 20,
        idle: Duration::from_hours(24),
    };

    fn shelf(limits: Limits, names: &[&'static str]) -> Shelf<&'static str, ()> {
        let mut shelf = Shelf::new(limits);
        for name in names {
            shelf.put(*name, (), 100, NOW);
        }
        shelf
    }

    fn holds(shelf: &mut Shelf<&'static str, ()>, name: &'static str, now: Timestamp) -> bool {
        shelf.get(&name, now).is_some()
    }

    #[test]
    fn the_longest_unused_goes_when_there_are_too_many() {
        let limits = Limits {
            entries: 2,
            ..LIMITS
        };
        let mut shelf = shelf(limits, &["1", "2"]);
        assert!(holds(&mut shelf, "1", NOW));
        shelf.put("3", (), 100, NOW);
        assert!(holds(&mut shelf, "1", NOW) && holds(&mut shelf, "3", NOW));
        assert!(!holds(&mut shelf, "2", NOW));
    }

    #[test]
    fn the_longest_unused_goes_when_the_bytes_are_too_many() {
        let each = shelf(LIMITS, &["1"]).bytes;
        let limits = Limits {
            bytes: 2 * each,
            ..LIMITS
        };
        let mut shelf = shelf(limits, &["1", "2", "3"]);
        assert!(!holds(&mut shelf, "1", NOW));
        assert!(holds(&mut shelf, "2", NOW) && holds(&mut shelf, "3", NOW));
    }

    #[test]
    fn one_that_is_larger_than_all_room_is_not_kept_and_pushes_nobody_out() {
        let limits = Limits {
            bytes: 1000,
            ..LIMITS
        };
        let mut shelf = shelf(limits, &["1"]);
        shelf.put("2", (), 1000, NOW);
        assert!(holds(&mut shelf, "1", NOW) && !holds(&mut shelf, "2", NOW));
    }

    #[test]
    fn a_value_goes_when_it_lay_unused_too_long() {
        let mut shelf = shelf(LIMITS, &["1"]);
        let almost = NOW + LIMITS.idle - Duration::from_secs(1);
        assert!(holds(&mut shelf, "1", almost));
        let again = almost + LIMITS.idle - Duration::from_secs(1);
        assert!(holds(&mut shelf, "1", again));
        assert!(!holds(&mut shelf, "1", again + LIMITS.idle));
    }

    #[test]
    fn a_file_is_told_of_use_once_an_hour() {
        let noted = Noted::at(NOW);
        let later = NOW + NOTED_EVERY;
        let dues = [NOW, later, later].map(|now| noted.is_due(now));
        assert_eq!(dues, [false, true, false]);
    }

    #[test]
    fn one_that_is_kept_again_is_counted_once() {
        let mut shelf = shelf(LIMITS, &["1"]);
        let each = shelf.bytes;
        shelf.put("1", (), 100, NOW);
        assert_eq!((shelf.held.len(), shelf.order.len()), (1, 1));
        assert_eq!(shelf.bytes, each);
        assert_eq!(shelf.remove(&"1"), Some(()));
        assert!(shelf.is_empty() && shelf.bytes == 0);
    }
}
