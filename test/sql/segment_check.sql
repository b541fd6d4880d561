-- Promise: criteria that can never be right are refused when a segment gets them, by
-- each way, with the place and what was probably meant, and nothing is changed; what
-- may be right is taken, and put into words.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc, public;
SET timezone = 'UTC';
SELECT svc_install() \g /dev/null
CREATE DOMAIN code AS text;
CREATE TYPE mood AS ENUM ('glad', 'sad');
ALTER TABLE svc_customer ADD COLUMN visits integer, ADD COLUMN ratio float8, ADD COLUMN vip boolean, ADD COLUMN code code, ADD COLUMN mood mood, ADD COLUMN tags text[], ADD COLUMN "Odd.name" text, ADD COLUMN usage text;
SELECT svc_create_segment('{"id": "kept", "name": "Kept", "criteria": {"status": "active"}}');
CREATE VIEW kept AS SELECT id, revision, criteria, automated, criteria_description, parent_segment_id, (SELECT count(*) FROM svc_event) AS events, (SELECT count(*) FROM svc_customer_segment) AS segments FROM svc_customer_segment WHERE id = 'kept';
CREATE TABLE before AS SELECT * FROM kept;

-- by each of five ways, all with the same answer; nothing is changed
CREATE FUNCTION refused(criteria text, OUT message text, OUT detail text, OUT hint text, OUT "all ways" boolean) LANGUAGE plpgsql AS $$
DECLARE
    way int; answers text[] := '{}'; state text;
BEGIN
    FOR way IN 1 .. 5 LOOP
        state := 'accepted'; message := NULL; detail := NULL; hint := NULL;
        BEGIN
            IF way = 1 THEN PERFORM svc_create_segment(jsonb_build_object('id', 'new', 'name', 'New', 'criteria', criteria::jsonb));
            ELSIF way = 2 THEN INSERT INTO svc_customer_segment (id, name, criteria) VALUES ('new', 'New', criteria::jsonb);
            ELSIF way = 3 THEN PERFORM svc_update_segment('kept', jsonb_build_object('criteria', criteria::jsonb));
            ELSIF way = 4 THEN UPDATE svc_customer_segment s SET criteria = refused.criteria::jsonb WHERE id = 'kept';
            ELSE PERFORM svc_preview_segment(criteria::svc_criteria);
            END IF;
            RAISE EXCEPTION USING errcode = 'XXXXX';
        EXCEPTION
            WHEN SQLSTATE 'XXXXX' THEN NULL;
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        END;
        answers := answers || concat_ws(E'\n', state, message, detail, hint);
    END LOOP;
    "all ways" := answers = array_fill(answers[1], ARRAY[5]) AND answers[1] ~ '^(SV022|accepted)' AND NOT EXISTS (SELECT FROM kept EXCEPT SELECT FROM before) AND (SELECT kept = before FROM kept, before);
    IF NOT "all ways" THEN message := array_to_string(answers, E'\n----\n'); END IF;
    message := replace(message, 'invalid segment criteria: ', '');
    hint := replace(hint, 'Values of different types never match; 8 is not "8".', '(types)');
    hint := replace(hint, 'What belongs to your application is in "attributes".', '(attributes)');
END $$;

