//! What this instance still has to tell the others, what it knows them to know, and how far it has
//! heard them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::gateway::group::names::Names;
use crate::gateway::group::words::{self, changed_ms, field};
use crate::pool::Change;
use crate::state::redis::Notice;
use crate::time::Timestamp;

/// Conversations told at once; where more begin, some are not told, and only cost a cache.
const MOST_SESSIONS: usize = 500;

/// Things on which the last word is remembered; then all are forgotten, and told once more.
const MOST_REMEMBERED: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The latest word on each thing, by provider.
    words: BTreeMap<String, BTreeMap<String, Change>>,
    /// Conversations, by provider.
    sessions: BTreeMap<String, VecDeque<Change>>,
    /// Who may not be at fault, by provider: the latest word only.
    suspects: BTreeMap<String, Change>,
    /// When each thing last changed (by our clock), as it was told or heard.
    known: HashMap<(String, String), i64>,
}

/// What is to be told of a provider's credentials.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) provider: String,
    /// Words that are kept for those who come later.
    pub(super) kept: Vec<Change>,
    /// Passing ones.
    pub(super) passing: Vec<Change>,
}

/// A letter in the group's terms.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) notices: Vec<Notice>,
    pub(super) passing: Vec<String>,
    /// Of the passing ones those that are kept for a while, by name.
    pub(super) conversations: Vec<(String, String)>,
}

impl Outbox {
    /// Takes in a change, unless the others know it. Returns whether there is something to tell.
    pub(super) fn post(&mut self, provider: &str, change: &Change) -> bool {
        if matches!(change, Change::Suspects(_)) {
            self.suspects.insert(provider.to_owned(), change.clone());
            return true;
        }
        let Some(field) = field(change) else {
            let sessions = self.sessions.entry(provider.to_owned()).or_default();
            if sessions.len() < MOST_SESSIONS {
                sessions.push_back(change.clone());
            }
            return true;
        };
        if !self.is_news(provider, change) {
            return false;
        }
        let words = self.words.entry(provider.to_owned()).or_default();
        words.insert(field, change.clone());
        true
    }

    /// Takes what is to be told, a letter for each provider.
    pub(super) fn take_letters(&mut self) -> Vec<Letter> {
        let mut words = std::mem::take(&mut self.words);
        let mut sessions = std::mem::take(&mut self.sessions);
        let mut suspects = std::mem::take(&mut self.suspects);
        let providers = words.keys().chain(sessions.keys()).chain(suspects.keys());
        let mut providers: Vec<String> = providers.cloned().collect();
        providers.sort_unstable();
        providers.dedup();
        let letters = providers.into_iter().map(|provider| {
            let kept = words.remove(&provider).unwrap_or_default();
            let mut passing = sessions.remove(&provider).unwrap_or_default();
            passing.extend(suspects.remove(&provider));
            Letter {
                kept: kept.into_values().collect(),
                passing: passing.into(),
                provider,
            }
        });
        letters.collect()
    }

    /// What the group says of a provider, in this instance's terms; it is known to the others.
    pub(super) fn take_in(
        &mut self,
        provider: &str,
        changes: Vec<Change>,
        names: &Names,
        (offset_ms, now): (i64, Timestamp),
    ) -> Vec<Change> {
        let changes = changes.into_iter();
        let incoming = changes.filter_map(|change| words::incoming(change, names, offset_ms, now));
        let incoming: Vec<Change> = incoming.collect();
        for change in &incoming {
            if let (Some(field), Some(changed)) = (field(change), changed_ms(change)) {
                self.note(provider, &field, changed);
            }
        }
        incoming
    }

    /// Forgets what is known to the others of a provider.
    pub(super) fn forget(&mut self, provider: &str) {
        self.known.retain(|(known, _), _| known != provider);
    }

    /// Whether the others do not know of this; they are taken to know it from now on.
    pub(super) fn is_news(&mut self, provider: &str, change: &Change) -> bool {
        let (Some(field), Some(changed)) = (field(change), changed_ms(change)) else {
            return false;
        };
        changed != 0 && self.note(provider, &field, changed)
    }

