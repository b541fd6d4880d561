-- Promise: merging loses and doubles nothing: every row of the loser is the
-- survivor's afterwards, under its old id or with the suffix ~loser, what
-- refers to it follows, and the sums of ledger and usage are what they were.
-- Deleting leaves a tombstone that tells nothing about who it was.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
-- what users have added to our tables
ALTER TABLE svc_order ADD COLUMN shop text, ADD COLUMN twice numeric GENERATED ALWAYS AS (total * 2) STORED,
                      ADD COLUMN "Serial No" bigint GENERATED ALWAYS AS IDENTITY;
ALTER TABLE svc_entitlement_ledger ADD COLUMN cost_center text DEFAULT 'x';

SELECT svc_create_plan('{"id": "basic", "name": "Basic", "price": 10}'),
       svc_create_segment('{"id": "vip", "name": "VIP", "priority": 5}'),
       svc_create_segment('{"id": "both", "name": "Both"}'),
       svc_create_segment('{"id": "old", "name": "Old"}') \g /dev/null
-- a customer with a row in every table, under ids that every customer has
CREATE PROCEDURE make_customer(c text, amount numeric) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM svc_create_customer(jsonb_build_object('id', c, 'name', c, 'status', 'active', 'lifetime_value', amount, 'created_at', '2019-01-01Z'));
    PERFORM svc_create_subscription(c, 'basic', properties => '{"id": "x", "price": 10}');
    PERFORM svc_create_order(c, jsonb_build_object('id', 'x', 'total', amount, 'shop', 'shop of ' || c));
    PERFORM svc_create_order(c, jsonb_build_object('id', 'order of ' || c, 'total', amount));
    PERFORM svc_create_invoice(c, jsonb_build_object('id', 'x', 'total', amount, 'subscription_id', 'x', 'order_id', 'order of ' || c));
    PERFORM svc_create_invoice(c, jsonb_build_object('id', 'invoice of ' || c, 'total', amount, 'order_id', 'x'));
    PERFORM svc_finalize_invoice(c, 'x'), svc_pay_invoice(c, 'x', amount - 1);
    PERFORM svc_grant_entitlement(c, 'calls', 100, id => 'x', subscription_id => 'x', plan_id => 'basic');
    PERFORM svc_grant_entitlement(c, 'calls', 100, id => 'grant of ' || c);
    -- split over both grants, and in one
    PERFORM svc_consume_entitlement(c, 'calls', 100 + amount, 'key');
    PERFORM svc_consume_entitlement(c, 'calls', 1, 'key of ' || c);
    PERFORM svc_consume_entitlement(c, 'calls', 1);
    PERFORM svc_create_ticket(c, jsonb_build_object('id', 'x', 'subject', 'help ' || c));
    INSERT INTO svc_usage (customer_id, id, resource, quantity, subscription_id, invoice_id, idempotency_key, occurred_at)
    VALUES (c, 'x', 'calls', amount, 'x', 'x', 'key', '2020-01-01Z');
    PERFORM svc_record_usage(c, 'calls', 1, '2020-01-02Z', 'key of ' || c);
    INSERT INTO svc_usage (customer_id, id, resource, quantity, adjusts_id, occurred_at)
    VALUES (c, 'correction of ' || c, 'calls', -1, 'x', '2020-01-01Z');
END $$;
-- the sums that merging must not change
CREATE TEMP VIEW sums AS
SELECT (SELECT count(*) FROM svc_subscription) AS subscriptions,
       (SELECT count(*) || ' ' || sum(total) FROM svc_order) AS orders,
       (SELECT count(*) || ' ' || sum(total) || ' ' || sum(amount_paid) || ' ' || sum(amount_due) FROM svc_invoice) AS invoices,
       (SELECT count(*) || ' ' || sum(limit_amount) || ' ' || sum(used_amount) FROM svc_entitlement) AS grants,
       (SELECT count(*) || ' ' || sum(amount) FROM svc_entitlement_ledger) AS ledger,
       (SELECT count(*) || ' ' || sum(quantity) FROM svc_usage) AS usage,
       (SELECT sum(api_calls) || ' ' || sum(estimated_cost) || ' ' || coalesce(sum((usage_by_resource ->> 'gpu')::numeric), 0)
        FROM svc_customer_usage) AS rollups,
       (SELECT count(*) FROM svc_support_ticket) AS tickets;
