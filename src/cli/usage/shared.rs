//! What all instances that share their state have served.

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::usage::unreadable;
use crate::gateway::group::names::Names;
use crate::gateway::group::usage::{Everywhere, Own, everywhere, first_kept, start_of};
use crate::state::redis::Redis;
use crate::telemetry::spending::day_of;
use crate::time::Timestamp;

/// The counts of all, and from when on.
pub(super) struct All {
    pub(super) since: Timestamp,
    pub(super) served: Everywhere,
}

/// Reads them; `None`, with a word on why, while the state they share is away.
pub(super) async fn read(
    context: &Context,
    boot: &Boot,
    redis: &Redis,
    since: Timestamp,
    until: Timestamp,
) -> Result<Option<All>, Failure> {
    let printer = &context.printer;
    // The others are asked for days, so a part of one cannot be told.
    let (first, kept) = (day_of(since), first_kept(until));
    let days = first.max(kept)..=day_of(until);
    if first < kept {
        let day = start_of(kept).to_rfc3339();
        let day = day.get(..10).unwrap_or(&day).to_owned();
        printer.warn(&format!(
            "what all instances served is kept since {day} only; --own goes further back"
        ));
    }
    let mut own = Own::read(&boot.state(), &days).map_err(|error| unreadable(boot, &error))?;
    let clients = boot.loaded.config.server.all_clients();
    own.clients = clients.map(|client| client.name.clone()).collect();
    let names = boot.group_key.as_ref().map(|group| {
        let credentials = boot.credentials.iter();
        Names::new(credentials, group, &boot.fingerprint_key)
    });
    let since = start_of(*days.start());
    let served = match redis.join().await {
        Ok(_news) => everywhere(redis, days, own, |_| names.as_ref()).await,
        Err(away) => Err(away),
    };
    match served {
        Ok(served) => Ok(Some(All { since, served })),
        Err(away) => {
            let trouble = redis.trouble().unwrap_or_else(|| away.to_string());
            printer.warn(&format!(
                "the shared state is away ({trouble}): this is what this instance alone served"
            ));
            Ok(None)
        }
    }
}
