//! The pool under any sequence of events, against a small model of what it may do: who is out is
//! not asked, who rests is left alone, no lease is lost, everybody is answered in time, and a
//! restart remembers.

#[path = "pool/input.rs"]
mod input;
#[path = "pool/laws.rs"]
mod laws;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use llmproxy::dialects::usage::Usage;
use llmproxy::ids::{CredentialId, ProviderId};
use llmproxy::pool::{
    Acquire, Ask, Change, CredentialState, Lease, Member, MemberSnapshot, Next, Outcome, Pool,
    PoolSnapshot, Refusal, Report, Rule, Settings, Standing, Stop, UserState,
};
use llmproxy::providers::verdict::{Failure, Fault, Hint, Verdict};
use llmproxy::secret::Fingerprint;
use llmproxy::time::Timestamp;

use input::{Input, settings};
use laws::Claim;

/// Credentials of the pool at most.
const MOST: u8 = 5;

/// Requests at once at most.
const MOST_REQUESTS: usize = 24;

/// Events of one run at most: the shorter, the more runs.
const MOST_EVENTS: usize = 200;

const MODELS: [&str; 4] = ["m0", "m1", "m2", "group"];

const VERDICTS: [Verdict; 16] = [
    Verdict::ActionNeeded,
    Verdict::Auth,
    Verdict::BadRequest,
    Verdict::Banned,
    Verdict::Capacity,
    Verdict::ContextLength,
    Verdict::Dead,
    Verdict::NoMoney,
    Verdict::NotAllowed,
    Verdict::Quota,
    Verdict::RateLimit,
    Verdict::RateLimit,
    Verdict::Transient(Fault::Connect),
    Verdict::Transient(Fault::Server),
    Verdict::Transient(Fault::Timeout),
    Verdict::Transient(Fault::Truncated),
];

/// A few bytes of settings, then events.
pub(crate) fn check(data: &[u8]) {
    let mut input = Input(data);
    let mut run = Run::new(&mut input);
    for _ in 0..MOST_EVENTS {
        let Some(event) = input.maybe() else { break };
        run.event(event, &mut input);
        run.judge();
    }
    run.end();
}

struct Run {
    pool: Arc<Pool>,
    settings: Settings,
    now: Timestamp,
    /// By number; `None` for one that is not there.
    members: [Option<Known>; MOST as usize],
    waiting: Vec<(Ask, Timestamp)>,
    out: Vec<(Lease, Ask)>,
    /// The state on disk: the latest of each record.
    kept: BTreeMap<String, Change>,
    /// A class may pause, which no picture shows.
    is_paused: bool,
    /// The clock was set back: what was written before is of the future.
    is_set_back: bool,
    /// The latest that a thread may have seen: what is over by then stays over.
    latest: Timestamp,
    /// The pool after the latest event.
    seen: Rc<PoolSnapshot>,
    /// What must hold after this event besides the laws that always do.
    claims: Vec<Claim>,
}

/// What the model knows of a credential.
#[derive(Clone, Copy)]
struct Known {
    fingerprint: Fingerprint,
    is_disabled: bool,
    /// Needs a new log-in, as its file says.
    is_expired: bool,
    /// Refused for good.
    is_dead: bool,
}

impl Run {
    fn new(input: &mut Input<'_>) -> Self {
        let settings = settings(input);
        let count = input.byte() % (MOST + 1);
        let member = |number: u8| {
            (number < count).then_some(Known {
                fingerprint: Fingerprint([number; 16]),
                is_disabled: false,
                is_expired: false,
                is_dead: false,
            })
        };
        let now = Timestamp::from_secs(1_795_600_000);
        let pool = Pool::new(provider(), settings.clone(), 7);
        let mut run = Self {
            seen: Rc::new(pool.snapshot(now)),
            claims: Vec::new(),
            pool,
            settings,
            now,
            members: [0, 1, 2, 3, 4].map(member),
            waiting: Vec::new(),
            out: Vec::new(),
            kept: BTreeMap::new(),
            is_paused: false,
            is_set_back: false,
            latest: now,
        };
        run.configure();
        run.judge();
        run
    }

