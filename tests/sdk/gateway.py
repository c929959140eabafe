"""The gateway under test, started on a free port with a home of its own."""

import os
import pathlib
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = "client-key"
START_SECONDS = 30


class Gateway:
    def __init__(self, config):
        self.home = tempfile.TemporaryDirectory(prefix="llmproxy-sdk-")
        home = pathlib.Path(self.home.name)
        (home / "config.toml").write_text(config)
        binary = os.environ.get("LLMPROXY_BIN") or ROOT / "target/debug/llmproxy"
        # A bare environment: no key, proxy or setting of the user's reaches the gateway.
        environment = {"HOME": str(home), "NO_COLOR": "1"}
        for place in ("DATA", "STATE", "CACHE"):
            environment[f"LLMPROXY_{place}_DIR"] = str(home / place.lower())
        command = [binary, "--config", home / "config.toml", "serve", "--port", "0"]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.lines = []
        self.url = None
        self.listening = threading.Event()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.listening.wait(START_SECONDS) or self.url is None:
            self.stop()
            raise RuntimeError("the gateway did not start:\n" + "".join(self.lines))

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if "listening on " in line:
                self.url = line.split("listening on ")[1].split()[0]
                self.listening.set()
        self.listening.set()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(5)
        self.process.stderr.close()
        self.home.cleanup()
