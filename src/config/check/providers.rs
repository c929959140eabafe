//! `[providers.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};

use crate::config::check::Checked;
use crate::config::limits::Anchor;
use crate::config::models::Pattern;
use crate::config::origin::{Note, Origin};
use crate::config::provider::{Kind, Provider, is_proxy};
use crate::ids::{CredentialId, ProviderId};

const DAY: Duration = Duration::from_hours(24);

/// The simulated provider of `serve --demo`.
const DEMO: &str = "demo";

/// Headers that belong to the connection, not to a request's settings.
const CONNECTION_HEADERS: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(super) fn check(checked: &mut Checked<'_>) {
    for (id, provider) in &checked.config.providers {
        let path = format!("providers.{id}");
        identity(checked, id, provider, &path);
        addresses(checked, provider, &path);
        keys(checked, id, provider, &path);
        request(checked, provider, &path);
        concurrency(checked, provider, &path);
        groups(checked, provider, &path);
        windows(checked, provider, &path);
        caps(checked, provider, &path);
        checked.refuse_zero(
            &format!("{path}.fair_cycle.duration"),
            provider.fair_cycle.duration,
        );
    }
}

fn identity(checked: &mut Checked<'_>, id: &ProviderId, provider: &Provider, path: &str) {
    if id.as_str() == DEMO {
        return;
    }
    if provider.script.is_some() {
        let text = "has no effect: only the simulated provider `demo` has a script";
        let note = Note::warning(format!("{path}.script"), text);
        checked.notes.push(note);
    }
    if checked
        .known
        .iter()
        .any(|known| known.is_named(id.as_str()))
    {
        if provider.kind.is_some() {
            let text = "has no effect: a built-in provider's dialect is known (give a provider of \
                        your own another name)";
            checked
                .notes
                .push(Note::warning(format!("{path}.kind"), text));
        }
        return;
    }
    if provider.kind.is_none() {
        let hint = checked.provider_hint(id.as_str());
        checked.refuse(
            path,
            format!("there is no built-in provider `{id}`, and it has no `kind`"),
            hint,
        );
    } else if provider.base_url.is_empty() {
        checked.refuse(
            path,
            format!("provider `{id}` has no `base_url`"),
            "add base_url = \"http://127.0.0.1:8001/v1\", the address its SDK takes",
        );
    }
}

fn addresses(checked: &mut Checked<'_>, provider: &Provider, path: &str) {
    for (index, url) in provider.base_url.iter().enumerate() {
        let at = || match provider.base_url.len() {
            1 => format!("{path}.base_url"),
            _ => format!("{path}.base_url[{index}]"),
        };
        if let Some(problem) = url_problem(url) {
            checked.refuse(
                at(),
                format!("`base_url` {problem}"),
                "write scheme, host and path: \"https://api.example.com/v1\"",
            );
        } else if is_open(url) {
            let text = "sends keys unencrypted over the network (write https:// where the server \
                        has it)";
            checked.notes.push(Note::warning(at(), text));
        }
    }
    let oauth = &provider.oauth;
    for (key, url) in [
        ("auth_url", &oauth.auth_url),
        ("token_url", &oauth.token_url),
        ("userinfo_url", &oauth.userinfo_url),
        ("device_url", &oauth.device_url),
    ] {
        if let Some(problem) = url.as_deref().and_then(oauth_url_problem) {
            checked.refuse(
                format!("{path}.oauth.{key}"),
                format!("`{key}` {problem}"),
                "write the whole address: \"https://auth.example.com/token\"",
            );
        }
    }
    let of_keys = provider
        .api_keys
        .iter()
        .enumerate()
        .filter_map(|(index, key)| {
            let proxy = key.proxy.as_ref()?;
            Some((format!("{path}.api_keys[{index}].proxy"), proxy))
        });
    let own = provider
        .proxy
        .iter()
        .map(|proxy| (format!("{path}.proxy"), proxy));
    for (at, proxy) in own.chain(of_keys) {
        // A disabled provider's references are not resolved.
        let address = proxy.secret().expose();
        if !address.is_empty() && !is_proxy(address) {
            checked.refuse(
                at,
                "`proxy` is not the address of a proxy",
                "write \"http://HOST:PORT\", \"socks5://HOST:PORT\" or \"direct\"",
            );
        }
    }
}

