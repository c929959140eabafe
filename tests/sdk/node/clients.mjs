// One face over the Node SDKs: ask, let the SDK's own loop call the tool, tell what came of it.
// Streams are read through each SDK's own accumulating helper, the strictest reader of their order.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { GoogleGenAI } from "@google/genai";
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const NAME = "get_weather";
const DESCRIPTION = "Degrees of a city";
const Place = z.object({ city: z.string(), unit: z.enum(["C", "F"]).optional() });
const PLACE = z.toJSONSchema(Place);
const Answer = z.object({ city: z.string(), degrees: z.number() });
const ANSWER = z.toJSONSchema(Answer);
// Longer than the budget of thinking, as Anthropic demands.
const MAX_TOKENS = 4096;
const BUDGET = 2048;

globalThis.AI_SDK_LOG_WARNINGS = false;

/** The last piece of a stream. */
async function last(pieces) {
  let piece;
  for await (piece of pieces);
  return piece;
}

/** The OpenAI SDK on /v1/chat/completions; `runTools` is its loop. */
function chat(url, apiKey) {
  const sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
  const start = (model, text) => ({ model, messages: [{ role: "user", content: text }] });
  return {
    name: "openai chat",
    sdk,
    stop: "stop",
    async ask(model, text, { stream, think, weather }) {
      const body = start(model, text);
      if (think) body.reasoning_effort = "low";
      if (stream) body.stream_options = { include_usage: true };
      const { completions } = sdk.chat;
      let whole;
      let streamed = "";
      if (weather) {
        const call = { name: NAME, description: DESCRIPTION, parameters: PLACE, parse: JSON.parse, function: weather };
        const runner = completions.runTools({ ...body, stream, tools: [{ type: "function", function: call }] });
        whole = await runner.finalChatCompletion();
      } else if (stream) {
        const runner = completions.stream(body);
        // It keeps of a member it does not know the latest piece only.
        runner.on("chunk", ({ choices }) => (streamed += choices[0]?.delta.reasoning_content ?? ""));
        whole = await runner.finalChatCompletion();
      } else {
        whole = await completions.create(body);
      }
      const [{ message, finish_reason }] = whole.choices;
      const { prompt_tokens, completion_tokens, prompt_tokens_details } = whole.usage;
      return {
        text: message.content,
        thought: streamed || (message.reasoning_content ?? ""),
        stop: finish_reason,
        tokens: [prompt_tokens, completion_tokens, prompt_tokens_details.cached_tokens],
        id: whole._request_id,
      };
    },
    async fill(model, text, stream) {
      const body = { ...start(model, text), response_format: zodResponseFormat(Answer, "answer") };
      const { completions } = sdk.chat;
      const whole = await (stream ? completions.stream(body).finalChatCompletion() : completions.parse(body));
      return whole.choices[0].message.parsed;
    },
    async embed(model, input) {
      return (await sdk.embeddings.create({ model, input })).data.map((each) => each.embedding);
    },
    async models() {
      const ids = [];
      for await (const { id } of sdk.models.list()) ids.push(id);
      return ids;
    },
  };
}