    fn event(&mut self, event: u8, input: &mut Input<'_>) {
        match event % 16 {
            0..=3 => self.request(event, input),
            4 => self.ask_again(input),
            5..=8 => self.settle(input),
            9 | 10 => self.now = self.now + input.span(),
            11 => self.change_members(input),
            12 => self.by_hand(input),
            13 => self.told(input),
            14 => self.restart(),
            _ => self.odd(input),
        }
    }

    fn request(&mut self, event: u8, input: &mut Input<'_>) {
        if self.waiting.len() + self.out.len() >= MOST_REQUESTS {
            return;
        }
        let how = input.byte();
        let deadline = self.now + input.span();
        let session = (how & 1 == 1).then_some(u64::from(how >> 5));
        let mut ask = Ask::new(MODELS[usize::from(how >> 1 & 3)], session, deadline);
        ask.client = u64::from(event >> 4 & 3);
        if let Some(session) = session.filter(|_| how & 16 != 0) {
            let keys = [session, session + 1].into_iter();
            self.pool.continue_session(&ask.model, keys, self.now);
        }
        self.ask(ask, true);
    }

    fn ask(&mut self, mut ask: Ask, is_fresh: bool) {
        let before = Rc::clone(&self.seen);
        match self.pool.acquire(&mut ask, self.now) {
            Acquire::Lease(lease) => {
                self.out.push((lease, ask));
                self.claims.push(Claim::Granted { before, is_fresh });
            }
            Acquire::Refused(refusal) => {
                assert!(!(is_fresh && self.is_ready(&before)), "{before:?}");
                if refusal == Refusal::NoCredentials {
                    let is_off =
                        |member: &MemberSnapshot| member.state == CredentialState::Disabled;
                    assert!(before.members.iter().all(is_off), "{before:?}");
                }
            }
            Acquire::Wait(waiting) => {
                let until = waiting.until();
                assert!(!(is_fresh && self.is_ready(&before)), "{before:?}");
                assert!(self.now < until && until <= ask.deadline, "{until}");
                self.waiting.push((ask, until));
            }
        }
    }

    fn ask_again(&mut self, input: &mut Input<'_>) {
        let at = usize::from(input.byte());
        if self.waiting.is_empty() {
            return;
        }
        let (ask, _) = self.waiting.swap_remove(at % self.waiting.len());
        if at & 128 == 0 {
            self.ask(ask, false);
        }
    }

    fn settle(&mut self, input: &mut Input<'_>) {
        let (at, how) = (usize::from(input.byte()), input.byte());
        if self.out.is_empty() {
            return;
        }
        let (mut lease, mut ask) = self.out.swap_remove(at % self.out.len());
        let usage = Usage {
            input: u64::from(how) << (at / 4),
            ..Usage::default()
        };
        if at & 128 != 0 {
            lease.note_content(self.now);
            lease.note_usage(usage);
        }
        let mut failure = Failure::new(VERDICTS[usize::from(how >> 4)], "no");
        let hints = how & 3;
        if hints == 1 {
            failure.hint = Some(Hint::After(input.span()));
        } else if hints == 2 {
            failure.hint = Some(Hint::Until(self.now + input.span()));
        }
        let rules = [
            Rule::Cool(Duration::from_secs(20)),
            Rule::Dead,
            Rule::Fail,
            Rule::Rest(Duration::from_secs(20)),
            Rule::Retry,
            Rule::Rotate,
        ];
        let rule = rules[usize::from(how >> 4) % rules.len()];
        let outcome = match at >> 2 & 7 {
            0 | 1 => Outcome::Success { usage: Some(usage) },
            2 => Outcome::Cancelled { usage: Some(usage) },
            3 => Outcome::Ruled {
                rule,
                failure: &failure,
            },
            kind => Outcome::Failed {
                failure: &failure,
                after_content: kind == 4,
            },
        };
        let stated = match outcome {
            Outcome::Failed { failure, .. } if failure.verdict == Verdict::RateLimit => {
                failure.hint.map(|hint| hint.end(self.now))
            }
            _ => None,
        };
        let is_whole = matches!(outcome, Outcome::Success { .. });
        let kills = match outcome {
            Outcome::Failed { failure, .. } => {
                self.is_paused |= failure.verdict == Verdict::Capacity;
                matches!(failure.verdict, Verdict::Banned | Verdict::Dead)
            }
            Outcome::Ruled { rule, .. } => rule == Rule::Dead,
            Outcome::Cancelled { .. } | Outcome::Success { .. } => false,
        };
        if let Some(known) = self.known_mut(&lease).filter(|_| kills) {
            known.is_dead = true;
        }
        if let Some(until) = stated.filter(|_| self.known(&lease).is_some()) {
            self.claims.push(Claim::Believed {
                id: lease.credential().clone(),
                model: ask.model.clone(),
                until,
            });
        }
        if at >> 2 & 7 == 4 {
            lease.finish(outcome, self.now);
            return;
        }
        let next = lease.settle(&mut ask, outcome, self.now);
        assert!(ask.losses() <= self.settings.retry.max_attempts);
        match next {
            Next::Again { after, .. } => {
                let at = self.now + after;
                assert!(!is_whole && at <= ask.deadline);
                self.waiting.push((ask, at));
            }
            Next::Answer(stop) => assert!(!is_whole || stop == Stop::Done),
        }
    }

