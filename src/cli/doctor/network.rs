//! The port, the providers' addresses, and the clock against theirs. No key is sent.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::header;
use tokio::net::TcpListener;

use crate::cli::boot::Boot;
use crate::cli::doctor::{Finding, shared};
use crate::config::server::Server;
use crate::gateway::probe::{self, ProbeReply};
use crate::gateway::runtime::ProviderRuntime;
use crate::providers::Call;
use crate::time::{Timestamp, humanize};

const PATIENCE: Duration = Duration::from_secs(10);

/// Tokens and reset times are off by as much as the clock; half a minute harms nothing.
const TOLERATED_SKEW: Duration = Duration::from_secs(30);

/// This program did not exist before: 2026-01-01.
const EARLIEST: Timestamp = Timestamp::from_secs(1_767_225_600);

pub(super) async fn check(boot: &Boot) -> Vec<Finding> {
    let mut findings = vec![port(&boot.loaded.config.server).await];
    findings.extend(shared::check(boot).await);
    let runtimes = match boot.snapshot(None) {
        Ok(snapshot) => snapshot.providers,
        Err(failure) => {
            let finding = Finding::error("providers", failure.sentence(), failure.hint());
            findings.push(finding);
            return findings;
        }
    };
    // Nobody is there where a service has closed.
    let is_open = |runtime: &&Arc<ProviderRuntime>| {
        let mut holders = runtime.holders.values();
        holders.any(|holder| holder.closed.is_none())
    };
    let asked = runtimes
        .values()
        .filter(is_open)
        .map(|runtime| ask(runtime));
    let mut skew = None;
    for (finding, seen) in join_all(asked).await {
        findings.push(finding);
        skew = skew.or(seen);
    }
    findings.push(clock(Timestamp::now(), skew));
    findings
}

/// Whether `serve` could listen.
async fn port(server: &Server) -> Finding {
    let host = server.host.trim_start_matches('[').trim_end_matches(']');
    let address = (host, server.port);
    let (host, port) = (&server.host, server.port);
    match TcpListener::bind(address).await {
        Ok(_) => Finding::ok("port", format!("{host}:{port} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::warning(
            "port",
            format!("{host}:{port} is in use"),
            "fine if it is a running llmproxy; else choose another [server] port",
        ),
        Err(error) => Finding::error(
            "port",
            format!("cannot listen on {host}:{port}: {error}"),
            "change [server] host or port",
        ),
    }
}

/// Any answer at all means that a provider can be reached; it also tells the time there.
async fn ask(runtime: &ProviderRuntime) -> (Finding, Option<Duration>) {
    let call = Call {
        authorised: false,
        ..runtime
            .adapter
            .list_models(None)
            .unwrap_or_else(|| Call::get("/"))
    };
    let id = &runtime.id;
    match probe::call(runtime, None, &call, PATIENCE).await {
        Ok(reply) => {
            let finding = Finding::ok("reachability", format!("{id} answers"));
            (finding, skew(&reply))
        }
        Err(error) => {
            let message = format!("{id} cannot be reached: {error}");
            let fix = format!(
                "check the network, HTTPS_PROXY, and `proxy` and `base_url` in [providers.{id}]"
            );
            (Finding::error("reachability", message, fix), None)
        }
    }
}

/// How far our clock is from the one that dated the answer.
fn skew(reply: &ProbeReply) -> Option<Duration> {
    let date = reply.headers.get(header::DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(date).ok()?;
    let since_epoch = theirs.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let theirs = Timestamp::from_secs(i64::try_from(since_epoch.as_secs()).ok()?);
    let ours = reply.received;
    Some(ours.since(theirs).max(theirs.since(ours)))
}

fn clock(now: Timestamp, skew: Option<Duration>) -> Finding {
    let fix = "set the clock, best by NTP (`timedatectl set-ntp true`)";
    match skew {
        _ if now < EARLIEST => {
            Finding::error("clock", format!("it says {}", now.to_rfc3339()), fix)
        }
        Some(skew) if skew > TOLERATED_SKEW => {
            let message = format!("it is {} off a provider's", humanize(skew));
            Finding::error("clock", message, fix)
        }
        Some(_) => Finding::ok("clock", "it agrees with a provider's"),
        None => Finding::ok("clock", format!("it says {}", now.to_rfc3339())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn a_wrong_clock_is_an_error() {
        let now = EARLIEST + Duration::from_hours(24);
        let off = Some(Duration::from_mins(5));
        for (now, skew, level) in [
            (now, None, Level::Ok),
            (now, Some(Duration::from_secs(2)), Level::Ok),
            (now, off, Level::Error),
            (Timestamp::default(), None, Level::Error),
        ] {
            assert_eq!(clock(now, skew).level, level, "{now} {skew:?}");
        }
    }

    #[test]
    fn the_skew_is_read_from_the_date_of_an_answer() {
        let mut reply = ProbeReply {
            status: 401,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            received: Timestamp::from_secs(1_767_225_700),
        };
        assert_eq!(skew(&reply), None);
        let date = header::HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT");
        reply.headers.insert(header::DATE, date);
        assert_eq!(skew(&reply), Some(Duration::from_secs(100)));
    }
}
