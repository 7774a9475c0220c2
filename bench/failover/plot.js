// Draws acknowledged writes over time as an SVG: one panel for each client, with one scale for all.

const WIDTH = 900;
const PANEL = 120;
const GAP = 34;
const LEFT = 60;
const RIGHT = 16;
const TOP = 56;
const BOTTOM = 44;
const COLOURS = ['#2f6f4f', '#9a5b1f', '#4a5aa8'];
const INK = '#57606a';

/**
 * @param {object} data
 * @param {string} data.title
 * @param {string} data.caption the machine, and what was done
 * @param {Record<string, number[]>} data.series the times of each client's writes, in ms
 * @param {Record<string, number>} data.marks named moments, in ms
 * @param {{ from: number, to: number, bucketMs: number }} data.axis in ms
 */
export function drawWrites({ title, caption, series, marks, axis }) {
  const names = Object.keys(series);
  const buckets = names.map((name) => countBuckets(series[name], axis));
  const most = Math.max(...buckets.flat());
  const height = TOP + names.length * (PANEL + GAP) + BOTTOM;
  const x = (ms) => LEFT + ((ms - axis.from) / (axis.to - axis.from)) * (WIDTH - LEFT - RIGHT);
  const parts = [
    text(LEFT, 22, title, { size: 16, weight: 600 }),
    text(LEFT, 40, caption, { size: 11 }),
  ];
  names.forEach((name, k) => {
    const bottom = TOP + k * (PANEL + GAP) + PANEL;
    parts.push(panel({ name, counts: buckets[k], most, bottom, colour: COLOURS[k], x, axis }));
  });
  const floor = height - BOTTOM - GAP;
  for (const [name, at] of Object.entries(marks)) {
    parts.push(
      `<line x1="${round(x(at))}" x2="${round(x(at))}" y1="${TOP}" y2="${floor}" stroke="#b3261e" stroke-dasharray="4 3"/>`,
      text(x(at) + 4, TOP + 10, name, { size: 11, fill: '#b3261e' }),
    );
  }
  for (let ms = Math.ceil(axis.from / 100) * 100; ms <= axis.to; ms += 100) {
    parts.push(text(x(ms), floor + 16, `${ms}`, { size: 11, anchor: 'middle' }));
  }
  const label = `milliseconds since the primary was killed; bars are acknowledged writes in ${axis.bucketMs} ms`;
  parts.push(text(LEFT, floor + 36, label, { size: 11 }));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function countBuckets(times, { from, to, bucketMs }) {
  const counts = new Array(Math.ceil((to - from) / bucketMs)).fill(0);
  for (const time of times) {
    const bucket = Math.floor((time - from) / bucketMs);
    if (bucket >= 0 && bucket < counts.length) counts[bucket] += 1;
  }
  return counts;
}

function panel({ name, counts, most, bottom, colour, x, axis }) {
  const bar = (count, k) => {
    const left = x(axis.from + k * axis.bucketMs);
    const width = Math.max(0.5, x(axis.from + (k + 1) * axis.bucketMs) - left - 0.5);
    const high = (count / most) * (PANEL - 16);
    return `M${round(left)} ${bottom}v${-round(high)}h${round(width)}v${round(high)}z`;
  };
  const bars = counts.map((count, k) => (count === 0 ? '' : bar(count, k))).join('');
  return [
    text(LEFT, bottom - PANEL + 10, name, { size: 12, weight: 600, fill: colour }),
    `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${bottom}" y2="${bottom}" stroke="${INK}"/>`,
    text(LEFT - 6, bottom - PANEL + 24, `${most}`, { size: 11, anchor: 'end' }),
    text(LEFT - 6, bottom, '0', { size: 11, anchor: 'end' }),
    `<path d="${bars}" fill="${colour}"/>`,
  ].join('\n');
}

function text(x, y, words, { size, weight = 400, anchor = 'start', fill = INK }) {
  const escaped = words.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  return `<text x="${round(x)}" y="${y}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" fill="${fill}">${escaped}</text>`;
}

const round = (number) => Math.round(number * 10) / 10;
