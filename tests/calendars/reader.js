// Reads requests from standard input, one JSON object a line, {"file": …, "until": seconds}; answers each with one line: what it
// understood. Zones are taken from the file, and from nowhere else.
import ICAL from "ical.js";
import { createInterface } from "node:readline";

function told(item, start) {
  return { uid: item.uid, at: start.toUnixTime(), summary: item.summary, description: item.description };
}

function occurrences(event, until) {
  if (!event.isRecurring()) return [told(event, event.startDate)];
  const found = [];
  const iterator = event.iterator();
  for (let next = iterator.next(); next && next.toUnixTime() <= until; next = iterator.next()) {
    const { item, startDate } = event.getOccurrenceDetails(next);
    found.push(told(item, startDate));
  }
  return found;
}

function read({ file, until }) {
  const root = new ICAL.Component(ICAL.parse(file));
  ICAL.TimezoneService.reset();
  for (const zone of root.getAllSubcomponents("vtimezone")) ICAL.TimezoneService.register(zone);
  const events = root.getAllSubcomponents("vevent").map((each) => new ICAL.Event(each));
  return events.filter((each) => !each.isRecurrenceException()).flatMap((each) => occurrences(each, until));
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { events: read(JSON.parse(line)) };
  } catch (error) {
    answer = { error: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
