// What scripts add: the zone that the browser knows, presets, a preview while one types, and pages that update themselves.
// Everything works without them.
"use strict";

document.documentElement.classList.add("js");

const $ = (id) => document.getElementById(id);
const pad = (number) => String(number).padStart(2, "0");
const dateOf = (moment) => `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`;
const timeOf = (moment, seconds) =>
  `${pad(moment.getHours())}:${pad(moment.getMinutes())}` + (seconds ? `:${pad(moment.getSeconds())}` : "");

// The page's own language, whatever the browser's: nobody reads a sentence in two.
const LANGUAGE = "en-GB";
// Cities that browsers still call by a name of before.
const RENAMED = {
  "Africa/Asmera": "Africa/Asmara", "America/Godthab": "America/Nuuk", "Asia/Calcutta": "Asia/Kolkata",
  "Asia/Katmandu": "Asia/Kathmandu", "Asia/Rangoon": "Asia/Yangon", "Asia/Saigon": "Asia/Ho_Chi_Minh",
  "Atlantic/Faeroe": "Atlantic/Faroe", "Europe/Kiev": "Europe/Kyiv",
};

function browserZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const renamed = RENAMED[zone] ?? zone;
  return inZone(new Date(), renamed) === null ? zone : renamed;
}

const city = (key) => key.split("/").pop().replaceAll("_", " ");

// How a moment reads on the clocks of a zone; null where there is no such zone.
function inZone(moment, zone, options) {
  try {
    return new Intl.DateTimeFormat(LANGUAGE, { timeZone: zone, ...options }).format(moment);
  } catch {
    return null;
  }
}

