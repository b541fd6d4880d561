-- Question: what does it cost a transaction that 10,000 segments in real time depend
-- on the customers, when one customer changes, all of it or one attribute, against
-- asking each criteria with @~ in a query? And what does the sync of a segment over
-- 200,000 customers with an indexed equality cost against INSERT ... SELECT ... WHERE?
--
-- Criteria have 3 leaves as in criteria_set.sql. The transaction without segments is
-- measured, too, before there are any. Rounds are interleaved; medians.
-- Settings: -v segments=10000 -v changes=50 -v customers=200000 -v rounds=9
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
\if :{?segments} \else \set segments 10000
\endif
\if :{?changes} \else \set changes 50
\endif
\if :{?customers} \else \set customers 200000
\endif
\if :{?rounds} \else \set rounds 9
\endif
SET max_parallel_workers_per_gather = 0;
SET jit = off;

CREATE TABLE measured (what text, ms numeric);
CREATE PROCEDURE note(what text, start timestamptz, divisor int DEFAULT 1) LANGUAGE sql AS
    $$ INSERT INTO measured VALUES (what, 1e3 * extract(epoch FROM clock_timestamp() - start) / divisor) $$;
CREATE TABLE attributes AS
SELECT i, (SELECT jsonb_object_agg('k' || (i * 31 + k * 97) % (:segments / 10), 'v' || k) FROM generate_series(1, 9) k) || '{"tags": ["beta", "eu"]}' AS a
FROM generate_series(1, :changes) i;
INSERT INTO svc_customer (id, name, status, email, company, country, industry, monthly_spend, lifetime_value, health_score, last_activity_at, attributes)
SELECT 'cus_' || i, 'Customer ' || i, 'active', 'c' || i || '@example.com', 'Company ' || i, 'DE', 'saas', 1000 + i % 500, 12000 + i, 50 + i % 50, '2026-11-01', a
FROM attributes;
CREATE TABLE criteria AS
SELECT i, format(CASE i % 4
        WHEN 0 THEN '{"status": "active", "monthly_spend": {"$gte": %1$s}, "attributes.k%2$s": "v%3$s"}'
        WHEN 1 THEN '{"country": {"$in": ["DE", "FR"]}, "lifetime_value": {"$lt": %1$s}, "attributes.k%2$s": {"$ne": "v%3$s"}}'
        WHEN 2 THEN '{"$or": [{"attributes.k%2$s": "v%3$s"}, {"attributes.tags": "t%1$s"}], "health_score": {"$gte": 150}}'
        WHEN 3 THEN '{"status": {"$ne": "archived"}, "monthly_spend": {"$lt": 0}, "attributes.k%2$s": {"$gte": %1$s}}' END,
    i % 500, i * 7919 % (:segments / 10), 1 + i % 9)::svc_criteria AS criteria
FROM generate_series(1, :segments) i;
VACUUM ANALYZE criteria;
CREATE FUNCTION note_of(what text, start timestamptz) RETURNS void LANGUAGE sql AS
    $$ INSERT INTO measured SELECT what, 1e3 * extract(epoch FROM clock_timestamp() - start) / count(*) FROM criteria $$;

-- all of a customer: it has been reactivated, say, with another company and other attributes
CREATE PROCEDURE change_all(what text, changes int) LANGUAGE plpgsql AS $$
DECLARE start timestamptz := clock_timestamp();
BEGIN
    FOR n IN 1..changes LOOP
        UPDATE svc_customer SET status = CASE status WHEN 'active' THEN 'suspended' ELSE 'active' END, company = company || '', country = CASE country WHEN 'DE' THEN 'FR' ELSE 'DE' END,
            monthly_spend = monthly_spend + 1, lifetime_value = lifetime_value + 1, health_score = health_score + CASE WHEN health_score < 90 THEN 1 ELSE -40 END,
            attributes = (SELECT jsonb_object_agg(key, CASE WHEN key = 'tags' THEN '["beta"]' ELSE to_jsonb('v' || n) END) FROM jsonb_each(attributes)) WHERE id = 'cus_' || n;
        COMMIT;
    END LOOP;
    CALL note(what, start, changes);
END $$;
CREATE PROCEDURE change_one(what text, changes int) LANGUAGE plpgsql AS $$
DECLARE start timestamptz := clock_timestamp();
BEGIN
    FOR n IN 1..changes LOOP
        UPDATE svc_customer SET attributes = jsonb_set(attributes, ARRAY['k' || n], to_jsonb('w' || start)) WHERE id = 'cus_' || n;
        COMMIT;
    END LOOP;
    CALL note(what, start, changes);
END $$;
CREATE PROCEDURE ask_each(changes int) LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
    doc jsonb;
