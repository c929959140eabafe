//! The tables, ratios first.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Sample, Workload};
use crate::process::{Gateway, llmproxy};

/// llmproxy without a line a request and without a request log: what seeing is compared with.
pub(crate) const QUIET: &str = "llmproxy, quiet";

/// One workload at one number of connections.
pub(crate) struct Cell {
    pub workload: Workload,
    pub connections: usize,
    /// Without a gateway.
    pub direct: Sample,
    /// In the gateways' order; the bare pass-through first.
    pub samples: Vec<Sample>,
}

/// Prints everything as Markdown.
pub(crate) fn print(gateways: &[Gateway], cells: &[Cell]) -> Result<()> {
    let out = &mut std::io::stdout().lock();
    writeln!(out, "## Ratios to the bare pass-through\n")?;
    writeln!(
        out,
        "| workload | connections | gateway | CPU per request | p50 | p99 | p99 added | first byte p50 | events/s | events per CPU-second |"
    )?;
    writeln!(
        out,
        "| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: |"
    )?;
    for cell in cells {
        let Some((base, others)) = cell.samples.split_first() else {
            continue;
        };
        for (gateway, sample) in gateways.iter().skip(1).zip(others) {
            let added =
                |sample: &Sample| sample.latency(99).saturating_sub(cell.direct.latency(99));
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                cell.workload.name,
                cell.connections,
                gateway.name,
                ratio(per_request(sample), per_request(base)),
                ratio(millis(sample.latency(50)), millis(base.latency(50))),
                ratio(millis(sample.latency(99)), millis(base.latency(99))),
                ratio(millis(added(sample)), millis(added(base))),
                ratio(millis(sample.first_byte(50)), millis(base.first_byte(50))),
                event_ratio(cell, events_per_second(sample), events_per_second(base)),
                event_ratio(cell, events_per_cpu(sample), events_per_cpu(base)),
            )?;
        }
    }
    seeing(out, gateways, cells)?;
    absolute(out, gateways, cells)?;
    processes(out, gateways)
}

/// What log lines and the request log cost, paired: the same rounds, taken in turns.
fn seeing(out: &mut impl std::io::Write, gateways: &[Gateway], cells: &[Cell]) -> Result<()> {
    let Some(quiet) = gateways.iter().position(|gateway| gateway.name == QUIET) else {
        return Ok(());
    };
    writeln!(out, "\n## What seeing costs: ratios to `{QUIET}`\n")?;
    writeln!(
        out,
        "| workload | connections | gateway | requests/s | CPU per request |"
    )?;
    writeln!(out, "| --- | --: | --- | --: | --: |")?;
    for cell in cells {
        let Some(base) = cell.samples.get(quiet) else {
            continue;
        };
        let named = gateways
            .iter()
            .map(|gateway| gateway.name)
            .zip(&cell.samples);
        for (name, sample) in named {
            if name == QUIET || !name.starts_with("llmproxy") {
                continue;
            }
            writeln!(
                out,
                "| {} | {} | {name} | {} | {} |",
                cell.workload.name,
                cell.connections,
                ratio(per_second(sample), per_second(base)),
                ratio(per_request(sample), per_request(base)),
            )?;
        }
    }
    Ok(())
}

fn absolute(out: &mut impl std::io::Write, gateways: &[Gateway], cells: &[Cell]) -> Result<()> {
    writeln!(out, "\n## Absolute, on this machine\n")?;
    writeln!(
        out,
        "| workload | connections | gateway | requests/s | CPU µs a request | p50 ms | p99 ms | events/s |"
    )?;
    writeln!(out, "| --- | --: | --- | --: | --: | --: | --: | --: |")?;
    for cell in cells {
        let named = gateways
            .iter()
            .map(|gateway| gateway.name)
            .zip(&cell.samples);
        for (name, sample) in std::iter::once(("(none)", &cell.direct)).chain(named) {
            writeln!(
                out,
                "| {} | {} | {name} | {:.0} | {:.1} | {:.3} | {:.3} | {:.0} |",
                cell.workload.name,
                cell.connections,
                per_second(sample),
                per_request(sample),
                millis(sample.latency(50)),
                millis(sample.latency(99)),
                events_per_second(sample),
            )?;
        }
    }
    Ok(())
}

fn processes(out: &mut impl std::io::Write, gateways: &[Gateway]) -> Result<()> {
    writeln!(out, "\n## Processes\n")?;
    writeln!(
        out,
        "| gateway | ready after ms | RSS idle MiB | at peak | after |"
    )?;
    writeln!(out, "| --- | --: | --: | --: | --: |")?;
    for gateway in gateways {
        writeln!(
            out,
            "| {} | {:.0} | {:.1} | {:.1} | {:.1} |",
            gateway.name,
            millis(gateway.start_up),
            mib(gateway.idle_kib),
            mib(gateway.memory_kib("VmHWM:")?),
            mib(gateway.memory_kib("VmRSS:")?),
        )?;
    }
    let binary = llmproxy();
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        Command::new(&binary)
            .arg("--version")
            .stdout(Stdio::null())
            .status()?;
        fastest = fastest.min(begun.elapsed());
    }
    writeln!(
        out,
        "\nThe binary is {:.1} MiB; `llmproxy --version` takes {:.1} ms.",
        mib(std::fs::metadata(&binary)?.len() / 1024),
        millis(fastest),
    )?;
    Ok(())
}

fn per_second(sample: &Sample) -> f64 {
    number(sample.requests()) / sample.elapsed.as_secs_f64()
}

/// Microseconds of the gateway's CPU time a request.
fn per_request(sample: &Sample) -> f64 {
    sample.cpu.as_secs_f64() * 1e6 / number(sample.requests())
}

fn events_per_second(sample: &Sample) -> f64 {
    number(sample.events) / sample.elapsed.as_secs_f64()
}

fn events_per_cpu(sample: &Sample) -> f64 {
    number(sample.events) / sample.cpu.as_secs_f64()
}

fn event_ratio(cell: &Cell, ours: f64, theirs: f64) -> String {
    if cell.workload.streams {
        ratio(ours, theirs)
    } else {
        String::new()
    }
}

fn ratio(ours: f64, theirs: f64) -> String {
    if theirs > 0.0 {
        format!("{:.2}", ours / theirs)
    } else {
        "–".into()
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mib(kib: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for one decimal")]
    let kib = kib as f64;
    kib / 1024.0
}

fn number(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for two decimals")]
    let count = count as f64;
    count
}
