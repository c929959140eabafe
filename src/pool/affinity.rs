//! Which conversation was served by which credential: a bounded memory with a sliding end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::time::Timestamp;

/// Conversations remembered; the one unused for longest makes room.
const CAPACITY: usize = 100_000;
/// A conversation silent for so long is forgotten: provider caches are colder by then.
const LIFE: Duration = Duration::from_hours(1);
const NONE: u32 = u32::MAX;

/// Conversations and their credentials, least recently used first.
#[derive(Debug)]
pub(super) struct Affinity {
    places: HashMap<u64, u32>,
    nodes: Vec<Node>,
    oldest: u32,
    newest: u32,
    capacity: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: u64,
    slot: u32,
    used: Timestamp,
    older: u32,
    newer: u32,
}

impl Default for Affinity {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            nodes: Vec::new(),
            oldest: NONE,
            newest: NONE,
            capacity: CAPACITY,
        }
    }
}

/// The key of a session in a model class.
pub(super) fn key(session: u64, class: &str) -> u64 {
    // FNV-1a, then a mix: sessions are hashes already, class names are short.
    let hash = class.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (session ^ hash.rotate_left(31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

impl Affinity {
    /// The credential of a conversation, if it is fresh.
    pub(super) fn find(&self, key: u64, now: Timestamp) -> Option<u32> {
        let node = self.nodes.get(*self.places.get(&key)? as usize)?;
        (now.since(node.used) < LIFE).then_some(node.slot)
    }

    /// Notes that a credential serves a conversation. Returns whether that is news.
    pub(super) fn bind(&mut self, key: u64, slot: u32, now: Timestamp) -> bool {
        if let Some(at) = self.places.get(&key).copied() {
            self.unlink(at);
            let is_news = self
                .nodes
                .get(at as usize)
                .is_none_or(|node| node.slot != slot || now.since(node.used) >= LIFE / 4);
            self.link(at, key, slot, now);
            return is_news;
        }
        let at = if self.nodes.len() < self.capacity {
            self.nodes.push(Node {
                key,
                slot,
                used: now,
                older: NONE,
                newer: NONE,
            });
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        } else {
            let oldest = self.oldest;
            self.unlink(oldest);
            if let Some(node) = self.nodes.get(oldest as usize) {
                self.places.remove(&node.key);
            }
            oldest
        };
        self.places.insert(key, at);
        self.link(at, key, slot, now);
        true
    }

    /// Takes over what was noted elsewhere or before, unless something later is known.
    pub(super) fn adopt(&mut self, key: u64, slot: u32, used: Timestamp) {
        let known = self.places.get(&key);
        let known = known.and_then(|at| self.nodes.get(*at as usize));
        if known.is_none_or(|node| node.used <= used) {
            self.bind(key, slot, used);
        }
    }

    /// Keeps a conversation alive with the credential it has.
    pub(super) fn touch(&mut self, key: u64, now: Timestamp) {
        if let Some(slot) = self.find(key, now) {
            self.bind(key, slot, now);
        }
    }

    /// Forgets the conversations of credentials that have left.
    pub(super) fn forget(&mut self, gone: &HashSet<u32>) {
        for node in &mut self.nodes {
            if gone.contains(&node.slot) {
                // Its place in the line stays; nothing finds it any more.
                node.slot = NONE;
            }
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(Node { older, newer, .. }) = self.nodes.get(at as usize).copied() else {
            return;
        };
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
        match self.nodes.get_mut(newer as usize) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
    }

    fn link(&mut self, at: u32, key: u64, slot: u32, now: Timestamp) {
        let older = self.newest;
        if let Some(node) = self.nodes.get_mut(at as usize) {
            *node = Node {
                key,
                slot,
                used: now,
                older,
                newer: NONE,
            };
        }
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_secs(minutes * 60)
    }

    #[test]
    fn a_conversation_is_remembered_for_an_hour_after_its_last_word() {
        let mut affinity = Affinity::default();
        affinity.bind(1, 7, at(0));
        affinity.touch(1, at(50));
        assert_eq!(affinity.find(1, at(109)), Some(7));
        assert_eq!(affinity.find(1, at(110)), None);
    }

    #[test]
    fn an_older_word_from_elsewhere_changes_nothing() {
        let mut affinity = Affinity::default();
        affinity.bind(1, 7, at(5));
        affinity.adopt(1, 8, at(4));
        assert_eq!(affinity.find(1, at(6)), Some(7));
        affinity.adopt(1, 8, at(6));
        assert_eq!(affinity.find(1, at(6)), Some(8));
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let mut affinity = Affinity {
            capacity: 3,
            ..Affinity::default()
        };
        for key in 1..=3 {
            affinity.bind(key, 0, at(0));
        }
        affinity.touch(1, at(1));
        affinity.bind(4, 0, at(2));
        let known: Vec<_> = (1..=4)
            .filter(|key| affinity.find(*key, at(2)).is_some())
            .collect();
        assert_eq!(known, [1, 3, 4]);
    }

    #[test]
    fn the_same_session_in_two_classes_is_two_conversations() {
        assert_ne!(key(5, "pro"), key(5, "flash"));
        assert_ne!(key(5, "pro"), key(6, "pro"));
    }
}
