"use strict";
// All text goes into the page as text, never as HTML: it may be a client's.
const $ = (id) => document.getElementById(id);
const make = (name, text, className) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
const INTERVAL = 2000;
let before = null, shape = "", cells = [], paused = false;

const rate = (value) => (value >= 100 || value === 0 ? value.toFixed(0) : value.toFixed(1));
const time = (seconds) => {
  if (seconds >= 1) return seconds.toFixed(2) + " s";
  return seconds >= 0.001 ? (seconds * 1e3).toFixed(1) + " ms" : (seconds * 1e6).toFixed(0) + " µs";
};
const label = (key) => key.replace(/_s$/, "").replaceAll("_", " ");
const scalar = (key, value) => {
  if (value === null || value === undefined) return "-";
  if (Array.isArray(value)) return value.map((item) => scalar("", item)).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([key, value]) => label(key) + " " + scalar(key, value)).join(", ") || "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (key === "memory") return (value / 1048576).toFixed(1) + " MiB";
  return key.endsWith("_s") ? (Number.isInteger(value) ? value + " s" : time(value)) : value.toLocaleString("en");
};

/** A list of name and value. */
const pairs = (list) => {
  const element = make("dl");
  for (const [name, value] of list) {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", value));
    element.append(pair);
  }
  return element;
};

/** A table of objects with the same keys. */
const table = (rows) => {
  const element = make("table"), head = make("tr"), body = make("tbody"), outer = make("div", undefined, "scroll");
  const keys = Object.keys(rows[0]);
  for (const key of keys) head.append(make("th", label(key)));
  for (const row of rows) {
    const line = make("tr");
    for (const key of keys) line.append(make("td", scalar(key, row[key])));
    body.append(line);
  }
  element.append(make("thead"), body);
  element.tHead.append(head);
  outer.tabIndex = 0;
  outer.append(element);
  return outer;
};

/** Draws the steps; their figures are filled in afterwards. */
const draw = (steps) => {
  cells = [];
  const root = $("stack");
  root.replaceChildren();
  const lists = [root];
  for (const step of steps) {
    lists.length = Math.min(lists.length, step.depth + 1);
    const list = lists[lists.length - 1], item = make("li");
    if (step.kind === "route" || step.kind === "entry") {
      item.className = "wide";
      item.append(make("p", step.kind === "route" ? "→ " + step.name : "apps." + step.name, "branch"));
      list.append(item);
      if (step.kind === "route") {
        const inside = make("ol");
        item.append(inside);
        lists.push(inside);
      }
      continue;
    }
    if (step.kind === "named") {
      item.append(make("p", "apps." + step.name, "branch"));
      list.append(item);
      continue;
    }
    const details = make("details"), summary = make("summary"), cell = { details };
    const name = make("b", step.place + (step.place === step.name ? "" : " (" + step.name + ")"));
    for (const key of ["rate", "errors", "self"]) cell[key] = make("span", "", key);
    cell.share = make("progress");
    cell.share.max = 1;
    cell.share.setAttribute("aria-label", "share of the time");
    cell.more = make("dl");
    summary.append(name, cell.rate, cell.errors, cell.self, cell.share);
    details.append(summary, cell.more);
    if (step.kind === "app") item.className = "wide";
    item.append(details);
    list.append(item);
    cells.push(cell);
  }
};

/** The growth of a counter of a step. */
const growth = (step, earlier, value) => Math.max(0, value(step) - (earlier ? value(earlier) : 0));

const fill = (status, earlier, seconds) => {
  const steps = status.steps.filter((step) => step.place !== null);
  const known = new Map((earlier ? earlier.steps : []).filter((step) => step.place !== null).map((step) => [step.place, step]));
  const rows = steps.map((step) => {
    const old = known.get(step.place), grown = (value) => growth(step, old, value), times = step.times;
    const requests = grown((step) => step.times?.requests ?? 0);
    const request = grown((step) => step.times?.request_s ?? 0), body = grown((step) => step.times?.body_s ?? 0);
    return { step, times, requests, request, body, errors: grown((step) => step.answers["5xx"] ?? 0) };
  });
  const all = rows.reduce((sum, row) => sum + row.request + row.body, 0);
  rows.forEach((row, nth) => {
    const cell = cells[nth], timed = row.times !== null, mean = (sum) => (row.requests > 0 ? time(sum / row.requests) : "-");
    cell.rate.textContent = timed ? rate(row.requests / seconds) + " req/s" : "";
    cell.errors.textContent = rate(row.errors / seconds) + " 5xx/s";
    cell.self.textContent = timed ? mean(row.request + row.body) : "";
    cell.share.value = all > 0 ? (row.request + row.body) / all : 0;
    cell.details.className = row.errors > 0 ? "bad" : "";
    if (!cell.details.open) return;
    const more = [["answered here", scalar("", row.step.answers)], ["runs in", row.step.in_worker ? "worker processes" : "the server"]];
    if (timed) {
      more.unshift(["requests since the start", scalar("", row.times.requests)], ["time of requests", mean(row.request)], ["time of bodies", mean(row.body)]);
      for (const [part, sum] of Object.entries(row.times.parts_s)) more.push([part + " since the start", time(sum / Math.max(1, row.times.requests))]);
    }
    cell.more.replaceChildren(...pairs(more).children);
  });
  $("untimed").hidden = rows.some((row) => row.times !== null);
};

