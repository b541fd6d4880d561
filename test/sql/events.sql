-- Promise: every event of every noun can occur, and tells what happened: the
-- old and the new value of each column that changed, and of nothing else,
-- instants in UTC, long values cut, with the note that the action has left.
-- What happens beside a change of status has a row and a revision of its own.
\set SHOW_CONTEXT never
\pset null ~
\pset format unaligned
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET client_min_messages = warning;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SET TimeZone = 'UTC';
CREATE TEMP TABLE csv (line int GENERATED ALWAYS AS IDENTITY, noun text, action text,
                       from_status text, to_status text, events text, origin text, guard text);
\getenv dir PG_ABS_SRCDIR
\set file :dir '/data/transitions.csv'
COPY csv (noun, action, from_status, to_status, events, origin, guard)
FROM :'file' WITH (FORMAT csv, HEADER true);

-- the test's own record of each UPDATE, to compare with
CREATE TABLE seen (noun text, customer_id text, id text, revision bigint, old jsonb, new jsonb);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE o jsonb := to_jsonb(OLD); n jsonb := to_jsonb(NEW);
BEGIN
    INSERT INTO svc.seen VALUES (TG_ARGV[0], coalesce(n ->> 'customer_id', ''), n ->> 'id', (o ->> 'revision')::bigint + 1, o, n);
    RETURN NULL;
END $$;
DO $$
DECLARE n text;
BEGIN
    FOR n IN SELECT DISTINCT noun FROM csv LOOP
        EXECUTE format('CREATE TRIGGER see AFTER UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION see(%L)', 'svc_' || n, n);
    END LOOP;
END $$;
-- the log; instants of this run are shown as (now)
CREATE FUNCTION log_of(of_noun text, of_id text)
RETURNS TABLE (revision bigint, event text, action text, from_status text, to_status text, changes jsonb) LANGUAGE sql AS $$
    SELECT revision, event, action, from_status, to_status,
           regexp_replace(changes::text, '"20(2[5-9]|[3-9]\d)-[-0-9T:.]*\+00:00"', '"(now)"', 'g')::jsonb
    FROM svc_event WHERE noun = of_noun AND entity_id = of_id ORDER BY revision
$$;

-- customers
SELECT svc_create_customer('{"id": "c1", "name": "Ada"}'), svc_create_customer('{"id": "c2", "name": "Bob"}'),
       svc_create_customer('{"id": "c3", "name": "Eve"}') \g /dev/null
SELECT svc_activate_customer('c1', 'signed');
SELECT svc_update_customer('c1', '{"risk_level": "high", "monthly_spend": 0.10}');
SELECT svc_suspend_customer('c1', reason => 'unpaid'), svc_reactivate_customer('c1'), svc_churn_customer('c1'), svc_reactivate_customer('c1');
SELECT svc_merge_customer('c2', 'c1');
SELECT svc_delete_customer('c3', reason => 'is not kept');
SELECT * FROM log_of('customer', 'c1');
SELECT * FROM log_of('customer', 'c2');
SELECT * FROM log_of('customer', 'c3');

-- plans
SELECT svc_create_plan('{"id": "p1", "name": "Basic", "price": 10, "features": ["a"]}'), svc_create_plan('{"id": "p2", "name": "Pro", "price": 20}'),
       svc_create_plan('{"id": "p3", "name": "Trial", "price": 5}') \g /dev/null
SELECT svc_update_plan('p1', '{"name": "Base", "features": ["a", "b, c"]}'), svc_update_pricing_plan('p1', '{"price": 12.50, "currency": "EUR"}'),
       svc_hide_plan('p1'), svc_activate_plan('p1'), svc_discontinue_plan('p1', 'replaced');
SELECT * FROM log_of('plan', 'p1');

-- subscriptions
SELECT svc_create_subscription('c1', 'p3', trial_days => 14, properties => '{"id": "s1", "price": 10}', at => '2040-01-01Z'),
       svc_create_subscription('c1', 'p3', allow_duplicate => true, properties => '{"id": "s2", "price": 10, "status": "trialing"}'),
       svc_create_subscription('c1', 'p3', allow_duplicate => true, properties => '{"id": "s3", "price": 10}') \g /dev/null
