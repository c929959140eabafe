// The page as a whole: the door, the stream, and what comes of either.

/** How the stream is: its abort, or `null` while there is none. */
let stream = null;

/** The models are asked for once a visit. */
let hasModels = false;

const isLive = () => stream !== null && $("pulse").dataset.state === "live";

function pulse(state, text) {
  $("pulse").dataset.state = state;
  say($("pulse"), text);
}

function showDoor(message = "") {
  stop();
  sessionStorage.removeItem(KEY);
  hasModels = false;
  [models, requests, showsAll] = [[], [], false];
  looking.clear();
  $("find-request").value = "";
  listRequests();
  for (const id of ["figures", "pools", "models"]) keep($(id), [], () => "", null, null);
  $("board").hidden = true;
  $("leave").hidden = true;
  $("door").hidden = false;
  say($("refusal"), message);
  pulse("off", "");
  $("key").value = "";
  $("key").focus();
}

function showBoard(hello) {
  ahead = hello.now - Date.now();
  mayAct = hello.may_act;
  $("guest").hidden = mayAct;
  $("door").hidden = true;
  $("board").hidden = false;
  $("leave").hidden = !sessionStorage.getItem(KEY);
  pulse("live", "Live");
  if (!hasModels) {
    hasModels = true;
    loadModels();
  }
}

const EVENTS = { hello: showBoard, pools: showPools, requests: showRequests, traffic: showTraffic };

function stop() {
  stream?.abort();
  stream = null;
}

/** Watches until told to stop: a stream that ends is begun again, later each time. */
async function watch() {
  stop();
  const own = (stream = new AbortController());
  for (let pause = 1; stream === own; pause = Math.min(pause * 2, 15)) {
    try {
      await listen((name, data) => {
        pause = 1;
        if (stream === own) EVENTS[name]?.(data);
      }, own.signal);
    } catch (error) {
      if (stream !== own) return;
      if (error.status === 401) {
        showDoor(sessionStorage.getItem(KEY) ? "The server does not know this key." : "");
        return;
      }
      if (error.status === 404) {
        stop();
        pulse("lost", error.message);
        return;
      }
      pause = Math.max(pause, error.wait ?? 0);
    }
    if (stream !== own) return;
    pulse("lost", "Connection lost, trying again");
    await new Promise((resolve) => setTimeout(resolve, pause * 1000));
  }
}

$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  say($("refusal"), "");
  watch();
});

$("leave").addEventListener("click", () => showDoor());

// Nobody looks at a hidden page: the server need not take pictures for it.
document.addEventListener("visibilitychange", () => {
  if (!$("door").hidden) return;
  if (document.hidden) stop();
  else watch();
});

setInterval(countDown, 1000);

if (document.documentElement.dataset.auth === "key" && !sessionStorage.getItem(KEY)) showDoor();
else watch();
