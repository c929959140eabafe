//! Numbers and switches: timeouts, rotation, concurrency, filters, fair cycle, model lists.

use std::time::Duration;

use serde_json::Value;

use crate::config::env::Overlay;
use crate::config::models::Pattern;
use crate::config::provider::{ExtraModel, FairCycle, Provider, Rotation, Tracking};
use crate::config::routing::TemperatureZero;
use crate::ids::ProviderId;

/// Applies one variable's value; the error says what the value should have been.
type Setter<T> = fn(&mut T, &str) -> Result<(), &'static str>;

const SECONDS: &str = "it is not a number of seconds";
const COUNT: &str = "it is not a whole number";
const SWITCH: &str = "it is neither true nor false";

/// Variables about one provider: the name's beginning, the key, the setter. Those that begin like
/// another's whole name stand first.
const PER_PROVIDER: &[(&str, &str, Setter<Provider>)] = &[
    (
        "FAIR_CYCLE_TRACKING_MODE_",
        "fair_cycle.tracking",
        |p, text| {
            p.fair_cycle.tracking = match text.to_ascii_lowercase().as_str() {
                "credential" => Tracking::Credential,
                "model_group" => Tracking::ModelGroup,
                _ => return Err("it is neither model_group nor credential"),
            };
            Ok(())
        },
    ),
    (
        "FAIR_CYCLE_CROSS_TIER_",
        "fair_cycle.cross_tier",
        |p, text| {
            p.fair_cycle.cross_tier = switch(text)?;
            Ok(())
        },
    ),
    ("FAIR_CYCLE_DURATION_", "fair_cycle.duration", |p, text| {
        p.fair_cycle.duration = seconds(text)?;
        Ok(())
    }),
    ("FAIR_CYCLE_ENABLED_", "fair_cycle.enabled", fair_cycle),
    ("FAIR_CYCLE_", "fair_cycle.enabled", fair_cycle),
    (
        "EXHAUSTION_COOLDOWN_THRESHOLD_",
        "fair_cycle.exhaustion_threshold",
        |p, text| {
            p.fair_cycle.exhaustion_threshold = seconds(text)?;
            Ok(())
        },
    ),
    ("IGNORE_MODELS_", "ignore_models", |p, text| {
        p.ignore_models = patterns(text);
        Ok(())
    }),
    ("WHITELIST_MODELS_", "allow_models", |p, text| {
        p.allow_models = patterns(text);
        Ok(())
    }),
    (
        "MAX_CONCURRENT_REQUESTS_PER_KEY_",
        "max_concurrent_per_key",
        |p, text| {
            p.max_concurrent_per_key = count_or_unlimited(text)?;
            Ok(())
        },
    ),
    (
        "OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_",
        "optimal_concurrent_per_key",
        |p, text| {
            p.optimal_concurrent_per_key = Some(count_or_unlimited(text)?);
            Ok(())
        },
    ),
];

/// Names whose beginning is that of [`PER_PROVIDER`] but which have no counterpart; see `foreign`.
const WITHOUT_COUNTERPART: [&str; 2] = [
    "FAIR_CYCLE_QUOTA_THRESHOLD_",
    "FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_",
];

pub(super) fn apply(overlay: &mut Overlay<'_>) {
    global(overlay);
    // What the form for one rotation mode means hangs on the mode.
    for (name, upper, value) in overlay.beginning("ROTATION_MODE_") {
        set(overlay, name, upper, "rotation", value, |p, text| {
            p.rotation = match text.to_ascii_lowercase().as_str() {
                "balanced" => Rotation::Balanced,
                "expiring" => Rotation::Expiring,
                "sequential" => Rotation::Sequential,
                _ => return Err("it is neither sequential nor balanced nor expiring"),
            };
            Ok(())
        });
    }
    for is_for_mode in [false, true] {
        per_provider(overlay, is_for_mode);
        multipliers(overlay, is_for_mode);
    }
    models(overlay);
}

/// Of a form for the rotation mode that its provider does not have.
const OTHER_MODE: &str = "has no effect: the provider's rotation is another";

