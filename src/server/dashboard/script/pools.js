// Pools, their credentials and quotas, and the figures at the top.

const STATES = {
  ready: "ready",
  cooling: "cooling",
  exhausted: "exhausted",
  expired: "expired",
  action_needed: "action needed",
  disabled: "disabled",
  dead: "dead",
};

/** What a pool of more credentials than fit on its page is searched for, by provider. */
const looking = new Map();

let pools = [];
let mayAct = false;

function showPools(told) {
  pools = told;
  $("no-pools").hidden = told.length > 0;
  $("refresh-all").hidden = !mayAct || !told.length;
  keep($("pools"), told, (pool) => pool.id, makePool, updatePool);
  showFigures();
  countDown();
}

function showFigures() {
  const sum = (of) => pools.reduce((total, pool) => total + of(pool), 0);
  const ready = sum((pool) => pool.states.ready ?? 0);
  const all = sum((pool) => pool.credentials);
  const busy = sum((pool) => pool.leases);
  const waiting = sum((pool) => pool.waiters);
  const total = (list) => (list ?? []).reduce((of, value) => of + value, 0);
  const requests = total(traffic?.requests);
  const failures = total(traffic?.failures);
  const figures = [
    { name: "Credentials ready", value: `${whole(ready)} of ${whole(all)}`, detail: all ? resting() : "none yet", tone: all && !ready ? "bad" : "" },
    { name: "Under way", value: whole(busy), detail: waiting ? `${whole(waiting)} waiting for a credential` : "nobody waits" },
    { name: "Requests, last hour", value: whole(requests), detail: `${whole(traffic?.requests.at(-1) ?? 0)} in this minute` },
    { name: "Failed, last hour", value: whole(failures), detail: requests ? `${((100 * failures) / requests).toFixed(1)} %` : "of none" },
    { name: "Tokens, last hour", value: brief(total(traffic?.input) + total(traffic?.output)), detail: `${brief(total(traffic?.input))} in, ${brief(total(traffic?.output))} out` },
    { name: "Cost, last hour", value: dollars(traffic?.cost ?? 0), detail: "at list prices" },
  ];
  keep($("figures"), figures, (figure) => figure.name, makeFigure, (node, figure) => {
    node.dataset.tone = figure.tone ?? "";
    say(node.children[1], figure.value);
    say(node.children[2], figure.detail);
  });
}

const makeFigure = ({ name }) =>
  el("div", { class: "card figure" }, el("dt", {}, name), el("dd"), el("dd", { class: "detail" }));

/** Who is not ready, in words. */
function resting() {
  const counts = Object.keys(STATES).filter((state) => state !== "ready").map((state) => {
    const count = pools.reduce((total, pool) => total + (pool.states[state] ?? 0), 0);
    return count ? `${whole(count)} ${STATES[state]}` : null;
  });
  return counts.filter(Boolean).join(", ") || "all of them";
}

function makePool({ id }) {
  const part = (name, attributes = {}) => el(name, attributes);
  const node = el("article", { class: "card pool", "aria-label": `Pool ${id}` });
  Object.assign(node, {
    kind: part("span", { class: "soft" }),
    backoff: part("span", { class: "backoff" }),
    states: part("div", { class: "states" }),
    quotas: part("div", { class: "quotas" }),
    search: part("div", { class: "looking" }),
    list: part("div", { role: "list", "aria-label": `Credentials of ${id}` }),
  });
  node.append(
    el("div", { class: "about" }, el("h3", {}, id), node.kind, node.backoff, node.states),
    node.quotas,
    node.search,
    node.list,
  );
  makeSearch(node, id);
  return node;
}

function updatePool(node, pool) {
  const facts = [pool.rotation, plural(pool.models, "model"), plural(pool.requests, "request"), `${brief(pool.tokens)} tokens`];
  if (pool.waiters) facts.push(`${whole(pool.waiters)} waiting`);
  say(node.kind, facts.join(" · "));
  until(node.backoff, pool.backoff_until, { before: "the provider as a whole backs off for ", over: "" });
  const isLarge = pool.credentials > pool.page.length || looking.has(pool.id);
  const states = Object.keys(STATES).filter((state) => pool.states[state]);
  keep(node.states, states.map((state) => ({ state, isLarge })), ({ state }) => `${state} ${isLarge}`,
    ({ state }) => makeChip(node, pool.id, state, isLarge),
    (chip, { state }) => {
      say(chip.words, `${whole(pool.states[state])} ${STATES[state]}`);
      if (isLarge) chip.setAttribute("aria-pressed", String(looking.get(pool.id)?.state === state));
    });
  node.quotas.hidden = pool.quotas.length === 0 || pool.credentials < 2;
  if (!node.quotas.hidden) showLimits(node.quotas, pool.quotas, true);
  node.search.hidden = !isLarge;
  if (!looking.has(pool.id)) showCredentials(node, pool);
}

