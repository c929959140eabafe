"""A fake upstream: the four vendor dialects on one loopback port, strict about what it is sent.

What it answers depends on the script named in square brackets in the first user text, such as
``[plain]``. It refuses what the vendor would refuse: members the vendor does not know, tool
results without their call, a missing key. Paths begin with the dialect
(``/anthropic/v1/messages``), or with ``limited-`` and the dialect for a provider that refuses
every request as rate limited.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake import anthropic_messages, gemini, openai_chat, openai_responses
from fake.embeddings import chat_embeddings, gemini_embedding
from fake.script import COUNTED_TOKENS, KEY, NoThreads, Refused, need

ERRORS = {
    "openai": lambda status, text: {
        "error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}
    },
    "anthropic": lambda status, text: {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": text},
    },
    "gemini": lambda status, text: {
        "error": {
            "code": status,
            "message": text,
            "status": "INVALID_ARGUMENT" if status == 400 else "RESOURCE_EXHAUSTED",
        }
    },
}
ERRORS["responses"] = ERRORS["openai"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def split(self):
        dialect, _, path = self.path.split("?")[0].lstrip("/").partition("/")
        return dialect, path

    def check_key(self, dialect):
        header = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(
            dialect, "authorization"
        )
        # Anthropic's own SDK sends a bearer token, which Anthropic takes as well.
        plain = self.headers.get("authorization", "") if dialect == "anthropic" else ""
        given = self.headers.get(header, plain).removeprefix("Bearer ")
        need(given == KEY, f"no key in {header}")
        if dialect == "anthropic":
            need(self.headers.get("anthropic-version"), "anthropic-version: header is required")

    def do_GET(self):
        dialect, path = self.split()
        if dialect.startswith("limited-") or not path.endswith("models"):
            return self.give(404, {"error": {"message": "not here"}})
        names = self.server.models[dialect]
        if dialect == "gemini":
            methods = ["generateContent", "countTokens", "embedContent"]
            return self.give(
                200,
                {
                    "models": [
                        {
                            "name": f"models/{name}",
                            "displayName": name,
                            "version": "1",
                            "inputTokenLimit": 1000,
                            "outputTokenLimit": 100,
                            "supportedGenerationMethods": methods,
                        }
                        for name in names
                    ]
                },
            )
        if dialect == "anthropic":
            return self.give(
                200,
                {
                    "has_more": False,
                    "first_id": names[0],
                    "last_id": names[-1],
                    "data": [
                        {
                            "type": "model",
                            "id": name,
                            "display_name": name,
                            "created_at": "2025-01-01T00:00:00Z",
                        }
                        for name in names
                    ],
                },
            )
        self.give(
            200,
            {
                "object": "list",
                "data": [
                    {"id": name, "object": "model", "created": 1, "owned_by": "fake"}
                    for name in names
                ],
            },
        )

    def do_POST(self):
        dialect, path = self.split()
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if dialect.startswith("limited-"):
            error = ERRORS[dialect.removeprefix("limited-")](429, "too many requests")
            return self.give(429, error, {"retry-after": "3600"})
        self.server.seen.append((dialect, path, body))
        try:
            self.check_key(dialect)
            self.answer(dialect, path, body)
        except NoThreads:
            error = ERRORS[dialect](400, "no threads here")
            error["error"]["details"] = {"error_code": "thread_unsupported_request"}
            self.give(400, error)
        except (Refused, KeyError, TypeError, ValueError) as error:
            self.give(400, ERRORS[dialect](400, f"{type(error).__name__}: {error}"))

    def answer(self, dialect, path, body):
        model = body.get("model", "")
        if path.endswith("embeddings"):
            return self.give(200, chat_embeddings(body))
        if path.endswith("count_tokens"):
            anthropic_messages.turn(body, counting=True)
            return self.give(200, {"input_tokens": COUNTED_TOKENS})
        if path.endswith("input_tokens"):
            openai_responses.turn(body)
            answer = {"object": "response.input_tokens", "input_tokens": COUNTED_TOKENS}
            return self.give(200, answer)
        if dialect == "gemini":
            model, _, method = path.rpartition("/")[2].rpartition(":")
            if method == "countTokens":
                return self.give(200, {"totalTokens": COUNTED_TOKENS})
            if method == "embedContent":
                return self.give(200, {"embedding": gemini_embedding(body)})
            if method == "batchEmbedContents":
                return self.give(
                    200, {"embeddings": [gemini_embedding(each) for each in body["requests"]]}
                )
            turn = gemini.turn(body, method == "streamGenerateContent")
            need(not turn.stream or "alt=sse" in self.path, "streams are asked for as SSE")
            parts = list(gemini.parts(turn))
            reply = gemini.answer(model, parts, "STOP")
            events = gemini.stream(model, turn)
        else:
            is_text = dialect == "openai" and not path.endswith("chat/completions")
            read, write, flow = {
                "text": (
                    openai_chat.completion_turn,
                    openai_chat.completion_reply,
                    openai_chat.completion_stream,
                ),
                "openai": (openai_chat.turn, openai_chat.reply, openai_chat.stream),
                "responses": (
                    openai_responses.turn,
                    openai_responses.reply,
                    openai_responses.stream,
                ),
                "anthropic": (
                    anthropic_messages.turn,
                    anthropic_messages.reply,
                    anthropic_messages.stream,
                ),
            }["text" if is_text else dialect]
            turn = read(body)
            reply = write(body, turn)
            events = flow(body, turn)
        if turn.script == "bad":
            return self.give(400, ERRORS[dialect](400, "the fake does not like this"))
        if turn.stream:
            return self.give_stream(events)
        self.give(200, reply)

    def give(self, status, value, headers=None):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def give_stream(self, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for name, value in events:
            data = value if isinstance(value, str) else json.dumps(value)
            frame = (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
            raw = frame.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(raw), raw))
        self.wfile.write(b"0\r\n\r\n")


class Fake:
    """The running fake; ``seen`` holds (dialect, path, body) of each request it took."""

    def __init__(self, models):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.models = models
        self.server.seen = self.seen = []
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
