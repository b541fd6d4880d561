-- Question: what does doc @~ criteria cost per row on a document of about 700
-- bytes, with 3 and with 5 leaves, against the same test as jsonpath, doc @@ path?
--
-- All documents pass all leaves, so that each is looked at. The scan alone is
-- subtracted. jsquery, and mingo and sift of npm, stand beside where they are installed. Rounds are interleaved;
-- medians. Settings: -v documents=100000 -v rounds=9
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
\if :{?documents} \else \set documents 100000
\endif
\if :{?rounds} \else \set rounds 9
\endif

CREATE TABLE document AS
SELECT jsonb_build_object('id', 'cus_' || i, 'name', 'Customer ' || i, 'status', 'active', 'email', 'c' || i || '@example.com', 'company', 'Company ' || i,
    'country', 'DE', 'industry', 'saas', 'type', 'business', 'timezone', 'Europe/Berlin', 'locale', 'de-DE', 'monthly_spend', 1000 + i % 500, 'lifetime_value', 12000 + i,
    'health_score', 50 + i % 50, 'engagement_score', 0.5, 'created_at', '2026-01-10T00:00:00.000000Z', 'last_activity_at', '2026-11-01T08:30:00.000000Z',
    'attributes', jsonb_build_object('plan', 'pro', 'seats', 12 + i % 9, 'tags', jsonb_build_array('beta', 'eu'), 'source', 'newsletter'),
    'usage', jsonb_build_object('api_calls', jsonb_build_object('last_7d', i % 900, 'last_30d', i % 9000 + 10))) AS doc
FROM generate_series(1, :documents) i;
VACUUM ANALYZE document;
SELECT round(avg(pg_column_size(doc))) AS size FROM document \gset
SET max_parallel_workers_per_gather = 0;
SET jit = off;
SELECT count(*) > 0 AS has_jsquery FROM pg_available_extensions WHERE name = 'jsquery' \gset
\if :has_jsquery
CREATE EXTENSION jsquery;
\endif

CREATE TABLE measured (what text, leaves int, ns numeric);
CREATE PROCEDURE measure(what text, leaves int, condition text, documents int) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
    found int;
BEGIN
    EXECUTE 'SELECT count(*) FROM document WHERE ' || condition INTO found;
    INSERT INTO measured VALUES (what, leaves, 1e9 * extract(epoch FROM clock_timestamp() - start) / documents);
    IF found <> documents THEN
        RAISE EXCEPTION '% finds %', what, found;
    END IF;
    COMMIT;
END $$;
SELECT format('CALL measure(%L, %s, %L, %s)', what, leaves, condition, :documents)
FROM generate_series(1, :rounds), (VALUES
    ('scan', 3, 'doc IS NOT NULL'), ('scan', 5, 'doc IS NOT NULL'),
    ('svc', 3, $$doc @~ '{"status": "active", "country": "DE", "monthly_spend": {"$gte": 100}}'$$),
    ('jsonpath', 3, $$doc @@ '$.status == "active" && $.country == "DE" && $.monthly_spend >= 100'::jsonpath$$),
    ('svc', 5, $$doc @~ '{"status": "active", "country": "DE", "monthly_spend": {"$gte": 100}, "attributes.tags": "beta", "usage.api_calls.last_30d": {"$lt": 90000}}'$$),
    ('jsonpath', 5, $$doc @@ '$.status == "active" && $.country == "DE" && $.monthly_spend >= 100 && $.attributes.tags == "beta" && $.usage.api_calls.last_30d < 90000'::jsonpath$$),
    ('jsquery', 3, $$doc @@ 'status = "active" AND country = "DE" AND monthly_spend >= 100'::jsquery$$),
    ('jsquery', 5, $$doc @@ 'status = "active" AND country = "DE" AND monthly_spend >= 100 AND attributes.tags.# = "beta" AND usage.api_calls.last_30d < 90000'::jsquery$$)) AS s (what, leaves, condition)
WHERE what <> 'jsquery' OR :'has_jsquery' \gexec

\echo
\echo Criteria, per row of a document of :size bytes; medians of :rounds rounds of :documents rows, nanoseconds, without the scan
WITH m AS (SELECT what, leaves, percentile_cont(0.5) WITHIN GROUP (ORDER BY ns) AS ns FROM measured GROUP BY what, leaves)
SELECT svc.leaves, round((svc.ns - scan.ns)::numeric) AS svc, round((p.ns - scan.ns)::numeric) AS jsonpath, round((j.ns - scan.ns)::numeric) AS jsquery,
       round(((svc.ns - scan.ns) / (p.ns - scan.ns))::numeric, 2) AS ratio, '<= 0.5' AS goal
FROM m svc JOIN m scan USING (leaves) JOIN m p USING (leaves) LEFT JOIN m j ON j.leaves = svc.leaves AND j.what = 'jsquery'
WHERE svc.what = 'svc' AND scan.what = 'scan' AND p.what = 'jsonpath' ORDER BY 1;
-- NODE_PATH says where "npm install mingo sift" has put them.
\set has_peers `node criteria_peers.cjs --available 2>/dev/null || echo false`
\if :has_peers
SELECT format($$\copy (SELECT doc FROM document) TO PROGRAM 'node criteria_peers.cjs %s'$$, :rounds) AS peers \gset
:peers
\else
\echo mingo and sift (npm) are not installed, or not in NODE_PATH: left out
\endif
