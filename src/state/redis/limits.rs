//! Limits that hold for all instances together: leases and windows of a credential or a client.

use std::time::{Duration, Instant};

use crate::secret::Fingerprint;
use crate::state::redis::call::Call;
use crate::state::redis::clock::ServerClock;
use crate::state::redis::keys::{Keys, class_part, client_mark, credential_tag};
use crate::state::redis::link::Away;
use crate::state::redis::scripts::Function;
use crate::state::redis::{BACKGROUND_PATIENCE, COMMAND_PATIENCE, Redis, millis};
use crate::time::Timestamp;

/// A lease that is not renewed ends by itself: so soon are those of an instance free that died.
pub const LEASE: Duration = Duration::from_secs(15);

/// Parts that a rolling window is counted in; one more is kept, so that no span of its length ever
/// holds more than is allowed.
const SLICES: u32 = 24;

/// What must hold across the group for one more request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    tag: String,
    /// Most leases at once; 0 is any number.
    max: u32,
    windows: Vec<Window>,
}

/// One window of a model class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    name: String,
    span: Duration,
    slices: u32,
    requests: u64,
    tokens: u64,
    known: Known,
}

/// What the server last said of a window, all by its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub requests: u64,
    pub ends: Timestamp,
    pub said_ms: i64,
}

/// When a window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// At this time of the server's clock.
    At(Timestamp),
    /// Its length after the first request in it.
    FirstUse,
    /// Never: what is older than its length no longer counts.
    Rolling,
}

/// What the group says to one more request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// All leases are out.
    Busy,
    /// A window (by its place) is full, until then by our clock.
    Full { window: usize, room: Timestamp },
    /// It may be sent.
    Taken(Ticket),
}

/// A request that the group has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The lease's name.
    pub lease: String,
    /// When, by the server's clock, in milliseconds; 0 if the group has not counted it.
    pub taken_ms: i64,
    /// Of each window the requests counted, this one included, and when it ends by our clock.
    pub counts: Vec<(u64, Timestamp)>,
}

/// What a lease that comes back adds to its windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// −1 takes the request back, 1 counts one that the group has not seen.
    pub requests: i64,
    pub tokens: u64,
}

impl Limits {
    /// Those of a credential, by its name in the group.
    pub fn of_credential(
        provider: &str,
        name: Fingerprint,
        max: u32,
        windows: Vec<Window>,
    ) -> Self {
        Self {
            tag: credential_tag(provider, name),
            max,
            windows,
        }
    }

    /// Those of a client: requests at once, and in any minute.
    pub fn of_client(client: &str, max: u32, rpm: u32) -> Self {
        let minute = (rpm > 0).then(|| {
            let minute = Duration::from_mins(1);
            Window::new("all", minute, Ends::Rolling).allowing(u64::from(rpm), 0)
        });
        Self {
            tag: format!("client/{}", client_mark(client)),
            max,
            windows: minute.into_iter().collect(),
        }
    }

    /// Whose limits they are, as part of a key.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether leases are counted.
    pub const fn has_leases(&self) -> bool {
        self.max > 0
    }

    /// How many windows they have.
    pub const fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Asks for one more request under them.
    pub(super) fn admit(&self, lease: &str, keys: &Keys) -> Call {
        let mut call = Call::new(Function::Admit);
        call.arg(lease).arg(self.max).arg(millis(LEASE));
        self.add_keys(&mut call, keys);
        for window in &self.windows {
            call.arg(window.span_ms()).arg(window.slices);
            call.arg(window.requests).arg(window.tokens);
            call.arg(window.known.requests);
            call.arg(window.known.ends.as_millis());
            call.arg(window.known.said_ms);
        }
        call
    }

