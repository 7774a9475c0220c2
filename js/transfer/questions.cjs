'use strict';

// The functions that the options `ssl` and `password` may be, which the addon has asked for a login.
// They may throw, reject, or give anything. Nothing of what they give is shown. And what a login has
// shown to the user's harm.

const { fromThrown } = require('../api/errors.cjs');

/** What the function `ssl` gives, as the options that the addon reads, or why there is none. */
async function askSsl(ssl) {
  try {
    return { answer: await ssl(), why: '' };
  } catch (thrown) {
    return { answer: '', why: `the function of option 'ssl' failed: ${reasonOf(thrown)}` };
  }
}

/** What the function `password` gives for a login at `host`, or why there is none. */
async function askPassword(password, host) {
  try {
    const given = await password({ host });
    if (
      typeof given === 'string' &&
      given !== '' &&
      given.isWellFormed() &&
      !given.includes('\0')
    ) {
      return { answer: given, why: '' };
    }
    const kind = given === '' ? 'an empty one' : kindOf(given);
    return { answer: '', why: `the function of option 'password' must give a string, not ${kind}` };
  } catch (thrown) {
    return { answer: '', why: `the function of option 'password' failed: ${reasonOf(thrown)}` };
  }
}

function kindOf(given) {
  if (given === null || given === undefined) return String(given);
  if (typeof given === 'string') return 'one with NUL or half a character';
  if (Array.isArray(given)) return 'an array';
  return typeof given === 'object' ? 'an object' : `a ${typeof given}`;
}

/** Code of the caller's may throw anything. The code of an error says more than its text, at times. */
function reasonOf(thrown) {
  try {
    const { message } = fromThrown(thrown);
    const code = thrown?.code;
    return typeof code === 'string' && !message.includes(code)
      ? `${message} (${code})`
      : String(message);
  } catch {
    return 'it threw no error';
  }
}

/** Asks the functions, and hands their answers on. */
class Questions {
  #ssl;
  #password;
  #answer;

  /** `answer(name, question, answer, why)` calls the function of the addon that has this name. */
  constructor(ssl, password, answer) {
    this.#ssl = ssl;
    this.#password = password;
    this.#answer = answer;
  }

  // As with a look-up, it may be that no connection waits for the answer any longer.
  async askSsl(question) {
    const { answer, why } = await askSsl(this.#ssl);
    this.#answer('answerSsl', question, answer, why);
  }

  async askPassword(question, host) {
    const { answer, why } = await askPassword(this.#password, host);
    this.#answer('answerPassword', question, answer, why);
  }
}

/** What warns of weak logins, of each kind once: every login shows it again. */
function oneWarningEach() {
  const told = new Set();
  return ({ name, message }) => {
    if (told.has(name)) return;
    told.add(name);
    process.emitWarning(message, { type: 'HyperionWarning', code: 'HYPERION_WEAK_LOGIN' });
  };
}

module.exports = { oneWarningEach, Questions };
