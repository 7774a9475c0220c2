use crate::connection::statement::plain_read::*;

#[test]
fn tables_are_in_order_and_have_what_they_hold() {
    for table in [FUNCTIONS, OPERATORS, RESERVED, TYPES] {
        let names: Vec<_> = table.split_ascii_whitespace().collect();
        assert!(names.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()));
        assert!(names.iter().all(|name| has(table, name)));
        for name in &names {
            let others = [format!("{name}~"), format!("~{name}"), name[1..].to_owned()];
            for other in others {
                assert_eq!(has(table, &other), names.contains(&other.as_str()), "{other}");
            }
        }
    }
    for name in ["", " ", "\n", "abs acos", "nextval", "pg_sleep", "set_config", "random"] {
        assert!(!has(FUNCTIONS, name), "{name}");
    }
}

#[test]
fn calls_of_functions_that_are_not_postgresqls_own_are_seen() {
    for sql in [
        "SELECT set_tenant($1)",
        "select * from app.rows_of($1) as r(a int)",
        "SELECT app.lower(a) FROM t",
        "SELECT \"Own\"(1)",
        "INSERT INTO t (a) VALUES (next_number())",
        "UPDATE t SET a = own (a) WHERE b IN (1, 2)",
    ] {
        assert!(calls_user_code(sql), "{sql}");
    }
    for sql in [
        "INSERT INTO app.t (a, b) VALUES (lower($1), $2::varchar(10)) ON CONFLICT (a) DO NOTHING",
        "INSERT INTO \"T\" (\"A\") VALUES (nextval('s')) RETURNING (\"A\")",
        "UPDATE t SET (a, b) = (1, 2) FROM u JOIN (SELECT 1) v USING (c) WHERE a = ANY ($1)",
        "DELETE FROM t WHERE EXISTS (SELECT 1) AND a IN (1) AND NOT (b) AND c LIKE ('a')",
        "WITH x (a) AS MATERIALIZED (SELECT count(*) FILTER (WHERE b) OVER (PARTITION BY (c))) TABLE x",
        "SELECT set_config('app.tenant', $1, true), pg_catalog.now(), numeric(3, 1) '1.5'",
        "SELECT a FROM t GROUP BY GROUPING SETS ((a), ()) HAVING (a) > (1) ORDER BY (a)",
    ] {
        assert!(!calls_user_code(sql), "{sql}");
    }
}

#[test]
fn what_only_reads_is_plain() {
    for sql in [
        "SELECT 1",
        "select id, name from t where id = $1",
        "SELECT * FROM a.t AS x (p, q) WHERE x.p IN ($1, $2) AND (x.q OR NOT (x.p < -1));",
        "/* SELECT 1 FOR UPDATE */ (SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT (1) OFFSET 2",
        "VALUES (1, 'a'), (2, 'b')",
        "TABLE t",
        "SHOW transaction_read_only",
        "show \"my\".setting;",
        "WITH a AS (SELECT 1), b(x, y) AS MATERIALIZED (VALUES (1, 2)) SELECT lower(a), upper(b) FROM a, b",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT sum(n) FROM t",
        "SELECT count(*), count(DISTINCT a) FILTER (WHERE b > 1) OVER (PARTITION BY (c) ORDER BY d) FROM t",
        "SELECT coalesce(a, 'x'), greatest(1, 2), nullif(a, ''), CAST(a AS numeric(10, 2)), a::varchar(10) FROM t",
        "SELECT $1::int[], $2::timestamp(3) with time zone, $3::pg_catalog.int4, $4::double precision, x::\"char\"",
        "SELECT CAST('1' AS character varying (3)), date '2024-01-01', interval '1 day', numeric(3,1) '1.5'",
        "SELECT extract(epoch FROM now()), trim(both 'x' from a), substring(a from 1 for 2), position('a' in b)",
        "SELECT overlay(a placing b from 1 for 2), current_timestamp(3), a AT TIME ZONE 'UTC', normalize(a)",
        "SELECT pg_catalog.lower(a), left(a, 1) FROM t LEFT JOIN (SELECT 1) u ON (true) JOIN v USING (id)",
        "SELECT a, b FROM t GROUP BY GROUPING SETS ((a), (b)), (c) HAVING max(a) > 1",
        "SELECT a FROM t GROUP BY ROLLUP (a)",
        "SELECT DISTINCT ON (a) lower(b) FROM t ORDER BY (a)",
        "SELECT DISTINCT ON (a) b FROM t",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t",
        "SELECT ARRAY[1, 2], ARRAY(SELECT 1), ROW(1, 2), a[1:2], a @> $1, b ->> 'x', c #>> '{a}', d <-> e FROM t",
        "SELECT * FROM generate_series(1, 3) g(i), unnest($1::text[]) WITH ORDINALITY AS u(a, n)",
        "SELECT * FROM unnest($1::text[]) WITH ORDINALITY u(a, n)",
        "SELECT * FROM json_to_recordset($1) AS x(id int, name varchar(10), at timestamp with time zone)",
        "SELECT * FROM t WHERE a LIKE 'x%' AND b NOT ILIKE $1 AND c LIKE 'a' ESCAPE '!' AND d BETWEEN 'a' AND 'b'",
        "SELECT * FROM t, LATERAL (SELECT a) l WHERE EXISTS (SELECT) AND a = ANY ($1) AND b <> ALL (ARRAY['x'])",
        "SELECT CASE WHEN (a) THEN ('x') ELSE (1) END, a =-1, b*-c, a != b FROM t",
        "SELECT rank() OVER w FROM t WINDOW w AS (PARTITION BY a)",
        "SELECT 'nextval(1)', \"nextval\", $$ FOR UPDATE $$, E'a\\'b', nextval FROM t -- f(x)",
        "SELECT make_interval(days => 1)",
        "SELECT a.b.c FROM ONLY (t)",
    ] {
        assert!(is_plain_read(sql), "{sql}");
    }
}

