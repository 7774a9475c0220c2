// The addon's half of the contract with js/, played by a script: a test says what comes up, and
// reads what went down. No server, no native code. (`backend.js` plays the server, for the real
// addon.)

import { createRequire } from 'node:module';

const { COMMANDS } = createRequire(import.meta.url)('../../js/records.cjs');

export const LANE = {
  text: 0,
  int32: 1,
  uint32: 2,
  bool: 3,
  float64: 4,
  bigint64: 5,
  bytes: 7,
  joined: 9,
  biguint64: 10,
};

/** In place of a value that has come in pieces. */
export const CUT = Symbol('cut');

/** Columns as a SHAPE record announces them, from `{ name: lane }` or `[[name, lane], ...]`. */
export function columns(lanes) {
  const pairs = Array.isArray(lanes) ? lanes : Object.entries(lanes);
  return pairs.map(([name, lane], k) => ({
    ...{ name, typeOid: 25, tableOid: 0, columnNumber: k + 1, modifier: -1 },
    lane,
  }));
}

/** Writes segments as `src/base/batch.rs` and `src/node/deliver.rs` do. */
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
    // What an earlier segment left behind must not matter.
    this.words.fill(-7);
    this.int32.fill(-7);
    this.nulls.fill(1);
    this.used = 2;
    this.cell = 0;
    this.text = '';
    this.joined = '';
  }

  finish(more = false) {
    this.words[0] = this.used;
    this.words[1] = more ? 1 : 0;
    return this.text;
  }

  push(...words) {
    for (const word of words) this.words[this.used++] = word;
    return this;
  }

  append(text) {
    this.text += text;
    return text.length;
  }

  shape(slot, lanes) {
    return this.push(3, slot, this.append(JSON.stringify(columns(lanes))));
  }

  error(request, error) {
    return this.push(2, request, this.append(JSON.stringify(error)));
  }

  event(event) {
    return this.push(4, this.append(JSON.stringify(event)));
  }

  lookup(token, host) {
    return this.push(5, token, this.append(host));
  }

  /** A part of a value of a long row. */
  piece(request, text, { size = 0, isBytes = false, isLast = false } = {}) {
    const flags = (isLast ? 1 : 0) | (isBytes ? 2 : 0);
    return this.push(7, request, this.append(text), size, flags);
  }

  /** `count: null` is a command without a count. */
  result(request, options = {}) {
    const { slot = -1, lanes = [], rows = [], command = '', lease = 0, flags = 3 } = options;
    const { count = rows.length } = options;
    const index = COMMANDS.indexOf(command);
    const units = index < 0 ? this.append(command) : 0;
    const low = count === null ? -1 : Number(BigInt.asIntN(32, BigInt(count)));
    const high = count === null ? -1 : Number(BigInt.asIntN(32, BigInt(count) >> 32n));
    this.joined = '';
    this.push(1, request, slot, rows.length, index, low, high, flags, lease, units, 0);
    const joinedUnits = this.used - 1;
    for (const row of rows) row.forEach((value, k) => this.put(value, lanes[k]));
    this.words[joinedUnits] = this.closeJoined();
    return this;
  }

  /** The documents that were put in the lane `joined`. */
  closeJoined() {
    const joined = this.joined === '' ? '' : `${this.joined}]`;
    this.joined = '';
    return this.append(joined);
  }

  put(value, lane) {
    const c = this.cell++;
    if (value === CUT) {
      this.bigint64[c] = BigInt(this.text.length);
      this.nulls[c] = 2;
      return;
    }
    if (lane === LANE.joined) {
      this.joined += `${this.joined === '' ? '[' : ','}${value}`;
      this.nulls[c] = value === null ? 1 : 0;
      this.bigint64[c] = BigInt(this.joined.length);
      return;
    }
    this.bigint64[c] = BigInt(this.text.length);
    this.nulls[c] = value === null ? 1 : 0;
    if (value === null) return;
    if (lane === LANE.text) this.int32[2 * c] = this.text.length + this.append(value);
    else if (lane === LANE.float64) this.float64[c] = value;
    else if (lane === LANE.bigint64) this.bigint64[c] = value;
    else if (lane === LANE.biguint64) this.bigint64[c] = BigInt.asIntN(64, value);
    else this.int32[2 * c] = Number(value);
  }
}

/** As the addon throws its errors. */
const thrown = (error) =>
  Object.assign(new Error(JSON.stringify(error)), { code: 'THROWN_BY_ADDON' });

/** An addon with one pool. `sent` lists the queries; `deliver(script...)` sends records up. */
export class ScriptedAddon {
  sent = [];
  forgotten = [];
  acquired = [];
  released = [];
  answers = [];
  flushes = 0;
  texts = [];
  segments = new Segments();
  /** As the addon does with what is asked for when the news is heard. */
  flushesItself = false;
  #waiting = [];
  #slip = new ArrayBuffer(320);

  createPool(optionsJson, deliver) {
    if (this.refusal) throw thrown(this.refusal);
    this.options = JSON.parse(optionsJson);
    this.up = deliver;
    return { handle: 1, slip: this.#slip, ...this.segments.buffers };
  }

  statement(handle, sql) {
    return this.texts.push(sql) - 1;
  }

  forget(handle, id) {
    this.forgotten.push(this.texts[id]);
  }

  query(handle, values) {
    const [request, lease, statement, flags, count, , isTransient] = new Int32Array(this.#slip);
    const params = values ?? this.#valuesOnSlip(count);
    const refusal = this.onQuery?.(params);
    if (refusal) throw thrown(refusal);
    this.sent.push({ request, lease, sql: this.texts[statement], params, flags });
    if (isTransient) this.forget(handle, statement);
    return this.flushesItself ? undefined : true;
  }

  /** As `src/node/slip.rs` reads them. */
  #valuesOnSlip(count) {
    const [kinds, numbers] = [new Uint8Array(this.#slip, 32), new Float64Array(this.#slip, 64)];
    const values = { 2: () => null, 3: () => false, 4: () => true, 5: (n) => numbers[n] };
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
    return JSON.stringify({ maxSize: 10, size: 1, available: 1, inUse: 0, waiting: 0 });
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

  /** Each script is a function that writes one segment; the first is delivered, the others drained. */
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