-- what must hold at any time: no rows
CREATE TEMP VIEW broken AS
SELECT 'used_amount is not the sum of the ledger' AS what, e.customer_id, e.id
FROM svc_entitlement e LEFT JOIN svc_entitlement_ledger l ON (l.customer_id, l.entitlement_id) = (e.customer_id, e.id)
GROUP BY e.customer_id, e.id
HAVING e.used_amount <> coalesce(sum(l.amount), 0) OR e.ledger_seq <> count(l) OR e.ledger_seq <> coalesce(max(l.seq), 0)
UNION ALL
SELECT 'ledger without grant', l.customer_id, l.entitlement_id FROM svc_entitlement_ledger l
WHERE NOT EXISTS (SELECT FROM svc_entitlement e WHERE (e.customer_id, e.id) = (l.customer_id, l.entitlement_id))
UNION ALL
SELECT 'customer_count', NULL, s.id FROM svc_customer_segment s
WHERE customer_count <> (SELECT count(*) FROM svc_segment_member m WHERE m.segment_id = s.id)
UNION ALL
SELECT 'revision is not that of the last event', c.id, 'customer' FROM svc_customer c
WHERE revision <> (SELECT max(e.revision) FROM svc_event e WHERE e.noun = 'customer' AND e.entity_id = c.id)
UNION ALL
SELECT 'member of a segment', m.customer_id, m.segment_id FROM svc_segment_member m
JOIN svc_customer c ON c.id = m.customer_id JOIN svc_customer_segment s ON s.id = m.segment_id
WHERE c.status = 'merged' AND s.status <> 'archived';
CREATE TEMP VIEW rows_of AS
          SELECT customer_id, 'subscription' AS noun, id FROM svc_subscription
UNION ALL SELECT customer_id, 'order', id FROM svc_order UNION ALL SELECT customer_id, 'invoice', id FROM svc_invoice
UNION ALL SELECT customer_id, 'entitlement', id FROM svc_entitlement
UNION ALL SELECT customer_id, 'ledger of ' || entitlement_id, coalesce(idempotency_key, '-') FROM svc_entitlement_ledger
UNION ALL SELECT customer_id, 'customer_usage', id FROM svc_customer_usage
UNION ALL SELECT customer_id, 'usage', id FROM svc_usage WHERE id !~ '^usg_' UNION ALL SELECT customer_id, 'usage', 'generated' FROM svc_usage WHERE id ~ '^usg_'
UNION ALL SELECT customer_id, 'ticket', id FROM svc_support_ticket
UNION ALL SELECT customer_id, 'member', segment_id FROM svc_segment_member;

CALL make_customer('a', 10);
CALL make_customer('b', 20);
CALL make_customer('c', 30);
UPDATE svc_customer SET first_purchase_at = '2019-01-01Z', last_activity_at = '2021-01-01Z' WHERE id = 'a';
UPDATE svc_customer SET first_purchase_at = '2020-01-01Z', last_activity_at = '2020-01-01Z' WHERE id = 'b';
ALTER TABLE svc_entitlement_ledger ALTER COLUMN cost_center DROP DEFAULT;
SELECT svc_add_segment_customer('vip', 'a'), svc_add_segment_customer('both', 'a'), svc_add_segment_customer('both', 'b'),
       svc_add_segment_customer('old', 'a'), svc_archive_segment('old') \g /dev/null
SELECT "Serial No" AS serial FROM svc_order WHERE customer_id = 'a' AND id = 'x' \gset
SELECT max(id) AS last_event FROM svc_event \gset