-- ---- paths that no document has ----
SELECT c AS criteria, r.* FROM unnest(ARRAY['{"sttus": "active"}', '{"Status": "active"}', '{"monthlySpend": 5}', '{"nonsense_of_mine": 1}', '{"plan": "pro"}', '{"$or": [{"status": "active"}, {"$not": {"$nor": [{"emial": null}]}}]}', '{"attribute.x": 1}',
    '{"revision": 5}', '{"has_pools": true}', '{"changes_at": null}', '{"Odd": "x"}', '{"a\\.b": 1}', '{"stätus": 1}',
    '{"status.x": 1}', '{"visits.0": 1}', '{"created_at.year": 1}', '{"vip.x": true}', '{"code.x": 1}',
    '{"usage": {"$exists": true}}', '{"usage.calls": 1}', '{"usage.calls.last_30d.x": 1}', '{"usage.calls.last_30": 1}', '{"usage.calls.yesterday": 1}', '{"usage.calls.lifetime": "5"}', '{"usage.calls.last_7d": {"$size": 1}}',
    '{"entitlements.calls.limits": 1}', '{"entitlements.calls.remainin": 1}', '{"entitlements.calls.limit": "5"}', '{"entitlements.sso.metered": 1}', '{"entitlements.calls.unlimited": "true"}',
    '{"subscriptions.plan_id": "pro"}', '{"subscriptions.0.plam": "pro"}', '{"subscriptions": {"$elemMatch": {"plan_id": "pro"}}}', '{"subscriptions": {"$not": {"$elemMatch": {"status": "active", "pln": "pro"}}}}', '{"$nor": [{"subscriptions": {"$elemMatch": {"$or": [{"status": "active"}, {"stats": 1}]}}}]}',
    '{"subscriptions": {"$elemMatch": {"price": "5"}}}', '{"subscriptions.price": {"$gt": "5"}}', '{"subscriptions": {"$all": [{"$elemMatch": {"plan": 5}}]}}', '{"subscriptions": {"$elemMatch": {"current_period_end": {"$lt": 5}}}}', '{"subscriptions": {"$elemMatch": {"plan": {"$elemMatch": {"x": 1}}}}}',
    '{"subscriptions.plan.x": 1}', '{"subscriptions.0.price.0": 1}', '{"entitlements.calls.used.x": 1}', '{"subscriptions": {"$elemMatch": {"status.x": 1}}}', '{"subscriptions": {"$elemMatch": {"what_is_it": 1}}}', '{"segments": "a"}', '{"segments.0": "a"}', '{"$or": [{"status": "x"}, {"segments": {"$size": 0}}]}']) c, refused(c) r;

-- ---- operands that never match ----
SELECT c AS criteria, r.* FROM unnest(ARRAY['{"visits": "5"}', '{"visits": {"$ne": "5"}}', '{"monthly_spend": {"$gt": "5"}}', '{"ratio": {"$in": [1, "2"]}}', '{"visits": true}', '{"visits": [5]}', '{"visits": {"$date": "now"}}', '{"visits": {"$contains": "5"}}', '{"visits": {"$regex": "5"}}', '{"visits": {"$withinLast": "1d"}}', '{"visits": {"$size": 1}}', '{"visits": {"$elemMatch": {"$eq": 1}}}', '{"visits": {"$vgt": "1"}}',
    '{"status": 5}', '{"status": {"$nin": [5]}}', '{"name": {"$gte": 5}}', '{"name": true}', '{"name": {}}', '{"name": {"$mod": [2, 0]}}', '{"code": 5}', '{"name": {"$not": {"$gt": 5}}}',
    '{"vip": 1}', '{"vip": "true"}', '{"vip": {"$startsWith": "t"}}', '{"vip": {"$withinNext": "1d"}}', '{"vip": {"$mod": [2, 1]}}', '{"created_at": 5}', '{"created_at": {"$gt": true}}', '{"created_at": {"$mod": [2, 0]}}', '{"created_at": {"$all": [{"$elemMatch": {"$eq": "x"}}]}}']) c, refused(c) r;

