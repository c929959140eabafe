//! Rows to SQL and back.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::state::rows::{
    Changes, CredentialKey, CredentialRow, JournalRow, SessionRow, UsageKey, UsageSums, Version,
};
use crate::state::unwritten::Unwritten;
use crate::time::Timestamp;

/// The journal keeps this many requests.
const MAX_JOURNAL: i64 = 10_000;

/// Adds to counts that are there already: two processes add up.
pub(super) const ADD_USAGE: &str = "ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests,
    failures = failures + excluded.failures,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
    cost_usd = cost_usd + excluded.cost_usd,
    estimated = estimated + excluded.estimated,
    timed = timed + excluded.timed,
    duration_ms = duration_ms + excluded.duration_ms,
    first_tokens = first_tokens + excluded.first_tokens,
    first_token_ms = first_token_ms + excluded.first_token_ms,
    last_used_ms = MAX(last_used_ms, excluded.last_used_ms)";

/// Writes a batch; all its credential states get one version.
pub(super) fn write(
    transaction: &Transaction<'_>,
    batch: &Unwritten,
    writer: i64,
) -> rusqlite::Result<()> {
    if !batch.credentials.is_empty() {
        write_credentials(transaction, batch, writer)?;
    }
    let mut add = transaction.prepare_cached(&format!(
        "INSERT INTO usage VALUES
             (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20) {ADD_USAGE}"
    ))?;
    for (key, sums) in &batch.usage {
        add.execute(params![
            key.hour,
            key.provider,
            key.model,
            key.credential,
            key.fingerprint,
            key.client,
            signed(sums.requests),
            signed(sums.failures),
            signed(sums.prompt_tokens),
            signed(sums.cached_tokens),
            signed(sums.cache_write_tokens),
            signed(sums.completion_tokens),
            signed(sums.reasoning_tokens),
            sums.cost_usd,
            signed(sums.estimated),
            sums.last_used.as_millis(),
            signed(sums.timed),
            signed(sums.duration_ms),
            signed(sums.first_tokens),
            signed(sums.first_token_ms),
        ])?;
    }
    let mut append = transaction.prepare_cached(
        "INSERT INTO journal (id, time_ms, failed, value) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for row in &batch.journal {
        append.execute(params![row.id, row.time.as_millis(), row.failed, row.value])?;
    }
    if !batch.journal.is_empty() {
        transaction.execute(
            "DELETE FROM journal WHERE seq <= (SELECT MAX(seq) FROM journal) - ?1",
            [MAX_JOURNAL],
        )?;
    }
    let mut bind = transaction.prepare_cached(
        "INSERT INTO session VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
         SET credential = excluded.credential, used_ms = excluded.used_ms
         WHERE excluded.used_ms >= used_ms",
    )?;
    for row in batch.sessions.values() {
        bind.execute(params![
            row.provider,
            row.session.cast_signed(),
            row.credential,
            row.used.as_millis()
        ])?;
    }
    Ok(())
}

fn write_credentials(
    transaction: &Transaction<'_>,
    batch: &Unwritten,
    writer: i64,
) -> rusqlite::Result<()> {
    let version: i64 = transaction.query_row(
        "UPDATE counter SET value = value + 1 WHERE name = 'version' RETURNING value",
        [],
        |row| row.get(0),
    )?;
    let mut put = transaction.prepare_cached(
        "INSERT INTO credential_state
             (provider, fingerprint, class, kind, credential, value, updated_ms, version, writer)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET
             credential = excluded.credential, value = excluded.value,
             updated_ms = excluded.updated_ms, version = excluded.version,
             writer = excluded.writer",
    )?;
    for row in batch.credentials.values() {
        put.execute(params![
            row.key.provider,
            row.key.fingerprint,
            row.key.class,
            row.key.kind,
            row.credential,
            row.value,
            row.updated.as_millis(),
            version,
            writer
        ])?;
    }
    Ok(())
}

pub(super) fn credentials(connection: &Connection) -> rusqlite::Result<Changes> {
    // One statement each, and the version first: what comes between is then asked for again.
    let version = current_version(connection)?;
    let mut select = connection.prepare_cached(
        "SELECT provider, fingerprint, class, kind, credential, value, updated_ms
         FROM credential_state WHERE value IS NOT NULL",
    )?;
    let rows = select.query_map([], read_credential)?;
    Ok(Changes {
        rows: rows.collect::<Result<_, _>>()?,
        version,
    })
}

pub(super) fn changes_since(
    connection: &Connection,
    since: Version,
    writer: i64,
) -> rusqlite::Result<Changes> {
    let version = current_version(connection)?;
    if version <= since {
        return Ok(Changes {
            rows: Vec::new(),
            version: since,
        });
    }
    let mut select = connection.prepare_cached(
        "SELECT provider, fingerprint, class, kind, credential, value, updated_ms
         FROM credential_state WHERE version > ?1 AND writer <> ?2 ORDER BY version",
    )?;
    let rows = select.query_map(params![since.0, writer], read_credential)?;
    Ok(Changes {
        rows: rows.collect::<Result<_, _>>()?,
        version,
    })
}