-- roll-ups: both have one of the period (partial, complete); one is the
-- loser's alone; finalized ones of either side
INSERT INTO svc_customer_usage (customer_id, id, period_type, period_start, period_end, api_calls, estimated_cost, usage_by_resource, status, revision, created_at, updated_at)
SELECT c, v.id, 'day', (d || 'Z')::timestamptz, (d || 'Z')::timestamptz + interval '24 hours', calls, cost, by_resource::jsonb, v.status, 2, 'epoch', 'epoch'
FROM (VALUES
    ('a', 'both partial', '2020-01-01', 1, NULL, '{"gpu": 1, "tpu": 2}', 'partial'),
    ('b', 'both partial', '2020-01-01', 10, 5.5, '{"gpu": 4}', 'partial'),
    ('a', 'loser complete', '2020-01-02', 2, 1, NULL, 'complete'),
    ('b', 'survivor complete', '2020-01-02', NULL, 2, '{"gpu": 7}', 'complete'),
    ('a', 'of the loser', '2020-01-03', 3, 1, '{"gpu": 1}', 'complete'),
    ('a', 'loser finalized', '2020-01-04', 4, 1, NULL, 'finalized'),
    ('b', 'not finalized', '2020-01-04', 40, 1, NULL, 'complete'),
    ('a', 'not finalized', '2020-01-05', 5, 1, NULL, 'complete'),
    ('b', 'survivor finalized', '2020-01-05', 50, 1, NULL, 'finalized'),
    ('a', 'alone finalized', '2020-01-06', 6, 1, NULL, 'finalized'),
    ('b', 'both partial of b', '2020-01-07', 7, 1, NULL, 'partial')) v (c, id, d, calls, cost, by_resource, status);
-- the same id for different periods
INSERT INTO svc_customer_usage (customer_id, id, period_type, period_start, period_end, api_calls)
VALUES ('a', 'same id', 'month', '2020-01-01Z', '2020-02-01Z', 1), ('b', 'same id', 'month', '2020-02-01Z', '2020-03-01Z', 2);

SELECT customer_id, count(*) FROM rows_of GROUP BY 1 ORDER BY 1;
SELECT * FROM sums;
CREATE TEMP TABLE sums_before AS SELECT * FROM sums;
CREATE TEMP TABLE orders_before AS SELECT * FROM svc_order;
SELECT * FROM broken;

SELECT svc_merge_customer('a', 'b');
SELECT * FROM sums EXCEPT SELECT * FROM sums_before;
SELECT * FROM broken;
-- the loser keeps what is finalized, what cannot be added, and archived places
SELECT * FROM rows_of WHERE customer_id = 'a' ORDER BY noun COLLATE "C", id COLLATE "C";
SELECT noun, id FROM rows_of WHERE customer_id = 'b' ORDER BY noun COLLATE "C", id COLLATE "C";
-- references follow
SELECT i.id, i.subscription_id, i.order_id, o.shop FROM svc_invoice i LEFT JOIN svc_order o ON (o.customer_id, o.id) = (i.customer_id, i.order_id)
WHERE i.customer_id = 'b' ORDER BY i.id COLLATE "C";
SELECT id, subscription_id, plan_id, used_amount, remaining_amount, status FROM svc_entitlement WHERE customer_id = 'b' ORDER BY id COLLATE "C";
SELECT id, subscription_id, invoice_id, adjusts_id, idempotency_key, quantity FROM svc_usage
WHERE customer_id = 'b' AND id !~ '^usg_' ORDER BY id COLLATE "C";
-- users' columns, too
SELECT id, shop, twice, "Serial No" = :serial AS same_serial FROM svc_order WHERE customer_id = 'b' AND id ~ '^x' ORDER BY id COLLATE "C";
SELECT count(*), count(*) FILTER (WHERE cost_center = 'x') AS with_cost_center FROM svc_entitlement_ledger WHERE customer_id = 'b';
-- roll-ups: added, moved, or left
SELECT customer_id, id, period_start AT TIME ZONE 'UTC' AS day, status, revision, api_calls, estimated_cost, usage_by_resource
FROM svc_customer_usage WHERE customer_id IN ('a', 'b') ORDER BY period_type COLLATE "C", period_start, customer_id;
-- the rest of a row is as it was
SELECT count(*) AS changed FROM orders_before o JOIN svc_order n ON n."Serial No" = o."Serial No"
WHERE to_jsonb(o) - '{customer_id,id}'::text[] <> to_jsonb(n) - '{customer_id,id}'::text[];

-- events stay, with the ids under which they happened; new are those of the
-- roll-ups, the segments and both customers
SELECT customer_id, noun, CASE WHEN entity_id ~ '^[a-z_]+_[0-9a-z]{26}$' THEN 'generated' ELSE entity_id END AS entity,
       revision, event, from_status, to_status, changes