    /// Gives back what was given under them.
    pub(super) fn settle(&self, ticket: &Ticket, ended: Ended, keys: &Keys) -> Call {
        let mut call = Call::new(Function::Settle);
        call.arg(&ticket.lease).arg(ticket.taken_ms);
        call.arg(ended.requests).arg(ended.tokens);
        self.add_keys(&mut call, keys);
        for window in &self.windows {
            call.arg(window.span_ms()).arg(window.slices);
            call.arg(window.known.requests);
            call.arg(window.known.ends.as_millis());
            call.arg(window.known.said_ms);
        }
        call
    }

    fn add_keys(&self, call: &mut Call, keys: &Keys) {
        call.key(keys.leases(&self.tag));
        for window in &self.windows {
            call.key(keys.window(&self.tag, &window.name));
        }
    }
}

/// Tells that leases of one holder are still held.
pub(super) fn renew(tag: &str, leases: &[String], keys: &Keys) -> Call {
    let mut call = Call::new(Function::Renew);
    call.key(keys.leases(tag)).arg(millis(LEASE)).arg(leases);
    call
}

impl Admission {
    /// What the answer to a request for a lease means.
    pub(super) fn read(
        answer: &[i64],
        limits: &Limits,
        lease: String,
        clock: &ServerClock,
    ) -> Self {
        let [place, now_ms, rest @ ..] = answer else {
            return Self::Busy;
        };
        // Nobody rests for longer than a window can last, whatever the answer says.
        let by_ours = |window: &Window, ends_ms: i64| {
            let latest = now_ms.saturating_add(window.span_ms().saturating_mul(2));
            clock.to_ours(Timestamp::from_millis(ends_ms.min(latest)))
        };
        if *place == 0 {
            let (counts, _) = rest.as_chunks();
            let counts = limits.windows.iter().zip(counts);
            return Self::Taken(Ticket {
                lease,
                taken_ms: *now_ms,
                counts: counts
                    .map(|(window, [count, ends])| {
                        let count = u64::try_from(*count).unwrap_or_default();
                        (count, by_ours(window, *ends))
                    })
                    .collect(),
            });
        }
        let place = usize::try_from(*place).ok();
        let place = place.and_then(|place| place.checked_sub(1));
        let window = place.and_then(|place| limits.windows.get(place));
        match (place, window, rest) {
            (Some(place), Some(window), [room, ..]) => Self::Full {
                window: place,
                room: by_ours(window, *room),
            },
            _ => Self::Busy,
        }
    }
}

impl Ticket {
    /// That of a lease that the group has not been asked for.
    pub(super) const fn own(lease: String) -> Self {
        Self {
            lease,
            taken_ms: 0,
            counts: Vec::new(),
        }
    }
}

impl Window {
    /// A window of a model class without limits yet.
    pub fn new(class: &str, every: Duration, ends: Ends) -> Self {
        let class = class_part(class);
        let length = every.as_millis();
        let (name, slices) = match ends {
            Ends::At(end) => (format!("{class}:{length}:to:{}", end.as_millis()), 0),
            Ends::FirstUse => (format!("{class}:{length}:first_use"), 0),
            Ends::Rolling => (format!("{class}:{length}:rolling"), SLICES),
        };
        Self {
            name,
            span: every,
            slices,
            requests: 0,
            tokens: 0,
            known: Known::default(),
        }
    }

    /// The same, with what is left of it where it ends at a time of its own.
    #[must_use]
    pub const fn lasting(mut self, left: Duration) -> Self {
        self.span = left;
        self
    }

    /// The same, with so many requests and tokens allowed; 0 is any number.
    #[must_use]
    pub const fn allowing(mut self, requests: u64, tokens: u64) -> Self {
        self.requests = requests;
        self.tokens = tokens;
        self
    }

    /// The same, of which the server has said this.
    #[must_use]
    pub const fn knowing(mut self, known: Known) -> Self {
        self.known = known;
        self
    }

    /// At least a millisecond: a key must end.
    fn span_ms(&self) -> i64 {
        millis(self.span).max(1)
    }
}

