'use strict';

// Near the end of the stack, any call may throw a RangeError, even between two steps that belong
// together. So a method with several such steps checks the room on the stack before its first step.

/** Each level takes some 120 bytes. */
const LEVELS = 48;

/**
 * The many arguments make the frame large. V8 does not inline a function into itself, so each level
 * has a frame.
 */
function descend(level, a, b, c, d, e, f, g) {
  return level === 0 ? a : descend(level - 1, b, c, d, e, f, g, a) | g;
}

/** Throws V8's own RangeError if less stack is left than a method may need. */
function needStackSpace() {
  descend(LEVELS, 1, 2, 3, 4, 5, 6, 7);
}

module.exports = { needStackSpace };
