//! A terminal for programs that ask for one: a pseudo terminal (Python's, which every platform of
//! ours has) and an emulator that says what is on the screen.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use crate::harness::{Home, assert_no_canary, patiently};

/// Runs a command on a pseudo terminal of so many rows and columns, passing keys and screen on,
/// and ends with the command's code.
const PYTHON: &str = "
import fcntl, os, pty, select, struct, sys, termios
size = struct.pack('HHHH', int(sys.argv[1]), int(sys.argv[2]), 0, 0)
child, screen = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, size)
    os.execv(sys.argv[3], sys.argv[3:])
sources, ended = [0, screen], False
while not ended:
    for source in select.select(sources, [], [])[0]:
        try:
            piece = os.read(source, 65536)
        except OSError:  # the last program on the terminal has left it
            piece = b''
        if piece:
            target = screen if source == 0 else 1
            while piece:
                piece = piece[os.write(target, piece):]
        elif source == 0:
            sources = [screen]
        else:
            ended = True
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)
";

/// The binary on a terminal.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<Screen>>,
    changed: watch::Receiver<usize>,
    reader: Option<JoinHandle<()>>,
}

struct Screen {
    emulator: vt100::Parser,
    all: Vec<u8>,
}

impl Terminal {
    /// Starts the binary in a home, on 80 columns and 24 rows.
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        Self::sized(home, arguments, 24, 80)
    }

    /// Starts the binary on a terminal of this size.
    pub(crate) fn sized(home: &Home, arguments: &[&str], rows: u16, columns: u16) -> Self {
        let mut command = home.dressed(Command::new("python3"));
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TERM", "xterm-256color")
            .args(["-c", PYTHON, &rows.to_string(), &columns.to_string()])
            .arg(env!("CARGO_BIN_EXE_llmproxy"))
            .args(arguments)
            .stdin(Stdio::piped());
        let mut child = command.spawn().expect("python3 starts");
        let keys = child.stdin.take().expect("stdin is piped");
        let mut pipe = child.stdout.take().expect("stdout is piped");
        let screen = Arc::new(Mutex::new(Screen {
            emulator: vt100::Parser::new(rows, columns, 0),
            all: Vec::new(),
        }));
        let (sender, changed) = watch::channel(0);
        let shared = Arc::clone(&screen);
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            let answerer = sender;
            while let Ok(read @ 1..) = pipe.read(&mut piece) {
                let mut screen = shared.lock().expect("nobody panics with it");
                screen.emulator.process(&piece[..read]);
                screen.all.extend_from_slice(&piece[..read]);
                drop(screen);
                answerer.send_modify(|version| *version += 1);
            }
            answerer.send_modify(|version| *version += 1);
            drop(answerer);
        });
        Self {
            child,
            keys,
            screen,
            changed,
            reader: Some(reader),
        }
    }

    /// What stands on the screen now.
    pub(crate) fn text(&self) -> String {
        let screen = self.screen.lock().expect("the reader does not panic");
        screen.emulator.screen().contents()
    }

    /// Everything that was ever written to it.
    pub(crate) fn all(&self) -> String {
        let screen = self.screen.lock().expect("the reader does not panic");
        String::from_utf8_lossy(&screen.all).into_owned()
    }

    /// Waits until the screen shows a text.
    pub(crate) async fn shows(&mut self, text: &str) {
        self.until(text, |screen| screen.contains(text)).await;
    }

    /// Waits until the screen no longer shows a text.
    pub(crate) async fn hides(&mut self, text: &str) {
        self.until(text, |screen| !screen.contains(text)).await;
    }

    /// Waits until the last line on the screen begins with a text: a prompt that is open now.
    pub(crate) async fn asks(&mut self, prompt: &str) {
        let is_open = |screen: &str| {
            let last = screen.trim_end().lines().last().unwrap_or_default();
            last.starts_with(prompt)
        };
        self.until(prompt, is_open).await;
    }

    async fn until(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                let text = self.text();
                if is_there(&text) {
                    return;
                }
                let changed = changed.changed().await;
                assert!(changed.is_ok(), "it ended without `{what}`:\n{text}");
            }
        };
        patiently(what, waiting).await;
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it reads keys");
        self.keys.flush().expect("it reads keys");
    }

    /// Waits for a text, then presses keys.
    pub(crate) async fn answer(&mut self, question: &str, keys: &str) {
        self.shows(question).await;
        self.press(keys);
    }

    /// Waits for its end and returns its exit code. No key may have shown on the way.
    pub(crate) async fn ended(&mut self) -> i32 {
        let polling = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child of ours") {
                    return status.code().unwrap_or(-1);
                }
                // The standard library cannot wait for a child without blocking a thread.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let code = patiently("the end", polling).await;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        assert_no_canary("the terminal", self.all().as_bytes());
        code
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only for a child that has ended already. Its own child loses its terminal.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let _ = writeln!(std::io::stdout(), "the screen:\n{}", self.text());
        }
    }
}
