'use strict';

const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Whether a name from the server may become part of generated code. Any other name is used as a
 * value in generated code, never as text. (CVE-2017-16082 was a client that inserted all names into
 * its code.) `__proto__` is not plain, since it would set a prototype.
 */
const isPlain = (name) => PLAIN_NAME.test(name) && name !== '__proto__';

module.exports = { isPlain };
