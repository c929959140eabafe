//! What the machine runs out of: room for files (`RLIMIT_FSIZE` stands for a full disk and needs no
//! root), descriptors, memory.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::client::{CHAT, Connection, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::Gate;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Home, keys, patiently, provider, size};

/// The binary under a limit of the shell's `ulimit`. No signal for files that are too large: the
/// write fails, as on a full disk.
fn limited(home: &Home, limit: &str, arguments: &[&str]) -> Command {
    let script = format!("trap '' XFSZ; ulimit {limit}; exec \"$0\" \"$@\"");
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_llmproxy")])
        .args(arguments);
    home.dressed(command)
}

/// A server under a limit, and a way to ask it.
struct Server {
    child: std::process::Child,
    address: std::net::SocketAddr,
}

impl Server {
    fn start(home: &Home, limit: &str) -> Self {
        Self::run(limited(home, limit, &["serve", "--port", "0"]))
    }

    fn run(mut command: Command) -> Self {
        use std::io::BufRead;
        let spawned = command.stdout(Stdio::null()).process_group(0).spawn();
        let mut child = spawned.expect("the binary runs");
        let log = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
        let mut lines = log.lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| Some(line.strip_prefix("listening on http://")?.parse()))
            .expect("it says where it listens")
            .expect("an address");
        // Whatever else it writes must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    async fn ask(&self) -> u16 {
        let mut connection = Connection::open(self.address).await;
        connection.send(&Request::chat(CHAT)).await;
        connection.response().await.status
    }

    /// Seconds of processor time it has used; 0 where the platform does not say.
    fn seconds(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        let times = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = times.split(' ').skip(12).take(2);
        ticks
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum::<u64>()
            / 100
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn l01_with_a_full_disk_requests_are_served_and_what_was_stored_stays() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(2)));
    let add = |label: &'static str| ["creds", "add", "groq", "--label", label, "--no-verify"];
    let kept = home.run_with_input(&add("kept"), "gsk_kept0123456789abcdefghijklmnopqrstuv\n");
    assert_eq!(kept.code, 0, "{kept:?}");

    // Not one byte more fits.
    let input = "gsk_more0123456789abcdefghijklmnopqrstuv\n";
    let refused = home
        .finish_beside(limited(&home, "-f 0", &add("more")), input)
        .await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("error: ") && refused.stderr.contains("\nhint: "),
        "{refused:?}"
    );
    let server = Server::start(&home, "-f 0");
    for _ in 0..30 {
        assert_eq!(server.ask().await, 200);
    }
    drop(server);

    // Nor grows a state that exists.
    let server = Server::start(&home, "-f 200");
    for _ in 0..300 {
        assert_eq!(server.ask().await, 200);
    }
    drop(server);
    let listed = home.run(&["creds", "list", "--json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(
        listed.stdout.contains("groq/kept") && !listed.stdout.contains("groq/more"),
        "{listed:?}"
    );
}

#[tokio::test]
async fn l01_with_a_full_disk_a_conversation_goes_on_from_its_response() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    for limit in ["-f 0", "-f 100"] {
        let server = Server::start(&home, limit);
        let mut previous = String::new();
        for turn in 0..100 {
            let body = format!(
                r#"{{"model":"fake/m1","input":"turn {turn} {}"{previous}}}"#,
                "long ".repeat(200)
            );
            let mut connection = Connection::open(server.address).await;
            connection.send(&Request::post("/v1/responses", body)).await;
            let answer = connection.response().await;
            assert_eq!(answer.status, 200, "{limit} {turn}: {}", answer.text());
            let id = answer.json()["id"].clone();
            previous = format!(r#","previous_response_id":{id}"#);
        }
    }
}

