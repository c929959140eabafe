// The Node SDKs through the gateway: every client on every kind of upstream. `test_node.py` starts
// both, and tells here where they are and what the upstream says.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { clients } from "./clients.mjs";

const { url, key, models, embeddings, said } = JSON.parse(process.env.LLMPROXY_SDK_SUITE);
const all = clients(url, key);
const called = (name) => all.find((client) => client.name === name);

/** Runs a check with each client on each upstream, whole and streamed. */
function everyWay(title, check) {
  for (const client of all) {
    for (const [upstream, model] of Object.entries(models)) {
      for (const stream of [false, true]) {
        const way = `${client.name} on ${upstream}, ${stream ? "streamed" : "whole"}`;
        test(`${title}: ${way}`, () => check(client, model, stream));
      }
    }
  }
}

/** The tool, and the calls of it. */
function tool() {
  const calls = [];
  const weather = (place) => {
    calls.push(place);
    return said.degrees[place.city];
  };
  return { calls, weather };
}

const limited = (model) => model.replace("up_", "up_limited_");
const status = (error) => error.status ?? error.statusCode;
const header = (error, name) => error.headers?.get(name) ?? error.responseHeaders?.[name];

everyWay("a plain answer arrives whole", async (client, model, stream) => {
  const answer = await client.ask(model, "[plain] hello", { stream });
  assert.equal(answer.text, said.text);
  assert.equal(answer.thought, "");
  assert.equal(answer.stop, client.stop);
  assert.deepEqual(answer.tokens, said.tokens);
});

everyWay("thinking is shown", async (client, model, stream) => {
  const answer = await client.ask(model, "[think] hm", { stream, think: true });
  assert.deepEqual([answer.thought, answer.text], [client.hidesThoughts ? "" : said.thought, said.text]);
});

everyWay("a loop over tools comes to its end", async (client, model, stream) => {
  for (const [script, think] of [["tools", false], ["toolthink", true]]) {
    const { calls, weather } = tool();
    const answer = await client.ask(model, `[${script}] weather?`, { stream, think, weather });
    assert.deepEqual(calls, said.calls, script);
    assert.equal(answer.text, said.final, script);
    assert.equal(answer.stop, client.stop, script);
  }
});

everyWay("a schema is filled", async (client, model, stream) => {
  assert.deepEqual(await client.fill(model, "[json] weather?", stream), said.json);
});

everyWay("a bad request keeps its message", async (client, model, stream) => {
  await assert.rejects(client.ask(model, "[bad] hello", { stream }), (error) => {
    assert.equal(status(error), 400, error);
    assert.match(error.message, /the fake does not like this/);
    return true;
  });
});

everyWay("cooling credentials are a rate limit", async (client, model, stream) => {
  await assert.rejects(client.ask(limited(model), "[plain] hello", { stream }), (error) => {
    assert.equal(status(error), 429, error);
    // Google's SDK keeps no headers.
    if (client.name !== "gemini") assert.ok(Number(header(error, "retry-after")) > 0);
    return true;
  });
});

everyWay("a stream that breaks throws", async (client, model, stream) => {
  if (!stream) return;
  await assert.rejects(client.ask(model, "[broken] hello", { stream }), (error) => {
    // Vercel's throws the event itself.
    assert.match(error.message ?? JSON.stringify(error), /the engine broke/);
    return true;
  });
});

for (const client of all) {
  test(`an unknown model is not found: ${client.name}`, async () => {
    await assert.rejects(client.ask("no_such/model", "[plain] hello", {}), (error) => status(error) === 404);
  });
}

for (const client of clients(url, "wrong")) {
  test(`a wrong key is unauthorized: ${client.name}`, async () => {
    const asked = client.ask(models.openai, "[plain] hello", {});
    await assert.rejects(asked, (error) => status(error) === 401);
  });
}

test("errors are of the classes that the SDKs have for them", async () => {
  for (const [name, sdk] of [["openai chat", OpenAI], ["openai responses", OpenAI], ["anthropic", Anthropic]]) {
    const client = called(name);
    await assert.rejects(client.ask(models.openai, "[bad]", {}), sdk.BadRequestError);
    await assert.rejects(client.ask("no_such/model", "[plain]", {}), sdk.NotFoundError);
    await assert.rejects(client.ask(limited(models.openai), "[plain]", {}), sdk.RateLimitError);
  }
});

for (const name of ["openai chat", "openai responses", "anthropic"]) {
  test(`answers and errors name their request: ${name}`, async () => {
    for (const model of Object.values(models)) {
      assert.ok((await called(name).ask(model, "[plain] hello", {})).id, model);
      await assert.rejects(called(name).ask(model, "[bad] hello", {}), (error) => Boolean(error.requestID));
    }
  });
}

test("embeddings arrive in order", async () => {
  for (const client of all.filter((client) => client.embed)) {
    for (const model of embeddings) {
      const vectors = await client.embed(model, Object.keys(said.vectors));
      assert.deepEqual(vectors, Object.values(said.vectors), `${client.name} on ${model}`);
    }
  }
});

test("models are listed page by page", async () => {
  const expected = [...Object.values(models), ...embeddings];
  for (const client of all.filter((client) => client.models)) {
    const listed = await client.models();
    assert.deepEqual(expected.filter((name) => !listed.includes(name)), [], client.name);
    assert.equal(new Set(listed).size, listed.length, client.name);
  }
});

test("a client that leaves is no failure", async () => {
  const { sdk } = called("openai chat");
  const messages = [{ role: "user", content: "[plain] hello" }];
  for (const model of Object.values(models)) {
    for await (const _ of await sdk.chat.completions.create({ model, messages, stream: true })) break;
    const answer = await called("openai chat").ask(model, "[plain] hello", {});
    assert.equal(answer.text, said.text, model);
  }
});