#[test]
fn what_may_write_or_wait_or_is_not_known_is_not_plain() {
    for sql in [
        "",
        ";",
        "(",
        "BEGIN",
        "UPDATE t SET a = 1",
        "EXPLAIN SELECT 1",
        "CALL p()",
        "FETCH 1 FROM c",
        "SET a = 1",
        "(SHOW a)",
        "SELECT 1; SELECT 2",
        "SELECT 1 INTO t",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR /* */ no KEY UPDATE",
        "SELECT * FROM (SELECT * FROM t FOR SHARE) x",
        "SELECT * FROM t FOR KEY SHARE SKIP LOCKED",
        "WITH u AS (UPDATE t SET a = 1 RETURNING a) SELECT a FROM u",
        "WITH d AS (DELETE FROM t) SELECT 1",
        "WITH i AS (INSERT INTO t VALUES (1)) TABLE i",
        "WITH m AS (MERGE INTO t USING u ON (true) WHEN MATCHED THEN DO NOTHING) SELECT 1",
        "SELECT f($1)",
        "SELECT f ($1)",
        "SELECT \"lower\"($1)",
        "SELECT public.lower($1)",
        "SELECT a.pg_catalog.lower($1)",
        "SELECT pg_catalog.nextval($1)",
        "SELECT pg_advisory_xact_lock($1)",
        "SELECT pg_sleep(1), now()",
        "SELECT nextval('s')",
        "SELECT random(), gen_random_uuid()",
        "SELECT löwer($1)",
        "SELECT * FROM f($1) AS x(a int)",
        "SELECT * FROM t, f(a) AS (x int)",
        "SELECT * FROM g(1) x, f(a) AS (x int)",
        "SELECT DISTINCT ON (a) f(b) FROM t",
        "WITH a AS (SELECT 1) (SELECT 2) ORDER BY 1, f(1)",
        "WITH a AS (SELECT 1) SELECT a, f(1)",
        "WITH a AS (SELECT 1, f(2)) SELECT a",
        "SELECT 1 FROM t WHERE a @@@@ b",
        "SELECT a OPERATOR(public.=) b",
        "SELECT a <=+> b",
        "SELECT $1::mood, 1",
        "SELECT $1::public.int4",
        "SELECT $1::pg_catalog.mood",
        "SELECT $1::\"Mood\"",
        "SELECT CAST($1 AS mood)",
        "SELECT CAST($1 AS mood(1))",
        "SELECT mood 'happy'",
        "SELECT public.mood 'happy'",
        "SELECT \"mood\" 'happy'",
        "SELECT * FROM json_to_recordset($1) AS x(m mood)",
        "SELECT * FROM json_to_recordset($1) x(m mood)",
        "SELECT * FROM json_populate_record($1) AS (m mood)",
        "SELECT cube(1), rollup(2), over(3), filter(4), by(5), zone(6), sets(7), join(8), ilike(9)",
        "SELECT over(3)",
        "SELECT join(3)",
        "SELECT DISTINCT ON (a) over(3)",
        "SELECT * FROM t TABLESAMPLE mine(10)",
        "SELECT XMLSERIALIZE(a AS mood)",
        "SELECT JSON_VALUE($1, '$' RETURNING mood)",
        "SELECT 'it is \\' FOR UPDATE --'",
        "SELECT (1",
        "SELECT 1)",
        "SELECT [1)",
        "SELECT {d}",
        // This may call a function.
        "SELECT (a).b",
        "SELECT ('s'::regclass).nextval",
        "SELECT (a[1]).b, a[1].b FROM t",
    ] {
        assert!(!is_plain_read(sql), "{sql}");
    }
    assert!(!is_plain_read(&format!("SELECT '{}'", "x".repeat(LONGEST))));
}

#[test]
fn no_text_is_too_odd() {
    let pieces = [
        "SELECT ",
        "WITH ",
        "(",
        ")",
        "[",
        "]",
        ",",
        ".",
        "::",
        ":",
        "AS ",
        "CAST",
        "x ",
        "'a' ",
        "\"q\" ",
        "+",
        "- ",
        "ON ",
        "DISTINCT ",
        "FOR ",
        "é",
        ";",
        "1 ",
        "lower",
        "LIKE ",
        "NOT ",
    ];
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut sql = String::from("SELECT ");
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 40).unwrap() % pieces.len();
            sql.push_str(pieces[at]);
        }
        // A call of an unknown function makes the text not plain.
        assert!(
            !is_plain_read(&format!("{sql} , f(1)"))
                || sql.contains("AS (")
                || sql.contains("WITH "),
            "{sql}"
        );
        is_plain_read(&sql);
    }
}