/// One pass over the names; those for one rotation mode come second, so that they win.
fn per_provider(overlay: &mut Overlay<'_>, is_for_mode: bool) {
    for (name, value) in overlay.set().collect::<Vec<_>>() {
        if WITHOUT_COUNTERPART
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            continue;
        }
        let mut table = PER_PROVIDER.iter();
        let Some((prefix, key, setter)) = table.find(|(prefix, ..)| name.starts_with(prefix))
        else {
            continue;
        };
        let (upper, mode) = without_mode(&name[prefix.len()..]);
        if mode.is_some() != is_for_mode {
            continue;
        }
        if fits(overlay, upper, mode) {
            set(overlay, name, upper, key, value, *setter);
        } else {
            overlay.info(name, OTHER_MODE);
        }
    }
}

/// Splits `GEMINI_BALANCED` into `GEMINI` and the mode.
fn without_mode(upper: &str) -> (&str, Option<Rotation>) {
    if let Some(upper) = upper.strip_suffix("_BALANCED") {
        return (upper, Some(Rotation::Balanced));
    }
    match upper.strip_suffix("_SEQUENTIAL") {
        Some(upper) => (upper, Some(Rotation::Sequential)),
        None => (upper, None),
    }
}

/// Whether a form for one mode speaks of the provider's own; forms for all modes always do.
fn fits(overlay: &Overlay<'_>, upper: &str, mode: Option<Rotation>) -> bool {
    let (Some(mode), Some(id)) = (mode, overlay.provider(upper)) else {
        return true;
    };
    let own = overlay.config.providers.get(&id);
    own.map_or(Rotation::Sequential, |provider| provider.rotation) == mode
}

fn set(
    overlay: &mut Overlay<'_>,
    name: &str,
    upper: &str,
    key: &str,
    value: &str,
    setter: Setter<Provider>,
) {
    let Some(id) = overlay.provider(upper) else {
        overlay.warn(
            name,
            format!("ignored: there is no provider `{}`", upper.to_lowercase()),
        );
        return;
    };
    match setter(overlay.settings(&id), value) {
        Ok(()) => overlay.origin(format!("providers.{id}.{key}"), name),
        Err(problem) => overlay.warn(name, format!("ignored: {problem}")),
    }
}

/// `CONCURRENCY_MULTIPLIER_<P>_PRIORITY_<N>[_<MODE>]`.
fn multipliers(overlay: &mut Overlay<'_>, is_for_mode: bool) {
    for (name, rest, value) in overlay.beginning("CONCURRENCY_MULTIPLIER_") {
        let (rest, mode) = without_mode(rest);
        let parts = rest.rsplit_once("_PRIORITY_");
        let parsed = parts.and_then(|(upper, number)| Some((upper, number.parse::<u32>().ok()?)));
        let Some((upper, priority)) = parsed else {
            if !is_for_mode {
                overlay.warn(name, "ignored: its name does not end in _PRIORITY_<N>");
            }
            continue;
        };
        if mode.is_some() != is_for_mode {
            continue;
        }
        if !fits(overlay, upper, mode) {
            overlay.info(name, OTHER_MODE);
            continue;
        }
        let Some(id) = overlay.provider(upper) else {
            overlay.warn(
                name,
                format!("ignored: there is no provider `{}`", upper.to_lowercase()),
            );
            continue;
        };
        match value.parse::<u32>() {
            Ok(factor) if factor > 0 => {
                overlay
                    .settings(&id)
                    .priority_multipliers
                    .insert(priority, factor);
                overlay.origin(
                    format!("providers.{id}.priority_multipliers.{priority}"),
                    name,
                );
            }
            _ => overlay.warn(name, "ignored: it is not a whole number of at least 1"),
        }
    }
}

/// `<P>_MODELS`: `["a","b"]` or `{"name":{"id":"real","options":{…}}}`.
fn models(overlay: &mut Overlay<'_>) {
    for (name, value) in overlay.set().collect::<Vec<_>>() {
        let Some(id) = name
            .strip_suffix("_MODELS")
            .and_then(|upper| overlay.provider(upper))
        else {
            continue;
        };
        match serde_json::from_str(value).ok().and_then(model_list) {
            Some(models) => {
                overlay.settings(&id).models = models;
                overlay.origin(format!("providers.{id}.models"), name);
            }
            None => overlay.warn(
                name,
                "ignored: it is neither [\"model\"] nor {\"name\":{\"id\":\"model\"}} in JSON",
            ),
        }
    }
}

