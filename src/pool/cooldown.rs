//! A rest: how long a credential, or one model class of it, stays out, and the one real request
//! that may go through meanwhile.

use std::time::Duration;

use crate::time::Timestamp;

use super::settings::CooldownSettings;

/// The shortest rest a hint can ask for: "retry after 0 s" on a loop would be a busy loop.
pub(super) const SHORTEST: Duration = Duration::from_millis(250);
/// How long an account without money or a model that is not for it stays parked.
pub(super) const PARKED: Duration = Duration::from_hours(24);
/// How often an account without money is tried: nobody announces a payment.
pub(super) const MONEY_PROBE: Duration = Duration::from_hours(1);
/// How long a quota lasts that says "exhausted" but not until when.
pub(super) const QUOTA_UNKNOWN: Duration = Duration::from_hours(1);
/// Cooldown steps vary by this share, so that credentials limited together do not return together.
const JITTER: f64 = 0.1;

/// Why something rests.
#[derive(
    Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The credential was refused.
    Auth,
    /// An own limit is reached.
    Cap,
    /// No money on the account.
    NoMoney,
    /// The model is not for this account.
    NotAllowed,
    /// A quota is exhausted.
    Quota,
    /// Too many requests.
    RateLimit,
    /// A rule of the user's.
    Rule,
    /// An account's access token could not be renewed for the moment.
    Token,
    /// Errors of server or network, again and again.
    Transient,
}

impl Reason {
    /// The name in reports, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cap => "cap",
            Self::NoMoney => "no_money",
            Self::NotAllowed => "not_allowed",
            Self::Quota => "quota",
            Self::RateLimit => "rate_limit",
            Self::Rule => "rule",
            Self::Token => "token",
            Self::Transient => "transient",
        }
    }
}

/// A rest with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cooldown {
    pub(super) reason: Reason,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) probe: Option<Probe>,
    /// The provider's own sentence, for people.
    pub(super) message: Box<str>,
}

/// The half-open door of a long rest: one real request may go through now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) next: Timestamp,
    /// The wait that led to `next`.
    pub(super) wait: Duration,
    /// Whether a failed probe doubles the wait.
    pub(super) doubles: bool,
    /// Whether the one request is under way.
    pub(super) taken: bool,
}

/// What a rest says to one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Not before this instant.
    Closed(Timestamp),
    /// For one request, which is the probe.
    HalfOpen,
    Open,
}

impl Cooldown {
    /// A rest from `now` until `until`; beyond `probe_after` with a half-open door.
    pub(super) fn new(
        reason: Reason,
        until: Timestamp,
        probe: Option<Probe>,
        now: Timestamp,
    ) -> Self {
        Self {
            reason,
            since: now,
            until,
            probe,
            message: Box::default(),
        }
    }

    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    pub(super) fn door(&self, now: Timestamp) -> Door {
        match self.probe {
            _ if !self.holds(now) => Door::Open,
            Some(probe) if probe.taken => Door::Closed(self.until),
            Some(probe) if probe.next <= now => Door::HalfOpen,
            Some(probe) => Door::Closed(self.until.min(probe.next)),
            None => Door::Closed(self.until),
        }
    }

    /// Notes that the one request is under way.
    pub(super) fn take_probe(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.taken = true;
        }
    }

    /// The probe ended without a verdict: the next request may be it.
    pub(super) fn return_probe(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.taken = false;
        }
    }

    /// The probe failed: the door closes for twice as long.
    pub(super) fn fail_probe(&mut self, now: Timestamp) {
        if let Some(probe) = &mut self.probe {
            if probe.doubles {
                probe.wait = probe.wait.saturating_mul(2);
            }
            probe.next = now + probe.wait;
            probe.taken = false;
        }
    }
}

impl Probe {
    /// A door that opens after `wait`, then after twice that, and so on.
    pub(super) fn doubling(wait: Duration, now: Timestamp) -> Self {
        Self {
            next: now + wait,
            wait,
            doubles: true,
            taken: false,
        }
    }

    /// A door that opens every `wait`.
    pub(super) fn every(wait: Duration, now: Timestamp) -> Self {
        Self {
            doubles: false,
            ..Self::doubling(wait, now)
        }
    }
}

impl CooldownSettings {
    /// The wait of the `failures`-th failure in a row, jitter included. `random` is in 0..1.
    pub(super) fn step(&self, failures: u32, random: f64) -> Duration {
        let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let step = self.steps.get(index).map_or(self.max, |step| *step);
        jittered(step.min(self.max), random)
    }

    /// The wait of the `failures`-th rate limit in a row without a hint: the default, then the
    /// steps above it.
    pub(super) fn rate_limit_step(&self, failures: u32, random: f64) -> Duration {
        if failures <= 1 {
            return self.rate_limit_default.max(SHORTEST);
        }
        let above = |step: &&Duration| **step > self.rate_limit_default;
        let index = usize::try_from(failures.saturating_sub(2)).unwrap_or(usize::MAX);
        let step = self.steps.iter().filter(above).nth(index);
        let step = step.map_or(self.max, |step| *step).min(self.max);
        jittered(step, random).max(self.rate_limit_default)
    }

    /// A door for a rest of this length: none if it is short.
    pub(super) fn probe(&self, length: Duration, now: Timestamp) -> Option<Probe> {
        let wait = self.probe_after.max(Duration::from_secs(1));
        (length > wait).then(|| Probe::doubling(wait, now))
    }
}

fn jittered(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
        .max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn steps_climb_to_the_maximum_and_stay_there() {
        let settings = CooldownSettings::default();
        for (failures, seconds) in [
            (1, 10),
            (2, 30),
            (3, 60),
            (4, 120),
            (5, 300),
            (6, 300),
            (u32::MAX, 300),
        ] {
            assert_eq!(
                settings.step(failures, 0.5),
                SECOND * seconds,
                "{failures} failures"
            );
        }
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let settings = CooldownSettings::default();
        assert_eq!(settings.step(1, 0.0), SECOND * 9);
        assert!(settings.step(1, 0.999) <= SECOND * 11);
    }

    #[test]
    fn rate_limits_begin_with_the_default_and_escalate() {
        let mut settings = CooldownSettings::default();
        let waits = |settings: &CooldownSettings| {
            [1, 2, 3, 4].map(|n| settings.rate_limit_step(n, 0.5).as_secs())
        };
        assert_eq!(waits(&settings), [60, 120, 300, 300]);
        settings.rate_limit_default = SECOND;
        assert_eq!(waits(&settings), [1, 10, 30, 60]);
    }

    #[test]
    fn a_long_rest_opens_its_door_at_doubling_intervals() {
        let minute = |n: i64| Timestamp::from_secs(n * 60);
        let settings = CooldownSettings::default();
        let mut rest = Cooldown::new(
            Reason::Quota,
            minute(600),
            settings.probe(Duration::from_hours(10), minute(0)),
            minute(0),
        );
        assert_eq!(rest.door(minute(14)), Door::Closed(minute(15)));
        for (due, next) in [(15, 45), (45, 105)] {
            assert_eq!(rest.door(minute(due)), Door::HalfOpen);
            rest.take_probe();
            assert_eq!(rest.door(minute(due)), Door::Closed(minute(600)));
            rest.fail_probe(minute(due));
            assert_eq!(rest.door(minute(due)), Door::Closed(minute(next)));
        }
        assert_eq!(rest.door(minute(600)), Door::Open);
    }

    #[test]
    fn a_short_rest_has_no_door() {
        let settings = CooldownSettings::default();
        assert_eq!(
            settings.probe(Duration::from_mins(15), Timestamp::default()),
            None
        );
    }
}