FROM svc_event WHERE id > :last_event AND NOT (noun = 'customer_usage' AND event = 'recorded' AND from_status IS NULL)
ORDER BY id;
SELECT count(*) AS events_of_moved_rows_under_the_survivor FROM svc_event e
WHERE customer_id = 'b' AND entity_id IN ('order of a', 'invoice of a', 'grant of a', 'x~a');
SELECT id, status, merged_into, revision, lifetime_value, first_purchase_at AT TIME ZONE 'UTC' AS first_purchase,
       last_activity_at AT TIME ZONE 'UTC' AS last_activity
FROM svc_customer ORDER BY id;
SELECT id, customer_count FROM svc_customer_segment ORDER BY id;

-- keys replay under the survivor: the loser's own, and the one that both had
SELECT k.key, r.allowed, r.consumed, r.remaining, r.entitlement_id, r.replayed
FROM (VALUES (1, 'key', 120), (2, 'key of a', 1), (3, 'key of b', 1), (4, 'key~a', 110)) k (n, key, amount),
     LATERAL svc_consume_entitlement('b', 'calls', k.amount, k.key) r ORDER BY k.n;
SELECT * FROM sums EXCEPT SELECT * FROM sums_before;
SELECT svc_record_usage('b', 'calls', 1, '2020-01-02Z', 'key of a') = id AS replayed FROM svc_usage WHERE idempotency_key = 'key of a';
-- nothing goes to the loser any more; moved rows live on
SELECT reason FROM svc_consume_entitlement('a', 'calls', 1, 'key of a');
SELECT svc_pay_invoice('b', 'x~a'), svc_solve_ticket('b', 'x~a');
SELECT revision, event FROM svc_event WHERE customer_id = 'b' AND noun = 'invoice' AND entity_id = 'x~a';
SELECT consumed, replayed FROM svc_consume_entitlement('b', 'calls', 60);

-- on to a third: suffixes add up, the sums still stand
DROP TABLE sums_before;
CREATE TEMP TABLE sums_before AS SELECT * FROM sums;
SELECT svc_merge_customer('b', 'c');
SELECT * FROM sums EXCEPT SELECT * FROM sums_before;
SELECT * FROM broken;
SELECT id, status, merged_into, lifetime_value FROM svc_customer ORDER BY id;
SELECT noun, id FROM rows_of WHERE customer_id = 'c' AND noun <> 'customer_usage' ORDER BY noun COLLATE "C", id COLLATE "C";
SELECT k.key, r.allowed, r.consumed, r.replayed
FROM (VALUES (1, 'key', 130), (2, 'key of a', 1), (3, 'key~a', 110), (4, 'key~b', 120)) k (n, key, amount),
     LATERAL svc_consume_entitlement('c', 'calls', k.amount, k.key) r ORDER BY k.n;
SELECT svc_segment_of('a') AS a, svc_segment_of('b') AS b, svc_segment_of('c') AS c;

-- ids of 255 characters collide, too: the suffix replaces their end
SELECT svc_create_customer('{"id": "d", "name": "d"}'),
       svc_create_customer(jsonb_build_object('id', repeat('ü', 255), 'name', 'long')) \g /dev/null
CREATE TEMP TABLE long AS SELECT c, repeat(k, 254) || n AS id FROM unnest(ARRAY['d', repeat('ü', 255)]) c, unnest(ARRAY['x', 'ö']) k, generate_series(1, 2) n;
SELECT svc_create_order(c, jsonb_build_object('id', id, 'total', 1)),
       svc_create_invoice(c, jsonb_build_object('id', id, 'total', 1, 'order_id', id)),
       svc_grant_entitlement(c, 'long', 10, id => id) FROM long \g /dev/null
SELECT (svc_consume_entitlement(c, 'long', 1, id)).consumed FROM long WHERE id LIKE '%1' \g /dev/null
SELECT svc_merge_customer(repeat('ü', 255), 'd');
SELECT count(*), count(DISTINCT id), min(length(id)), max(length(id)), count(*) FILTER (WHERE order_id = id) AS with_its_order
FROM svc_invoice WHERE customer_id = 'd';
SELECT * FROM broken;
SELECT count(*), count(DISTINCT idempotency_key), max(length(idempotency_key)) FROM svc_entitlement_ledger WHERE customer_id = 'd';
SELECT bool_and(replayed) FROM svc_entitlement_ledger l, LATERAL svc_consume_entitlement('d', 'long', 1, l.idempotency_key) WHERE l.customer_id = 'd';