fn model_list(value: Value) -> Option<Vec<ExtraModel>> {
    match value {
        Value::Array(items) => items
            .into_iter()
            .map(|item| item.as_str().map(ExtraModel::new))
            .collect(),
        Value::Object(named) => named
            .into_iter()
            .map(|(name, definition)| model(&name, definition))
            .collect(),
        _ => None,
    }
}

fn model(name: &str, definition: Value) -> Option<ExtraModel> {
    let Value::Object(mut definition) = definition else {
        return None;
    };
    let mut model = ExtraModel::new(name);
    match definition.remove("id") {
        Some(Value::String(id)) => model.id = id,
        None => {}
        Some(_) => return None,
    }
    match definition.remove("options") {
        // TOML, which shows the config, has no null; to leave a field out means the same.
        Some(Value::Object(options)) => {
            model.options = options
                .into_iter()
                .filter(|(_, item)| !item.is_null())
                .collect();
        }
        None => {}
        Some(_) => return None,
    }
    Some(model)
}

fn global(overlay: &mut Overlay<'_>) {
    for (name, value) in overlay.set().collect::<Vec<_>>() {
        if let Err(problem) = global_one(overlay, name, value) {
            overlay.warn(name, format!("ignored: {problem}"));
        }
    }
}

fn global_one(overlay: &mut Overlay<'_>, name: &str, value: &str) -> Result<(), &'static str> {
    let (routing, timeouts) = (&mut overlay.config.routing, &mut overlay.config.timeouts);
    let path = match name {
        "GLOBAL_TIMEOUT" => {
            routing.deadline = positive(value)?;
            "routing.deadline"
        }
        "OVERRIDE_TEMPERATURE_ZERO" => {
            routing.temperature_zero = match value.to_ascii_lowercase().as_str() {
                "remove" => TemperatureZero::Remove,
                "set" | "true" | "1" | "yes" => TemperatureZero::Set,
                "false" | "0" | "no" => TemperatureZero::Keep,
                _ => return Err("it is neither false nor remove nor set"),
            };
            "routing.temperature_zero"
        }
        "TIMEOUT_CONNECT" => {
            timeouts.connect = positive(value)?;
            "timeouts.connect"
        }
        "TIMEOUT_READ_STREAMING" => {
            timeouts.stream_idle = positive(value)?;
            "timeouts.stream_idle"
        }
        "TIMEOUT_READ_NON_STREAMING" => {
            // An answer that is no stream comes whole, after all the thinking: its first byte is
            // what this waits for.
            timeouts.first_byte = positive(value)?;
            timeouts.total = timeouts.total.max(timeouts.first_byte);
            "timeouts.first_byte"
        }
        "MODEL_INFO_REFRESH_INTERVAL" => {
            overlay.config.catalog.every = positive(value)?;
            if !overlay.config.catalog.online {
                let text = "counts once [catalog] online = true lets llmproxy ask for prices";
                overlay.info(name, text);
            }
            "catalog.every"
        }
        "EXHAUSTION_COOLDOWN_THRESHOLD" => {
            let threshold = seconds(value)?;
            for_every_provider(overlay, name, "fair_cycle.exhaustion_threshold", |p| {
                p.fair_cycle.exhaustion_threshold = threshold;
            });
            return Ok(());
        }
        "ROTATION_TOLERANCE" => {
            let tolerance = value.parse::<f64>().ok().filter(|number| *number >= 0.0);
            let tolerance = tolerance.ok_or("it is not a number of at least 0")?;
            for_every_provider(overlay, name, "rotation_tolerance", |p| {
                p.rotation_tolerance = tolerance;
            });
            return Ok(());
        }
        _ => return Ok(()),
    };
    overlay.origin(path, name);
    Ok(())
}

/// Changes all providers there may be. Local servers only where they are in use: a section of
/// theirs means that they are.
fn for_every_provider(
    overlay: &mut Overlay<'_>,
    name: &str,
    key: &str,
    change: impl Fn(&mut Provider),
) {
    let known = overlay.known.iter().filter(|known| !known.key_optional);
    let known = known.filter_map(|known| ProviderId::parse(known.id).ok());
    let mut all: Vec<ProviderId> = known.collect();
    all.extend(overlay.config.providers.keys().cloned());
    all.sort();
    all.dedup();
    for id in all {
        change(overlay.settings(&id));
        overlay.origin(format!("providers.{id}.{key}"), name);
    }
}

fn fair_cycle(provider: &mut Provider, text: &str) -> Result<(), &'static str> {
    let FairCycle { enabled, .. } = &mut provider.fair_cycle;
    *enabled = switch(text)?;
    Ok(())
}