    /// A credential comes, goes, or is another from now on.
    fn change_members(&mut self, input: &mut Input<'_>) {
        let which = input.byte();
        let number = which % MOST;
        let before = self.members[usize::from(number)];
        let known = |fingerprint| {
            let same = before.filter(|known| known.fingerprint == fingerprint);
            Known {
                fingerprint,
                is_disabled: which & 128 != 0,
                is_expired: false,
                is_dead: same.is_some_and(|known| known.is_dead),
            }
        };
        let after = match which / MOST % 3 {
            0 => None,
            1 => Some(known(Fingerprint([number; 16]))),
            _ => Some(known(Fingerprint([which; 16]))),
        };
        self.members[usize::from(number)] = after;
        let secret = |known: Option<Known>| known.map(|known| known.fingerprint);
        if secret(before) != secret(after) {
            // Should the old secret come back, it is one like any other.
            let id = id(usize::from(number));
            self.kept
                .retain(|key, _| key.split(' ').nth(1) != Some(&id.to_string()));
            let is_back = |lease: &Lease| {
                *lease.credential() == id && Some(lease.fingerprint()) == secret(after)
            };
            self.out.retain(|(lease, _)| !is_back(lease));
        }
        self.configure();
    }

    fn configure(&mut self) {
        let member = |(number, known): (usize, &Option<Known>)| {
            let known = known.as_ref()?;
            let mut member = Member::new(id(number), known.fingerprint);
            member.disabled = known.is_disabled;
            member.expired = known.is_expired;
            member.priority = u32::from(known.fingerprint.0[0] % 3);
            member.tier = (number == 1).then(|| "free".to_owned());
            Some(member)
        };
        let members = self.members.iter().enumerate().filter_map(member).collect();
        self.pool
            .configure(self.settings.clone(), members, self.now);
    }

    /// What its owner says of a credential.
    fn by_hand(&mut self, input: &mut Input<'_>) {
        let how = input.byte();
        let number = usize::from(how % MOST);
        let model = MODELS[usize::from(how >> 6)];
        let (pool, now, id) = (&self.pool, self.now, id(number));
        let known = &mut self.members[number];
        let is_known = match how / MOST % 6 {
            0 => {
                if let Some(known) = known {
                    known.is_disabled = true;
                }
                pool.set_state(&id, &UserState::Disabled, now)
            }
            1 => {
                if let Some(known) = known {
                    *known = Known {
                        fingerprint: known.fingerprint,
                        is_disabled: false,
                        is_expired: false,
                        is_dead: false,
                    };
                }
                pool.set_state(&id, &UserState::Enabled, now)
            }
            2 => {
                if let Some(known) = known {
                    // In the place of any other standing.
                    (known.is_expired, known.is_dead) = (true, false);
                }
                pool.set_state(&id, &UserState::Expired, now)
            }
            3 => pool.reset(&id, Some(model), now),
            4 => pool.reset(&id, None, now),
            _ => pool.regrade(&id, |member| member.priority = u32::from(how >> 6)),
        };
        assert_eq!(is_known, known.is_some());
    }

