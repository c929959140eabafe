"""The official SDKs through the gateway: every client on every kind of upstream."""

import base64
import functools
import unittest

import clients
import openai
from fake import script
from fake.embeddings import vector
from fake.server import Fake
from gateway import KEY, Gateway

# Real names, for what the gateway knows of a model decides what it may ask of it.
MODELS = {
    "openai": ["gpt-4.1", "text-embedding-3-small"],
    "responses": ["gpt-5.1"],
    "anthropic": ["claude-sonnet-4-5"],
    "gemini": ["gemini-2.5-pro", "gemini-embedding-001"],
}
KINDS = {
    "openai": "openai",
    "responses": "openai_responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
}
PATHS = {"openai": "/v1", "responses": "/v1", "anthropic": "", "gemini": ""}
# Where each client finds its own vendor, with no gateway between: the upstream of its dialect.
OWN = {"chat": "openai", "responses": "responses", "anthropic": "anthropic", "gemini": "gemini"}
TOKENS = (script.INPUT_TOKENS, script.OUTPUT_TOKENS, script.CACHED_TOKENS)
# One pixel, and a page of nothing.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJg"
    "gg=="
)
DOCUMENT = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
CALLS = [("get_weather", script.arguments(city)) for city in script.CITIES]
DEGREES = ["21 degrees", "4 degrees"]


def get_weather(city: str, unit: str = "C") -> str:
    """Degrees of a city."""
    return DEGREES[script.CITIES.index(city)]


def config(url):
    # Failures must not keep the next test waiting.
    text = (
        f'[server]\napi_keys = ["{KEY}"]\n[state]\nbackend = "memory"\n'
        '[cooldown]\nsteps = ["1ms"]\n'
    )
    for upstream, kind in KINDS.items():
        for name in (upstream, f"limited-{upstream}"):
            text += (
                f"[providers.up_{name.replace('-', '_')}]\n"
                f'kind = "{kind}"\n'
                f'base_url = "{url}/{name}{PATHS[upstream]}"\n'
                f'api_keys = ["{script.KEY}"]\n'
            )
    return text


def model_of(upstream, at=0):
    return f"up_{upstream}/{MODELS[upstream][at]}"


def every_pair(check):
    """Runs a check with each client on each upstream, as ``check(self, client, upstream)``."""

    @functools.wraps(check)
    def test(self):
        for client in self.clients:
            for upstream in MODELS:
                with self.subTest(client=client.name, upstream=upstream):
                    check(self, client, upstream)

    return test


def every_way(check):
    """Runs a check with each pair, whole and streamed, as ``check(…, stream)``."""

    @functools.wraps(check)
    def test(self):
        for client in self.clients:
            for upstream in MODELS:
                for stream in (False, True):
                    with self.subTest(client=client.name, upstream=upstream, stream=stream):
                        check(self, client, upstream, stream)

    return test


