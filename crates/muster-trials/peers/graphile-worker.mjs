// graphile-worker. Settings of its own:
//   concurrency   jobs that a worker process has in hand at a time
//   local_queue   jobs that a process fetches at a time; -1 to fetch each by itself
//   complete_ms   how long completed jobs are collected before they are deleted together; -1 to delete each by itself
//   connections   to the database, of each process
//   prepared      whether statements are prepared

import { readFileSync } from 'node:fs';
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';
import { main, payload } from './trial.mjs';

// How long a process with an empty queue waits before it looks for jobs that it was not notified of, in milliseconds.
const POLL_MS = 100;

const logger = new Logger(() => (level, message) => {
  if (level === 'error') throw new Error(message);
});

const fail = (error) => {
  throw error;
};

const connect = ({ socket, connections }) => {
  const pool = new pg.Pool({ host: socket, user: 'postgres', database: 'postgres', max: connections });
  // A connection that breaks ends the trial, in use or not.
  pool.on('error', fail);
  pool.on('connect', (client) => client.on('error', fail));
  return pool;
};

const peer = {
  usual: {
    batch: 2_000, adds: 4, ahead: 20_000, processes: 1,
    concurrency: 100, local_queue: 2_000, complete_ms: 10, connections: 10, prepared: true,
  },

  variations: [
    { processes: 0 },
    { complete_ms: 0 },
    { local_queue: 500 },
    { concurrency: 24 },
    { batch: 500 },
    { batch: 10_000, adds: 2 },
    { ahead: 5_000 },
    { ahead: 100_000 },
    { prepared: false },
    { processes: 2 },
  ],

  async versions(socket) {
    const pool = connect({ socket, connections: 1 });
    const { rows: [{ server_version: postgresql }] } = await pool.query('show server_version');
    await pool.end();
    const { dependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url)));
    const { 'graphile-worker': worker, pg: driver } = dependencies;
    return { 'graphile-worker': worker, pg: driver, postgresql, node: process.versions.node };
  },

  async open(settings) {
    const pgPool = connect(settings);
    await pgPool.query('drop schema if exists graphile_worker cascade');
    const utils = await makeWorkerUtils({ pgPool, logger });
    await utils.migrate();
    return {
      add: (numbers) => utils.addJobs(numbers.map((number) => ({ identifier: 'send', payload: payload(number) }))),
      async unfinished() {
        const { rows: [{ count }] } = await pgPool.query('select count(*)::int from graphile_worker._private_jobs');
        return count;
      },
      async close() {
        await utils.release();
        await pgPool.end();
      },
    };
  },

  async work(settings, done) {
    const pgPool = connect(settings);
    const worker = {
      concurrentJobs: settings.concurrency,
      localQueue: { size: settings.local_queue },
      completeJobBatchDelay: settings.complete_ms,
      failJobBatchDelay: settings.complete_ms,
      preparedStatements: settings.prepared,
      pollInterval: POLL_MS,
    };
    // `done` says that the handler ran; a job is completed when it is gone, which `unfinished` sees.
    const taskList = { send: () => done() };
    const runner = await run({ pgPool, logger, taskList, noHandleSignals: true, preset: { worker } });
    return {
      async close() {
        await runner.stop();
        await pgPool.end();
      },
    };
  },
};

process.env.NO_LOG_SUCCESS = '1';
await main(peer);