/** The OpenAI SDK on /v1/responses, which has no loop of its own. */
function responses(url, apiKey) {
  const sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
  return {
    name: "openai responses",
    sdk,
    stop: "completed",
    async ask(model, text, { stream, think, weather }) {
      const body = { model, input: [{ role: "user", content: text }], store: false };
      if (think) body.reasoning = { effort: "low", summary: "auto" };
      if (think) body.include = ["reasoning.encrypted_content"];
      if (weather) {
        const call = { type: "function", name: NAME, description: DESCRIPTION, parameters: PLACE, strict: false };
        body.tools = [call];
      }
      for (;;) {
        let whole;
        if (stream) {
          const events = sdk.responses.stream(body);
          // The SDK hands failures on as events; an agent raises them.
          for await (const event of events) {
            if (event.type === "error") throw new Error(event.message);
            if (event.type === "response.failed") throw new Error(event.response.error.message);
          }
          whole = await events.finalResponse();
        } else {
          whole = await sdk.responses.create(body);
        }
        const calls = whole.output.filter((item) => item.type === "function_call");
        const thoughts = whole.output.filter((item) => item.type === "reasoning");
        const { input_tokens, output_tokens, input_tokens_details } = whole.usage;
        if (calls.length === 0) {
          return {
            text: whole.output_text,
            thought: thoughts.flatMap((item) => item.summary.map((part) => part.text)).join(""),
            stop: whole.status,
            tokens: [input_tokens, output_tokens, input_tokens_details.cached_tokens],
            id: whole._request_id,
          };
        }
        body.input.push(...whole.output.map(({ parsed_arguments: _, ...item }) => item));
        for (const call of calls) {
          const output = weather(JSON.parse(call.arguments));
          body.input.push({ type: "function_call_output", call_id: call.call_id, output });
        }
      }
    },
    async fill(model, input, stream) {
      const body = { model, input, text: { format: zodTextFormat(Answer, "answer") } };
      const whole = await (stream ? sdk.responses.stream(body).finalResponse() : sdk.responses.parse(body));
      return whole.output_parsed;
    },
  };
}

/** The Anthropic SDK; `toolRunner` is its loop. */
function anthropic(url, apiKey) {
  const sdk = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
  const start = (model, text) => ({ model, max_tokens: MAX_TOKENS, messages: [{ role: "user", content: text }] });
  return {
    name: "anthropic",
    sdk,
    stop: "end_turn",
    async ask(model, text, { stream, think, weather }) {
      const body = start(model, text);
      if (think) body.thinking = { type: "enabled", budget_tokens: BUDGET };
      let whole;
      if (weather) {
        const call = betaZodTool({ name: NAME, description: DESCRIPTION, inputSchema: Place, run: weather });
        whole = await sdk.beta.messages.toolRunner({ ...body, stream, tools: [call] }).runUntilDone();
      } else {
        whole = await (stream ? sdk.messages.stream(body).finalMessage() : sdk.messages.create(body));
      }
      const { input_tokens, output_tokens, cache_read_input_tokens: cached } = whole.usage;
      const all = (type, name) => whole.content.filter((block) => block.type === type).map((block) => block[name]);
      return {
        text: all("text", "text").join(""),
        thought: all("thinking", "thinking").join(""),
        stop: whole.stop_reason,
        tokens: [input_tokens + cached, output_tokens, cached],
        id: whole._request_id,
      };
    },
    async fill(model, text, stream) {
      const body = { ...start(model, text), output_config: { format: zodOutputFormat(Answer) } };
      const whole = await (stream ? sdk.messages.stream(body).finalMessage() : sdk.messages.parse(body));
      return whole.parsed_output;
    },
    async models() {
      const ids = [];
      for await (const { id } of sdk.models.list({ limit: 2 })) ids.push(id);
      return ids;
    },
  };
}

/** The Google Gen AI SDK; a callable tool starts its loop. */
function gemini(url, apiKey) {
  const sdk = new GoogleGenAI({ apiKey, httpOptions: { baseUrl: url } });
  const callable = (weather) => ({
    tool: async () => ({
      functionDeclarations: [{ name: NAME, description: DESCRIPTION, parametersJsonSchema: PLACE }],
    }),
    callTool: async (calls) =>
      calls.map(({ id, name, args }) => ({ functionResponse: { id, name, response: { result: weather(args) } } })),
  });
  return {
    name: "gemini",
    sdk,
    stop: "STOP",
    async ask(model, contents, { stream, think, weather }) {
      const config = {};
      if (think) config.thinkingConfig = { includeThoughts: true, thinkingBudget: BUDGET };
      if (weather) config.tools = [callable(weather)];
      const asked = { model, contents, config };
      const pieces = stream
        ? await sdk.models.generateContentStream(asked)
        : [await sdk.models.generateContent(asked)];
      const parts = [];
      let stop;
      let usage;
      for await (const piece of pieces) {
        const candidate = piece.candidates?.[0];
        parts.push(...(candidate?.content?.parts ?? []));
        stop = candidate?.finishReason ?? stop;
        usage = piece.usageMetadata ?? usage;
      }
      const texts = (thought) => parts.filter((part) => part.text && Boolean(part.thought) === thought);
      const joined = (thought) => texts(thought).map((part) => part.text).join("");
      const written = (usage.candidatesTokenCount ?? 0) + (usage.thoughtsTokenCount ?? 0);
      return {
        text: joined(false),
        thought: joined(true),
        stop,
        tokens: [usage.promptTokenCount, written, usage.cachedContentTokenCount ?? 0],
      };
    },
    async fill(model, contents, stream) {
      const config = { responseMimeType: "application/json", responseJsonSchema: ANSWER };
      const asked = { model, contents, config };
      if (!stream) return JSON.parse((await sdk.models.generateContent(asked)).text);
      let text = "";
      for await (const piece of await sdk.models.generateContentStream(asked)) text += piece.text ?? "";
      return JSON.parse(text);
    },
    async embed(model, contents) {
      return (await sdk.models.embedContent({ model, contents })).embeddings.map((each) => each.values);
    },
    async models() {
      const ids = [];
      const pages = await sdk.models.list({ config: { pageSize: 2 } });
      for await (const { name } of pages) ids.push(name.replace("models/", ""));
      return ids;
    },
  };
}

