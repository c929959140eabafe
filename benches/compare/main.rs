//! llmproxy beside a bare pass-through: `cargo bench --bench compare`.
//!
//! One fake upstream, three gateways in front of it (a bare hyper pass-through, the same with a
//! head scan, a splice and a key pick, and the built llmproxy), one load generator. Each gateway
//! is a process of its own, so that its CPU time and memory can be read from `/proc`. Rounds are
//! interleaved, so that a busy machine is busy for all. Ratios come first: absolute times say
//! more about the machine. Linux only; `README.md` beside this file's folder tells the rest.

mod fake;
mod load;
mod pass;
mod process;
mod report;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::load::{Sample, Workload};
use crate::process::Gateway;
use crate::report::Cell;

/// Any failure; a bench has nobody to explain it to but its reader.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Tells a copy of this program which part it plays.
const ROLE: &str = "COMPARE_ROLE";

/// Tells a pass-through where the fake upstream listens.
const UPSTREAM: &str = "COMPARE_UPSTREAM";

/// Seconds of one measured round; `COMPARE_SECONDS` overrides it.
const ROUND_SECONDS: f64 = 1.5;

/// Measured rounds of each cell and gateway.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
    };
    match std::env::var(ROLE).as_deref() {
        Ok("fake") => runtime()?.block_on(fake::serve()),
        Ok("pass") => runtime()?.block_on(pass::serve(false)),
        Ok("pass_scan") => runtime()?.block_on(pass::serve(true)),
        _ => {
            process::pin_self();
            runtime()?.block_on(compare())
        }
    }
}

async fn compare() -> Result<()> {
    let seconds = std::env::var("COMPARE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let round = Duration::from_secs_f64(seconds.unwrap_or(ROUND_SECONDS));
    let upstream = Gateway::start_role("fake", None)?;
    let gateways = [
        Gateway::start_role("pass", Some(upstream.address))?,
        Gateway::start_role("pass_scan", Some(upstream.address))?,
        Gateway::start_llmproxy("llmproxy", &[], upstream.address)?,
        Gateway::start_llmproxy(report::QUIET, &["-q"], upstream.address)?,
        Gateway::start_llmproxy("llmproxy, all on", &["--log-requests"], upstream.address)?,
    ];
    let mut cells = Vec::new();
    for (workload, connections) in [
        (Workload::SMALL, 1),
        (Workload::SMALL, 32),
        (Workload::SMALL, 256),
        (Workload::LARGE, 32),
        (Workload::STREAM, 32),
        (Workload::BURST, 32),
    ] {
        let mut direct = Sample::default();
        let mut samples: Vec<Sample> = gateways.iter().map(|_| Sample::default()).collect();
        load::run(upstream.address, workload, connections, round / 3).await?;
        for gateway in &gateways {
            load::run(gateway.address, workload, connections, round / 3).await?;
        }
        for _ in 0..ROUNDS {
            direct.add(load::run(upstream.address, workload, connections, round).await?);
            for (gateway, sample) in gateways.iter().zip(&mut samples) {
                let before = gateway.cpu_time()?;
                let mut seen = load::run(gateway.address, workload, connections, round).await?;
                seen.cpu = gateway.cpu_time()?.saturating_sub(before);
                sample.add(seen);
            }
        }
        cells.push(Cell {
            workload,
            connections,
            direct,
            samples,
        });
    }
    // Idle again: what stays when the load has gone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    report::print(&gateways, &cells)
}

/// Serves on a free loopback port, and says on stderr which, in llmproxy's own words.
async fn listen<A, F, B>(answer: A) -> Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: Body<Data = Bytes, Error: Error + Send + Sync> + Send + 'static,
{
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    writeln!(
        std::io::stderr(),
        "listening on http://{}",
        listener.local_addr()?
    )?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(answer.clone());
        tokio::spawn(async move {
            // A client that goes away is no news here.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