SELECT svc_expire_subscription('c1', 's2'), svc_expire_subscription('c1', 's3', 'dunned');
SELECT svc_activate_subscription('c1', 's1', at => '2040-01-10Z'), svc_upgrade_subscription('c1', 's1', 'p2', at => '2040-01-11Z'),
       svc_downgrade_subscription('c1', 's1', 'p2', 15, at => '2040-01-12Z'),
       svc_renew_subscription('c1', 's1', at => '2040-01-13Z'), svc_mark_past_due_subscription('c1', 's1', at => '2040-02-13Z'),
       svc_activate_subscription('c1', 's1', at => '2040-02-14Z'), svc_pause_subscription('c1', 's1', at => '2040-02-15Z'),
       svc_resume_subscription('c1', 's1', at => '2040-02-16Z'), svc_update_subscription('c1', 's1', '{"cancel_at_period_end": true}', at => '2040-02-17Z'),
       svc_cancel_subscription('c1', 's1', reason => 'too dear', at => '2040-02-18Z');
SELECT * FROM log_of('subscription', 's1');
SELECT * FROM log_of('subscription', 's2');
SELECT * FROM log_of('subscription', 's3');

-- orders
SELECT svc_create_order('c1', '{"id": "o1", "subtotal": 10, "tax": 1}') \g /dev/null
SELECT svc_update_order('c1', 'o1', '{"discount": 1, "total": 10, "line_items": [{"text": "x"}]}'), svc_confirm_order('c1', 'o1'), svc_process_order('c1', 'o1'),
       svc_start_order('c1', 'o1'), svc_review_order('c1', 'o1'), svc_start_order('c1', 'o1', 'rework'), svc_complete_order('c1', 'o1'),
       svc_deliver_order('c1', 'o1'), svc_refund_order('c1', 'o1');
SELECT svc_create_order('c1', '{"id": "o2", "total": 1}'), svc_cancel_order('c1', 'o2') \g /dev/null
SELECT * FROM log_of('order', 'o1');
SELECT * FROM log_of('order', 'o2');

-- invoices
SELECT svc_create_invoice('c1', '{"id": "i1", "total": 10}'), svc_create_invoice('c1', '{"id": "i2", "total": 1}') \g /dev/null
SELECT svc_update_invoice('c1', 'i1', '{"total": 12.0, "due_date": "2040-02-01Z"}'), svc_finalize_invoice('c1', 'i1'), svc_send_invoice('c1', 'i1', 'ada@example.com'),
       svc_pay_invoice('c1', 'i1', 2), svc_mark_overdue_invoice('c1', 'i1', at => '2040-02-01Z'), svc_pay_invoice('c1', 'i1', 2.50, 'by cheque'),
       svc_mark_uncollectible_invoice('c1', 'i1'), svc_pay_invoice('c1', 'i1'), svc_refund_invoice('c1', 'i1', 5, 'goodwill'), svc_void_invoice('c1', 'i2', 'mistake');
SELECT * FROM log_of('invoice', 'i1');
SELECT * FROM log_of('invoice', 'i2');

-- tickets
SELECT svc_create_ticket('c1', '{"id": "t1", "subject": "s", "sla_target": "2020-01-01Z"}') \g /dev/null
SELECT svc_update_ticket('c1', 't1', '{"tags": ["x"], "ai_handled": true, "ai_confidence": 0.5}'), svc_assign_ticket('c1', 't1', 'agent', 'team'),
       svc_respond_ticket('c1', 't1'), svc_respond_ticket('c1', 't1', 'customer', reason => 'answered'), svc_respond_ticket('c1', 't1', hold => true),
       svc_escalate_ticket('c1', 't1'), svc_solve_ticket('c1', 't1', 'done', 'fixed'), svc_rate_ticket('c1', 't1', 4.5, 'fine'),
       svc_close_ticket('c1', 't1'), svc_reopen_ticket('c1', 't1');
SELECT * FROM log_of('support_ticket', 't1');

-- entitlements, with their side events
SELECT svc_grant_entitlement('c1', 'calls', 5, id => 'e1', alert_percents => '{80}') \g /dev/null
SELECT consumed, remaining FROM svc_consume_entitlement('c1', 'calls', 2);
SET svc.consumed_events = on;
SELECT consumed, remaining FROM svc_consume_entitlement('c1', 'calls', 1);
SELECT consumed, remaining FROM svc_consume_entitlement('c1', 'calls', 2);
SET svc.consumed_events = off;
SELECT svc_reset_entitlement('c1', 'e1', reason => 'new month'), svc_suspend_entitlement('c1', 'e1'), svc_resume_entitlement('c1', 'e1'),
       svc_update_entitlement('c1', 'e1', '{"limit_amount": 0, "value": {"a": 1}}');
SELECT svc_update_entitlement('c1', 'e1', '{"limit_amount": 9, "valid_until": "2020-01-01Z"}'), svc_expire_entitlement('c1', 'e1'), svc_revoke_entitlement('c1', 'e1', 'abuse');
SELECT revision, event, action, from_status, to_status, changes FROM log_of('entitlement', 'e1');