/// Why a text is no base URL. A user name in it would end up in logs.
pub(super) fn url_problem(url: &str) -> Option<&'static str> {
    if url.contains(['?', '#']) {
        return Some("cannot hold a query");
    }
    oauth_url_problem(url)
}

fn oauth_url_problem(url: &str) -> Option<&'static str> {
    let Ok(parsed) = url.parse::<http::Uri>() else {
        return Some("is not a URL");
    };
    let Some(authority) = parsed.authority() else {
        return Some("is not a whole URL");
    };
    if !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Some("begins with neither https:// nor http://");
    }
    if authority.as_str().contains('@') {
        return Some("cannot hold a user name or password");
    }
    authority.host().is_empty().then_some("names no host")
}

/// Whether a URL goes over a network in the open: plain HTTP beyond this machine, a private
/// address or a name without dots (a container, a machine next door).
fn is_open(url: &str) -> bool {
    let Some(uri) = url
        .parse::<http::Uri>()
        .ok()
        .filter(|uri| uri.scheme_str() == Some("http"))
    else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local())
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
        Err(_) => {
            let domain = bare.rsplit_once('.').map(|(_, domain)| domain);
            domain.is_some_and(|domain| !["internal", "lan", "local"].contains(&domain))
        }
    }
}

fn keys(checked: &mut Checked<'_>, id: &ProviderId, provider: &Provider, path: &str) {
    let mut labels = BTreeSet::new();
    for (index, key) in provider.api_keys.iter().enumerate() {
        let Some(label) = &key.label else {
            continue;
        };
        let at = format!("{path}.api_keys[{index}].label");
        if let Err(error) = CredentialId::new(id, label) {
            checked.refuse(at, error.to_string(), "write a short word such as \"work\"");
        } else if !labels.insert(label) {
            checked.refuse(
                at,
                format!("two keys of `{id}` are labelled `{label}`"),
                "give each its own label, for credentials go by it",
            );
        }
    }
}

fn request(checked: &mut Checked<'_>, provider: &Provider, path: &str) {
    for (name, value) in &provider.headers {
        let at = format!("{path}.headers.{name}");
        let Ok(parsed) = HeaderName::try_from(name.as_str()) else {
            checked.refuse(
                at,
                format!("`{name}` is not a header name"),
                "write it like \"x-team\"",
            );
            continue;
        };
        if CONNECTION_HEADERS.contains(&parsed) {
            checked.refuse(
                at,
                format!("`{name}` is set by the connection itself"),
                "remove it",
            );
        } else if HeaderValue::from_str(value.secret().expose()).is_err() {
            checked.refuse(
                at,
                format!("the value of header `{name}` holds line breaks or control characters"),
                "write it in one line",
            );
        }
    }
    if provider.think_tags && provider.kind.is_some_and(|kind| kind != Kind::OpenAi) {
        let text = "has no effect: only providers of kind \"openai\" leave such tags in the text";
        checked
            .notes
            .push(Note::warning(format!("{path}.think_tags"), text));
    }
    for name in ["model", "stream"] {
        if provider.extra_body.contains_key(name) {
            checked.refuse(
                format!("{path}.extra_body"),
                format!("`extra_body` cannot hold `{name}`, which each request decides"),
                format!("remove `{name}`"),
            );
        }
    }
}

fn concurrency(checked: &mut Checked<'_>, provider: &Provider, path: &str) {
    let tolerance = provider.rotation_tolerance;
    if !tolerance.is_finite() || tolerance < 0.0 {
        checked.refuse(
            format!("{path}.rotation_tolerance"),
            format!("a tolerance of {tolerance} makes no sense"),
            "write 0 for strictly the least used, or a larger number",
        );
    }
    let (max, optimal) = (
        provider.max_concurrent_per_key,
        provider.optimal_concurrent_per_key.unwrap_or_default(),
    );
    if max > 0 && optimal > max {
        checked.refuse(
            format!("{path}.optimal_concurrent_per_key"),
            format!("{optimal} requests at once cannot be optimal where {max} is the most"),
            "lower optimal_concurrent_per_key or raise max_concurrent_per_key",
        );
    }
    for (priority, factor) in &provider.priority_multipliers {
        if *factor == 0 {
            checked.refuse(
                format!("{path}.priority_multipliers.{priority}"),
                "a multiplier of 0 would never let a request through",
                "write at least 1",
            );
        }
    }
}

