//! L36: a disk on which every write and every sync takes half a second. `strace` makes them wait;
//! where it is not to be had, the test says so and passes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::client::{CHAT, Connection, Request};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, patiently, provider};

/// What the state's own writer calls, and nobody who answers a request.
const CALLS: &str = "fsync,fdatasync,pwrite64,ftruncate";

const DELAY: Duration = Duration::from_millis(500);

const REQUESTS: usize = 400;

/// The server, with the tracer that slows its disk down.
struct Slowed(Child);

impl Drop for Slowed {
    fn drop(&mut self) {
        // The group: without its tracer the server would live on.
        let group = format!("kill -KILL -{}", self.0.id());
        let _ = Command::new("/bin/sh").args(["-c", &group]).status();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn l36_a_disk_that_takes_half_a_second_a_call_holds_up_no_request() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(2)));
    // The state is made at full speed: only what requests leave in it is to be slow.
    let made = Gateway::start_in(home.again(), &[]).await;
    assert_eq!(made.chat(CHAT).await.status, 200);
    drop(made);
    let record = home.path("strace");
    let mut command = Command::new("strace");
    let delay = DELAY.as_micros();
    command
        .args(["-f", "--seccomp-bpf", "-s", "0", "-o"])
        .arg(&record)
        .args(["-e", &format!("trace={CALLS}")])
        .args(["-e", &format!("inject={CALLS}:delay_enter={delay}")])
        .arg(env!("CARGO_BIN_EXE_llmproxy"))
        .args(["serve", "--port", "0"]);
    let spawned = home.dressed(command).process_group(0).spawn();
    let Ok(mut child) = spawned else {
        let _ = writeln!(std::io::stdout(), "skipped: there is no strace");
        return;
    };
    let log = BufReader::new(child.stderr.take().expect("a pipe"));
    let server = Slowed(child);
    let mut lines = log.lines().map_while(Result::ok);
    let listening = lines.find_map(|line| {
        let (_, address) = line.split_once("listening on http://")?;
        address.parse().ok()
    });
    let Some(address) = listening else {
        let _ = writeln!(std::io::stdout(), "skipped: strace runs nothing here");
        return;
    };
    std::thread::spawn(move || lines.for_each(drop));
    let delayed = || {
        let record = std::fs::read_to_string(&record).unwrap_or_default();
        record.matches("DELAYED").count()
    };
    let mut connection = Connection::open(address).await;
    let mut took = Vec::new();
    let mut round = async || {
        for _ in 0..REQUESTS {
            let began = Instant::now();
            connection.send(&Request::chat(CHAT)).await;
            assert_eq!(connection.response().await.status, 200);
            took.push(began.elapsed());
        }
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    let before = delayed();
    let slowest = patiently("the requests", round()).await;
    patiently("what they leave on the disk", async {
        while delayed() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(
        slowest < DELAY / 2,
        "{slowest:?} for the slowest of a hundred"
    );
    drop(server);
}
