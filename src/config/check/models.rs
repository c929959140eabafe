//! `[models.NAME]`: targets that exist, and no circles.

use crate::config::alias::Target;
use crate::config::check::Checked;
use crate::near;

pub(super) fn check(checked: &mut Checked<'_>) {
    for (name, alias) in &checked.config.models {
        let path = format!("models.{name}");
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        if name.is_empty() || name.contains(is_odd) {
            checked.refuse(
                path.as_str(),
                format!("`{name}` cannot be a model name of your own"),
                "write one word without slashes, for provider/model has a meaning of its own",
            );
            continue;
        }
        if alias.targets.is_empty() {
            checked.refuse(
                path.as_str(),
                format!("`{name}` has no targets"),
                "add targets = [\"provider/model\"]",
            );
        }
        for (index, target) in alias.targets.iter().enumerate() {
            self::target(checked, &format!("{path}.targets[{index}]"), target);
        }
        if let Some(circle) = circle(checked, name) {
            checked.refuse(
                format!("{path}.targets"),
                format!("`{name}` leads back to itself: {circle}"),
                "end each chain of names in a provider/model",
            );
        }
    }
}

fn target(checked: &mut Checked<'_>, path: &str, target: &Target) {
    match target {
        Target::Alias(other) if !checked.config.models.contains_key(other) => {
            let own = checked.config.models.keys().map(String::as_str);
            let hint = near::did_you_mean(other, own).unwrap_or_else(|| {
                format!("write \"provider/{other}\", or define [models.{other}]")
            });
            checked.refuse(
                path,
                format!("there is no model name `{other}` of your own"),
                hint,
            );
        }
        Target::Model { provider, .. } if !checked.has_provider(provider.as_str()) => {
            let hint = checked.provider_hint(provider.as_str());
            checked.refuse(path, format!("there is no provider `{provider}`"), hint);
        }
        Target::Alias(_) | Target::Model { .. } => {}
    }
}

/// The way from a name back to itself, as `a -> b -> a`.
fn circle(checked: &Checked<'_>, name: &str) -> Option<String> {
    // Each entry is a way that has not come back yet.
    let mut ways = vec![vec![name]];
    let mut seen = Vec::new();
    while let Some(way) = ways.pop() {
        let last = way.last().copied()?;
        for target in &checked.config.models.get(last)?.targets {
            let Target::Alias(next) = target else {
                continue;
            };
            if next == name {
                return Some(format!("{} -> {name}", way.join(" -> ")));
            }
            if checked.config.models.contains_key(next) && !seen.contains(&next.as_str()) {
                seen.push(next);
                let mut longer = way.clone();
                longer.push(next);
                ways.push(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::check::sample::refused;

    #[test]
    fn aliases_must_lead_somewhere() {
        for (text, paths) in [
            ("[models.a]\ntargets = [\"gemini/x\"]", &[][..]),
            (
                "[models.a]\ntargets = [\"b\"]\n[models.b]\ntargets = [\"gemini/x\"]",
                &[],
            ),
            ("[models.a]\ntargets = []", &["models.a"]),
            ("[models.a]\ntargets = [\"b\"]", &["models.a.targets[0]"]),
            (
                "[models.a]\ntargets = [\"gemni/x\"]",
                &["models.a.targets[0]"],
            ),
            (
                "[models.\"a/b\"]\ntargets = [\"gemini/x\"]",
                &["models.a/b"],
            ),
            ("[models.a]\ntargets = [\"a\"]", &["models.a.targets"]),
            (
                "[models.a]\ntargets = [\"b\"]\n[models.b]\ntargets = [\"gemini/x\", \"a\"]",
                &["models.a.targets", "models.b.targets"],
            ),
        ] {
            assert_eq!(refused(text), paths, "{text}");
        }
    }
}