fn groups(checked: &mut Checked<'_>, provider: &Provider, path: &str) {
    let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
    for (group, models) in &provider.quota_groups {
        let at = format!("{path}.quota_groups.{group}");
        // In the environment an empty value switches a built-in group off.
        if models.is_empty() && !matches!(checked.origins.get(&at), Origin::Env { .. }) {
            checked.refuse(
                at.as_str(),
                format!("group `{group}` names no model"),
                "list the models that share the quota, or remove the group",
            );
        }
        for model in models {
            match owner.insert(model, group) {
                Some(other) if other != group => checked.refuse(
                    at.as_str(),
                    format!("`{model}` is in two groups, `{other}` and `{group}`"),
                    "a model has one quota: leave it in one group",
                ),
                _ => {}
            }
        }
    }
    // What a pattern of one group reaches, another cannot name.
    for (group, models) in &provider.quota_groups {
        for model in models.iter().filter(|model| !model.contains('*')) {
            let reaches =
                |pattern: &String| pattern != model && Pattern::new(pattern).matches(model);
            let others = provider
                .quota_groups
                .iter()
                .filter(|(other, _)| *other != group);
            for (other, _) in others.filter(|(_, patterns)| patterns.iter().any(reaches)) {
                checked.refuse(
                    format!("{path}.quota_groups.{group}"),
                    format!("`{model}` is in two groups, `{group}` and `{other}`"),
                    "a model has one quota: leave it in one group",
                );
            }
        }
    }
}

fn windows(checked: &mut Checked<'_>, provider: &Provider, path: &str) {
    let mut seen: Vec<(&_, Duration, Anchor)> = Vec::new();
    for (index, window) in provider.windows.iter().enumerate() {
        let at = format!("{path}.windows[{index}]");
        if window.every.is_zero() {
            checked.refuse(
                format!("{at}.every"),
                "a window of 0 s holds nothing",
                "write how often the limit starts anew, such as \"24h\"",
            );
        }
        if window.requests == 0 && window.tokens == 0 {
            checked.refuse(
                at.as_str(),
                "a window without `requests` or `tokens` limits nothing",
                "write the limit, or remove the window",
            );
        }
        let is_whole_days = window.every.as_secs().is_multiple_of(DAY.as_secs())
            && window.every.subsec_nanos() == 0;
        let is_daily = matches!(window.anchor, Anchor::PacificMidnight | Anchor::UtcMidnight);
        if is_daily && !is_whole_days {
            checked.refuse(
                format!("{at}.every"),
                "a window that begins at midnight lasts whole days",
                "write \"24h\" or \"7d\", or use anchor = \"first_use\"",
            );
        }
        if window.anchor == Anchor::Weekly && window.every != 7 * DAY {
            checked.refuse(
                format!("{at}.every"),
                "a weekly window lasts a week",
                "write every = \"7d\", or use anchor = \"first_use\"",
            );
        }
        let scope = (&window.models, window.every, window.anchor);
        if seen.contains(&scope) {
            checked.refuse(
                at,
                "two windows limit the same models over the same time",
                "make one of them, with both requests and tokens",
            );
        }
        seen.push(scope);
    }
}

