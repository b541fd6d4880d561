-- Question: what does it cost to ask which of 10,000 criteria a document matches,
-- all at once, and those that mention an attribute that has changed, against
-- doc @~ criteria on a table of them?
--
-- Criteria have 3 leaves: a status or a country, which many share, a number, and an
-- attribute, which about ten share. The list is an array, prepared at its first use;
-- "another" is a list of which one has changed. Rounds are interleaved; medians.
-- Settings: -v criteria=10000 -v documents=100 -v rounds=9
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
\if :{?criteria} \else \set criteria 10000
\endif
\if :{?documents} \else \set documents 100
\endif
\if :{?rounds} \else \set rounds 9
\endif

CREATE TABLE criteria AS
SELECT i, format(CASE i % 4
        WHEN 0 THEN '{"status": "active", "monthly_spend": {"$gte": %1$s}, "attributes.k%2$s": "v%3$s"}'
        WHEN 1 THEN '{"country": {"$in": ["DE", "FR"]}, "usage.api_calls.last_30d": {"$lt": %1$s}, "attributes.k%2$s": {"$ne": "v%3$s"}}'
        WHEN 2 THEN '{"$or": [{"attributes.k%2$s": "v%3$s"}, {"attributes.tags": "t%1$s"}], "health_score": {"$gte": 50}}'
        WHEN 3 THEN '{"status": {"$ne": "archived"}, "last_activity_at": {"$withinLast": "%3$sd"}, "attributes.k%2$s": {"$gte": %1$s}}' END,
    i % 500, i * 7919 % (:criteria / 10), 1 + i % 9)::svc_criteria AS criteria
FROM generate_series(1, :criteria) i;
CREATE TABLE document AS
SELECT i, jsonb_build_object('id', 'cus_' || i, 'name', 'Customer ' || i, 'status', 'active', 'email', 'c' || i || '@example.com', 'company', 'Company ' || i,
    'country', 'DE', 'industry', 'saas', 'type', 'business', 'timezone', 'Europe/Berlin', 'locale', 'de-DE', 'monthly_spend', 1000 + i % 500, 'lifetime_value', 12000 + i,
    'health_score', 50 + i % 50, 'engagement_score', 0.5, 'created_at', '2026-01-10T00:00:00.000000Z', 'last_activity_at', '2026-11-01T08:30:00.000000Z',
    'attributes', (SELECT jsonb_object_agg('k' || (i * 31 + k * 97) % (:criteria / 10), 'v' || k) FROM generate_series(1, 9) k) || '{"tags": ["beta", "eu"]}',
    'usage', jsonb_build_object('api_calls', jsonb_build_object('last_7d', i % 900, 'last_30d', i % 9000 + 10))) AS doc
FROM generate_series(1, :documents) i;
VACUUM ANALYZE criteria;
VACUUM ANALYZE document;
SELECT round(avg(pg_column_size(doc))) AS size FROM document \gset
SET max_parallel_workers_per_gather = 0;
SET jit = off;

CREATE TABLE measured (what text, ms numeric);
CREATE PROCEDURE measure(documents int) LANGUAGE plpgsql AS $$
DECLARE
    list svc_criteria[] := (SELECT array_agg(criteria ORDER BY i) FROM criteria);
    other svc_criteria[] := (SELECT array_agg(CASE WHEN i = 77 THEN '{"a": 1}' ELSE criteria END ORDER BY i) FROM criteria);
    start timestamptz;
    one_by_one bigint;
    together bigint;
    first timestamptz;
BEGIN
    start := clock_timestamp();
    SELECT sum((SELECT count(*) FROM criteria WHERE doc @~ criteria)) INTO one_by_one FROM document;
    INSERT INTO measured VALUES ('one by one', 1e3 * extract(epoch FROM clock_timestamp() - start) / documents);

    start := clock_timestamp();
    PERFORM svc_matching_criteria('{}', list);
    INSERT INTO measured VALUES ('prepare', 1e3 * extract(epoch FROM clock_timestamp() - start));

    -- in these, from the second document on
    EXECUTE 'SELECT sum(n), min(at) FROM (SELECT cardinality(svc_matching_criteria(doc, $1)) AS n, clock_timestamp() AS at FROM document OFFSET 0) s'
    INTO together, first USING list;
    INSERT INTO measured VALUES ('together', 1e3 * extract(epoch FROM clock_timestamp() - first) / (documents - 1));
    IF together <> one_by_one THEN
        RAISE EXCEPTION 'together % match, one by one %', together, one_by_one;
    END IF;
    EXECUTE $s$SELECT sum(n), min(at) FROM (SELECT cardinality(svc_matching_criteria(doc, $1, ARRAY['attributes.k' || i])) AS n, clock_timestamp() AS at FROM document OFFSET 0) s$s$
    INTO together, first USING list;
    INSERT INTO measured VALUES ('changed', 1e3 * extract(epoch FROM clock_timestamp() - first) / (documents - 1));
    EXECUTE $s$SELECT sum(n), min(at) FROM (SELECT cardinality(svc_matching_criteria(doc, (SELECT $1), ARRAY['attributes.k' || i])) AS n, clock_timestamp() AS at FROM document OFFSET 0) s$s$
    INTO together, first USING list;
    INSERT INTO measured VALUES ('changed, sub-select', 1e3 * extract(epoch FROM clock_timestamp() - first) / (documents - 1));
    EXECUTE $s$SELECT sum(n), min(at) FROM (SELECT cardinality(svc_matching_criteria('{}', CASE WHEN i % 2 = 0 THEN $1 ELSE $2 END)) AS n, clock_timestamp() AS at FROM document WHERE i <= 11 OFFSET 0) s$s$
    INTO together, first USING list, other;
    INSERT INTO measured VALUES ('another', 1e3 * extract(epoch FROM clock_timestamp() - first) / 10);
    COMMIT;
END $$;
SELECT format('CALL measure(%s)', :documents) FROM generate_series(1, :rounds) \gexec

\echo
\echo :criteria criteria and a document of :size bytes, milliseconds; medians of :rounds rounds of :documents documents
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric AS ms FROM measured GROUP BY what)
SELECT what, round(ms, 3) AS ms, round(ms / (SELECT ms FROM m WHERE what = 'one by one'), 4) AS ratio,
       CASE what WHEN 'together' THEN '<= 0.1' WHEN 'changed' THEN '<= 0.02' END AS goal FROM m ORDER BY ms DESC;
