//! Who rests, who knows it, and for how long.
//!
//! A rest that one instance learned of is what its own upstream said, by its own clock. Others may
//! hear of it late, and none makes it longer than it was. When it ends is known elsewhere but for what
//! the clocks cannot tell: an instance reckons the server's time as exactly as its quickest answer was
//! quick. What it heard while it knew less may be told again once it knows more, so the error of each
//! start counts once.

use std::collections::BTreeMap;

use super::leases::Key;
use crate::gateway::group::simulate::instance::Instance;
use crate::pool::{Change, Lease, SavedCooldown, Standing};

/// How much later a rest may end elsewhere. An answer takes no longer than this, or is none.
const CLOCKS_DIFFER_MS: i64 = 500;

/// Soon enough for others to know, where nothing is in the way.
pub(in super::super) const SPREADS_MS: i64 = 1_000;

#[derive(Default)]
pub(in super::super) struct Rests {
    /// The latest end that anybody saw himself, in true time, by credential and model class.
    ends: BTreeMap<(Key, String), i64>,
    /// When an instance last learned something itself of a credential.
    learned: BTreeMap<Key, i64>,
    /// The longest that anybody saw.
    lengths: BTreeMap<(Key, String), i64>,
    /// What is wrong just now, and when something last went wrong or was mended.
    ongoing: u32,
    disturbed: i64,
}

/// A rest, or a standing that is no better.
pub(in super::super) struct Out {
    key: usize,
    class: String,
    rest: Option<SavedCooldown>,
    is_usable: bool,
}

impl Rests {
    pub(in super::super) fn trouble_begins(&mut self, now: i64) {
        self.ongoing += 1;
        self.disturbed = now;
    }

    pub(in super::super) fn trouble_ends(&mut self, now: i64) {
        self.ongoing -= 1;
        self.disturbed = now;
    }

    /// A pool has settled an attempt; this was out before. Returns whether the credential is out now.
    pub(in super::super) fn settled(
        &mut self,
        instance: &Instance,
        key: Key,
        before: &[Out],
    ) -> bool {
        self.learned.insert(key, instance.world.now());
        let mut is_out = false;
        for out in outs(instance, key.0) {
            is_out |= out.key == key.1;
            let known = before
                .iter()
                .find(|known| (known.key, &known.class) == (out.key, &out.class));
            let rest = out.rest.as_ref();
            let is_new = |rest: &&SavedCooldown| {
                known.is_none_or(|known| known.rest.as_ref() != Some(*rest))
            };
            let Some(rest) = rest.filter(is_new) else {
                continue;
            };
            let about = ((key.0, out.key), out.class);
            let length = self.lengths.entry(about.clone()).or_default();
            *length = (rest.until_ms - rest.since_ms).max(*length);
            let seen = self.ends.entry(about).or_default();
            *seen = instance.truly(rest.until_ms).max(*seen);
        }
        is_out
    }

    /// A pool has taken over what others said.
    pub(in super::super) fn adopted(&self, instance: &Instance, upstream: usize) {
        for out in outs(instance, upstream) {
            let Some(rest) = out.rest else { continue };
            let key = ((upstream, out.key), out.class);
            let until = instance.truly(rest.until_ms);
            let (seen, length) = (self.ends.get(&key), self.lengths.get(&key));
            let (Some(seen), Some(length)) = (seen, length) else {
                panic!("{key:?} rests, and nobody saw why");
            };
            let longer = rest.until_ms - rest.since_ms - length;
            assert!(longer <= 0, "a rest of {key:?} has grown by {longer} ms");
            let lives = i64::try_from(instance.world.lives.get()).unwrap_or(i64::MAX);
            let later = until - seen - CLOCKS_DIFFER_MS * lives;
            assert!(later <= 0, "{key:?} rests {later} ms too long");
        }
    }

    /// Whether the others must know by now what was learned of a credential at a time: nothing was
    /// in the way since some seconds before, and nobody has learned anything else.
    pub(in super::super) fn must_be_known(&self, key: Key, since: i64) -> bool {
        let is_calm = self.ongoing == 0 && self.disturbed < since - 5_000;
        is_calm && self.learned.get(&key) == Some(&since)
    }
}

/// A pool hands a credential out: none that it knows to rest, but for the one probe.
pub(in super::super) fn assert_may_serve(instance: &Instance, upstream: usize, lease: &Lease) {
    let key = instance.cast(upstream).key(lease.credential().as_str());
    let now = instance.now().as_millis();
    for out in outs(instance, upstream) {
        if out.key != key {
            continue;
        }
        assert!(out.is_usable, "{upstream}/{key} is out, and asked");
        let holds = out.rest.is_some_and(|rest| rest.until_ms > now);
        assert!(!holds || lease.is_probe(), "{upstream}/{key} rests");
    }
}

/// Fails unless what one instance knows to be out for some time is out for the other one, too.
pub(in super::super) fn assert_known(one: &Instance, other: &Instance, (upstream, key): Key) {
    let there = outs(other, upstream);
    for out in outs(one, upstream).into_iter().filter(|out| out.key == key) {
        let ends = out.rest.as_ref().map(|rest| one.truly(rest.until_ms));
        if out.is_usable && ends.is_none_or(|ends| ends < one.world.now() + 3_000) {
            continue;
        }
        let is_alike = |known: &&Out| {
            (known.key, &known.class, known.is_usable) == (out.key, &out.class, out.is_usable)
                && known.rest.is_some() == out.rest.is_some()
        };
        assert!(
            there.iter().any(|known| is_alike(&known)),
            "{upstream}/{} {:?} is out for i{} and not for i{}",
            out.key,
            out.class,
            one.owner,
            other.owner
        );
    }
}

/// All that an instance knows not to be well of an upstream's credentials; a pause of the whole
/// provider is its own affair.
pub(in super::super) fn outs(instance: &Instance, upstream: usize) -> Vec<Out> {
    let cast = instance.cast(upstream);
    let changes = instance.pools[upstream].standings().into_iter();
    let outs = changes.filter_map(|change| match change {
        Change::Class(saved) => Some(Out {
            key: cast.key(&saved.credential),
            class: saved.class,
            rest: saved.cooldown,
            is_usable: true,
        }),
        Change::Credential(saved) => Some(Out {
            key: cast.key(&saved.credential),
            class: String::new(),
            rest: saved.cooldown,
            is_usable: saved.standing == Standing::Usable,
        }),
        Change::Pause(_) | Change::Session(_) | Change::Suspects(_) => None,
    });
    outs.collect()
}
