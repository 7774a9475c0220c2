'use strict';

// Where the stack ends, whatever is called throws a RangeError instead: in the middle of what
// belongs together, as soon as something was sent. So calls of several steps ask for room before
// their first one.

/** Each level is some 120 bytes. */
const LEVELS = 48;

/**
 * Its arguments make it large. V8 compiles no function into itself, so that each level has a frame.
 */
function descend(level, a, b, c, d, e, f, g) {
  return level === 0 ? a : descend(level - 1, b, c, d, e, f, g, a) | g;
}

/** Throws V8's own RangeError where there is less stack left than a call may need. */
function needStackSpace() {
  descend(LEVELS, 1, 2, 3, 4, 5, 6, 7);
}

module.exports = { needStackSpace };