BEGIN
    FOR n IN 1..changes LOOP
        doc := svc_customer_document('cus_' || n);
        PERFORM count(*) FROM criteria WHERE doc @~ criteria;
    END LOOP;
    CALL note('one by one', start, changes);
    COMMIT;
END $$;
SELECT format('CALL change_all(%L, %s)', 'all, no segments', :changes), format('CALL change_one(%L, %s)', 'one, no segments', :changes) FROM generate_series(1, :rounds) \gexec
\set VERBOSITY terse
DO $$
DECLARE start timestamptz := clock_timestamp();
BEGIN
    PERFORM svc_create_segment(jsonb_build_object('id', 's' || i, 'name', i::text, 'criteria', criteria::jsonb)) FROM criteria;
    PERFORM note_of('make a segment', start);
END $$;
VACUUM ANALYZE svc_customer_segment, svc_segment_member;
CALL change_all('(warm up)', 1);
SELECT format('CALL change_all(%L, %s)', 'all', :changes), format('CALL change_one(%L, %s)', 'one', :changes), format('CALL ask_each(%s)', :changes)
FROM generate_series(1, :rounds) \gexec
DELETE FROM measured WHERE what = '(warm up)';

\echo
\echo One customer changes, and :segments segments in real time depend on such: milliseconds per transaction; medians of :rounds rounds of :changes transactions
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric AS ms FROM measured GROUP BY what)
SELECT what, round(ms, 3) AS ms,
       CASE what WHEN 'all' THEN round((ms - (SELECT ms FROM m WHERE what = 'all, no segments')) / (SELECT ms FROM m WHERE what = 'one by one'), 4)
                 WHEN 'one' THEN round((ms - (SELECT ms FROM m WHERE what = 'one, no segments')) / (SELECT ms FROM m WHERE what = 'one by one'), 4) END AS ratio,
       CASE what WHEN 'all' THEN '<= 0.1' WHEN 'one' THEN '<= 0.02' END AS goal FROM m ORDER BY ms DESC;

-- the sync: a fifth of the customers has the value
UPDATE svc_customer_segment SET status = 'archived' WHERE id LIKE 's%';
INSERT INTO svc_customer (id, name, status, industry, monthly_spend) SELECT 'many_' || i, 'n', 'active', 'i' || i % 5, 10 FROM generate_series(1, :customers) i;
CREATE INDEX ON svc_customer (industry);
VACUUM ANALYZE svc_customer;
TRUNCATE measured;
CREATE TABLE by_hand (LIKE svc_segment_member INCLUDING ALL);
ALTER TABLE by_hand ADD FOREIGN KEY (customer_id) REFERENCES svc_customer, ADD FOREIGN KEY (segment_id) REFERENCES svc_customer_segment;
CREATE PROCEDURE fill(round int) LANGUAGE plpgsql AS $$
DECLARE start timestamptz; filled text := 'sync_' || round; n bigint;
BEGIN
    PERFORM svc_create_segment(jsonb_build_object('id', filled, 'name', 'n', 'sync_frequency', 'daily', 'automated', false, 'criteria', '{"industry": "i3", "status": "active"}'::jsonb));
    COMMIT;
    start := clock_timestamp();
    INSERT INTO by_hand (customer_id, segment_id) SELECT c.id, filled FROM svc_customer c WHERE industry = 'i3' AND status = 'active';
    GET DIAGNOSTICS n = ROW_COUNT;
    COMMIT;
    CALL note('by hand', start);
    start := clock_timestamp();
    UPDATE svc_customer_segment s SET automated = true WHERE s.id = filled;
    COMMIT;
    CALL note('fill', start);
    IF n <> (SELECT customer_count FROM svc_customer_segment s WHERE s.id = filled) THEN
        RAISE EXCEPTION 'by hand %', n;
    END IF;
    start := clock_timestamp();
    PERFORM svc_sync_segment(filled);
    COMMIT;
    CALL note('sync, no change', start);
    TRUNCATE by_hand;
    DELETE FROM svc_segment_member m WHERE m.segment_id = filled;
    COMMIT;
END $$;
SELECT format('CALL fill(%s)', r) FROM generate_series(1, :rounds) r \gexec
\echo
\echo Segment over :customers customers, of whom a fifth has the value that its criteria want: milliseconds; medians of :rounds rounds
WITH m AS (SELECT what, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric AS ms FROM measured GROUP BY what)
SELECT what, round(ms, 1) AS ms, round(ms / (SELECT ms FROM m WHERE what = 'by hand'), 2) AS ratio, CASE what WHEN 'fill' THEN '<= 2' END AS goal FROM m ORDER BY ms DESC;
