//! A picture of the pool for reports: `creds list`, `status`, `/v1/quota-stats`, metrics.

use std::collections::BTreeMap;

use crate::ids::{CredentialId, ProviderId};
use crate::secret::Fingerprint;
use crate::time::Timestamp;

use super::caps;
use super::class::{Class, Entry, Totals};
use super::cooldown::{Cooldown, Reason};
use super::lane::NEVER;
use super::record::Most;
use super::settings::{Anchor, Rotation, Tracking};
use super::slot::{Slot, Standing};
use super::state::State;

/// A pool at one instant.
#[derive(Clone, Debug)]
pub struct PoolSnapshot {
    pub provider: ProviderId,
    pub rotation: Rotation,
    /// Until when the provider as a whole backs off; `None` if it does not.
    pub backoff_until: Option<Timestamp>,
    /// Leases out.
    pub leases: u32,
    /// Requests that wait for a credential.
    pub waiters: u32,
    /// Rests begun since the pool was made, by reason.
    pub cooldowns: BTreeMap<Reason, u64>,
    /// In the order of their ids.
    pub members: Vec<MemberSnapshot>,
}

/// A credential at one instant.
#[derive(Clone, Debug)]
pub struct MemberSnapshot {
    pub id: CredentialId,
    /// Which secret of it is meant.
    pub fingerprint: Fingerprint,
    pub tier: Option<String>,
    pub priority: u32,
    pub state: CredentialState,
    /// Why it is not ready, for people; names the model class where only one is concerned.
    pub state_reason: Option<String>,
    /// A link the owner must open.
    pub link: Option<String>,
    /// The end of the wait, not the next probe.
    pub cooling_until: Option<Timestamp>,
    /// A rest of the whole credential; classes have their own.
    pub cooldown: Option<CooldownSnapshot>,
    /// Leases out.
    pub active: u32,
    /// Most leases at once; 0 means no limit.
    pub max_concurrent: u32,
    /// From so many leases on others are preferred; 0 means never.
    pub optimal_concurrent: u32,
    pub last_used: Option<Timestamp>,
    /// Whether it has had its turn in a fair cycle that counts whole credentials.
    pub is_benched: bool,
    /// Sums over all classes.
    pub totals: Totals,
    pub classes: Vec<ClassSnapshot>,
}

/// The contract's states of a credential.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialState {
    ActionNeeded,
    Cooling,
    Dead,
    Disabled,
    Exhausted,
    Expired,
    Ready,
}

impl CredentialState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ActionNeeded,
        Self::Cooling,
        Self::Dead,
        Self::Disabled,
        Self::Exhausted,
        Self::Expired,
        Self::Ready,
    ];

    /// The name in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActionNeeded => "action_needed",
            Self::Cooling => "cooling",
            Self::Dead => "dead",
            Self::Disabled => "disabled",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Ready => "ready",
        }
    }
}

/// What is known of a credential for one model class.
#[derive(Clone, Debug)]
pub struct ClassSnapshot {
    /// The quota group or model.
    pub class: String,
    pub is_group: bool,
    /// A rest of this class alone.
    pub cooldown: Option<CooldownSnapshot>,
    pub windows: Vec<WindowSnapshot>,
    /// Requests a cap allows in the first window, and how many of them are used.
    pub cap: Option<(u64, u64)>,
    /// Whether it has had its turn in the fair cycle.
    pub is_benched: bool,
    pub totals: Totals,
}

/// A rest at one instant.
#[derive(Clone, Debug)]
pub struct CooldownSnapshot {
    pub reason: Reason,
    pub since: Timestamp,
    pub until: Timestamp,
    /// When one real request may go through; `None` if none may before the end.
    pub next_probe: Option<Timestamp>,
    /// The provider's own sentence; may be empty.
    pub message: String,
}

/// A window at one instant.
#[derive(Clone, Debug)]
pub struct WindowSnapshot {
    /// `daily`, `5h`, `90s`; `reported` for a limit only the provider knows.
    pub name: String,
    pub requests: u64,
    pub tokens: u64,
    /// Requests allowed; `None` if unlimited.
    pub limit: Option<u64>,
    /// Tokens allowed; `None` if unlimited.
    pub token_limit: Option<u64>,
    /// When the counts began.
    pub started: Option<Timestamp>,
    /// When the counts fall to zero; `None` for a rolling or unopened window.
    pub resets: Option<Timestamp>,
    /// What its requests came to; `None` where a request leaves without a trace (rolling windows,
    /// and limits only the provider knows).
    pub counts: Option<Totals>,
    /// The most requests it ever held.
    pub most: Option<Most>,
}

