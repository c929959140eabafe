"""The Node SDKs through the gateway: starts both and leaves the checks to ``node/``."""

import json
import os
import pathlib
import subprocess
import unittest

import test_sdk
from fake import script
from fake.embeddings import vector
from fake.server import Fake
from gateway import KEY, Gateway

# A copy of node/ with the packages installed, made by the script beside this file.
PLACE = os.environ.get("LLMPROXY_SDK_NODE")
TEXTS = ("a", "four")


def suite(url):
    return {
        "url": url,
        "key": KEY,
        "models": {upstream: test_sdk.model_of(upstream) for upstream in test_sdk.MODELS},
        "embeddings": [test_sdk.model_of(upstream, 1) for upstream in ("openai", "gemini")],
        "said": {
            "text": script.TEXT,
            "thought": script.THOUGHT,
            "final": script.FINAL,
            "tokens": test_sdk.TOKENS,
            "json": json.loads(script.JSON_TEXT),
            "calls": [script.arguments(city) for city in script.CITIES],
            "degrees": dict(zip(script.CITIES, test_sdk.DEGREES, strict=True)),
            "vectors": {text: vector(text, None) for text in TEXTS},
        },
    }


@unittest.skipUnless(PLACE, "the Node SDKs are not installed")
class Node(unittest.TestCase):
    def test_the_node_sdks(self):
        fake = Fake(test_sdk.MODELS)
        self.addCleanup(fake.stop)
        gateway = Gateway(test_sdk.config(fake.url))
        self.addCleanup(gateway.stop)
        environment = {**os.environ, "LLMPROXY_SDK_SUITE": json.dumps(suite(gateway.url))}
        tests = sorted(str(path) for path in pathlib.Path(PLACE).glob("*.test.mjs"))
        ran = subprocess.run(
            ["node", "--test", "--test-reporter", "tap", *tests],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)


if __name__ == "__main__":
    unittest.main()
