//! The model does as a real server does: random commands are put to both, and answers, messages and
//! all that is kept are compared. Only the time is not the server's own: it stands in a key, and what
//! ends by itself ends sooner by so much as that moves on.
//!
//! Lives are so long that none ends near a time at which something is asked: the few milliseconds
//! that the real clock moves on decide nothing. Skipped, with a word, where no `redis-server` is
//! installed; with `CI=true` that is a failure.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use redis::{Client, Connection, FromRedisValue, cmd};
use tempfile::TempDir;

use super::{Store, Value};
use crate::state::redis::call::Call;
use crate::state::redis::scripts::{Function, Scripts};

/// Sequences of commands, and commands in each.
const SEQUENCES: u64 = 60;
const COMMANDS: usize = 60;

/// Where the time stands, and how scripts read it.
const CLOCK_KEY: &str = "clock";
const CLOCK: &str = "local now = tonumber(redis.call('GET', 'clock'))\n";

/// Times are multiples of this, so nothing with one of the lives below ends near one of them.
const STEP_MS: i64 = 10_000;
const LEASE_MS: i64 = 17_500;
const LIFE_MS: i64 = 35_000;
/// Of a window that ends as a whole, and of one in slices: those are kept for 135,418 ms.
const WHOLE_MS: i64 = 65_000;
const ROLLING_MS: i64 = 125_000;

/// What the real clock may move on while a sequence runs, on a machine that is busy.
const DRIFT_MS: i64 = 2_500;

/// Numbers from here on are times; all others must be the same to the last digit.
const FIRST_TIME_MS: i64 = 1_000_000_000_000;

/// A real server, killed when dropped.
struct Server {
    child: Child,
    client: Client,
    _directory: TempDir,
}

