// bee-queue, with the settings that its README lists for throughput, behind the same two commands as ours.py:
//   produce PORT QUEUE                {"count": 3, "way": "bulk" | "one", "due": ms | null} per line → seconds it took
//   work PORT QUEUE CONCURRENCY      prints `ready`; after a line works, and prints how many have started, over and over;
//                                    after another line prints [[start, due], …], ms
'use strict';
const readline = require('readline');
const Queue = require('bee-queue');

const [, , command, port, name, concurrency] = process.argv;
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (text) => process.stdout.write(`${text}\n`);
const settings = { redis: { host: '127.0.0.1', port: Number(port) }, getEvents: false, sendEvents: false, storeJobs: false };
const payload = (n, due) => ({
  to: `recipient-${String(n).padStart(6, '0')}@example.com`,
  from: 'reminders@example.com',
  message: 'Reminder: you asked to be told about this. Bring the papers and call back.',
  datetime: due || 0,
  n,
});

async function produce() {
  const queue = new Queue(name, { ...settings, isWorker: false });
  await queue.ready();
  const job = (n, due) => {
    const made = queue.createJob(payload(n, due));
    return due ? made.delayUntil(due) : made;
  };
  say('ready');
  for (;;) {
    const { value, done } = await lines.next();
    if (done) break;
    const { count, way, due } = JSON.parse(value);
    const begun = performance.now();
    if (way === 'one') {
      for (let n = 0; n < count; n += 1) await job(n, due).save();
    } else {
      for (let n = 0; n < count; n += 1000) {
        const size = Math.min(1000, count - n);
        await queue.saveAll(Array.from({ length: size }, (_, at) => job(n + at, due)));
      }
    }
    say((performance.now() - begun) / 1000);
  }
  await queue.close(500);
}

async function work() {
  const queue = new Queue(name, { ...settings, removeOnSuccess: true, activateDelayedJobs: true });
  await queue.ready();
  const starts = [];
  say('ready');
  await lines.next();
  queue.process(Number(concurrency), async (job) => {
    starts.push([performance.timeOrigin + performance.now(), job.data.datetime]);
  });
  const progress = setInterval(() => say(starts.length), 50);
  await lines.next();
  clearInterval(progress);
  process.stdout.write(`${JSON.stringify(starts)}\n`, () => process.exit(0));
}

(command === 'work' ? work() : produce()).catch((error) => {
  console.error(error);
  process.exit(1);
});
