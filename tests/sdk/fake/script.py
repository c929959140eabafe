"""What the fake says, by the script that the user's text names, and how it refuses."""

import base64
import re

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


class NoThreads(Exception):
    """What Anthropic answers where it cannot keep the conversation."""


def need(condition, why):
    if not condition:
        raise Refused(why)


def known(value, names, where):
    extra = set(value) - set(names.split())
    need(not extra, f"unknown members in {where}: {sorted(extra)}")


class Turn:
    """What a request asks for, whatever its dialect."""

    def __init__(self, texts, results, stream):
        """``texts`` are the user's, ``results`` the tool's, of the whole conversation."""
        self.script = script_of(texts)
        self.results = results
        self.stream = stream
        # Each text of the user's is worth one round of calls.
        self.round = len(results) // len(CITIES)
        self.rounds = sum(1 for text in texts if text.strip())

    def thinks(self):
        return self.script in ("think", "toolthink", "forgetful")

    def calls(self):
        return CITIES if self.script in TOOL_SCRIPTS and self.round < self.rounds else ()

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