impl Server {
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("socket");
        let socket = socket.to_str().expect("a plain path");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", socket])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                let is_required = std::env::var("CI").is_ok_and(|ci| ci == "true");
                assert!(!is_required, "CI needs redis-server: {error}");
                // Captured like everything a test prints, but there with `--nocapture`.
                let _ = writeln!(std::io::stdout(), "skipped: redis-server is not installed");
                return None;
            }
        };
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut lines = said.lines().map_while(Result::ok);
        let is_ready = lines.any(|line| line.contains("eady to accept connections"));
        assert!(is_ready, "redis-server came up");
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self {
            client: Client::open(format!("unix://{socket}")).expect("an address"),
            child,
            _directory: directory,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only for one that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both, side by side.
struct Pair {
    server: Connection,
    scripts: Scripts,
    model: Store,
    now: i64,
}

impl Pair {
    fn of(server: &Server) -> Self {
        Self {
            server: server.client.get_connection().expect("a connection"),
            scripts: Scripts::by_clock(CLOCK),
            model: Store::default(),
            now: 0,
        }
    }

    fn ask<T: FromRedisValue>(&mut self, command: &mut redis::Cmd) -> T {
        command.query(&mut self.server).expect("an answer")
    }

    /// Forgets everything in both.
    fn begin(&mut self, now: i64) {
        self.now = now;
        self.ask::<()>(&mut cmd("FLUSHALL"));
        self.model.flush();
        self.set_clock();
    }

    fn set_clock(&mut self) {
        let now = self.now;
        self.ask::<()>(cmd("SET").arg(CLOCK_KEY).arg(now));
        self.model.at(now);
    }

    fn pass(&mut self, by_ms: i64) {
        for key in self.ask::<Vec<String>>(cmd("KEYS").arg("*")) {
            let left: i64 = self.ask(cmd("PTTL").arg(&key));
            if key != CLOCK_KEY && left <= by_ms {
                self.ask::<()>(cmd("DEL").arg(&key));
            } else if left > by_ms {
                self.ask::<()>(cmd("PEXPIRE").arg(&key).arg(left - by_ms));
            }
        }
        self.now += by_ms;
        self.set_clock();
    }

    /// Runs a function in both. Returns the model's answer.
    fn run(&mut self, call: &Call) -> Vec<i64> {
        let script = self.scripts.of(call.function);
        let answer = call.of(script).invoke::<redis::Value>(&mut self.server);
        let real = match answer.expect("an answer") {
            redis::Value::Int(number) => vec![number],
            other => Vec::from_redis_value(other).expect("numbers"),
        };
        let model = self.model.at(self.now).run(call);
        let are_alike = model.len() == real.len()
            && model.iter().zip(&real).all(|(model, real)| {
                let is_late = (0..DRIFT_MS).contains(&(model - real));
                model == real || (is_late && *real >= FIRST_TIME_MS)
            });
        assert!(are_alike, "{call:?}: model {model:?}, server {real:?}");
        model
    }

    /// Fails unless both keep the same.
    fn compare(&mut self) {
        let mut keys: Vec<String> = self.ask(cmd("KEYS").arg("*"));
        keys.retain(|key| key != CLOCK_KEY);
        keys.sort_unstable();
        let model = self.model.at(self.now);
        let kept = model.kept.iter();
        let known: Vec<_> = kept
            .map(|(key, kept)| (key.clone(), kept.clone()))
            .collect();
        let names: Vec<_> = known.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(names, keys);
        for (key, kept) in known {
            let real = match &kept.value {
                Value::Hash(_) => Value::Hash(self.ask(cmd("HGETALL").arg(&key))),
                Value::Scores(_) => {
                    let scores: Vec<(String, i64)> =
                        self.ask(cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES"));
                    Value::Scores(scores.into_iter().collect())
                }
                Value::Set(_) => Value::Set(self.ask(cmd("SMEMBERS").arg(&key))),
                Value::Text(_) => Value::Text(self.ask(cmd("GET").arg(&key))),
            };
            assert_eq!(kept.value, real, "{key}");
            let left: i64 = self.ask(cmd("PTTL").arg(&key));
            let known = kept.ends.map_or(-1, |ends| ends - self.now);
            assert!(
                (0..DRIFT_MS).contains(&(known - left)),
                "{key}: {known}, {left}"
            );
        }
    }
}

/// A window's key, with its terms.
const WINDOWS: [(&str, i64, i64); 3] = [
    ("first", WHOLE_MS, 0),
    ("rolling", ROLLING_MS, 24),
    ("second", WHOLE_MS, 0),
];

/// Those of a holder of limits: none, one or two.
fn windows(of: usize) -> Vec<(String, i64, i64)> {
    let windows = WINDOWS.iter().skip(2 * (of % 2)).take(of);
    let named = windows.map(|(name, span, slices)| (format!("{of}:{name}"), *span, *slices));
    named.collect()
}

/// Chooses what is asked, and remembers what was answered.
struct Asker {
    rng: fastrand::Rng,
    /// Lease, when it was taken, and whose.
    tickets: Vec<(String, i64, usize)>,
    /// What was told of each window last.
    known: BTreeMap<String, (i64, i64, i64)>,
    leases: u32,
}

impl Asker {
    fn known(&mut self, window: &str) -> (i64, i64, i64) {
        let known = self.known.get(window).filter(|_| self.rng.bool());
        known.copied().unwrap_or_default()
    }

    fn admit(&mut self, pair: &mut Pair) {
        let of = self.rng.usize(0..3);
        self.leases += 1;
        let lease = format!("l{}", self.leases);
        let mut call = Call::new(Function::Admit);
        call.arg(&lease).arg(self.rng.i64(0..4)).arg(LEASE_MS);
        call.key(format!("{of}:leases"));
        let windows = windows(of);
        for (window, span, slices) in &windows {
            let (count, ends, said) = self.known(window);
            call.key(window.clone()).arg(*span).arg(*slices);
            call.arg(self.rng.i64(0..8)).arg(self.rng.i64(0..3) * 50);
            call.arg(count).arg(ends).arg(said);
        }
        let answer = pair.run(&call);
        if answer[0] == 0 {
            self.tickets.push((lease, answer[1], of));
            for ((window, ..), told) in windows.into_iter().zip(answer[2..].chunks(2)) {
                // Not always: who was told before it was lost tells more than who was told after.
                if self.rng.u8(0..3) > 0 {
                    self.known.insert(window, (told[0], told[1], answer[1]));
                }
            }
        }
    }

    fn settle(&mut self, pair: &mut Pair) {
        if self.tickets.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.tickets.len());
        let (lease, taken, of) = match self.rng.u8(0..4) {
            // It may be told twice.
            0 => self.tickets[at].clone(),
            _ => self.tickets.swap_remove(at),
        };
        let mut call = Call::new(Function::Settle);
        call.arg(lease).arg(taken).arg(self.rng.i64(-1..2));
        call.arg(self.rng.i64(0..3) * 20)
            .key(format!("{of}:leases"));
        for (window, span, slices) in windows(of) {
            let (count, ends, said) = self.known(&window);
            call.key(window).arg(span).arg(slices);
            call.arg(count).arg(ends).arg(said);
        }
        pair.run(&call);
    }

    fn renew(&mut self, pair: &mut Pair) {
        let of = self.rng.usize(0..3);
        let mut call = Call::new(Function::Renew);
        call.key(format!("{of}:leases")).arg(LEASE_MS);
        for (lease, _, _) in self.tickets.iter().filter(|(_, _, whose)| *whose == of) {
            call.arg(lease);
        }
        pair.run(&call);
    }

    fn beat(&mut self, pair: &mut Pair) {
        let who = self.rng.u8(0..3);
        let mut call = Call::new(Function::Beat);
        call.key("instances".to_owned()).key("about".to_owned());
        call.arg(format!("i{who}")).arg("{}").arg(LEASE_MS);
        pair.run(&call);
    }

    fn publish(&mut self, pair: &mut Pair) {
        let mut call = Call::new(Function::Publish);
        call.key("states".to_owned());
        call.arg("news").arg(LIFE_MS).arg("{\"version\":").arg("}");
        for _ in 0..self.rng.usize(1..4) {
            let field = format!("f{}", self.rng.u8(0..3));
            let record = format!("{{\"n\":{}}}", self.rng.u8(..));
            call.arg(field).arg(self.rng.i64(-3..20)).arg(record);
        }
        pair.run(&call);
    }

    fn keep(&mut self, pair: &mut Pair) {
        let mut call = Call::new(Function::Keep);
        call.key("conversations".to_owned()).arg(LIFE_MS).arg(3);
        for _ in 0..self.rng.usize(1..4) {
            call.arg(format!("c{}", self.rng.u8(0..6)));
            call.arg(self.rng.u8(..).to_string());
        }
        pair.run(&call);
    }

    fn offer(&mut self, pair: &mut Pair) {
        let mut call = Call::new(Function::Offer);
        call.key("tokens".to_owned()).arg(self.rng.u8(0..9));
        call.arg(format!("sealed {}", self.rng.u8(..))).arg(LIFE_MS);
        pair.run(&call);
    }

    fn tell(&mut self, pair: &mut Pair) {
        let mut call = Call::new(Function::Tell);
        call.key("rows".to_owned()).arg(LIFE_MS);
        call.arg(u8::from(self.rng.bool()));
        for _ in 0..self.rng.usize(0..3) {
            call.arg(format!("r{}", self.rng.u8(0..4)));
            call.arg(self.rng.u8(..).to_string());
        }
        pair.run(&call);
    }

    fn lock(&mut self, pair: &mut Pair) {
        let holder = format!("i{}", self.rng.u8(0..3));
        if self.rng.bool() {
            let mut call = Call::new(Function::Unlock);
            call.key("lock".to_owned()).arg(holder);
            pair.run(&call);
            return;
        }
        let taken: Option<String> = pair.ask(
            cmd("SET")
                .arg("lock")
                .arg(&holder)
                .arg("NX")
                .arg("PX")
                .arg(LIFE_MS),
        );
        let model = pair.model.at(pair.now);
        let is_taken = model.set_if_absent("lock", &holder, LIFE_MS);
        assert_eq!(is_taken, taken.is_some());
    }

    fn ask(&mut self, pair: &mut Pair) {
        match self.rng.u8(0..24) {
            0..8 => self.admit(pair),
            8..12 => self.settle(pair),
            12 => self.renew(pair),
            13 => self.beat(pair),
            14 | 15 => self.publish(pair),
            16 => self.keep(pair),
            17 => self.offer(pair),
            18 => self.lock(pair),
            19 => self.tell(pair),
            20..23 => pair.pass(STEP_MS * self.rng.i64(1..4)),
            // Evicted, as a server may do that is short of memory.
            _ => {
                let window = windows(1)[0].0.clone();
                pair.ask::<()>(cmd("DEL").arg(&window));
                pair.model.kept.remove(&window);
            }
        }
    }
}

#[test]
fn the_model_answers_as_a_real_server_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut listener = server.client.get_connection().expect("a connection");
    let mut news = listener.as_pubsub();
    news.subscribe("news").expect("a channel");
    let mut pair = Pair::of(&server);
    for seed in 0..SEQUENCES {
        let mut asker = Asker {
            rng: fastrand::Rng::with_seed(seed),
            tickets: Vec::new(),
            known: BTreeMap::new(),
            leases: 0,
        };
        pair.begin(1_795_600_000_000 + STEP_MS * i64::try_from(seed).expect("a small number"));
        for _ in 0..COMMANDS {
            asker.ask(&mut pair);
            for message in pair.model.take_published() {
                let heard = news.get_message().expect("a message");
                assert_eq!(heard.get_payload::<String>().expect("text"), message);
            }
        }
        pair.compare();
    }
}

