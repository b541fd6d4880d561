-- Promise: svc_matching_criteria says of many criteria at once what svc_matches says
-- of each, whatever they are, for one document after the other, one list after the
-- other, and, of what has changed, for those that mention it.
\set SHOW_CONTEXT never
\pset null ~
CREATE EXTENSION svc;
\getenv dir PG_ABS_SRCDIR
\set svc :dir '/data/criteria_svc.json'
\set growthbook :dir '/data/criteria_growthbook.json'
\set keila :dir '/data/criteria_keila.json'
\set divergent :dir '/data/criteria_divergent.json'
CREATE FUNCTION one_by_one(doc jsonb, list svc_criteria[], at timestamptz) RETURNS integer[] LANGUAGE sql STABLE AS
$$SELECT array(SELECT i::int FROM unnest(list) WITH ORDINALITY u (c, i) WHERE svc_matches(doc, c, at) ORDER BY i)$$;

-- the vectors: all criteria of all files with each document
CREATE TABLE vector AS
SELECT (v -> 'doc') || coalesce(jsonb_build_object('segments', v -> 'segments'), '{}') AS doc, (v -> 'criteria')::text AS criteria,
       coalesce((v ->> 'now')::timestamptz, '2026-01-01Z') AS now, v ->> 'expected' = 'true' AS expected
FROM (VALUES (pg_read_file(:'svc')), (pg_read_file(:'growthbook')), (pg_read_file(:'keila')), (pg_read_file(:'divergent'))) f (contents), jsonb_array_elements(contents::jsonb) v
WHERE v ->> 'expected' <> 'reject';
SELECT count(*), count(*) FILTER (WHERE svc_matching_criteria(doc, ARRAY[criteria::svc_criteria], NULL, now) = '{1}' IS DISTINCT FROM expected) AS wrong FROM vector;
WITH list AS MATERIALIZED (SELECT array_agg(criteria::svc_criteria) AS list FROM vector)
SELECT count(*) AS documents, bool_and(cardinality(list) = (SELECT count(*) FROM vector)) AS all_criteria, sum(cardinality(matching)) > 1000 AS many_match,
       count(*) FILTER (WHERE matching IS DISTINCT FROM one_by_one(doc, list, now)) AS wrong
FROM list, (SELECT DISTINCT doc, now FROM vector) d, LATERAL (SELECT svc_matching_criteria(doc, list, NULL, now) OFFSET 0) m (matching);

-- random criteria and documents, with few paths and values, so that they meet
CREATE FUNCTION pick(VARIADIC choices text[]) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN choices[1 + floor(random() * cardinality(choices))::int]; END$$;
CREATE FUNCTION random_path() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN pick('a', 'a', 'b', 'a.b', 'a.0', 'a.b.c', 'a.1.b', 'attributes', 'attributes.k1', 'attributes.k2', 'attributes.k2.b', 'usage.r.last_7d', 'usage.r', 'entitlements.x.used', 'segments', 'missing'); END$$;
CREATE FUNCTION random_scalar() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN pick('null', 'true', 'false', '0', '0.0', '1', '1.0', '1e0', '2', '-1', '10', '1e1', '"a"', '"A"', '"b"', '""', '"1"', '"ab"', '"1.2.3"', '"2026-01-02T00:00:00Z"', '"2026-01-01T01:00:00+01:00"'); END$$;
CREATE FUNCTION random_value() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE floor(random() * 8)::int WHEN 0 THEN '[' || random_scalar() || ', ' || random_scalar() || ']' WHEN 1 THEN pick('[]', '{}', '[[1]]', '{"b": 1}', '{"b": {"c": "a"}}', '[{"b": 1}, {"b": "a"}]')
    ELSE random_scalar() END; END$$;