fn current_version(connection: &Connection) -> rusqlite::Result<Version> {
    connection
        .prepare_cached("SELECT value FROM counter WHERE name = 'version'")?
        .query_row([], |row| row.get(0).map(Version))
}

fn read_credential(row: &Row<'_>) -> rusqlite::Result<CredentialRow> {
    Ok(CredentialRow {
        key: CredentialKey {
            provider: row.get(0)?,
            fingerprint: row.get(1)?,
            class: row.get(2)?,
            kind: row.get(3)?,
        },
        credential: row.get(4)?,
        value: row.get(5)?,
        updated: Timestamp::from_millis(row.get(6)?),
    })
}

pub(super) fn usage(
    connection: &Connection,
    since: Timestamp,
    until: Timestamp,
) -> rusqlite::Result<Vec<(UsageKey, UsageSums)>> {
    let mut select = connection.prepare_cached(
        "SELECT hour, provider, model, credential, fingerprint, client, requests, failures,
             prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens,
             reasoning_tokens, cost_usd, estimated, last_used_ms, timed, duration_ms,
             first_tokens, first_token_ms
         FROM usage WHERE hour >= ?1 AND hour <= ?2 ORDER BY hour",
    )?;
    // The last moment that still belongs to the range.
    let last = Timestamp::from_millis(until.as_millis().saturating_sub(1));
    let range = params![UsageKey::hour_of(since), UsageKey::hour_of(last)];
    let rows = select.query_map(range, read_usage)?;
    rows.collect()
}

pub(super) fn book(connection: &Connection) -> rusqlite::Result<i64> {
    let mut select = connection.prepare_cached("SELECT value FROM counter WHERE name = 'book'")?;
    select.query_row([], |row| row.get(0))
}

fn read_usage(row: &Row<'_>) -> rusqlite::Result<(UsageKey, UsageSums)> {
    let count = |column: usize| row.get(column).map(unsigned);
    let key = UsageKey {
        hour: row.get(0)?,
        provider: row.get(1)?,
        model: row.get(2)?,
        credential: row.get(3)?,
        fingerprint: row.get(4)?,
        client: row.get(5)?,
    };
    let sums = UsageSums {
        requests: count(6)?,
        failures: count(7)?,
        prompt_tokens: count(8)?,
        cached_tokens: count(9)?,
        cache_write_tokens: count(10)?,
        completion_tokens: count(11)?,
        reasoning_tokens: count(12)?,
        cost_usd: row.get(13)?,
        estimated: count(14)?,
        last_used: Timestamp::from_millis(row.get(15)?),
        timed: count(16)?,
        duration_ms: count(17)?,
        first_tokens: count(18)?,
        first_token_ms: count(19)?,
    };
    Ok((key, sums))
}

pub(super) fn journal_entry(
    connection: &Connection,
    id: &str,
) -> rusqlite::Result<Option<JournalRow>> {
    connection
        .prepare_cached(
            "SELECT id, time_ms, failed, value FROM journal WHERE id = ?1 ORDER BY seq DESC",
        )?
        .query_row([id], read_journal)
        .optional()
}

pub(super) fn journal(
    connection: &Connection,
    limit: u32,
    only_failed: bool,
) -> rusqlite::Result<Vec<JournalRow>> {
    let condition = if only_failed { "WHERE failed" } else { "" };
    let mut select = connection.prepare_cached(&format!(
        "SELECT id, time_ms, failed, value FROM journal {condition} ORDER BY seq DESC LIMIT ?1"
    ))?;
    let rows = select.query_map([limit], read_journal)?;
    rows.collect()
}

fn read_journal(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    Ok(JournalRow {
        id: row.get(0)?,
        time: Timestamp::from_millis(row.get(1)?),
        failed: row.get(2)?,
        value: row.get(3)?,
    })
}

pub(super) fn sessions(
    connection: &Connection,
    since: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<SessionRow>> {
    let mut select = connection.prepare_cached(
        "SELECT provider, session, credential, used_ms FROM session
         WHERE used_ms >= ?1 ORDER BY used_ms DESC LIMIT ?2",
    )?;
    let rows = select.query_map(params![since.as_millis(), limit], |row| {
        Ok(SessionRow {
            provider: row.get(0)?,
            session: row.get::<_, i64>(1)?.cast_unsigned(),
            credential: row.get(2)?,
            used: Timestamp::from_millis(row.get(3)?),
        })
    })?;
    rows.collect()
}

/// SQLite counts in signed numbers; nothing here comes near their end.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