    /// What the provider says of limits.
    fn told(&mut self, input: &mut Input<'_>) {
        let (how, number) = (input.byte(), input.byte());
        let count = |bits: u8| match bits & 3 {
            0 => None,
            1 => Some(0),
            2 => Some(u64::from(number)),
            _ => Some(u64::MAX - u64::from(number)),
        };
        let report = Report {
            limit: count(how),
            used: count(how >> 2),
            remaining: count(how >> 4),
            resets: (how & 64 != 0).then(|| self.now + input.span()),
            every: (how & 128 != 0).then(|| Duration::from_secs(90)),
        };
        let id = id(usize::from(number % MOST));
        let model = MODELS[usize::from(number >> 6)];
        if number & 32 == 0 {
            self.pool.report(&id, model, &report, self.now);
        } else {
            self.pool.heed(&id, model, &report, self.now);
        }
    }

    /// What seldom happens.
    fn odd(&mut self, input: &mut Input<'_>) {
        let how = input.byte();
        let id = id(usize::from(how % MOST));
        match how / MOST % 6 {
            0 => self.set_back(input.span()),
            1 => {
                let until = self.now + input.span();
                self.pool.rest(&id, "no token", until, self.now);
            }
            2 => {
                let failure = Failure::new(Verdict::ActionNeeded, "open the page");
                if self.members[usize::from(how % MOST)].is_some_and(|known| !known.is_dead) {
                    self.pool.condemn(&id, &failure, self.now);
                }
            }
            3 => self.hedge(input),
            4 => {
                // What others say of it is what it knows itself.
                let words = self.pool.standings();
                self.pool.adopt(words, self.now);
            }
            _ => {
                let _ = self
                    .pool
                    .excerpt(&llmproxy::pool::Choice::default(), self.now);
                let _ = self.pool.summary(self.now);
                let _ = self.pool.usable(3, self.now);
                let _ = self.pool.has_ready(self.now);
            }
        }
    }

    /// The clock is set back, which makes no rest longer.
    fn set_back(&mut self, by: Duration) {
        let longest = |picture: &PoolSnapshot, now: Timestamp| {
            let rests = picture.members.iter().flat_map(|member| {
                let classes = member.classes.iter().map(|class| &class.cooldown);
                classes.chain([&member.cooldown]).flatten()
            });
            rests.map(|rest| now.until(rest.until)).max()
        };
        let before = longest(&self.seen, self.now);
        let seen_before = self.latest.max(self.now);
        self.now = self.now - by;
        // A clock a little behind is another thread's, that read it earlier.
        let is_step = by > Duration::from_secs(2);
        self.latest = if is_step { self.now } else { seen_before };
        self.is_set_back = true;
        let after = longest(&self.pool.snapshot(self.now), self.now);
        assert!(!is_step || after <= before, "{before:?} {after:?}");
    }

    fn hedge(&mut self, input: &mut Input<'_>) {
        let at = usize::from(input.byte());
        if self.out.is_empty() || self.out.len() + self.waiting.len() >= MOST_REQUESTS {
            return;
        }
        let at = at % self.out.len();
        let (lease, ask) = &mut self.out[at];
        let Some(second) = self.pool.hedge(ask, lease, self.now) else {
            return;
        };
        let model = ask.model.clone();
        assert!(
            second.credential() != lease.credential()
                || second.fingerprint() != lease.fingerprint()
        );
        let own = Ask::new(model, None, self.now);
        self.out.push((second, own));
        self.claims.push(Claim::Granted {
            before: Rc::clone(&self.seen),
            is_fresh: true,
        });
    }

