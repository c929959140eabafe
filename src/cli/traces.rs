//! `serve`'s side of exporting traces: on where the environment names a collector, and given a
//! moment for the last ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::gateway::Gateway;
use crate::gateway::otlp::{Exporter, StartError};
use crate::telemetry::traces::settings::Settings;

/// How long the last traces may take to reach the collector.
const PATIENCE: Duration = Duration::from_secs(3);

/// An exporter at work, or none.
pub(super) struct Tracing {
    closing: CancellationToken,
    at_work: Option<JoinHandle<()>>,
}

impl Tracing {
    /// Begins to export if the environment (or a `.env` file) asks for it. A variable that cannot
    /// mean anything is exit code 2.
    pub(super) fn start(
        context: &Context,
        boot: &Boot,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Failure> {
        let closing = CancellationToken::new();
        let variables = &boot.loaded.variables;
        let settings = Settings::read(&|name| variables.get(name)).map_err(|error| {
            let hint = "correct the variable, or unset OTEL_EXPORTER_OTLP_ENDPOINT";
            Failure::usage(error.to_string(), hint)
        })?;
        let Some(settings) = settings else {
            return Ok(Self {
                closing,
                at_work: None,
            });
        };
        for remark in &settings.remarks {
            context.printer.warn(remark);
        }
        let exporter = Exporter::start(gateway, settings).map_err(|error| unable(&error))?;
        let at_work = Some(tokio::spawn(exporter.run(closing.clone())));
        Ok(Self { closing, at_work })
    }

    /// Sends what is left, for a moment.
    pub(super) async fn close(self) {
        self.closing.cancel();
        if let Some(at_work) = self.at_work {
            // Late or not: the process ends.
            let _ = tokio::time::timeout(PATIENCE, at_work).await;
        }
    }
}

fn unable(error: &StartError) -> Failure {
    let hint = "check OTEL_EXPORTER_OTLP_ENDPOINT (such as http://localhost:4318)";
    Failure::usage(format!("traces cannot be exported: {error}"), hint)
}