class Suite(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.fake = Fake(MODELS)
        cls.addClassCleanup(cls.fake.stop)
        cls.gateway = Gateway(config(cls.fake.url))
        cls.addClassCleanup(cls.gateway.stop)
        cls.clients = [make(cls.gateway.url, KEY) for make in clients.ALL]
        cls.direct = {
            make.name: make(f"{cls.fake.url}/{OWN[make.name]}", script.KEY) for make in clients.ALL
        }

    def client(self, name):
        return next(client for client in self.clients if client.name == name)

    def seen(self):
        """The body of the last request that the upstream took."""
        return self.fake.seen[-1][2]

    @every_way
    def test_a_plain_answer_arrives_whole(self, client, upstream, stream):
        reply = client.ask(model_of(upstream), client.start("[plain] hello"), stream)
        self.assertEqual(reply.text, script.TEXT)
        self.assertEqual(reply.calls, [])
        self.assertEqual(reply.thought, "")
        self.assertEqual(reply.stop, client.stops["end"])

    @every_way
    def test_usage_is_counted(self, client, upstream, stream):
        reply = client.ask(model_of(upstream), client.start("[plain] hello"), stream)
        self.assertEqual(reply.tokens, TOKENS)

    @every_way
    def test_instructions_reach_the_upstream(self, client, upstream, stream):
        client.ask(model_of(upstream), client.start("[plain] hello"), stream)
        self.assertIn(clients.SYSTEM, str(self.seen()))

    @every_way
    def test_a_tool_round_trip_ends_with_the_answer(self, client, upstream, stream):
        model = model_of(upstream)
        reply = client.ask(model, client.start("[tools] weather?"), stream, tools=True)
        self.assertEqual([call[1:] for call in reply.calls], CALLS)
        self.assertEqual(reply.stop, client.stops["tools"])
        history = client.results(reply, DEGREES)
        reply = client.ask(model, history, stream, tools=True)
        self.assertEqual(reply.text, script.FINAL)
        self.assertEqual(reply.stop, client.stops["end"])

    def ten_turns(self, client, model, stream, think):
        """What is said in each turn of a conversation: calls, their results, an answer, and again."""
        history = client.start(f"[{'toolthink' if think else 'tools'}] weather?")
        options = {"stream": stream, "tools": True, "think": think}
        said = []
        for _ in range(5):
            calling = client.ask(model, history, **options)
            answer = client.ask(model, client.results(calling, DEGREES), **options)
            for reply in (calling, answer):
                calls = [call[1:] for call in reply.calls]
                said.append((reply.text, reply.thought, calls, reply.stop, reply.tokens))
            history = answer.history + client.start("and tomorrow?")[-1:]
        return said

    @every_way
    def test_ten_turns_with_tools_are_the_same_as_without_the_gateway(
        self, client, upstream, stream
    ):
        own = OWN[client.name]
        for think in (False, True):
            with self.subTest(think=think):
                direct = self.ten_turns(self.direct[client.name], MODELS[own][0], stream, think)
                thought = script.THOUGHT if think else ""
                self.assertEqual(direct[-2][:3], ("", thought, CALLS))
                self.assertEqual(direct[-1][:3], (script.FINAL, thought, []))
                said = self.ten_turns(client, model_of(upstream), stream, think)
                self.assertEqual(said, direct)

    @every_way
    def test_pictures_and_documents_reach_the_upstream(self, client, upstream, stream):
        history = client.with_files("[plain] what is this?", PICTURE, DOCUMENT)
        reply = client.ask(model_of(upstream), history, stream)
        self.assertEqual(reply.text, script.TEXT)
        seen = str(self.seen())
        self.assertIn(PICTURE, seen)
        self.assertIn(DOCUMENT, seen)

    def test_pictures_in_tool_results_reach_the_upstream(self):
        for name in ("responses", "anthropic"):
            for upstream in MODELS:
                for stream in (False, True):
                    with self.subTest(client=name, upstream=upstream, stream=stream):
                        client, model = self.client(name), model_of(upstream)
                        start = client.start("[tools] weather?")
                        reply = client.ask(model, start, stream, tools=True)
                        history = client.picture_results(reply, DEGREES, PICTURE)
                        client.ask(model, history, stream, tools=True)
                        self.assertIn(PICTURE, str(self.seen()))

    def test_the_sdks_own_tool_loops_come_to_the_end(self):
        for name in ("anthropic", "gemini"):
            for upstream in MODELS:
                with self.subTest(client=name, upstream=upstream):
                    client, model = self.client(name), model_of(upstream)
                    said = client.run_tools(model, "[tools] weather?", get_weather)
                    self.assertEqual(said, script.FINAL)

    def test_a_kept_response_is_gone_on_from(self):
        client = self.client("responses")
        for upstream in MODELS.keys() - {"responses"}:  # that one would keep it itself
            with self.subTest(upstream=upstream):
                said = client.go_on(model_of(upstream), "[tools] weather?", DEGREES)
                self.assertEqual(said, script.FINAL)

    @every_way
    def test_thinking_is_shown(self, client, upstream, stream):
        model = model_of(upstream)
        reply = client.ask(model, client.start("[think] hm"), stream, think=True)
        self.assertEqual(reply.thought, script.THOUGHT)
        self.assertEqual(reply.text, script.TEXT)

    @every_way
    def test_a_thinking_model_gets_its_signature_back(self, client, upstream, stream):
        model = model_of(upstream)
        options = {"stream": stream, "tools": True, "think": True}
        reply = client.ask(model, client.start("[toolthink] weather?"), **options)
        self.assertEqual(reply.thought, script.THOUGHT)
        self.assertEqual([call[1:] for call in reply.calls], CALLS)
        reply = client.ask(model, client.results(reply, DEGREES), **options)
        self.assertEqual(reply.text, script.FINAL)

    def test_a_client_that_keeps_no_signatures_has_them_kept(self):
        client = self.client("chat")
        for upstream in MODELS:
            for stream in (False, True):
                with self.subTest(upstream=upstream, stream=stream):
                    model = model_of(upstream)
                    options = {"stream": stream, "tools": True, "think": True}
                    reply = client.ask(model, client.start("[toolthink] weather?"), **options)
                    history = client.bare(client.results(reply, DEGREES))
                    self.assertEqual(client.ask(model, history, **options).text, script.FINAL)

    def test_nobody_has_signatures_kept_for_whom_none_were_made(self):
        client = self.client("chat")
        for upstream in MODELS:
            with self.subTest(upstream=upstream):
                model, options = model_of(upstream), {"tools": True, "think": True}
                reply = client.ask(model, client.start("[forgetful] weather?"), **options)
                history = client.bare(client.results(reply, DEGREES))
                self.assertEqual(client.ask(model, history, **options).text, script.FINAL)

    def test_a_kept_response_is_looked_at_and_deleted(self):
        sdk = self.client("responses").sdk
        for upstream in MODELS.keys() - {"responses"}:
            with self.subTest(upstream=upstream):
                made = sdk.responses.create(model=model_of(upstream), input="[plain] hello")
                kept = sdk.responses.retrieve(made.id)
                self.assertEqual(kept.output_text, script.TEXT)
                items = list(sdk.responses.input_items.list(made.id))
                self.assertEqual(items[0].content[0].text, "[plain] hello")
                sdk.responses.delete(made.id)
                with self.assertRaises(openai.NotFoundError):
                    sdk.responses.retrieve(made.id)

    @every_way
    def test_a_schema_reaches_the_upstream(self, client, upstream, stream):
        model = model_of(upstream)
        reply = client.ask(model, client.start("[json] weather?"), stream, schema=True)
        self.assertEqual(reply.text, script.JSON_TEXT)
        self.assertIn("degrees", str(self.seen()))

    @every_way
    def test_a_bad_request_keeps_its_message(self, client, upstream, stream):
        with self.assertRaises(client.bad_request) as caught:
            client.ask(model_of(upstream), client.start("[bad] hello"), stream)
        self.assertIn("the fake does not like this", str(caught.exception))
        self.assert_status(caught.exception, 400)

    @every_way
    def test_cooling_credentials_are_a_rate_limit(self, client, upstream, stream):
        model = model_of(upstream).replace("up_", "up_limited_")
        with self.assertRaises(client.rate_limited) as caught:
            client.ask(model, client.start("[plain] hello"), stream)
        self.assert_status(caught.exception, 429)

    @every_pair
    def test_a_stream_that_breaks_raises(self, client, upstream):
        with self.assertRaises(client.broken) as caught:
            client.ask(model_of(upstream), client.start("[broken] hello"), stream=True)
        self.assertIn("the engine broke", str(caught.exception))

    @every_pair
    def test_an_unknown_model_is_not_found(self, client, upstream):
        with self.assertRaises(client.not_found) as caught:
            client.ask(f"no_such_{upstream}/model", client.start("[plain] hello"))
        self.assert_status(caught.exception, 404)

    def test_a_wrong_key_is_unauthorized(self):
        for make in clients.ALL:
            with self.subTest(client=make.name):
                client = make(self.gateway.url, "wrong")
                with self.assertRaises(client.unauthorized) as caught:
                    client.ask(model_of("openai"), client.start("[plain] hello"))
                self.assert_status(caught.exception, 401)

    def test_tokens_are_counted(self):
        for name in ("responses", "anthropic", "gemini"):
            for upstream in MODELS:
                with self.subTest(client=name, upstream=upstream):
                    client = self.client(name)
                    count = client.count(model_of(upstream), "[plain] hello")
                    if upstream != "openai":
                        self.assertEqual(count, script.COUNTED_TOKENS)
                    else:  # estimated
                        self.assertGreater(count, 0)

    def test_a_conversation_is_made_shorter(self):
        sdk = self.client("responses").sdk
        for upstream in MODELS:
            with self.subTest(upstream=upstream):
                model, start = model_of(upstream), {"role": "user", "content": "[plain] hello"}
                made = sdk.responses.compact(model=model, input=[start])
                self.assertEqual(made.object, "response.compaction")
                items = [item.model_dump(exclude_none=True) for item in made.output]
                self.assertIn(script.TEXT, items[-1]["content"][0]["text"])
                more = [*items, {"role": "user", "content": "go on"}]
                said = sdk.responses.create(model=model, input=more, store=False)
                self.assertEqual(said.output_text, script.TEXT)

    def test_embeddings_arrive_in_order(self):
        texts = ["a", "four", "eleven char"]
        expected = [vector(text, 4) for text in texts]
        for name in ("chat", "gemini"):
            for upstream in ("openai", "gemini"):
                with self.subTest(client=name, upstream=upstream):
                    model = model_of(upstream, 1)
                    self.assertEqual(self.client(name).embed(model, texts, 4), expected)

    def test_text_completions_work_with_every_upstream(self):
        for upstream in MODELS:
            for stream in (False, True):
                with self.subTest(upstream=upstream, stream=stream):
                    client = self.client("chat")
                    said = client.complete(model_of(upstream), "[plain] hello", stream)
                    self.assertEqual(said, script.TEXT)

    def test_models_are_listed(self):
        expected = {f"up_{upstream}/{name}" for upstream in MODELS for name in MODELS[upstream]}
        for client in self.clients:
            with self.subTest(client=client.name):
                self.assertLessEqual(expected, set(client.models()))

    @every_pair
    def test_a_model_is_looked_up(self, client, upstream):
        name = model_of(upstream)
        self.assertEqual(client.model(name), name)

    def assert_status(self, error, status):
        self.assertEqual(getattr(error, "status_code", None) or error.code, status)


if __name__ == "__main__":
    unittest.main()