/// Asks for one more request in a window of which this was told: the count, the window's end, and when
/// that was said. Returns what is told now.
fn one_more(pair: &mut Pair, told: [i64; 3]) -> [i64; 3] {
    let mut call = Call::new(Function::Admit);
    call.key("leases".to_owned()).key("window".to_owned());
    call.arg("lease").arg(0).arg(LEASE_MS);
    call.arg(WHOLE_MS).arg(0).arg(100).arg(0);
    call.arg(&told[..]);
    match pair.run(&call)[..] {
        [0, now, count, ends] => [count, ends, now],
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_window_that_was_lost_holds_what_anybody_was_told_of_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut pair = Pair::of(&server);
    pair.begin(1_795_600_000_000);
    let mut told = [[0; 3]; 3];
    for who in [0, 0, 0, 1, 1, 2] {
        told[who] = one_more(&mut pair, told[who]);
    }
    assert_eq!(told.map(|[count, ..]| count), [3, 5, 6]);
    pair.begin(pair.now + STEP_MS);
    // The one who knows least comes first, and everybody twice.
    for who in [0, 1, 2, 0, 1, 2] {
        told[who] = one_more(&mut pair, told[who]);
    }
    assert_eq!(told[2][0], 6 + 6);
}

#[test]
fn a_window_in_its_last_millisecond_is_not_full_for_another_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut connection = server.client.get_connection().expect("a connection");
    let scripts = Scripts::new();
    // One request in eight milliseconds, asked for again and again.
    let (span, requests) = (8, 1);
    let mut call = Call::new(Function::Admit);
    call.key("leases".to_owned()).key("window".to_owned());
    call.arg("lease").arg(0).arg(LEASE_MS);
    call.arg(span).arg(0).arg(requests).arg(0);
    call.arg(0).arg(0).arg(0);
    let (mut windows, mut ends) = (0, 0);
    while windows < 50 {
        let invocation = call.of(scripts.of(Function::Admit));
        let answer: Vec<i64> = invocation.invoke(&mut connection).expect("an answer");
        match answer[..] {
            [0, _now, _requests, window_ends] => (windows, ends) = (windows + 1, window_ends),
            // The clock may have gone on by a millisecond between the two readings of it.
            [1, _now, room] => assert!((room - ends).abs() <= 2, "{room} after {ends}"),
            _ => panic!("{answer:?}"),
        }
    }
}