-- ---- what may be right ----
SELECT c AS criteria, r.* FROM unnest(ARRAY['{}', '{"attributes.anything.at.all": 5}', '{"attributes": {"$exists": true}}', '{"attributes.list": {"$elemMatch": {"nonsense": 1}}}', '{"billing_address.city": "Wien"}', '{"tags": "x"}', '{"tags.0": {"$size": 1}}', '{"mood": 5}', '{"Odd\\.name": "x"}',
    '{"visits": null}', '{"visits": {"$in": [null, 5]}}', '{"visits": {"$type": "string"}}', '{"visits": {"$empty": true}}', '{"vip": {"$ne": null}}', '{"vip": {"$gte": false}}', '{"name": {"$date": "now"}}', '{"created_at": "2026-01-01T00:00:00.000000Z"}', '{"created_at": {"$startsWith": "2026"}}', '{"visits": {"$in": []}}', '{"name": {"$withinLast": "1d"}}', '{"code": "x"}',
    '{"usage.never_heard_of.current_period": 0}', '{"usage.a\\.b.last_90d": {"$gt": 1.5}}', '{"entitlements": {"$exists": true}}', '{"entitlements.calls": null}', '{"entitlements.calls.percent": {"$gte": 80}}', '{"entitlements.tier.value": {"$in": ["gold", 5]}}', '{"entitlements.tier.value.deep.0": 5}', '{"subscriptions": {"$size": 0}}', '{"subscriptions": []}', '{"subscriptions.status": "active"}', '{"subscriptions.1.plan": "pro"}',
    '{"subscriptions": {"$elemMatch": {"plan": "pro", "trial_end": {"$withinNext": "3d"}, "quantity": {"$gt": 1}, "on_trial": true}}}', '{"$comment": "nonsense"}', '{"$inSegment": "kept2", "$comment": "unknown"}']) c, refused(c) r;

-- ---- limits, through the segment ----
SELECT what, (r).message, (r).detail, "all ways" FROM (VALUES
    ('64 KiB', format('{"name": "%s"}', repeat('x', 65536 - 12))), ('and one more', format('{"name": "%s"}', repeat('x', 65536 - 11))),
    ('32 deep', repeat('{"$not": ', 32) || '{"vip": true}' || repeat('}', 32)), ('33 deep', repeat('{"$not": ', 33) || '{"vip": true}' || repeat('}', 33)),
    ('10000 values', format('{"visits": {"$in": [%s]}}', (SELECT string_agg('1', ',') FROM generate_series(1, 10000)))), ('10001 values', format('{"visits": {"$in": [%s]}}', (SELECT string_agg('1', ',') FROM generate_series(1, 10001)))),
    ('32 components', format('{"attributes%s": 1}', repeat('.x', 31))), ('33 components', format('{"attributes%s": 1}', repeat('.x', 32)))) v (what, criteria), LATERAL (SELECT r, r."all ways" FROM refused(criteria) r) x;
SELECT c AS criteria, r.* FROM unnest(ARRAY['[]', '"x"', '5', '{"status": {"$regx": "x"}}', '{"status": {"$regex": "("}}', '{"$or": []}', '{"$status": 1}', '{"created_at": {"$lt": {"$date": "0000-12-31"}}}']) c, refused(c) r;
-- a property that is null is no criteria; a column that holds the JSON null has some
UPDATE svc_customer_segment SET criteria = 'null' WHERE id = 'kept';
SELECT svc_update_segment('kept', '{"criteria": null}');
SELECT automated, criteria IS NULL AS none, criteria_description FROM svc_customer_segment WHERE id = 'kept';

