//! The tables, ratios first.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{Pace, Sample, Workload};
use crate::process::{Gateway, llmproxy};
use crate::{Result, Section};

/// llmproxy without a line a request and without a request log: what seeing is compared with.
pub(crate) const QUIET: &str = "llmproxy, quiet";

/// The section whose gateways are compared with the quiet one.
pub(crate) const SEEING: &str = "What seeing costs";

/// llmproxy by itself: what sharing is compared with.
pub(crate) const ALONE: &str = "llmproxy";

/// The section whose gateways share their state over Redis.
pub(crate) const SHARING: &str = "What sharing costs";

/// One workload at one number of connections.
pub(crate) struct Cell {
    pub workload: Workload,
    pub connections: usize,
    pub pace: Pace,
    /// Without a gateway.
    pub direct: Sample,
    /// In the gateways' order; the bare pass-through first.
    pub samples: Vec<Sample>,
}

impl Cell {
    /// `32`, or `32 at 1000/s`.
    fn load(&self) -> String {
        match self.pace {
            Pace::Closed => self.connections.to_string(),
            Pace::Fixed(rate) => format!("{} at {rate}/s", self.connections),
        }
    }
}

/// Prints everything as Markdown.
pub(crate) fn print(sections: &[Section<'_>]) -> Result<()> {
    let out = &mut std::io::stdout().lock();
    for section in sections {
        match section.title {
            SEEING => paired(out, section, QUIET)?,
            SHARING => paired(out, section, ALONE)?,
            title => {
                writeln!(out, "### {title}\n")?;
                ratios(out, section)?;
            }
        }
    }
    writeln!(out, "### Absolute, on this machine\n")?;
    writeln!(
        out,
        "| workload | connections | gateway | requests/s | a CPU-second | CPU µs a request | p50 ms | p99 ms | first byte p50 ms | events/s |"
    )?;
    writeln!(
        out,
        "| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: |"
    )?;
    for section in sections {
        absolute(out, section)?;
    }
    let mut gateways: Vec<&Gateway> = Vec::new();
    for gateway in sections.iter().flat_map(|section| &section.gateways) {
        if !gateways
            .iter()
            .any(|known| known.address == gateway.address)
        {
            gateways.push(gateway);
        }
    }
    processes(out, &gateways)
}

/// Each gateway beside the bare pass-through.
fn ratios(out: &mut impl std::io::Write, section: &Section<'_>) -> Result<()> {
    writeln!(
        out,
        "| workload | connections | gateway | CPU per request | p50 | p99 | p50 added | p99 added | first byte p50 | events/s | events per CPU-second |"
    )?;
    writeln!(
        out,
        "| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: | --: |"
    )?;
    for cell in &section.cells {
        let Some((base, others)) = cell.samples.split_first() else {
            continue;
        };
        for (gateway, sample) in section.gateways.iter().skip(1).zip(others) {
            let added = |sample: &Sample, percent| {
                let direct = cell.direct.latency(percent);
                millis(sample.latency(percent).saturating_sub(direct))
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                cell.workload.name,
                cell.load(),
                gateway.name,
                ratio(per_request(sample), per_request(base)),
                ratio(millis(sample.latency(50)), millis(base.latency(50))),
                ratio(millis(sample.latency(99)), millis(base.latency(99))),
                ratio(added(sample, 50), added(base, 50)),
                ratio(added(sample, 99), added(base, 99)),
                ratio(millis(sample.first_byte(50)), millis(base.first_byte(50))),
                event_ratio(cell, events_per_second(sample), events_per_second(base)),
                event_ratio(cell, events_per_cpu(sample), events_per_cpu(base)),
            )?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Each gateway beside one of them, paired: the same rounds, taken in turns.
fn paired(out: &mut impl std::io::Write, section: &Section<'_>, beside: &str) -> Result<()> {
    let gateways = &section.gateways;
    let Some(place) = gateways.iter().position(|gateway| gateway.name == beside) else {
        return Ok(());
    };
    writeln!(out, "### {}: ratios to `{beside}`\n", section.title)?;
    writeln!(
        out,
        "| workload | connections | gateway | requests/s | CPU per request |"
    )?;
    writeln!(out, "| --- | --: | --- | --: | --: |")?;
    for cell in &section.cells {
        let Some(base) = cell.samples.get(place) else {
            continue;
        };
        let named = gateways
            .iter()
            .map(|gateway| gateway.name)
            .zip(&cell.samples);
        for (name, sample) in named {
            if name == beside || !name.starts_with("llmproxy") {
                continue;
            }
            writeln!(
                out,
                "| {} | {} | {name} | {} | {} |",
                cell.workload.name,
                cell.load(),
                ratio(per_second(sample), per_second(base)),
                ratio(per_request(sample), per_request(base)),
            )?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn absolute(out: &mut impl std::io::Write, section: &Section<'_>) -> Result<()> {
    for cell in &section.cells {
        let named = section
            .gateways
            .iter()
            .map(|gateway| gateway.name)
            .zip(&cell.samples);
        for (name, sample) in std::iter::once(("(none)", &cell.direct)).chain(named) {
            let cpu = per_request(sample);
            let a_cpu_second = if cpu > 0.0 { 1e6 / cpu } else { 0.0 };
            writeln!(
                out,
                "| {} | {} | {name} | {:.0} | {a_cpu_second:.0} | {cpu:.1} | {:.3} | {:.3} | {:.3} | {:.0} |",
                cell.workload.name,
                cell.load(),
                per_second(sample),
                millis(sample.latency(50)),
                millis(sample.latency(99)),
                millis(sample.first_byte(50)),
                events_per_second(sample),
            )?;
        }
    }
    Ok(())
}

fn processes(out: &mut impl std::io::Write, gateways: &[&Gateway]) -> Result<()> {
    writeln!(out, "\n### Processes\n")?;
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
