'use strict';

const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Whether a name from the server may become part of generated code. Generated code uses any other
 * name as a value, never as text (CVE-2017-16082 was a client that pasted all names into its code).
 * `__proto__` is not plain, since it would set a prototype.
 */
const isPlain = (name) => PLAIN_NAME.test(name) && name !== '__proto__';

module.exports = { isPlain };
