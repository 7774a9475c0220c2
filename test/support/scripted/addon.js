// A scripted addon: a test decides which records js/ gets, and reads which requests js/ has sent.
// It needs no server and no native code. (`backend.js` plays the server, for the real addon.)

import contract from '../../../js/transfer/contract.cjs';

const { lanes: LANE, cells, codes, records } = contract;
const { LAST_PIECE, BYTES } = contract.pieceFlags;
const { RESULT_COMPLETE, REQUEST_COMPLETE } = contract.resultFlags;
const { COMMANDS } = contract.commands;
const { NONE } = contract.absences;
const { LENGTH, KINDS_AT, NUMBERS_AT } = contract.requestBuffer;
const { BUFFER_REQUEST, BUFFER_LEASE, BUFFER_STATEMENT, BUFFER_FLAGS } = contract.bufferWords;
const { BUFFER_COUNT, BUFFER_IS_TRANSIENT } = contract.bufferWords;

export { LANE };

/** Stands for a value that came in pieces. */
export const CUT = Symbol('cut');

/** Columns as a SHAPE record announces them, from `{ name: lane }` or `[[name, lane], ...]`. */
export function columns(lanes) {
  const pairs = Array.isArray(lanes) ? lanes : Object.entries(lanes);
  return pairs.map(([name, lane], k) => ({
    ...{ name, typeOid: 25, tableOid: 0, columnNumber: k + 1, modifier: -1 },
    lane,
  }));
}

/** Writes segments as `src/transfer/row_batch.rs` and `src/node/deliver.rs` do. */
export class Segments {
  constructor(cells = 4096) {
    this.buffers = {
      records: new ArrayBuffer(4096 * 4),
      cells: new ArrayBuffer(cells * 8),
      nulls: new ArrayBuffer(cells),
    };
    this.words = new Int32Array(this.buffers.records);
    this.int32 = new Int32Array(this.buffers.cells);
    this.float64 = new Float64Array(this.buffers.cells);
    this.bigint64 = new BigInt64Array(this.buffers.cells);
    this.nulls = new Uint8Array(this.buffers.nulls);
    this.begin();
  }

  begin() {
    // The content of an earlier segment must not matter, so it is overwritten.
    this.words.fill(-7);
    this.int32.fill(-7);
    this.nulls.fill(cells.NULL);
    this.used = records.SEGMENT_WORDS;
    this.cell = 0;
    this.text = '';
    this.joined = '';
  }

  finish(more = false) {
    this.words[records.SEGMENT_USED] = this.used;
    this.words[records.SEGMENT_MORE] = more ? 1 : 0;
    return this.text;
  }

  push(...words) {
    for (const word of words) this.words[this.used++] = word;
    return this;
  }

  /** A record by its name, and its words by their names. */
  record(name, words) {
    const at = this.used;
    this.push(records[name], ...Array(records[`${name}_WORDS`] - 1).fill(0));
    for (const [word, value] of Object.entries(words)) {
      this.words[at + records[`${name}_${word}`]] = value;
    }
    return this;
  }

  append(text) {
    this.text += text;
    return text.length;
  }

  shape(slot, lanes) {
    return this.record('SHAPE', { SLOT: slot, UNITS: this.append(JSON.stringify(columns(lanes))) });
  }

  error(request, error) {
    return this.record('ERROR', { REQUEST: request, UNITS: this.append(JSON.stringify(error)) });
  }

  event(event) {
    return this.record('EVENT', { UNITS: this.append(JSON.stringify(event)) });
  }

  lookup(token, host) {
    return this.record('LOOKUP', { TOKEN: token, UNITS: this.append(host) });
  }

  /** A part of a value of a long row. */
  piece(request, text, { size = 0, isBytes = false, isLast = false } = {}) {
    const flags = (isLast ? LAST_PIECE : 0) | (isBytes ? BYTES : 0);
    const units = this.append(text);
    return this.record('PIECE', { REQUEST: request, UNITS: units, SIZE: size, FLAGS: flags });
  }

  /** `count: null` is a command without a count. */
  result(request, options = {}) {
    const { slot = NONE, lanes = [], rows = [], command = '', lease = 0 } = options;
    const { count = rows.length, flags = RESULT_COMPLETE | REQUEST_COMPLETE } = options;
    const index = COMMANDS.indexOf(command);
    const units = index < 0 ? this.append(command) : 0;
    const low = count === null ? NONE : Number(BigInt.asIntN(32, BigInt(count)));
    const high = count === null ? NONE : Number(BigInt.asIntN(32, BigInt(count) >> 32n));
    this.joined = '';
    for (const row of rows) row.forEach((value, k) => this.put(value, lanes[k]));
    return this.record('RESULT', {
      ...{ REQUEST: request, SLOT: slot, ROWS: rows.length, COMMAND: index, FLAGS: flags },
      ...{ COUNT_LOW: low, COUNT_HIGH: high, LEASE: lease, COMMAND_UNITS: units },
      JOINED_UNITS: this.closeJoined(),
    });
  }

