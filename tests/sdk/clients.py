"""One face over the three SDKs: ask, read the answer, send tool results back, as an agent would.

Streams are read through each SDK's own accumulating helper, the strictest reader of event order.
"""

import base64
import json

import anthropic
import google.genai
import openai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from fake.script import JSON_TEXT

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "A city"},
        "unit": {"type": "string", "enum": ["C", "F"]},
    },
    "required": ["city"],
}
TOOL = ("get_weather", "Degrees of a city", CITY)
ANSWER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": list(json.loads(JSON_TEXT)),
    "additionalProperties": False,
}
SYSTEM = "Be brief."
FAILURES = ("error", "response.failed")


class Reply:
    """What every SDK can tell of an answer."""

    def __init__(self, text, thought, calls, stop, tokens, history):
        self.text = text or ""
        self.thought = thought or ""
        self.calls = calls  # (id, name, arguments)
        self.stop = stop
        self.tokens = tokens  # input with the cached, output, cached
        self.history = history  # the conversation with this answer appended


class Chat:
    """The OpenAI SDK on /v1/chat/completions."""

    name = "chat"
    dialect = "openai"
    stops = {"end": "stop", "tools": "tool_calls"}
    bad_request, rate_limited, not_found, unauthorized, broken = (
        openai.BadRequestError,
        openai.RateLimitError,
        openai.NotFoundError,
        openai.AuthenticationError,
        openai.APIError,
    )

    def __init__(self, url, key):
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def start(self, text):
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]

    def with_files(self, text, picture, document):
        """A question about a PNG and a PDF, both in base64."""
        parts = [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
            {
                "type": "file",
                "file": {
                    "filename": "a.pdf",
                    "file_data": f"data:application/pdf;base64,{document}",
                },
            },
        ]
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": parts}]

    def ask(self, model, history, stream=False, tools=False, think=False, schema=False):
        options = {}
        if tools:
            name, description, schema_of = TOOL
            function = {"name": name, "description": description, "parameters": schema_of}
            options["tools"] = [{"type": "function", "function": function}]
        if think:
            options["reasoning_effort"] = "low"
        if schema:
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": ANSWER, "strict": True},
            }
        if stream:
            options["stream_options"] = {"include_usage": True}
            with self.sdk.chat.completions.stream(
                model=model, messages=history, **options
            ) as events:
                for _ in events:
                    pass
                whole = events.get_final_completion()
        else:
            whole = self.sdk.chat.completions.create(model=model, messages=history, **options)
        message = whole.choices[0].message
        calls = [
            (call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or []
        ]
        echo = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in echo.get("tool_calls", []):
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        usage = whole.usage
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        return Reply(
            message.content,
            (message.model_extra or {}).get("reasoning_content"),
            calls,
            whole.choices[0].finish_reason,
            (usage.prompt_tokens, usage.completion_tokens, cached),
            [*history, echo],
        )

    def bare(self, history):
        """The history as an agent sends it that keeps only what the SDK's types name."""
        names = ("role", "content", "tool_calls", "tool_call_id")
        plain = [{name: each[name] for name in names if name in each} for each in history]
        for message in plain:
            for call in message.get("tool_calls", []):
                call.pop("extra_content", None)
        return plain

    def results(self, reply, answers):
        return reply.history + [
            {"role": "tool", "tool_call_id": call[0], "content": answer}
            for call, answer in zip(reply.calls, answers, strict=True)
        ]

    def complete(self, model, prompt, stream):
        """A text completion, of the days before chats."""
        answer = self.sdk.completions.create(model=model, prompt=prompt, stream=stream)
        pieces = answer if stream else [answer]
        return "".join(choice.text for piece in pieces for choice in piece.choices)

    def embed(self, model, texts, dimensions):
        answer = self.sdk.embeddings.create(model=model, input=texts, dimensions=dimensions)
        return [each.embedding for each in answer.data]

    def models(self):
        return [model.id for model in self.sdk.models.list()]

    def model(self, name):
        return self.sdk.models.retrieve(name).id


class Responses(Chat):
    """The OpenAI SDK on /v1/responses."""

    name = "responses"
    dialect = "responses"
    stops = {"end": "completed", "tools": "completed"}

    def start(self, text):
        return [{"role": "user", "content": text}]

    def with_files(self, text, picture, document):
        parts = [
            {"type": "input_text", "text": text},
            {"type": "input_image", "image_url": f"data:image/png;base64,{picture}"},
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": f"data:application/pdf;base64,{document}",
            },
        ]
        return [{"role": "user", "content": parts}]

    def ask(self, model, history, stream=False, tools=False, think=False, schema=False):
        options = {"store": False, "instructions": SYSTEM}
        if tools:
            name, description, schema_of = TOOL
            options["tools"] = [
                {
                    "type": "function",
                    "name": name,
                    "description": description,
                    "parameters": schema_of,
                    "strict": False,
                }
            ]
        if think:
            options["reasoning"] = {"effort": "low", "summary": "auto"}
            options["include"] = ["reasoning.encrypted_content"]
        if schema:
            options["text"] = {
                "format": {
                    "type": "json_schema",
                    "name": "answer",
                    "schema": ANSWER,
                    "strict": True,
                }
            }
        if stream:
            with self.sdk.responses.stream(model=model, input=history, **options) as events:
                for event in events:
                    # The SDK hands failures on as events; an agent raises them.
                    failure = getattr(event, "response", event) if event.type in FAILURES else None
                    if failure:
                        error = getattr(failure, "error", None) or failure
                        request = events._response.request
                        raise openai.APIError(error.message, request, body=None)
                whole = events.get_final_response()
        else:
            whole = self.sdk.responses.create(model=model, input=history, **options)
        thought, calls = "", []
        for item in whole.output:
            if item.type == "reasoning":
                thought += "".join(part.text for part in item.summary)
            if item.type == "function_call":
                calls.append((item.call_id, item.name, json.loads(item.arguments)))
        usage = whole.usage
        echo = [
            item.model_dump(exclude_none=True, exclude={"parsed_arguments"})
            for item in whole.output
        ]
        return Reply(
            whole.output_text,
            thought,
            calls,
            whole.status,
            (usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens),
            history + echo,
        )

    def results(self, reply, answers):
        return reply.history + [
            {"type": "function_call_output", "call_id": call[0], "output": answer}
            for call, answer in zip(reply.calls, answers, strict=True)
        ]

    def picture_results(self, reply, answers, picture):
        """Results that hold a PNG beside their text."""
        url = f"data:image/png;base64,{picture}"
        return reply.history + [
            {
                "type": "function_call_output",
                "call_id": call[0],
                "output": [
                    {"type": "input_text", "text": answer},
                    {"type": "input_image", "image_url": url},
                ],
            }
            for call, answer in zip(reply.calls, answers, strict=True)
        ]

    def count(self, model, text):
        return self.sdk.responses.input_tokens.count(model=model, input=text).input_tokens

    def go_on(self, model, text, answers):
        """A tool round trip of which the gateway keeps the first half."""
        name, description, schema = TOOL
        tool = {
            "type": "function",
            "name": name,
            "description": description,
            "parameters": schema,
            "strict": False,
        }
        first = self.sdk.responses.create(model=model, input=text, tools=[tool])
        calls = [item for item in first.output if item.type == "function_call"]
        results = [
            {"type": "function_call_output", "call_id": call.call_id, "output": answer}
            for call, answer in zip(calls, answers, strict=True)
        ]
        return self.sdk.responses.create(
            model=model, input=results, tools=[tool], previous_response_id=first.id
        ).output_text


