"""OpenAI Chat and text completions."""

import json

from fake.script import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    THOUGHT,
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
        "model messages stream stream_options tools tool_choice max_tokens max_completion_tokens"
        " temperature top_p stop reasoning_effort response_format parallel_tool_calls user n seed"
        " prompt_cache_key store metadata",
        "the body",
    )
    texts, asked, answered = [], [], []
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        if role == "user":
            texts += (
                [content]
                if isinstance(content, str)
                else [part["text"] for part in content if part["type"] == "text"]
            )
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
    return Turn(texts, answered, body.get("stream", False))


def usage_of():
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }


def calls_of(turn):
    return [
        {
            "id": f"call_{city}_{turn.round}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps(arguments(city))},
        }
        for city in turn.calls()
    ]


def reply(body, turn):
    message = {"role": "assistant", "content": turn.text() or None}
    if turn.thinks():
        message["reasoning_content"] = THOUGHT
    if turn.calls():
        message["tool_calls"] = calls_of(turn)
    reason = "tool_calls" if turn.calls() else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": usage_of(),
    }


def stream(body, turn):
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
    for index, call in enumerate(calls_of(turn)):
        text = call["function"].pop("arguments")
        call["function"]["arguments"] = ""
        yield chunk({"tool_calls": [{"index": index, **call}]})
        for piece in pieces(text):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if turn.calls() else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        _, last = chunk({}, usage=usage_of())
        last["choices"] = []
        yield None, last
    yield None, "[DONE]"


def completion_turn(body):
    known(body, "model prompt stream", "the body")
    return Turn([body["prompt"]], [], body.get("stream", False))


def completion(body, text, reason):
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1760000000,
        "model": body["model"],
        "choices": [choice],
        "usage": usage_of(),
    }


def completion_reply(body, turn):
    return completion(body, turn.text(), "stop")


def completion_stream(body, turn):
    for piece in pieces(turn.text()):
        yield None, completion(body, piece, None)
    yield None, completion(body, "", "stop")
    yield None, "[DONE]"
