// BullMQ. Settings of its own:
//   queues           the batches go to them in turn; each has a worker of its own in every process that works
//   concurrency      jobs that a worker has in hand at a time
//   auto_pipelining  whether commands that are issued together go out together

import { readFileSync } from 'node:fs';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { main, payload } from './trial.mjs';

// Longer than a trial: no lock expires in it, so none needs to be renewed.
const LOCK_MS = 3_600_000;

const names = ({ queues }) => Array.from({ length: queues }, (_, index) => `queue-${index}`);

const connect = ({ socket, auto_pipelining }) =>
  new Redis({ path: socket, maxRetriesPerRequest: null, enableAutoPipelining: auto_pipelining });

const peer = {
  usual: { batch: 250, adds: 4, ahead: 20_000, processes: 0, queues: 1, concurrency: 100, auto_pipelining: true },

  variations: [
    { processes: 1 },
    { auto_pipelining: false },
    { concurrency: 300 },
    { concurrency: 30 },
    { batch: 1_000 },
    { ahead: 2_000 },
    { ahead: 100_000 },
    { queues: 4 },
    { processes: 2 },
  ],

  async versions(socket) {
    const connection = connect({ socket, auto_pipelining: false });
    const [, redis] = /redis_version:(\S+)/.exec(await connection.info('server'));
    connection.disconnect();
    const { dependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url)));
    return { bullmq: dependencies.bullmq, ioredis: dependencies.ioredis, redis, node: process.versions.node };
  },

  async open(settings) {
    const connection = connect(settings);
    await connection.flushall();
    const queues = names(settings).map((name) => new Queue(name, { connection, streams: { events: { maxLen: 0 } } }));
    let turn = 0;
    return {
      add(numbers) {
        turn = (turn + 1) % queues.length;
        return queues[turn].addBulk(numbers.map((number) => ({ name: 'send', data: payload(number) })));
      },
      async unfinished() {
        const counts = await Promise.all(queues.map((queue) => queue.getJobCountByTypes('wait', 'active', 'failed')));
        return counts.reduce((sum, count) => sum + count, 0);
      },
      async close() {
        await Promise.all(queues.map((queue) => queue.close()));
        connection.disconnect();
      },
    };
  },

  async work(settings, done) {
    const options = {
      concurrency: settings.concurrency,
      removeOnComplete: { count: 0 },
      skipLockRenewal: true,
      skipStalledCheck: true,
      lockDuration: LOCK_MS,
    };
    const started = names(settings).map((name) => {
      const connection = connect(settings);
      const worker = new Worker(name, async () => {}, { ...options, connection });
      // Told once the answer to the completing script has come, which Redis gives after the sync.
      worker.on('completed', done);
      worker.on('failed', (_, error) => { throw error; });
      worker.on('error', (error) => { throw error; });
      return { worker, connection };
    });
    await Promise.all(started.map(({ worker }) => worker.waitUntilReady()));
    return {
      async close() {
        await Promise.all(started.map(({ worker }) => worker.close()));
        started.forEach(({ connection }) => connection.disconnect());
      },
    };
  },
};

await main(peer);