fn caps(checked: &mut Checked<'_>, provider: &Provider, path: &str) {
    let mut seen: Vec<(&_, &_)> = Vec::new();
    for (index, cap) in provider.caps.iter().enumerate() {
        let scope = (&cap.tier, &cap.models);
        if seen.contains(&scope) {
            checked.refuse(
                format!("{path}.caps[{index}]"),
                "two caps are for the same tiers and models",
                "keep the smaller one",
            );
        }
        seen.push(scope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::sample::{noted, refused};

    fn gemini(lines: &str) -> Vec<String> {
        let paths = refused(&format!("[providers.gemini]\n{lines}"));
        let below = |path: String| path.replace("providers.gemini", "");
        paths.into_iter().map(below).collect()
    }

    #[test]
    fn contradictions_are_refused_at_their_key() {
        for (lines, path) in [
            ("base_url = \"example.com\"", ".base_url"),
            ("base_url = \"ftp://example.com\"", ".base_url"),
            ("base_url = \"https://u:p@example.com\"", ".base_url"),
            ("base_url = \"https://example.com?x=1\"", ".base_url"),
            ("base_url = [\"https://a\", \"b\"]", ".base_url[1]"),
            ("oauth = { token_url = \"x y\" }", ".oauth.token_url"),
            ("proxy = \"ftp://x\"", ".proxy"),
            ("proxy = \"socks5://\"", ".proxy"),
            (
                "api_keys = [\"a\", { key = \"b\", proxy = \"localhost:1080\" }]",
                ".api_keys[1].proxy",
            ),
            ("headers = { \"a b\" = \"c\" }", ".headers.a b"),
            ("headers = { \"Host\" = \"c\" }", ".headers.Host"),
            ("headers = { \"x-a\" = \"c\\nd\" }", ".headers.x-a"),
            ("extra_body = { model = \"x\" }", ".extra_body"),
            ("rotation_tolerance = -1", ".rotation_tolerance"),
            ("rotation_tolerance = inf", ".rotation_tolerance"),
            (
                "max_concurrent_per_key = 1\noptimal_concurrent_per_key = 2",
                ".optimal_concurrent_per_key",
            ),
            (
                "priority_multipliers = { \"1\" = 0 }",
                ".priority_multipliers.1",
            ),
            ("quota_groups = { pro = [] }", ".quota_groups.pro"),
            (
                "quota_groups = { a = [\"m\"], b = [\"m\"] }",
                ".quota_groups.b",
            ),
            (
                "quota_groups = { a = [\"m-1\"], b = [\"m-*\"] }",
                ".quota_groups.a",
            ),
            (
                "windows = [{ requests = 1, every = \"0s\" }]",
                ".windows[0].every",
            ),
            ("windows = [{ every = \"1h\" }]", ".windows[0]"),
            (
                "windows = [{ requests = 1, every = \"5h\", anchor = \"utc_midnight\" }]",
                ".windows[0].every",
            ),
            (
                "windows = [{ requests = 1, every = \"24h\", anchor = \"weekly\" }]",
                ".windows[0].every",
            ),
            (
                "windows = [{ requests = 1, every = \"1h\" }, { tokens = 1, every = \"1h\" }]",
                ".windows[1]",
            ),
            ("caps = [{ limit = 1 }, { limit = \"5%\" }]", ".caps[1]"),
            ("fair_cycle = { duration = \"0s\" }", ".fair_cycle.duration"),
            (
                "api_keys = [{ key = \"k\", label = \"a b\" }]",
                ".api_keys[0].label",
            ),
            (
                "api_keys = [{ key = \"k\", label = \"a\" }, { key = \"l\", label = \"a\" }]",
                ".api_keys[1].label",
            ),
        ] {
            assert_eq!(gemini(lines), [path], "{lines}");
        }
    }

    #[test]
    fn a_provider_of_ones_own_needs_kind_and_address() {
        let own = |lines: &str| refused(&format!("[providers.mine]\n{lines}"));
        assert_eq!(own(""), ["providers.mine"]);
        assert_eq!(own("kind = \"openai\""), ["providers.mine"]);
        assert_eq!(own("base_url = \"http://a/v1\""), ["providers.mine"]);
        let whole = "kind = \"openai\"\nbase_url = \"http://a/v1\"";
        assert_eq!(own(whole), Vec::<String>::new());
    }

    #[test]
    fn a_kind_on_a_built_in_provider_is_noted() {
        assert_eq!(noted("[providers.gemini]\nkind = \"openai\"").len(), 1);
    }

    #[test]
    fn plain_http_over_the_network_is_noted() {
        for (url, open) in [
            ("http://example.com/v1", true),
            ("http://203.0.113.5/v1", true),
            ("https://example.com/v1", false),
            ("http://127.0.0.1:8001/v1", false),
            ("http://[::1]:8001/v1", false),
            ("http://192.168.1.20/v1", false),
            ("http://vllm:8000/v1", false),
            ("http://box.local/v1", false),
        ] {
            assert_eq!(is_open(url), open, "{url}");
        }
    }
}