fn switch(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(SWITCH),
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let number: f64 = text.parse().map_err(|_| SECONDS)?;
    Duration::try_from_secs_f64(number).map_err(|_| SECONDS)
}

fn positive(text: &str) -> Result<Duration, &'static str> {
    seconds(text).and_then(|time| {
        if time.is_zero() {
            Err("it must be more than 0 seconds")
        } else {
            Ok(time)
        }
    })
}

/// A count; zero and less mean unlimited, which we write as 0.
fn count_or_unlimited(text: &str) -> Result<u32, &'static str> {
    let number: i64 = text.parse().map_err(|_| COUNT)?;
    u32::try_from(number.max(0)).map_err(|_| COUNT)
}

fn patterns(text: &str) -> Vec<Pattern> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(Pattern::new)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::sample::{overlaid, provider};

    #[test]
    fn every_setting_of_a_provider_is_applied() {
        let (p, notes) = provider(
            "gemini_cli",
            &[
                ("ROTATION_MODE_GEMINI_CLI", "Balanced"),
                ("MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI_CLI", "4"),
                ("OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_GEMINI_CLI", "-1"),
                ("IGNORE_MODELS_GEMINI_CLI", "*-preview*, old , "),
                ("WHITELIST_MODELS_GEMINI_CLI", "gemini-3*"),
                ("CONCURRENCY_MULTIPLIER_GEMINI_CLI_PRIORITY_1", "5"),
                ("FAIR_CYCLE_GEMINI_CLI", "true"),
                ("FAIR_CYCLE_TRACKING_MODE_GEMINI_CLI", "credential"),
                ("FAIR_CYCLE_CROSS_TIER_GEMINI_CLI", "yes"),
                ("FAIR_CYCLE_DURATION_GEMINI_CLI", "86400"),
                ("EXHAUSTION_COOLDOWN_THRESHOLD_GEMINI_CLI", "120"),
            ],
        );
        assert_eq!(notes, []);
        assert_eq!(p.rotation, Rotation::Balanced);
        assert_eq!(
            (p.max_concurrent_per_key, p.optimal_concurrent_per_key),
            (4, Some(0))
        );
        assert_eq!(
            p.ignore_models,
            [Pattern::new("*-preview*"), Pattern::new("old")]
        );
        assert_eq!(p.allow_models, [Pattern::new("gemini-3*")]);
        assert_eq!(p.priority_multipliers[&1], 5);
        let fair = &p.fair_cycle;
        assert!(fair.enabled && fair.cross_tier && fair.tracking == Tracking::Credential);
        assert_eq!(fair.duration, Duration::from_hours(24));
        assert_eq!(fair.exhaustion_threshold, Duration::from_mins(2));
    }

    #[test]
    fn a_form_for_one_mode_counts_in_that_mode_only() {
        let set = [
            ("MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI", "2"),
            ("MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI_BALANCED", "7"),
            ("CONCURRENCY_MULTIPLIER_GEMINI_PRIORITY_1_BALANCED", "3"),
        ];
        let (sequential, _) = provider("gemini", &set);
        assert_eq!(sequential.max_concurrent_per_key, 2);
        assert!(sequential.priority_multipliers.is_empty());
        let mut with_mode = set.to_vec();
        with_mode.push(("ROTATION_MODE_GEMINI", "balanced"));
        let (balanced, _) = provider("gemini", &with_mode);
        assert_eq!(balanced.max_concurrent_per_key, 7);
        assert_eq!(balanced.priority_multipliers[&1], 3);
    }

    #[test]
    fn global_settings_are_applied() {
        let (config, found, origins) = overlaid(&[
            ("GLOBAL_TIMEOUT", "45"),
            ("TIMEOUT_CONNECT", "2.5"),
            ("TIMEOUT_READ_STREAMING", "300"),
            ("TIMEOUT_READ_NON_STREAMING", "900"),
            ("OVERRIDE_TEMPERATURE_ZERO", "set"),
        ]);
        assert_eq!(found.notes, []);
        assert_eq!(config.routing.deadline, Duration::from_secs(45));
        assert_eq!(config.routing.temperature_zero, TemperatureZero::Set);
        assert_eq!(config.timeouts.connect, Duration::from_millis(2500));
        assert_eq!(config.timeouts.stream_idle, Duration::from_mins(5));
        assert_eq!(config.timeouts.first_byte, Duration::from_mins(15));
        assert_eq!(config.timeouts.total, Duration::from_mins(15));
        let origin = origins.get("routing.deadline").to_string();
        assert_eq!(origin, "environment GLOBAL_TIMEOUT");
    }

    #[test]
    fn the_price_refresh_has_its_interval_and_says_that_it_is_off() {
        let (config, found, _) = overlaid(&[("MODEL_INFO_REFRESH_INTERVAL", "600")]);
        assert_eq!(config.catalog.every, Duration::from_mins(10));
        assert_eq!(found.notes[0].subject, "MODEL_INFO_REFRESH_INTERVAL");
    }

    #[test]
    fn a_bad_value_is_named_and_changes_nothing() {
        for (name, value) in [
            ("GLOBAL_TIMEOUT", "soon"),
            ("GLOBAL_TIMEOUT", "0"),
            ("GLOBAL_TIMEOUT", "-1"),
            ("GLOBAL_TIMEOUT", "nan"),
            ("TIMEOUT_CONNECT", "1e400"),
            ("ROTATION_MODE_GEMINI", "roulette"),
            ("ROTATION_MODE_NOBODY", "balanced"),
            ("MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI", "many"),
            ("MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI", "99999999999"),
            ("CONCURRENCY_MULTIPLIER_GEMINI", "2"),
            ("CONCURRENCY_MULTIPLIER_GEMINI_PRIORITY_1", "0"),
            ("GEMINI_MODELS", "not json"),
            ("GEMINI_MODELS", "[1]"),
            ("FAIR_CYCLE_GEMINI", "perhaps"),
            ("ROTATION_TOLERANCE", "-2"),
        ] {
            let (_, found, _) = overlaid(&[(name, value)]);
            assert_eq!(found.notes.len(), 1, "{name}={value} {:?}", found.notes);
            assert_eq!(found.notes[0].subject, name);
        }
    }

    #[test]
    fn model_lists_and_definitions_are_read() {
        let (listed, _) = provider("gemini", &[("GEMINI_MODELS", r#"["a","b"]"#)]);
        assert_eq!(listed.models, [ExtraModel::new("a"), ExtraModel::new("b")]);
        let text =
            r#"{"deep":{"id":"real","options":{"reasoning_effort":"high","x":null}},"b":{}}"#;
        let (defined, _) = provider("gemini", &[("GEMINI_MODELS", text)]);
        let deep = defined.models.iter().find(|model| model.name == "deep");
        let deep = deep.expect("a definition");
        assert_eq!(deep.id, "real");
        assert_eq!(deep.options["reasoning_effort"], "high");
        assert!(!deep.options.contains_key("x"));
    }

    #[test]
    fn a_threshold_without_provider_is_for_all() {
        let (gemini, _) = provider("gemini", &[("EXHAUSTION_COOLDOWN_THRESHOLD", "60")]);
        assert_eq!(
            gemini.fair_cycle.exhaustion_threshold,
            Duration::from_mins(1)
        );
    }

    #[test]
    fn a_form_for_another_rotation_mode_is_answered() {
        let name = "MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI_BALANCED";
        let (gemini, notes) = provider("gemini", &[(name, "7")]);
        assert_eq!(gemini.max_concurrent_per_key, 0);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert_eq!(notes[0].subject, name);
    }
}
