// Numbers and times in words, and elements that are made once and then kept up to date.

const REMEMBERED = 60; // points of a trend: two minutes

// ---- text ----

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(number);
export const several = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
export const rate = (number) => number >= 100 ? count(Math.round(number)) : number.toFixed(1);

export function bits(bytes) {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
  let value = bytes * 8, unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function lasting(from, now) {
  const seconds = Math.max(0, Math.round((now - Date.parse(from)) / 1000));
  const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
  if (days > 0) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

export const moment = (time) => time.replace("T", " ").replace(/(\.\d+)?Z$/, "");

// ---- elements ----

export const byId = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key.includes("-") || key === "scope" || key === "colspan") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

export function write(node, text) {
  if (node.written !== text) { node.written = text; node.textContent = text; }
}

export function mark(node, state) {
  if (node.dataset.state !== state) node.dataset.state = state;
  write(node, state);
}

export function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function trend() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", `0 0 ${REMEMBERED - 1} 16`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return { svg, path, points: [], drawn: "" };
}

export function remember(line, value, isNew) {
  if (isNew) line.points.push(value);
  else line.points[Math.max(0, line.points.length - 1)] = value;
  if (line.points.length > REMEMBERED) line.points.shift();
}

export function draw(line) {
  const most = Math.max(1, ...line.points);
  const first = REMEMBERED - line.points.length;
  const place = (point, i) => `${i === 0 ? "M" : "L"}${first + i} ${(15 - 14 * point / most).toFixed(1)}`;
  const drawn = line.points.map(place).join("");
  if (drawn !== line.drawn) { line.drawn = drawn; line.path.setAttribute("d", drawn); }
}
