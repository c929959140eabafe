//! Words on credentials that all instances hear: published when something changes, kept for those
//! who come later, numbered so that whoever missed one knows.

use std::fmt;

use futures_util::future::try_join_all;
use futures_util::{Stream, StreamExt};
use redis::Msg;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::state::redis::call::Call;
use crate::state::redis::keys::Keys;
use crate::state::redis::link::Away;
use crate::state::redis::scripts::Function;
use crate::state::redis::{BACKGROUND_PATIENCE, Redis};
use crate::time::Timestamp;

/// What is known of credentials is kept for so long after the last word on a provider's.
const STATES_LAST_MS: i64 = 32 * 24 * 3_600_000;

/// Conversations are kept by stretches of this length, the present one and the one before.
const STRETCH_MS: i64 = 30 * 60_000;

/// Conversations of a provider that are kept of one stretch.
const MOST_KEPT: usize = 10_000;

/// The field of the version beside those of the records.
const VERSION: &str = "version";

/// A word that is kept: a later one on the same thing (`field`) takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub field: String,
    /// When it became so, by the server's clock, in milliseconds.
    pub changed_ms: i64,
    /// JSON.
    pub record: String,
}

/// All that is kept of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub version: u64,
    pub notices: Vec<Notice>,
}

/// What an instance tells the others of a provider's credentials, as JSON.
pub(super) struct Letter<'a> {
    pub(super) from: &'a str,
    pub(super) provider: &'a str,
    /// What is kept.
    pub(super) notices: &'a [Notice],
    /// What nobody needs to hear who is not there.
    pub(super) passing: &'a [String],
}

/// How every message begins; then follow the version, the one before it, and [`Letter::rest`].
pub(super) const START: &str = "{\"version\":";

impl Letter<'_> {
    /// A message but for its beginning and its version.
    pub(super) fn rest(&self) -> String {
        let records = self.notices.iter().map(|notice| notice.record.as_str());
        let passing = self.passing.iter().map(String::as_str);
        let records: Vec<&str> = records.chain(passing).collect();
        format!(
            ",\"from\":\"{}\",\"provider\":\"{}\",\"records\":[{}]}}",
            self.from,
            self.provider,
            records.join(",")
        )
    }

    /// Has its notices kept, and all of it told.
    pub(super) fn publish(&self, keys: &Keys) -> Call {
        let mut call = Call::new(Function::Publish);
        call.key(keys.states(self.provider)).arg(keys.channel());
        call.arg(STATES_LAST_MS).arg(START).arg(self.rest());
        for notice in self.notices {
            call.arg(&notice.field)
                .arg(notice.changed_ms)
                .arg(&notice.record);
        }
        call
    }
}

/// A message of another instance, or of our own.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// The version of what is kept after this; 0 if nothing of it is.
    pub version: u64,
    /// The version before it.
    #[serde(default)]
    pub after: u64,
    /// The instance it is from.
    pub from: String,
    pub provider: String,
    pub records: Vec<Box<RawValue>>,
}

/// The messages of all instances.
pub struct News {
    messages: std::pin::Pin<Box<dyn Stream<Item = Msg> + Send>>,
}