CREATE FUNCTION random_condition() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE floor(random() * 20)::int
    WHEN 0 THEN '{"$ne": ' || random_value() || '}'
    WHEN 1 THEN '{"$in": [' || random_value() || ', ' || random_scalar() || ', ' || random_scalar() || ']}'
    WHEN 2 THEN '{"$nin": [' || random_scalar() || ', ' || random_scalar() || ']}'
    WHEN 3 THEN '{"' || pick('$gt', '$gte', '$lt', '$lte') || '": ' || pick('0', '1', '2', '"a"', '"b"', 'true', '{"$date": "now-1d"}', '{"$date": "2026-01-01"}') || '}'
    WHEN 4 THEN '{"$ini": ["A", ' || random_scalar() || ']}'
    WHEN 5 THEN '{"$exists": ' || pick('true', 'false') || '}'
    WHEN 6 THEN '{"$empty": ' || pick('true', 'false') || '}'
    WHEN 7 THEN '{"$type": ["' || pick('null', 'string', 'number', 'array') || '", "boolean"]}'
    WHEN 8 THEN '{"' || pick('$regex', '$notRegexi') || '": "' || pick('^a', 'b$', '1') || '"}'
    WHEN 9 THEN '{"' || pick('$startsWith', '$endsWith', '$contains', '$icontains') || '": "' || pick('a', 'B') || '"}'
    WHEN 10 THEN '{"$elemMatch": ' || pick('{}', '{"b": 1}', '{"$eq": "a"}', '{"$gt": 0, "$lt": 2}', '{"$not": {"$eq": 1}}', '{"$or": [{"b": "a"}, {"b": 2}]}') || '}'
    WHEN 11 THEN '{"$size": ' || pick('0', '2', '{"$gte": 1}') || '}'
    WHEN 12 THEN '{"$all": ' || pick('[]', '["a"]', '[1, "a"]', '[null]') || '}'
    WHEN 13 THEN '{"' || pick('$withinLast', '$withinNext') || '": "' || pick('1d', '2d', '12h') || '"}'
    WHEN 14 THEN '{"$not": {"$in": [' || random_scalar() || ', "a"], "$ne": 1}}'
    WHEN 15 THEN pick('{"$in": []}', '{"$mod": [2, 0]}', '{"$vgte": "1.2"}', '{"$eq": {"$date": "now-1d/d"}}', '{"$in": [{"$date": "2026-01-01"}, null]}')
    ELSE random_value() END; END$$;
CREATE FUNCTION random_criteria(depth int) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE WHEN depth = 0 OR random() < 0.2 THEN CASE WHEN random() < 0.9 THEN '{"' || random_path() || '": ' || random_condition() || '}' ELSE pick('{"$inSegment": "s"}', '{"$inSegment": ["u", "t"]}', '{"$notInSegment": ["s", "a"]}', '{}') END
    WHEN random() < 0.1 THEN '{"$not": ' || random_criteria(depth - 1) || '}'
    ELSE '{"' || pick('$and', '$and', '$and', '$or', '$or', '$nor') || '": [' || random_criteria(depth - 1) || ', ' || random_criteria(depth - 1) || CASE WHEN random() < 0.5 THEN ', ' || random_criteria(depth - 1) ELSE '' END || ']}' END; END$$;
CREATE FUNCTION random_document() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS
$$BEGIN RETURN CASE floor(random() * 12)::int WHEN 0 THEN random_value()::jsonb WHEN 1 THEN '{}' ELSE
    jsonb_build_object(pick('a', 'x'), random_value()::jsonb, 'b', random_value()::jsonb, 'segments', pick('["s"]', '["s", "t"]', '"t"', 'null', '[]')::jsonb,
        'usage', jsonb_build_object('r', jsonb_build_object('last_7d', random_value()::jsonb)),
        'entitlements', jsonb_build_object(pick('x', 'y'), jsonb_build_object('used', random_value()::jsonb)),
        'attributes', CASE WHEN random() < 0.9 THEN jsonb_build_object('k1', random_value()::jsonb, pick('k2', 'k3'), random_value()::jsonb) ELSE random_value()::jsonb END) END; END$$;
SELECT setseed(0.42) \g /dev/null
CREATE TABLE random AS SELECT i, random_criteria(i % 4)::svc_criteria AS c FROM generate_series(1, 2000) i;
CREATE TABLE document AS SELECT i, random_document() AS doc, '2026-01-02 00:00Z'::timestamptz + pick('0', '-1 day', '12 hours', '1 day')::interval AS at FROM generate_series(1, 250) i;
WITH list AS MATERIALIZED (SELECT array_agg(c ORDER BY i) AS list FROM random)
SELECT count(*) AS documents, sum(cardinality(matching)) BETWEEN 50000 AND 450000 AS some_match, count(*) FILTER (WHERE matching IS DISTINCT FROM one_by_one(doc, list, at)) AS wrong
FROM list, document, LATERAL (SELECT svc_matching_criteria(doc, list, NULL, at) OFFSET 0) m (matching);

