//! The bytes of a run, and the settings they choose.

use std::time::Duration;

use llmproxy::pool::{
    Anchor, CapCooldown, CapLimit, CapSpec, QuotaGroup, Rotation, Settings, Tracking, WindowSpec,
};

/// The rest of the input; zeros where it has ended.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    pub(super) fn maybe(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.maybe().unwrap_or(0)
    }

    /// From a millisecond to some weeks.
    pub(super) fn span(&mut self) -> Duration {
        let byte = self.byte();
        let unit = [1, 100, 1000, 10_000, 60_000, 900_000, 3_600_000, 86_400_000];
        let times = u64::from(byte / 8) + 1;
        Duration::from_millis(unit[usize::from(byte % 8)] * times)
    }
}

/// Of a pool with one quota group.
pub(super) fn settings(input: &mut Input<'_>) -> Settings {
    let (how, limits) = (input.byte(), input.byte());
    let mut settings = Settings {
        rotation: [Rotation::Sequential, Rotation::Balanced, Rotation::Expiring]
            [usize::from(how % 3)],
        quota_groups: vec![QuotaGroup {
            name: "group".to_owned(),
            models: vec!["m0".to_owned(), "m1".to_owned()],
        }],
        ..Settings::default()
    };
    settings.concurrency.max = u32::from(how >> 2 & 3);
    settings.cooldown.provider_wide_after = u32::from(how >> 4 & 3);
    settings.fair_cycle.enabled = how & 64 != 0;
    if how & 128 != 0 {
        settings.fair_cycle.tracking = Tracking::Credential;
    }
    let anchors = [
        Anchor::Rolling,
        Anchor::FirstUse,
        Anchor::UtcMidnight,
        Anchor::PacificMidnight,
        Anchor::Weekly,
    ];
    if let Some(anchor) = anchors.get(usize::from(limits & 7)) {
        settings.windows.push(WindowSpec {
            models: Vec::new(),
            requests: u64::from(limits >> 3 & 3),
            tokens: u64::from(limits >> 5 & 1) * 1000,
            every: Duration::from_secs(90),
            anchor: *anchor,
        });
    }
    let cooldowns = [
        CapCooldown::QuotaReset,
        CapCooldown::Offset(Duration::from_secs(5)),
        CapCooldown::Fixed(Duration::from_secs(5)),
    ];
    if let Some(cooldown) = cooldowns.get(usize::from(limits >> 6)) {
        settings.caps.push(CapSpec {
            tiers: vec!["free".to_owned()],
            models: Vec::new(),
            limit: CapLimit::Requests(3),
            cooldown: *cooldown,
        });
    }
    settings
}
