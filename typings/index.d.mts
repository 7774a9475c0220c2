// For `import`: the same names, and all of them as the default export.

import * as library from './index.js';

export * from './index.js';
export default library;
