// The way to the server. The key goes with each request in a header, which an `EventSource` cannot
// send: the events are read from an ordinary answer.

const KEY = "llmproxy-key";

/** Where the page is, for a proxy that puts it below another path. */
const here = location.pathname.replace(/\/+$/, "");

const root = here.replace(/\/dashboard$/, "");

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return { ...(key ? { authorization: `Bearer ${key}` } : {}), ...more };
}

/** An answer that is none: its status, and the server's own sentence. */
class Refusal extends Error {
  constructor(status, message, wait) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

async function refusal(answer) {
  let message = `the server answered with ${answer.status}`;
  try {
    message = (await answer.json()).error.message ?? message;
  } catch {
    // Not ours, perhaps a proxy's: the status has to do.
  }
  return new Refusal(answer.status, message, Number(answer.headers.get("retry-after")) || 0);
}

/** Asks for a document. */
async function get(path) {
  const answer = await fetch(path, { headers: headers(), cache: "no-store" });
  if (!answer.ok) throw await refusal(answer);
  return answer.json();
}

/** Does something. The header is one that no page of another origin may send. */
async function post(what, body) {
  const answer = await fetch(`${here}/api/${what}`, {
    method: "POST",
    headers: headers({ "content-type": "application/json", "x-llmproxy-dashboard": "1" }),
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw await refusal(answer);
  return answer.json();
}

/** Longest silence of a stream that is alive: the server says something every ten seconds. */
const SILENCE = 30000;

/** Reads events until the stream ends; `told` is called with each one's name and data. */
async function listen(told, signal) {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE);
  const answer = await fetch(`${here}/api/live`, {
    headers: headers(),
    cache: "no-store",
    signal: AbortSignal.any([signal, silence.signal]),
  });
  if (!answer.ok) {
    clearTimeout(timer);
    throw await refusal(answer);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE);
      unread += value;
      for (let end; (end = unread.indexOf("\n\n")) >= 0; unread = unread.slice(end + 2)) {
        const event = unread.slice(0, end);
        const name = /^event: (.*)$/m.exec(event);
        const data = /^data: (.*)$/m.exec(event);
        if (name && data) told(name[1], JSON.parse(data[1]));
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