-- a suffixed id that exists already does not stop a merge, nor is it overwritten
SELECT svc_create_customer('{"id": "f", "name": "f"}'), svc_create_customer('{"id": "g", "name": "g"}') \g /dev/null
SELECT svc_create_order('f', '{"id": "o", "total": 1}'), svc_create_order('g', '{"id": "o", "total": 2}'),
       svc_create_order('g', '{"id": "o~f", "total": 4}'), svc_create_order('f', '{"id": "o~f", "total": 8}') \g /dev/null
SELECT svc_merge_customer('f', 'g');
SELECT count(*), count(DISTINCT id), sum(total) FROM svc_order WHERE customer_id = 'g';

-- a finalized roll-up of a subscription stays, though its subscription moves
SELECT svc_create_customer('{"id": "h", "name": "h"}'), svc_create_customer('{"id": "i", "name": "i"}'),
       svc_create_subscription('h', 'basic', properties => '{"id": "s", "price": 10}') \g /dev/null
INSERT INTO svc_customer_usage (customer_id, id, period_type, period_start, period_end, api_calls, subscription_id, status, revision, created_at, updated_at)
VALUES ('h', 'r', 'day', '2020-01-01Z', '2020-01-02Z', 1, 's', 'finalized', 3, 'epoch', 'epoch');
SELECT svc_merge_customer('h', 'i');
SELECT customer_id, id, status, api_calls FROM svc_customer_usage WHERE id = 'r';
SELECT customer_id, id FROM svc_subscription WHERE id = 's';

-- a customer without any rows, and one into a customer who has churned
SELECT svc_create_customer('{"id": "j", "name": "j"}'), svc_create_customer('{"id": "k", "name": "k", "status": "active"}'),
       svc_churn_customer('k') \g /dev/null
SELECT svc_merge_customer('j', 'k');
SELECT id, status, revision, merged_into FROM svc_customer WHERE id IN ('j', 'k') ORDER BY id;

-- tombstones: everything that says who it was carries a mark
SELECT svc_create_customer(jsonb_build_object('id', c, 'name', c || ' secret', 'status', 'active', 'country', 'DE', 'lifetime_value', 5)),
       svc_create_subscription(c, 'basic', properties => '{"id": "s", "price": 10}'),
       svc_create_order(c, '{"id": "o", "total": 1}'), svc_create_invoice(c, '{"id": "i", "total": 1}'),
       svc_create_ticket(c, '{"id": "t", "subject": "my secret question"}'), svc_grant_entitlement(c, 'calls', 5)
FROM unnest(ARRAY['t1', 't2', 't3']) c \g /dev/null
DO $$
DECLARE
    c text;
BEGIN
    FOREACH c IN ARRAY ARRAY['t1', 't2', 't3'] LOOP
        -- twice, so that old and new values carry it
        FOR n IN 1..2 LOOP
            UPDATE svc_customer SET (external_id, name, email, phone, company, billing_email, tax_id, payment_method) =
                (SELECT s, s, s, s, s, s, s, s FROM (SELECT 'secret' || n || c) a (s)),
                billing_address = jsonb_build_object('street', 'secret street ' || n),
                attributes = jsonb_build_object('nick', 'secret nick ' || n) WHERE id = c;
            PERFORM svc_update_order(c, 'o', jsonb_build_object('description', 'secret' || n, 'notes', 'secret' || n,
                                                                'requirements', jsonb_build_object('to', 'secret' || n)));
            PERFORM svc_update_ticket(c, 't', jsonb_build_object('subject', 'secret' || n, 'description', 'secret' || n));
        END LOOP;
        PERFORM svc_finalize_invoice(c, 'i'), svc_send_invoice(c, 'i', 'secret@example.com');
        PERFORM svc_solve_ticket(c, 't', 'secret resolution'), svc_rate_ticket(c, 't', 5, 'secret comment');
    END LOOP;
