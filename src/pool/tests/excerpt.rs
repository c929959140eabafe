//! Pages and sums of a pool.

use super::*;

fn names(excerpt: &Excerpt) -> Vec<&str> {
    let members = excerpt.members.iter();
    members.map(|member| member.id.name()).collect()
}

fn page(pool: &Pool, skip: usize, most: usize) -> Excerpt {
    let choice = Choice {
        skip,
        most,
        ..Choice::default()
    };
    pool.excerpt(&choice, at(1))
}

#[test]
fn a_page_that_holds_all_is_in_the_order_of_names() {
    let pool = pool(12, Settings::default());
    pool.set_state(&id("11"), &UserState::Disabled, at(0));
    let all = page(&pool, 0, 50);
    assert_eq!(
        names(&all),
        [
            "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"
        ]
    );
    assert_eq!((all.matching, all.summary.credentials), (12, 12));
}

#[test]
fn pages_follow_each_other_with_trouble_first() {
    let pool = pool(12, Settings::default());
    for name in ["11", "7"] {
        pool.set_state(&id(name), &UserState::Disabled, at(0));
    }
    assert_eq!(names(&page(&pool, 0, 5)), ["7", "11", "1", "2", "3"]);
    assert_eq!(names(&page(&pool, 5, 5)), ["4", "5", "6", "8", "9"]);
    assert_eq!(names(&page(&pool, 10, 5)), ["10", "12"]);
    assert_eq!(page(&pool, 10, 5).matching, 12);
    for (skip, most) in [(12, 5), (usize::MAX, 5), (0, 0)] {
        assert!(names(&page(&pool, skip, most)).is_empty(), "{skip} {most}");
    }
}

#[test]
fn a_choice_looks_at_state_and_name() {
    let pool = pool(12, Settings::default());
    pool.set_state(&id("10"), &UserState::Disabled, at(0));
    let choice = |state, text| Choice {
        state,
        text,
        skip: 0,
        most: 50,
    };
    for (state, text, expected) in [
        (Some(CredentialState::Disabled), "", &["10"][..]),
        (None, "ACME/1", &["1", "10", "11", "12"]),
        (Some(CredentialState::Ready), "acme/1", &["1", "11", "12"]),
        (Some(CredentialState::Dead), "", &[]),
        (None, "nobody", &[]),
    ] {
        let found = pool.excerpt(&choice(state, text), at(1));
        assert_eq!(names(&found), expected, "{state:?} {text}");
        assert_eq!(found.matching, expected.len());
    }
}

#[test]
fn quotas_are_summed_over_those_that_can_serve() {
    let settings = Settings {
        windows: vec![WindowSpec {
            models: vec!["m".to_owned()],
            requests: 10,
            tokens: 0,
            every: Duration::from_hours(24),
            anchor: Anchor::UtcMidnight,
        }],
        ..Settings::default()
    };
    let pool = pool(3, settings);
    for _ in 0..4 {
        serve(&pool, at(0));
    }
    let quotas = page(&pool, 0, 1).quotas;
    let [daily] = &quotas[..] else {
        panic!("one quota: {quotas:?}");
    };
    assert_eq!(
        (daily.class.as_str(), daily.window.as_str()),
        ("m", "daily")
    );
    assert_eq!((daily.used, daily.limit, daily.credentials), (4, 30, 3));
    assert!(daily.resets.is_some_and(|resets| resets > at(1)));
    pool.set_state(&id("3"), &UserState::Disabled, at(1));
    assert_eq!(page(&pool, 0, 1).quotas[0].limit, 20);
    assert_eq!(page(&pool, 0, 1).totals.requests, 4);
}
