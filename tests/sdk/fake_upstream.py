"""A fake upstream: the four vendor dialects on one loopback port, strict about what it is sent.

What it answers depends on the script named in square brackets in the first user text, such as
``[plain]``. It refuses what the vendor would refuse: members the vendor does not know, tool results
without their call, a missing key. Paths begin with the dialect (``/anthropic/v1/messages``), or with
``limited-`` and the dialect for a provider that refuses every request as rate limited.
"""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "Grüße, 世界! 🦀\nline two"
THOUGHT = "Let me think about it."
SIGNATURE = base64.b64encode(b"a signature that must come back untouched").decode()
CITIES = ("Paris", "Oslo")
FINAL = "Paris has 21 degrees, Oslo has 4."
INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS = 31, 17, 8
COUNTED_TOKENS = 42
JSON_TEXT = '{"city": "Paris", "degrees": 21}'
TOOL_SCRIPTS = ("tools", "toolthink", "forgetful")
KEY = "upstream-key"


class Refused(Exception):
    """What the vendor would answer with a 400."""


def need(condition, why):
    if not condition:
        raise Refused(why)


def known(value, names, where):
    extra = set(value) - set(names.split())
    need(not extra, f"unknown members in {where}: {sorted(extra)}")


class Turn:
    """What a request asks for, whatever its dialect."""

    def __init__(self, script, results, stream):
        self.script = script
        self.results = results
        self.stream = stream

    def thinks(self):
        return self.script in ("think", "toolthink", "forgetful")

    def calls(self):
        return CITIES if self.script in TOOL_SCRIPTS and not self.results else ()

    def text(self):
        if self.calls():
            return ""
        if self.script in TOOL_SCRIPTS:
            return FINAL
        return JSON_TEXT if self.script == "json" else TEXT


def script_of(texts):
    for text in texts:
        found = re.search(r"\[(\w+)\]", text)
        if found:
            return found.group(1)
    raise Refused("no script is named in the user's text")


def pieces(text):
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def arguments(city):
    return {"city": city, "unit": "C"}


def check_results(asked, answered):
    need(not answered or sorted(asked) == sorted(answered), f"calls {asked} answered {answered}")


# OpenAI Chat


def chat_turn(body):
    known(
        body,
        "model messages stream stream_options tools tool_choice max_tokens max_completion_tokens"
        " temperature top_p stop reasoning_effort response_format parallel_tool_calls user n seed"
        " prompt_cache_key store metadata",
        "the body",
    )
    texts, asked, answered = [], [], []
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        if role == "user":
            texts += [content] if isinstance(content, str) else [
                part["text"] for part in content if part["type"] == "text"
            ]
        elif role == "assistant":
            known(
                message,
                "role content tool_calls reasoning_content refusal name audio annotations"
                " function_call",
                "an assistant message",
            )
            for call in message.get("tool_calls") or []:
                need(call["type"] == "function", "a call has a type")
                need(isinstance(call["function"]["arguments"], str), "arguments are a string")
                need("city" in json.loads(call["function"]["arguments"]), "arguments are kept")
                asked.append(call["id"])
        elif role == "tool":
            need("21" in str(content) or "4" in str(content), "a result has its content")
            answered.append(message["tool_call_id"])
        else:
            need(role in ("system", "developer"), f"role {role}")
    check_results(asked, answered)
    return Turn(script_of(texts), answered, body.get("stream", False))


def chat_usage():
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }


def chat_calls(turn):
    return [
        {
            "id": f"call_{city}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps(arguments(city))},
        }
        for city in turn.calls()
    ]


def chat_reply(body, turn):
    message = {"role": "assistant", "content": turn.text() or None}
    if turn.thinks():
        message["reasoning_content"] = THOUGHT
    if turn.calls():
        message["tool_calls"] = chat_calls(turn)
    reason = "tool_calls" if turn.calls() else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": chat_usage(),
    }


