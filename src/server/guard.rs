//! What hyper accepts and a gateway should not: ambiguous framing, forged or missing `Host`.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap};
use http::{Uri, Version};

/// Names by which a loopback listener may be called.
const LOOPBACK_NAMES: &[&str] = &["localhost", "127.0.0.1", "::1"];

/// Which `Host` values are served; anything else is a 421. Protects a key-less loopback listener
/// from web pages that rebind their own name to 127.0.0.1.
#[derive(Clone, Debug)]
pub struct HostRule {
    names: Vec<String>,
    any_address: bool,
}

/// Why a request is refused before anybody looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// 400: two readings of where the body ends, or no single `Host`.
    Ambiguous(&'static str),
    /// 421: a `Host` that is not ours.
    Misdirected,
}

impl HostRule {
    /// Serves loopback names, the configured host and the names the user allows. A listener on all
    /// addresses also answers to any IP address: only names can be rebound.
    pub fn new(host: &str, allowed: &[String]) -> Self {
        let mut names: Vec<String> = LOOPBACK_NAMES.iter().map(|&name| name.to_owned()).collect();
        names.push(host.trim_matches(['[', ']']).to_ascii_lowercase());
        names.extend(allowed.iter().map(|name| name.to_ascii_lowercase()));
        let any_address = host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified());
        Self { names, any_address }
    }

    fn allows(&self, host: &str) -> bool {
        let Some(name) = host_name(host) else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        self.names.contains(&name) || (self.any_address && name.parse::<IpAddr>().is_ok())
    }
}

/// Checks framing and `Host` of one request.
pub(super) fn check(
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    rule: &HostRule,
) -> Result<(), Refused> {
    framing(headers)?;
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Refused::Ambiguous("two Host headers")),
        (Some(host), None) => Some(
            host.to_str()
                .map_err(|_| Refused::Ambiguous("a malformed Host"))?,
        ),
        (None, _) => None,
    };
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = match (named, authority) {
        // An absolute target that disagrees with Host has two readings.
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            return Err(Refused::Ambiguous("a target that disagrees with Host"));
        }
        (Some(host), _) => host,
        (None, Some(authority)) if version == Version::HTTP_2 => authority,
        _ => return Err(Refused::Ambiguous("no Host header")),
    };
    if rule.allows(host) {
        Ok(())
    } else {
        Err(Refused::Misdirected)
    }
}

/// Exactly one of: one length, or plain `chunked`. hyper takes both and prefers `chunked`; a proxy
/// in front of us may prefer the other (request smuggling).
fn framing(headers: &HeaderMap) -> Result<(), Refused> {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if lengths > 1 {
        return Err(Refused::Ambiguous("two Content-Length headers"));
    }
    let Some(coding) = coding else { return Ok(()) };
    if lengths > 0 {
        return Err(Refused::Ambiguous(
            "Content-Length beside Transfer-Encoding",
        ));
    }
    let plain = coding
        .to_str()
        .is_ok_and(|value| value.eq_ignore_ascii_case("chunked"));
    if codings.next().is_some() || !plain {
        return Err(Refused::Ambiguous("a Transfer-Encoding other than chunked"));
    }
    Ok(())
}

/// The host part of `HOST[:PORT]`; `None` for anything that is not exactly that.
fn host_name(host: &str) -> Option<&str> {
    if host.parse::<SocketAddr>().is_ok() || host.starts_with('[') {
        let (name, rest) = match host.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => host.split_once(':')?,
        };
        return port_or_nothing(rest.strip_prefix(':').unwrap_or(rest)).then_some(name);
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!name.is_empty() && name.chars().all(legal) && port_or_nothing(port)).then_some(name)
}

fn port_or_nothing(port: &str) -> bool {
    port.is_empty() || port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rule: &HostRule, headers: &[(&str, &str)]) -> Result<(), Refused> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().expect("a header name");
            map.append(name, value.parse().expect("a header value"));
        }
        check(
            &Uri::from_static("/v1/models"),
            Version::HTTP_11,
            &map,
            rule,
        )
    }

    #[test]
    fn loopback_names_and_the_configured_host_are_served() {
        let rule = HostRule::new("192.168.1.5", &["llm.example.com".to_owned()]);
        for host in [
            "localhost",
            "localhost:8000",
            "127.0.0.1:1",
            "[::1]:8000",
            "192.168.1.5:80",
            "LLM.example.com",
        ] {
            assert_eq!(checked(&rule, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example.com",
            "localhost.evil.com",
            "192.168.1.6",
            "a/../b",
            "localhost:x",
            "",
        ] {
            assert_eq!(
                checked(&rule, &[("host", host)]),
                Err(Refused::Misdirected),
                "{host}"
            );
        }
    }

    #[test]
    fn a_listener_on_all_addresses_answers_to_addresses_but_not_to_names() {
        let rule = HostRule::new("0.0.0.0", &[]);
        assert_eq!(checked(&rule, &[("host", "10.1.2.3:8000")]), Ok(()));
        assert_eq!(
            checked(&rule, &[("host", "rebound.example.com")]),
            Err(Refused::Misdirected)
        );
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let rule = HostRule::new("127.0.0.1", &[]);
        let host = ("host", "localhost");
        for headers in [
            vec![],
            vec![host, ("host", "localhost")],
            vec![
                host,
                ("content-length", "5"),
                ("transfer-encoding", "chunked"),
            ],
            vec![host, ("content-length", "5"), ("content-length", "5")],
            vec![host, ("transfer-encoding", "gzip, chunked")],
            vec![
                host,
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            assert!(
                matches!(checked(&rule, &headers), Err(Refused::Ambiguous(_))),
                "{headers:?}"
            );
        }
        assert_eq!(
            checked(&rule, &[host, ("transfer-encoding", "chunked")]),
            Ok(())
        );
        assert_eq!(checked(&rule, &[host, ("content-length", "5")]), Ok(()));
    }
}
