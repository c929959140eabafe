//! The state that instances share: whether it is there, and whether they understand each other.

use crate::cli::boot::Boot;
use crate::cli::doctor::Finding;
use crate::gateway::group::Group;
use crate::state::redis::COMMAND_PATIENCE;
use crate::time::humanize;

/// Nothing where this instance is alone.
pub(super) async fn check(boot: &Boot) -> Vec<Finding> {
    let redis = match boot.shared() {
        Ok(Some(redis)) => redis,
        Ok(None) => return Vec::new(),
        Err(failure) => {
            return vec![Finding::error(
                "shared state",
                failure.sentence(),
                failure.hint(),
            )];
        }
    };
    let mut findings = Vec::new();
    if redis.join().await.is_ok() {
        let group = Group::new(redis).instances_now().await;
        let count = group.instances.len();
        findings.push(Finding::ok(
            "shared state",
            format!(
                "it answers within {}; instances: {count}",
                humanize(COMMAND_PATIENCE)
            ),
        ));
        if group.instances.iter().any(|one| !one.is_named_alike) {
            findings.push(Finding::error(
                "shared state",
                "an instance there has another token_key: it shares nothing with this one",
                "give all instances the same [state] token_key, or none of them one",
            ));
        }
    } else {
        let trouble = redis.trouble().unwrap_or_else(|| "no answer".to_owned());
        findings.push(Finding::error(
            "shared state",
            format!("it is away ({trouble}); each instance serves alone meanwhile"),
            "check [state] url, and that the Redis or Valkey there runs",
        ));
    }
    let has_accounts = boot.credentials.iter().any(|one| one.account().is_some());
    if has_accounts && boot.loaded.config.state.token_key.is_none() {
        findings.push(Finding::warning(
            "shared state",
            "accounts are in use and there is no token_key: tokens that one instance renews do not reach \
             the others",
            "set [state] token_key to the same secret everywhere, unless all share one data directory",
        ));
    }
    findings
}
