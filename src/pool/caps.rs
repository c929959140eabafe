//! Caps: own limits below the provider's, by tier and model class.

use crate::time::Timestamp;

use super::class::{Class, Entry};
use super::cooldown::{Cooldown, Reason};
use super::settings::{CapCooldown, CapLimit, CapSpec, Member, matches};

/// Brings the class's cap cooldown for a credential in line with its count. Returns whether that
/// changed a cooldown.
pub(super) fn apply(class: &mut Class, slot: u32, member: &Member, now: Timestamp) -> bool {
    let Some(cap) = find(class, member).map(|cap| (cap.limit, cap.cooldown)) else {
        return false;
    };
    let (cap, cooldown) = cap;
    let (entry, windows) = class.entry_mut(slot);
    let Some((counter, spec)) = entry.counters.first().zip(windows.first()) else {
        return false;
    };
    let Some(limit) = limit(cap, counter.limit(spec)) else {
        return false;
    };
    let used = counter.requests.saturating_sub(entry.cap_base);
    let is_capped = entry
        .cooldown
        .as_deref()
        .is_some_and(|rest| rest.reason == Reason::Cap && rest.holds(now));
    if used < limit {
        if is_capped {
            // A request was taken back: there is room again.
            entry.cooldown = None;
        }
        return is_capped;
    }
    let rests_longer = |entry: &Entry, until| {
        entry
            .cooldown
            .as_deref()
            .is_some_and(|rest| rest.until >= until)
    };
    let resets = || counter.room_under(Some(limit), spec).unwrap_or(now);
    let until = match cooldown {
        CapCooldown::Fixed(wait) => now + wait,
        CapCooldown::Offset(wait) => resets() + wait,
        CapCooldown::QuotaReset => resets(),
    };
    if is_capped || rests_longer(entry, until) {
        return false;
    }
    if matches!(cooldown, CapCooldown::Fixed(_)) {
        entry.cap_base = counter.requests;
    }
    entry.cooldown = Some(Box::new(Cooldown::new(Reason::Cap, until, None, now)));
    true
}

/// The caps that concern a class.
pub(super) fn concerning(caps: &[CapSpec], class: &str) -> Vec<CapSpec> {
    let class = folded(class);
    let names = |pattern: &String| matches(&folded(pattern), &class);
    let concerns = |cap: &&CapSpec| cap.models.is_empty() || cap.models.iter().any(names);
    caps.iter().filter(concerns).cloned().collect()
}

/// The cap of a credential for a class: the first that names its tier, else the first for all.
pub(super) fn find<'a>(class: &'a Class, member: &Member) -> Option<&'a CapSpec> {
    let own = class.caps.iter().find(|cap| {
        cap.tiers.iter().any(|tier| {
            let own = member.tier.as_ref();
            own.is_some_and(|own| bare(own).eq_ignore_ascii_case(bare(tier)))
                || tier.parse() == Ok(member.priority)
        })
    });
    own.or_else(|| class.caps.iter().find(|cap| is_for_all(cap)))
}

/// `free` for `free-tier`: people do not write what Google adds.
fn bare(tier: &str) -> &str {
    const ADDED: &str = "-tier";
    let (name, end) = tier
        .split_at_checked(tier.len().saturating_sub(ADDED.len()))
        .unwrap_or((tier, ""));
    if end.eq_ignore_ascii_case(ADDED) {
        name
    } else {
        tier
    }
}

fn is_for_all(cap: &CapSpec) -> bool {
    cap.tiers.is_empty()
        || cap
            .tiers
            .iter()
            .any(|tier| tier.eq_ignore_ascii_case("default"))
}

/// How many requests a cap allows, given the window's own limit; `None` if that cannot be said.
pub(super) fn limit(cap: CapLimit, window: Option<u64>) -> Option<u64> {
    let capped = match cap {
        CapLimit::Percent(percent) => percent_of(window?, percent),
        CapLimit::Relative(more) => window?.saturating_add_signed(more),
        CapLimit::Requests(requests) => requests,
    };
    // Never above the true limit; never nothing at all, which is what filters are for.
    Some(window.map_or(capped, |window| capped.min(window)).max(1))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "limits are far below 2^52, and the float is clamped to be no number below zero"
)]
fn percent_of(limit: u64, percent: f64) -> u64 {
    (limit as f64 * percent.clamp(0.0, 100.0) / 100.0) as u64
}

/// One spelling of a name: environment variables cannot hold dots or dashes.
fn folded(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '.' | '_' => '-',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}
