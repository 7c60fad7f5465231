// The status page: one snapshot after the other from v1/live, written into rows that stay. Everything that comes from
// the daemon is written as text.

import { attribute, bits, byId, count, draw, element, lasting, mark, moment, rate, remember, trend, write } from "./elements.js";
import { adminControls, allow, changeButton, reconnected, refresh, remember as rememberWeight } from "./admin.js";
import { EVENTS, forgetEvents, happened, showFacts, showReasons, showSync, showVrrp } from "./director.js";

const STATES = ["up", "down", "draining", "unresolved", "unknown"];

// Whether this snapshot is the next of a trend, or shows something that has just happened.
let lastPoint = 0;

// ---- real servers ----

const ORDER = new Map(STATES.map((state, i) => [state, [4, 0, 2, 1, 3][i]]));
const live = (server) => server.active_connections + server.inactive_connections;
const latency = (server) => server.health?.last?.latency_ms ?? -1;

// Every column: its heading, how it is ordered, and whether the greatest is first.
const COLUMNS = [
  { key: "address", title: "Real server", of: (row) => row.place, isText: true },
  { key: "state", title: "State", of: (row) => ORDER.get(row.server.state), isText: true },
  { key: "since", title: "Since", of: (row) => Date.parse(row.server.since ?? 0) },
  { key: "check", title: "Last check", of: (row) => latency(row.server) },
  { key: "weight", title: "Weight", of: (row) => row.server.weight, isNumber: true },
  { key: "active", title: "Active", of: (row) => row.server.active_connections, isNumber: true },
  { key: "inactive", title: "Inactive", of: (row) => row.server.inactive_connections, isNumber: true },
  { key: "share", title: "Share", of: (row) => live(row.server), isNumber: true },
  { key: "connections", title: "Conn/s", of: (row) => row.server.rate.connections, isNumber: true },
  { key: "trend", title: "2 min" },
  { key: "packets", title: "Packets/s", of: (row) => row.server.rate.packets, isNumber: true },
  { key: "traffic", title: "Traffic", of: (row) => row.server.rate.bytes, isNumber: true },
];

const services = new Map();
const view = { filter: "", state: "", sort: "address", descending: false };

// What a row is stays said although it is laid out as a grid.
function roles(row) {
  attribute(row, "role", "row");
  for (const cell of row.children) attribute(cell, "role", cell.scope === "col" ? "columnheader" : cell.scope ? "rowheader" : "cell");
}

function serverRow(service, address, isSorry) {
  const row = element("tr", { class: "server" });
  const name = element("span", { class: "address" }, address);
  const mac = element("small");
  const tag = element("span", { class: "tag", hidden: true }, "runtime");
  const first = element("th", { scope: "row" }, name, element("span", { class: "more" }, mac, tag));
  if (isSorry) tag.before(element("span", { class: "tag" }, "sorry server"));
  const cells = { first, name, mac, tag };
  row.append(first);
  for (const column of COLUMNS.slice(1)) {
    const cell = element("td", { class: column.isNumber ? `of-${column.key} number` : `of-${column.key}` });
    if (column.key !== "state") cell.dataset.label = column.title;
    cells[column.key] = cell;
    row.append(cell);
  }
  cells.badge = element("span", { class: "state" });
  cells.state.append(cells.badge);
  cells.result = element("span");
  cells.error = element("span", { class: "error" });
  cells.asked = element("small");
  cells.check.append(cells.result, " ", cells.error, cells.asked);
  cells.weighs = element("span");
  cells.weight.append(cells.weighs);
  cells.bar = element("span");
  cells.share.append(cells.bar);
  cells.line = trend();
  cells.trend.append(cells.line.svg);
  roles(row);
  const made = { row, cells, place: 0, server: null, isSkipped: false };
  // A sorry server has no weight of its own.
  if (!isSorry) cells.weight.append(changeButton(service, address, () => made.server));
  // A trend that nobody sees is not drawn.
  row.addEventListener("contentvisibilityautostatechange", (event) => {
    made.isSkipped = event.skipped;
    if (!event.skipped) draw(cells.line);
  });
  return made;
}

