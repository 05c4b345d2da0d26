
"use strict";
// Asks the node how everything is, and shows it. Whatever comes is written as text: rooms have names that strangers chose.

const EVERY_MS = 2000;
/** An answer that takes longer is shown as missing; nodes that do not answer delay it by two seconds. */
const LATE_MS = 6000;
const GIVE_UP_MS = 15000;
const SHOWN_REASONS = 6;
const LINE_POINTS = 60;
const LATELY_MS = 60_000;
const GONE_MS = 600_000;
/** Lateness of heartbeats that people notice. */
const LATE_HEARTBEATS_MS = 100;

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

let figures;
let receivedAt;
let askedAt;
let failure;
let timer;
let asking;
/** Counts of reasons of the last minute, the oldest first. */
const past = [];
const lines = { "events-in": [], "events-out": [] };
/** What every node said last, and when that was. */
const seen = new Map();
/** Heartbeats are rare: what nodes said of them last. */
const heartbeats = new Map();

/* Words */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const known = (value) => value !== null && value !== undefined;

function number(value) {
  if (!known(value)) return "–";
  if (value >= 1e6) return `${tenths.format(value / 1e6)} M`;
  if (value >= 100_000) return `${whole.format(value / 1000)} k`;
  return value < 10 && value > 0 ? tenths.format(value) : whole.format(value);
}

function bytes(value) {
  if (!known(value)) return "–";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]]) if (value >= size) return `${tenths.format(value / size)} ${unit}`;
  return `${whole.format(value)} B`;
}

function milliseconds(value) {
  if (!known(value)) return "–";
  if (value >= 1000) return `${tenths.format(value / 1000)} s`;
  return `${value < 10 ? tenths.format(value) : whole.format(value)} ms`;
}

function span(value) {
  const seconds = Math.max(0, Math.round(value / 1000));
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

const ago = (value) => `${span(value)} ago`;
const readable = (name) => name.replaceAll("_", " ");
const one = (count, singular, plural = `${singular}s`) => `${number(count)} ${count === 1 ? singular : plural}`;
const sum = (all, of) => all.reduce((total, it) => total + (of(it) ?? 0), 0);

/* Elements */

function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content.filter(known).map((it) => (typeof it === "number" ? String(it) : it)));
  return made;
}

function text(id, content) {
  if ($(id).textContent !== content) $(id).textContent = content;
}

/* What is shown */

function show() {
  const nodes = remembered(figures.nodes);
  const here = nodes.filter((node) => !node.goneAt);
  text("node-name", figures.node);
  text("version", `Version ${figures.version}, ${new Date(figures.at).toLocaleTimeString()}`);
  document.title = `Gateway: ${figures.node}`;
  showVerdict(nodes);
  showTiles(here);
  showNodes(nodes);
  showRooms("largest", figures.largest_rooms, (room) => room.members, "Nobody is in a room.");
  showRooms("busiest", figures.busiest_rooms, (room) => room.deliveries, "Nothing was sent to a room in the last seconds.");
  showReasons();
  showParts();
  $("main").hidden = false;
}

