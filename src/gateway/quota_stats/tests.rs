//! What a pool in each condition looks like in the document.

use super::*;
use crate::ids::{CredentialId, ProviderId};
use crate::pool::{Acquire, Ask, Member, Outcome, Pool, QuotaGroup, Settings, WindowSpec};
use crate::providers::verdict::{Failure, Verdict};
use crate::secret::Fingerprint;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// Two keys, of which the second is `paid`, with 10 requests a day for the group `pro`.
fn pool() -> std::sync::Arc<Pool> {
    let settings = Settings {
        quota_groups: vec![QuotaGroup {
            name: "pro".to_owned(),
            models: vec!["big".to_owned(), "bigger".to_owned()],
        }],
        windows: vec![WindowSpec {
            models: vec!["pro".to_owned()],
            requests: 10,
            tokens: 0,
            every: std::time::Duration::from_hours(24),
            anchor: pool::Anchor::UtcMidnight,
        }],
        ..Settings::default()
    };
    let provider = ProviderId::parse("fake").expect("a valid name");
    let pool = Pool::new(provider, settings.clone(), 1);
    let id = |name: &str| CredentialId::parse(name).expect("a valid id");
    let mut paid = Member::new(id("fake/2"), Fingerprint([2; 16]));
    paid.tier = Some("paid".to_owned());
    let members = vec![Member::new(id("fake/1"), Fingerprint([1; 16])), paid];
    pool.configure(settings, members, NOW);
    pool
}

fn fail(pool: &std::sync::Arc<Pool>, model: &str, verdict: Verdict) {
    let mut ask = Ask::new(model, None, NOW);
    let Acquire::Lease(lease) = pool.acquire(&mut ask, NOW) else {
        panic!("a key is ready");
    };
    let failure = Failure::new(verdict, "no");
    let failed = Outcome::Failed {
        failure: &failure,
        after_content: false,
    };
    lease.settle(&mut ask, failed, NOW);
}

#[test]
fn a_key_is_mixed_while_only_one_of_its_models_rests() {
    let pool = pool();
    fail(&pool, "small", Verdict::RateLimit);
    let mut ask = Ask::new("big", None, NOW);
    let leases = [(); 2].map(|()| pool.acquire(&mut ask, NOW));
    drop(leases);
    let members = pool.snapshot(NOW).members;
    let words: Vec<_> = members.iter().map(status).collect();
    assert!(words.contains(&"active"), "{words:?}");
    let resting = members
        .iter()
        .find(|member| member.state == CredentialState::Cooling)
        .expect("one rests");
    let alone = resting.classes.iter().all(|class| class.cooldown.is_some());
    assert_eq!(status(resting), if alone { "cooldown" } else { "mixed" });
}

#[test]
fn a_refused_key_rests_as_a_whole() {
    let pool = pool();
    fail(&pool, "small", Verdict::Auth);
    let members = pool.snapshot(NOW).members;
    let rested = members.iter().find(|member| member.cooldown.is_some());
    assert_eq!(rested.map(status), Some("cooldown"));
}

#[test]
fn a_group_sums_its_windows_and_counts_tiers() {
    let pool = pool();
    for _ in 0..3 {
        let mut ask = Ask::new("big", None, NOW);
        let Acquire::Lease(lease) = pool.acquire(&mut ask, NOW) else {
            panic!("a key is ready");
        };
        lease.finish(Outcome::Success { usage: None }, NOW);
    }
    let groups = groups(&pool.snapshot(NOW).members);
    let pro = &groups["pro"];
    assert_eq!(pro.tiers["paid"].total, 1);
    assert_eq!(pro.tiers[NO_TIER].total, 1);
    let daily = &pro.windows["daily"];
    assert_eq!(daily.total_used, 3);
    assert_eq!(
        daily.total_max.map(|max| max - 3),
        daily.total_remaining,
        "{daily:?}"
    );
    assert_eq!(pro.fair_cycle_summary.total_count, 2);
}

#[test]
fn cached_and_thinking_tokens_are_told_apart() {
    let counted = pool::Totals {
        requests: 2,
        input_tokens: 100,
        cache_read_tokens: 40,
        output_tokens: 30,
        reasoning_tokens: 10,
        ..pool::Totals::default()
    };
    let totals = totals(&counted, Some(0.5));
    assert_eq!((totals.prompt_tokens, totals.completion_tokens), (60, 20));
    assert_eq!((totals.output_tokens, totals.total_tokens), (30, 130));
    let tokens = Tokens::of(&totals);
    assert!((tokens.input_cache_pct - 40.0).abs() < 0.01, "{tokens:?}");
}

#[test]
fn no_field_is_missing_from_a_credential() {
    let json = serde_json::to_value(Credential::default()).expect("JSON");
    for field in [
        "stable_id",
        "accessor_masked",
        "full_path",
        "identifier",
        "email",
        "tier",
        "priority",
        "active_requests",
        "status",
        "totals",
        "model_usage",
        "group_usage",
        "cooldowns",
        "fair_cycle",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
}

#[test]
fn a_window_tells_what_its_requests_came_to() {
    let pool = pool();
    let next_day = NOW + std::time::Duration::from_hours(24);
    for (now, times) in [(NOW, 3), (next_day, 1)] {
        for _ in 0..times {
            let mut ask = Ask::new("big", None, now);
            let Acquire::Lease(lease) = pool.acquire(&mut ask, now) else {
                panic!("a key is ready");
            };
            let usage = crate::dialects::usage::Usage {
                input: 10,
                output: 5,
                ..crate::dialects::usage::Usage::default()
            };
            lease.finish(Outcome::Success { usage: Some(usage) }, now);
        }
    }
    let members = pool.snapshot(next_day).members;
    let classes = members.iter().flat_map(|member| &member.classes);
    let windows: Vec<Window> = classes
        .flat_map(|class| {
            let windows = class.windows.iter();
            windows.map(|window| counted(window, &class.totals))
        })
        .collect();
    let sum = |of: fn(&Window) -> Option<u64>| windows.iter().filter_map(of).sum::<u64>();
    assert_eq!(sum(|window| window.success_count), 1, "{windows:?}");
    assert_eq!(sum(|window| window.prompt_tokens), 10);
    assert_eq!(sum(|window| window.output_tokens), 5);
    let most = windows.iter().map(|window| window.max_recorded_requests);
    assert_eq!(most.max().flatten(), Some(3), "{windows:?}");
}