-- usage and its roll-ups
INSERT INTO svc_usage (customer_id, id, resource, quantity) VALUES ('c1', 'u1', 'calls', 1);
SELECT count(*) AS quiet FROM svc_event WHERE entity_id = 'u1';
SELECT svc_adjust_usage('c1', 'u1', 1, 'miscounted');
UPDATE svc_usage SET status = 'aggregated' WHERE id = 'u1';
SELECT svc_bill_usage('c1', 'u1', 'i1'),
       svc_dispute_usage('c1', 'u1', 'not mine'), svc_adjust_usage('c1', 'u1', -1);
SELECT * FROM log_of('usage', 'u1');
SET svc.consumed_events = on;
INSERT INTO svc_usage (customer_id, id, resource, quantity) VALUES ('c1', 'u2', 'calls', 1);
SELECT * FROM log_of('usage', 'u2');
SET svc.consumed_events = off;
SELECT svc_record_customer_usage('c1', '{"id": "r1", "period_type": "day", "period_start": "2020-01-01Z", "period_end": "2020-01-02Z", "api_calls": 1}') \g /dev/null
SELECT svc_record_customer_usage('c1', '{"period_type": "day", "period_start": "2020-01-01Z", "api_calls": 2}') AS quiet;
SELECT svc_aggregate_customer_usage('c1', 'r1');
SELECT svc_record_customer_usage('c1', '{"period_type": "day", "period_start": "2020-01-01Z", "api_calls": 3}') AS late;
SELECT svc_aggregate_customer_usage('c1', 'r1'), svc_finalize_customer_usage('c1', 'r1', 'billed');
SELECT * FROM log_of('customer_usage', 'r1');

-- segments: the customer is named
SELECT svc_create_segment('{"id": "g1", "name": "VIP"}') \g /dev/null
SELECT svc_update_segment('g1', '{"name": "Very important", "criteria": {"country": "DE"}}'), svc_add_segment_customer('g1', 'c1'), svc_add_segment_customer('g1', 'c1');
SELECT svc_sync_segment('g1', 'monthly'), svc_remove_segment_customer('g1', 'c1'), svc_remove_segment_customer('g1', 'c1'), svc_archive_segment('g1');
SELECT * FROM log_of('customer_segment', 'g1');

-- every event has its type in snake_case, its customer and its transaction
SELECT DISTINCT noun, event, type FROM svc_event
WHERE type <> 'svc.' || noun || '.' || lower(regexp_replace(event, '([A-Z])', '_\1', 'g'))
   OR customer_id <> CASE WHEN noun IN ('plan', 'customer_segment') THEN '' WHEN noun = 'customer' THEN entity_id ELSE 'c1' END;
-- revisions run 1, 2, 3 ... for each row, and the statuses follow each other
SELECT noun, entity_id, revision, from_status, previous FROM (
    SELECT noun, entity_id, revision, from_status, event, lag(to_status) OVER w AS previous, row_number() OVER w AS n
    FROM svc_event WHERE NOT (noun = 'usage') WINDOW w AS (PARTITION BY noun, customer_id, entity_id ORDER BY revision)) e
WHERE n <> revision OR from_status IS DISTINCT FROM previous;

-- For every UPDATE that had an event: its changes are exactly the columns that
-- changed. Differences: none.
SELECT e.noun, e.entity_id, e.revision, e.event, k.key, s.old -> k.key AS old, s.new -> k.key AS new, e.changes -> k.key AS told
FROM seen s
JOIN svc_event e ON e.noun = s.noun AND e.entity_id = s.id AND e.revision = s.revision AND (s.new ->> 'revision')::bigint >= e.revision
CROSS JOIN LATERAL (SELECT key FROM jsonb_object_keys(s.old) a (key)
                    UNION SELECT key FROM jsonb_object_keys(e.changes) b (key)) k
WHERE CASE
      -- notes
      WHEN NOT s.old ? k.key THEN k.key NOT IN ('reason', 'customer_id', 'responded_by', 'merged_from', 'added', 'removed')
      WHEN k.key = 'customer_id' AND s.noun <> 'customer_segment' THEN e.changes ? k.key
      -- a note may be named as a column, too: the reason of an adjustment
      WHEN s.noun = 'usage' AND k.key = 'reason' THEN false
      WHEN s.old -> k.key IS NOT DISTINCT FROM s.new -> k.key OR k.key IN ('revision', 'updated_at', 'due_at', 'dunned_until', 'usage_this_period', 'terms')
           OR e.event = 'deleted' AND k.key IN ('name', 'attributes')
      THEN e.changes ? k.key
      -- arrays are told as text
      WHEN jsonb_typeof(s.new -> k.key) = 'array' AND s.noun <> 'order' THEN NOT e.changes ? k.key
      ELSE e.changes -> k.key IS DISTINCT FROM jsonb_build_object('old', s.old -> k.key, 'new', s.new -> k.key)
      END
