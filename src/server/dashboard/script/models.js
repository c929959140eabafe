// What can be asked for now.

/** Models that are shown at once; of more the search finds the rest. */
const MOST_MODELS = 100;

let models = [];

async function loadModels() {
  say($("models-note"), "Asking the providers for their lists …");
  try {
    models = (await get(`${root}/v1/models?enriched=true`)).data;
    listModels();
  } catch (error) {
    say($("models-note"), `The list could not be had: ${error.message}`);
  }
}

function listModels() {
  const wanted = $("find-model").value.trim().toLowerCase();
  const found = models.filter((model) => model.id.toLowerCase().includes(wanted));
  const shown = found.slice(0, MOST_MODELS);
  keep($("models"), shown, (model) => model.id, makeModel, () => {});
  const more = found.length - shown.length;
  const note = more ? `And ${whole(more)} more: narrow the search.` : found.length ? "" : models.length ? "No model is called that." : "No provider lists a model yet.";
  say($("models-note"), note);
  $("models-note").hidden = !note;
}

$("find-model").addEventListener("input", listModels);

function makeModel(model) {
  const context = model.context_window ?? model.context_length;
  const price = (each) => (typeof each === "number" ? `$${(each * 1e6).toFixed(2)}` : "");
  return el("li", { class: "line models-line" },
    el("span", {}, model.id),
    el("span", { class: "number soft" }, context ? brief(context) : ""),
    el("span", { class: "number soft" }, price(model.input_cost_per_token)),
    el("span", { class: "number soft" }, price(model.output_cost_per_token)),
  );
}