    pub(super) fn has_words(&self) -> bool {
        !self.words.is_empty() || !self.suspects.is_empty()
    }

    /// Notes when a thing last changed. Returns whether that is news.
    fn note(&mut self, provider: &str, field: &str, changed_ms: i64) -> bool {
        if self.known.len() >= MOST_REMEMBERED {
            self.known.clear();
        }
        let key = (provider.to_owned(), field.to_owned());
        self.known.insert(key, changed_ms) != Some(changed_ms)
    }
}

impl Parcel {
    pub(super) fn new(
        kept: Vec<Change>,
        passing: Vec<Change>,
        names: &Names,
        offset_ms: i64,
    ) -> Self {
        let addressed = |changes: Vec<Change>| {
            let changes = changes.into_iter();
            let named = changes.filter_map(|change| words::outgoing(change, names, offset_ms));
            named.collect::<Vec<Change>>()
        };
        let passing = addressed(passing);
        let text = |change| serde_json::to_string(change).ok();
        Self {
            notices: addressed(kept).iter().filter_map(words::notice).collect(),
            conversations: passing.iter().filter_map(words::conversation).collect(),
            passing: passing.iter().filter_map(text).collect(),
        }
    }
}

/// The version of what is kept of each provider, as last heard or read.
#[derive(Debug, Default)]
pub(super) struct Heard(HashMap<String, u64>);

impl Heard {
    /// Notes what has been read.
    pub(super) fn read(&mut self, provider: &str, version: u64) {
        self.0.insert(provider.to_owned(), version);
    }

    /// Notes a message's version, and the one before it. Returns whether another one was missed, or
    /// lost by a server that forgot. One that has been read already says nothing new.
    pub(super) fn hear(&mut self, provider: &str, (version, after): (u64, u64)) -> bool {
        let last = self.0.entry(provider.to_owned()).or_default();
        if version <= *last {
            return false;
        }
        let is_next = *last == after;
        *last = version;
        !is_next
    }

    pub(super) fn of(&self, provider: &str) -> u64 {
        self.0.get(provider).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{SavedCredential, SavedSession, Standing};

    fn word(changed_ms: i64) -> Change {
        Change::Credential(SavedCredential {
            credential: "acme/1".to_owned(),
            fingerprint: "f".to_owned(),
            standing: Standing::Usable,
            cooldown: None,
            strikes: 0,
            benched_ms: None,
            changed_ms,
        })
    }

    #[test]
    fn what_the_others_know_is_not_told_again() {
        let mut outbox = Outbox::default();
        assert!(outbox.post("acme", &word(5)));
        assert!(!outbox.post("acme", &word(5)), "told already");
        assert!(!outbox.post("acme", &word(0)), "nothing ever happened");
        assert!(outbox.post("acme", &word(6)));
        assert_eq!(outbox.words["acme"].len(), 1, "only the latest");
        assert!(outbox.note("acme", "f:credential", 7), "heard");
        assert!(!outbox.post("acme", &word(7)), "others said so");
    }

    #[test]
    fn conversations_that_wait_are_bounded() {
        let mut outbox = Outbox::default();
        for key in 0..2 * MOST_SESSIONS as u64 {
            let session = SavedSession {
                key,
                credential: "acme/1".to_owned(),
                used_ms: 1,
            };
            assert!(outbox.post("acme", &Change::Session(session)));
        }
        assert_eq!(outbox.sessions["acme"].len(), MOST_SESSIONS);
    }

    #[test]
    fn a_version_that_is_skipped_or_lost_was_missed() {
        let mut heard = Heard::default();
        heard.read("acme", 40);
        let versions = [(50, 40), (0, 0), (50, 40), (80, 70), (90, 80), (95, 0)];
        let gaps = versions.map(|versions| heard.hear("acme", versions));
        assert_eq!(gaps, [false, false, false, true, false, true]);
        assert_eq!(heard.of("acme"), 95);
    }
}