// The moment on the reader's own clock, where that differs from the zone's; else empty.
function forReader(moment, zone) {
  const options = { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" };
  const here = inZone(moment, browserZone(), options);
  return here === inZone(moment, zone, options) ? "" : `${here} for you in ${city(browserZone())}`;
}

async function pageAt(address, options) {
  const response = await fetch(address, options);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// The form

function startForm(form) {
  const { date, time, time_zone: zone, when, offered } = form.elements;
  const others = ["repeat", "until", "count", "from_completion", "missed", "deadline_at"];
  const home = browserZone();
  let timer, asked = 0;
  const names = {
    "/when": "The time", "/time_zone": "The time zone", "/repeat": "Repeat", "/deadline_at": "Useless after",
    "/count": "Repeat", "/until": "Repeat", "/from_completion": "Repeat",
  };
  const hint = $("zone-now").textContent;
  const chosenZone = () => zone.value.trim().replaceAll(" ", "_") || "UTC";

  // Whoever goes back to a form and sends it again means the same reminder, even where the page is fetched anew.
  if (form.hasAttribute("data-fresh")) {
    form.elements.key.value = history.state?.key ?? form.elements.key.value;
    history.replaceState({ key: form.elements.key.value }, "");
  }

  // A form that the browser brings back has what was typed in it.
  const untouched = [date, time, zone, when].every((field) => field.value === field.defaultValue);
  if (form.hasAttribute("data-fresh") && untouched) {
    zone.value = home;
    const tomorrow = new Date();
    tomorrow.setDate(tomorrow.getDate() + 1);
    set(tomorrow, "09:00");
  }

  function set(moment, clock) {
    date.value = dateOf(moment);
    time.value = clock ?? timeOf(moment, true);
    offered.value = `${date.value}T${time.value}`;
    when.value = "";
    changeTime();
  }

  const later = (ms) => new Date(Date.now() + ms);
  const nextDay = (test) => {
    const day = new Date();
    do day.setDate(day.getDate() + 1);
    while (!test(day));
    return day;
  };
  const hours = { hour: "2-digit", minute: "2-digit" };
  const evening = new Date().getHours() < 18;
  // A name, how it reads beside it, and the moment.
  const presets = [
    ["In 1 minute", hours, () => later(60e3)],
    ["In 1 hour", hours, () => later(3600e3)],
    evening ? ["This evening", hours, () => at(new Date(), 19)] : ["In 3 hours", hours, () => later(3 * 3600e3)],
    ["Tomorrow", { weekday: "short", ...hours }, () => at(nextDay(() => true), 9)],
    ["Monday", { day: "numeric", month: "short", ...hours }, () => at(nextDay((day) => day.getDay() === 1), 9)],
    ["Next month", { day: "numeric", month: "short", ...hours }, () => {
      const day = new Date();
      return at(new Date(day.getFullYear(), day.getMonth() + 1, 1), 9);
    }],
  ];
  function at(day, hour) {
    day.setHours(hour, 0, 0, 0);
    return day;
  }
  const shelf = $("presets");
  for (const [name, words, moment] of presets) {
    const button = document.createElement("button");
    button.type = "button";
    const small = document.createElement("small");
    small.textContent = inZone(moment(), home, words);
    button.append(name, " ", small);
    button.addEventListener("click", () => {
      zone.value = home;
      const chosen = moment();
      // What is counted from now on is exact; what is a time of day has no seconds.
      set(chosen, words === hours && chosen.getSeconds() ? undefined : timeOf(chosen));
    });
    shelf.append(button);
  }
  shelf.hidden = false;

  // The preview asks the server, which decides what a time means, and adds the reader's own clock where it differs.
  async function preview() {
    const mine = ++asked;
    const box = $("preview");
    // A zone that is still being typed is no mistake yet.
    const typing = document.activeElement === zone && inZone(new Date(), chosenZone()) === null;
    const said = when.value.trim();
    if (!said && (!date.value || !time.value) || typing) return show(box, "", false), tell(null);
    const body = { when: said || `${date.value}T${time.value}`, time_zone: chosenZone(), reader_time_zone: home };
    const fold = form.elements.fold?.value;
    if (fold) body.fold = fold === "gap" ? 0 : Number(fold);
    for (const name of others) {
      const value = form.elements[name]?.value.trim();
      if (!value || (name === "from_completion" && !form.elements.repeat.value.trim())) continue;
      body[name] = name === "count" ? Number(value) : name === "from_completion" ? true : value;
    }
    let answer, problem;
    try {
      const response = await fetch("/api/reminders/preview", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      answer = await response.json();
      problem = !response.ok && (answer.errors ?? []).map((each) => `${names[each.pointer] ?? each.pointer} ${each.detail}.`).join(" ");
    } catch {
      problem = "";
    }
    if (mine !== asked) return;
    if (problem !== false) {
      tell(null);
      const choice = (!fold && /comes twice|does not exist/.test(problem)) || /in the past|not in the future/.test(problem);
      if (!choice && !said) return show(box, problem, true);
      // Which of two times, and which words were not read? Only the server knows: its form has the question.
      const page = await pageAt("/preview", { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (mine !== asked) return;
      for (const id of ["folds", "refused"]) $(id).replaceWith(document.adoptNode(page.getElementById(id)));
      const twice = choice && problem.includes("comes twice");
      return show(box, twice ? "This time comes twice that day: choose one of the two." : problem, !twice);
    }
    $("refused").replaceChildren();
    if (said) {
      // Words and fields fill each other.
      [date.value, time.value] = [answer.local_time.slice(0, 10), answer.local_time.slice(11, 16)];
      offered.value = `${date.value}T${time.value}`;
    }
    const mineToo = forReader(new Date(answer.due_at), answer.time_zone);
    show(box, mineToo ? `${answer.sentence.slice(0, -1)} — ${mineToo}.` : answer.sentence, false);
    tell(answer);
  }
  // What more there is to say: how it repeats, what the clocks do, what follows.
  function tell(answer) {
    const lines = answer ? [answer.repeats && `It repeats ${answer.repeats}.`, ...answer.warnings].filter(Boolean) : [];
    const parts = lines.map((text) => Object.assign(document.createElement("p"), { textContent: text }));
    if (answer?.next.length) {
      const list = document.createElement("ol");
      list.append(...answer.next.map((each) => Object.assign(document.createElement("li"), {
        textContent: [each.here, each.there, each.note].filter(Boolean).join(" — "),
      })));
      parts.push(list);
    }
    $("more").replaceChildren(...parts);
  }
  function show(box, text, bad) {
    box.classList.toggle("bad", bad);
    if (box.textContent !== text) box.textContent = text;
  }
  function showClock() {
    const key = chosenZone();
    const now = inZone(new Date(), key, { hour: "2-digit", minute: "2-digit", timeZoneName: "shortOffset" });
    const place = key.includes("/") ? ` in ${city(key)}` : "";
    $("zone-now").textContent = now ? `It is ${now.replace("GMT", "UTC").replace("-", "−")}${place} now.` : hint;
  }
  function update() {
    showClock();
    clearTimeout(timer);
    timer = setTimeout(preview, 150);
  }
  function changeTime() {
    $("folds").replaceChildren();
    $("refused").replaceChildren();
    update();
  }
  form.addEventListener("input", (event) => {
    if ([date, time].includes(event.target)) when.value = "";
    if (event.target.name === "instead") {
      when.value = event.target.value;
      return changeTime();
    }
    if ([date, time, zone, when].includes(event.target)) changeTime();
    else if (event.target.name === "fold" || others.includes(event.target.name)) update();
  });
  zone.addEventListener("change", update);
  // What the server has just said about the time stands beside it already, and a time that is being kept needs no words.
  if (when.hasAttribute("aria-invalid") || date.hasAttribute("aria-invalid") || zone.hasAttribute("aria-invalid") || form.elements.was.value) showClock();
  else update();

  form.addEventListener("submit", (event) => {
    // The server counts a form that is sent twice once; this only says that it heard.
    const button = event.submitter;
    if (!button) return;
    const label = button.textContent;
    setTimeout(() => { button.disabled = true; button.textContent = "Saving …"; });
    // Whoever comes back to this page may send it again.
    window.addEventListener("pageshow", () => { button.disabled = false; button.textContent = label; }, { once: true });
  });
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

  function yours() {
    const text = forReader(new Date(article().dataset.due), article().dataset.zone);
    if (text) $("yours").textContent = `${text}.`;
    $("yours").hidden = !text;
  }

  async function look() {
    try {
      const page = await pageAt(location.href, { headers: { Accept: "text/html" } });
      const fresh = page.getElementById("reminder");
      if (fresh && fresh.dataset.version !== article().dataset.version) {
        const focused = article().contains(document.activeElement);
        if (fresh.dataset.status !== article().dataset.status) $("news").textContent = page.getElementById("badge").textContent;
        article().replaceWith(document.adoptNode(fresh));
        document.title = page.title;
        if (focused) $("main").focus();
        yours();
      } else if (fresh) {
        article().dataset.refresh = fresh.dataset.refresh;
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
  yours();
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  plan();
}

// The inbox: new mail shows by itself.

function startInbox(list) {
  async function wait() {
    try {
      const response = await fetch(`/inbox/api/messages?after=${list.dataset.newest}&wait=25`);
      if (response.ok && (await response.json()).items.length) {
        const fresh = document.adoptNode((await pageAt(location.href)).getElementById("inbox"));
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