impl Redis {
    /// Asks the group for one more request, and counts it if it may be sent.
    pub async fn admit(&self, limits: &Limits) -> Result<Admission, Away> {
        let lease = self.next_id();
        let call = limits.admit(&lease, &self.keys);
        let asked = Instant::now();
        let answer: Vec<i64> = self.call(COMMAND_PATIENCE, &call).await?;
        self.pace.note(asked.elapsed());
        let now_ms = answer.get(1).copied().unwrap_or_default();
        self.clock.note(now_ms, Timestamp::now());
        Ok(Admission::read(&answer, limits, lease, &self.clock))
    }

    /// Gives a lease back, with what its windows are still to count.
    pub async fn settle(&self, limits: &Limits, ticket: &Ticket, ended: Ended) -> Result<(), Away> {
        let call = limits.settle(ticket, ended, &self.keys);
        self.call(BACKGROUND_PATIENCE, &call).await
    }

    /// Tells the group that leases of one holder are still held.
    pub async fn renew(&self, tag: &str, leases: &[String]) -> Result<(), Away> {
        let call = renew(tag, leases, &self.keys);
        self.call(BACKGROUND_PATIENCE, &call).await
    }

    /// A lease that the group has not been asked for.
    pub fn own_ticket(&self) -> Ticket {
        Ticket::own(self.next_id())
    }

    pub(super) async fn call<T: redis::FromRedisValue>(
        &self,
        patience: Duration,
        call: &Call,
    ) -> Result<T, Away> {
        let invocation = call.of(self.scripts.of(call.function));
        let asked = |mut connection| async move { invocation.invoke_async(&mut connection).await };
        self.link.ask(patience, asked).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_script_are_understood() {
        let clock = ServerClock::default();
        let minute = Window::new("m", Duration::from_mins(1), Ends::FirstUse);
        let name = Fingerprint([1; 16]);
        let limits = Limits::of_credential("acme", name, 1, vec![minute.clone(), minute]);
        let admission = |answer: &[i64]| Admission::read(answer, &limits, "l".to_owned(), &clock);
        assert_eq!(admission(&[-1, 5]), Admission::Busy);
        assert_eq!(admission(&[3, 5, 9]), Admission::Busy, "there are two");
        assert_eq!(
            admission(&[2, 5, 9]),
            Admission::Full {
                window: 1,
                room: Timestamp::from_millis(9)
            }
        );
        let Admission::Taken(ticket) = admission(&[0, 5, 3, 9, 4, 8]) else {
            panic!("it was taken");
        };
        let counts = [(3, 9), (4, 8)].map(|(count, end)| (count, Timestamp::from_millis(end)));
        assert_eq!((ticket.taken_ms, ticket.counts), (5, counts.to_vec()));
        assert_eq!(admission(&[]), Admission::Busy);
        // No answer in order is so late.
        let latest = Timestamp::from_millis(5 + 2 * 60_000);
        let expected = Admission::Full {
            window: 0,
            room: latest,
        };
        assert_eq!(admission(&[1, 5, i64::MAX]), expected);
        let Admission::Taken(ticket) = admission(&[0, 5, 3, i64::MAX]) else {
            panic!("it was taken");
        };
        assert_eq!(ticket.counts, [(3, latest)]);
    }

    #[test]
    fn windows_that_differ_have_names_that_differ() {
        let day = Duration::from_hours(24);
        let names = [
            Window::new("m", day, Ends::Rolling).name,
            Window::new("m", day, Ends::FirstUse).name,
            Window::new("m", day, Ends::At(Timestamp::from_secs(1))).name,
            Window::new("m", day, Ends::At(Timestamp::from_secs(2))).name,
            Window::new("n", day, Ends::Rolling).name,
            Window::new("m", day / 2, Ends::Rolling).name,
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }

    #[test]
    fn a_clients_name_is_in_no_key() {
        let limits = Limits::of_client("jane@example.com", 1, 60);
        assert!(!limits.tag().contains("jane"), "{}", limits.tag());
        assert_eq!((limits.windows(), limits.has_leases()), (1, true));
    }
}
