// The original Kue at the end of a pipe: a request per line in, an answer per line out, and between them what Kue says.
//
//   → {"ask":1,"on":["queue"],"steps":[["inactiveCount","email"]]}        ← {"answer":1,"value":3}
//   → {"ask":2,"on":["new","email",{"to":"me"}],"steps":[["attempts",3],["save"]]}   ← {"answer":2,"value":{"id":1,…}}
//   ← {"event":"start","level":"queue","args":[1,"email",null]}
//   ← {"run":1,"job":{"id":1,…}}      a handler was called; it lasts until
//   → {"ask":3,"on":["run",1],"steps":[["done",null,"sent"]]}
//
// `on` names what is spoken to: the queue, Kue's Job with its static methods, a new job, a stored one, the job of a run.
// `steps` are calls on it in order; those that take a callback in Kue are waited for. The answer is what the last one
// called back with, or the job where that is nothing. When the pipe is closed, so is this process.
'use strict'

const readline = require('readline')
const kue = require('kue')

const EVENTS = ['enqueue', 'promotion', 'start', 'progress', 'error', 'failed attempt', 'failed', 'complete', 'remove',
  'ttl exceeded', 'ttl exceeded ack']
// Everything of the queue's and of Job's own takes a callback; of a job's methods only these.
const TAKES_CALLBACK = new Set(['save', 'update', 'remove', 'state', 'get', 'set', 'failedAttempt',
  'inactive', 'active', 'complete', 'failed', 'delayed'])

let queue
const runs = new Map()
let lastRun = 0

const tell = message => process.stdout.write(JSON.stringify(message) + '\n')

const called = (owner, method, args) => new Promise((resolve, reject) =>
  owner[method](...args, (error, value) => error ? reject(error) : resolve(value)))

// A Date and a function have no JSON of their own.
const revive = (_, value) => {
  if (value && value.$date !== undefined) return new Date(value.$date)
  if (value && value.$function !== undefined) return (0, eval)(`(${value.$function})`)
  if (value && value.$error !== undefined) return new Error(value.$error)
  return value
}

const asTold = job => ({
  ...job.toJSON(),
  backoff: typeof job.backoff() === 'function' ? `${job.backoff()}` : job.backoff(),
  removeOnComplete: job.removeOnComplete()
})

const verbs = {
  open ({ port, prefix, interval }) {
    queue = kue.createQueue({ prefix, redis: { port, host: '127.0.0.1' }, promotion: { interval } })
    queue.on('error', error => tell({ trouble: `${error.stack || error}` }))
    for (const event of EVENTS) queue.on(`job ${event}`, (...args) => tell({ event, level: 'queue', args }))
    // An event is heard from the moment of the answer on.
    return new Promise(resolve => kue.redis.pubsubClient().once('subscribe', () => resolve(null)))
  },
  process ({ type, concurrency }) {
    queue.process(type, concurrency, (job, done) => {
      runs.set(++lastRun, { job, done })
      tell({ run: lastRun, job: asTold(job) })
    })
  },
  // Works by itself, as tests/queue/child.py does: the same data, and the same notes, which outlive this process.
  work ({ types, notes }) {
    const note = (what, job, made) =>
      called(queue.client, 'rpush', [notes, `${what} ${job.id} ${made} ${Date.now()} ${process.pid}`])
    for (const type of Object.keys(types)) {
      queue.process(type, types[type], async (job, done) => {
        const made = job.toJSON().attempts.made
        await note('began', job, made)
        job.progress(1, 2)
        await new Promise(resolve => setTimeout(resolve, 1000 * job.data.sleep))
        await note('ended', job, made)
        if (made < job.data.failures) done(new Error(`run ${made + 1}`))
        else done(null, 'by a Kue')
      })
    }
  },
  listen: () => new Promise(resolve => {
    const server = kue.app.listen(0, '127.0.0.1', () => resolve(server.address().port))
  })
}

const targets = {
  queue: () => queue,
  Job: () => kue.Job,
  job: id => called(kue.Job, 'get', [id]),
  run: number => runs.get(number).job,
  new (type, data) {
    const job = queue.create(type, data)
    for (const event of EVENTS) job.on(event, (...args) => tell({ event, level: 'job', args: [job.id, ...args] }))
    return job
  }
}

// Kue waits for few of its writes; a PING behind them on each connection does.
const written = () => queue && queue.client &&
  Promise.all([queue.client, kue.redis.client()].map(client => called(client, 'ping', [])))

async function walk ({ on: [kind, ...which], steps }) {
  const target = await targets[kind](...which)
  let value
  for (const [method, ...args] of steps) {
    if (method === 'done') runs.get(which[0]).done(...args)
    else if (!(target instanceof kue.Job) || TAKES_CALLBACK.has(method)) value = await called(target, method, args)
    else target[method](...args)
  }
  await written()
  return value === undefined && target instanceof kue.Job ? asTold(target) : value
}

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const request = JSON.parse(line, revive)
  try {
    const value = request.verb ? await verbs[request.verb](request) : await walk(request)
    tell({ answer: request.ask, value: value === undefined ? null : value })
  } catch (error) {
    tell({ answer: request.ask, error: `${error.message || error}` })
  }
}).on('close', async () => {
  await written()
  process.exit()
})
