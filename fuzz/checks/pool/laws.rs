//! What must hold after each event.

use std::rc::Rc;
use std::time::Duration;

use llmproxy::ids::CredentialId;
use llmproxy::pool::{CredentialState, Lease, MemberSnapshot, PoolSnapshot};
use llmproxy::time::Timestamp;

use super::{Run, member_of};

/// What an event is to have led to.
pub(super) enum Claim {
    /// The provider's stated wait, which ends then, is kept.
    Believed {
        id: CredentialId,
        model: String,
        until: Timestamp,
    },
    /// No law forbids the latest lease, of a request that came just now or earlier.
    Granted {
        before: Rc<PoolSnapshot>,
        is_fresh: bool,
    },
}

impl Run {
    /// Looks at the pool after an event.
    pub(super) fn judge(&mut self) {
        let picture = Rc::new(self.pool.snapshot(self.now));
        for claim in std::mem::take(&mut self.claims) {
            match claim {
                Claim::Believed { id, model, until } => {
                    self.is_believed(&picture, &id, &model, until);
                }
                Claim::Granted { before, is_fresh } => {
                    let (lease, ask) = self.out.last().expect("it was granted");
                    self.may_be_granted(&before, &picture, (lease, &ask.model), is_fresh);
                }
            }
        }
        self.books_are_right(&picture);
        self.seen = picture;
    }

    /// Somebody can serve any request at once.
    pub(super) fn is_ready(&self, picture: &PoolSnapshot) -> bool {
        let is_ready = |member: &MemberSnapshot| {
            let (active, max) = (member.active, member.max_concurrent);
            member.state == CredentialState::Ready && (max == 0 || active < max)
        };
        picture.members.iter().any(is_ready)
            && picture.backoff_until.is_none()
            && picture.waiters == 0
            && !self.is_paused
    }

    /// No law forbids this lease.
    fn may_be_granted(
        &self,
        before: &PoolSnapshot,
        after: &PoolSnapshot,
        (lease, model): (&Lease, &str),
        is_fresh: bool,
    ) {
        let now = self.now;
        let member = member_of(after, lease.credential());
        assert_eq!(member.fingerprint, lease.fingerprint());
        let max = member.max_concurrent;
        assert!(max == 0 || member.active <= max, "{member:?}");
        let is_out = matches!(
            member.state,
            CredentialState::ActionNeeded
                | CredentialState::Dead
                | CredentialState::Disabled
                | CredentialState::Expired
        );
        assert!(!is_out, "{member:?}");
        let known = self.known(lease).expect("one of ours");
        assert!(!known.is_dead && !known.is_disabled, "{member:?}");
        if !is_fresh {
            return;
        }
        // Whoever waited may hold what was set aside for it earlier.
        assert!(before.backoff_until.is_none(), "{before:?}");
        let member = member_of(before, lease.credential());
        let class = self.pool.class_of(model);
        let class = member.classes.iter().find(|known| known.class == class);
        let rests = [
            member.cooldown.as_ref(),
            class.and_then(|class| class.cooldown.as_ref()),
        ];
        let latest = now.max(self.latest);
        for rest in rests
            .into_iter()
            .flatten()
            .filter(|rest| rest.until > latest)
        {
            let is_open = rest.next_probe.is_some_and(|next| next <= now);
            assert!(lease.is_probe() && is_open, "{rest:?} at {now}");
        }
        for window in class.into_iter().flat_map(|class| &class.windows) {
            let is_over = window.resets.is_some_and(|resets| resets <= now);
            let has_room = window.limit.is_none_or(|limit| window.requests < limit)
                && window.token_limit.is_none_or(|limit| window.tokens < limit);
            assert!(is_over || has_room, "{window:?} at {now}");
        }
    }

    /// A wait that the provider stated is kept, unless it is absurd.
    fn is_believed(
        &self,
        picture: &PoolSnapshot,
        id: &CredentialId,
        model: &str,
        until: Timestamp,
    ) {
        if self.now.until(until) > Duration::from_hours(31 * 24) {
            return;
        }
        let class = self.pool.class_of(model);
        let classes = &member_of(picture, id).classes;
        let class = classes.iter().find(|known| known.class == class);
        let rest = class.and_then(|class| class.cooldown.as_ref());
        assert!(
            rest.is_some_and(|rest| rest.until >= until),
            "{until} {rest:?}"
        );
    }

    /// No lease and no waiter is lost, and no rest is longer than it was to be.
    fn books_are_right(&self, picture: &PoolSnapshot) {
        let leases = usize::try_from(picture.leases).expect("a few");
        let (out, waiting) = (self.out.len(), self.waiting.len());
        assert!((out..=out + waiting).contains(&leases), "{picture:?}");
        assert!(picture.waiters as usize <= waiting, "{picture:?}");
        let present = self.members.iter().flatten().count();
        assert_eq!(picture.members.len(), present);
        for member in &picture.members {
            let rests = member.classes.iter().map(|class| &class.cooldown);
            for rest in rests.chain([&member.cooldown]).flatten() {
                let is_begun = rest.since <= self.now;
                assert!(is_begun || self.is_set_back, "{rest:?} at {}", self.now);
            }
        }
    }
}