/** The nodes, and those that were here and are not told of any more. */
function remembered(told) {
  const now = Date.now();
  const gone = [];
  const names = new Set(told.map(({ id }) => id));
  for (const node of told) seen.set(node.id, { node, at: now });
  for (const [id, { node, at }] of seen) {
    if (names.has(id)) continue;
    if (now - at > GONE_MS) seen.delete(id);
    else gone.push({ ...node, answers: false, goneAt: at });
  }
  for (const { id, heartbeat_p99_ms: ping, late_p99_ms: late } of told) {
    const before = heartbeats.get(id) ?? {};
    heartbeats.set(id, { ping: ping ?? before.ping, late: late ?? before.late });
  }
  return [...told, ...gone].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function problemsOf(nodes) {
  const problems = [];
  const add = (what, advice, minor = false) => problems.push({ what, advice, minor });
  for (const node of nodes) {
    if (node.goneAt) add(`${node.id} is gone for ${span(Date.now() - node.goneAt)}`, "If nobody stopped it: look at its log and its machine. Its clients come back to the others.", node.draining);
    else if (!node.answers) add(`${node.id} does not answer`, "It died, hangs, or hears the others no more. They forget it after a few seconds of silence.");
    else if (node.trouble) add(`${node.id}: ${node.trouble}`, node.up ? "The node works, and Redis refuses something: look at its log." : "It serves its own clients and hears no others: look at Redis, and at the way there.");
    else if (!node.up) add(`${node.id} hears no other node`, "It serves its own clients alone: look at Redis, and at the way there.");
    const late = heartbeats.get(node.id)?.late;
    if (node.answers && late > LATE_HEARTBEATS_MS) add(`${node.id} sends heartbeats ${milliseconds(late)} late`, "It has too much to do: add a node or processors, or send less.", late < 1000);
  }
  for (const backend of figures.backends?.all ?? []) {
    if (backend.breaker !== "closed") add(`The backend ${backend.url} is left alone`, `${backend.failure ?? "It fails"}. Events and connects for it are refused until it answers again.`);
  }
  if (figures.stream?.trouble) add("Events cannot be written to the stream", figures.stream.trouble);
  const versions = new Set(nodes.filter((node) => !node.goneAt && node.version).map(({ version }) => version));
  if (versions.size > 1) add(`The nodes have different versions: ${[...versions].join(", ")}`, "That is right during a rollout only.", true);
  return problems;
}

function showVerdict(nodes) {
  const problems = problemsOf(nodes);
  const drains = nodes.filter((node) => node.draining && !node.goneAt).map(({ id }) => id);
  const calm = drains.length > 0 ? `All is well, and ${drains.join(", ")} drains` : "All is well";
  text("verdict", problems.length === 0 ? calm : one(problems.length, "thing") + " to look at");
  $("problems").replaceChildren(...problems.map(({ what, advice, minor }) => element("li", minor ? "problem minor" : "problem", element("strong", "", what), element("p", "", advice))));
}

function showTiles(nodes) {
  const answering = nodes.filter((node) => node.answers);
  text("connections", number(sum(nodes, (node) => node.connections)));
  const transports = ["websocket", "polling", "webtransport"].map((name) => ({ name, count: sum(answering, (node) => node.transports?.[name]) }));
  $("transports").replaceChildren(...transports.flatMap(({ count }, tone) => {
    if (count === 0) return [];
    const part = element("span", `tone-${tone}`);
    part.style.setProperty("--share", String(count));
    return [part];
  }));
  const names = { websocket: "WebSocket", polling: "polling", webtransport: "WebTransport" };
  $("transports-legend").replaceChildren(...transports.map(({ name, count }, tone) => element("span", `key tone-${tone}`, element("b", "", `${names[name]} ${number(count)}`))));

  for (const [id, key] of [["events-in", "events_in"], ["events-out", "events_out"]]) {
    const rate = sum(answering, (node) => node[key]);
    text(id, number(rate));
    drawLine(id, rate);
  }

  const pings = answering.map(({ id }) => heartbeats.get(id)?.ping).filter(known);
  const late = answering.map(({ id }) => heartbeats.get(id)?.late).filter(known);
  text("heartbeat", pings.length > 0 ? milliseconds(Math.max(...pings)) : "–");
  const timeouts = sum(answering, (node) => node.heartbeat_timeouts);
  $("heartbeat-legend").replaceChildren(
    element("span", "", pings.length > 0 ? "99 of 100 answer within" : "no ping yet"),
    element("span", "", late.length > 0 ? `sent ${milliseconds(Math.max(...late))} late` : null),
    element("span", "", `${number(timeouts)} not answered`),
  );
}

function drawLine(id, value) {
  const points = lines[id];
  points.push(value);
  if (points.length > LINE_POINTS) points.shift();
  const most = Math.max(1, ...points);
  const width = Math.max(points.length, LINE_POINTS / 5);
  const first = width - points.length;
  const at = points.map((it, index) => `${(((first + index) / (width - 1)) * 100).toFixed(2)},${(27 - (it / most) * 25).toFixed(2)}`);
  const shape = (name, path) => {
    const made = document.createElementNS(SVG, name);
    made.setAttribute("points", path);
    return made;
  };
  const left = ((first / (width - 1)) * 100).toFixed(2);
  $(`${id}-line`).replaceChildren(shape("polygon", `${left},28 ${at.join(" ")} 100,28`), shape("polyline", at.join(" ")));
}

function stateOf(node) {
  if (node.goneAt) return ["fails", `gone for ${span(Date.now() - node.goneAt)}`];
  if (!node.answers) return ["fails", "no answer"];
  if (!node.up) return ["fails", "alone"];
  if (node.draining) return ["waits", "draining"];
  if (node.rebalancing) return ["waits", "rebalancing"];
  return ["good", ""];
}

function showNodes(nodes) {
  const rows = nodes.map((node) => {
    const [kind, state] = stateOf(node);
    const name = element("td", "", element("span", `dot ${kind}`), node.id, node.self ? element("span", "tag", "this one") : null, state ? element("span", `tag ${kind}`, state) : null);
    name.title = node.id;
    const row = element("tr", node.answers ? "" : "gone", name);
    row.dataset.node = node.id;
    const { ping, late } = heartbeats.get(node.id) ?? {};
    const cells = [
      ["Connections", number(node.connections)],
      ["In /s", number(node.events_in)],
      ["Out /s", number(node.events_out)],
      ["CPU", known(node.cpu) ? `${whole.format(node.cpu * 100)} %` : "–"],
      ["Ping p99", milliseconds(ping)],
      ["Late p99", milliseconds(late)],
      ["Waiting", bytes(node.outbox_bytes)],
    ];
    for (const [label, value] of cells) {
      const cell = element("td", label === "Late p99" && late > LATE_HEARTBEATS_MS ? "late" : "", node.answers || label === "Connections" ? value : "–");
      cell.dataset.label = label;
      row.append(cell);
    }
    return row;
  });
  $("nodes").replaceChildren(...rows);
  const alive = nodes.filter((node) => node.answers).length;
  const others = figures.node_servers > 0 ? ` and ${one(figures.node_servers, "Node server")}` : "";
  text("nodes-note", `${one(alive, "gateway")}${others}`);
}

function showRooms(id, told, of, nothing) {
  $(id).closest("section").hidden = !told;
  const rooms = told?.filter((room) => of(room) > 0) ?? [];
  const most = Math.max(1, ...rooms.map(of));
  const several = new Set(rooms.map(({ namespace }) => namespace)).size > 1 || rooms.some(({ namespace }) => namespace !== "/");
  const items = rooms.slice(0, 10).map((room) => {
    const name = element("span", known(room.name) ? "room-name" : "room-name everybody", room.name ?? "everybody");
    name.title = room.name ?? "";
    const item = element("li", "", name, several ? element("span", "namespace", room.namespace) : null, element("span", "count", number(of(room))));
    item.style.setProperty("--share", String(of(room) / most));
    return item;
  });
  $(id).replaceChildren(...(items.length > 0 ? items : [element("li", "empty", nothing)]));
}

function showReasons() {
  const now = Date.now();
  const kinds = [["closed", "closed", figures.closed], ["refused", "refused", figures.refused], ["token", "token", figures.tokens_refused], ["user", "user", figures.users_refused]];
  const all = kinds.flatMap(([kind, label, reasons]) => reasons.map((it) => ({ ...it, kind, label, key: `${kind} ${it.reason}` })));
  const counts = new Map(all.map(({ key, count }) => [key, count]));
  past.push({ at: now, counts });
  while (past.length > 1 && now - past[0].at > LATELY_MS) past.shift();
  const before = past[0];
  const within = span(Math.max(now - before.at, 1000));
  all.sort((a, b) => a.ago_ms - b.ago_ms);
  const items = all.map((it) => {
    const more = it.count - (before.counts.get(it.key) ?? 0);
    const item = element("li", "reason",
      element("span", it.kind === "closed" ? "tag" : "tag waits", it.label),
      element("span", "reason-name", readable(it.reason), more > 0 && past.length > 1 ? element("small", "", `+${number(more)} in ${within}`) : null),
      element("span", "reason-count", `${number(it.count)}×, ${ago(it.ago_ms)}`),
      element("p", "remedy", it.remedy));
    item.dataset.reason = it.reason;
    return item;
  });
  const nothing = element("li", "empty", "Nobody was refused, and no connection was closed.");
  $("reasons").replaceChildren(...(items.length > 0 ? items.slice(0, SHOWN_REASONS) : [nothing]));
  $("older-reasons").replaceChildren(...items.slice(SHOWN_REASONS));
  $("more-reasons").hidden = items.length <= SHOWN_REASONS;
  text("more-reasons-count", `${one(items.length - SHOWN_REASONS, "more reason")}`);
}

/** A card about a part of the node; without rows the part is off. */
function part(id, kind, state, rows, off) {
  const card = $(id);
  card.classList.toggle("off", !rows);
  const tag = card.querySelector(".tag");
  tag.className = `tag ${rows ? kind : ""}`;
  tag.textContent = rows ? state : "off";
  const shown = rows ?? [[null, off]];
  card.querySelector("dl").replaceChildren(...shown.flatMap(([name, value, className]) => {
    if (!known(value)) return [];
    if (!known(name)) return [element("dd", `full ${className ?? ""}`, value)];
    return [element("dt", className === "title" ? "full" : "", name), element("dd", className === "title" ? "full" : className ?? "", value)];
  }));
}

const some = (name, count) => (count > 0 ? [[name, number(count), "bad"]] : []);

function showParts() {
  const { redis, backends, stream, recovery, drain, rebalance } = figures;
  part("redis", redis?.up ? "good" : "fails", redis?.up ? "connected" : "not connected", redis && [
    ...(redis.trouble ? [[null, redis.trouble, "bad"]] : []),
    ...(redis.concern ? [[null, redis.concern, "bad"]] : []),
    ["There and back, p99", milliseconds(redis.lag_p99_ms)],
    ["Waiting", `${number(redis.queued)}, ${bytes(redis.queued_bytes)}`],
    ["Subscriptions", number(redis.subscriptions)],
    ["Reconnects", number(redis.reconnects)],
    ...some("Times that messages may be missed", redis.gaps),
    ...some("Messages lost", redis.dropped + redis.refused),
    ...some("Messages that may be lost", redis.unconfirmed),
  ], "This node stands alone: redis.url is not set.");

  const open = backends?.all.filter(({ breaker }) => breaker !== "closed").length;
  part("backends", open > 0 ? "fails" : "good", open > 0 ? `${open} left alone` : "answering", backends && [
    ...backends.all.flatMap((it) => [
      [it.url, it.breaker === "closed" ? `${known(it.answered_ago_ms) ? `answered in ${milliseconds(it.answered_in_ms)}, ${ago(it.answered_ago_ms)}` : "not asked yet"}` : it.breaker === "open" ? "left alone" : "being tried", "title"],
      ...(it.in_flight + it.waiting > 0 ? [["Under way, waiting", `${number(it.in_flight)}, ${number(it.waiting)}`]] : []),
      ...(it.failure ? [[null, `Last failure ${ago(it.failed_ago_ms)}: ${it.failure}`, it.breaker === "closed" ? "" : "bad"]] : []),
    ]),
    ["Requests that went well", number(backends.requests.ok)],
    ...Object.entries(backends.requests).filter(([name]) => name !== "ok").flatMap(([name, count]) => some(readable(name), count)),
    ...some("Events lost", backends.events_lost),
    ...some("Replies not understood", backends.bad_replies),
  ], "The relay serves clients: backend.url is not set.");

  const results = recovery?.results ?? [];
  const recovered = results.find(({ reason }) => reason === "recovered")?.count ?? 0;
  part("recovery", "good", "on", recovery && [
    ["Recovered", number(recovered)],
    ...results.filter(({ reason }) => reason !== "recovered").flatMap(({ reason, count, remedy }) => [[`Not: ${readable(reason)}`, number(count)], [null, remedy]]),
    ["Events sent again", number(recovery.replayed)],
    ["Kept in logs", `${number(recovery.entries)}, ${bytes(recovery.bytes)}`],
    ["Waiting", number(recovery.waiting)],
    ...some("Events refused", recovery.refused),
    ...some("Connections given up", recovery.given_up),
    ...some("Times that Redis lost a log", recovery.renewed),
  ], "Clients that come back begin anew: recovery.window is not set.");

  part("drain", "waits", drain?.ends ? "ending" : "draining", drain && [
    ["Connections left", number(drain.remaining)],
    ["Time left", `${drain.seconds_left} s`],
    ["New clients", drain.refuses ? "refused" : "let in for now"],
  ], "This node does not drain.");

  part("rebalance", rebalance?.under_way ? "waits" : "good", rebalance?.under_way ? "letting go" : rebalance?.auto ? "auto" : "on request", rebalance && [
    ["Connections here", number(rebalance.connections)],
    ["Mean of the nodes", number(rebalance.mean)],
    ["At most", `${number(rebalance.per_second)} a second`],
  ], "There is no other node to share with.");

  part("stream", stream?.trouble ? "fails" : "good", stream?.trouble ? "failing" : "written", stream && [
    ...(stream.trouble ? [[null, stream.trouble, "bad"]] : []),
    ["Written", number(stream.written)],
    ["Waiting", `${number(stream.waiting)}, ${bytes(stream.waiting_bytes)}`],
    ...some("Refused", stream.refused),
    ...some("Attempts that failed", stream.retries),
  ], "Events go into no stream: backend.stream is not set.");
}

/* Asking */

/** Whether the node answers, and how old the figures are. */
function showLife() {
  const now = performance.now();
  const isLost = failure || (askedAt && now - askedAt > LATE_MS);
  const age = receivedAt && now - receivedAt;
  const state = isLost ? "lost" : receivedAt ? "live" : "connecting";
  document.body.dataset.state = state;
  if (state === "live") text("live", age < 1500 ? "Live" : `Live, ${ago(age)}`);
  else text("live", state === "lost" ? "No answer" : "Connecting…");
  $("notice").hidden = !isLost;
  if (isLost) {
    const figuresAge = receivedAt ? ` The figures are ${span(age)} old.` : "";
    text("notice", `${failure?.said ?? "This node does not answer any more."}${figuresAge}`);
  }
}

async function ask() {
  clearTimeout(timer);
  if (document.hidden || asking) return;
  const request = new AbortController();
  asking = request;
  askedAt = performance.now();
  const limit = setTimeout(() => request.abort(), GIVE_UP_MS);
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: request.signal });
    const content = await answer.json();
    if (!answer.ok) throw Object.assign(new Error("refused"), { said: `This node says: ${content.error?.message ?? content.error}.` });
    figures = content;
    receivedAt = performance.now();
    failure = undefined;
    show();
  } catch (error) {
    // Whoever hides the page does not want an answer.
    if (!document.hidden) failure = error;
  } finally {
    clearTimeout(limit);
    asking = undefined;
    askedAt = undefined;
  }
  showLife();
  if (!document.hidden) timer = setTimeout(ask, EVERY_MS);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    asking?.abort();
  } else ask();
});
setInterval(() => {
  if (!document.hidden) showLife();
}, 1000);
ask();
