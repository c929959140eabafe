"""Embeddings of OpenAI and Gemini."""

import base64
from struct import pack

from fake.script import known


def vector(text, dimensions):
    """Of length one, for the gateway brings shortened vectors to it where the vendor does not."""
    dimensions = dimensions or 3
    return [float(index == len(text) % dimensions) for index in range(dimensions)]


def chat_embeddings(body):
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vectors = [vector(text, body.get("dimensions")) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": value}
            for index, value in enumerate(vectors)
        ],
        "model": body["model"],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def gemini_embedding(body):
    known(body, "content model taskType title outputDimensionality embedContentConfig", "the body")
    text = "".join(part["text"] for part in body["content"]["parts"])
    return {"values": vector(text, body.get("outputDimensionality"))}
