// Pick titles, see what is recommended after them. Everything that comes from data is set as text, never as HTML.
"use strict";

const K = 10;
const PATIENCE = 10_000; // ms that an answer may take
const byId = (id) => document.getElementById(id);
const history = []; // {item, title}
const problems = new Map(); // what failed -> what is said of it
const attempts = new Map(); // what is asked for -> the number of the newest attempt: older ones are overtaken
let ranks = new Map(); // item -> its place in the last answer
let token = sessionStorage.getItem("token") || "";
let limits = { k: K, history: 1000 };

class Trouble extends Error {
  constructor(message, retry) {
    super(message);
    this.retry = retry; // whether it may pass by itself
  }
}

async function ask(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = { headers, signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) {
    options.method = "POST";
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const begun = performance.now();
  let response, data;
  try {
    response = await fetch(path, options);
    data = await (path.endsWith(".svg") && response.ok ? response.blob() : response.json());
  } catch (error) {
    const slow = error.name === "TimeoutError";
    const what = slow ? `the server has not answered for ${PATIENCE / 1000} s` : "the server cannot be reached, or was stopped";
    throw new Trouble(`${what}; trying again`, true);
  }
  const spent = performance.now() - begun;
  if (response.status === 401) byId("token").hidden = false;
  if (!response.ok) {
    const text = (data.errors || []).map((error) => error.message).join("; ") || `status ${response.status}`;
    throw new Trouble(text, response.status === 503);
  }
  const inside = /dur=([\d.]+)/.exec(response.headers.get("Server-Timing") || "");
  return { data, spent, inside: inside ? Number(inside[1]) : NaN };
}

function say(what, message) {
  if (message) problems.set(what, message);
  else problems.delete(what);
  byId("problem").textContent = [...new Set(problems.values())].join(" · ");
  byId("problem").hidden = !problems.size;
}

// Do `work` under the name `what` until it succeeds or a newer attempt of that name overtakes it; `work` returns what to show.
async function attempt(what, work) {
  const number = (attempts.get(what) || 0) + 1;
  attempts.set(what, number);
  for (;;) {
    try {
      const show = await work();
      if (attempts.get(what) !== number) return;
      show();
      say(what, "");
      return;
    } catch (error) {
      if (attempts.get(what) !== number) return;
      say(what, error.message);
      if (!error.retry) return;
    }
    await new Promise((done) => setTimeout(done, 1000));
    if (attempts.get(what) !== number) return;
  }
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// A title or an id, apart from what stands beside it: it may turn the direction of writing.
const named = ({ item, title }, kind) => element("bdi", title || item, kind);

function row(parts, onClick, label) {
  const button = element("button");
  button.type = "button";
  button.append(...parts);
  if (label) button.title = label;
  button.addEventListener("click", onClick);
  const line = element("li");
  line.append(button);
  return line;
}

function search() {
  const query = byId("query").value.slice(0, 200);
  return attempt("search", async () => {
    const rows = [];
    if (query.trim()) {
      const { data } = await ask(`items?limit=12&query=${encodeURIComponent(query)}`);
      for (const { item, title, interactions } of data.items) {
        const parts = [named({ item, title }, "title"), element("span", `${interactions} ×`, "extra")];
        rows.push(row(parts, () => add({ item, title }), `add ${item}`));
      }
      if (!rows.length) rows.push(element("li", "nothing by that name", "extra"));
    }
    return () => byId("found").replaceChildren(...rows);
  });
}

function add(picked) {
  history.push(picked);
  byId("query").value = "";
  search();
  byId("query").focus();
  return update("+ ", picked);
}

function remove(place) {
  const [gone] = history.splice(place, 1);
  return update("− ", gone);
}

function showHistory() {
  const rows = history.map((event, place) =>
    row([named(event, "title"), element("span", "×", "extra")], () => remove(place), `remove ${event.item}`));
  byId("history").replaceChildren(...rows);
  byId("clear").hidden = !history.length;
}

function moved(item, place) {
  if (!ranks.has(item)) return "new";
  const up = ranks.get(item) - place;
  return up === 0 ? "" : `${up > 0 ? "↑" : "↓"}${Math.abs(up)}`;
}

function showResults(results, popular) {
  const best = results.length ? results[0].score : 0;
  const share = (score) => (popular ? score / Math.max(best, 1) : Math.exp(score - best));
  const comparable = results.filter(({ item }) => ranks.has(item)).length * 2 >= results.length; // else all is new
  const rows = results.map(({ item, title, score }, place) => {
    const bar = element("progress");
    bar.max = 1;
    bar.value = share(score);
    const text = Number.isInteger(score) ? `${score}` : score.toFixed(3);
    const parts = [named({ item, title }, "title"), element("span", comparable ? moved(item, place) : "", "extra move"), bar,
      element("span", text, "extra score")];
    return row(parts, () => add({ item, title }), `add ${item}`);
  });
  ranks = new Map(results.map(({ item }, place) => [item, place]));
  byId("results").replaceChildren(...rows);
  const scale = popular ? "interactions" : "how likely it comes next (softmax of the scores)";
  byId("scale").textContent = results.length ? `Bars: ${scale}, the first place being full.` : "Nothing is left to recommend.";
}

function update(what, picked) {
  showHistory();
  return attempt("recommend", async () => {
    const k = Math.min(K, limits.k);
    const body = { histories: [history.slice(-limits.history).map(({ item }) => item)], k, titles: true };
    const { data, spent, inside } = await ask("recommend", body);
    return () => {
      const notes = data.warnings.map(({ message }) => message);
      showResults(data.results[0], notes.some((message) => message.includes("popularity")));
      byId("note").textContent = notes.join("; ");
      const time = `${spent.toFixed(1)} ms, of which ${inside.toFixed(1)} ms in the service`;
      byId("time").textContent = time;
      const line = element("li", what);
      if (picked) line.append(named(picked));
      line.append(`: ${time}`);
      byId("times").prepend(line);
      while (byId("times").childElementCount > 50) byId("times").lastElementChild.remove();
    };
  });
}

// The warm-up, while there is one: the answers come by themselves, and the programs left make them faster.
function watch() {
  return attempt("ready", async () => {
    const response = await fetch("ready", { signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
    const state = response && (await response.json().catch(() => null));
    const going = state && state.compiled < state.programs;
    byId("warm").textContent = going ? `warming up: ${state.compiled} of ${state.programs} programs compiled` : "";
    byId("warm").hidden = !going;
    if (going || !state) throw new Trouble("", true);
    return () => {};
  });
}

// The sizes of an elastic model: the slider begins at the one that answers, and says what the others would cost.
function showSizes({ sizes, size, per_user }, text) {
  const picture = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  byId("sizes").querySelector("svg")?.remove();
  byId("sizes").append(picture);
  byId("size").max = sizes - 1;
  byId("size").value = size ?? sizes - 1;
  byId("served").textContent = size === null ? "the largest answers" : `number ${size + 1} of ${sizes} answers`;
  if (per_user) {
    const shares = per_user.networks.map((one) => `${Math.round(100 * one.share)} % ${one.depth} x ${one.width}`);
    byId("served").textContent = `a router chooses one for each user: of the test's users ${shares.join(", ")}`;
  }
  slide(byId("size"), byId("size-text"), picture);
  byId("sizes").hidden = false;
}

async function start() {
  watch();
  await attempt("model", async () => {
    const { data } = await ask("model");
    const picture = (await ask("architecture.svg")).data;
    const sizes = data.sizes ? await (await ask("sizes.svg")).data.text() : "";
    return () => {
      limits = data.limits;
      byId("about").textContent = `${data.items} items; ${data.description}; reads the last ${data.architecture.max_length} events`;
      byId("query").placeholder = data.titles ? "type a part of a title" : "type a part of an item's id";
      byId("network").src = URL.createObjectURL(picture);
      if (sizes) showSizes(data, sizes);
      update("nothing yet");
    };
  });
}

byId("query").addEventListener("input", search);
byId("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter") byId("found").querySelector("button")?.click();
  if (event.key === "ArrowDown") byId("found").querySelector("button")?.focus();
});
byId("clear").addEventListener("click", () => {
  history.length = 0;
  update("started over");
});
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token-text").value;
  sessionStorage.setItem("token", token);
  byId("token").hidden = true;
  start();
});
start();
