-- Promise: a segment has the members that its criteria, its parent and what was done by
-- hand say: at once in real time, else after a sync; each change with its event.
\pset null ~
\set ON_ERROR_STOP 0
\set SHOW_CONTEXT never
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
CREATE FUNCTION raises(q text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    EXECUTE q;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', sqlstate || ': ' || sqlerrm, detail, hint);
END $$;
CREATE VIEW members AS
SELECT segment_id, string_agg(customer_id, ' ' ORDER BY customer_id) AS customers FROM svc_segment_member GROUP BY segment_id ORDER BY 1;
-- what the segments' rows and events must say, whatever has happened
CREATE VIEW wrong AS
SELECT 'customer_count' AS what, s.id FROM svc_customer_segment s
WHERE customer_count <> (SELECT count(*) FROM svc_segment_member m WHERE m.segment_id = s.id)
UNION ALL SELECT 'not in the parent', s.id FROM svc_customer_segment s JOIN svc_segment_member m ON m.segment_id = s.id
WHERE s.parent_segment_id IS NOT NULL AND NOT EXISTS (SELECT FROM svc_segment_member p WHERE p.segment_id = s.parent_segment_id AND p.customer_id = m.customer_id)
UNION ALL SELECT 'criteria', s.id FROM svc_customer_segment s CROSS JOIN svc_customer c
WHERE s.status = 'active' AND s.automated AND s.sync_frequency = 'realtime' AND c.status NOT IN ('merged', 'deleted')
  AND EXISTS (SELECT FROM svc_segment_member m WHERE m.segment_id = s.id AND m.customer_id = c.id) <>
      (coalesce((SELECT o.included FROM svc_segment_override o WHERE o.segment_id = s.id AND o.customer_id = c.id),
                svc_customer_document(c.id) @~ s.criteria::svc_criteria)
       AND (s.parent_segment_id IS NULL OR EXISTS (SELECT FROM svc_segment_member p WHERE p.segment_id = s.parent_segment_id AND p.customer_id = c.id)))
UNION ALL SELECT 'revision', s.id FROM svc_customer_segment s
WHERE revision <> (SELECT count(*) FROM svc_event e WHERE e.noun = 'customer_segment' AND e.entity_id = s.id)
UNION ALL SELECT 'customerAdded', s.id FROM svc_customer_segment s
WHERE EXISTS (SELECT FROM svc_segment_member m WHERE m.segment_id = s.id
              AND m.customer_id <> ALL (SELECT changes #>> '{customer_id,new}' FROM svc_event e
                                        WHERE e.noun = 'customer_segment' AND e.entity_id = s.id AND e.action = 'addCustomer'))
  AND NOT EXISTS (SELECT FROM svc_event e WHERE e.noun = 'customer_segment' AND e.entity_id = s.id AND e.action = 'sync'
                  AND (e.changes #>> '{added,new}')::int > 100);

-- A success engineer's criteria, right at once
SELECT svc_create_customer(jsonb_build_object('id', 'c' || i, 'name', i::text, 'monthly_spend', i * 100)) FROM generate_series(1, 12) i \g /dev/null
SELECT svc_activate_customer('c' || i) FROM generate_series(1, 11) i \g /dev/null
SELECT svc_create_segment('{"id": "quiet", "name": "Quiet", "criteria": {"status": "active", "monthly_spend": {"$gte": 1000}, "usage.api_calls.last_30d": {"$lt": 10}}}');
SELECT status, revision, automated, sync_frequency, customer_count, criteria_description FROM svc_customer_segment;
TABLE members;
SELECT svc_update_customer('c9', '{"monthly_spend": 1000}'), svc_update_customer('c10', '{"monthly_spend": 999.99}'), svc_activate_customer('c12') \g /dev/null
TABLE members;
SELECT event, action, changes - 'last_synced_at' AS changes FROM svc_event WHERE noun = 'customer_segment' ORDER BY id;
-- usage makes no event: svc_run_due() looks, every svc.segment_refresh
SELECT svc_record_usage('c9', 'api_calls', 10) \g /dev/null
TABLE members;
SELECT done FROM svc_run_due() WHERE task = 'sync segments';
SELECT done FROM svc_run_due(now() + interval '5 minutes') WHERE task = 'sync segments';
TABLE members;
SELECT done FROM svc_run_due(now() + interval '9 minutes') WHERE task = 'sync segments';
SET svc.segment_refresh = 0;
SELECT done FROM svc_run_due(now() + interval '9 minutes') WHERE task = 'sync segments';
RESET svc.segment_refresh;

-- What changes in one transaction is looked at once, at its end, and not before
BEGIN;
SELECT svc_update_customer('c1', '{"monthly_spend": 5000}'), svc_update_customer('c1', '{"monthly_spend": 1}'), svc_update_customer('c2', '{"monthly_spend": 5000}') \g /dev/null
TABLE members;
COMMIT;
TABLE members;
-- or when it is asked for; what a savepoint takes back is looked at again
BEGIN;
SELECT svc_update_customer('c1', '{"monthly_spend": 5000}') \g /dev/null
SAVEPOINT a;
SET CONSTRAINTS ALL IMMEDIATE;
TABLE members;
ROLLBACK TO a;
TABLE members;
SELECT svc_update_customer('c3', '{"monthly_spend": 5000}') \g /dev/null
SAVEPOINT b;
SELECT svc_update_customer('c4', '{"monthly_spend": 5000}') \g /dev/null
ROLLBACK TO b;
COMMIT;
TABLE members;
TABLE wrong;

-- plain SQL, INSERT and COPY, and any change that an event tells
INSERT INTO svc_customer (id, name, status, monthly_spend) SELECT 'p' || i, i, 'active', 2000 FROM generate_series(1, 3) i;
UPDATE svc_customer SET monthly_spend = 1 WHERE id = 'p1';
COPY svc_customer (id, name, status, monthly_spend) FROM stdin;
p4	four	active	3000
p5	five	prospect	3000
\.
TABLE members;
-- entitlements by their status, subscriptions, attributes by key
SELECT svc_create_segment('{"id": "out", "name": "Out of calls", "criteria": {"entitlements.api_calls.remaining": {"$lte": 0}}}'),
       svc_create_segment('{"id": "pro", "name": "Pro", "criteria": {"subscriptions": {"$elemMatch": {"plan": "pro", "status": {"$in": ["trialing", "active"]}}}}}'),
       svc_create_segment('{"id": "beta", "name": "Beta", "criteria": {"attributes.tags": {"$all": ["beta", "eu"]}, "attributes.a\\.b": {"$ne": 1}}}') \g /dev/null
SELECT svc_create_plan('{"id": "pro", "name": "Pro", "price": 10}'), svc_grant_entitlement('c5', 'api_calls', 3, id => 'e5') \g /dev/null
SELECT svc_update_customer('c6', '{"attributes": {"tags": ["eu", "beta"], "n": 1}}'), svc_create_subscription('c7', 'pro', properties => '{"id": "s7"}') \g /dev/null
SELECT allowed FROM svc_consume_entitlement('c5', 'api_calls', 3);
TABLE members;
SELECT svc_update_customer('c6', '{"attributes": {"tags": ["eu", "beta"], "a.b": 1}}'), svc_update_entitlement('c5', 'e5', '{"limit_amount": 4}'),
       svc_cancel_subscription('c7', 's7', at_period_end => false) \g /dev/null
TABLE members;
TABLE wrong;

-- By hand, whatever the criteria say, and a sync does not undo it
SELECT svc_add_segment_customer('quiet', 'c5'), svc_remove_segment_customer('quiet', 'c11'), svc_add_segment_customer('quiet', 'c5');
SELECT svc_sync_segment('quiet'), svc_update_customer('c11', '{"monthly_spend": 7000}') \g /dev/null
SELECT customer_id, segment_id, included FROM svc_segment_override ORDER BY 1, 2;
SELECT segment_id, name, since <= now() AS since, by FROM svc_segments_of('c5');
SELECT segment_id, name, since <= now() AS since, by FROM svc_segments_of('c11');
SELECT segment_id, by FROM svc_segments_of('c3');
SELECT svc_clear_segment_override('quiet', 'c5'), svc_clear_segment_override('quiet', 'c11'), svc_clear_segment_override('quiet', 'c1');
TABLE members;
SELECT count(*) FROM svc_segment_override;
TABLE wrong;

-- A child is within its parent, in real time or not, with criteria or by hand
SELECT svc_create_segment('{"id": "quiet_rich", "name": "Rich", "parent_segment_id": "quiet", "criteria": {"monthly_spend": {"$gte": 2000}}}'),
       svc_create_segment('{"id": "quiet_picked", "name": "Picked", "parent_segment_id": "quiet"}'),
       svc_create_segment('{"id": "quiet_daily", "name": "Daily", "parent_segment_id": "quiet_rich", "sync_frequency": "daily", "criteria": {"name": {"$ne": "none"}}}'),
       svc_create_segment('{"id": "not_quiet", "name": "Not quiet", "criteria": {"$notInSegment": ["quiet", "beta"], "status": "active"}}'),
       svc_add_segment_customer('quiet_picked', 'c11') \g /dev/null
SELECT raises($$SELECT svc_add_segment_customer('quiet_picked', 'c4')$$);
TABLE members;
SELECT svc_update_customer('c11', '{"monthly_spend": 1}') \g /dev/null
TABLE members;
SELECT svc_update_customer('c11', '{"monthly_spend": 2500}') \g /dev/null
TABLE members;
SELECT done FROM svc_run_due(now() + interval '25 hours') WHERE task = 'sync segments';
SELECT svc_remove_segment_customer('quiet', 'c2') \g /dev/null
TABLE members;
TABLE wrong;

-- Other frequencies: svc_run_due(), and svc_sync_segment()
SELECT svc_create_segment('{"id": "w", "name": "Weekly", "sync_frequency": "weekly", "criteria": {"monthly_spend": {"$gte": 6000}}}') \g /dev/null
SELECT svc_update_customer('c8', '{"monthly_spend": 6000}') \g /dev/null
SELECT customers FROM members WHERE segment_id = 'w';
SELECT svc_run_due(now() + interval '167 hours') \g /dev/null
SELECT customers FROM members WHERE segment_id = 'w';
SELECT svc_sync_segment('w', 'by hand');
SELECT customers FROM members WHERE segment_id = 'w';
SELECT customer_count, percent_of_total, total_revenue, avg_revenue, avg_lifetime_value, avg_engagement_score, avg_usage, churn_rate FROM svc_customer_segment WHERE id = 'w';
SELECT changes #>> '{added,new}' AS added, changes #>> '{removed,new}' AS removed, changes #>> '{reason,new}' AS reason FROM svc_event WHERE entity_id = 'w' ORDER BY id DESC LIMIT 1;
SELECT svc_grant_entitlement('c8', 'seats', 8), svc_consume_entitlement('c8', 'seats', 2), svc_churn_customer('c8'), svc_sync_segment('w') \g /dev/null
SELECT avg_usage, churn_rate FROM svc_customer_segment WHERE id = 'w';

-- A generated column changes with those that it is made of
ALTER TABLE svc_customer ADD domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED;
SELECT svc_create_segment('{"id": "acme", "name": "Acme", "criteria": {"domain": "acme.com"}}'), svc_update_customer('c7', '{"email": "c7@acme.com"}') \g /dev/null
SELECT customers FROM members WHERE segment_id = 'acme';
SELECT svc_update_customer('c7', '{"email": "c7@other.com"}'), svc_update_customer('c8', '{"email": "c8@acme.com"}') \g /dev/null
SELECT customers FROM members WHERE segment_id = 'acme';
TABLE wrong;
SELECT svc_archive_segment('acme') \g /dev/null
ALTER TABLE svc_customer DROP domain;

-- Time alone
SELECT svc_create_segment('{"id": "trial", "name": "Trial ends", "criteria": {"trial_ends_at": {"$withinNext": "3d"}}}') \g /dev/null
ALTER TABLE svc_customer ADD trial_ends_at timestamptz;
SELECT svc_create_segment('{"id": "trial", "name": "Trial ends", "criteria": {"trial_ends_at": {"$withinNext": "3d"}}}') \g /dev/null
SELECT svc_update_customer('c1', jsonb_build_object('trial_ends_at', now() + interval '10 days')) \g /dev/null
SELECT customer_id, due_at BETWEEN now() + interval '6 days 23 hours' AND now() + interval '7 days' AS in_7_days FROM svc_segment_timer;
SELECT done FROM svc_run_due(now() + interval '6 days 23 hours') WHERE task = 'ask about segments';
SELECT done FROM svc_run_due(now() + interval '7 days 1 hour') WHERE task = 'ask about segments';
SELECT customers FROM members WHERE segment_id = 'trial';
SELECT done FROM svc_run_due(now() + interval '7 days 1 hour') WHERE task = 'ask about segments';
SELECT done FROM svc_run_due(now() + interval '11 days') WHERE task = 'ask about segments';
SELECT customers FROM members WHERE segment_id = 'trial';
TABLE svc_segment_timer;

-- but not of a segment that is not active; what is left of its timers goes
SELECT svc_create_segment('{"id": "any", "name": "A"}'), svc_add_segment_customer('any', 'c1'),
       svc_create_segment('{"id": "fresh", "name": "F", "parent_segment_id": "any", "criteria": {"created_at": {"$withinLast": "3d"}}}') \g /dev/null
SELECT count(*) FILTER (WHERE customer_id = 'c1') AS of_c1 FROM svc_segment_timer;
SELECT svc_update_segment('fresh', '{"status": "inactive"}'), svc_add_segment_customer('fresh', 'c1') \g /dev/null
SELECT count(*) FROM svc_segment_timer;
INSERT INTO svc_segment_timer VALUES ('c1', 'fresh', now());
SELECT done FROM svc_run_due(now() + interval '4 days') WHERE task = 'ask about segments';
SELECT done FROM svc_run_due(now() + interval '4 days') WHERE task = 'ask about segments';
TABLE svc_segment_timer;
SELECT svc_archive_segment('fresh'), svc_archive_segment('any') \g /dev/null

-- More than 100 changes make one event
SELECT svc_create_customer(jsonb_build_object('id', 'm' || i, 'name', i::text, 'industry', 'mining')) FROM generate_series(1, 300) i \g /dev/null
SELECT svc_create_segment('{"id": "mining", "name": "Mining", "criteria": {"industry": "mining"}}') \g /dev/null
SELECT customer_count, revision FROM svc_customer_segment WHERE id = 'mining';
UPDATE svc_customer SET industry = 'IT' WHERE id LIKE 'm%' AND id <> 'm1';
SELECT event, changes #>> '{added,new}' AS added, changes #>> '{removed,new}' AS removed FROM svc_event WHERE entity_id = 'mining' ORDER BY id;
-- and more than 1000 customers are looked at together
INSERT INTO svc_customer (id, name, industry) SELECT 'n' || i, i, 'mining' FROM generate_series(1, 1500) i;
SELECT customer_count, revision FROM svc_customer_segment WHERE id = 'mining';
SELECT svc_create_segment('{"id": "miners", "name": "Miners", "parent_segment_id": "mining"}'), svc_add_segment_customer('miners', 'n7'), svc_add_segment_customer('miners', 'n8') \g /dev/null
UPDATE svc_customer SET industry = 'IT' WHERE id LIKE 'n%' AND id <> 'n8';
SELECT * FROM members WHERE segment_id IN ('mining', 'miners');
UPDATE svc_customer SET industry = 'mining' WHERE id LIKE 'n%';
SELECT * FROM members WHERE segment_id = 'miners';
UPDATE svc_customer SET industry = 'IT' WHERE id LIKE 'n%' AND id <> 'n8';
TABLE wrong;

-- Changes of a segment fill it at once
SELECT svc_update_segment('w', '{"criteria": {"monthly_spend": {"$gte": 5000}}, "sync_frequency": "realtime"}') \g /dev/null
SELECT customers FROM members WHERE segment_id = 'w';
UPDATE svc_customer_segment SET status = 'inactive' WHERE id = 'w';
SELECT svc_update_customer('c1', '{"monthly_spend": 6000}') \g /dev/null
SELECT customers FROM members WHERE segment_id = 'w';
SELECT raises($$SELECT svc_sync_segment('w')$$);
UPDATE svc_customer_segment SET status = 'active' WHERE id = 'w';
SELECT customers FROM members WHERE segment_id = 'w';
-- who was in by criteria stays in when these go
SELECT svc_update_segment('w', '{"criteria": null}'), svc_sync_segment('w') \g /dev/null
SELECT automated, customer_count, criteria_description FROM svc_customer_segment WHERE id = 'w';
SELECT svc_remove_segment_customer('w', 'c1'), svc_archive_segment('quiet'), svc_update_customer('c9', '{"monthly_spend": 9999}') \g /dev/null
SELECT * FROM members WHERE segment_id IN ('w', 'quiet');
SELECT raises($$SELECT svc_add_segment_customer('quiet', 'c9')$$) UNION ALL SELECT raises($$SELECT svc_clear_segment_override('quiet', 'c9')$$)
UNION ALL SELECT raises($$SELECT svc_sync_segment('nothing')$$) UNION ALL SELECT raises($$SELECT svc_clear_segment_override('nothing', 'c9')$$);
TABLE wrong;

-- Merging and deleting
SELECT svc_add_segment_customer('pro', 'c3'), svc_add_segment_customer('w', 'c3'), svc_remove_segment_customer('beta', 'c3'), svc_merge_customer('c3', 'c4'), svc_delete_customer('c2') \g /dev/null
SELECT segment_id, customers FROM members WHERE customers ~ '\mc[234]\M';
SELECT customer_id, segment_id, included FROM svc_segment_override WHERE customer_id IN ('c2', 'c3', 'c4') ORDER BY 1, 2;
TABLE wrong;

-- Without a segment
SELECT * FROM svc_preview_segment('{"industry": "mining"}', 2);
SELECT * FROM svc_preview_segment('{"$inSegment": "mining"}');
SELECT * FROM svc_preview_segment('{"name": "nobody"}');
SELECT raises($$SELECT svc_preview_segment(NULL)$$) UNION ALL SELECT raises($$SELECT svc_preview_segment('{}', 1001)$$)
UNION ALL SELECT raises($$SELECT svc_preview_segment('{"nmae": 1}')$$) UNION ALL SELECT raises($$SELECT svc_preview_segment('{"$inSegment": "nothing"}')$$);
SELECT * FROM svc_segments_of('nobody');
SELECT raises($$SELECT * FROM svc_segments_of(NULL)$$);

-- Whoever keeps the trigger from firing cannot commit
BEGIN;
SELECT svc_watch_begins();
UPDATE svc_customer SET industry = 'mining' WHERE id = 'c5';
COMMIT;
ALTER TABLE svc_customer DISABLE TRIGGER zzz_svc_watch_update;
UPDATE svc_customer SET industry = 'mining' WHERE id = 'c5';
ALTER TABLE svc_customer ENABLE TRIGGER zzz_svc_watch_update;
SELECT raises('SELECT svc_watch()');

-- At REPEATABLE READ it is the same, but a segment is filled by svc_run_due()
SET default_transaction_isolation = 'repeatable read';
UPDATE svc_customer SET industry = 'mining' WHERE id = 'c5';
SELECT customers FROM members WHERE segment_id = 'mining';
SELECT svc_create_segment('{"id": "rr", "name": "R", "criteria": {"industry": "mining"}}');
SELECT customer_count, last_synced_at FROM svc_customer_segment WHERE id = 'rr';
SELECT raises($$SELECT svc_sync_segment('rr')$$);
-- and one that people fill is pruned, when it gets a parent
SELECT svc_create_segment('{"id": "rr_hand", "name": "H"}'), svc_add_segment_customer('rr_hand', 'c5'), svc_add_segment_customer('rr_hand', 'c6') \g /dev/null
SELECT svc_update_segment('rr_hand', '{"parent_segment_id": "mining"}') \g /dev/null
SELECT done FROM svc_run_due() WHERE task = 'sync segments';
RESET default_transaction_isolation;
SELECT done FROM svc_run_due() WHERE task = 'sync segments';
SELECT * FROM members WHERE segment_id IN ('rr', 'rr_hand');
SELECT done FROM svc_run_due() WHERE task = 'sync segments';
TABLE wrong;

-- With immediate constraints, at the end of each statement, whatever is changed, and however much
SELECT svc_create_segment('{"id": "food", "name": "F", "criteria": {"industry": "food"}}'), svc_create_segment('{"id": "hand", "name": "H"}'),
       svc_create_segment('{"id": "both", "name": "B", "criteria": {"$inSegment": "hand"}, "parent_segment_id": "food"}') \g /dev/null
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
UPDATE svc_customer SET industry = 'food' WHERE id IN ('c6', 'c7', 'c8');
SELECT * FROM members WHERE segment_id IN ('food', 'hand', 'both');
INSERT INTO svc_customer (id, name, industry) SELECT 'f' || i, i, 'food' FROM generate_series(1, 3) i;
SELECT svc_add_segment_customer('hand', 'c6'), svc_add_segment_customer('hand', 'f3') \g /dev/null
SELECT * FROM members WHERE segment_id IN ('food', 'hand', 'both');
SELECT svc_merge_customer('c7', 'f1'), svc_delete_customer('f2') \g /dev/null
UPDATE svc_customer SET industry = 'food' WHERE id LIKE 'n%';
COMMIT;
SELECT customer_count FROM svc_customer_segment WHERE id = 'food';
UPDATE svc_customer SET industry = 'IT' WHERE industry = 'food' AND id LIKE 'n%';
TABLE wrong;

-- However much has changed of however many, no more than 1000 customers are locked
SELECT svc_create_segment('{"id": "named", "name": "N", "criteria": {"name": {"$regex": "^q"}}}') \g /dev/null
UPDATE svc_customer SET attributes = '{}' WHERE id LIKE 'm1__';
BEGIN;
UPDATE svc_customer SET attributes = (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 40) i) WHERE id LIKE 'm1__';
UPDATE svc_customer SET name = 'q' WHERE id LIKE 'n%';
SET CONSTRAINTS ALL IMMEDIATE;
SELECT count(*) <= 1000 AS few FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT customer_count FROM svc_customer_segment WHERE id = 'named';
ROLLBACK;
-- nor by svc_run_due(), all of whose tasks about segments are one transaction; its next run goes on
BEGIN;
SELECT svc_create_segment('{"id": "late", "name": "L", "sync_frequency": "hourly", "criteria": {"industry": "zinc"}}'),
       svc_create_segment('{"id": "newcomers", "name": "N", "criteria": {"created_at": {"$withinLast": "3d"}, "id": {"$startsWith": "n"}}}') \g /dev/null
UPDATE svc_customer SET industry = 'zinc' WHERE id LIKE 'm%' AND status <> 'merged';
COMMIT;
BEGIN;
SELECT task, done FROM svc_run_due(now() + interval '4 days', 17000) WHERE task ~ 'segments';
SELECT count(*) AS taken FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;
SELECT id, customer_count FROM svc_customer_segment WHERE id IN ('late', 'newcomers');
BEGIN;
SELECT task, done FROM svc_run_due(now() + interval '4 days', 17000) WHERE task ~ 'segments';
SELECT count(*) AS taken FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;
SELECT id, customer_count FROM svc_customer_segment WHERE id IN ('late', 'newcomers');
SELECT svc_archive_segment('newcomers') \g /dev/null

-- A segment that is restored is followed at once, too, by who has just followed the others
UPDATE svc_customer SET industry = 'paper' WHERE id = 'c6';
COPY svc_customer_segment (id, name, revision, created_at, updated_at, automated, sync_frequency, criteria, last_synced_at) FROM stdin;
back	Back	1	2026-01-01	2026-01-01	t	realtime	{"industry": "textiles"}	2026-01-01
\.
UPDATE svc_customer SET industry = 'textiles' WHERE id = 'c6';
SELECT customers FROM members WHERE segment_id = 'back';

-- and if nobody can read its criteria, the others are followed, and it may be corrected
COPY svc_customer_segment (id, name, revision, created_at, updated_at, automated, sync_frequency, criteria, last_synced_at) FROM stdin;
bad	Bad	1	2026-01-01	2026-01-01	t	realtime	{"industry": {"$regx": "t"}}	2026-01-01
\.
UPDATE svc_customer SET industry = 'textiles' WHERE id = 'c8';
UPDATE svc_customer SET industry = 'textiles' WHERE id = 'p1';
SELECT * FROM members WHERE segment_id IN ('back', 'bad');
-- nor does one of them keep svc_run_due() from the others
COPY svc_customer_segment (id, name, revision, created_at, updated_at, automated, sync_frequency, criteria, last_synced_at) FROM stdin;
bad_daily	Bad	1	2026-01-01	2026-01-01	t	daily	{"industry": {"$regx": "t"}}	\N
good_daily	Good	1	2026-01-01	2026-01-01	t	daily	{"industry": "textiles"}	\N
\.
SELECT task, done FROM svc_run_due(now(), 1) WHERE task IN ('sync segments', 'failed');
SELECT * FROM members WHERE segment_id = 'good_daily';
SELECT svc_update_segment('bad_daily', '{"criteria": null}') \g /dev/null
SELECT svc_update_segment('bad', '{"criteria": {"industry": {"$regex": "t"}}}') \g /dev/null
SELECT * FROM members WHERE segment_id IN ('back', 'bad');

-- a sync that fails is told, and keeps no other back
SELECT svc_create_segment('{"id": "refused", "name": "R", "sync_frequency": "hourly", "criteria": {"company": "Refused"}}'), svc_create_customer('{"id": "refused", "name": "r", "company": "Refused"}') \g /dev/null
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.segment_id = 'refused' THEN RAISE 'no'; END IF; RETURN NEW; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON svc_segment_member FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT done > 0 AS failed FROM svc_run_due(now() + interval '2 hours') WHERE task = 'failed';
DROP TRIGGER refuse ON svc_segment_member;
-- a trigger that has the segments read anew while they are being followed
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SET search_path = svc AS $$
BEGIN
    IF pg_trigger_depth() < 3 THEN
        UPDATE svc_customer_segment SET criteria = criteria || '{"$comment": "again"}' WHERE id = 'meddled';
        PERFORM svc_run_due(now() + interval '3 hours');
    END IF;
    RETURN NULL;
END$$;
SELECT svc_create_segment('{"id": "meddled", "name": "M", "criteria": {"company": "Meddled"}}') \g /dev/null
SELECT svc_create_segment(jsonb_build_object('id', 'm' || n, 'name', 'M', 'criteria', '{"company": "Meddled"}'::jsonb)) FROM generate_series(1, 30) n \g /dev/null
CREATE TRIGGER meddle AFTER UPDATE ON svc_customer_segment FOR EACH ROW WHEN (OLD.customer_count <> NEW.customer_count) EXECUTE FUNCTION meddle();
UPDATE svc_customer SET company = 'Meddled' WHERE id = 'refused';
DROP TRIGGER meddle ON svc_customer_segment;
SELECT count(*) AS meddled FROM svc_segment_member WHERE customer_id = 'refused' AND segment_id ~ '^m(eddled|[0-9]+)$';
-- an instant that is not the present, for parallel workers, too
INSERT INTO svc_customer (id, name, attributes) SELECT 'seen' || n, 's', jsonb_build_object('seen', now()) FROM generate_series(1, 2000) n;
SELECT svc_create_segment('{"id": "seen", "name": "S", "sync_frequency": "hourly", "criteria": {"attributes.seen": {"$withinLast": "365d"}}}') \g /dev/null
SELECT customer_count FROM svc_customer_segment WHERE id = 'seen';
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT done > 0 AS synced FROM svc_run_due(now() + interval '800 days') WHERE task = 'sync segments';
SELECT customer_count FROM svc_customer_segment WHERE id = 'seen';

-- Dump and restore of criteria: the text is the value
SELECT bool_and(criteria::svc_criteria::text::svc_criteria = criteria::svc_criteria) FROM svc_customer_segment;

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
