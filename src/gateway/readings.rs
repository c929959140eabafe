//! The metrics that nobody counts because the pools know them: read when somebody asks.

use crate::gateway::Gateway;
use crate::gateway::group::Wellbeing;
use crate::gateway::runtime::ProviderRuntime;
use crate::pool::{CredentialState, PoolSummary};
use crate::telemetry::metrics::{Kind, Label, Reading};
use crate::time::Timestamp;

/// Writes all metrics of a gateway in Prometheus' text exposition.
pub fn exposition(gateway: &Gateway, now: Timestamp) -> String {
    let snapshot = gateway.snapshot();
    let refreshes = snapshot
        .providers
        .values()
        .flat_map(|runtime| refreshes(runtime));
    let refreshes = refreshes.collect();
    let pools: Vec<PoolSummary> = snapshot
        .providers
        .values()
        .map(|runtime| runtime.pool.summary(now))
        .collect();
    let is_state_up = gateway
        .persistence
        .as_ref()
        .is_none_or(|persistence| persistence.state().health().failing.is_none());
    let group = gateway.group.as_ref().map(|group| group.wellbeing());
    let is_state_up = is_state_up && group.is_none_or(|group| group.is_up);
    let mut readings = readings(&pools, refreshes, is_state_up);
    readings.push(Reading {
        name: "request_log_dropped_total",
        help: "Requests, or parts of them, that were not logged",
        kind: Kind::Counter,
        series: vec![(Vec::new(), as_f64(gateway.telemetry.request_log.dropped()))],
    });
    #[cfg(feature = "otlp")]
    readings.extend(traces(gateway));
    readings.extend(group.into_iter().flat_map(of_group));
    gateway.telemetry.metrics.write(&readings)
}

/// How the group does that this instance belongs to.
fn of_group<'a>(group: Wellbeing) -> [Reading<'a>; 4] {
    let one = |name, help, kind, value| Reading {
        name,
        help,
        kind,
        series: vec![(Vec::new(), value)],
    };
    [
        one(
            "group_instances",
            "Instances that share the state, as last heard",
            Kind::Gauge,
            f64::from(group.instances),
        ),
        one(
            "group_outages_total",
            "Times the shared state was lost",
            Kind::Counter,
            as_f64(group.outages),
        ),
        one(
            "group_alone_total",
            "Requests under a common limit that were decided without the others",
            Kind::Counter,
            as_f64(group.alone),
        ),
        one(
            "group_untold_total",
            "Requests under a common limit that the others never heard of",
            Kind::Counter,
            as_f64(group.untold),
        ),
    ]
}

/// Where requests are traced: how many reached the collector, and how many did not.
#[cfg(feature = "otlp")]
fn traces(gateway: &Gateway) -> Vec<Reading<'static>> {
    let Some((exported, dropped)) = gateway.telemetry.traces.tally() else {
        return Vec::new();
    };
    let counter = |name, help, count| Reading {
        name,
        help,
        kind: Kind::Counter,
        series: vec![(Vec::new(), as_f64(count))],
    };
    vec![
        counter(
            "traces_exported_total",
            "Requests whose traces the collector has",
            exported,
        ),
        counter(
            "traces_dropped_total",
            "Requests whose traces are lost",
            dropped,
        ),
    ]
}

/// Of providers with accounts: how often tokens were renewed, or could not be.
fn refreshes(runtime: &ProviderRuntime) -> Vec<Series<'_>> {
    let accounts = runtime
        .holders
        .values()
        .filter_map(|holder| holder.account());
    let mut tallies = accounts.map(|account| account.live.tally()).peekable();
    if tallies.peek().is_none() {
        return Vec::new();
    }
    let (mut renewed, mut failed) = (0, 0);
    for tally in tallies {
        renewed += tally.renewed;
        failed += tally.failed;
    }
    let series = |result, count| {
        let provider = ("provider", runtime.id.as_str());
        (vec![provider, ("result", result)], as_f64(count))
    };
    vec![series("failed", failed), series("ok", renewed)]
}

/// One line of a family: labels and value.
type Series<'a> = (Vec<Label<'a>>, f64);

fn readings<'a>(
    pools: &'a [PoolSummary],
    refreshes: Vec<Series<'a>>,
    is_state_up: bool,
) -> Vec<Reading<'a>> {
    let each = |value: fn(&PoolSummary) -> u32| {
        pools
            .iter()
            .map(|pool| (of(pool).to_vec(), f64::from(value(pool))))
            .collect()
    };
    vec![
        Reading {
            name: "cooldowns_total",
            help: "Cooldowns begun",
            kind: Kind::Counter,
            series: pools.iter().flat_map(cooldowns).collect(),
        },
        Reading {
            name: "credentials",
            help: "Credentials by state",
            kind: Kind::Gauge,
            series: pools.iter().flat_map(credentials).collect(),
        },
        Reading {
            name: "leases",
            help: "Requests under way upstream",
            kind: Kind::Gauge,
            series: each(|pool| pool.leases),
        },
        Reading {
            name: "waiters",
            help: "Requests waiting for a credential",
            kind: Kind::Gauge,
            series: each(|pool| pool.waiters),
        },
        Reading {
            name: "token_refreshes_total",
            help: "Renewals of access tokens",
            kind: Kind::Counter,
            series: refreshes,
        },
        Reading {
            name: "state_backend_up",
            help: "Whether the last write of the state succeeded, and a shared one is there",
            kind: Kind::Gauge,
            series: vec![(Vec::new(), f64::from(u8::from(is_state_up)))],
        },
        Reading {
            name: "build_info",
            help: "The version that runs",
            kind: Kind::Gauge,
            series: vec![(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        },
    ]
}

fn of(pool: &PoolSummary) -> [Label<'_>; 1] {
    [("provider", pool.provider.as_str())]
}

fn cooldowns(pool: &PoolSummary) -> impl Iterator<Item = (Vec<Label<'_>>, f64)> {
    pool.cooldowns.iter().map(|(reason, count)| {
        let [provider] = of(pool);
        (vec![provider, ("reason", reason.as_str())], as_f64(*count))
    })
}

/// Every state, so that a series does not vanish when the last credential leaves it.
fn credentials(pool: &PoolSummary) -> impl Iterator<Item = (Vec<Label<'_>>, f64)> {
    CredentialState::ALL.into_iter().map(|state| {
        let [provider] = of(pool);
        let count = f64::from(pool.count(state));
        (vec![provider, ("state", state.as_str())], count)
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus counts in doubles; exact up to 2^53"
)]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProviderId;
    use crate::pool::{Pool, Settings};
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn every_state_of_every_provider_has_a_series() {
        let provider = ProviderId::parse("fake").expect("a valid name");
        let pool = Pool::new(provider, Settings::default(), 1);
        let pools = [pool.summary(Timestamp::from_secs(1))];
        let text = Metrics::default().write(&readings(&pools, Vec::new(), false));
        for state in CredentialState::ALL {
            let line = format!(
                "llmproxy_credentials{{provider=\"fake\",state=\"{}\"}} 0",
                state.as_str()
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
        assert!(text.contains("llmproxy_state_backend_up 0\n"), "{text}");
        assert!(
            text.contains("# TYPE llmproxy_cooldowns_total counter"),
            "{text}"
        );
    }
}