function showServer(found, server, ofService, now, isNew) {
  const { cells } = found;
  found.server = server;
  write(cells.mac, server.mac ?? "");
  cells.tag.hidden = !server.runtime;
  mark(cells.badge, server.state);
  write(cells.since, server.since ? lasting(server.since, now) : "");
  const { health } = server, last = health?.last;
  write(cells.result, last ? `${last.latency_ms.toFixed(1)} ms, ${lasting(last.time, now)} ago` : health ? health.state : "no check");
  write(cells.error, last?.error ?? "");
  write(cells.asked, health ? health.check : "");
  write(cells.weighs, count(server.weight));
  write(cells.active, count(server.active_connections));
  write(cells.inactive, count(server.inactive_connections));
  const share = ofService > 0 ? live(server) / ofService : 0;
  write(cells.bar, `${Math.round(share * 100)} %`);
  const ofAll = share.toFixed(3);
  if (found.ofAll !== ofAll) { found.ofAll = ofAll; cells.bar.style.setProperty("--of-all", ofAll); }
  write(cells.connections, rate(server.rate.connections));
  write(cells.packets, rate(server.rate.packets));
  write(cells.traffic, bits(server.rate.bytes));
  remember(cells.line, server.rate.connections, isNew);
  if (!found.isSkipped) draw(cells.line);
}

function serviceGroup(name) {
  const body = element("tbody");
  const row = element("tr", { class: "service" });
  const title = element("span", { class: "name" }, name);
  const details = element("span", { class: "details" });
  const problem = element("span", { class: "state problem", hidden: true });
  const cells = {};
  row.append(element("th", { scope: "rowgroup", colspan: "4" }, title, details, problem), element("td", { class: "empty" }));
  for (const column of COLUMNS.slice(5)) {
    const cell = element("td", { class: column.isNumber ? `of-${column.key} number` : `of-${column.key}` });
    cell.dataset.label = column.key === "share" ? "Up" : column.title;
    cells[column.key] = cell;
    row.append(cell);
  }
  cells.line = trend();
  cells.trend.append(cells.line.svg);
  roles(row);
  attribute(body, "role", "rowgroup");
  body.append(row);
  return { body, cells, details, problem, servers: new Map(), shown: [] };
}

function showService(group, service, now, isNew) {
  const { cells } = group;
  const all = service.sorry_server ? [...service.real_servers, service.sorry_server] : service.real_servers;
  const sum = (of) => all.reduce((total, server) => total + of(server), 0);
  const known = service.addresses.length > 3
    ? `${service.addresses.slice(0, 3).join(" ")} and ${service.addresses.length - 3} more` : service.addresses.join(" ");
  const words = [service.protocol.toUpperCase(), known, [service.scheduler, ...(service.scheduler_flags ?? [])].join(" ")];
  if (service.fwmark) words.push(`fwmark ${service.fwmark}`);
  if (service.persistence) words.push(`persistent ${service.persistence.timeout} s`);
  if (service.one_packet) words.push("one packet");
  if (service.runtime) words.push("runtime");
  write(group.details, words.filter((word) => word !== "").join(" · "));
  const up = service.real_servers.filter((server) => server.state === "up").length;
  const problem = service.quorum ? "" : up === 0 ? "down" : "no quorum";
  group.problem.hidden = problem === "";
  group.problem.dataset.state = "down";
  write(group.problem, problem === "down" ? "no real server is up" : "too few real servers are up");
  write(cells.active, count(sum((server) => server.active_connections)));
  write(cells.inactive, count(sum((server) => server.inactive_connections)));
  write(cells.share, `${up} of ${service.real_servers.length}`);
  write(cells.connections, rate(service.rate.connections));
  write(cells.packets, rate(service.rate.packets));
  write(cells.traffic, bits(service.rate.bytes));
  remember(cells.line, service.rate.connections, isNew);
  draw(cells.line);
  const total = sum(live), seen = new Set();
  all.forEach((server, place) => {
    const isSorry = server === service.sorry_server;
    const key = `${server.address} ${isSorry}`;
    seen.add(key);
    let row = group.servers.get(key);
    if (!row) { row = serverRow(service.name, server.address, isSorry); group.servers.set(key, row); }
    row.place = place;
    showServer(row, server, total, now, isNew);
  });
  for (const [key, row] of group.servers) {
    if (!seen.has(key)) { row.row.remove(); group.servers.delete(key); }
  }
  group.service = service;
  group.text = [service.name, ...service.addresses, service.protocol].join(" ").toLowerCase();
}