#[tokio::test]
async fn l34_without_a_home_it_serves_and_says_what_it_cannot_keep() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let config = home.config_file().display().to_string();
    // A place where nobody can make anything, root neither.
    let homeless = |arguments: &[&str]| {
        let mut command = home.command(&[&["--config", &config], arguments].concat());
        for place in ["HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
            command.env(place, "/proc/nowhere");
        }
        command
    };
    let add = ["creds", "add", "groq", "--label", "one", "--no-verify"];
    let input = "gsk_more0123456789abcdefghijklmnopqrstuv\n";
    let refused = home.finish_beside(homeless(&add), input).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("/proc/nowhere") && refused.stderr.contains("\nhint: "),
        "{refused:?}"
    );
    let server = Server::run(homeless(&["serve", "--port", "0"]));
    for _ in 0..3 {
        assert_eq!(server.ask().await, 200);
    }
}

#[tokio::test]
async fn l15_c29_without_descriptors_it_waits_quietly_and_recovers() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let server = Server::start(&home, "-n 48");
    assert_eq!(server.ask().await, 200);
    let mut crowd = Vec::new();
    for _ in 0..120 {
        crowd.push(Connection::open(server.address).await);
    }
    let before = server.seconds();
    // Longer than a loop without a pause would need to show.
    let seconds = size("LLMPROXY_SECONDS", 2) as u64;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = server.seconds() - before;
    assert!(used <= seconds / 5, "it spins: {used} s of {seconds}");
    drop(crowd);
    patiently("service after the crowd", async {
        while server.ask().await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A control group with a limit on memory, below the one that the test is in.
struct Group(PathBuf);

impl Group {
    /// `None` where none can be made.
    fn new(bytes: usize) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = |controllers: &str| {
            let mut lines = groups.lines().filter_map(|line| line.split_once(':'));
            let path =
                lines.find_map(|(_, rest)| rest.strip_prefix(controllers)?.strip_prefix(":/"));
            path.map(str::to_owned)
        };
        let (above, file) = match own("memory") {
            Some(path) => (
                format!("/sys/fs/cgroup/memory/{path}"),
                "memory.limit_in_bytes",
            ),
            None => (format!("/sys/fs/cgroup/{}", own("")?), "memory.max"),
        };
        let group =
            Self(PathBuf::from(above).join(format!("llmproxy-test-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(file), bytes.to_string()).ok()?;
        Some(group)
    }

    /// The same command, in the group.
    fn command(&self, home: &Home) -> Command {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"",
            self.0.display()
        );
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_llmproxy")])
            .args(["serve", "--port", "0"]);
        home.dressed(command)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn l16_where_memory_is_short_newcomers_wait_and_whoever_is_served_is_not_disturbed() {
    let Some(group) = Group::new(256 << 20) else {
        let _ = writeln!(
            std::io::stdout(),
            "skipped: no control group can be made here"
        );
        return;
    };
    let gate = Gate::new();
    let held = openai::stream(&["one", "two"]).gated(&gate);
    let upstream = Upstream::start(Script::new().answer(move |request| {
        if request.text().contains("\"stream\":true") {
            held.clone()
        } else {
            openai::completion("hi")
        }
    }))
    .await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let server = Server::run(group.command(&home));
    assert_eq!(server.ask().await, 200);
    let mut stream = Connection::open(server.address).await;
    stream.send(&Request::chat(STREAM)).await;
    upstream.asked(2).await;

    // Half of what each has announced, again and again.
    let half = vec![b' '; 1 << 20];
    let mut hoarders = Vec::new();
    patiently("a refusal", async {
        while server.ask().await != 503 {
            assert!(hoarders.len() < 1000, "a gigabyte in a quarter of one");
            for _ in 0..16 {
                let mut hoarder = Connection::open(server.address).await;
                let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
                            content-length: 2097152\r\n\r\n";
                hoarder.send_bytes(head.as_bytes()).await;
                hoarder.send_bytes(&half).await;
                hoarders.push(hoarder);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    let mut refused = Connection::open(server.address).await;
    refused.send(&Request::chat(CHAT)).await;
    let refused = refused.response().await;
    assert_eq!(refused.error().1, "server_overloaded", "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.open(100);
    let whole = stream.response().await;
    assert!(
        whole.complete && whole.text().contains("[DONE]"),
        "{}",
        whole.text()
    );
    drop(hoarders);
    patiently("service after the rush", async {
        while server.ask().await != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    drop(server);
}