class Anthropic:
    """The Anthropic SDK."""

    name = "anthropic"
    dialect = "anthropic"
    stops = {"end": "end_turn", "tools": "tool_use"}
    bad_request, rate_limited, not_found, unauthorized, broken = (
        anthropic.BadRequestError,
        anthropic.RateLimitError,
        anthropic.NotFoundError,
        anthropic.AuthenticationError,
        anthropic.APIError,
    )

    def __init__(self, url, key):
        self.sdk = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)

    def start(self, text):
        return [{"role": "user", "content": text}]

    def with_files(self, text, picture, document):
        def source(media_type, data):
            return {"type": "base64", "media_type": media_type, "data": data}

        blocks = [
            {"type": "text", "text": text},
            {"type": "image", "source": source("image/png", picture)},
            {"type": "document", "source": source("application/pdf", document)},
        ]
        return [{"role": "user", "content": blocks}]

    def ask(self, model, history, stream=False, tools=False, think=False, schema=False):
        options = {"max_tokens": 4096, "system": SYSTEM}
        if tools:
            name, description, schema_of = TOOL
            options["tools"] = [
                {"name": name, "description": description, "input_schema": schema_of}
            ]
        if think:
            options["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        if schema:
            options["output_config"] = {"format": {"type": "json_schema", "schema": ANSWER}}
        if stream:
            with self.sdk.messages.stream(model=model, messages=history, **options) as events:
                for _ in events:
                    pass
                whole = events.get_final_message()
        else:
            whole = self.sdk.messages.create(model=model, messages=history, **options)
        text, thought, calls = "", "", []
        for block in whole.content:
            if block.type == "text":
                text += block.text
            elif block.type == "thinking":
                thought += block.thinking
            elif block.type == "tool_use":
                calls.append((block.id, block.name, block.input))
        usage = whole.usage
        cached = usage.cache_read_input_tokens or 0
        echo = [
            block.model_dump(exclude_none=True, exclude={"parsed_output"})
            for block in whole.content
        ]
        return Reply(
            text,
            thought,
            calls,
            whole.stop_reason,
            (usage.input_tokens + cached, usage.output_tokens, cached),
            [*history, {"role": "assistant", "content": echo}],
        )

    def results(self, reply, answers):
        blocks = [
            {"type": "tool_result", "tool_use_id": call[0], "content": answer}
            for call, answer in zip(reply.calls, answers, strict=True)
        ]
        return [*reply.history, {"role": "user", "content": blocks}]

    def picture_results(self, reply, answers, picture):
        """Results that hold a PNG beside their text."""
        source = {"type": "base64", "media_type": "image/png", "data": picture}
        blocks = [
            {
                "type": "tool_result",
                "tool_use_id": call[0],
                "content": [
                    {"type": "text", "text": answer},
                    {"type": "image", "source": source},
                ],
            }
            for call, answer in zip(reply.calls, answers, strict=True)
        ]
        return [*reply.history, {"role": "user", "content": blocks}]

    def run_tools(self, model, text, tool):
        """The SDK's own loop, which would have the server keep the conversation if it can."""
        runner = self.sdk.beta.messages.tool_runner(
            model=model,
            max_tokens=100,
            messages=self.start(text),
            tools=[anthropic.beta_tool(tool)],
        )
        return runner.until_done().content[-1].text

    def count(self, model, text):
        counted = self.sdk.messages.count_tokens(model=model, messages=self.start(text))
        return counted.input_tokens

    def models(self):
        return [model.id for model in self.sdk.models.list()]

    def model(self, name):
        return self.sdk.models.retrieve(name).id


class Gemini:
    """The Google Gen AI SDK."""

    name = "gemini"
    dialect = "gemini"
    stops = {"end": "STOP", "tools": "STOP"}
    bad_request = rate_limited = not_found = unauthorized = genai_errors.ClientError
    broken = genai_errors.APIError

    def __init__(self, url, key):
        options = genai_types.HttpOptions(base_url=url)
        self.sdk = google.genai.Client(api_key=key, http_options=options)

    def start(self, text):
        return [genai_types.Content(role="user", parts=[genai_types.Part(text=text)])]

    def with_files(self, text, picture, document):
        parts = [genai_types.Part(text=text)]
        for media_type, data in (("image/png", picture), ("application/pdf", document)):
            decoded = base64.b64decode(data)
            parts.append(genai_types.Part.from_bytes(data=decoded, mime_type=media_type))
        return [genai_types.Content(role="user", parts=parts)]

    def ask(self, model, history, stream=False, tools=False, think=False, schema=False):
        options = {"system_instruction": SYSTEM}
        if tools:
            name, description, schema_of = TOOL
            declared = genai_types.FunctionDeclaration(
                name=name, description=description, parameters_json_schema=schema_of
            )
            options["tools"] = [genai_types.Tool(function_declarations=[declared])]
        if think:
            options["thinking_config"] = genai_types.ThinkingConfig(
                include_thoughts=True, thinking_budget=2048
            )
        if schema:
            options["response_mime_type"] = "application/json"
            options["response_json_schema"] = ANSWER
        config = genai_types.GenerateContentConfig(**options)
        arguments = {"model": model, "contents": history, "config": config}
        if stream:
            answers = list(self.sdk.models.generate_content_stream(**arguments))
        else:
            answers = [self.sdk.models.generate_content(**arguments)]
        parts, stop, usage = [], None, None
        for answer in answers:
            usage = answer.usage_metadata or usage
            for candidate in answer.candidates or []:
                parts += (candidate.content and candidate.content.parts) or []
                stop = candidate.finish_reason or stop
        calls = [
            (part.function_call.id, part.function_call.name, part.function_call.args)
            for part in parts
            if part.function_call
        ]
        said = "".join(part.text for part in parts if part.text and not part.thought)
        thought = "".join(part.text for part in parts if part.text and part.thought)
        answer = genai_types.Content(role="model", parts=parts)
        return Reply(
            said,
            thought,
            calls,
            stop and stop.value,
            (
                usage.prompt_token_count,
                (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
                usage.cached_content_token_count or 0,
            ),
            [*history, answer],
        )

    def results(self, reply, answers):
        parts = [
            genai_types.Part(
                function_response=genai_types.FunctionResponse(
                    id=call[0], name=call[1], response={"result": answer}
                )
            )
            for call, answer in zip(reply.calls, answers, strict=True)
        ]
        return [*reply.history, genai_types.Content(role="user", parts=parts)]

    def run_tools(self, model, text, tool):
        """The SDK's own loop, in a chat that keeps the pieces of each stream."""
        config = genai_types.GenerateContentConfig(tools=[tool])
        chat = self.sdk.chats.create(model=model, config=config)
        return "".join(
            part.text
            for piece in chat.send_message_stream(text)
            for part in piece.parts or []
            if part.text
        )

    def count(self, model, text):
        return self.sdk.models.count_tokens(model=model, contents=text).total_tokens

    def embed(self, model, texts, dimensions):
        config = genai_types.EmbedContentConfig(output_dimensionality=dimensions)
        answer = self.sdk.models.embed_content(model=model, contents=texts, config=config)
        return [each.values for each in answer.embeddings]

    def models(self):
        return [model.name.removeprefix("models/") for model in self.sdk.models.list()]

    def model(self, name):
        return self.sdk.models.get(model=name).name.removeprefix("models/")


ALL = (Chat, Responses, Anthropic, Gemini)
