-- Promise: a pool pays for the codes that it has costs for, at these costs, when
-- the codes' own grants do not suffice; it is never overdrawn; what is given back
-- comes at the cost at which it was spent; the books add up.
\pset null ~
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer(jsonb_build_object('id', c, 'name', c, 'status', 'active'))
FROM unnest('{c1,c2,c3,c4,c5,c6,c7,c8,c9,d1,d2,d3,d4}'::text[]) c \g /dev/null
CREATE VIEW credits AS
SELECT customer_id AS cus, id, status, used_amount AS used, held_amount AS held, remaining_amount AS remaining
FROM svc_entitlement ORDER BY customer_id, code, id;
CREATE VIEW book AS
SELECT customer_id AS cus, entitlement_id AS id, seq, line, kind, code, amount, held, spent_on, spent_amount AS spent
FROM svc_entitlement_ledger ORDER BY customer_id, entitlement_id, seq;

-- definitions, and how they are refused
SELECT svc_grant_entitlement('c1', 'credits', 100, id => 'p1', costs => '{"large": 10, "small": 1, "tiny": 0.25}');
SELECT svc_grant_entitlement('d1', 'credits', unlimited => true, id => 'p2', costs => '{"large": 10}');
SELECT type, costs FROM svc_entitlement ORDER BY id;
CREATE FUNCTION refused(costs jsonb, lim numeric DEFAULT 5) RETURNS TABLE (state text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM svc_grant_entitlement('d2', 'credits', lim, costs => refused.costs);
    state := 'accepted';
    RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END $$;
SELECT costs, r.* FROM unnest(ARRAY['{}', '[]', '5', 'null', '"x"', '{"a": 0}', '{"a": -1}', '{"a": "1"}', '{"a": null}',
    '{"a": "NaN"}', '{"a": {"b": 1}}', '{"a": [1]}', '{"a": 1e36}', '{"a": 1e-19}', '{"": 1}', '{"credits": 1}',
    '{"b": 2, "a": 0}']::jsonb[]) costs, refused(costs) r;
SELECT r.state, r.message, r.detail FROM refused(jsonb_build_object(repeat('x', 256), 1)) r;
SELECT n, r.state, r.message FROM unnest('{1000,1001}'::int[]) n,
    refused((SELECT jsonb_object_agg('code' || i, 1) FROM generate_series(1, n) i)) r;
SELECT r.* FROM refused('{"a": 1}', NULL) r;
UPDATE svc_entitlement SET costs = '{"credits": 1}' WHERE id = 'p1';
UPDATE svc_entitlement SET limit_amount = NULL WHERE id = 'p1';
SELECT svc_update_entitlement('c1', 'p1', '{"costs": {"large": 10, "small": 1, "tiny": 0}}');
\echo :SQLSTATE
SELECT svc_update_entitlement('c1', 'p1', '{"costs": {"large": 10, "small": 1}}');
SELECT revision, event, changes FROM svc_event WHERE noun = 'entitlement' AND entity_id = 'p1' ORDER BY revision;

-- in plans: where it is wrong
CREATE FUNCTION refused_plan(limits text) RETURNS TABLE (state text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM svc_create_plan(jsonb_build_object('id', 'none', 'name', 'None', 'price', 0, 'limits', limits::jsonb));
    state := 'accepted';
    RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END $$;
SELECT limits, r.* FROM unnest(ARRAY['{"credits": {"limit": 1, "costs": {}}}', '{"credits": {"limit": 1, "costs": 5}}',
    '{"credits": {"limit": 1, "costs": [1]}}', '{"credits": {"limit": 1, "costs": null}}',
    '{"credits": {"limit": 1, "costs": {"gpt_large": 0}}}', '{"credits": {"limit": 1, "costs": {"a/b": "10"}}}',
    '{"credits": {"limit": 1, "costs": {"credits": 1}}}', '{"credits": {"limit": 1, "costs": {"a": 1e36}}}',
    '{"credits": {"costs": {"a": 1}}}', '{"credits": {"unlimited": false, "costs": {"a": 1}}}']) limits, refused_plan(limits) r;
SELECT svc_create_plan('{"id": "ai", "name": "AI", "price": 20, "billing_interval": "monthly",
    "limits": {"credits": {"limit": 1000, "costs": {"large": 10, "small": 1}}, "large": 2}}');
SELECT svc_create_plan('{"id": "ai_2", "name": "AI 2", "price": 40, "billing_interval": "monthly",
    "limits": {"credits": {"limit": 5000, "costs": {"large": 8, "small": 1}}}}');
SELECT code, limit_amount, costs FROM svc_plan_grants('ai');
SELECT svc_create_subscription('c9', 'ai', 2, properties => '{"id": "s9"}');
SELECT allowed, consumed, remaining FROM svc_consume_entitlement('c9', 'large', 10);
SELECT code, limit_amount, used_amount, costs FROM svc_entitlement WHERE customer_id = 'c9' ORDER BY code;
SELECT svc_upgrade_subscription('c9', 's9', 'ai_2');
SELECT code, status, limit_amount, used_amount, costs FROM svc_entitlement WHERE customer_id = 'c9' ORDER BY code;
SELECT allowed, consumed, remaining FROM svc_consume_entitlement('c9', 'large', 2);
SELECT consumed, remaining FROM svc_consume_entitlement('c9', 'large', -1);

-- only the pool
SELECT * FROM svc_check_entitlement('c1', 'large');
SELECT * FROM svc_check_entitlement('c1', 'large', 10);
SELECT * FROM svc_check_entitlement('c1', 'large', 10.1);
SELECT * FROM svc_check_entitlement('c1', 'none');
SELECT svc_has_entitlement('c1', 'large', 10), svc_has_entitlement('c1', 'large', 11), svc_has_entitlement('c1', 'small', 100);
SELECT * FROM svc_consume_entitlement('c1', 'large', 3, 'k1');
SELECT * FROM svc_consume_entitlement('c1', 'large', 3, 'k1');
SELECT * FROM svc_consume_entitlement('c1', 'small', 65);
SELECT * FROM svc_consume_entitlement('c1', 'large', 1);
SELECT * FROM svc_require_entitlement('c1', 'large', 1);
SELECT * FROM svc_consume_entitlement('c1', 'large', 0.5);
SELECT allowed, reason FROM svc_consume_entitlement('c1', 'small', 1);
SELECT * FROM credits WHERE cus = 'c1';
SELECT * FROM book WHERE cus = 'c1';
SELECT revision, event, from_status, to_status FROM svc_event WHERE noun = 'entitlement' AND entity_id = 'p1' ORDER BY revision;

-- asked for as such it is a grant like any other
SELECT consumed, remaining FROM svc_consume_entitlement('c1', 'credits', -20);
SELECT allowed, remaining FROM svc_check_entitlement('c1', 'large', 2);
SELECT consumed, remaining FROM svc_consume_entitlement('c1', 'credits', 11);
SELECT allowed, reason, remaining FROM svc_check_entitlement('c1', 'large', 1);
SELECT code, reason, used_amount, remaining_amount FROM svc_entitlements('c1');
SELECT used_amount, remaining_amount FROM svc_balance_at('c1', 'credits', NULL);

-- a code's own grants before pools; a plain right to it is one, too
SELECT svc_grant_entitlement('c2', 'large', 2.5, id => 'own');
SELECT svc_grant_entitlement('c2', 'credits', 100, id => 'pool', costs => '{"large": 10, "chat": 2}');
SELECT svc_grant_entitlement('c2', 'chat', id => 'plain', value => '"yes"');
SELECT * FROM svc_check_entitlement('c2', 'large', 12.5);
SELECT * FROM svc_consume_entitlement('c2', 'large', 2);
SELECT * FROM svc_consume_entitlement('c2', 'large', 2);
SELECT * FROM svc_explain_entitlement('c2', 'large', 3) \gx
SELECT explanation FROM svc_explain_entitlement('c2', 'large', 90) WHERE what = 'decision';
SELECT * FROM svc_consume_entitlement('c2', 'large', 9);
SELECT * FROM svc_check_entitlement('c2', 'chat', 42);
SELECT * FROM svc_consume_entitlement('c2', 'chat', 3);
SELECT * FROM book WHERE cus = 'c2';

-- several pools at several costs: whole units of each, the last one exactly
INSERT INTO svc_entitlement (customer_id, id, code, name, limit_amount, priority, costs) VALUES
    ('c3', 'a', 'gift', 'x', 25, 1, '{"large": 10}'),
    ('c3', 'b', 'month', 'x', 17, 2, '{"large": 7, "small": 1}'),
    ('c3', 'c', 'rest', 'x', 10, 3, '{"large": 4}');
SELECT * FROM svc_check_entitlement('c3', 'large', 6);
SELECT step, what, entitlement_id, available, pays, explanation FROM svc_explain_entitlement('c3', 'large', 6);
SELECT * FROM svc_check_entitlement('c3', 'large', 6.5);
SELECT * FROM svc_consume_entitlement('c3', 'large', 6.5, 'split');
SELECT * FROM credits WHERE cus = 'c3';
SELECT * FROM book WHERE cus = 'c3';
-- given back in the reverse order; what is too much
SELECT * FROM svc_consume_entitlement('c3', 'large', -3, 'back');
SELECT * FROM credits WHERE cus = 'c3';
SELECT * FROM svc_consume_entitlement('c3', 'large', -4);
\echo :SQLSTATE
SELECT * FROM svc_consume_entitlement('c3', 'large', -4, mode => 'cap');
SELECT * FROM credits WHERE cus = 'c3';
-- not beyond what the code has spent itself
SELECT consumed FROM svc_consume_entitlement('c3', 'small', 5);
SELECT consumed FROM svc_consume_entitlement('c3', 'large', -1, mode => 'cap');
SELECT consumed FROM svc_consume_entitlement('c3', 'small', -9, mode => 'cap');
-- cap takes whole units, and what covers all
SELECT * FROM svc_consume_entitlement('c3', 'large', 100, mode => 'cap');
SELECT * FROM credits WHERE cus = 'c3';
SELECT * FROM svc_consume_entitlement('c3', 'large', 100, mode => 'cap');
SELECT * FROM svc_consume_entitlement('c3', 'large', 0.5, mode => 'cap');
SELECT consumed FROM svc_consume_entitlement('c3', 'large', -7);
SELECT * FROM credits WHERE cus = 'c3';

-- beyond: own overage before that of pools, in units of the code
SELECT svc_grant_entitlement('c4', 'large', 1, id => 'own', overage => 'allow', overage_limit => 2);
SELECT svc_grant_entitlement('c4', 'credits', 25, id => 'pool', costs => '{"large": 10}', overage => 'allow', overage_limit => 40);
SELECT * FROM svc_consume_entitlement('c4', 'large', 4);
SELECT * FROM svc_consume_entitlement('c4', 'large', 3);
SELECT * FROM svc_consume_entitlement('c4', 'large', 10, mode => 'cap');
SELECT * FROM svc_consume_entitlement('c4', 'large', 2, mode => 'overflow');
SELECT id, used_amount, limit_amount FROM svc_entitlement WHERE customer_id = 'c4' ORDER BY id;
SELECT * FROM book WHERE cus = 'c4';
SELECT consumed, remaining FROM svc_consume_entitlement('c4', 'large', -11);
SELECT id, used_amount FROM svc_entitlement WHERE customer_id = 'c4' ORDER BY id;
-- overflow without a grant of its own: on the last pool
SELECT svc_grant_entitlement('c5', 'credits', 25, id => 'pool', costs => '{"large": 10}');
SELECT * FROM svc_consume_entitlement('c5', 'large', 4, mode => 'overflow');
SELECT * FROM book WHERE cus = 'c5';
-- unlimited
SELECT * FROM svc_consume_entitlement('d1', 'large', 7.5);
SELECT * FROM credits WHERE cus = 'd1';

-- a changed cost does no harm to what is given back; half of it is its share
SELECT svc_grant_entitlement('c6', 'credits', 100, id => 'pool', reset_period => 'daily', costs => '{"large": 10}');
SELECT consumed FROM svc_consume_entitlement('c6', 'large', 1);
UPDATE svc_entitlement SET costs = '{"large": 5, "small": 3}' WHERE customer_id = 'c6';
SELECT consumed FROM svc_consume_entitlement('c6', 'large', 2);
SELECT consumed FROM svc_consume_entitlement('c6', 'small', 1);
SELECT consumed, remaining FROM svc_consume_entitlement('c6', 'large', -1);
SELECT * FROM credits WHERE cus = 'c6';
UPDATE svc_entitlement SET costs = '{"small": 3}' WHERE customer_id = 'c6';
SELECT allowed, reason FROM svc_check_entitlement('c6', 'large');
SELECT consumed, remaining FROM svc_consume_entitlement('c6', 'large', -2);
SELECT * FROM credits WHERE cus = 'c6';
-- credits that were given back as such are not there to be given back again
SELECT consumed FROM svc_consume_entitlement('c6', 'small', 9);
SELECT consumed FROM svc_consume_entitlement('c6', 'credits', -20);
SELECT consumed FROM svc_consume_entitlement('c6', 'small', -9, mode => 'cap');
SELECT * FROM credits WHERE cus = 'c6';
-- a reset takes back what was spent before it, also one that is only due
SELECT consumed FROM svc_consume_entitlement('c6', 'small', 4);
SELECT svc_reset_entitlement('c6', 'pool');
SELECT * FROM svc_consume_entitlement('c6', 'small', -1);
SELECT consumed FROM svc_consume_entitlement('c6', 'small', 4);
SELECT consumed FROM svc_consume_entitlement('c6', 'small', -1, at => now() + interval '3 days', mode => 'cap');
SELECT * FROM credits WHERE cus = 'c6';
SELECT seq, kind, amount, spent_on, spent FROM book WHERE cus = 'c6';
-- neither suspension nor revocation keeps what is given back
SELECT consumed FROM svc_consume_entitlement('c6', 'small', 4, at => now() + interval '3 days');
SELECT svc_suspend_entitlement('c6', 'pool');
SELECT allowed, reason, remaining FROM svc_check_entitlement('c6', 'small');
SELECT allowed, reason, remaining FROM svc_consume_entitlement('c6', 'small');
SELECT consumed, remaining FROM svc_consume_entitlement('c6', 'small', -3);
SELECT svc_revoke_entitlement('c6', 'pool');
SELECT consumed, remaining FROM svc_consume_entitlement('c6', 'small', -1);

-- several codes that share a pool, and the pool itself
SELECT svc_grant_entitlement('c7', 'credits', 100, id => 'pool', costs => '{"large": 10, "small": 1}');
SELECT svc_grant_entitlement('c7', 'large', 1, id => 'own');
SELECT * FROM svc_consume_entitlements('c7', '{"large": 1, "small": 1}');
SELECT * FROM svc_consume_entitlements('c7', '{"large": 9, "small": 10}');
SELECT * FROM svc_consume_entitlements('c7', '{"large": 9, "small": 9, "credits": 1}');
SELECT * FROM svc_consume_entitlements('c7', '{"large": 2, "small": 9, "credits": 1}', 'k7');
SELECT * FROM svc_consume_entitlements('c7', '{"large": 2, "small": 9, "credits": 1}', 'k7');
SELECT * FROM svc_consume_entitlements('c7', '{"large": 6, "small": 9}');
SELECT * FROM svc_consume_entitlements('c7', '{"large": 1}');
SELECT * FROM book WHERE cus = 'c7';
SELECT revision, event FROM svc_event WHERE noun = 'entitlement' AND customer_id = 'c7' AND entity_id = 'pool' ORDER BY revision;
SELECT consumed FROM svc_consume_entitlement('c7', 'large', -8);
-- own grants suffice: the pool counts for what remains, and is not touched
SELECT svc_grant_entitlement('c7', 'small', 5, id => 'small');
SELECT * FROM svc_consume_entitlements('c7', '{"small": 5}');
SELECT * FROM svc_consume_entitlement('c7', 'large', 1);

-- pools do not pay for codes that have pools
SELECT svc_grant_entitlement('c8', 'coins', 10, id => 'coins', costs => '{"large": 1}');
SELECT svc_grant_entitlement('c8', 'gold', 10, id => 'gold', costs => '{"coins": 1, "small": 1}');
SELECT consumed, remaining FROM svc_consume_entitlement('c8', 'coins', 99, mode => 'cap');
SELECT allowed, reason FROM svc_check_entitlement('c8', 'coins');
SELECT allowed, reason FROM svc_check_entitlement('c8', 'large');

-- holds: in credits, at the cost of that time
SELECT svc_grant_entitlement('d3', 'large', 1, id => 'own');
SELECT svc_grant_entitlement('d3', 'credits', 100, id => 'pool', costs => '{"large": 10}');
SELECT allowed, held, remaining, entitlement_id, hold_id AS h FROM svc_hold_entitlement('d3', 'large', 6) \gset h1_
SELECT :'h1_allowed' AS allowed, :h1_held AS held, :h1_remaining AS remaining, :'h1_entitlement_id' AS entitlement_id;
SELECT line, entitlement_id, code, amount, spent_on, cost FROM svc_entitlement_hold ORDER BY line;
SELECT * FROM credits WHERE cus = 'd3';
UPDATE svc_entitlement SET costs = '{"large": 20}' WHERE id = 'pool' AND customer_id = 'd3';
SELECT allowed, remaining FROM svc_check_entitlement('d3', 'large', 3);
SELECT * FROM svc_settle_hold('d3', :'h1_h', 4);
SELECT * FROM credits WHERE cus = 'd3';
SELECT hold_id AS h FROM svc_hold_entitlement('d3', 'large', 1) \gset h2_
SELECT * FROM svc_settle_hold('d3', :'h2_h', 5);
SELECT * FROM svc_settle_hold('d3', :'h2_h', 2);
SELECT hold_id AS h FROM svc_hold_entitlement('d3', 'large', 1) \gset h3_
SELECT * FROM svc_release_hold('d3', :'h3_h');
SELECT hold_id AS h FROM svc_hold_entitlement('d3', 'large', 9, mode => 'cap', ttl => '1 minute') \gset h4_
SELECT allowed, reason, remaining FROM svc_check_entitlement('d3', 'large');
SELECT allowed, remaining FROM svc_check_entitlement('d3', 'large', 1, now() + interval '2 minutes');
SELECT hold_id AS h FROM svc_hold_entitlement('d3', 'credits', 5) \gset h5_
SELECT * FROM svc_settle_hold('d3', :'h4_h', 0);
SELECT consumed FROM svc_settle_hold('d3', :'h5_h', 5);
SELECT line, status, amount, settled_amount, spent_on, cost FROM svc_entitlement_hold ORDER BY held_at, code, amount;
SELECT seq, kind, amount, held, spent_on, spent FROM book WHERE cus = 'd3';
SELECT consumed, remaining FROM svc_consume_entitlement('d3', 'large', -6);
SELECT * FROM credits WHERE cus = 'd3';

-- a guarded table
CREATE TABLE picture (customer_id text COLLATE "C", id int, PRIMARY KEY (customer_id, id));
CREATE TRIGGER pictures AFTER INSERT OR UPDATE OR DELETE ON picture
    FOR EACH ROW EXECUTE FUNCTION svc.svc_guard('pictures');
SELECT svc_grant_entitlement('d4', 'credits', 9, id => 'pool', costs => '{"pictures": 4}');
INSERT INTO picture VALUES ('d4', 1), ('d4', 2);
INSERT INTO picture VALUES ('d4', 3);
DELETE FROM picture WHERE id = 1;
SELECT * FROM credits WHERE cus = 'd4';

-- merged: the books go along
SELECT svc_merge_customer('d4', 'd3');
DELETE FROM picture WHERE id = 2;
SELECT consumed, remaining FROM svc_consume_entitlement('d3', 'pictures', -1);
SELECT id, costs, used_amount FROM svc_entitlement WHERE customer_id = 'd3' AND code = 'credits' ORDER BY id;

SELECT * FROM svc_verify();
-- spent units and credits of each pool and code are never below 0
SELECT * FROM (SELECT entitlement_id, spent_on, sum(spent_amount) AS units, sum(amount) AS credits
    FROM svc_entitlement_ledger WHERE spent_on IS NOT NULL GROUP BY customer_id, entitlement_id, spent_on) s
WHERE units < 0 OR credits < 0;

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
