'use strict';

const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Whether a name from the server may become part of generated code. Any other one is used as a value, never as text
 * (CVE-2017-16082 was a client that pasted them all in), and so is the one that would set a prototype.
 */
const isPlain = (name) => PLAIN_NAME.test(name) && name !== '__proto__';

module.exports = { isPlain };
