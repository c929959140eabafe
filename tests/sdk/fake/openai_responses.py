"""OpenAI Responses."""

import json

from fake.script import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SIGNATURE,
    THOUGHT,
    Refused,
    Turn,
    arguments,
    check_results,
    known,
    need,
    pieces,
)


def turn(body):
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
            parts = (
                [{"type": "input_text", "text": content}] if isinstance(content, str) else content
            )
            allowed = (
                ("output_text", "refusal")
                if item["role"] == "assistant"
                else ("input_text", "input_image", "input_file")
            )
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
    turn = Turn(texts, answered, body.get("stream", False))
    if turn.script == "toolthink" and answered:
        need(SIGNATURE in signatures, f"signatures {signatures}")
    return turn


def items_of(turn):
    items = []
    if turn.thinks():
        items.append(
            {
                "id": "rs_1",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": THOUGHT}],
                "encrypted_content": SIGNATURE,
            }
        )
    if turn.text():
        items.append(
            {
                "id": "msg_1",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": turn.text(), "annotations": []}],
            }
        )
    for city in turn.calls():
        items.append(
            {
                "id": f"fc_{city}_{turn.round}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_{city}_{turn.round}",
                "name": "get_weather",
                "arguments": json.dumps(arguments(city)),
            }
        )
    return items


def reply(body, turn, status="completed"):
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
        "output": items_of(turn) if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": INPUT_TOKENS,
            "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
            "output_tokens": OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        }
        if done
        else None,
    }


def stream(body, turn):
    number = -1

    def event(kind, **rest):
        nonlocal number
        number += 1
        return kind, {"type": kind, "sequence_number": number, **rest}

    started = reply(body, turn, "in_progress")
    yield event("response.created", response=started)
    yield event("response.in_progress", response=started)
    for index, item in enumerate(items_of(turn)):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "reasoning":
            part = {**at, "summary_index": 0}
            empty = {"type": "summary_text", "text": ""}
            yield event(
                "response.output_item.added",
                output_index=index,
                item={"id": item["id"], "type": "reasoning", "summary": []},
            )
            yield event("response.reasoning_summary_part.added", **part, part=empty)
            for piece in pieces(THOUGHT):
                yield event("response.reasoning_summary_text.delta", **part, delta=piece)
            yield event("response.reasoning_summary_text.done", **part, text=THOUGHT)
            yield event("response.reasoning_summary_part.done", **part, part=item["summary"][0])
        elif item["type"] == "message":
            part = {**at, "content_index": 0}
            empty = {"type": "output_text", "text": "", "annotations": []}
            yield event(
                "response.output_item.added",
                output_index=index,
                item={**item, "status": "in_progress", "content": []},
            )
            yield event("response.content_part.added", **part, part=empty)
            for piece in pieces(turn.text()):
                yield event("response.output_text.delta", **part, delta=piece, logprobs=[])
            if turn.script == "broken":
                yield event("error", code="server_error", message="the engine broke", param=None)
                return
            yield event("response.output_text.done", **part, text=turn.text(), logprobs=[])
            yield event("response.content_part.done", **part, part=item["content"][0])
        else:
            yield event(
                "response.output_item.added",
                output_index=index,
                item={**item, "status": "in_progress", "arguments": ""},
            )
            for piece in pieces(item["arguments"]):
                yield event("response.function_call_arguments.delta", **at, delta=piece)
            yield event(
                "response.function_call_arguments.done",
                **at,
                name=item["name"],
                arguments=item["arguments"],
            )
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=reply(body, turn))