impl State {
    /// A picture of everything at `now`.
    pub(super) fn snapshot(&mut self, now: Timestamp) -> PoolSnapshot {
        self.observe(now);
        self.roll_all();
        let slots = (0..).zip(&self.slots);
        let present = slots.filter(|(_, slot)| !slot.is_gone);
        let mut members: Vec<MemberSnapshot> = present
            .map(|(at, slot)| self.member_snapshot(at, slot))
            .collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let until = self.blast.backoff.until;
        PoolSnapshot {
            provider: self.provider.clone(),
            rotation: self.settings.rotation,
            backoff_until: (until > now).then_some(until),
            leases: self.slots.iter().map(|slot| slot.active).sum(),
            waiters: self.waiting,
            cooldowns: self.rests.clone(),
            members,
        }
    }

    /// Brings all counts up to the present.
    pub(super) fn roll_all(&mut self) {
        for class in 0..self.classes.len() {
            for slot in 0..self.classes[class].entries.len() {
                self.roll_entry(class, slot);
            }
        }
    }

    /// Brings a credential's counts in one class up to the present. A window that a clock set back has
    /// opened anew is no longer full, and one that has ended stays so if the clock is set back next:
    /// whoever chooses must know it as well.
    pub(super) fn roll_entry(&mut self, place: usize, slot: usize) {
        let Some(class) = self.classes.get_mut(place) else {
            return;
        };
        let Some(Some(entry)) = class.entries.get_mut(slot) else {
            return;
        };
        let ever = Timestamp::default();
        let was_full = entry.room_at(&class.windows, ever).is_some();
        entry.roll(&class.windows, self.now);
        if was_full
            && entry.room_at(&class.windows, self.now).is_none()
            && let (Ok(place), Ok(slot)) = (u32::try_from(place), u32::try_from(slot))
        {
            self.refresh_entry(place, slot);
        }
    }

    pub(super) fn member_snapshot(&self, at: u32, slot: &Slot) -> MemberSnapshot {
        let known = (0..).zip(&self.classes);
        let known = known.filter_map(|(index, class)| Some((index, class, class.entry(at)?)));
        let classes: Vec<ClassSnapshot> = known
            .map(|(index, class, entry)| self.class_snapshot(index, class, slot, at, entry))
            .collect();
        let mut totals = Totals::default();
        for class in &classes {
            totals.add(&class.totals);
        }
        let (state, state_reason, cooling_until) = self.state_of(slot, &classes);
        let link = match &slot.standing {
            Standing::ActionNeeded { link, .. } | Standing::Dead { link, .. } => link.clone(),
            Standing::Expired | Standing::Usable => None,
        };
        MemberSnapshot {
            id: slot.member.id.clone(),
            fingerprint: slot.member.fingerprint,
            tier: slot.member.tier.clone(),
            priority: slot.member.priority,
            state,
            state_reason,
            link,
            cooling_until,
            cooldown: self.rest_of(slot.cooldown.as_deref()),
            active: slot.active,
            max_concurrent: slot.max,
            optimal_concurrent: slot.optimal,
            last_used: slot.last_used,
            is_benched: self.settings.fair_cycle.tracking == Tracking::Credential
                && self.is_benched(0, at),
            totals,
            classes,
        }
    }

    fn class_snapshot(
        &self,
        index: u32,
        class: &Class,
        slot: &Slot,
        at: u32,
        entry: &Entry,
    ) -> ClassSnapshot {
        let counted = entry.counters.iter().zip(&class.windows);
        let counted = counted.map(|(counter, spec)| WindowSnapshot {
            name: window_name(spec.every),
            requests: counter.requests,
            tokens: counter.tokens,
            limit: counter.limit(spec),
            token_limit: (spec.tokens > 0).then_some(spec.tokens),
            started: counter.started,
            resets: Some(counter.resets).filter(|resets| *resets < NEVER),
            counts: (spec.anchor != Anchor::Rolling)
                .then(|| counter.record.counts(counter.started, &entry.totals)),
            most: counter.record.most(),
        });
        let reported = entry.reported.map(|reported| WindowSnapshot {
            name: "reported".to_owned(),
            requests: reported.used,
            tokens: 0,
            limit: Some(reported.limit),
            token_limit: None,
            started: None,
            resets: Some(reported.resets),
            counts: None,
            most: None,
        });
        let first = entry.counters.first().zip(class.windows.first());
        let cap = caps::find(class, &slot.member);
        let cap = cap.zip(first).and_then(|(cap, (counter, spec))| {
            let used = counter.requests.saturating_sub(entry.cap_base);
            Some((caps::limit(cap.limit, counter.limit(spec))?, used))
        });
        ClassSnapshot {
            class: class.name.to_string(),
            is_group: class.is_group,
            cooldown: self.rest_of(entry.cooldown.as_deref()),
            windows: counted.chain(reported).collect(),
            cap,
            is_benched: self.settings.fair_cycle.tracking == Tracking::ModelGroup
                && self.is_benched(index, at),
            totals: entry.totals,
        }
    }