// Puts rows where they belong; those that are there already stay.
function arrange() {
  const column = COLUMNS.find((column) => column.key === view.sort);
  const words = view.filter.toLowerCase().split(/\s+/).filter((word) => word !== "");
  let shown = 0;
  for (const group of services.values()) {
    const ofService = words.every((word) => group.text.includes(word));
    const isWanted = (row) => (view.state === "" || row.server.state === view.state)
      && (ofService || words.every((word) => `${group.text} ${row.server.address} ${row.server.mac ?? ""}`.includes(word)));
    const rows = [...group.servers.values()].filter(isWanted);
    const sign = view.descending ? -1 : 1;
    rows.sort((one, other) => sign * (column.of(one) - column.of(other)) || one.place - other.place);
    const isEmpty = group.servers.size === 0 && view.state === "" && ofService;
    group.body.hidden = rows.length === 0 && !isEmpty;
    shown += rows.length + (isEmpty ? 1 : 0);
    const elements = rows.map((row) => row.row);
    if (elements.length !== group.shown.length || elements.some((row, i) => row !== group.shown[i])) {
      group.shown = elements;
      group.body.replaceChildren(group.body.firstElementChild, ...elements);
    }
  }
  byId("none").hidden = shown > 0 || services.size === 0;
}

function showServices(listed, now, isNew) {
  const table = byId("servers"), names = new Set(listed.map((service) => service.name));
  for (const [name, group] of services) {
    if (!names.has(name)) { group.body.remove(); services.delete(name); }
  }
  listed.forEach((service, place) => {
    let group = services.get(service.name);
    if (!group) { group = serviceGroup(service.name); services.set(service.name, group); }
    showService(group, service, now, isNew);
    const there = table.tBodies[place];
    if (there !== group.body) table.insertBefore(group.body, there ?? null);
  });
  arrange();
}

// ---- totals ----

const totals = new Map();

function total(name, text, unit = "") {
  let found = totals.get(name);
  if (!found) {
    found = { text: element("span"), unit: element("small") };
    totals.set(name, found);
    byId("totals").append(element("div", {}, element("dt", {}, name), element("dd", {}, found.text, " ", found.unit)));
  }
  write(found.text, text);
  write(found.unit, unit);
}

const stateButtons = new Map();

function showTotals(listed) {
  const servers = listed.flatMap((service) => service.real_servers);
  const all = listed.flatMap((service) => service.sorry_server ? [...service.real_servers, service.sorry_server] : service.real_servers);
  const sum = (of) => all.reduce((total, server) => total + of(server), 0);
  const of = (state) => servers.filter((server) => server.state === state).length;
  const able = listed.filter((service) => service.quorum).length;
  total("Virtual servers", count(able), able === listed.length ? "with quorum" : `of ${count(listed.length)} with quorum`);
  total("Real servers", count(of("up")), `of ${count(servers.length)} up`);
  total("Connections", count(sum(live)), `${count(sum((server) => server.active_connections))} active`);
  total("New connections", rate(sum((server) => server.rate.connections)), "a second");
  total("Packets", rate(sum((server) => server.rate.packets)), "a second");
  const [amount, unit] = bits(sum((server) => server.rate.bytes)).split(" ");
  total("Traffic", amount, unit);
  for (const [state, button] of stateButtons) {
    const number = all.filter((server) => state === "" || server.state === state).length;
    write(button.number, count(number));
    button.button.hidden = state !== "" && state !== "up" && number === 0 && view.state !== state;
  }
  const problems = of("down") + of("unresolved");
  document.title = `${problems > 0 ? `(${problems}) ` : ""}lb ${location.host}`;
}

