// Pick titles, see what is recommended after them. Everything that comes from data is set as text, never as HTML.
"use strict";

const K = 10;
const byId = (id) => document.getElementById(id);
const history = []; // {item, title}
let ranks = new Map(); // item -> its place in the last answer
let token = sessionStorage.getItem("token") || "";
let lastSearch = 0; // answers that a newer request has overtaken are dropped
let lastRecommend = 0;

async function ask(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = { headers };
  if (body !== undefined) {
    options.method = "POST";
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const begun = performance.now();
  const response = await fetch(path, options);
  const data = await (path.endsWith(".svg") && response.ok ? response.blob() : response.json());
  const spent = performance.now() - begun;
  if (response.status === 401) byId("token").hidden = false;
  if (!response.ok) throw new Error(data.errors.map((error) => error.message).join("; "));
  const inside = /dur=([\d.]+)/.exec(response.headers.get("Server-Timing") || "");
  return { data, spent, inside: inside ? Number(inside[1]) : NaN };
}

async function guarded(work) {
  try {
    await work();
    byId("problem").hidden = true;
  } catch (error) {
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
  }
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

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
  const number = ++lastSearch;
  return guarded(async () => {
    const rows = [];
    if (query.trim()) {
      const { data } = await ask(`items?limit=12&query=${encodeURIComponent(query)}`);
      for (const { item, title, interactions } of data.items) {
        const parts = [element("span", title || item, "title"), element("span", `${interactions} ×`, "extra")];
        rows.push(row(parts, () => add({ item, title }), `add ${item}`));
      }
      if (!rows.length) rows.push(element("li", "nothing by that name", "extra"));
    }
    if (number === lastSearch) byId("found").replaceChildren(...rows);
  });
}

function add(picked) {
  history.push(picked);
  byId("query").value = "";
  search();
  byId("query").focus();
  return update(`+ ${picked.title || picked.item}`);
}

function remove(place) {
  const [gone] = history.splice(place, 1);
  return update(`− ${gone.title || gone.item}`);
}

function showHistory() {
  const rows = history.map(({ item, title }, place) =>
    row([element("span", title || item, "title"), element("span", "×", "extra")], () => remove(place), `remove ${item}`));
  byId("history").replaceChildren(...rows);
  byId("clear").hidden = !history.length;
}

function moved(item, place) {
  if (!ranks.size) return "";
  if (!ranks.has(item)) return "new";
  const up = ranks.get(item) - place;
  return up === 0 ? "" : `${up > 0 ? "↑" : "↓"}${Math.abs(up)}`;
}

function showResults(results) {
  const scores = results.map(({ score }) => score);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const rows = results.map(({ item, title, score }, place) => {
    const bar = element("progress");
    bar.max = 1;
    bar.value = high > low ? 0.1 + 0.9 * (score - low) / (high - low) : 1;
    const text = Number.isInteger(score) ? `${score}` : score.toFixed(3);
    const parts = [element("span", title || item, "title"), element("span", moved(item, place), "extra move"), bar,
      element("span", text, "extra score")];
    return row(parts, () => add({ item, title }), `add ${item}`);
  });
  ranks = new Map(results.map(({ item }, place) => [item, place]));
  byId("results").replaceChildren(...rows);
}

function update(what) {
  showHistory();
  const number = ++lastRecommend;
  return guarded(async () => {
    const k = Math.min(K, limits.k);
    const body = { histories: [history.slice(-limits.history).map(({ item }) => item)], k, titles: true };
    const { data, spent, inside } = await ask("recommend", body);
    if (number !== lastRecommend) return;
    showResults(data.results[0]);
    byId("note").textContent = data.warnings.map(({ message }) => message).join("; ");
    const time = `${spent.toFixed(1)} ms, of which ${inside.toFixed(1)} ms in the service`;
    byId("time").textContent = time;
    byId("times").prepend(element("li", `${what}: ${time}`));
    while (byId("times").childElementCount > 50) byId("times").lastElementChild.remove();
  });
}

let limits = { k: K, history: 1000 };

function start() {
  return guarded(async () => {
    const { data } = await ask("model");
    limits = data.limits;
    byId("about").textContent = `${data.items} items; ${data.description}; reads the last ${data.architecture.max_length} events`;
    byId("network").src = URL.createObjectURL((await ask("architecture.svg")).data);
    await update("nothing yet");
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
