//! `QUOTA_GROUPS_…`, `CUSTOM_CAP_…` and `CUSTOM_CAP_COOLDOWN_…`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::env::Overlay;
use crate::config::limits::{Cap, CapCooldown, Limit};
use crate::config::models::Pattern;
use crate::ids::ProviderId;

const COOLDOWN: &str = "CUSTOM_CAP_COOLDOWN_";
const CAP: &str = "CUSTOM_CAP_";

/// `QUOTA_GROUPS_<P>_<GROUP>=model,model`; an empty value switches a built-in group off.
pub(super) fn groups(overlay: &mut Overlay<'_>) {
    let prefix = "QUOTA_GROUPS_";
    let all: Vec<_> = overlay
        .variables
        .iter()
        .filter_map(|(name, variable)| Some((name, name.strip_prefix(prefix)?, &variable.value)))
        .collect();
    for (name, rest, value) in all {
        let Some((id, group)) = overlay
            .split_provider(rest)
            .filter(|(_, rest)| !rest.is_empty())
        else {
            overlay.warn(name, "ignored: its name begins with no known provider");
            continue;
        };
        let group = known_group(overlay, &id, group).unwrap_or_else(|| dashed(group));
        let models = value
            .split(',')
            .map(str::trim)
            .filter(|model| !model.is_empty());
        let models: Vec<String> = models.map(str::to_owned).collect();
        overlay.origin(format!("providers.{id}.quota_groups.{group}"), name);
        overlay.settings(&id).quota_groups.insert(group, models);
    }
}

/// The group of the provider that `25_FLASH` stands for: `25-flash`.
fn known_group(overlay: &Overlay<'_>, id: &ProviderId, upper: &str) -> Option<String> {
    let wanted = dashed(upper);
    let built_in = overlay
        .known(id)
        .map_or(&[][..], |known| known.quota_groups);
    let own = overlay.config.providers.get(id);
    let own = own
        .into_iter()
        .flat_map(|provider| provider.quota_groups.keys());
    own.map(String::as_str)
        .chain(built_in.iter().map(|(group, _)| *group))
        .find(|group| dashed(group) == wanted)
        .map(str::to_owned)
}

fn dashed(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

/// What a cap's name says: `T2_3_PRO` or `TDEFAULT_PRO`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    provider: ProviderId,
    tier: Vec<String>,
    models: String,
}

/// `CUSTOM_CAP_<P>_T<TIER>[_<TIER>…]_<MODEL_OR_GROUP>`, with its cooldown of the same name.
pub(super) fn caps(overlay: &mut Overlay<'_>) {
    let mut cooldowns: BTreeMap<Scope, (&str, CapCooldown)> = BTreeMap::new();
    for (name, rest, value) in overlay.beginning(COOLDOWN) {
        let Some(scope) = scope(overlay, name, rest) else {
            continue;
        };
        match cooldown(value) {
            Some(cooldown) => {
                cooldowns.insert(scope, (name, cooldown));
            }
            None => overlay.warn(
                name,
                "ignored: it is neither quota_reset nor offset:<seconds> nor fixed:<seconds>",
            ),
        }
    }
    for (name, rest, value) in overlay.beginning(CAP) {
        if name.starts_with(COOLDOWN) {
            continue;
        }
        let Some(scope) = scope(overlay, name, rest) else {
            continue;
        };
        let limit = match limit(value) {
            Ok(limit) => limit,
            Err(problem) => {
                overlay.warn(name, format!("ignored: {problem}"));
                continue;
            }
        };
        let (cooldown_name, cooldown) = cooldowns.remove(&scope).unzip();
        let caps = &mut overlay.settings(&scope.provider).caps;
        let index = caps.len();
        caps.push(Cap {
            tier: scope.tier,
            models: vec![Pattern::new(&scope.models)],
            limit,
            cooldown: cooldown.unwrap_or_default(),
        });
        let path = format!("providers.{}.caps[{index}]", scope.provider);
        if let Some(name) = cooldown_name {
            overlay.origin(format!("{path}.cooldown"), name);
        }
        overlay.origin(path, name);
    }
    for (name, _) in cooldowns.into_values() {
        overlay.warn(name, "ignored: there is no CUSTOM_CAP_ of the same name");
    }
}

fn scope(overlay: &mut Overlay<'_>, name: &str, rest: &str) -> Option<Scope> {
    // The provider's own name may hold `_T…` too: the longest name that fits wins.
    let found = overlay.split_provider(rest).and_then(|(provider, rest)| {
        let (tier, models) = tiers(overlay, &provider, rest.strip_prefix('T')?)?;
        Some(Scope {
            provider,
            tier,
            models,
        })
    });
    if found.is_none() {
        overlay.warn(
            name,
            "ignored: its name is not <PROVIDER>_T<TIER>_<MODEL_OR_GROUP> of a known provider",
        );
    }
    found
}

/// Splits `2_3_25_FLASH` into tiers and the models: numbers are tiers as long as what follows is
/// no known group, for a group's name may begin with a number.
fn tiers(overlay: &Overlay<'_>, id: &ProviderId, text: &str) -> Option<(Vec<String>, String)> {
    if let Some(rest) = text.strip_prefix("DEFAULT_") {
        return Some((Vec::new(), models(overlay, id, rest)));
    }
    let mut tiers = Vec::new();
    let mut rest = text;
    while let Some((number, after)) = rest.split_once('_') {
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || (!tiers.is_empty() && known_group(overlay, id, rest).is_some()) {
            break;
        }
        tiers.push(number.to_owned());
        rest = after;
    }
    let is_complete = !tiers.is_empty() && !rest.is_empty();
    is_complete.then(|| (tiers, models(overlay, id, rest)))
}