  /** The documents in the lane `joined`. */
  closeJoined() {
    const joined = this.joined === '' ? '' : `${this.joined}]`;
    this.joined = '';
    return this.append(joined);
  }

  put(value, lane) {
    const c = this.cell++;
    if (value === CUT) {
      this.bigint64[c] = BigInt(this.text.length);
      this.nulls[c] = cells.CUT;
      return;
    }
    if (lane === LANE.JOINED) {
      this.joined += `${this.joined === '' ? '[' : ','}${value}`;
      this.nulls[c] = value === null ? cells.NULL : cells.VALUE;
      this.bigint64[c] = BigInt(this.joined.length);
      return;
    }
    this.bigint64[c] = BigInt(this.text.length);
    this.nulls[c] = value === null ? cells.NULL : cells.VALUE;
    if (value === null) return;
    if (lane === LANE.TEXT) this.int32[2 * c] = this.text.length + this.append(value);
    else if (lane === LANE.FLOAT64) this.float64[c] = value;
    else if (lane === LANE.BIGINT64) this.bigint64[c] = value;
    else if (lane === LANE.BIGUINT64) this.bigint64[c] = BigInt.asIntN(64, value);
    else this.int32[2 * c] = Number(value);
  }
}

/** An error as the addon throws it. */
const thrown = (error) =>
  Object.assign(new Error(JSON.stringify(error)), { code: contract.thrown.THROWN_MARK });

/** An addon with one pool. `sent` lists its queries. `deliver(...scripts)` sends records to js/. */
export class ScriptedAddon {
  sent = [];
  forgotten = [];
  acquired = [];
  released = [];
  answers = [];
  flushes = 0;
  texts = [];
  segments = new Segments();
  /** How the addon treats calls that come while it delivers. */
  flushesItself = false;
  #waiting = [];
  #requestBuffer = new ArrayBuffer(LENGTH);

  createPool(optionsJson, deliver) {
    if (this.refusal) throw thrown(this.refusal);
    this.options = JSON.parse(optionsJson);
    this.up = deliver;
    return { handle: 1, requestBuffer: this.#requestBuffer, ...this.segments.buffers };
  }

  statement(handle, sql) {
    return this.texts.push(sql) - 1;
  }

  forget(handle, id) {
    this.forgotten.push(this.texts[id]);
  }

  query(handle, values) {
    const words = new Int32Array(this.#requestBuffer, 0, contract.bufferWords.BUFFER_WORDS);
    const [request, lease, statement] = [BUFFER_REQUEST, BUFFER_LEASE, BUFFER_STATEMENT].map(
      (at) => words[at],
    );
    const params = values ?? this.#valuesInBuffer(words[BUFFER_COUNT]);
    const refusal = this.onQuery?.(params);
    if (refusal) throw thrown(refusal);
    this.sent.push({
      request,
      lease,
      sql: this.texts[statement],
      params,
      flags: words[BUFFER_FLAGS],
    });
    if (words[BUFFER_IS_TRANSIENT]) this.forget(handle, statement);
    return this.flushesItself ? undefined : true;
  }

  /** Reads requests as `src/node/request_buffer.rs` does. */
  #valuesInBuffer(count) {
    const kinds = new Uint8Array(this.#requestBuffer, KINDS_AT);
    const numbers = new Float64Array(this.#requestBuffer, NUMBERS_AT);
    const values = {
      [codes.NULL]: () => null,
      [codes.FALSE]: () => false,
      [codes.TRUE]: () => true,
      [codes.NUMBER]: (n) => numbers[n],
    };
    return Array.from({ length: count }, (_, n) => values[kinds[n]](n));
  }

  acquire(handle, request, flags) {
    this.acquired.push({ request, flags });
  }

  cancel() {}

  cancelLease() {}

  leaseHost() {
    return undefined;
  }

  leaseIsAlive() {
    return true;
  }

  leaseIsInOwnTransaction() {
    return false;
  }

  release(handle, lease, destroy) {
    this.released.push({ lease, destroy });
  }

  flush() {
    this.flushes += 1;
  }

  status() {
    const none = { count: 0, sum: 0, p50: 0, p90: 0, p99: 0, max: 0, atMost: [] };
    const counts = { maxSize: 10, size: 1, available: 1, inUse: 0, waiting: 0 };
    return JSON.stringify({ ...counts, wait: none, query: none, hosts: [], bounds: [] });
  }

  cluster() {
    return '[]';
  }

  end(handle, request) {
    this.ending = request;
  }

  resolved(handle, token, addresses, error) {
    this.answers.push({ token, addresses, error });
  }

  /**
   * Each script is a function that writes one segment. The first segment is delivered, and the
   * others are drained.
   */
  deliver(...scripts) {
    this.#waiting = scripts;
    this.up(this.drain());
  }

  drain() {
    const script = this.#waiting.shift();
    this.segments.begin();
    script(this.segments);
    return this.segments.finish(this.#waiting.length > 0);
  }
}