def chat_stream(body, turn):
    def chunk(delta, reason=None, **rest):
        return None, {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1760000000,
            "model": body["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            **rest,
        }

    yield chunk({"role": "assistant", "content": ""})
    if turn.thinks():
        for piece in pieces(THOUGHT):
            yield chunk({"reasoning_content": piece})
    for piece in pieces(turn.text()):
        yield chunk({"content": piece})
    if turn.script == "broken":
        yield None, {"error": {"message": "the engine broke", "type": "server_error", "code": None}}
        return
    for index, call in enumerate(chat_calls(turn)):
        text = call["function"].pop("arguments")
        call["function"]["arguments"] = ""
        yield chunk({"tool_calls": [{"index": index, **call}]})
        for piece in pieces(text):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if turn.calls() else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        _, last = chunk({}, usage=chat_usage())
        last["choices"] = []
        yield None, last
    yield None, "[DONE]"


# OpenAI Responses


def responses_turn(body):
    known(
        body,
        "model input instructions stream tools tool_choice max_output_tokens temperature top_p"
        " reasoning text parallel_tool_calls include store metadata previous_response_id user"
        " prompt_cache_key truncation stream_options",
        "the body",
    )
    texts, asked, answered, signatures = [], [], [], []
    items = body["input"]
    if isinstance(items, str):
        items = [{"type": "message", "role": "user", "content": items}]
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            content = item["content"]
            parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
            allowed = ("output_text", "refusal") if item["role"] == "assistant" else (
                "input_text", "input_image", "input_file")
            need(
                isinstance(content, str) or all(part["type"] in allowed for part in parts),
                f"parts of {item['role']} are {[part['type'] for part in parts]}",
            )
            if item["role"] == "user":
                texts += [part["text"] for part in parts if "text" in part]
        elif kind == "function_call":
            need("city" in json.loads(item["arguments"]), "arguments are kept")
            asked.append(item["call_id"])
        elif kind == "function_call_output":
            answered.append(item["call_id"])
        elif kind == "reasoning":
            need(isinstance(item.get("summary"), list), "a reasoning item has a summary")
            signatures.append(item.get("encrypted_content"))
        else:
            raise Refused(f"item of type {kind}")
    for tool in body.get("tools") or []:
        need("name" in tool, "a tool's name is at its top level")
    check_results(asked, answered)
    turn = Turn(script_of(texts), answered, body.get("stream", False))
    if turn.script == "toolthink" and answered:
        need(SIGNATURE in signatures, f"signatures {signatures}")
    return turn


def responses_items(turn):
    items = []
    if turn.thinks():
        items.append({
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": THOUGHT}],
            "encrypted_content": SIGNATURE,
        })
    if turn.text():
        items.append({
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": turn.text(), "annotations": []}],
        })
    for city in turn.calls():
        items.append({
            "id": f"fc_{city}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{city}",
            "name": "get_weather",
            "arguments": json.dumps(arguments(city)),
        })
    return items


def responses_reply(body, turn, status="completed"):
    done = status == "completed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": body["model"],
        "output": responses_items(turn) if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": INPUT_TOKENS,
            "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
            "output_tokens": OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        } if done else None,
    }


def responses_stream(body, turn):
    number = -1

    def event(kind, **rest):
        nonlocal number
        number += 1
        return kind, {"type": kind, "sequence_number": number, **rest}

    started = responses_reply(body, turn, "in_progress")
    yield event("response.created", response=started)
    yield event("response.in_progress", response=started)
    for index, item in enumerate(responses_items(turn)):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "reasoning":
            part = {**at, "summary_index": 0}
            empty = {"type": "summary_text", "text": ""}
            yield event("response.output_item.added", output_index=index,
                        item={"id": item["id"], "type": "reasoning", "summary": []})
            yield event("response.reasoning_summary_part.added", **part, part=empty)
            for piece in pieces(THOUGHT):
                yield event("response.reasoning_summary_text.delta", **part, delta=piece)
            yield event("response.reasoning_summary_text.done", **part, text=THOUGHT)
            yield event("response.reasoning_summary_part.done", **part, part=item["summary"][0])
        elif item["type"] == "message":
            part = {**at, "content_index": 0}
            empty = {"type": "output_text", "text": "", "annotations": []}
            yield event("response.output_item.added", output_index=index,
                        item={**item, "status": "in_progress", "content": []})
            yield event("response.content_part.added", **part, part=empty)
            for piece in pieces(turn.text()):
                yield event("response.output_text.delta", **part, delta=piece, logprobs=[])
            if turn.script == "broken":
                yield event("error", code="server_error", message="the engine broke", param=None)
                return
            yield event("response.output_text.done", **part, text=turn.text(), logprobs=[])
            yield event("response.content_part.done", **part, part=item["content"][0])
        else:
            yield event("response.output_item.added", output_index=index,
                        item={**item, "status": "in_progress", "arguments": ""})
            for piece in pieces(item["arguments"]):
                yield event("response.function_call_arguments.delta", **at, delta=piece)
            yield event("response.function_call_arguments.done", **at, name=item["name"],
                        arguments=item["arguments"])
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=responses_reply(body, turn))


# Anthropic Messages


