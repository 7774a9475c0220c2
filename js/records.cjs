// Reads what the addon hands over in one wake: records of 32-bit words, cells, and one text. The layout is
// that of src/node/deliver.rs.

'use strict';

const { createBuilder } = require('./rows.cjs');

const RECORD = { result: 1, error: 2, shape: 3, event: 4, lookup: 5 };
/** Flags of a result record. */
const RESULT_COMPLETE = 1;
const REQUEST_COMPLETE = 2;

/** Commands by their number: the same list as in src/connection/command.rs. */
const COMMANDS = Object.freeze([
  '',
  'SELECT',
  'INSERT',
  'UPDATE',
  'DELETE',
  'MERGE',
  'BEGIN',
  'COMMIT',
  'ROLLBACK',
  'SAVEPOINT',
  'RELEASE',
  'SET',
  'SHOW',
  'CREATE TABLE',
  'DROP TABLE',
  'COPY',
  'FETCH',
  'MOVE',
  'DO',
  'CALL',
  'LISTEN',
  'NOTIFY',
  'UNLISTEN',
  'PREPARE',
  'DEALLOCATE',
  'DISCARD ALL',
  'TRUNCATE TABLE',
  'EXPLAIN',
  'VACUUM',
  'ANALYZE',
]);

/** What a result carries beside its rows, where it does not show. */
const described = (value) => ({ value, writable: true, enumerable: false, configurable: true });

/** A request that waits for its answer. */
class Request {
  rows = [];
  /** Results of a call with several statements, up to the last one. */
  results = null;
  lease = 0;

  constructor(resolve, reject) {
    this.resolve = resolve;
    this.reject = reject;
  }
}

/** The requests of one pool that wait, by number, and the reader of their answers. */
class Records {
  #words;
  #batch;
  #shapes = [];
  #requests = [];
  #vacant = [];
  #onEvent;
  #onLookup;

  /**
   * @param {(event: object) => void} onEvent
   * @param {(token: number, host: string) => void} onLookup
   */
  constructor(onEvent, onLookup) {
    this.#onEvent = onEvent;
    this.#onLookup = onLookup;
  }

  /** The memory that the addon fills. */
  attach({ records, cells, nulls }) {
    this.#words = new Int32Array(records);
    this.#batch = {
      int32: new Int32Array(cells),
      float64: new Float64Array(cells),
      bigint64: new BigInt64Array(cells),
      nulls: new Uint8Array(nulls),
      text: '',
      cell: 0,
      at: 0,
    };
  }

  /** Takes a number for a request. */
  begin(resolve, reject) {
    const number = this.#vacant.pop() ?? this.#requests.length;
    this.#requests[number] = new Request(resolve, reject);
    return number;
  }

  /** The request was never sent: its number is free again. */
  withdraw(number) {
    this.#end(number);
  }

  #end(number) {
    const request = this.#requests[number];
    this.#requests[number] = undefined;
    this.#vacant.push(number);
    return request;
  }

  /** Reads one segment; true if another one waits to be drained. */
  read(text) {
    const words = this.#words;
    const batch = this.#batch;
    batch.text = text;
    batch.cell = 0;
    batch.at = 0;
    const end = words[0];
    for (let at = 2; at < end;) {
      switch (words[at]) {
        case RECORD.result:
          this.#result(at);
          at += 10;
          break;
        case RECORD.error: {
          const request = this.#end(words[at + 1]);
          request?.reject(JSON.parse(this.#text(words[at + 2])));
          at += 3;
          break;
        }
        case RECORD.shape:
          this.#shape(words[at + 1], JSON.parse(this.#text(words[at + 2])));
          at += 3;
          break;
        case RECORD.event:
          this.#onEvent(JSON.parse(this.#text(words[at + 1])));
          at += 2;
          break;
        case RECORD.lookup:
          this.#onLookup(words[at + 1], this.#text(words[at + 2]));
          at += 3;
          break;
        default:
          throw new Error(`the addon handed over a record of unknown kind ${words[at]}`);
      }
    }
    // Nothing of it is kept alive by the reader.
    batch.text = '';
    return words[1] === 1;
  }

  #text(units) {
    const batch = this.#batch;
    const begin = batch.at;
    batch.at += units;
    return batch.text.substring(begin, batch.at);
  }

  #shape(slot, fields) {
    for (const field of fields) Object.freeze(field);
    this.#shapes[slot] = { fields: Object.freeze(fields), build: createBuilder(fields) };
  }

  #result(at) {
    const words = this.#words;
    const number = words[at + 1];
    const request = this.#requests[number];
    const slot = words[at + 2];
    const flags = words[at + 7];
    const command = words[at + 4] < 0 ? this.#text(words[at + 9]) : COMMANDS[words[at + 4]];
    const shape = slot < 0 ? undefined : this.#shapes[slot];
    if (shape) shape.build(this.#batch, words[at + 3], request.rows);
    if ((flags & RESULT_COMPLETE) === 0) return;
    const rows = request.rows;
    Object.defineProperties(rows, {
      rowCount: described(count(words[at + 5], words[at + 6])),
      command: described(command),
      fields: described(shape ? shape.fields : []),
    });
    if ((flags & REQUEST_COMPLETE) === 0) {
      (request.results ??= []).push(rows);
      request.rows = [];
      return;
    }
    this.#end(number);
    const lease = words[at + 8];
    const answer = request.results ? [...request.results, rows] : rows;
    request.resolve(lease === 0 ? answer : { answer, lease });
  }
}

/** A count of 64 bits in two words; -1 above is none. Exact as a number up to 2^53. */
function count(low, high) {
  return high < 0 ? null : high * 2 ** 32 + (low >>> 0);
}

module.exports = { COMMANDS, Records };
