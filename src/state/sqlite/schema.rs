//! The tables, how older ones are brought up to date, and what is cleared away with time.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::state::rows::UsageKey;
use crate::time::Timestamp;

/// One step for each version of the schema: version `n` is reached by the first `n` of them.
/// Released steps are never changed.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE credential_state (
    provider TEXT NOT NULL, fingerprint TEXT NOT NULL, class TEXT NOT NULL, kind TEXT NOT NULL,
    credential TEXT NOT NULL, value TEXT, updated_ms INTEGER NOT NULL,
    version INTEGER NOT NULL, writer INTEGER NOT NULL,
    PRIMARY KEY (provider, fingerprint, class, kind)
) WITHOUT ROWID;
CREATE INDEX credential_state_version ON credential_state (version);
CREATE TABLE usage (
    hour INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    credential TEXT NOT NULL, fingerprint TEXT NOT NULL, client TEXT NOT NULL,
    requests INTEGER NOT NULL, failures INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL, estimated INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    PRIMARY KEY (hour, provider, model, credential, fingerprint, client)
) WITHOUT ROWID;
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, time_ms INTEGER NOT NULL,
    failed INTEGER NOT NULL, value TEXT NOT NULL
);
CREATE INDEX journal_id ON journal (id);
CREATE INDEX journal_failed ON journal (seq) WHERE failed;
CREATE TABLE session (
    provider TEXT NOT NULL, session INTEGER NOT NULL, credential TEXT NOT NULL,
    used_ms INTEGER NOT NULL,
    PRIMARY KEY (provider, session)
) WITHOUT ROWID;
CREATE INDEX session_used ON session (used_ms);
",
    "
ALTER TABLE usage ADD COLUMN timed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN duration_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN first_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN first_token_ms INTEGER NOT NULL DEFAULT 0;
",
];

/// Usage older than this is kept by the day.
const HOURS_KEPT: i64 = 40 * 24;

/// Usage older than this is forgotten: two years.
const MAX_HOURS: i64 = 731 * 24;

/// Cleared states are remembered this long, for processes that slept meanwhile.
const TOMBSTONE_MS: i64 = 7 * 86_400_000;

/// Sessions end an hour after their last request; a day leaves room for clocks that jump.
const SESSION_MS: i64 = 86_400_000;

/// Free pages given back at once: 4 MiB, some milliseconds.
const PAGES: u32 = 1024;

/// Whether the schema is one we know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Schema {
    Current,
    Newer(i64),
}

/// Brings the schema up to date and clears away what is old; does nothing to a newer one.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<Schema> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    if done > STEPS.len() {
        return Ok(Schema::Newer(version));
    }
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    if done < STEPS.len() {
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(STEPS.len()).unwrap_or(i64::MAX),
        )?;
    }
    // Beginning at the clock, so that versions grow even over a database that was replaced.
    transaction.execute(
        "INSERT OR IGNORE INTO counter VALUES ('version', ?1)",
        [now.as_millis()],
    )?;
    // Names these counts to those who add up several: a database that begins anew is another one.
    transaction.execute(
        "INSERT OR IGNORE INTO counter VALUES ('book', random())",
        [],
    )?;
    tidy(&transaction, now)?;
    transaction.commit()?;
    Ok(Schema::Current)
}

/// Clears away what is old, and gives the room back in small steps. Nobody waits for it: requests
/// are recorded in memory, and the writer does this between two batches.
pub(super) fn clear_away(connection: &mut Connection, now: Timestamp) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tidy(&transaction, now)?;
    transaction.commit()?;
    let mut vacuum = connection.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

fn tidy(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM credential_state WHERE value IS NULL AND updated_ms < ?1",
        [now.as_millis().saturating_sub(TOMBSTONE_MS)],
    )?;
    transaction.execute(
        "DELETE FROM session WHERE used_ms < ?1",
        [now.as_millis().saturating_sub(SESSION_MS)],
    )?;
    let before = (UsageKey::hour_of(now) - HOURS_KEPT) / 24 * 24;
    let old = "hour < ?1 AND hour % 24 <> 0";
    transaction.execute(
        &format!(
            "INSERT INTO usage SELECT hour / 24 * 24, provider, model, credential, fingerprint,
                 client, SUM(requests), SUM(failures), SUM(prompt_tokens), SUM(cached_tokens),
                 SUM(cache_write_tokens), SUM(completion_tokens), SUM(reasoning_tokens),
                 SUM(cost_usd), SUM(estimated), MAX(last_used_ms), SUM(timed),
                 SUM(duration_ms), SUM(first_tokens), SUM(first_token_ms)
             FROM usage WHERE {old} GROUP BY 1, 2, 3, 4, 5, 6
             {}",
            super::queries::ADD_USAGE
        ),
        params![before],
    )?;
    transaction.execute(&format!("DELETE FROM usage WHERE {old}"), params![before])?;
    let forgotten = UsageKey::hour_of(now) - MAX_HOURS;
    transaction.execute("DELETE FROM usage WHERE hour < ?1", params![forgotten])?;
    Ok(())
}
