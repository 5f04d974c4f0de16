// What scripts add to the queue's pages: they keep themselves up to date while somebody looks, and keys. All works without them.
"use strict";

document.documentElement.classList.add("js");

const $ = (id) => document.getElementById(id);

// Sections that have changed on the server replace those that stand here, but for what somebody is at.

let said = document.querySelector("[data-news]")?.dataset.news;

function announce(page) {
  const news = page.querySelector("[data-news]")?.dataset.news;
  if (news !== undefined && news !== said) $("news").textContent = news || "All is well.";
  said = news;
}

function isBusy(section) {
  const focus = document.activeElement;
  return section.hasAttribute("data-still") || section.querySelector(".lines li:hover") !== null ||
    (section.contains(focus) && focus.matches("input, select, textarea"));
}

function replace(section, fresh) {
  if (section.isEqualNode(fresh) || isBusy(section)) return;
  const focus = section.contains(document.activeElement) ? document.activeElement : null;
  const again = focus && (focus.id ? `#${CSS.escape(focus.id)}` : ["href", "formaction"].filter((name) => focus.hasAttribute(name))
    .map((name) => `[${name}="${CSS.escape(focus.getAttribute(name))}"]`)[0]);
  for (const each of section.querySelectorAll("details[id][open]")) {
    fresh.querySelector(`#${CSS.escape(each.id)}`)?.setAttribute("open", "");
  }
  const top = [...section.querySelectorAll("pre")].map((pre) => pre.scrollTop);
  section.replaceWith(fresh);
  fresh.querySelectorAll("pre").forEach((pre, at) => { pre.scrollTop = top[at] ?? 0; });
  // Where it is gone, one goes on from the top of the page's own part.
  if (focus) ((again && fresh.querySelector(again)) || $("main")).focus({ preventScroll: true });
}

let looking = false, lookAgain = false;

async function look() {
  if (document.hidden) return;
  if (looking) { lookAgain = true; return; }
  looking = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (response.ok) {
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      announce(page);
      for (const section of document.querySelectorAll("[data-live]")) {
        const fresh = page.getElementById(section.id);
        if (fresh) replace(section, document.adoptNode(fresh));
      }
      document.title = page.title;
    }
  } catch { /* The server is away for a moment. */ }
  looking = false;
  if (lookAgain) { lookAgain = false; look(); }
}

// News: by an open stream while there is one, else by looking now and then; and none while nobody looks.

let stream, quiet = 0;

function listen() {
  stream?.close();
  if (document.hidden) return;
  stream = new EventSource("/queue/events");
  for (const name of ["change", "beat"]) stream.addEventListener(name, look);
  // A browser comes again by itself, unless it was refused: then in half a minute.
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 30e3);
  });
}

function span(ms) {
  const seconds = Math.round(Math.abs(ms) / 1000);
  const parts = [];
  let left = seconds;
  for (const [unit, size] of [["day", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(left / size);
    left %= size;
    if (count) parts.push(`${count} ${unit}${unit === "day" && count > 1 ? "s" : ""}`);
    else if (parts.length) break;
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

function tick() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("#numbers time")) {
    const away = new Date(time.dateTime) - Date.now() - skew;
    time.textContent = away > 0 ? `in ${span(away)}` : `${span(away)} ago`;
  }
  const soon = document.querySelector("[data-soon]") !== null;
  const deaf = stream?.readyState !== EventSource.OPEN;
  if (soon || (deaf && ++quiet % 5 === 0)) look();
}

// What the server's clock is ahead of ours.
const skew = new Date($("numbers")?.dataset.now ?? Date.now()) - Date.now();

if (document.querySelector("[data-live]")) {
  document.addEventListener("visibilitychange", () => (document.hidden ? stream?.close() : (look(), listen())));
  window.addEventListener("pagehide", () => stream?.close());
  window.addEventListener("pageshow", (event) => event.persisted && (look(), listen()));
  setInterval(tick, 1000);
  listen();
}

// Keys: off while somebody types, and for whoever has switched them off.

const KEYS = "rmindr keys";
const lines = () => [...document.querySelectorAll(".lines .to, .grid tbody th a")];

function move(step) {
  const all = lines();
  const at = all.findIndex((line) => line === document.activeElement || line.parentElement.contains(document.activeElement));
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

const help = $("help");
if (help) {
  $("help-open").hidden = false;
  $("help-open").addEventListener("click", () => help.showModal());
  $("keys-on").checked = localStorage.getItem(KEYS) !== "off";
  $("keys-on").addEventListener("change", (event) => localStorage.setItem(KEYS, event.target.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");
    const off = localStorage.getItem(KEYS) === "off";
    if (off || typing || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "?") help.open ? help.close() : help.showModal();
    else if (help.open) return;
    else if (event.key === "/") $("q")?.focus();
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else return;
    event.preventDefault();
  });
}

// A form that is sent says that it was heard.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button) return;
    setTimeout(() => { button.disabled = true; });
    window.addEventListener("pageshow", () => { button.disabled = false; }, { once: true });
  });
}

$("summary")?.focus();