/** Vercel's AI SDK with one of its providers; `options` ask it for thinking. */
function vercel(name, models, embeddings, options) {
  const open = (stream, call) => {
    let failure;
    const result = call({ maxRetries: 0, ...(stream && { onError: ({ error }) => (failure = error) }) });
    return { result, failed: () => failure };
  };
  return {
    name: `ai ${name}`,
    stop: "stop",
    async ask(model, prompt, { stream, think, weather }) {
      const asked = { model: models(model), prompt };
      if (think) asked.providerOptions = options;
      if (weather) {
        const call = tool({ description: DESCRIPTION, inputSchema: Place, execute: async (place) => weather(place) });
        Object.assign(asked, { tools: { [NAME]: call }, stopWhen: stepCountIs(5) });
      }
      const { result, failed } = open(stream, (more) => (stream ? streamText : generateText)({ ...asked, ...more }));
      const whole = await result;
      if (stream) await last(whole.fullStream);
      if (failed()) throw failed();
      const { inputTokens, outputTokens, inputTokenDetails } = await whole.usage;
      return {
        text: await whole.text,
        thought: (await whole.reasoningText) ?? "",
        stop: await whole.finishReason,
        tokens: [inputTokens, outputTokens, inputTokenDetails.cacheReadTokens],
      };
    },
    async fill(model, prompt, stream) {
      const asked = { model: models(model), prompt, schema: Answer };
      const { result } = open(stream, (more) => (stream ? streamObject : generateObject)({ ...asked, ...more }));
      const whole = await result;
      if (stream) await last(whole.partialObjectStream);
      return whole.object;
    },
    embed:
      embeddings &&
      (async (model, values) => (await embedMany({ model: embeddings(model), values, maxRetries: 0 })).embeddings),
  };
}

/** Every client, to talk to the gateway at `url`. */
export function clients(url, apiKey) {
  const baseURL = `${url}/v1`;
  const openai = createOpenAI({ baseURL, apiKey });
  const claude = createAnthropic({ baseURL, apiKey });
  const google = createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey });
  const any = createOpenAICompatible({
    name: "any",
    baseURL,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const effort = { reasoningEffort: "low" };
  // It cannot tell from a name with a provider that the model thinks.
  const summary = { ...effort, forceReasoning: true, reasoningSummary: "auto", store: false };
  return [
    chat(url, apiKey),
    responses(url, apiKey),
    anthropic(url, apiKey),
    gemini(url, apiKey),
    { ...vercel("openai chat", openai.chat, openai.embedding, { openai: effort }), hidesThoughts: true },
    vercel("openai responses", openai.responses, null, { openai: summary }),
    vercel("anthropic", claude, null, { anthropic: { thinking: { type: "enabled", budgetTokens: BUDGET } } }),
    vercel("google", google, google.embedding, {
      google: { thinkingConfig: { includeThoughts: true, thinkingBudget: BUDGET } },
    }),
    vercel("compatible", any, any.embeddingModel, { any: effort }),
  ];
}
