//! What is read back from the state, and what other instances say: records in any shape are taken
//! or passed over, the pool serves on, and no rest is longer than it was.

use std::sync::Arc;
use std::time::Duration;

use llmproxy::dialects::usage::Usage;
use llmproxy::ids::{CredentialId, ProviderId};
use llmproxy::pool::{
    Acquire, Anchor, Ask, CapCooldown, CapLimit, CapSpec, Change, Choice, Member, Outcome, Pool,
    PoolSnapshot, Report, SavedCooldown, Settings, WindowSpec,
};
use llmproxy::providers::verdict::{Failure, Fault, Verdict};
use llmproxy::secret::Fingerprint;
use llmproxy::state::redis::Message;
use llmproxy::time::Timestamp;

/// Credentials of the pool, whose secrets are known by these bytes.
const SECRETS: [u8; 2] = [0x11, 0x22];

const NOW: Timestamp = Timestamp::from_secs(1_795_600_000);

/// The first byte chooses the pool's settings, then a record or a message a line.
pub(crate) fn check(data: &[u8]) {
    let Some((first, lines)) = data.split_first() else {
        return;
    };
    let mut records: Vec<Change> = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').take(16) {
        if let Ok(record) = serde_json::from_slice::<Change>(line) {
            let text = serde_json::to_string(&record).expect("JSON");
            let read: Change = serde_json::from_str(&text).expect("what was written is read");
            assert_eq!(read, record);
            records.push(record);
        } else if let Ok(message) = serde_json::from_slice::<Message>(line) {
            let told = message.records.iter();
            records.extend(told.filter_map(|told| serde_json::from_str(told.get()).ok()));
        }
    }
    if records.is_empty() {
        return;
    }
    let longest = records.iter().filter_map(length).max();
    let pool = pool(*first);
    pool.restore(records.clone(), NOW);
    rests_are_no_longer(&pool.snapshot(NOW), longest);
    serves_on(&pool, NOW);
    pool.adopt(records, NOW);
    serves_on(&pool, NOW + Duration::from_secs(100));
    // What it writes down now is read by whoever comes next.
    let after = NOW + Duration::from_secs(200);
    let before = pool.snapshot(after);
    let next = self::pool(*first);
    next.restore(pool.drain_changes(), after);
    let again = next.snapshot(after);
    for (old, new) in before.members.iter().zip(&again.members) {
        assert_eq!(old.state, new.state, "{old:?} {new:?}");
    }
}

/// How long the rest of a record is.
fn length(record: &Change) -> Option<Duration> {
    let of = |rest: &SavedCooldown| {
        Timestamp::from_millis(rest.since_ms).until(Timestamp::from_millis(rest.until_ms))
    };
    match record {
        Change::Class(saved) => saved.cooldown.as_ref().map(of),
        Change::Credential(saved) => saved.cooldown.as_ref().map(of),
        Change::Pause(_) | Change::Session(_) | Change::Suspects(_) => None,
    }
}

fn rests_are_no_longer(picture: &PoolSnapshot, longest: Option<Duration>) {
    for member in &picture.members {
        let rests = member.classes.iter().map(|class| &class.cooldown);
        for rest in rests.chain([&member.cooldown]).flatten() {
            let left = Some(NOW.until(rest.until));
            assert!(left <= longest, "{rest:?}");
        }
    }
}

/// Everything that is asked of a pool is answered.
fn serves_on(pool: &Arc<Pool>, now: Timestamp) {
    let usage = Usage {
        input: u64::MAX / 3,
        output: 7,
        ..Usage::default()
    };
    let failure = Failure::new(Verdict::Transient(Fault::Server), "no");
    for (model, is_well) in [("m0", true), ("m1", false), ("m0", true)] {
        let mut ask = Ask::new(model, Some(7), now + Duration::from_secs(9));
        if let Acquire::Lease(lease) = pool.acquire(&mut ask, now) {
            let outcome = if is_well {
                Outcome::Success { usage: Some(usage) }
            } else {
                Outcome::Failed {
                    failure: &failure,
                    after_content: false,
                }
            };
            lease.settle(&mut ask, outcome, now);
        }
    }
    let report = Report {
        remaining: Some(3),
        limit: Some(7),
        ..Report::default()
    };
    pool.report(&id(0), "m0", &report, now);
    let _ = pool.excerpt(&Choice::default(), now);
    let _ = pool.summary(now);
    let picture = pool.snapshot(now);
    assert_eq!(picture.leases, 0);
}

fn pool(how: u8) -> Arc<Pool> {
    let anchors = [
        Anchor::Rolling,
        Anchor::FirstUse,
        Anchor::UtcMidnight,
        Anchor::PacificMidnight,
        Anchor::Weekly,
    ];
    let mut settings = Settings {
        windows: vec![WindowSpec {
            models: Vec::new(),
            requests: 7,
            tokens: u64::from(how >> 7) * 4000,
            every: Duration::from_secs(90),
            anchor: anchors[usize::from(how & 7) % anchors.len()],
        }],
        ..Settings::default()
    };
    if how & 8 != 0 {
        settings.caps.push(CapSpec {
            tiers: Vec::new(),
            models: Vec::new(),
            limit: CapLimit::Requests(5),
            cooldown: CapCooldown::Fixed(Duration::from_secs(5)),
        });
    }
    settings.fair_cycle.enabled = how & 16 != 0;
    settings.concurrency.max = u32::from(how >> 5 & 3);
    let pool = Pool::new(provider(), settings.clone(), 7);
    let members = (0..)
        .zip(SECRETS)
        .map(|(number, secret)| Member::new(id(number), Fingerprint([secret; 16])));
    pool.configure(settings, members.collect(), NOW);
    pool
}

fn provider() -> ProviderId {
    ProviderId::parse("acme").expect("a provider name")
}

fn id(number: usize) -> CredentialId {
    CredentialId::new(&provider(), &(number + 1).to_string()).expect("a name")
}
