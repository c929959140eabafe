//! What a seed decides before anything happens: clocks, limits, how upstreams behave; and who is who.

use std::sync::OnceLock;
use std::time::Duration;

use super::{KEYS, PLACES, UPSTREAMS};
use crate::credentials::{Credential, Source};
use crate::gateway::group::names::Names;
use crate::ids::{CredentialId, ProviderId};
use crate::pool::{Anchor, Concurrency, Member, Settings, WindowSpec};
use crate::providers::verdict::{Failure, Fault, Hint, Verdict};
use crate::secret::{Fingerprint, FingerprintKey, Secret};

/// The upstream whose credentials are accounts with tokens.
pub(super) const WITH_ACCOUNTS: usize = 3;

/// Some days' end, in milliseconds since the epoch.
const MIDNIGHT_MS: i64 = 20_780 * 86_400_000;

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) start_ms: i64,
    /// How far each instance's clock is ahead, and the server's.
    pub(super) skews_ms: [i64; PLACES],
    pub(super) servers_skew_ms: i64,
    /// Most that a packet takes.
    pub(super) delay_ms: i64,
    /// Whether anything goes wrong.
    pub(super) is_calm: bool,
    pub(super) faults: u32,
    /// Between two requests of an instance, on average.
    pub(super) gap_ms: i64,
    pub(super) limits: [Limited; UPSTREAMS],
    pub(super) behaviours: [[u8; KEYS]; UPSTREAMS],
    /// Whether an old refresh token is refused.
    pub(super) is_strict: bool,
}

/// An upstream's limits for each of its credentials; 0 is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limited {
    pub(super) max: u32,
    pub(super) requests: u64,
    pub(super) every_ms: i64,
    pub(super) is_rolling: bool,
}

impl Scenario {
    pub(super) fn from_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let is_calm = seed.is_multiple_of(8);
        let mut skew = || match rng.u8(0..3) {
            0 => 0,
            1 => rng.i64(-2_000..2_000),
            _ => rng.i64(-300_000..300_000),
        };
        let (skews_ms, servers_skew_ms) = ([skew(), skew(), skew()], skew());
        let limits = |rng: &mut fastrand::Rng| Limited {
            max: [0, 0, 1, 2][rng.usize(0..4)],
            requests: [0, 0, 3, 6][rng.usize(0..4)],
            every_ms: [8_000, 15_000][rng.usize(0..2)],
            is_rolling: rng.bool(),
        };
        let limits = [(); UPSTREAMS].map(|()| limits(&mut rng));
        let trouble = [3, 9][rng.usize(0..2)];
        let behaviours = [(); UPSTREAMS]
            .map(|()| [(); KEYS].map(|()| rng.u8(0..10).saturating_sub(9 - trouble)));
        Self {
            // Some runs see a day end.
            start_ms: MIDNIGHT_MS + [-15_000, 3_600_000][rng.usize(0..2)],
            skews_ms,
            servers_skew_ms,
            delay_ms: [2, 20, 60][rng.usize(0..3)],
            is_calm,
            faults: if is_calm { 0 } else { rng.u32(1..6) },
            gap_ms: [400, 1_000, 2_500][rng.usize(0..3)],
            limits,
            behaviours,
            is_strict: rng.bool(),
        }
    }

    pub(super) fn settings(&self, upstream: usize) -> Settings {
        let limits = self.limits[upstream];
        let window = WindowSpec {
            models: Vec::new(),
            requests: limits.requests,
            tokens: 0,
            every: millis(limits.every_ms),
            anchor: if limits.is_rolling {
                Anchor::Rolling
            } else {
                Anchor::FirstUse
            },
        };
        Settings {
            concurrency: Concurrency {
                max: limits.max,
                ..Concurrency::default()
            },
            windows: (limits.requests > 0)
                .then_some(window)
                .into_iter()
                .collect(),
            ..Settings::default()
        }
    }

    /// What an upstream does with a call, and after how long.
    pub(super) fn reply(
        &self,
        (upstream, key): (usize, usize),
        rng: &mut fastrand::Rng,
    ) -> (i64, Option<Failure>) {
        let after = match rng.u8(0..10) {
            // Long enough for its lease to be renewed, or to end unrenewed.
            0 => rng.i64(5_000..20_000),
            _ => rng.i64(20..1_500),
        };
        let hint = |seconds: u64| Some(Hint::After(Duration::from_secs(seconds)));
        let (verdict, hint) = match (self.behaviours[upstream][key], rng.u8(0..100)) {
            (1, 0..40) => (Verdict::RateLimit, hint(rng.u64(1..25))),
            (2, 0..40) => (Verdict::RateLimit, None),
            (3, 0..30) => (Verdict::Transient(Fault::Server), None),
            (4, 0..30) => (Verdict::Quota, hint(rng.u64(30..90_000))),
            (5, _) => (Verdict::Auth, None),
            (6, 0..30) => (Verdict::Capacity, None),
            (7, 0..20) => (Verdict::NoMoney, None),
            (8, 0..60) => (Verdict::Transient(Fault::Reset), None),
            _ => return (after, None),
        };
        let mut failure = Failure::new(verdict, "no");
        failure.hint = hint;
        (rng.i64(20..1_500), Some(failure))
    }
}

/// What an instance calls the credentials of an upstream.
pub(super) struct Cast {
    pub(super) ids: [CredentialId; KEYS],
    pub(super) own: [Fingerprint; KEYS],
    pub(super) names: Names,
}

impl Cast {
    pub(super) fn members(&self) -> Vec<Member> {
        let members = self.ids.iter().zip(self.own);
        let members = members.map(|(id, own)| Member::new(id.clone(), own));
        members.collect()
    }

    /// Which one is called so.
    pub(super) fn key(&self, id: &str) -> usize {
        let known = self.ids.iter().position(|known| known.as_str() == id);
        known.expect("it is one of ours")
    }
}

pub(super) fn provider(upstream: usize) -> ProviderId {
    ProviderId::parse(&format!("u{upstream}")).expect("a provider's name")
}

/// Who is who, at a place: the same id names another key elsewhere.
pub(super) fn cast(place: usize, upstream: usize) -> &'static Cast {
    static ALL: OnceLock<Vec<Cast>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let places = (0..PLACES).flat_map(|place| (0..UPSTREAMS).map(move |one| (place, one)));
        places.map(|(place, one)| cast_of(place, one)).collect()
    });
    &all[place * UPSTREAMS + upstream]
}

fn cast_of(place: usize, upstream: usize) -> Cast {
    let own_key = [u8::try_from(place).expect("a small number"); 32];
    let (group, own) = (FingerprintKey::new(&[9; 32]), FingerprintKey::new(&own_key));
    let mut keys = 0..;
    let credentials: [Credential; KEYS] = [(); KEYS].map(|()| {
        let key = keys.next().unwrap_or_default();
        let name = ((key + place) % KEYS).to_string();
        let id = CredentialId::new(&provider(upstream), &name).expect("a name");
        let secret = Secret::new(&format!("sk-{upstream}-{key}-0123456789"));
        Credential::api_key(id, Source::Config, secret)
    });
    Cast {
        ids: [0, 1, 2].map(|key: usize| credentials[key].id.clone()),
        own: [0, 1, 2].map(|key: usize| credentials[key].fingerprint(&own)),
        names: Names::new(credentials.iter(), &group, &own),
    }
}

pub(super) fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
