// The same typings through require.

import hyperiondb = require('hyperiondb-client');

const pool: hyperiondb.Pool = hyperiondb.createPool({ host: 'localhost', user: 'app' });
void pool.query('SELECT 1').then((rows) => rows.command);