def anthropic_turn(body, counting=False):
    known(
        body,
        "model messages system tools tool_choice thinking output_config"
        + ("" if counting else " max_tokens stream temperature top_p top_k stop_sequences metadata"),
        "the body",
    )
    need(counting or isinstance(body.get("max_tokens"), int), "max_tokens: Field required")
    texts, answered, open_calls, signatures = [], [], [], []
    for message in body["messages"]:
        content = message["content"]
        need(content, "messages have content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        need(sorted(results) == sorted(open_calls), f"tool_use {open_calls} got {results}")
        answered += results
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for block in blocks:
            if block["type"] == "tool_use":
                need(re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]), f"id {block['id']}")
                need("city" in block["input"], "input is kept")
            if block["type"] == "thinking":
                need(block.get("signature"), "thinking.signature: Field required")
                signatures.append(block["signature"])
        if message["role"] == "user":
            texts += [block["text"] for block in blocks if block["type"] == "text"]
        else:
            need(message["role"] == "assistant", f"role {message['role']}")
            need(message["content"] != [], "no empty assistant message")
    need(not open_calls, "tool_use without tool_result")
    turn = Turn(script_of(texts), answered, body.get("stream", False))
    thinking = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    if turn.script == "think":
        need(thinking, "thinking was asked for")
    if turn.script == "toolthink" and answered and thinking:
        need(SIGNATURE in signatures, f"signatures {signatures}")
    return turn


def anthropic_blocks(turn):
    blocks = []
    if turn.thinks():
        blocks.append({"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE})
    if turn.text():
        blocks.append({"type": "text", "text": turn.text()})
    for city in turn.calls():
        blocks.append({"type": "tool_use", "id": f"toolu_{city}", "name": "get_weather",
                       "input": arguments(city)})
    return blocks


def anthropic_usage(output):
    return {
        "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
        "cache_read_input_tokens": CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
        "output_tokens": output,
    }


def anthropic_reply(body, turn):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": anthropic_blocks(turn),
        "stop_reason": "tool_use" if turn.calls() else "end_turn",
        "stop_sequence": None,
        "usage": anthropic_usage(OUTPUT_TOKENS),
    }


def anthropic_stream(body, turn):
    def event(kind, **rest):
        return kind, {"type": kind, **rest}

    start = anthropic_reply(body, turn)
    start.update(content=[], stop_reason=None, usage=anthropic_usage(1))
    yield event("message_start", message=start)
    yield event("ping")
    for index, block in enumerate(anthropic_blocks(turn)):
        kind = block["type"]
        opening = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""},
                   "tool_use": {"input": {}}}[kind]
        yield event("content_block_start", index=index, content_block={**block, **opening})
        if kind == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(THOUGHT)]
            deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        elif kind == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        else:
            deltas = [{"type": "input_json_delta", "partial_json": piece}
                      for piece in ["", *pieces(json.dumps(block["input"]))]]
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        if turn.script == "broken":
            yield event("error", error={"type": "api_error", "message": "the engine broke"})
            return
        yield event("content_block_stop", index=index)
    yield event("message_delta", usage={"output_tokens": OUTPUT_TOKENS},
                delta={"stop_reason": "tool_use" if turn.calls() else "end_turn",
                       "stop_sequence": None})
    yield event("message_stop")


# Gemini


def gemini_turn(body, stream):
    known(
        body,
        "contents systemInstruction tools toolConfig generationConfig safetySettings"
        " cachedContent labels model",
        "the body",
    )
    texts, open_calls, answered, signatures = [], [], [], []
    for content in body["contents"]:
        need(content.get("role", "user") in ("user", "model"), f"role {content.get('role')}")
        need(content["parts"], "a content has parts")
        results = []
        for part in content["parts"]:
            known(
                part,
                "text thought thoughtSignature inlineData fileData functionCall functionResponse",
                "a part",
            )
            if "functionResponse" in part:
                need(isinstance(part["functionResponse"]["response"], dict), "a response object")
                results.append(part["functionResponse"]["name"])
            if "text" in part and content.get("role", "user") == "user":
                texts.append(part["text"])
        need(results == open_calls, f"function calls {open_calls} got {results}")
        answered += results
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        need(all("city" in call["args"] for call in calls), "args are kept")
        open_calls = [call["name"] for call in calls]
        signatures += [part["thoughtSignature"] for part in content["parts"]
                       if "thoughtSignature" in part]
    need(not open_calls, "a function call without its response")
    config = body.get("generationConfig") or {}
    known(
        config,
        "temperature topP topK candidateCount maxOutputTokens stopSequences responseMimeType"
        " responseSchema responseJsonSchema thinkingConfig seed",
        "generationConfig",
    )
    turn = Turn(script_of(texts), answered, stream)
    if turn.script == "think":
        thinking = config.get("thinkingConfig") or {}
        # Google takes both spellings, its SDK sends the second.
        need(thinking.get("includeThoughts") or thinking.get("include_thoughts"), "no thoughts")
    if turn.script == "toolthink" and answered:
        need(SIGNATURE in signatures, f"signatures {signatures}")
    return turn