function makeChip(node, id, state, isButton) {
  const words = el("span", { class: "state", "data-state": state });
  const chip = el(isButton ? "button" : "span", { class: "chip", type: isButton ? "button" : null }, words);
  chip.words = words;
  if (isButton) {
    chip.addEventListener("click", () => {
      const known = looking.get(id) ?? { state: "", query: "" };
      look(node, id, { state: known.state === state ? "" : state, query: known.query, skip: 0 });
    });
  }
  return chip;
}

// Large pools: one page at a time, looked for by state and name.

function makeSearch(node, id) {
  const input = el("input", { type: "search", placeholder: "Find a credential …", "aria-label": `Find a credential of ${id}`, autocomplete: "off", spellcheck: "false" });
  const back = el("button", { type: "button", class: "small" }, "Previous");
  const on = el("button", { type: "button", class: "small" }, "Next");
  node.count = el("span", { role: "status" });
  Object.assign(node, { back, on });
  node.search.append(input, el("span", { class: "turn" }, node.count, back, on));
  const known = () => looking.get(id) ?? { state: "", query: "", skip: 0 };
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => look(node, id, { ...known(), query: input.value.trim(), skip: 0 }), 200);
  });
  back.addEventListener("click", () => look(node, id, { ...known(), skip: Math.max(0, node.skip - node.size) }));
  on.addEventListener("click", () => look(node, id, { ...known(), skip: node.skip + node.size }));
}

/** Looks for credentials, and goes on doing so until there is nothing to look for. */
async function look(node, id, wish) {
  if (!wish.state && !wish.query && !wish.skip) looking.delete(id);
  else looking.set(id, wish);
  await lookAgain(node, id);
}

async function lookAgain(node, id) {
  const wish = looking.get(id);
  if (!wish) {
    const pool = pools.find((pool) => pool.id === id);
    if (pool) updatePool(node, pool);
    return;
  }
  const query = Object.entries({ provider: id, state: wish.state, query: wish.query, skip: wish.skip })
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&");
  try {
    const pool = await get(`${here}/api/credentials?${query}`);
    if (looking.get(id) !== wish) return;
    if (!pool.page.length && wish.skip) {
      // The pool has shrunk, and this page is gone.
      await look(node, id, { ...wish, skip: 0 });
      return;
    }
    updatePool(node, pool);
    showCredentials(node, pool, wish.skip);
    countDown();
  } catch (error) {
    tell(error.message);
  }
}

setInterval(() => {
  if (!isLive()) return;
  for (const id of looking.keys()) {
    const node = $("pools").kept?.get(id);
    if (node) lookAgain(node, id);
  }
}, 5000);

function showCredentials(node, pool, skip = 0) {
  node.skip = skip;
  node.size = Math.max(node.size ?? 1, pool.page.length);
  keep(node.list, pool.page, (one) => one.id, makeCredential, updateCredential);
  const last = skip + pool.page.length;
  say(node.count, pool.matching ? `${whole(skip + 1)}–${whole(last)} of ${whole(pool.matching)}` : "none found");
  node.back.disabled = skip === 0;
  node.on.disabled = last >= pool.matching;
}

function makeCredential({ id }) {
  const node = el("div", { class: "credential", role: "listitem" });
  Object.assign(node, {
    state: el("span", { class: "state" }),
    left: el("span", { class: "left" }),
    facts: el("span"),
    why: el("div", { class: "why" }),
    limits: el("div", { class: "limits" }),
    sums: el("div", { class: "sums" }),
    used: el("span"),
    deeds: el("div", { class: "deeds" }),
  });
  node.append(
    el("div", { class: "standing" }, node.state, node.left),
    el("div", { class: "who" }, el("strong", {}, id), node.facts, node.why),
    node.limits,
    node.sums,
    node.deeds,
  );
  return node;
}

