"""Gemini's generateContent."""

from fake.script import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SIGNATURE,
    THOUGHT,
    Turn,
    arguments,
    known,
    need,
    pieces,
)


def joined(contents):
    """Neighbours of one role as one content: Google's SDK keeps the pieces of a stream apart."""
    whole = []
    for content in contents:
        if whole and whole[-1].get("role") == content.get("role"):
            whole[-1] = {**content, "parts": whole[-1]["parts"] + content["parts"]}
        else:
            whole.append(content)
    return whole


def turn(body, stream):
    known(
        body,
        "contents systemInstruction tools toolConfig generationConfig safetySettings"
        " cachedContent labels model",
        "the body",
    )
    texts, open_calls, answered, signatures = [], [], [], []
    for content in joined(body["contents"]):
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
        signatures += [
            part["thoughtSignature"] for part in content["parts"] if "thoughtSignature" in part
        ]
    need(not open_calls, "a function call without its response")
    config = body.get("generationConfig") or {}
    known(
        config,
        "temperature topP topK candidateCount maxOutputTokens stopSequences responseMimeType"
        " responseSchema responseJsonSchema thinkingConfig seed",
        "generationConfig",
    )
    turn = Turn(texts, answered, stream)
    if turn.script == "think":
        thinking = config.get("thinkingConfig") or {}
        # Google takes both spellings, its SDK sends the second.
        need(thinking.get("includeThoughts") or thinking.get("include_thoughts"), "no thoughts")
    if turn.script == "toolthink" and answered:
        need(SIGNATURE in signatures, f"signatures {signatures}")
    return turn


def parts(turn):
    if turn.thinks():
        yield {"text": THOUGHT, "thought": True}
    if turn.text():
        yield {"text": turn.text()}
    for index, city in enumerate(turn.calls()):
        part = {"functionCall": {"name": "get_weather", "args": arguments(city)}}
        if turn.thinks() and index == 0:
            part["thoughtSignature"] = SIGNATURE
        yield part


def answer(model, parts, reason=None):
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


def stream(model, turn):
    for part in parts(turn):
        if "text" in part:
            for piece in pieces(part["text"]):
                yield None, answer(model, [{**part, "text": piece}])
        else:
            yield None, answer(model, [part])
        if turn.script == "broken":
            yield (
                None,
                {"error": {"code": 500, "status": "INTERNAL", "message": "the engine broke"}},
            )
            return
    yield None, answer(model, [{"text": ""}], "STOP")
