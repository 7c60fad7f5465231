// The director itself: virtual routers, shared connections, reasons, and what happened.

import { byId, count, element, lasting, mark, moment, rate, several, write } from "./elements.js";

export const EVENTS = 100;

// ---- the director ----

// Rows of a table, kept by their key.
function keyed(body, rows, make) {
  const there = body.rowsByKey ??= new Map();
  const keys = new Set(rows.map((row) => row.key));
  for (const [key, row] of there) if (!keys.has(key)) { row.row.remove(); there.delete(key); }
  for (const data of rows) {
    let row = there.get(data.key);
    if (!row) { row = make(data); there.set(data.key, row); body.append(row.row); }
    row.show(data);
  }
}

function cells(count, numbers = []) {
  const row = element("tr"), made = [];
  for (let i = 0; i < count; i += 1) {
    const cell = i === 0 ? element("th", { scope: "row" }) : element("td", { class: numbers.includes(i) ? "number" : "" });
    made.push(cell);
    row.append(cell);
  }
  return [row, made];
}

export function showFacts(director, now) {
  const mode = `${director.xdp_mode} XDP on ${director.interface}`;
  const running = director.since ? `, running for ${lasting(director.since, now)}` : "";
  write(byId("facts"), `${director.version}, ${mode}, room for ${count(director.max_connections)} connections${running}`);
}

export function showVrrp(instances, now) {
  byId("vrrp").hidden = instances.length === 0;
  keyed(document.querySelector("#vrrp tbody"), instances.map((instance) => ({ key: instance.name, instance })), () => {
    const [row, [name, state, since, priority, master, addresses]] = cells(6, [3]);
    const badge = element("span", { class: "state" }), reason = element("small"), split = element("small", { class: "error" });
    state.append(badge, reason, split);
    return { row, show: ({ instance }) => {
      write(name, instance.name);
      mark(badge, instance.state);
      write(reason, instance.reason);
      write(split, instance.split_brain ? `split brain: ${instance.split_brain}` : "");
      write(since, lasting(instance.since, now));
      write(priority, `${instance.priority}${instance.held ? " (held)" : ""}`);
      write(master, instance.state === "master" ? "this director" : instance.master ? instance.master.address : "");
      write(addresses, instance.virtual_addresses.join(" "));
    } };
  });
}

export function showSync(sync) {
  byId("sync").hidden = sync.phase === "off";
  if (sync.phase === "off") return;
  const list = document.querySelector("#sync dl");
  const pairs = [["State", sync.phase], ["Sent", count(sync.sent_connections)], ["Received", count(sync.received_connections)],
    ["Missing", count(sync.missing)], ["Lost events", count(sync.lost_events)], ["Refused", count(Object.values(sync.refused).reduce((one, other) => one + other, 0))]];
  if (list.children.length === 0) for (const [name] of pairs) list.append(element("dt", {}, name), element("dd"));
  pairs.forEach(([, value], i) => write(list.children[2 * i + 1], value));
  list.children[1].className = "state";
  list.children[1].dataset.state = sync.phase;
  keyed(document.querySelector("#sync tbody"), sync.peers.map((peer) => ({ key: peer.address, peer })), () => {
    const [row, [address, state, heard, missing]] = cells(4, [2, 3]);
    const badge = element("span", { class: "state" }), error = element("small");
    state.append(badge, error);
    return { row, show: ({ peer }) => {
      write(address, peer.address);
      badge.dataset.state = peer.introduced ? "joined" : "unknown";
      write(badge, peer.introduced ? "introduced" : "not yet known");
      write(error, peer.error ?? "");
      write(heard, peer.heard_ms == null ? "never" : `${(peer.heard_ms / 1000).toFixed(1)} s ago`);
      write(missing, count(peer.missing));
    } };
  });
}

const KINDS = [["drop", "Dropped"], ["event", "In the connection table"], ["pass", "Handed to this machine"]];
const before = new Map();