-- ---- segments that depend on others ----
CREATE FUNCTION tried(sql text, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    state := 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
SELECT sql, t.* FROM unnest(ARRAY[
    $$SELECT svc_create_segment('{"id": "own", "name": "x", "criteria": {"$inSegment": "own"}}')$$,
    $$SELECT svc_create_segment('{"id": "own", "name": "x", "criteria": {"$nor": [{"$notInSegment": ["kept", "own"]}]}}')$$,
    $$INSERT INTO svc_customer_segment (id, name, criteria) VALUES ('x', 'x', '{"$inSegment": "unheard"}')$$,
    $$SELECT svc_create_segment('{"id": "a", "name": "A", "criteria": {"status": "active"}}')$$,
    $$SELECT svc_create_segment('{"id": "b", "name": "B", "criteria": {"$inSegment": "a"}}')$$,
    $$SELECT svc_create_segment('{"id": "c", "name": "C", "criteria": {"$or": [{"vip": true}, {"$notInSegment": ["b", "kept"]}]}}')$$,
    $$SELECT svc_create_segment('{"id": "d", "name": "D", "parent_segment_id": "c"}')$$,
    $$SELECT svc_create_segment('{"id": "e", "name": "E", "parent_segment_id": "d", "criteria": {"$inSegment": ["a", "b"]}}')$$,
    $$SELECT svc_update_segment('a', '{"criteria": {"$inSegment": "a"}}')$$,
    $$SELECT svc_update_segment('a', '{"criteria": {"$inSegment": "b"}}')$$,
    $$UPDATE svc_customer_segment SET criteria = '{"$notInSegment": "c"}' WHERE id = 'a'$$,
    $$UPDATE svc_customer_segment SET criteria = '{"$inSegment": "e"}' WHERE id = 'a'$$,
    $$SELECT svc_update_segment('a', '{"parent_segment_id": "e"}')$$,
    $$UPDATE svc_customer_segment SET parent_segment_id = 'd' WHERE id = 'b'$$,
    $$UPDATE svc_customer_segment SET parent_segment_id = 'a' WHERE id = 'a'$$,
    $$SELECT svc_update_segment('a', '{"parent_segment_id": "unheard"}')$$,
    $$SELECT svc_create_segment('{"id": "f", "name": "F", "parent_segment_id": "a", "criteria": {"$inSegment": "a"}}')$$,
    $$SELECT svc_update_segment('a', '{"parent_segment_id": "f", "criteria": null}')$$,
    $$SELECT svc_update_segment('b', '{"criteria": {"status": "active"}}')$$,
    $$UPDATE svc_customer_segment SET criteria = '{"$inSegment": "b"}' WHERE id = 'a'$$,
    -- automated without criteria
    $$SELECT svc_create_segment('{"id": "g", "name": "G", "automated": true}')$$,
    $$INSERT INTO svc_customer_segment (id, name, automated) VALUES ('g', 'G', true)$$,
    $$SELECT svc_update_segment('d', '{"automated": true}')$$,
    $$UPDATE svc_customer_segment SET criteria = NULL, automated = true WHERE id = 'b'$$,
    $$SELECT svc_create_segment('{"id": "g", "name": "G", "automated": false, "criteria": {"vip": "x"}}')$$,
    $$SELECT svc_create_segment('{"id": "g", "name": "G", "automated": false, "criteria": {"vip": true}}')$$,
    $$SELECT svc_preview_segment('{"$inSegment": "unheard"}')$$,
    $$SELECT svc_preview_segment('{"visits": "x"}')$$]) sql, tried(sql) t;
SELECT id, revision, parent_segment_id AS parent, automated, sync_frequency, criteria, criteria_description FROM svc_customer_segment ORDER BY id;

-- ---- in words ----
SELECT svc_create_segment('{"id": "w", "name": "W", "criteria": {"visits": {"$gte": 5}}}'), svc_create_segment('{"id": "own_words", "name": "W", "criteria": {"visits": {"$gte": 5}}, "criteria_description": "The busy ones"}') \g /dev/null
SELECT svc_update_segment('w', '{"criteria": {"vip": true}}'), svc_update_segment('own_words', '{"criteria": {"vip": true}}') \g /dev/null
CREATE VIEW words AS SELECT id, criteria, criteria_description FROM svc_customer_segment WHERE id IN ('w', 'own_words') ORDER BY id DESC;
SELECT * FROM words;
UPDATE svc_customer_segment SET criteria_description = NULL, criteria = '{"visits": 7}' WHERE id = 'own_words';
UPDATE svc_customer_segment SET criteria_description = 'Lucky', criteria = '{"visits": 7}' WHERE id = 'w';
SELECT * FROM words;
SELECT svc_update_segment('w', '{"criteria": {"visits": 8}}'), svc_update_segment('own_words', '{"criteria": null}') \g /dev/null
SELECT * FROM words;
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
