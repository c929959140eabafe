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

use crate::load::{Pace, Sample, Workload};
use crate::process::{Gateway, Redis, Setup};
use crate::report::Cell;

/// Any failure; a bench has nobody to explain it to but its reader.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Tells a copy of this program which part it plays.
const ROLE: &str = "COMPARE_ROLE";

/// Tells a pass-through where the fake upstream listens.
const UPSTREAM: &str = "COMPARE_UPSTREAM";

/// Seconds of one measured round; `COMPARE_SECONDS` overrides it, and `COMPARE_SECTION` names the
/// part that is wanted.
const ROUND_SECONDS: f64 = 1.5;

/// Requests a second where the rate is fixed: far below what any of them can do.
const FIXED_RATE: u32 = 1000;

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
    let at = upstream.address;
    let llmproxy = |name, setup| Gateway::start_llmproxy(name, setup, at);
    let pass = Gateway::start_role("pass", Some(at))?;
    let scan = Gateway::start_role("pass_scan", Some(at))?;
    let plain = llmproxy("llmproxy", Setup::PLAIN)?;
    let with = |options| Setup {
        options,
        ..Setup::PLAIN
    };
    let quiet = llmproxy(report::QUIET, with(&["-q"]))?;
    let all_on = llmproxy("llmproxy, all on", with(&["--log-requests"]))?;
    let mut sections = vec![Section {
        title: "Same dialect",
        gateways: vec![&pass, &scan, &plain],
        loads: vec![
            (Workload::SMALL, 1, Pace::Closed),
            (Workload::SMALL, 32, Pace::Closed),
            (Workload::SMALL, 256, Pace::Closed),
            (Workload::LARGE, 32, Pace::Closed),
            (Workload::STREAM, 32, Pace::Closed),
            (Workload::BURST, 32, Pace::Closed),
        ],
        cells: Vec::new(),
    }];
    let fixed = |connections| (Workload::SMALL, connections, Pace::Fixed(FIXED_RATE));
    sections.push(Section {
        title: "At a fixed rate",
        gateways: vec![&pass, &plain],
        loads: [1, 32, 256].map(fixed).into(),
        cells: Vec::new(),
    });
    let every = Setup {
        all_dialects: true,
        ..Setup::PLAIN
    };
    let translating = llmproxy("llmproxy", every)?;
    sections.push(Section {
        title: "Translated",
        gateways: vec![&pass, &translating],
        loads: Workload::TRANSLATED
            .map(|workload| (workload, 32, Pace::Closed))
            .into(),
        cells: Vec::new(),
    });
    let keys = |keys| Setup {
        keys,
        ..Setup::PLAIN
    };
    let thousand = llmproxy("1,000 keys", keys(1000))?;
    let many = llmproxy("100,000 keys", keys(100_000))?;
    sections.push(Section {
        title: "By the size of the pool",
        gateways: vec![&pass, &plain, &thousand, &many],
        loads: vec![(Workload::SMALL, 32, Pace::Closed)],
        cells: Vec::new(),
    });
    let redis = Redis::start()?;
    let over = |is_limited| Setup::over(redis.as_ref(), is_limited);
    let shared = llmproxy("llmproxy, over Redis", over(false))?;
    let limited = llmproxy("llmproxy, leases over Redis", over(true))?;
    if redis.is_some() {
        sections.push(Section {
            title: report::SHARING,
            gateways: vec![&plain, &shared, &limited],
            loads: vec![
                (Workload::SMALL, 32, Pace::Closed),
                (Workload::BURST, 32, Pace::Closed),
            ],
            cells: Vec::new(),
        });
    }
    // Last: the request log is still being written when its rounds are over.
    sections.push(Section {
        title: report::SEEING,
        gateways: vec![&quiet, &plain, &all_on],
        loads: vec![
            (Workload::SMALL, 32, Pace::Closed),
            (Workload::BURST, 32, Pace::Closed),
        ],
        cells: Vec::new(),
    });
    let only = std::env::var("COMPARE_SECTION").unwrap_or_default();
    sections.retain(|section| section.title.contains(&only));
    for section in &mut sections {
        section.measure(at, round).await?;
    }
    // Idle again: what stays when the load has gone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    report::print(&sections)
}

/// Workloads that go through the same gateways.
pub(crate) struct Section<'a> {
    pub title: &'static str,
    /// The bare pass-through first.
    pub gateways: Vec<&'a Gateway>,
    loads: Vec<(Workload, usize, Pace)>,
    pub cells: Vec<Cell>,
}

impl Section<'_> {
    async fn measure(&mut self, upstream: SocketAddr, round: Duration) -> Result<()> {
        for &(workload, connections, pace) in &self.loads {
            let mut direct = Sample::default();
            let mut samples: Vec<Sample> =
                self.gateways.iter().map(|_| Sample::default()).collect();
            load::run(upstream, workload, connections, pace, round / 3).await?;
            for gateway in &self.gateways {
                load::run(gateway.address, workload, connections, pace, round / 3).await?;
            }
            for _ in 0..ROUNDS {
                direct.add(load::run(upstream, workload, connections, pace, round).await?);
                for (gateway, sample) in self.gateways.iter().zip(&mut samples) {
                    let before = gateway.cpu_time()?;
                    let mut seen =
                        load::run(gateway.address, workload, connections, pace, round).await?;
                    seen.cpu = gateway.cpu_time()?.saturating_sub(before);
                    sample.add(seen);
                }
            }
            self.cells.push(Cell {
                workload,
                connections,
                pace,
                direct,
                samples,
            });
        }
        Ok(())
    }
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
