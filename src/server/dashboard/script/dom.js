"use strict";

// Elements and words. Whatever comes from the server is set as text or as a checked attribute;
// nothing here reads markup.

const $ = (id) => document.getElementById(id);

/** Makes an element: `attributes` as in markup, children as elements or texts. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Makes an element of a drawing. */
function drawn(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Sets a text, if it is another one: readers are not told twice. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Brings the children of `parent` in line with `items`. A child stays the same element for as long
 * as its item is there: what is open stays open, what has the focus keeps it.
 */
function keep(parent, items, keyOf, make, update) {
  const known = (parent.kept ??= new Map());
  const wanted = new Set(items.map(keyOf));
  for (const [key, node] of known) {
    if (wanted.has(key)) continue;
    node.remove();
    known.delete(key);
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    if (!node) {
      node = make(item);
      known.set(key, node);
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
}

/** Server's time minus ours, in milliseconds. */
let ahead = 0;

const now = () => Date.now() + ahead;

/** `45 s`, `2 m 5 s`, `3 h 20 m`, `4 d 2 h`. */
function span(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (a, unitA, b, unitB) => (b ? `${a} ${unitA} ${b} ${unitB}` : `${a} ${unitA}`);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return two(Math.floor(seconds / 60), "m", seconds % 60, "s");
  if (seconds < 86400) return two(Math.floor(seconds / 3600), "h", Math.floor(seconds / 60) % 60, "m");
  return two(Math.floor(seconds / 86400), "d", Math.floor(seconds / 3600) % 24, "h");
}

/** `340 ms`, `1.2 s`, `2 m 5 s`. */
function took(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return `${ms} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : span(ms);
}

/** `940`, `12.3k`, `4.5M`. */
function brief(count) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (count >= size) {
      const value = count / size;
      return (value < 100 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)) + unit;
    }
  }
  return String(count);
}

const whole = (count) => count.toLocaleString("en");

const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

/** Dollars with as many digits as they need. */
function dollars(cost) {
  if (cost === null || cost === undefined) return "";
  if (cost === 0) return "$0";
  return `$${cost < 0.01 ? cost.toFixed(5) : cost < 10 ? cost.toFixed(3) : cost.toFixed(2)}`;
}

const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

const minuteOf = (ms) => clock(ms).slice(0, 5);

/** An address to open, if it is one of the web and encrypted; what else a text may be is no link. */
function safeLink(text) {
  try {
    const url = new URL(text);
    return url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

// Whatever counts down says until when, and is told the rest once a second.
function countDown() {
  for (const node of document.querySelectorAll("[data-until]")) {
    const left = Number(node.dataset.until) - now();
    say(node, left > 0 ? `${node.dataset.before ?? ""}${span(left)}${node.dataset.after ?? ""}` : (node.dataset.over ?? ""));
  }
  for (const node of document.querySelectorAll("[data-since]")) {
    say(node, `${span(Math.max(1000, now() - Number(node.dataset.since)))} ago`);
  }
}

/** Lets a node count down to `until`, or say nothing. */
function until(node, end, words = {}) {
  if (!end) {
    delete node.dataset.until;
    say(node, "");
    return;
  }
  Object.assign(node.dataset, { until: end, before: "", after: "", over: "", ...words });
}

let saidLast = 0;

/** Says what came of something, for a few seconds. */
function tell(text) {
  clearTimeout(saidLast);
  say($("said"), text);
  saidLast = setTimeout(() => say($("said"), ""), 8000);
}

/** Asks before something is done. */
function sure({ title, text, verb }) {
  const dialog = $("ask");
  say($("ask-title"), title);
  say($("ask-text"), text);
  say($("ask-yes"), verb);
  return new Promise((resolve) => {
    const done = (answer) => {
      $("ask-yes").onclick = $("ask-no").onclick = dialog.oncancel = null;
      dialog.close();
      resolve(answer);
    };
    $("ask-yes").onclick = () => done(true);
    $("ask-no").onclick = () => done(false);
    dialog.oncancel = () => done(false);
    dialog.showModal();
    $("ask-no").focus();
  });
}