-- one list after the other: those of the last that are still there are prepared already, unless most are not
CREATE TABLE list AS SELECT n, array_agg(c ORDER BY i * n % 1999) AS list FROM generate_series(1, 12) n, random WHERE i % 12 <= n * 5 % 12 GROUP BY n;
SELECT sum(cardinality(list)) AS criteria, count(*) FILTER (WHERE svc_matching_criteria(doc, list, NULL, at) IS DISTINCT FROM one_by_one(doc, list, at)) AS wrong
FROM (SELECT doc, at, list FROM (SELECT * FROM document WHERE i <= 5) d, list ORDER BY i, n) s;

-- what has changed: the first component, of some the second
CREATE FUNCTION mentions(c svc_criteria, changed text[]) RETURNS boolean LANGUAGE sql STABLE AS
$$SELECT EXISTS (SELECT 1 FROM unnest(changed) x (x), unnest(svc_criteria_paths(c)) p (p)
    WHERE split_part(x, '.', 1) = split_part(p, '.', 1)
      AND (split_part(x, '.', 1) NOT IN ('attributes', 'entitlements', 'usage', 'segments') OR split_part(x, '.', 2) = '' OR split_part(p, '.', 2) IN ('', split_part(x, '.', 2))))$$;
WITH list AS MATERIALIZED (SELECT array_agg(c ORDER BY i) AS list FROM random WHERE c::text !~ 'nSegment')
SELECT changed, count(*) AS documents, sum(cardinality(matching)) > 0 AS some_match, count(*) FILTER (WHERE matching IS DISTINCT FROM
    array(SELECT m FROM unnest(one_by_one(doc, list, at)) m WHERE mentioning[m] ORDER BY m)) AS wrong
FROM list, (VALUES ('{a}'::text[]), ('{a.b.c,missing}'), ('{attributes.k1}'), ('{attributes.k2}'), ('{attributes}'), ('{usage.r}'), ('{usage.q,entitlements}'), ('{nothing}'), ('{}')) v (changed),
     LATERAL (SELECT array(SELECT mentions(c, changed) FROM unnest(list) WITH ORDINALITY u (c, i) ORDER BY i) OFFSET 0) w (mentioning),
     (SELECT * FROM document WHERE i <= 50) d, LATERAL (SELECT svc_matching_criteria(doc, list, changed, at) OFFSET 0) m (matching)
