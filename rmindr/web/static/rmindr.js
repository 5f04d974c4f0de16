// What scripts add: the zone that the browser knows, presets, a preview while one types, and pages that update themselves.
// Everything works without them.
"use strict";

document.documentElement.classList.add("js");

const $ = (id) => document.getElementById(id);
const pad = (number) => String(number).padStart(2, "0");
const dateOf = (moment) => `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`;
const timeOf = (moment, seconds) =>
  `${pad(moment.getHours())}:${pad(moment.getMinutes())}` + (seconds ? `:${pad(moment.getSeconds())}` : "");

function browserZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

// How a moment reads on the clocks of a zone; null where there is no such zone.
function inZone(moment, zone, options) {
  try {
    return new Intl.DateTimeFormat(undefined, { timeZone: zone, ...options }).format(moment);
  } catch {
    return null;
  }
}

// The form

function startForm(form) {
  const { date, time, time_zone: zone } = form.elements;
  const home = browserZone();
  let timer, asked = 0;
  const names = { "/when": "The time", "/time_zone": "The time zone" };
  const city = (key) => key.split("/").pop().replaceAll("_", " ");

  if (form.hasAttribute("data-fresh")) {
    zone.value = home;
    const tomorrow = new Date();
    tomorrow.setDate(tomorrow.getDate() + 1);
    set(tomorrow, "09:00");
  }

  function set(moment, clock) {
    date.value = dateOf(moment);
    time.value = clock ?? timeOf(moment, true);
    update();
  }

  const later = (ms) => new Date(Date.now() + ms);
  const nextDay = (test) => {
    const day = new Date();
    do day.setDate(day.getDate() + 1);
    while (!test(day));
    return day;
  };
  const presets = [
    ["In 1 minute", () => later(60e3)],
    ["In 1 hour", () => later(3600e3)],
    ["This evening", () => at(new Date(), 19), () => new Date().getHours() < 18],
    ["Tomorrow", () => at(nextDay(() => true), 9)],
    ["Monday", () => at(nextDay((day) => day.getDay() === 1), 9)],
    ["Next month", () => { const day = new Date(); return at(new Date(day.getFullYear(), day.getMonth() + 1, 1), 9); }],
  ];
  function at(day, hour) {
    day.setHours(hour, 0, 0, 0);
    return day;
  }
  const shelf = $("presets");
  for (const [name, moment, offered = () => true] of presets) {
    if (!offered()) continue;
    const button = document.createElement("button");
    button.type = "button";
    const when = moment();
    const short = inZone(when, home, when - Date.now() < 86400e3
      ? { hour: "2-digit", minute: "2-digit" }
      : { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
    button.append(name, " ");
    const small = document.createElement("small");
    small.textContent = short;
    button.append(small);
    button.addEventListener("click", () => {
      zone.value = home;
      const chosen = moment();
      set(chosen, chosen.getSeconds() ? undefined : timeOf(chosen));
    });
    shelf.append(button);
  }
  shelf.hidden = false;

  // The preview asks the server, which decides what a time means, and adds the reader's own clock where it differs.
  async function preview() {
    const mine = ++asked;
    const box = $("preview");
    if (!date.value || !time.value) return show(box, "", false);
    const body = { when: `${date.value}T${time.value}`, time_zone: zone.value.trim().replaceAll(" ", "_") || "UTC" };
    const fold = form.elements.fold?.value;
    if (fold) body.fold = Number(fold);
    let answer, problem;
    try {
      const response = await fetch("/api/reminders/preview", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      answer = await response.json();
      problem = !response.ok && (answer.errors ?? []).map((each) => `${names[each.pointer] ?? each.pointer} ${each.detail}.`).join(" ");
    } catch {
      return;
    }
    if (mine !== asked) return;
    if (problem) return show(box, problem, true);
    const options = { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" };
    const here = inZone(new Date(answer.due_at), home, options);
    const same = inZone(new Date(answer.due_at), answer.time_zone, options) === here;
    show(box, same ? answer.sentence : `${answer.sentence.slice(0, -1)} — ${here} for you in ${city(home)}.`, false);
  }
  function show(box, text, bad) {
    box.classList.toggle("bad", bad);
    if (box.textContent !== text) box.textContent = text;
  }
  function update() {
    const now = inZone(new Date(), zone.value, { hour: "2-digit", minute: "2-digit", timeZoneName: "shortOffset" })?.replace("GMT", "UTC");
    $("zone-now").textContent = now ? `It is ${now} in ${city(zone.value)} now.` : "";
    clearTimeout(timer);
    timer = setTimeout(preview, 150);
  }
  for (const field of [date, time, zone]) field.addEventListener("input", update);
  // What the server has just said about the time stands beside it already.
  if (!date.hasAttribute("aria-invalid")) update();

  form.addEventListener("submit", (event) => {
    // The server counts a form that is sent twice once; this only says that it heard.
    const button = event.submitter;
    if (button) setTimeout(() => { button.disabled = true; button.textContent = "Saving …"; });
  });
  // A page that the browser brings back from its memory has its button still disabled.
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());
}

// One reminder: look again when something may have changed, not while nobody looks.

function startReminder() {
  let timer;
  const article = () => $("reminder");

  function countdown() {
    const place = article().querySelector("[data-countdown]");
    if (!place) return;
    let left = Math.max(0, Math.ceil((new Date(article().dataset.due) - Date.now()) / 1000));
    if (left >= 86400) return;
    const parts = [];
    for (const [unit, size] of [["hour", 3600], ["minute", 60], ["second", 1]]) {
      const count = Math.floor(left / size);
      left %= size;
      if (count && parts.length < 2) parts.push(`${count} ${unit}${count === 1 ? "" : "s"}`);
    }
    place.textContent = parts.join(" ") || "a moment";
  }

  async function look() {
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (response.ok) {
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const fresh = page.getElementById("reminder");
        if (fresh && fresh.outerHTML !== article().outerHTML) {
          article().replaceWith(document.adoptNode(fresh));
          document.title = page.title;
        }
      }
    } catch { /* The server is away for a moment; the next look will tell. */ }
    plan();
  }

  function plan() {
    clearTimeout(timer);
    if (document.hidden || !article()?.dataset.refresh) return;
    const due = new Date(article().dataset.due) - Date.now();
    const waiting = article().dataset.status === "scheduled" && due > 0;
    timer = setTimeout(look, waiting ? Math.min(due + 150, 30e3) : Number(article().dataset.refresh) > 5 ? 5e3 : 700);
  }

  setInterval(countdown, 1000);
  countdown();
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  plan();
}

// The inbox: new mail shows by itself.

function startInbox(list) {
  async function wait() {
    try {
      const response = await fetch(`/inbox/api/messages?after=${list.dataset.newest}&wait=25`);
      if (response.ok && (await response.json()).items.length) {
        const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
        const fresh = page.getElementById("inbox");
        list.replaceWith(fresh);
        return startInbox(fresh);
      }
      if (!response.ok) await new Promise((resolve) => setTimeout(resolve, 3000));
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
    wait();
  }
  wait();
}

if ($("draft")) startForm($("draft"));
if ($("reminder")) startReminder();
if ($("inbox")) startInbox($("inbox"));
$("summary")?.focus();
