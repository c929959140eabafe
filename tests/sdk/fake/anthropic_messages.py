"""Anthropic Messages."""

import json
import re

from fake.script import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SIGNATURE,
    THOUGHT,
    NoThreads,
    Turn,
    arguments,
    known,
    need,
    pieces,
)


def turn(body, counting=False):
    if "thread" in body:
        raise NoThreads
    known(
        body,
        "model messages system tools tool_choice thinking output_config"
        + (
            "" if counting else " max_tokens stream temperature top_p top_k stop_sequences metadata"
        ),
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
    turn = Turn(texts, answered, body.get("stream", False))
    thinking = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    if turn.script == "think":
        need(thinking, "thinking was asked for")
    if turn.script == "toolthink" and answered and thinking:
        need(SIGNATURE in signatures, f"signatures {signatures}")
    return turn


def blocks_of(turn):
    blocks = []
    if turn.thinks():
        blocks.append({"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE})
    if turn.text():
        blocks.append({"type": "text", "text": turn.text()})
    for city in turn.calls():
        blocks.append(
            {
                "type": "tool_use",
                "id": f"toolu_{city}_{turn.round}",
                "name": "get_weather",
                "input": arguments(city),
            }
        )
    return blocks


def usage_of(output):
    return {
        "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
        "cache_read_input_tokens": CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
        "output_tokens": output,
    }


def reply(body, turn):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks_of(turn),
        "stop_reason": "tool_use" if turn.calls() else "end_turn",
        "stop_sequence": None,
        "usage": usage_of(OUTPUT_TOKENS),
    }


def stream(body, turn):
    def event(kind, **rest):
        return kind, {"type": kind, **rest}

    start = reply(body, turn)
    start.update(content=[], stop_reason=None, usage=usage_of(1))
    yield event("message_start", message=start)
    yield event("ping")
    for index, block in enumerate(blocks_of(turn)):
        kind = block["type"]
        opening = {
            "thinking": {"thinking": "", "signature": ""},
            "text": {"text": ""},
            "tool_use": {"input": {}},
        }[kind]
        yield event("content_block_start", index=index, content_block={**block, **opening})
        if kind == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(THOUGHT)]
            deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        elif kind == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        else:
            deltas = [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in ["", *pieces(json.dumps(block["input"]))]
            ]
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        if turn.script == "broken":
            yield event("error", error={"type": "api_error", "message": "the engine broke"})
            return
        yield event("content_block_stop", index=index)
    yield event(
        "message_delta",
        usage={"output_tokens": OUTPUT_TOKENS},
        delta={"stop_reason": "tool_use" if turn.calls() else "end_turn", "stop_sequence": None},
    )
    yield event("message_stop")
