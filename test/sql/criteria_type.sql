-- Promise: segment criteria are checked however they come in; what comes in goes
-- out; a document either matches or does not.
\set SHOW_CONTEXT never
\pset null ~
CREATE EXTENSION svc;
CREATE FUNCTION raises(criteria text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
    h text;
BEGIN
    RETURN criteria::svc_criteria;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, left(d, 80), nullif(h, ''));
END $$;
-- JSON that jsonb would take, or that nothing takes
SELECT c, raises(c) FROM unnest(ARRAY['{"a": 1, "a": 2}', '{"a": {"b": {"x": 1, "y": 2, "x": 3}}}', '{"$or": [{"a": 1}, {"$gt": 1, "$gt": 2}]}',
    '', '{', '{"a"}', '{"a": }', '{"a": 1,}', '{"a": [1,]}', '{"a": 1} x', '{a: 1}', '{"a": "\u0000"}', '{"a": "\ud800"}', '{"\u0000": 1}', '{"a": nul}', '[', '{"a": 01}',
    '{"a~b/c": {"$regx": 1}}', '{"a": {"$eq": NaN}}', '{"a": 1e1001}', '{"a": 1e99999999999}', '{"a\\b": 1}', '{"a\\": 1}', '{"a": {"$regex": "a{1000}"}}', '{"a": {"$regex": "\\"}}']) c;
-- what test/fuzz.sh begins with, and has found
\getenv dir PG_ABS_SRCDIR
\set corpus :dir '/data/criteria_corpus.txt'
SELECT count(*), count(*) FILTER (WHERE raises(c) = c) AS accepted, count(*) FILTER (WHERE raises(c) LIKE 'SV022 %') AS refused
FROM regexp_split_to_table(trim(E'\n' FROM pg_read_file(:'corpus')), E'\n') c;
-- limits
SELECT name, left(raises(c), 150) FROM (VALUES
    ('bytes', rpad('{"a": 1', 65535) || '}'), ('one byte more', rpad('{"a": 1', 65536) || '}'),
    ('nesting', repeat('{"$not": ', 32) || '{}' || repeat('}', 32)), ('one more', repeat('{"$not": ', 33) || '{}' || repeat('}', 33)),
    ('elements', repeat('{"a": {"$elemMatch": ', 33) || '{}' || repeat('}}', 33)),
    ('brackets', '{"a": ' || repeat('[', 30000)), ('objects', repeat('{"a":', 10000)),
    ('components', '{"a' || repeat('.a', 31) || '": 1}'), ('one more', '{"a' || repeat('.a', 32) || '": 1}'),
    ('values', '{"a": {"$in": [' || repeat('1,', 9999) || '1]}}'), ('one more', '{"a": {"$in": [' || repeat('1,', 10000) || '1]}}'),
    ('conditions', '{"$or": [' || repeat('{"a": 1},', 2046) || '{"a": 1}]}'), ('one more', '{"$or": [' || repeat('{"a": 1},', 2047) || '{"a": 1}]}'),
    ('pattern', '{"a": {"$regex": "' || repeat('a', 1024) || '"}}'), ('one more', '{"a": {"$regex": "' || repeat('a', 1025) || '"}}'),
    ('digits', '{"a": ' || repeat('9', 1000) || '}'), ('one more', '{"a": ' || repeat('9', 1001) || '}')) v (name, c);

-- NULL and other shapes of documents
SELECT NULL::jsonb @~ '{}'::svc_criteria AS document, '{}'::jsonb @~ NULL::svc_criteria AS criteria, svc_matches('{}', '{}', NULL) AS at, svc_matches(NULL, '{}') AS n;
SELECT doc, doc @~ '{}' AS everyone, doc @~ '{"a": 1}' AS a, doc @~ '{"a": null}' AS missing, doc @~ '{"0": 1}' AS zero
FROM unnest(ARRAY['{"a": 1}', '[]', '[1, {"a": 1}]', '1', '"a"', 'null']::jsonb[]) doc;
-- one criteria after the other in one call
SELECT c, '{"a": 2, "s": "b"}' @~ c AS matches FROM unnest(ARRAY['{"a": 1}', '{"a": 2}', '{"a": 22}', '{"s": "b"}', '{"s": {"$ini": ["B"]}}']::svc_criteria[]) c;
-- time
SELECT svc_matches('{"t": "2026-03-31T12:00:00Z"}', c, '2026-04-30 12:00 UTC') AS matches, c FROM unnest(ARRAY['{"t": {"$gte": {"$date": "now-1M"}}}',
    '{"t": {"$gte": {"$date": "now-30d"}}}', '{"t": {"$eq": {"$date": "now-1M+1d"}}}', '{"t": {"$withinLast": "1M"}}', '{"t": {"$withinLast": "99999999y"}}',
    '{"t": {"$lt": {"$date": "now/w"}}}', '{"t": {"$gte": {"$date": "now-4w/w"}}}', '{"t": {"$gte": {"$date": "now/y"}}}', '{"t": {"$lt": {"$date": "now-2147483647y"}}}']) s, raises(s) r, LATERAL (SELECT CASE WHEN r = s THEN r END::svc_criteria) x (c);
