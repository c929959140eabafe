//! `[server]`.

use std::collections::BTreeSet;

use crate::config::check::Checked;
use crate::secret::Digest;

pub(super) fn check(checked: &mut Checked<'_>) {
    let server = &checked.config.server;
    host(checked, &server.host);
    if server.max_body == 0 {
        checked.refuse(
            "server.max_body",
            "with 0 bytes no request fits",
            "write \"32MiB\"",
        );
    }
    if server.max_connections == 0 {
        checked.refuse(
            "server.max_connections",
            "with 0 connections nobody can be served",
            "write at least 1",
        );
    }
    for (index, origin) in server.cors_origins.iter().enumerate() {
        let is_origin = origin == "*"
            || origin.split_once("://").is_some_and(|(scheme, rest)| {
                ["http", "https"].contains(&scheme) && !rest.is_empty() && !rest.contains('/')
            });
        if !is_origin {
            checked.refuse(
                format!("server.cors_origins[{index}]"),
                format!("`{origin}` is not an origin"),
                "write scheme and host: \"https://chat.example.com\"",
            );
        }
    }
    for (index, name) in server.allowed_hosts.iter().enumerate() {
        if name.is_empty() || name.contains(['/', ' ']) {
            checked.refuse(
                format!("server.allowed_hosts[{index}]"),
                format!("`{name}` is not a host name"),
                "write the name alone: \"llm.example.com\"",
            );
        }
    }
    clients(checked);
}

fn host(checked: &mut Checked<'_>, host: &str) {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    let is_name = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !is_address && !is_name {
        checked.refuse(
            "server.host",
            format!("`{host}` is not an address or host name"),
            "write the address alone, such as \"127.0.0.1\"; the port has its own key",
        );
    }
}

fn clients(checked: &mut Checked<'_>) {
    let server = &checked.config.server;
    let keys = server
        .api_keys
        .iter()
        .enumerate()
        .map(|(index, client)| ("server.api_keys", index, client));
    let named = server
        .clients
        .iter()
        .enumerate()
        .map(|(index, client)| ("server.clients", index, client));
    let mut names = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (list, index, client) in keys.chain(named) {
        let path = format!("{list}[{index}]");
        if client.name.trim().is_empty() {
            checked.refuse(
                path.as_str(),
                "a client needs a name",
                "add name = \"laptop\"",
            );
        } else if !names.insert(client.name.as_str()) {
            checked.refuse(
                format!("{path}.name"),
                format!("two clients are named `{}`", client.name),
                "give each its own name, for limits and metrics go by it",
            );
        }
        // The owner's own keys among themselves: no need for constant time.
        let key = client.key.secret().expose();
        if !key.is_empty() && !seen.insert(key) {
            checked.refuse(
                format!("{path}.key"),
                format!("client `{}` has the key of another client", client.name),
                "give each client its own key",
            );
        }
        if key.starts_with(Digest::PREFIX) && Digest::parse(key).is_none() {
            checked.refuse(
                format!("{path}.key"),
                format!("the digest of client `{}` is none of SHA-256", client.name),
                "write what `printf %s KEY | sha256sum` prints, 64 hex digits, behind `sha256:`",
            );
        }
        for (limit, is_zero) in [
            ("rpm", client.rpm == Some(0)),
            ("max_concurrent", client.max_concurrent == Some(0)),
            (
                "budget_usd",
                client
                    .budget_usd
                    .is_some_and(|usd| usd <= 0.0 || !usd.is_finite()),
            ),
        ] {
            if is_zero {
                checked.refuse(
                    format!("{path}.{limit}"),
                    format!(
                        "with this `{limit}` client `{}` could never call",
                        client.name
                    ),
                    "write more than 0, or remove the client",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::check::sample::refused;

    #[test]
    fn contradictions_are_refused_at_their_key() {
        let client = "[[server.clients]]\nname = \"a\"\nkey = \"k\"\n";
        for (text, path) in [
            ("[server]\nhost = \"\"", "server.host"),
            ("[server]\nhost = \"http://x\"", "server.host"),
            ("[server]\nhost = \"127.0.0.1:80\"", "server.host"),
            ("[server]\nmax_body = 0", "server.max_body"),
            ("[server]\nmax_connections = 0", "server.max_connections"),
            (
                "[server]\ncors_origins = [\"example.com\"]",
                "server.cors_origins[0]",
            ),
            (
                "[server]\nallowed_hosts = [\"http://a\"]",
                "server.allowed_hosts[0]",
            ),
            (&format!("{client}rpm = 0"), "server.clients[0].rpm"),
            (
                &format!("{client}max_concurrent = 0"),
                "server.clients[0].max_concurrent",
            ),
            (
                &format!("{client}budget_usd = 0.0"),
                "server.clients[0].budget_usd",
            ),
            (
                &format!("{client}budget_usd = nan"),
                "server.clients[0].budget_usd",
            ),
            ("[[server.clients]]\nkey = \"k\"", "server.clients[0]"),
            (
                &format!("{client}[[server.clients]]\nname = \"a\"\nkey = \"other\""),
                "server.clients[1].name",
            ),
            (
                &format!("{client}[[server.clients]]\nname = \"b\"\nkey = \"k\""),
                "server.clients[1].key",
            ),
            (
                "[server]\napi_keys = [\"sha256:9b34\"]",
                "server.api_keys[0].key",
            ),
        ] {
            assert_eq!(refused(text), [path], "{text}");
        }
    }

    #[test]
    fn addresses_and_names_are_hosts() {
        for host in ["0.0.0.0", "::1", "[::1]", "localhost", "my-host.lan"] {
            assert_eq!(
                refused(&format!("[server]\nhost = \"{host}\"")),
                Vec::<String>::new()
            );
        }
    }
}
