//! Whose turn it is among the targets of one request, and how long it may be waited for.
//!
//! Nobody waits for one target while another may serve at once: each gets its first turn without
//! any waiting. Those that could serve later are then waited for, the soonest first. A request with
//! a single target waits for it as long as its deadline allows.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest wait before the next one's turn: targets whose time nobody knows take turns.
const SHORTEST: Duration = Duration::from_secs(1);

/// The targets that have a turn left.
pub(super) struct Turns<'a, T> {
    first: std::slice::Iter<'a, T>,
    later: Vec<(Instant, &'a T)>,
}

impl<'a, T> Turns<'a, T> {
    /// The first turns, in this order.
    pub(super) fn new(targets: &'a [T]) -> Self {
        Self {
            first: targets.iter(),
            later: Vec::new(),
        }
    }

    /// The next target, and until when it may be waited for; `None`: until the deadline.
    pub(super) fn next(&mut self, now: Instant) -> Option<(&'a T, Option<Instant>)> {
        if let Some(target) = self.first.next() {
            let is_last = self.first.len() == 0 && self.later.is_empty();
            return Some((target, (!is_last).then_some(now)));
        }
        let soonest =
            (0..self.later.len()).min_by_key(|at| self.later.get(*at).map(|one| one.0))?;
        let (_, target) = self.later.remove(soonest);
        let others = self.later.iter().map(|(until, _)| *until).min();
        Some((target, others.map(|until| until.max(now + SHORTEST))))
    }

    /// Gives a target another turn: it can serve by then, or nobody knows when and it is `now`.
    pub(super) fn postpone(&mut self, target: &'a T, until: Instant) {
        self.later.push((until, target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_single_target_is_waited_for_until_the_deadline() {
        let now = Instant::now();
        let mut turns = Turns::new(&["a"]);
        assert_eq!(turns.next(now), Some((&"a", None)));
        assert_eq!(turns.next(now), None);
    }

    #[test]
    fn nobody_waits_while_another_target_has_not_been_asked() {
        let now = Instant::now();
        let mut turns = Turns::new(&["a", "b", "c"]);
        assert_eq!(turns.next(now), Some((&"a", Some(now))));
        turns.postpone(&"a", at(9, now));
        assert_eq!(turns.next(now), Some((&"b", Some(now))));
        assert_eq!(turns.next(now), Some((&"c", Some(now))));
        assert_eq!(turns.next(now), Some((&"a", None)), "nobody else is left");
        assert_eq!(turns.next(now), None);
    }

    #[test]
    fn the_last_target_is_waited_for_if_all_others_are_out() {
        let now = Instant::now();
        let mut turns = Turns::new(&["a", "b"]);
        assert_eq!(turns.next(now), Some((&"a", Some(now))));
        assert_eq!(turns.next(now), Some((&"b", None)));
    }

    #[test]
    fn the_soonest_is_waited_for_until_the_next_one_is_ready() {
        let now = Instant::now();
        let mut turns = Turns::new(&["a", "b"]);
        let _ = (turns.next(now), turns.next(now));
        turns.postpone(&"a", at(9, now));
        turns.postpone(&"b", at(4, now));
        assert_eq!(turns.next(now), Some((&"b", Some(at(9, now)))));
        turns.postpone(&"b", at(12, now));
        let later = at(9, now);
        assert_eq!(turns.next(later), Some((&"a", Some(at(12, now)))));
    }

    #[test]
    fn targets_without_a_known_time_take_turns() {
        let now = Instant::now();
        let mut turns = Turns::new(&["a", "b"]);
        let _ = (turns.next(now), turns.next(now));
        turns.postpone(&"a", now);
        turns.postpone(&"b", now);
        assert_eq!(turns.next(now), Some((&"a", Some(at(1, now)))));
        turns.postpone(&"a", at(1, now));
        assert_eq!(turns.next(at(1, now)), Some((&"b", Some(at(2, now)))));
    }
}