GROUP BY 1 ORDER BY 1;
SELECT changed, svc_matching_criteria('{"a.b": 1, "segments": ["s", "t"]}', ARRAY['{"a\\.b": 1}', '{"$inSegment": "s"}', '{"$inSegment": ["t", "u"]}', '{"segments": "s"}', '{"$notInSegment": "*"}', '{}', '{"a.b": null}']::svc_criteria[], changed) AS matching
FROM unnest(ARRAY['a\.b', 'a.b', 'a', 'segments.s', 'segments.u', 'segments', 'segments.', 'segments.*', 'segments.nobody', '', '.', '\', '*']) t, LATERAL (SELECT ARRAY[t, NULL] AS changed) x;

-- numbers by value, strings by bytes, a null is missing; keys of one kind are not those of another
SELECT doc, svc_matching_criteria(doc, ARRAY['{"a": 1}', '{"a": 1.00}', '{"a": 10e-1}', '{"a": "1"}', '{"a": null}', '{"a": {"$in": [null, 1]}}', '{"a": true}', '{"a": "t"}', '{"a": 9007199254740993}', '{"a": {"$exists": true}}', '{"a": {"$in": []}}', '{"$nor": [{"a": {"$in": []}}]}', '{"a": [1]}', '{"a": 0}', '{"a": -0.0}']::svc_criteria[]) AS matching
FROM unnest(ARRAY['{"a": 1}', '{"a": 1.000}', '{"a": "1"}', '{"a": null}', '{}', '{"a": true}', '{"a": [1, "1"]}', '{"a": []}', '{"a": [[1]]}', '{"a": 9007199254740992}', '{"a": 9007199254740993}', '{"a": 0}', '[]', '1', '[{"a": 1}]']::jsonb[]) doc;
-- long lists of values, and many conditions
SELECT svc_matching_criteria('{"a": 7, "b": {"c": "x"}}', ARRAY[format('{"a": {"$in": [%s]}}', string_agg(i::text, ',')), format('{"a": {"$nin": [%s]}}', string_agg(i::text, ',')),
    format('{"$or": [%s]}', string_agg(format('{"a": %s, "b.c": "x"}', i), ',') FILTER (WHERE i <= 1000)), repeat('{"$not": ', 31) || '{"a": 7}' || repeat('}', 31), repeat('{"$not": ', 30) || '{"a": 7}' || repeat('}', 30)]::svc_criteria[])
FROM generate_series(0, 9999) i;
-- time
SELECT at, svc_matching_criteria('{"t": "2026-01-02T00:00:00Z"}', ARRAY['{"t": {"$withinLast": "1d"}}', '{"t": {"$lt": {"$date": "now"}}}', '{"t": {"$withinNext": "1d"}}']::svc_criteria[], NULL, at::timestamptz) AS matching
FROM unnest(ARRAY['2026-01-01 00:00Z', '2026-01-02 00:00Z', '2026-01-02 12:00Z', '2026-01-03 00:00Z', '2026-01-04 00:00Z', '2026-01-01 00:00Z']) at;
SELECT svc_matching_criteria(jsonb_build_object('t', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), ARRAY['{"t": {"$withinLast": "0s"}}', '{"t": {"$gt": {"$date": "now"}}}']::svc_criteria[]) AS now;

-- nulls, empty lists, other lower bounds, other shapes
SELECT svc_matching_criteria(NULL, '{}') AS doc, svc_matching_criteria('{}', NULL) AS criteria, svc_matching_criteria('{}', '{}') AS empty, svc_matching_criteria('{}', ARRAY[NULL, '{}', NULL, '{"a": null}', '{"a": 1}']::svc_criteria[]) AS elements,
       svc_matching_criteria('{}', ARRAY['{}']::svc_criteria[], '{}') AS unchanged, svc_matching_criteria('{}', '[5:6]={"{}",NULL}'::svc_criteria[]) AS bounds, svc_matching_criteria('{}', ARRAY['{}']::svc_criteria[], ARRAY[NULL]::text[]) AS null_changed;
SELECT svc_matching_criteria('{}', ARRAY[ARRAY['{}', '{}']]::svc_criteria[]);
SELECT svc_matching_criteria('{}', ARRAY['{"a": {"$regx": 1}}']::svc_criteria[]);
SELECT svc_matching_criteria('{}');
-- from a variable, in a loop; and in parallel
DO $$
DECLARE
    list svc_criteria[];
    matching integer[];
    d document;
    wrong int := 0;
BEGIN
    FOR n IN 1..100 LOOP
        list := list || (SELECT c FROM random WHERE i = n * 7);
        SELECT * INTO d FROM document WHERE i = n;
        matching := svc_matching_criteria(d.doc, list, NULL, d.at);
        IF matching IS DISTINCT FROM one_by_one(d.doc, list, d.at) THEN
            wrong := wrong + 1;
        END IF;
    END LOOP;
    RAISE NOTICE '% criteria, % wrong', cardinality(list), wrong;
END $$;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*) FILTER (WHERE svc_matching_criteria(doc, (SELECT array_agg(c ORDER BY i) FROM random WHERE i <= 200), NULL, at) IS DISTINCT FROM one_by_one(doc, (SELECT array_agg(c ORDER BY i) FROM random WHERE i <= 200), at)) AS wrong FROM document;

SET client_min_messages = warning;
DROP EXTENSION svc CASCADE;
DROP TABLE vector, random, document, list;
DROP FUNCTION pick, random_path, random_scalar, random_value, random_condition, random_criteria, random_document;