ORDER BY 1, 2, 3;
SELECT count(*) > 60 AS many FROM seen s JOIN svc_event e ON e.noun = s.noun AND e.entity_id = s.id AND e.revision = s.revision;
-- and what had none has changed counters only
SELECT s.noun, s.id, k.key FROM seen s CROSS JOIN LATERAL jsonb_object_keys(s.old) k (key)
WHERE (s.old ->> 'revision') = (s.new ->> 'revision') AND s.old -> k.key <> s.new -> k.key
  AND k.key NOT IN ('updated_at', 'used_amount', 'remaining_amount', 'usage_percent', 'ledger_seq', 'api_calls', 'changes_at', 'has_pools');

-- a reason is kept with the event of every action that takes one: those of
-- the calls above that gave one and whose event has none
SELECT r FROM unnest(ARRAY['signed', 'unpaid', 'replaced', 'too dear', 'dunned', 'rework', 'by cheque', 'goodwill',
    'mistake', 'answered', 'new month', 'abuse', 'miscounted', 'not mine', 'billed', 'monthly']) r
WHERE NOT EXISTS (SELECT FROM svc_event WHERE changes -> 'reason' ->> 'new' = r);

-- long values are cut at 200 bytes, not within a character; at 200 they are not
SELECT svc_create_order('c1', '{"id": "long", "total": 1}') \g /dev/null
SELECT svc_update_order('c1', 'long', jsonb_build_object('description', repeat('x', 200), 'notes', repeat('x', 201),
    'delivery_method', 'x' || repeat('ü', 100), 'requirements', jsonb_build_object('a', repeat('y', 191)), 'line_items', jsonb_build_object('a', repeat('y', 192)))) \g /dev/null
SELECT k AS column, jsonb_typeof(changes -> k -> 'new') AS type, octet_length(changes -> k ->> 'new') AS bytes,
       right(changes -> k ->> 'new', 5) AS ends
FROM svc_event, unnest(ARRAY['description', 'notes', 'delivery_method', 'requirements', 'line_items']) k
WHERE entity_id = 'long' AND revision = 2 ORDER BY k;
SELECT svc_cancel_order('c1', 'long', repeat('z', 1000)) \g /dev/null
SELECT octet_length(changes -> 'reason' ->> 'new') AS reason FROM svc_event WHERE entity_id = 'long' AND revision = 3;

-- instants are UTC whatever the session's time zone and date style are
SET TimeZone = 'Asia/Kolkata';
SET DateStyle = 'German';
SELECT svc_create_ticket('c1', '{"id": "tz", "subject": "s", "sla_target": "2020-06-01T12:00:00Z"}') \g /dev/null
UPDATE svc_support_ticket SET sla_target = '2020-07-01 00:00:00.123456+02' WHERE id = 'tz';
SET TimeZone = 'America/New_York';
UPDATE svc_support_ticket SET sla_target = 'infinity' WHERE id = 'tz';
UPDATE svc_support_ticket SET sla_target = NULL WHERE id = 'tz';
SELECT changes FROM log_of('support_ticket', 'tz') WHERE revision > 1;
RESET DateStyle;
SET TimeZone = 'UTC';

-- strings with everything in them
SELECT svc_update_customer('c1', jsonb_build_object('name', E'"quoted" \\ \n\t\u0001 {"a": 1} é 😀')) \g /dev/null
SELECT changes -> 'name' ->> 'new' = (SELECT name FROM svc_customer WHERE id = 'c1') AS same FROM svc_event
WHERE noun = 'customer' AND entity_id = 'c1' ORDER BY revision DESC LIMIT 1;

-- a call that does nothing and one that is rolled back leave no event
SELECT max(id) AS last_event FROM svc_event \gset
SELECT svc_update_customer('c1', '{}'), svc_update_customer('c1', '{"country": null}'), svc_cancel_order('c1', 'long', 'again');
BEGIN;
SELECT svc_suspend_customer('c1') \g /dev/null
ROLLBACK;
SELECT count(*) AS events FROM svc_event WHERE id > :last_event;

-- events of the table that have not occurred here: none
SELECT DISTINCT noun, e AS event FROM csv, unnest(string_to_array(events, '+')) e
EXCEPT SELECT noun, event FROM svc_event;
-- and the other way round
SELECT noun, event FROM svc_event
EXCEPT SELECT noun, e FROM csv, unnest(string_to_array(events, '+')) e;

DROP SCHEMA svc CASCADE;
