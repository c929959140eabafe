// Recent requests, and the trail of each.

/** Requests that are shown before somebody asks for more. */
const FEW_REQUESTS = 12;

/** Requests that are kept; older ones are found by their id. */
const MOST_REQUESTS = 100;

let requests = [];
let showsAll = false;

function showRequests(told) {
  const known = new Set(told.map((request) => request.id));
  requests = [...told, ...requests.filter((request) => !known.has(request.id))].slice(0, MOST_REQUESTS);
  listRequests();
}

function listRequests() {
  const which = $("which").value;
  const wanted = $("find-request").value.trim().toLowerCase();
  const fits = (request) => {
    if (which === "failed" && request.ending !== "failed") return false;
    if (which === "retried" && request.attempts < 2) return false;
    const texts = [request.id, request.model, request.credential, request.client, request.provider, request.error ?? "", String(request.status)];
    return !wanted || texts.some((text) => text.toLowerCase().includes(wanted));
  };
  const found = requests.filter(fits);
  const shown = showsAll ? found : found.slice(0, FEW_REQUESTS);
  $("no-requests").hidden = shown.length > 0;
  $("more-requests").hidden = found.length <= FEW_REQUESTS;
  say($("more-requests"), showsAll ? "Show fewer" : `Show ${whole(found.length - shown.length)} more`);
  if (requests.length) say($("no-requests"), "None of the recent requests is like that.");
  keep($("requests"), shown, (request) => request.id, makeRequest, () => {});
  showOlder(shown.length ? "" : wanted);
}

/** A whole id that is not in the list is looked for in the journal, which goes further back. */
function showOlder(wanted) {
  const node = $("older");
  const isId = /^[0-9a-f]{32}$/.test(wanted);
  node.hidden = !isId;
  if (isId) $("no-requests").hidden = true;
  if (node.told === wanted) return;
  node.told = wanted;
  node.replaceChildren();
  if (isId) explain(wanted, node);
}

$("more-requests").addEventListener("click", () => {
  showsAll = !showsAll;
  listRequests();
});
$("which").addEventListener("change", listRequests);
$("find-request").addEventListener("input", listRequests);

function makeRequest(request) {
  const words = request.ending === "cancelled" ? "cancelled" : `${request.status ?? ""} ${request.ending}`;
  const tokens = request.input === null ? "–" : `${request.estimated ? "~" : ""}${brief(request.input)} → ${brief(request.output ?? 0)}`;
  const trail = el("div", { class: "trail" });
  const details = el("details", {},
    el("summary", { class: "line" },
      el("span", { class: "soft", title: new Date(request.at).toISOString() }, clock(request.at)),
      el("span", {}, el("span", { class: "state", "data-state": request.ending }, words.trim())),
      el("span", {}, request.model || "no model"),
      el("span", { class: "soft" }, request.credential || request.provider || "none"),
      el("span", { class: "number" }, String(request.attempts)),
      el("span", { class: "number" }, took(request.ms)),
      el("span", { class: "number" }, tokens),
      el("span", { class: "number" }, dollars(request.cost) || "–"),
    ),
    trail,
  );
  details.addEventListener("toggle", () => details.open && explain(request.id, trail));
  return el("li", {}, details);
}

async function explain(id, node) {
  if (node.childElementCount) return;
  node.replaceChildren(el("p", { class: "soft" }, "Looking it up …"));
  try {
    node.replaceChildren(...story(id, await get(`${here}/api/requests/${encodeURIComponent(id)}`)));
  } catch (error) {
    node.replaceChildren(el("p", { class: "error" }, error.message));
  }
}

/** The trail in sentences. Members that an entry does not have leave their sentence out. */
function story(id, trail) {
  const request = trail.request ?? {};
  const list = (of) => (Array.isArray(of) ? of : []);
  const parts = [el("p", { class: "soft" },
    `Request ${id} of ${request.client ?? "somebody"}: ${request.operation ?? "a call"} in the ${request.dialect ?? "?"} dialect${request.stream ? ", streamed" : ""}.`)];
  const passed = list(trail.targets).flatMap((target) => {
    const lines = list(target.passed_over).map((one) => {
      const end = one.until ? `, until ${clock(Date.parse(one.until))}` : "";
      return `${one.credential} was passed over: ${one.why}${end}.`;
    });
    if (target.waited_ms) lines.push(`Waited ${took(target.waited_ms)} for a credential.`);
    if (target.end) lines.push(`Left ${target.provider}/${target.model}: ${target.end}.`);
    return lines;
  });
  if (passed.length) {
    parts.push(el("div", {}, el("h3", {}, "Before"), el("ul", {}, ...passed.map((line) => el("li", {}, line)))));
  }
  const steps = list(trail.attempts).map((attempt, index) => el("li", { class: "step" },
    el("span", { class: "place" }, `${index + 1}.`),
    el("div", {},
      el("p", {},
        el("strong", {}, attempt.credential ?? ""), ` with ${attempt.model ?? "?"}: `,
        el("span", { class: "state", "data-state": attempt.verdict ? "failed" : "served" },
          [attempt.status, attempt.verdict ?? "ok"].filter(Boolean).join(" ")),
        ` after ${took(attempt.ms)}${attempt.verdict ? `, ${attempt.effect}` : ""}`),
      ...(attempt.message ? [el("p", {}, attempt.message)] : []))));
  if (steps.length) parts.push(el("div", {}, el("h3", {}, "Attempts"), el("ol", { class: "steps" }, ...steps)));
  const first = trail.first_token_ms === null || trail.first_token_ms === undefined ? "" : `, first content after ${took(trail.first_token_ms)}`;
  const end = trail.ending === "cancelled" ? "The client left" : trail.ending === "served" ? `Served with ${trail.status}` : `Failed with ${trail.status}`;
  parts.push(el("p", { class: trail.error ? "error" : "" }, `${end} after ${took(trail.ms)}${first}.${trail.error ? ` ${trail.error}` : ""}`));
  return parts;
}