function updateCredential(node, one) {
  node.state.dataset.state = one.state;
  say(node.state, STATES[one.state] ?? one.state);
  until(node.left, one.state === "cooling" || one.state === "exhausted" ? one.until : null, { before: "for ", over: "any moment" });
  say(node.facts, [one.masked === "…" ? null : one.masked, one.tier, one.active ? `${whole(one.active)} under way` : null].filter(Boolean).join(" · "));
  const link = one.link ? safeLink(one.link) : null;
  const why = one.reason ?? "";
  if (node.why.told !== why + link) {
    node.why.told = why + link;
    node.why.replaceChildren(why);
    if (link) node.why.append(" ", el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, "Open the provider’s page"));
  }
  showLimits(node.limits, one.limits, false);
  const sums = one.last_used
    ? `${plural(one.requests, "request")}${one.failures ? `, ${whole(one.failures)} failed` : ""}, ${brief(one.tokens)} tokens`
    : "not used yet";
  if (node.sums.firstChild?.textContent !== sums) node.sums.replaceChildren(sums, el("br"), node.used);
  if (one.last_used) node.used.dataset.since = one.last_used;
  showDeeds(node.deeds, one);
}

// Quotas as bars.

function showLimits(parent, limits, isSum) {
  keep(parent, limits, (limit) => `${limit.class} ${limit.window} ${limit.unit}`, makeLimit, (node, limit) => {
    const share = limit.allowed ? Math.min(1, limit.used / limit.allowed) : 1;
    const name = `${limit.class}, ${limit.window === "reported" ? "as the provider says" : limit.window}`;
    // The vendor told a share, not a number: it is counted in millionths.
    const isShare = limit.allowed >= 1e6 * limit.credentials && limit.window === "reported";
    const used = isShare ? `${(share * 100).toFixed(0)} % used` : `${brief(limit.used)} of ${brief(limit.allowed)}${limit.unit === "tokens" ? " tokens" : ""}`;
    say(node.name, isSum ? `${name} · ${plural(limit.credentials, "credential")}` : name);
    say(node.used, used);
    until(node.resets, limit.used && limit.resets ? limit.resets : null, { before: ` · ${isSum ? "first " : ""}back in `, over: "" });
    node.bar.dataset.tone = share >= 1 ? "bad" : share >= 0.8 ? "wait" : "";
    node.bar.firstChild.style.width = `${share * 100}%`;
    node.bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
    node.bar.setAttribute("aria-valuetext", used);
    node.bar.setAttribute("aria-label", name);
  });
}

function makeLimit() {
  const node = el("div", { class: "quota" });
  Object.assign(node, {
    name: el("span"),
    used: el("span"),
    resets: el("span"),
    bar: el("div", { class: "bar", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100" }, el("i")),
  });
  node.append(el("div", { class: "words" }, node.name, el("span", {}, node.used, node.resets)), node.bar);
  return node;
}

// What can be done, each asked first.

function showDeeds(parent, one) {
  const deeds = [];
  if (mayAct) {
    if (one.state === "cooling" || one.state === "exhausted") deeds.push("reset");
    if (one.is_account && !["disabled", "dead", "expired"].includes(one.state)) deeds.push("refresh");
    deeds.push(["disabled", "dead", "expired", "action_needed"].includes(one.state) ? "enable" : "disable");
  }
  keep(parent, deeds.map((deed) => ({ deed, id: one.id })), ({ deed }) => deed, makeDeed, () => {});
}

const DEEDS = {
  disable: {
    verb: "Disable",
    text: (id) => `${id} takes no new request until it is enabled again. Requests under way go on.`,
  },
  enable: {
    verb: "Enable",
    text: (id) => `${id} serves again, and what is held against it is forgotten.`,
  },
  refresh: {
    verb: "Refresh quota",
    text: (id) => `The provider is asked what is left of the quota of ${id}.`,
  },
  reset: {
    verb: "Reset",
    text: (id) => `The wait of ${id} ends now. If the provider still refuses it, the next request finds out and takes another.`,
  },
};

function makeDeed({ deed, id }) {
  const { verb } = DEEDS[deed];
  const button = el("button", { type: "button", class: "small", "aria-label": `${verb}: ${id}` }, verb);
  button.addEventListener("click", () => act(deed, id));
  return button;
}

async function act(deed, id) {
  const { verb, text } = DEEDS[deed];
  if (!(await sure({ title: `${verb}: ${id}?`, text: text(id), verb }))) return;
  await done(deed, { credential: id });
}

async function done(deed, body) {
  try {
    const { message, errors = [] } = await post(deed, body);
    tell([message, ...errors].join("; "));
  } catch (error) {
    tell(error.message);
  }
}

$("refresh-all").addEventListener("click", async () => {
  const text = "Every provider that can be asked is asked what is left of the quotas.";
  if (await sure({ title: "Refresh quotas?", text, verb: "Refresh quotas" })) await done("refresh", {});
});

