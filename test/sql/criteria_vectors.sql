-- Promise: criteria mean what the language says, and what other projects' own
-- tests say of the same documents (test/data/criteria_*.json); what is not of the
-- language is an error that says where.
\pset null ~
CREATE EXTENSION svc;
\getenv dir PG_ABS_SRCDIR
\set svc :dir '/data/criteria_svc.json'
\set growthbook :dir '/data/criteria_growthbook.json'
\set keila :dir '/data/criteria_keila.json'
\set divergent :dir '/data/criteria_divergent.json'
\set invalid :dir '/data/criteria_invalid.json'
CREATE TABLE vector AS
SELECT file, v FROM (VALUES ('svc', pg_read_file(:'svc')), ('growthbook', pg_read_file(:'growthbook')),
    ('keila', pg_read_file(:'keila')), ('divergent', pg_read_file(:'divergent'))) f (file, contents), jsonb_array_elements(contents::jsonb) v;
CREATE TABLE wrong AS SELECT v FROM jsonb_array_elements(pg_read_file(:'invalid')::jsonb) v;

-- true, false, reject, or another error
CREATE FUNCTION outcome(v jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN svc_matches((v -> 'doc') || coalesce(jsonb_build_object('segments', v -> 'segments'), '{}'),
                       (v -> 'criteria')::text::svc_criteria, (v ->> 'now')::timestamptz);
EXCEPTION WHEN SQLSTATE 'SV022' THEN RETURN 'reject';
END $$;
SELECT file, count(*) FROM vector GROUP BY file ORDER BY file;
SELECT file, v -> 'criteria' AS criteria, v -> 'doc' AS doc, v -> 'now' AS now, outcome(v), v ->> 'expected' AS expected
FROM vector WHERE outcome(v) IS DISTINCT FROM v ->> 'expected' ORDER BY 1, 2, 3;

-- where something is wrong, and what
CREATE FUNCTION error(criteria text, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM criteria::svc_criteria;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
SELECT count(*) FROM wrong;
SELECT left(v ->> 'criteria', 60) AS criteria, e.state, e.detail, v ->> 'error_pointer' AS expected
FROM wrong, error((v -> 'criteria')::text) e
WHERE e.state IS DISTINCT FROM 'SV022' OR e.detail IS DISTINCT FROM 'at ' || coalesce(nullif(v ->> 'error_pointer', ''), 'the whole');
-- a sentence for each kind of mistake
SELECT DISTINCT left(replace(message, 'invalid segment criteria: ', ''), 100) AS message, left(hint, 60) AS hint
FROM wrong, error((v -> 'criteria')::text) ORDER BY 1, 2;

-- the text is the document, and each way in leads to the same
SELECT count(*) FROM vector, LATERAL (SELECT (v -> 'criteria')::text AS source) s
WHERE v ->> 'expected' <> 'reject' AND (source::svc_criteria::text <> source OR source::svc_criteria::jsonb <> source::jsonb
    OR source::jsonb::svc_criteria <> source::svc_criteria);
SELECT ' { "a" :1 } '::svc_criteria, ' { "a" :1 } '::svc_criteria = '{"a":1.0}' AS equal, '{"a": 1}'::svc_criteria <> '{"a": 2}' AS differs;
SET client_min_messages = warning;
DROP EXTENSION svc CASCADE;
DROP TABLE vector, wrong;
DROP FUNCTION outcome, error;