export function showReasons(reasons, time) {
  const table = document.querySelector("#reasons table");
  KINDS.forEach(([kind, title], place) => {
    let body = table.tBodies[place];
    if (!body) {
      body = element("tbody", {}, element("tr", {}, element("th", { scope: "rowgroup", colspan: "3" }, title)));
      table.append(body);
    }
    keyed(body, reasons.filter((reason) => reason.kind === kind).map((reason) => ({ key: reason.name, reason })), ({ reason }) => {
      const [row, [name, number, second]] = cells(3, [1, 2]);
      name.append(reason.name, element("small", {}, reason.description));
      return { row, show: ({ reason }) => {
        write(number, count(reason.count));
        const last = before.get(reason.name);
        const elapsed = last ? (time - last.time) / 1000 : 0;
        if (last && elapsed < 0.5) return;
        write(second, last ? rate(Math.max(0, reason.count - last.count) / elapsed) : "");
        before.set(reason.name, { count: reason.count, time });
      } };
    });
  });
}

// ---- what happened ----

const SAID = {
  daemon_started: (it) => `lb ${it.version} has begun with ${several(it.virtual_servers, "virtual server")}`,
  daemon_stopping: () => "the daemon ends",
  virtual_server_added: (it) => `${it.service} is new`,
  virtual_server_removed: (it) => `${it.service} is gone`,
  virtual_server_changed: (it) => `${it.service}: other ${it.changed.join(", ")}`,
  real_server_added: (it) => `${it.service}: ${it.server} is new, and ${it.state}`,
  real_server_removed: (it) => `${it.service}: ${it.server} is gone`,
  real_server_state: (it) => `${it.service}: ${it.server} is ${it.after}, was ${it.before}${it.reason ? ` (${it.reason})` : ""}`,
  real_server_weight: (it) => `${it.service}: ${it.server} has weight ${it.after}, had ${it.before}`,
  admin_change: (it) => `${it.service}: ${it.client} gave ${it.server} weight ${it.after} at director.http`,
  real_server_mac: (it) => `${it.service}: ${it.server} has MAC ${it.after ?? "none"}, had ${it.before ?? "none"}`,
  quorum_reached: (it) => `${it.service} has enough real servers`,
  quorum_lost: (it) => `${it.service} has too few real servers`,
  timeouts_changed: (it) => `timeouts are tcp ${it.tcp} s, tcp_fin ${it.tcp_fin} s, udp ${it.udp} s`,
  acl_changed: (it) => `${it.service ?? "rules for all clients"}: ${[...it.added.map((rule) => `+ ${rule}`), ...it.removed.map((rule) => `- ${rule}`)].join(", ")}`,
  reloaded: (it) => `reloaded, ${several(it.changes, "change")}`,
  reload_refused: (it) => `not reloaded: ${it.reason}`,
  reload_undone: () => "the reload was undone: nobody confirmed it",
  reload_confirmed: () => "the reload was confirmed",
  maps_mended: () => "somebody else had written the maps; they are as they should be again",
  vrrp_state: (it) => `${it.instance} is ${it.after}, was ${it.before} (${it.reason})`,
  vrrp_split_brain: (it) => it.found ? `${it.instance}: split brain, ${it.found}` : `${it.instance}: no split brain any more`,
  vrrp_group_state: (it) => `${it.group} is ${it.state}`,
  lost: (it) => `${it.events} events came too fast to be shown`,
};
const BAD = ["quorum_lost", "reload_refused", "reload_undone", "maps_mended"];

function tone(it) {
  if (BAD.includes(it.kind) || ["down", "unresolved", "fault"].includes(it.after) || (it.kind === "vrrp_split_brain" && it.found)) return "bad";
  return it.kind === "quorum_reached" || it.after === "up" ? "good" : "";
}

// Each connection begins with the last events.
export function forgetEvents() {
  document.querySelector("#events ol").replaceChildren();
}

export function happened(it) {
  const list = document.querySelector("#events ol");
  const text = element("span", {}, SAID[it.kind]?.(it) ?? it.kind);
  text.dataset.tone = tone(it);
  list.prepend(element("li", {}, element("time", { dateTime: it.time }, moment(it.time)), text));
  while (list.children.length > EVENTS) list.lastElementChild.remove();
}