END $$;
SELECT count(*) FROM svc_event WHERE customer_id = 't1' AND changes::text ~ 'secret';
SELECT count(*) FROM svc_event WHERE customer_id = 't1';
CREATE TEMP TABLE tombs_before AS SELECT customer_id, noun, entity_id, revision, event, actor FROM svc_event WHERE customer_id ~ '^t[12]';
SELECT svc_delete_customer('t1', force => true);
-- by plain SQL it is the same, whatever else the statement writes
UPDATE svc_customer SET status = 'deleted' WHERE id = 't2';
SELECT svc_cancel_subscription('t2', 's');
UPDATE svc_customer SET status = 'deleted', name = 'secret3', phone = 'secret' WHERE id = 't2';
-- nothing of it is left
SELECT count(*) FROM svc_customer c WHERE id IN ('t1', 't2') AND c::text ~ 'secret';
SELECT noun, entity_id, event, changes FROM svc_event e WHERE customer_id IN ('t1', 't2') AND e::text ~ 'secret';
SELECT id, status, name, email, attributes, country, lifetime_value FROM svc_customer WHERE id IN ('t1', 't2') ORDER BY id;
SELECT customer_id, event, from_status, to_status, changes FROM svc_event WHERE event = 'deleted' AND customer_id IN ('t1', 't2') ORDER BY id;
-- the events themselves are all there, and others' are untouched
SELECT * FROM tombs_before EXCEPT SELECT customer_id, noun, entity_id, revision, event, actor FROM svc_event;
SELECT count(*) > 0 AS others FROM svc_event WHERE customer_id = 't3' AND changes::text ~ 'secret';
SELECT name FROM svc_customer WHERE id = 't3';
-- what is no personal column stays in changes
SELECT changes FROM svc_event WHERE customer_id = 't1' AND noun = 'support_ticket' AND event = 'ratedByCustomer';
-- children are kept, for the books
SELECT customer_id, noun, count(*) FROM rows_of WHERE customer_id IN ('t1', 't2', 't3') GROUP BY 1, 2 HAVING count(*) <> 1;
SELECT string_agg(noun, ' ' ORDER BY noun COLLATE "C") FROM rows_of WHERE customer_id = 't1';
-- deleting once more is a no-op, nothing else happens to a tombstone
SELECT svc_delete_customer('t1');
SELECT reason FROM svc_consume_entitlement('t1', 'calls');
UPDATE svc_customer SET name = 'x' WHERE id = 't1';
-- a merged customer can be deleted, and what its events tell goes with it
SELECT svc_merge_customer('t3', 'k');
SELECT svc_delete_customer('t3');
SELECT count(*) FROM svc_customer c WHERE id = 't3' AND c::text ~ 'secret';
SELECT noun, entity_id, event, changes FROM svc_event e WHERE customer_id = 't3' AND e::text ~ 'secret';
SELECT merged_into FROM svc_customer WHERE id = 't3';
-- who was merged into a customer that is deleted was the same person
SELECT svc_create_customer(jsonb_build_object('id', c, 'name', c || ' secret')) FROM unnest(ARRAY['t5', 't6', 't7']) c \g /dev/null
UPDATE svc_customer SET email = 'secret' || id || '@example.com' WHERE id IN ('t5', 't6', 't7');
SELECT svc_merge_customer('t5', 't6'), svc_merge_customer('t6', 't7');
SELECT svc_delete_customer('t7');
SELECT id, status, merged_into, revision, c::text ~ 'secret' AS told FROM svc_customer c WHERE id IN ('t5', 't6', 't7') ORDER BY id;
SELECT noun, entity_id, event, changes FROM svc_event e WHERE customer_id IN ('t5', 't6', 't7') AND e::text ~ 'secret';
-- reasons may tell anything, and are kept from a tombstone
SELECT svc_create_customer('{"id": "t4", "name": "n", "status": "active"}'),
       svc_create_subscription('t4', 'basic', properties => '{"id": "s", "price": 10}'),
       svc_cancel_subscription('t4', 's', reason => 'secret reason') \g /dev/null
INSERT INTO svc_usage (customer_id, id, resource, quantity) VALUES ('t4', 'u', 'calls', 1);
SELECT svc_adjust_usage('t4', 'u', -1, 'secret reason') \g /dev/null
SELECT svc_delete_customer('t4');
SELECT noun, entity_id, event, changes FROM svc_event e WHERE customer_id = 't4' AND e::text ~ 'secret';
SELECT * FROM broken;

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