const show = (status, at) => {
  const earlier = before && before.status.pid === status.pid ? before : null;
  const seconds = earlier ? Math.max(0.001, (at - earlier.at) / 1e3) : Math.max(1, status.uptime_s);
  const grown = (value) => Math.max(0, value(status) - (earlier ? value(earlier.status) : 0)) / seconds;
  $("process").textContent = `${status.version}, process ${status.pid}, ${status.state}, up ${status.uptime_s} s, generation ${status.generation}, ${status.file ?? "(command line)"}`;
  $("traffic").replaceChildren(...pairs([
    ["requests/s", rate(grown((status) => status.requests))],
    ["5xx/s", rate(grown((status) => status.responses["5xx"] ?? 0))],
    ["under way", scalar("", status.in_progress)],
    ["connections", scalar("", status.connections.open)],
    ["tunnels", scalar("", status.connections.tunnels)],
    ["listening", scalar("", status.listening)],
  ]).children);
  const drawn = JSON.stringify(status.steps.map((step) => [step.depth, step.kind, step.name, step.place]));
  if (drawn !== shape) {
    draw(status.steps);
    shape = drawn;
  }
  fill(status, earlier?.status, seconds);
  const errors = status.recent_errors;
  $("errors").replaceChildren(errors.length > 0 ? table(errors) : make("p", "None."));
  $("apps").replaceChildren(...status.apps.flatMap((app) => {
    const entries = Object.entries(app).filter(([key]) => key !== "place");
    const isTable = ([, value]) => Array.isArray(value) && value.length > 0 && value.every((row) => row !== null && typeof row === "object");
    const parts = [make("h3", app.place), pairs(entries.filter((entry) => !isTable(entry)).map(([key, value]) => [label(key), scalar(key, value)]))];
    for (const [key, rows] of entries.filter(isTable)) parts.push(make("p", label(key), "branch"), table(rows));
    return parts;
  }));
  before = { status, at };
};

/** The way of a request: each part of the pipeline with what it does, in and back. */
const way = (explanation) => {
  const list = make("dl"), back = [];
  const add = (name, notes) => {
    if (notes.length > 0) list.append(make("dt", name), ...notes.map((note) => make("dd", note)));
  };
  for (const hop of explanation.hops) {
    const name = hop.place + (hop.kind && hop.kind !== hop.place ? " (" + hop.kind + ")" : "");
    const tried = (hop.routes ?? []).map((route) => (route.name ?? "route " + route.number) + ", " + route.condition + ": " + (route.passed ?? "takes the request"));
    const possible = (hop.may_answer ?? []).map((answer) => "answers " + answer.status + " " + answer.when);
    const end = hop.answers ? ["answers" + (hop.status ? " " + hop.status : "")] : [];
    add(name, [...hop.notes, ...tried, ...possible, ...(hop.live ?? []).map((note) => "now: " + note), ...end]);
    if (hop.back) back.unshift([name, hop.back]);
  }
  const parts = [make("p", explanation.request + " from " + explanation.from, "branch"), list];
  if (back.length > 0) {
    list.append(make("dt", "On the way back"));
    for (const [name, notes] of back) list.append(...notes.map((note) => make("dd", name + ": " + note)));
  }
  if (explanation.status) parts.push(make("p", "The client gets " + explanation.status + "."));
  return parts;
};

$("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  const shown = $("explanation");
  try {
    const line = encodeURIComponent($("line").value);
    const response = await fetch(location.pathname + "?explain=" + line, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    const answer = await response.json();
    shown.replaceChildren(...(response.ok ? way(answer) : [make("p", answer.detail)]));
  } catch (error) {
    shown.replaceChildren(make("p", "No explanation: " + error.message));
  }
});

// An address that ends in #explain=GET%20/x is that of an explanation.
if (location.hash.startsWith("#explain=")) {
  try {
    $("line").value = decodeURIComponent(location.hash.slice("#explain=".length));
    $("explain").requestSubmit();
  } catch {
    // It is not percent-encoded.
  }
}

const tick = async () => {
  if (!paused && !document.hidden) {
    try {
      const response = await fetch(location.pathname + "?status", { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!response.ok) throw new Error("the server answers " + response.status);
      show(await response.json(), performance.now());
      $("problem").hidden = true;
    } catch (error) {
      $("problem").textContent = "No figures: " + error.message;
      $("problem").hidden = false;
    }
  }
  setTimeout(tick, INTERVAL);
};

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
});
tick();
