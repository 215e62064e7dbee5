// Measures a peer: how many jobs a second it takes, from the first add until the last one is completed durably, with a handler
// that does nothing. Variations of its settings are tried for a short time each, and the best is measured for a long one.
//
//   node PEER.mjs '{"socket": PATH, "variations": COUNT, "try_seconds": NUMBER, "seconds": NUMBER}'
//
// prints one line of JSON: versions, jobs, seconds, per_second, settings, tried. Progress goes to standard error.
//
// A peer has
//   versions(socket)      what takes part, by name
//   usual                 the settings to begin with
//   variations            changes of them that are worth a try; what was better than before stays for those that follow
//   open(settings)        empties the queues; gives { add(numbers), unfinished(), close() }
//   work(settings, done)  starts workers, which call done() for each job; gives { close() }
//
// Settings that every peer has:
//   batch      jobs of one add
//   adds       adds that are under way at a time
//   ahead      added jobs that may be unfinished at a time
//   processes  processes that work beside the one that adds; 0 if that one does both

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

// How often processes tell each other how far they are, in milliseconds.
const TELL_MS = 5;

/** The job of a number, as large as the messages that the trials send through Muster. */
export function payload(number) {
  return {
    bot: `bots/bot-${String(number % 64).padStart(6, '0')}`,
    recipient: `+55219${String(number % 100_000_000).padStart(8, '0')}`,
    text: `Olá Ana, a consulta ${number} ficou para amanhã às 14h. Até lá!`,
  };
}

/** Plays the role that this process was started for. */
export async function main(peer) {
  const [request, role] = process.argv.slice(2);
  const roles = { undefined: sweep, measure, work };
  await roles[role](peer, JSON.parse(request));
}

async function sweep(peer, { socket, variations, try_seconds, seconds }) {
  const tried = [];
  const attempt = async (settings) => {
    const { per_second } = await measured({ ...settings, socket, seconds: try_seconds });
    process.stderr.write(`  ${Math.round(per_second)} a second: ${JSON.stringify(settings)}\n`);
    const trial = { per_second, settings };
    tried.push(trial);
    return trial;
  };
  let best = await attempt(peer.usual);
  for (const variation of peer.variations.slice(0, variations)) {
    const trial = await attempt({ ...best.settings, ...variation });
    if (trial.per_second > best.per_second) best = trial;
  }
  const { settings } = best;
  const result = await measured({ ...settings, socket, seconds });
  process.stdout.write(`${JSON.stringify({ versions: await peer.versions(socket), ...result, settings, tried })}\n`);
}

/** Measures in a fresh process, so that no trial profits or suffers from the one before. */
async function measured(request) {
  const child = fork(process.argv[1], [JSON.stringify(request), 'measure']);
  const result = await new Promise((resolve, reject) => {
    child.on('message', resolve);
    child.on('exit', (code) => reject(new Error(`a trial ended early, with code ${code}`)));
  });
  if (child.exitCode === null) await once(child, 'exit');
  return result;
}

async function measure(peer, settings) {
  // When the parent dies.
  process.on('disconnect', () => process.exit(1));
  const queue = await peer.open(settings);
  const workers = await (settings.processes === 0 ? workHere : workElsewhere)(peer, settings);
  const begin = performance.now();
  const end = begin + settings.seconds * 1_000;
  let added = 0;
  const adder = async () => {
    while (performance.now() < end) {
      if (added - workers.completed() >= settings.ahead) {
        await sleep(TELL_MS);
        continue;
      }
      const numbers = Array.from({ length: settings.batch }, (_, index) => added + index);
      added += settings.batch;
      await queue.add(numbers);
    }
  };
  await Promise.all(Array.from({ length: settings.adds }, adder));
  while (workers.completed() < added || (await queue.unfinished()) > 0) {
    await sleep(TELL_MS);
  }
  const seconds = (performance.now() - begin) / 1_000;
  if (workers.completed() !== added) {
    throw new Error(`${added} jobs were added, and ${workers.completed()} were done`);
  }
  await workers.close();
  await queue.close();
  process.send({ jobs: added, seconds, per_second: added / seconds }, () => process.exit(0));
}

async function workHere(peer, settings) {
  let completed = 0;
  const worker = await peer.work(settings, () => { completed += 1; });
  return { completed: () => completed, close: () => worker.close() };
}

async function workElsewhere(peer, settings) {
  const counts = Array(settings.processes).fill(0);
  const children = counts.map(() => fork(process.argv[1], [JSON.stringify(settings), 'work']));
  children.forEach((child, index) => {
    child.on('message', (completed) => { counts[index] = completed; });
    child.on('exit', (code) => { if (code !== 0) process.exit(1); });
  });
  await Promise.all(children.map((child) => once(child, 'message')));
  return {
    completed: () => counts.reduce((sum, count) => sum + count, 0),
    close: () => Promise.all(children.map((child) => {
      const exited = once(child, 'exit');
      child.disconnect();
      return exited;
    })),
  };
}

async function work(peer, settings) {
  // When the trial is over, and when the parent dies.
  process.on('disconnect', () => process.exit(0));
  let completed = 0;
  await peer.work(settings, () => { completed += 1; });
  process.send(completed);
  let told = completed;
  setInterval(() => {
    if (told !== completed) process.send(told = completed);
  }, TELL_MS);
}