SET TimeZone = 'Asia/Tokyo';
SELECT svc_matches('{"t": "2026-04-30T00:00:00Z"}', '{"t": {"$gte": {"$date": "now/d"}}}', '2026-04-30 20:00 UTC') AS in_utc;
RESET TimeZone;

-- as bytes
CREATE TABLE received (c svc_criteria);
CREATE FUNCTION receive(bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    large oid;
    received text;
BEGIN
    large := lo_from_bytea(0, '\x5047434f50590aff0d0a000000000000000000'::bytea || '\x0001'::bytea || int4send(length(bytes)) || bytes || '\xffff'::bytea);
    PERFORM lo_export(large, 'criteria.bin'), lo_unlink(large);
    COPY received FROM 'criteria.bin' (FORMAT binary);
    DELETE FROM received RETURNING c INTO received;
    RETURN received;
EXCEPTION WHEN OTHERS THEN RETURN concat(SQLSTATE, ': ', SQLERRM);
END $$;
SELECT receive(svc_criteria_send('{"a":  1}')), receive('\x02'::bytea || '{}') AS version, receive('\x01'::bytea || '{"a": {"$x": 1}}') AS content,
       receive('\x') AS nothing, receive('\x01') AS no_text, receive('\x01c328') AS encoding, receive('\x01007b7d') AS zero;
SELECT DISTINCT left(receive(substr(svc_criteria_send('{"a": {"$regex": "x"}, "b": {"$gt": {"$date": "now"}}}'), 1, n)), 5) AS cut FROM generate_series(1, 56) n ORDER BY 1;
SELECT setseed(0.5);
SELECT count(*) AS random, count(*) FILTER (WHERE answer !~ '^(SV022|22021|08P01|22P03)') AS other
FROM (SELECT receive(substr('\x01' || convert_to(translate(md5(random()::text) || md5(random()::text), 'abcdef0123456789', '{}[]:,"$.\1na e1'), 'UTF8'), 1, 1 + (random() * 60)::int)) AS answer
      FROM generate_series(1, 3000)) x;

-- paths and sentences
SELECT svc_criteria_paths('{"b.c": 1, "a": 2, "$or": [{"b.c": 2}, {"utm\\.source": "x"}], "l": {"$elemMatch": {"inner": 1}}, "n": {"$not": {"$gt": 1}}}');
SELECT svc_explain_criteria(c) FROM unnest(ARRAY['{}', '{"status": "active", "monthly_spend": {"$gte": 1000}}', '{"$or": [{"a": null}, {"a": {"$ne": null}, "b": {"$in": [1, "x", true]}}]}',
    '{"$nor": [{"a": 1}, {"b": 2}]}', '{"$not": {"a": {"$gt": 1, "$lt": {"$date": "2026-01-01"}}}}', '{"a": {"$not": {"$regex": "^x", "$options": "i"}}}', '{"a": {"$in": []}, "b": {"$nin": [1]}}',
    '{"l": {"$elemMatch": {"s": "active", "t": {"$withinNext": "1d"}}}, "m": {"$elemMatch": {"$gt": 1}}, "n": {"$size": {"$gte": 2}}}', '{"a": {"$type": ["string", "null"]}, "b": {"$empty": true}, "c": {"$exists": false}}',
    '{"a": {"$mod": [4, 1]}, "v": {"$vgte": "2.10"}, "s": {"$icontains": "x"}, "$notInSegment": ["x", "y"]}', '{"a": {"$all": ["x", [1]]}, "$comment": "why"}']::svc_criteria[]) c;
SET client_min_messages = warning;
DROP EXTENSION svc CASCADE;
DROP FUNCTION raises, receive;