def gemini_parts(turn):
    if turn.thinks():
        yield {"text": THOUGHT, "thought": True}
    if turn.text():
        yield {"text": turn.text()}
    for index, city in enumerate(turn.calls()):
        part = {"functionCall": {"name": "get_weather", "args": arguments(city)}}
        if turn.thinks() and index == 0:
            part["thoughtSignature"] = SIGNATURE
        yield part


def gemini_answer(model, parts, reason=None):
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
    if reason:
        candidate["finishReason"] = reason
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": INPUT_TOKENS,
            "cachedContentTokenCount": CACHED_TOKENS,
            "candidatesTokenCount": OUTPUT_TOKENS,
            "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
        },
        "modelVersion": model,
        "responseId": "resp-1",
    }


def gemini_stream(model, turn):
    for part in gemini_parts(turn):
        if "text" in part:
            for piece in pieces(part["text"]):
                yield None, gemini_answer(model, [{**part, "text": piece}])
        else:
            yield None, gemini_answer(model, [part])
        if turn.script == "broken":
            yield None, {"error": {"code": 500, "status": "INTERNAL", "message": "the engine broke"}}
            return
    yield None, gemini_answer(model, [{"text": ""}], "STOP")


# Embeddings and the server


def vector(text, dimensions):
    """Of length one, for the gateway brings shortened vectors to it where the vendor does not."""
    dimensions = dimensions or 3
    return [float(index == len(text) % dimensions) for index in range(dimensions)]


def chat_embeddings(body):
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vectors = [vector(text, body.get("dimensions")) for text in texts]
    if body.get("encoding_format") == "base64":
        from struct import pack
        vectors = [base64.b64encode(pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": value}
                 for index, value in enumerate(vectors)],
        "model": body["model"],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def gemini_embedding(body):
    known(body, "content model taskType title outputDimensionality embedContentConfig", "the body")
    text = "".join(part["text"] for part in body["content"]["parts"])
    return {"values": vector(text, body.get("outputDimensionality"))}


ERRORS = {
    "openai": lambda status, text: {
        "error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}},
    "anthropic": lambda status, text: {
        "type": "error", "error": {"type": "invalid_request_error", "message": text}},
    "gemini": lambda status, text: {
        "error": {"code": status, "message": text,
                  "status": "INVALID_ARGUMENT" if status == 400 else "RESOURCE_EXHAUSTED"}},
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
        header = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(dialect, "authorization")
        given = self.headers.get(header, "").removeprefix("Bearer ")
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
            return self.give(200, {"models": [
                {"name": f"models/{name}", "displayName": name, "version": "1",
                 "inputTokenLimit": 1000, "outputTokenLimit": 100,
                 "supportedGenerationMethods": methods} for name in names]})
        if dialect == "anthropic":
            return self.give(200, {"has_more": False, "first_id": names[0], "last_id": names[-1],
                                   "data": [{"type": "model", "id": name, "display_name": name,
                                             "created_at": "2025-01-01T00:00:00Z"}
                                            for name in names]})
        self.give(200, {"object": "list", "data": [
            {"id": name, "object": "model", "created": 1, "owned_by": "fake"} for name in names]})

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
        except (Refused, KeyError, TypeError, ValueError) as error:
            self.give(400, ERRORS[dialect](400, f"{type(error).__name__}: {error}"))

    def answer(self, dialect, path, body):
        model = body.get("model", "")
        if path.endswith("embeddings"):
            return self.give(200, chat_embeddings(body))
        if path.endswith("count_tokens"):
            anthropic_turn(body, counting=True)
            return self.give(200, {"input_tokens": COUNTED_TOKENS})
        if dialect == "gemini":
            model, _, method = path.rpartition("/")[2].rpartition(":")
            if method == "countTokens":
                return self.give(200, {"totalTokens": COUNTED_TOKENS})
            if method == "embedContent":
                return self.give(200, {"embedding": gemini_embedding(body)})
            if method == "batchEmbedContents":
                return self.give(200, {"embeddings": [gemini_embedding(each)
                                                      for each in body["requests"]]})
            turn = gemini_turn(body, method == "streamGenerateContent")
            need(not turn.stream or "alt=sse" in self.path, "streams are asked for as SSE")
            parts = list(gemini_parts(turn))
            reply = lambda: gemini_answer(model, parts, "STOP")
            events = gemini_stream(model, turn)
        else:
            read, write, flow = {
                "openai": (chat_turn, chat_reply, chat_stream),
                "responses": (responses_turn, responses_reply, responses_stream),
                "anthropic": (anthropic_turn, anthropic_reply, anthropic_stream),
            }[dialect]
            turn = read(body)
            reply = lambda: write(body, turn)
            events = flow(body, turn)
        if turn.script == "bad":
            return self.give(400, ERRORS[dialect](400, "the fake does not like this"))
        if turn.stream:
            return self.give_stream(events)
        self.give(200, reply())

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