// ---- controls ----

function sortBy(key) {
  const column = COLUMNS.find((column) => column.key === key);
  const isSame = view.sort === key;
  view.descending = isSame ? !view.descending : !column.isText;
  view.sort = key;
  showOrder();
  arrange();
}

function showOrder() {
  for (const heading of byId("columns").children) {
    const isThis = heading.dataset.key === view.sort;
    if (heading.firstElementChild) attribute(heading, "aria-sort", isThis ? (view.descending ? "descending" : "ascending") : "none");
  }
  byId("sort").value = view.sort;
}

function controls() {
  for (const column of COLUMNS) {
    const heading = element("th", { scope: "col", class: column.isNumber ? `of-${column.key} number` : `of-${column.key}` });
    heading.dataset.key = column.key;
    if (column.of) {
      const button = element("button", { type: "button" }, column.title);
      button.addEventListener("click", () => sortBy(column.key));
      heading.append(button);
      byId("sort").append(element("option", { value: column.key }, column.title));
    } else {
      heading.append(column.title);
    }
    byId("columns").append(heading);
  }
  roles(byId("columns"));
  byId("sort").addEventListener("change", (event) => sortBy(event.target.value));
  byId("filter").addEventListener("input", (event) => { view.filter = event.target.value; arrange(); });
  for (const state of ["", ...STATES]) {
    const number = element("span"), name = state === "" ? "all" : element("span", { class: "state" }, state);
    if (state !== "") name.dataset.state = state;
    const button = element("button", { type: "button", hidden: state !== "" }, name, " ", number);
    attribute(button, "aria-pressed", String(state === view.state));
    button.addEventListener("click", () => {
      view.state = state;
      for (const [other, { button }] of stateButtons) attribute(button, "aria-pressed", String(other === state));
      arrange();
    });
    stateButtons.set(state, { button, number });
    byId("states").append(button);
  }
  showOrder();
  write(byId("where"), location.host);
}

function status(state, text) {
  attribute(byId("live"), "data-state", state);
  write(byId("live"), text);
  document.body.classList.toggle("is-stale", state === "lost");
}

function show(overview) {
  const now = Date.parse(overview.time);
  const isNew = now - lastPoint > 1500;
  if (isNew) lastPoint = now;
  showFacts(overview.director, now);
  showTotals(overview.virtual_servers);
  showServices(overview.virtual_servers, now, isNew);
  showVrrp(overview.vrrp, now);
  showSync(overview.sync);
  showReasons(overview.reasons, now);
  allow(overview.admin);
  refresh();
  document.body.dataset.shown = overview.time;
}

controls();
adminControls();
let shown = "";
function connect() {
  const source = new EventSource(`v1/live?last=${EVENTS}`);
  source.addEventListener("open", () => { forgetEvents(); reconnected(); });
  source.addEventListener("snapshot", (event) => {
    const overview = JSON.parse(event.data);
    shown = overview.time;
    show(overview);
    status("live", "live");
  });
  source.addEventListener("happened", (event) => {
    const it = JSON.parse(event.data);
    happened(it);
    rememberWeight(it);
  });
  source.addEventListener("error", () => {
    status("lost", shown ? `no connection; as of ${moment(shown)} UTC` : "no connection");
    // After another answer than that, a browser does not come back by itself: there was no room, or a proxy answered.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
  });
}
connect();