    /// State, reason for people, and end of the wait.
    fn state_of(
        &self,
        slot: &Slot,
        classes: &[ClassSnapshot],
    ) -> (CredentialState, Option<String>, Option<Timestamp>) {
        if slot.member.disabled {
            let reason = Some("disabled by the user".to_owned());
            return (CredentialState::Disabled, reason, None);
        }
        if let Some(message) = &slot.member.closed {
            return (CredentialState::Dead, Some(message.clone()), None);
        }
        match &slot.standing {
            Standing::Dead { message, link } => {
                return (CredentialState::Dead, said(message, link.as_deref()), None);
            }
            Standing::ActionNeeded { message, link } => {
                let reason = said(message, link.as_deref());
                return (CredentialState::ActionNeeded, reason, None);
            }
            Standing::Usable if !slot.member.expired => {}
            Standing::Expired | Standing::Usable => {
                let reason = Some("needs a new log-in".to_owned());
                return (CredentialState::Expired, reason, None);
            }
        }
        if let Some(rest) = self.rest_of(slot.cooldown.as_deref()) {
            let reason = describe(&rest, None);
            return (resting_state(rest.reason), Some(reason), Some(rest.until));
        }
        // The class that rests longest speaks for the credential.
        let resting = classes
            .iter()
            .filter_map(|class| Some((class, class.cooldown.as_ref()?)));
        if let Some((class, rest)) = resting.max_by_key(|(_, rest)| (rest.until, rest.reason)) {
            let reason = describe(rest, Some(&class.class));
            return (resting_state(rest.reason), Some(reason), Some(rest.until));
        }
        let full = classes.iter().find_map(|class| {
            let is_full = |window: &&WindowSnapshot| {
                window.limit.is_some_and(|limit| window.requests >= limit)
                    || window
                        .token_limit
                        .is_some_and(|limit| window.tokens >= limit)
            };
            Some((class, class.windows.iter().find(is_full)?))
        });
        if let Some((class, window)) = full {
            let reason = format!("{}: its {} window is full", class.class, window.name);
            return (CredentialState::Exhausted, Some(reason), window.resets);
        }
        (CredentialState::Ready, None, None)
    }

    fn rest_of(&self, rest: Option<&Cooldown>) -> Option<CooldownSnapshot> {
        let rest = rest.filter(|rest| rest.holds(self.now))?;
        Some(CooldownSnapshot {
            reason: rest.reason,
            since: rest.since,
            until: rest.until,
            next_probe: rest.probe.map(|probe| probe.next),
            message: rest.message.to_string(),
        })
    }
}

pub(super) const fn resting_state(reason: Reason) -> CredentialState {
    match reason {
        Reason::Cap | Reason::NoMoney | Reason::Quota => CredentialState::Exhausted,
        Reason::Auth
        | Reason::NotAllowed
        | Reason::RateLimit
        | Reason::Rule
        | Reason::Token
        | Reason::Transient => CredentialState::Cooling,
    }
}

fn describe(rest: &CooldownSnapshot, class: Option<&str>) -> String {
    let mut text = class.map_or_else(String::new, |class| format!("{class}: "));
    text.push_str(rest.reason.as_str());
    if !rest.message.is_empty() {
        text.push_str(": ");
        text.push_str(&rest.message);
    }
    text
}

fn said(message: &str, link: Option<&str>) -> Option<String> {
    let text = match link {
        Some(link) if !message.contains(link) => format!("{message} {link}"),
        _ => message.to_owned(),
    };
    let text = text.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

pub(super) fn window_name(every: std::time::Duration) -> String {
    let seconds = every.as_secs();
    match seconds {
        0 | 86_400 => "daily".to_owned(),
        604_800 => "weekly".to_owned(),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