impl News {
    /// The next one that can be read; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let message = self.messages.next().await?;
            // What another version says in a shape of its own is passed over.
            let read = serde_json::from_slice(message.get_payload_bytes());
            if let Ok(message) = read {
                return Some(message);
            }
        }
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects and listens to the others. From then on the server counts as there.
    pub async fn join(&self) -> Result<News, Away> {
        let listener = self.link.open(&self.keys.channel()).await?;
        Ok(News {
            messages: Box::pin(listener.into_on_message()),
        })
    }

    /// Notes that the news have ended: the server is taken for away.
    pub fn hang_up(&self) {
        self.link.hang_up();
    }

    /// Tells all instances of a provider's credentials. `passing` are words that nobody needs to
    /// hear who is not there, as JSON. Returns the version after it; 0 if nothing was kept.
    pub async fn publish(
        &self,
        provider: &str,
        notices: &[Notice],
        passing: &[String],
    ) -> Result<u64, Away> {
        let letter = Letter {
            from: &self.instance,
            provider,
            notices,
            passing,
        };
        if notices.is_empty() {
            let message = format!("{START}0{}", letter.rest());
            let mut pipe = redis::pipe();
            pipe.cmd("PUBLISH").arg(self.keys.channel());
            pipe.arg(message).ignore();
            self.ask::<()>(&pipe).await?;
            return Ok(0);
        }
        let call = letter.publish(&self.keys);
        self.call(BACKGROUND_PATIENCE, &call).await
    }

    /// Keeps conversations, by name, for instances that come later: as many as there is room for.
    pub async fn keep_conversations(
        &self,
        provider: &str,
        conversations: &[(String, String)],
    ) -> Result<(), Away> {
        let key = self.keys.conversations(provider, self.stretch());
        let mut call = Call::new(Function::Keep);
        call.key(key);
        call.arg(2 * STRETCH_MS).arg(MOST_KEPT);
        for (name, record) in conversations {
            call.arg(name).arg(record);
        }
        self.call(BACKGROUND_PATIENCE, &call).await
    }

    /// The records of conversations that were kept in the last half hour, and some before it; the
    /// latest last.
    pub async fn conversations(&self, provider: &str) -> Result<Vec<String>, Away> {
        let mut records = Vec::new();
        for stretch in [self.stretch() - 1, self.stretch()] {
            let mut pipe = redis::pipe();
            pipe.cmd("HVALS")
                .arg(self.keys.conversations(provider, stretch));
            let (kept,): (Vec<String>,) = self.ask(&pipe).await?;
            records.extend(kept);
        }
        Ok(records)
    }

    fn stretch(&self) -> i64 {
        let now = self.clock.to_server(Timestamp::now());
        now.as_millis().div_euclid(STRETCH_MS)
    }

    /// All that is kept of a provider.
    pub async fn states(&self, provider: &str) -> Result<Snapshot, Away> {
        let mut pipe = redis::pipe();
        pipe.cmd("HGETALL").arg(self.keys.states(provider));
        let (fields,): (Vec<(String, String)>,) = self.ask(&pipe).await?;
        Ok(snapshot_of(fields))
    }

    /// The versions of what is kept of these providers, in their order; 0 where nothing is.
    pub async fn versions(&self, providers: &[String]) -> Result<Vec<u64>, Away> {
        // They are at different nodes of a cluster, so each is asked for by itself; all at once.
        let asked = providers.iter().map(|provider| async move {
            let mut pipe = redis::pipe();
            pipe.cmd("HGET")
                .arg(self.keys.states(provider))
                .arg(VERSION);
            let (version,): (Option<u64>,) = self.ask(&pipe).await?;
            Ok(version.unwrap_or_default())
        });
        try_join_all(asked).await
    }

    /// Drops words that mean nothing any more.
    pub async fn forget(&self, provider: &str, fields: &[String]) -> Result<(), Away> {
        if fields.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        pipe.cmd("HDEL")
            .arg(self.keys.states(provider))
            .arg(fields)
            .ignore();
        self.ask(&pipe).await
    }
}

pub(super) fn snapshot_of(fields: Vec<(String, String)>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (field, value) in fields {
        if field == VERSION {
            snapshot.version = value.parse().unwrap_or_default();
        } else if let Some((changed, record)) = value.split_once(' ')
            && let Ok(changed_ms) = changed.parse()
        {
            snapshot.notices.push(Notice {
                field,
                changed_ms,
                record: record.to_owned(),
            });
        }
    }
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_and_what_is_damaged_passed_over() {
        let field = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        let snapshot = snapshot_of(vec![
            field("version", "7"),
            field("a", "12 {\"x\":\"y z\"}"),
            field("b", "nonsense"),
            field("c", "x {}"),
        ]);
        let expected = Notice {
            field: "a".to_owned(),
            changed_ms: 12,
            record: "{\"x\":\"y z\"}".to_owned(),
        };
        assert_eq!((snapshot.version, snapshot.notices), (7, vec![expected]));
    }

    #[test]
    fn a_message_is_read_as_it_is_written() {
        let text = r#"{"version":3,"from":"i","provider":"p","records":[{"a":1}],"later":true}"#;
        let message: Message = serde_json::from_str(text).expect("a message");
        assert_eq!((message.version, message.records.len()), (3, 1));
    }
}