    /// Stops and begins again with what is on disk.
    fn restart(&mut self) {
        self.waiting.clear();
        self.out.clear();
        let before = self.pool.snapshot(self.now);
        for change in self.pool.drain_changes() {
            let text = serde_json::to_string(&change).expect("JSON");
            let read: Change = serde_json::from_str(&text).expect("what was written is read");
            assert_eq!(read, change);
            self.kept.insert(change.key(), read);
        }
        self.pool = Pool::new(provider(), self.settings.clone(), 8);
        self.configure();
        let kept = self.kept.values().cloned();
        let kept = kept.map(|change| self.heed_log_in(change)).collect();
        self.pool.restore(kept, self.now);
        let after = self.pool.snapshot(self.now);
        let is_standing = |state| {
            matches!(
                state,
                CredentialState::ActionNeeded | CredentialState::Dead | CredentialState::Expired
            )
        };
        for (old, new) in before.members.iter().zip(&after.members) {
            assert_eq!(old.id, new.id);
            if is_standing(old.state) || is_standing(new.state) {
                assert_eq!(old.state, new.state, "{old:?} {new:?}");
            }
            let rest = |member: &MemberSnapshot| {
                let rest = member.cooldown.as_ref();
                rest.map(|rest| (rest.reason, rest.until))
            };
            assert!(
                self.is_set_back || rest(old) == rest(new),
                "{old:?} {new:?}"
            );
            assert!(
                old.totals.requests <= new.totals.requests,
                "{old:?} {new:?}"
            );
        }
    }

    /// Whether an account needs a log-in is what its file says, not what was written down.
    fn heed_log_in(&self, mut change: Change) -> Change {
        if let Change::Credential(saved) = &mut change
            && saved.standing == Standing::Expired
        {
            let all = self.members.iter().enumerate();
            let mut meant = all.filter(|(number, _)| id(*number).as_str() == saved.credential);
            let known = meant.find_map(|(_, known)| known.as_ref());
            if known.is_some_and(|known| !known.is_expired) {
                saved.standing = Standing::Usable;
            }
        }
        change
    }

    /// Everybody who waits is answered by the deadline, and nothing is left.
    fn end(mut self) {
        let mut rounds = 0;
        while let Some((at, until)) = self.soonest() {
            self.now = self.now.max(until);
            self.judge();
            let (ask, _) = self.waiting.swap_remove(at);
            self.ask(ask, false);
            self.judge();
            while let Some((lease, _)) = self.out.pop() {
                lease.finish(Outcome::Success { usage: None }, self.now);
            }
            rounds += 1;
            assert!(rounds < 20_000, "somebody waits for ever");
        }
        self.out.clear();
        let picture = self.pool.snapshot(self.now);
        assert_eq!((picture.leases, picture.waiters), (0, 0));
        assert!(picture.members.iter().all(|member| member.active == 0));
    }

    fn soonest(&self) -> Option<(usize, Timestamp)> {
        let untils = self.waiting.iter().map(|(_, until)| *until);
        untils.enumerate().min_by_key(|(_, until)| *until)
    }

    fn known(&self, lease: &Lease) -> Option<&Known> {
        let mut all = self.members.iter().enumerate();
        let is_meant = |(number, known): (usize, &Option<Known>)| {
            id(number) == *lease.credential()
                && known.is_some_and(|known| known.fingerprint == lease.fingerprint())
        };
        let at = all.position(is_meant)?;
        self.members[at].as_ref()
    }

    fn known_mut(&mut self, lease: &Lease) -> Option<&mut Known> {
        let (credential, fingerprint) = (lease.credential(), lease.fingerprint());
        let all = self.members.iter_mut().enumerate();
        all.filter(|(number, _)| id(*number) == *credential)
            .find_map(|(_, known)| known.as_mut())
            .filter(|known| known.fingerprint == fingerprint)
    }
}

fn member_of<'a>(picture: &'a PoolSnapshot, id: &CredentialId) -> &'a MemberSnapshot {
    let found = picture.members.iter().find(|member| member.id == *id);
    found.expect("it is in the pool")
}

fn provider() -> ProviderId {
    ProviderId::parse("acme").expect("a provider name")
}

fn id(number: usize) -> CredentialId {
    static IDS: LazyLock<Vec<CredentialId>> = LazyLock::new(|| {
        let names = (1..=MOST).map(|number| number.to_string());
        let ids = names.map(|name| CredentialId::new(&provider(), &name).expect("a name"));
        ids.collect()
    });
    IDS[number].clone()
}