/// A group's name, or a pattern for a model's: a variable cannot hold the dots and dashes of
/// `gemini-2.5-pro`, so what stands between two numbers may be either.
fn models(overlay: &Overlay<'_>, id: &ProviderId, upper: &str) -> String {
    if let Some(group) = known_group(overlay, id, upper) {
        return group;
    }
    let letters: Vec<char> = upper.to_lowercase().chars().collect();
    let is_digit = |at: Option<usize>| {
        at.and_then(|at| letters.get(at))
            .is_some_and(char::is_ascii_digit)
    };
    let spelt = letters.iter().enumerate().map(|(at, c)| match c {
        '_' if is_digit(at.checked_sub(1)) && is_digit(Some(at + 1)) => '?',
        '_' => '-',
        other => *other,
    });
    spelt.collect()
}

/// `N`, `-N`, `P%`, or `+N`, which can be no more than the limit itself.
fn limit(text: &str) -> Result<Limit, String> {
    if let Some(more) = text.strip_prefix('+') {
        let more: Result<u64, _> = more.trim().parse();
        return more
            .map(|_| Limit::Percent(100))
            .map_err(|_| format!("`{text}` is not a limit"));
    }
    Limit::parse(text)
}

fn cooldown(text: &str) -> Option<CapCooldown> {
    let seconds = |text: &str| text.trim().parse::<i64>().ok();
    match text.trim().split_once(':') {
        None => (text.trim() == "quota_reset").then_some(CapCooldown::QuotaReset),
        Some(("offset", number)) => Some(match u64::try_from(seconds(number)?) {
            Ok(number) => CapCooldown::Offset(Duration::from_secs(number)),
            // Never shorter than the natural reset, say the documents.
            Err(_) => CapCooldown::QuotaReset,
        }),
        Some(("fixed", number)) => {
            let number = u64::try_from(seconds(number)?).ok()?;
            Some(CapCooldown::Fixed(Duration::from_secs(number)))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::sample::provider;

    #[test]
    fn groups_override_built_in_ones_by_any_spelling() {
        let (provider, notes) = provider(
            "gemini_cli",
            &[
                ("QUOTA_GROUPS_GEMINI_CLI_PRO", "a, b"),
                ("QUOTA_GROUPS_GEMINI_CLI_25_FLASH", ""),
                ("QUOTA_GROUPS_GEMINI_CLI_MY_OWN", "c"),
            ],
        );
        assert_eq!(notes, []);
        assert_eq!(provider.quota_groups["pro"], ["a", "b"]);
        assert!(provider.quota_groups["25-flash"].is_empty());
        assert_eq!(provider.quota_groups["my-own"], ["c"]);
    }

    #[test]
    fn caps_are_read_with_tiers_and_cooldowns() {
        for (name, tier, models) in [
            ("T2_PRO", &["2"][..], "pro"),
            ("T2_3_PRO", &["2", "3"], "pro"),
            ("TDEFAULT_PRO", &[], "pro"),
            ("T2_25_FLASH", &["2"], "25-flash"),
            ("T2_3_25_FLASH", &["2", "3"], "25-flash"),
            ("TDEFAULT_25_FLASH", &[], "25-flash"),
            ("T1_GEMINI_2_5_PRO", &["1"], "gemini-2?5-pro"),
        ] {
            let cap = format!("CUSTOM_CAP_GEMINI_CLI_{name}");
            let cooldown = format!("CUSTOM_CAP_COOLDOWN_GEMINI_CLI_{name}");
            let set = [(cap.as_str(), "80%"), (cooldown.as_str(), "offset:3600")];
            let (provider, notes) = provider("gemini_cli", &set);
            assert_eq!(notes, [], "{name}");
            let [cap] = &provider.caps[..] else {
                panic!("{name}: {:?}", provider.caps);
            };
            assert_eq!(
                (&cap.tier[..], cap.models[0].as_str()),
                (tier_texts(tier).as_slice(), models)
            );
            assert_eq!(cap.limit, Limit::Percent(80));
            assert_eq!(cap.cooldown, CapCooldown::Offset(Duration::from_hours(1)));
        }
    }

    fn tier_texts(tier: &[&str]) -> Vec<String> {
        tier.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn cap_values_follow_the_documents() {
        for (text, limit_read) in [
            ("100", Some(Limit::Number(100))),
            ("-20", Some(Limit::Below(20))),
            ("+20", Some(Limit::Percent(100))),
            ("80%", Some(Limit::Percent(80))),
            ("0", None),
            ("150%", None),
            ("+x", None),
        ] {
            assert_eq!(limit(text).ok(), limit_read, "{text}");
        }
        for (text, read) in [
            ("quota_reset", Some(CapCooldown::QuotaReset)),
            ("offset:-60", Some(CapCooldown::QuotaReset)),
            ("fixed:60", Some(CapCooldown::Fixed(Duration::from_mins(1)))),
            ("fixed:-60", None),
            ("soon", None),
        ] {
            assert_eq!(cooldown(text), read, "{text}");
        }
    }

    #[test]
    fn names_that_say_nothing_are_reported() {
        for name in [
            "QUOTA_GROUPS_NOBODY_PRO",
            "CUSTOM_CAP_NOBODY_T1_PRO",
            "CUSTOM_CAP_GEMINI_CLI_PRO",
            "CUSTOM_CAP_GEMINI_CLI_T2",
            "CUSTOM_CAP_COOLDOWN_GEMINI_CLI_T2_PRO",
        ] {
            let value = if name.contains("COOLDOWN") {
                "fixed:60"
            } else {
                "10"
            };
            let (_, notes) = provider("gemini_cli", &[(name, value)]);
            assert_eq!(notes.len(), 1, "{name} {notes:?}");
        }
    }
}
