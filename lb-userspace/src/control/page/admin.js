// For administrators (director.http_admin_file): signing in and out, draining and enabling real servers, and weights.

import { byId, element, several, write } from "./elements.js";

// What requests of this session have to have; without one, nobody is signed in.
let token = "";
let isPossible = false;
let endsBy = 0;

// ---- asking ----

async function ask(method, path, question, isAgain = false) {
  const headers = { "X-CSRF-Token": token };
  if (question) headers["Content-Type"] = "application/json";
  const body = question && JSON.stringify(question);
  const answer = await fetch(path, { method, headers, body }).catch(() => {
    throw new Error("The director does not answer. Try again when the page is live.");
  });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  if (said.kind === "no_csrf_token" && !isAgain) {
    // Somebody has signed in anew in another tab, whose cookie this one has too.
    await look();
    return ask(method, path, question, true);
  }
  throw Object.assign(new Error(said.error ?? `The director answers ${answer.status}.`), { kind: said.kind });
}

// Has a dialog's controls wait until something is done, and says there why it cannot be.
async function within(dialog, act) {
  const controls = [...dialog.querySelectorAll("button, input")], last = document.activeElement;
  const problem = dialog.querySelector(".error");
  write(problem, "");
  for (const control of controls) control.disabled = true;
  try {
    return await act();
  } catch (error) {
    if (error.kind === "signed_out") {
      hasEnded();
      openSignIn("Your session has ended. Sign in again to go on.");
    } else if (dialog.open) write(problem, error.message);
    // Closed by Escape meanwhile.
    else say(error.message);
    return null;
  } finally {
    for (const control of controls) control.disabled = false;
    if (dialog.open && last?.isConnected) last.focus();
  }
}

function say(text) {
  write(byId("said"), text);
}

// ---- signing in and out ----

function signedIn(session) {
  token = session.csrf_token ?? "";
  clearTimeout(endsBy);
  if (token) endsBy = setTimeout(look, (session.expires_in + 1) * 1000);
  document.body.classList.toggle("is-admin", token !== "");
  byId("sign-in").hidden = token !== "";
  byId("sign-out").hidden = token === "";
}

// Nothing opens by itself: whoever types something else at this moment types it there.
function hasEnded() {
  signedIn({});
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  say("Your session has ended.");
}

// Whether this browser is signed in, as the director knows.
async function look() {
  try {
    const session = await ask("GET", "v1/session");
    if (token && !session.signed_in) hasEnded();
    else signedIn(session);
  } catch (error) {
    // It is asked again with the next connection.
    console.debug(error.message);
  }
}

function openSignIn(why) {
  write(byId("sign-in-why"), why);
  write(byId("sign-in-dialog").querySelector(".error"), "");
  byId("secret").value = "";
  byId("in-clear").hidden = window.isSecureContext;
  say("");
  byId("sign-in-dialog").showModal();
}

async function signIn(event) {
  event.preventDefault();
  const dialog = byId("sign-in-dialog");
  const session = await within(dialog, () => ask("POST", "v1/session", { token: byId("secret").value }));
  byId("secret").value = "";
  if (!session) return;
  signedIn(session);
  dialog.close();
  // The button that opened the dialog is hidden now.
  byId("sign-out").focus();
  say("Signed in.");
}

async function signOut() {
  try {
    await ask("DELETE", "v1/session");
    signedIn({});
    say("Signed out.");
    byId("sign-in").focus();
  } catch (error) {
    say(error.message);
  }
}

// Whether there are administrators here; each snapshot says so.
export function allow(isAllowed) {
  if (isAllowed === isPossible) return;
  isPossible = isAllowed;
  byId("admin").hidden = !isAllowed;
  if (isAllowed) look();
  else signedIn({});
}

// The daemon may be another one, which knows no sessions.
export function reconnected() {
  if (isPossible) look();
}

// ---- a real server ----

// Weights from before a drain, as events tell.
const before = new Map();
const keyOf = (service, server) => JSON.stringify([service, server]);

export function remember(it) {
  if (it.kind === "real_server_weight" && it.after === 0) before.set(keyOf(it.service, it.server), it.before);
}

// Whose dialog is open: the virtual server's name, the address, and what is known of it.
let chosen = null;

export function changeButton(service, address, server) {
  const button = element("button", { type: "button", class: "change", "aria-label": `Change ${address} of ${service}` }, "Change");
  button.addEventListener("click", () => {
    chosen = { service, address, server };
    byId("weight").value = server().weight;
    write(byId("server-dialog").querySelector(".error"), "");
    say("");
    refresh();
    byId("server-dialog").showModal();
  });
  return button;
}

const connections = ({ active_connections: active, inactive_connections: inactive }) =>
  several(active + inactive, "connection");

// What an open dialog says, as it changes.
export function refresh() {
  if (!chosen) return;
  const { service, address } = chosen, server = chosen.server(), isDrained = server.weight === 0;
  const back = before.get(keyOf(service, address));
  write(byId("server-title"), `${address} of ${service}`);
  write(byId("server-state"), `It is ${server.state}, has weight ${server.weight} and ${connections(server)}.`);
  byId("drain").hidden = isDrained;
  // Without one that this page knows of, whoever enables it has to say with which.
  byId("enable").hidden = !isDrained || !back;
  byId("enable").dataset.weight = back;
  write(byId("enable"), `Enable with weight ${back}`);
  write(byId("drain-title"), `Drain ${address} of ${service}?`);
  write(byId("drain-what"), `It gets no new connections; its ${connections(server)} may go on until they end. Enabling it undoes that.`);
}

async function setWeight(dialog, weight) {
  const { service, address } = chosen;
  const done = await within(dialog, () => ask("POST", "v1/weight", { service, server: address, weight }));
  if (!done) return;
  byId("drain-dialog").close();
  byId("server-dialog").close();
  const now = done.weight === 0 ? "gets no new connections" : `has weight ${done.weight}`;
  say(done.changed ? `${address} of ${service} ${now}; its weight was ${done.before}.` : `${address} of ${service} had weight ${weight} already.`);
}

function openDrain() {
  write(byId("drain-dialog").querySelector(".error"), "");
  byId("drain-dialog").showModal();
}

// ---- controls ----

export function adminControls() {
  byId("sign-in").addEventListener("click", () => openSignIn("To drain and enable real servers, and to change weights."));
  byId("sign-out").addEventListener("click", signOut);
  byId("sign-in-dialog").querySelector("form").addEventListener("submit", signIn);
  byId("drain").addEventListener("click", openDrain);
  byId("enable").addEventListener("click", (event) => setWeight(byId("server-dialog"), Number(event.currentTarget.dataset.weight)));
  byId("drain-now").addEventListener("click", () => setWeight(byId("drain-dialog"), 0));
  byId("server-dialog").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const weight = byId("weight").valueAsNumber;
    // Also if it seems to be drained: what this page knows of it may be a second old.
    if (weight === 0) openDrain();
    else setWeight(byId("server-dialog"), weight);
  });
  byId("server-dialog").addEventListener("close", () => { chosen = null; });
  for (const cancel of document.querySelectorAll("dialog .cancel")) {
    cancel.addEventListener("click", () => cancel.closest("dialog").close());
  }
}
