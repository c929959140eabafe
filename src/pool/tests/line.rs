//! Who waits for how long where several clients want more than there is.

use std::collections::VecDeque;

use super::*;

/// A request of this client that waits.
fn queued(pool: &Arc<Pool>, client: u64) -> Ask {
    let mut ask = ask(at(0));
    ask.client = client;
    drop(waiting(pool, &mut ask, at(0)));
    ask
}

fn narrow() -> Arc<Pool> {
    let mut settings = Settings::default();
    settings.concurrency.max = 1;
    pool(1, settings)
}

/// Gives the one credential back, and finds whom it goes to among those who wait.
fn next(pool: &Arc<Pool>, held: &mut Option<Lease>, waiting: &mut VecDeque<Ask>) -> u64 {
    succeed(held.take().expect("somebody has it"), at(0));
    for place in 0..waiting.len() {
        if let Acquire::Lease(lease) = pool.acquire(&mut waiting[place], at(0)) {
            *held = Some(lease);
            return waiting.remove(place).expect("it is there").client;
        }
    }
    panic!("nobody is served");
}

#[test]
fn requests_of_one_client_keep_their_order_and_clients_take_turns() {
    let pool = narrow();
    let mut held = Some(lease(&pool, &mut ask(at(0)), at(0)));
    let asked = [1, 1, 1, 1, 2, 2, 3];
    let mut waiting: VecDeque<Ask> = asked.map(|client| queued(&pool, client)).into();
    let served: Vec<u64> = asked
        .iter()
        .map(|_| next(&pool, &mut held, &mut waiting))
        .collect();
    assert_eq!(served, [1, 2, 3, 1, 2, 1, 1]);
}

#[test]
fn who_comes_late_is_not_served_before_those_whose_turn_it_is() {
    let pool = narrow();
    let mut held = Some(lease(&pool, &mut ask(at(0)), at(0)));
    let mut waiting: VecDeque<Ask> = [1, 1, 2].map(|client| queued(&pool, client)).into();
    assert_eq!(next(&pool, &mut held, &mut waiting), 1);
    // It has no turns to make up for: the second client was there before it.
    waiting.push_back(queued(&pool, 3));
    let served: Vec<u64> = (0..3)
        .map(|_| next(&pool, &mut held, &mut waiting))
        .collect();
    assert_eq!(served, [2, 3, 1]);
}

#[test]
fn r10_a_client_that_floods_takes_nothing_from_nine_others() {
    let pool = narrow();
    let mut held = Some(lease(&pool, &mut ask(at(0)), at(0)));
    let mut waiting: VecDeque<Ask> = (0..100).map(|_| queued(&pool, 0)).collect();
    waiting.extend((1..10).map(|client| queued(&pool, client)));
    let (mut served, mut since, mut longest) = ([0_u32; 10], [0_u32; 10], 0);
    for round in 1..=2000 {
        let client = next(&pool, &mut held, &mut waiting);
        let at = usize::try_from(client).expect("a small number");
        served[at] += 1;
        if client > 0 {
            longest = longest.max(round - since[at]);
        }
        since[at] = round;
        waiting.push_back(queued(&pool, client));
    }
    // Jain's index of the nine is at least 0.95, and nobody of them waits for more than two rounds.
    let others = served[1..].iter().map(|count| f64::from(*count));
    let (sum, squares) = others.fold((0.0, 0.0), |(sum, squares), count| {
        (sum + count, squares + count * count)
    });
    assert!(sum * sum / (9.0 * squares) >= 0.95, "{served:?}");
    assert!(served[0] <= 220, "{served:?}");
    assert!(longest <= 20, "{longest} others before one of the nine");
}

#[tokio::test]
async fn who_waits_for_a_busy_credential_is_told_at_once_when_it_comes_to_rest() {
    let pool = narrow();
    let (mut first, mut second) = (ask(at(0)), ask(at(0)));
    let held = lease(&pool, &mut first, at(0));
    let waits = waiting(&pool, &mut second, at(0));
    assert_eq!(
        waits.until(),
        second.deadline,
        "nobody knows how long it is busy"
    );
    fail(held, &mut first, &rate_limit(Some(60)), at(1));
    waits.woken().await;
    assert_eq!(
        refusal(&pool, &mut second, at(1)),
        Refusal::Cooling { until: at(61) }
    );
}

#[tokio::test]
async fn who_waits_is_told_at_once_when_the_last_of_a_window_is_taken() {
    let mut settings = Settings {
        windows: vec![WindowSpec {
            models: Vec::new(),
            requests: 2,
            tokens: 0,
            every: 60 * SECOND,
            anchor: Anchor::FirstUse,
        }],
        ..Settings::default()
    };
    settings.concurrency.max = 1;
    let pool = pool(1, settings);
    let held = lease(&pool, &mut ask(at(0)), at(0));
    let (mut second, mut third) = (ask(at(0)), ask(at(0)));
    let next = waiting(&pool, &mut second, at(0));
    let beyond = waiting(&pool, &mut third, at(0));
    succeed(held, at(1));
    next.woken().await;
    beyond.woken().await;
    let last = lease(&pool, &mut second, at(1));
    assert_eq!(
        refusal(&pool, &mut third, at(1)),
        Refusal::Cooling { until: at(60) }
    );
    drop(last);
}

#[tokio::test]
async fn who_has_had_all_others_is_told_when_the_busy_one_comes_to_rest() {
    let mut settings = Settings::default();
    settings.concurrency.max = 1;
    let pool = pool(2, settings);
    let (mut first, mut second) = (ask(at(0)), ask(at(0)));
    let busy = lease(&pool, &mut first, at(0));
    let refused = lease(&pool, &mut second, at(0));
    fail(
        refused,
        &mut second,
        &Failure::new(Verdict::Auth, "no such key"),
        at(0),
    );
    let waits = waiting(&pool, &mut second, at(0));
    // The other may be had again by anybody else.
    fail(busy, &mut first, &rate_limit(Some(60)), at(1));
    waits.woken().await;
    assert_eq!(
        refusal(&pool, &mut second, at(1)),
        Refusal::Cooling { until: at(61) }
    );
}

#[tokio::test]
async fn who_waits_is_told_at_once_when_the_only_credential_is_taken_away() {
    let pool = narrow();
    let held = lease(&pool, &mut ask(at(0)), at(0));
    let mut second = ask(at(0));
    let waits = waiting(&pool, &mut second, at(0));
    pool.configure(Settings::default(), Vec::new(), at(1));
    waits.woken().await;
    assert_eq!(refusal(&pool, &mut second, at(1)), Refusal::NoCredentials);
    drop(held);
}
