// The connection to the watchdog, in the process of the tests. It starts the watchdog, and has the
// watchdog start, signal and kill servers.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** One watchdog serves all clusters of a process. */
let shared;

/**
 * The watchdog of this process, started at the first call.
 * @returns {Promise<Guard>}
 */
export function startGuard() {
  shared ??= new Guard().ready;
  return shared;
}

export class Guard {
  /** The folder that holds all data of this run; the watchdog removes it. */
  folder = '';

  #watchdog;
  #requests = new Map();
  #lastRequest = 0;
  #watched = new Map();

  constructor() {
    this.#watchdog = fork(fileURLToPath(new URL('watchdog.js', import.meta.url)), [], {
      detached: true,
      execArgv: [],
      // Inherited streams would keep the pipes of a test runner open after the test has ended.
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    this.#watchdog.unref();
    this.ready = new Promise((resolve, reject) => {
      this.#requests.set('start', { resolve: () => resolve(this), reject });
    });
    this.#watchdog.on('message', (message) => this.#receive(message));
    this.#watchdog.on('exit', () => this.#fail());
  }

  #receive({ folder, ended, request, result, error }) {
    if (folder !== undefined) {
      this.folder = folder;
      this.#settle('start', ({ resolve }) => resolve());
    } else if (ended !== undefined) {
      const notify = this.#watched.get(ended);
      this.#watched.delete(ended);
      notify?.();
    } else {
      this.#settle(request, ({ resolve, reject }) =>
        error === undefined ? resolve(result) : reject(new Error(error)),
      );
    }
  }

  #settle(request, settle) {
    const waiting = this.#requests.get(request);
    this.#requests.delete(request);
    // An idle pipe must not keep the tests' process alive. A pipe with an outstanding answer must.
    if (this.#requests.size === 0) this.#watchdog.channel?.unref();
    if (waiting !== undefined) settle(waiting);
  }

  #fail() {
    shared = undefined;
    for (const request of [...this.#requests.keys()]) {
      this.#settle(request, ({ reject }) => reject(new Error('the watchdog has ended')));
    }
  }

  #ask(operation, parameters) {
    return new Promise((resolve, reject) => {
      if (!this.#watchdog.connected) {
        reject(new Error('the watchdog has ended'));
        return;
      }
      const request = ++this.#lastRequest;
      this.#requests.set(request, { resolve, reject });
      this.#watchdog.channel.ref();
      this.#watchdog.send({ request, operation, parameters });
    });
  }

  /**
   * Starts a server.
   * @param {string} id
   * @param {{ program: string, args: string[], dataFolder: string, logFile: string,
   *   environment?: Record<string, string> }} server
   * @param {() => void} whenEnded called once, when the server has ended for whatever reason
   * @returns {Promise<number>} the postmaster's process id
   */
  async start(id, server, whenEnded) {
    this.#watched.set(id, whenEnded);
    try {
      return await this.#ask('start', { id, ...server });
    } catch (error) {
      this.#watched.delete(id);
      throw error;
    }
  }

  /**
   * Runs a program as the servers' account.
   * @param {string} program
   * @param {string[]} args
   * @param {string} [input] its standard input
   * @returns {Promise<string>} what it printed
   */
  async run(program, args, input) {
    const id = `run ${++this.#lastRequest}`;
    const { code, output } = await this.#ask('run', { id, program, args, input });
    if (code !== 0) throw new Error(`${program} ended with ${code}:\n${output}`);
    return output;
  }

  /** @param {string} id @param {NodeJS.Signals} signal for the postmaster alone */
  signal(id, signal) {
    return this.#ask('signal', { id, signal });
  }

  /** Sends the signal that shuts a server down, and waits until it has ended. */
  stop(id, signal) {
    return this.#ask('stop', { id, signal });
  }

  /** @param {string} id */
  freeze(id) {
    return this.#ask('freeze', { id });
  }

  /** @param {string} id */
  thaw(id) {
    return this.#ask('thaw', { id });
  }

  /** Kills a server with SIGKILL and waits until it is gone. @param {string} id */
  kill(id) {
    return this.#ask('kill', { id });
  }
}
