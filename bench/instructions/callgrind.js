// Reads what valgrind's callgrind writes (valgrind manual, 6: "Callgrind Format Specification").

const COST = /^[+*\-\d]\S* (\d+)$/;

/**
 * The instructions in the code of the object files that `pattern` matches, without those of the
 * functions that the code calls elsewhere.
 *
 * @param {string} text the output file, with instructions as its only event
 * @param {RegExp} pattern
 */
export function instructionsIn(text, pattern) {
  const names = new Map();
  let counts = false;
  let isCall = false;
  let sum = 0;
  for (const line of text.split('\n')) {
    const [, key, number, name] = /^(c?ob)=\((\d+)\)(?: (.+))?$/.exec(line) ?? [];
    // A name is written once, where its number is used first.
    if (name !== undefined) names.set(number, name);
    if (key === 'ob') counts = pattern.test(names.get(number) ?? '');
    const cost = COST.exec(line)?.[1];
    // The line behind a call has what the called function cost in all.
    if (cost !== undefined && counts && !isCall) sum += Number(cost);
    isCall = line.startsWith('calls=');
  }
  return sum;
}
