// GET /orders?least=2

import { pool } from '../../lib/pool.js';

// The edge runtime has no native code.
export const runtime = 'nodejs';
export const dynamic = 'force-dynamic';

export async function GET(request) {
  const least = Number(new URL(request.url).searchParams.get('least') ?? 0);
  if (!Number.isInteger(least)) return Response.json({ error: 'least' }, { status: 400 });
  const sql = 'SELECT count(*) AS orders FROM generate_series(1, 10) AS n WHERE n >= $1::int';
  // The query is cancelled if the browser goes away.
  const [row] = await pool.query(sql, [least], { signal: request.signal });
  return Response.json(row);
}
