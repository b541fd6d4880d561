-- Promise: an action that is misused is refused with a SQLSTATE of its own, a
-- detail that says what is and a hint that names the way out, and has changed
-- nothing.
\set SHOW_CONTEXT never
\pset null ~
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null

-- what a call raises; one that raises nothing is taken back
CREATE FUNCTION raises(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text;
BEGIN
    EXECUTE statement;
    RAISE EXCEPTION USING ERRCODE = 'P0099';
EXCEPTION WHEN SQLSTATE 'P0099' THEN
    RETURN 'no error';
WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    -- generated ids and times are no part of the promise
    d := regexp_replace(d, '^Failing row contains .*', 'Failing row ...');
    RETURN concat_ws(E'\n', SQLSTATE || ': ' || m, '  detail: ' || nullif(d, ''), '  hint: ' || nullif(h, ''));
END $$;
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}'),
       svc_create_customer('{"id": "c2", "name": "Bob", "status": "active"}'),
       svc_create_customer('{"id": "merged", "name": "Eve"}'),
       svc_create_customer('{"id": "deleted", "name": "Eve"}'),
       svc_create_plan('{"id": "basic", "name": "Basic", "price": 10}'),
       svc_create_plan('{"id": "legacy", "name": "Old", "price": 5}'),
       svc_create_plan('{"id": "gone", "name": "Gone", "price": 1}') \g /dev/null
SELECT svc_merge_customer('merged', 'c2'), svc_delete_customer('deleted'),
       svc_update_plan('legacy', '{"status": "legacy"}'), svc_discontinue_plan('gone') \g /dev/null
SELECT svc_create_subscription('c1', 'basic', properties => '{"id": "s1", "price": 10}'),
       svc_create_order('c1', '{"id": "o1", "total": 10}'),
       svc_create_invoice('c1', '{"id": "draft", "total": 10}'),
       svc_create_invoice('c1', '{"id": "open", "total": 10, "line_items": [{"text": "Basic", "price": 10}]}'),
       svc_create_invoice('c1', '{"id": "part", "total": 10}'),
       svc_create_invoice('c1', '{"id": "paid", "total": 10}'),
       svc_create_invoice('c2', '{"id": "of c2", "total": 10}'),
       svc_create_ticket('c1', '{"id": "t1", "subject": "s"}'),
       svc_create_segment('{"id": "vip", "name": "VIP"}'),
       svc_create_segment('{"id": "archived", "name": "Old"}'),
       svc_grant_entitlement('c1', 'calls', 5, id => 'e1'),
       svc_record_customer_usage('c1', '{"id": "r1", "period_type": "day",
            "period_start": "2020-01-01Z", "period_end": "2020-01-02Z", "api_calls": 1}') \g /dev/null
SELECT svc_finalize_invoice('c1', 'open', '2999-01-01Z'), svc_finalize_invoice('c1', 'part', '2020-01-01Z'),
       svc_finalize_invoice('c1', 'paid'), svc_pay_invoice('c1', 'part', 4), svc_pay_invoice('c1', 'paid'),
       svc_archive_segment('archived'),
       svc_aggregate_customer_usage('c1', 'r1'), svc_finalize_customer_usage('c1', 'r1') \g /dev/null
INSERT INTO svc_usage (customer_id, id, resource, quantity) VALUES ('c1', 'u1', 'calls', 1), ('c1', 'u2', 'calls', 1);
UPDATE svc_usage SET status = 'aggregated' WHERE id = 'u1';
CREATE TEMP TABLE before AS SELECT
    (SELECT count(*) FROM svc_event) AS events,
    (SELECT sum(amount_paid) || ' ' || sum(amount_due) || ' ' || sum(amount_refunded) FROM svc_invoice) AS money,
    (SELECT md5(string_agg(c::text, '|' ORDER BY id)) FROM svc_customer c) AS customers,
    (SELECT value FROM svc_counter) AS numbers;
\pset format unaligned
\pset tuples_only on

-- an unknown noun
SELECT raises(format('SELECT svc_available_actions(%s, ''c1'', ''x'')', n))
FROM unnest(ARRAY['''unicorn''', '''ticket''', '''Customer''', '''''', 'NULL']) n;
SELECT raises('SELECT svc_transition_diagram(''unicorn'')');
SELECT raises('SELECT svc_transition_diagram(NULL)');

-- svc_action() under another name is no action
DO $$
DECLARE
    library text := (SELECT probin FROM pg_proc WHERE proname = 'svc_activate_customer');
    f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['svc_frobnicate_customer', 'svc_activate_unicorn', 'activate_customer',
                             'svc_activate_support_ticket', 'svc_markPastDue_subscription'] LOOP
        EXECUTE format('CREATE FUNCTION %I(id text, reason text, revision bigint) RETURNS text'
                       ' LANGUAGE c AS %L, ''svc_action''', f, library);
    END LOOP;
END $$;
SELECT raises(format('SELECT %I(''c1'', NULL, NULL)', proname))
FROM pg_proc WHERE prosrc = 'svc_action' AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.objid = pg_proc.oid AND d.deptype = 'e')
ORDER BY proname COLLATE "C";

-- every action on a row that does not exist, and on one of another customer:
-- all the same, so differences only
CREATE TEMP TABLE action_function AS
SELECT p.proname AS name, p.oid::regprocedure AS signature, p.proargnames[1] = 'customer_id' AND p.proargnames[2] LIKE '%\_id' AS owned,
       p.pronargs - p.pronargdefaults AS required,
       (SELECT array_agg(format_type(t, NULL) ORDER BY o) FROM unnest(p.proargtypes) WITH ORDINALITY a (t, o)) AS types
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
WHERE p.prosrc IN ('svc_action', 'svc_update_pricing_plan') AND p.proname !~ '^svc_create_';
SELECT count(*), count(*) FILTER (WHERE owned) AS owned FROM action_function;
CREATE FUNCTION call_of(f action_function, customer text, id text) RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT %I(%s%s)', f.name,
        CASE WHEN f.owned THEN customer || ', ' || id ELSE id END,
        (SELECT string_agg(CASE f.types[n] WHEN 'jsonb' THEN ', ''{"name": "x"}''' WHEN 'numeric' THEN ', 1' ELSE ', ''x''' END, '')
         FROM generate_series(CASE WHEN f.owned THEN 3 ELSE 2 END, f.required) n))
$$;
SELECT call_of(f, '''c1''', '''x''') FROM action_function f
WHERE name IN ('svc_suspend_customer', 'svc_update_ticket', 'svc_rate_ticket', 'svc_upgrade_subscription') ORDER BY name COLLATE "C";
SELECT raises(call_of(f, '''c1''', '''missing''')) FROM action_function f
WHERE name IN ('svc_suspend_customer', 'svc_update_plan', 'svc_pay_invoice') ORDER BY name COLLATE "C";
SELECT f.signature, raises(call_of(f, '''c1''', '''missing''')) FROM action_function f
WHERE raises(call_of(f, '''c1''', '''missing''')) NOT LIKE 'SV008: %missing%detail: %hint: %';
SELECT f.signature, raises(call_of(f, '''nobody''', '''missing''')) FROM action_function f
WHERE owned AND raises(call_of(f, '''nobody''', '''missing''')) NOT LIKE 'SV008: customer "nobody" has no %detail: %hint: %';
-- NULL and impossible keys
SELECT f.signature, a, raises(call_of(f, '''c1''', a)) FROM action_function f,
     LATERAL (VALUES ('NULL', '22004'), ('''''', '22023'), ('repeat(''x'', 256)', '22001')) k (a, state)
WHERE raises(call_of(f, '''c1''', a)) NOT LIKE state || ': % id %';
SELECT f.signature, a, raises(call_of(f, a, '''x''')) FROM action_function f,
     LATERAL (VALUES ('NULL', '22004'), ('''''', '22023'), ('repeat(''x'', 256)', '22001')) k (a, state)
WHERE owned AND raises(call_of(f, a, '''x''')) NOT LIKE state || ': customer id %';

-- the wrong customer for an id that exists
SELECT raises(format('SELECT svc_%s', c)) FROM unnest(ARRAY[
    'pay_invoice(''c2'', ''open'')', 'cancel_subscription(''c2'', ''s1'')', 'confirm_order(''c2'', ''o1'')',
    'solve_ticket(''c2'', ''t1'')', 'suspend_entitlement(''c2'', ''e1'')', 'dispute_usage(''c2'', ''u1'')',
    'finalize_customer_usage(''c2'', ''r1'')', 'available_actions(''invoice'', ''c2'', ''open'')',
    'bill_usage(''c1'', ''u1'', ''of c2'')', 'bill_usage(''c1'', ''u1'', ''missing'')']) c;

-- forbidden transitions
SELECT raises(format('SELECT svc_%s', c)) FROM unnest(ARRAY[
    'activate_plan(''gone'')', 'update_plan(''gone'', ''{"name": "x"}'')', 'update_plan(''gone'', ''{"status": "active"}'')',
    'update_pricing_plan(''legacy'', ''{"price": 2}'')',
    'reactivate_customer(''merged'')', 'delete_customer(''merged'', reason => NULL, revision => 1)',
    'update_customer(''deleted'', ''{"name": "Eve"}'')', 'update_customer(''c1'', ''{"status": "churned"}'')',
    'update_customer(''c1'', ''{"status": "asleep"}'')', 'update_customer(''c1'', ''{"status": null}'')',
    'deliver_order(''c1'', ''o1'')', 'refund_order(''c1'', ''o1'')', 'reopen_ticket(''c1'', ''t1'')', 'rate_ticket(''c1'', ''t1'', 5)',
    'bill_usage(''c1'', ''u2'', ''open'')',
    'finalize_invoice(''c1'', ''paid'')', 'sync_segment(''archived'')', 'update_segment(''archived'', ''{"name": "x"}'')',
    'add_segment_customer(''archived'', ''c1'')', 'remove_segment_customer(''archived'', ''c1'')',
    'add_segment_customer(''vip'', ''nobody'')', 'add_segment_customer(''vip'', ''merged'')', 'add_segment_customer(''nothing'', ''c1'')',
    'record_customer_usage(''c1'', ''{"period_type": "day", "period_start": "2020-01-01Z", "api_calls": 5}'')']) c;
-- no new rows for customers that are gone
SELECT raises(format(f, c)) FROM unnest(ARRAY['nobody', 'merged', 'deleted']) c, unnest(ARRAY[
    'SELECT svc_create_order(%L, ''{"total": 1}'')', 'SELECT svc_record_usage(%L, ''calls'')']) f;
SELECT c, f, raises(format(f, c)) FROM unnest(ARRAY['nobody', 'merged', 'deleted']) c, unnest(ARRAY[
    'SELECT svc_create_subscription(%L, ''basic'')',
    'SELECT svc_create_invoice(%L, ''{"total": 1}'')', 'SELECT svc_create_ticket(%L, ''{"subject": "s"}'')',
    'SELECT svc_grant_entitlement(%L, ''calls'', 1)', 'SELECT svc_add_segment_customer(''vip'', %L)',
    'SELECT svc_record_customer_usage(%L, ''{"period_type": "day", "period_start": "2020-01-01Z", "period_end": "2020-01-02Z"}'')']) f
WHERE raises(format(f, c)) NOT LIKE CASE c WHEN 'nobody' THEN 'SV008' ELSE 'SV001' END || ': customer "' || c || '" %';

-- money: payments on a draft, of more than is due, and of no amount
SELECT raises(format('SELECT svc_pay_invoice(''c1'', %s)', a)) FROM unnest(ARRAY[
    '''draft''', '''draft'', 5', '''open'', 10.01', '''part'', 6.000001', '''paid''', '''paid'', 1']) a;
SELECT split_part(raises(format('SELECT svc_%s_invoice(''c1'', ''part'', %s)', f, a)), E'\n  hint', 1)
FROM unnest(ARRAY['pay', 'refund']) f, unnest(ARRAY['0', '-1', '''NaN''', '''Infinity''', '''-Infinity''', '1e36', '1e-19']) a;
-- and a hint is about what was called, not about entitlements
SELECT c, raises('SELECT ' || c) FROM unnest(ARRAY['svc_pay_invoice(''c1'', ''part'', 0)', 'svc_refund_invoice(''c1'', ''part'', 0)',
    'svc_pay_invoice(''c1'', ''part'', ''NaN'')', 'svc_adjust_usage(''c1'', ''u1'', ''NaN'')', 'svc_record_usage(''c1'', ''calls'', ''NaN'')']) c
WHERE raises('SELECT ' || c) ~ 'unlimited|for 1\.';
-- refunds of more than was paid
SELECT raises(format('SELECT svc_refund_invoice(''c1'', %s)', a)) FROM unnest(ARRAY[
    '''open''', '''part'', 4.01', '''paid'', 11', '''draft''']) a;
-- void with money on it, and what is not due yet
SELECT raises(format('SELECT svc_%s', c)) FROM unnest(ARRAY[
    'void_invoice(''c1'', ''part'')', 'void_invoice(''c1'', ''paid'')', 'mark_overdue_invoice(''c1'', ''open'')']) c;
SELECT svc_mark_overdue_invoice('c1', 'part');
SELECT raises('SELECT svc_void_invoice(''c1'', ''part'')');
SELECT raises('UPDATE svc_invoice SET status = ''void'' WHERE id = ''part''');

-- totals
SELECT raises(format('SELECT svc_create_%s(''c1'', ''%s'')', n, p)) FROM unnest(ARRAY['invoice', 'order']) n, unnest(ARRAY[
    '{}', '{"total": -1}', '{"total": "NaN"}', '{"subtotal": 10, "tax": 1, "total": 10}',
    '{"subtotal": 10, "discount": 11}', '{"subtotal": 10, "discount": -1}']) p;
SELECT raises('UPDATE svc_invoice SET subtotal = 8, tax = 1, total = 8 WHERE id = ''draft''');
SELECT raises('INSERT INTO svc_invoice (customer_id, id, total) VALUES (''c1'', ''x'', ''NaN'')');

-- numbers and amounts by hand
SELECT raises(format('SELECT svc_create_invoice(''c1'', ''{"total": 10, %s}'')', p)) FROM unnest(ARRAY[
    '"number": "INV-7"', '"id": "x", "amount_paid": 1', '"amount_due": 1', '"amount_refunded": 1']) p;
SELECT raises(format('INSERT INTO svc_invoice (customer_id, id, total, %1$s) VALUES (''c1'', ''x'', 10, %2$s)', c, v))
FROM (VALUES ('number', '''INV-7'''), ('amount_paid', '1'), ('amount_refunded', '1')) p (c, v);
SELECT raises(format('UPDATE svc_invoice SET %s WHERE id = ''draft''', s)) FROM unnest(ARRAY[
    'number = ''INV-7''', 'amount_paid = 1', 'amount_refunded = 1', 'status = ''partial'', amount_paid = 1', 'status = ''paid''']) s;
SELECT raises(format('UPDATE svc_invoice SET %s WHERE id = ''open''', s)) FROM unnest(ARRAY[
    'number = NULL', 'number = ''INV-000007''', 'amount_paid = -1', 'amount_refunded = 1',
    'status = ''partial''', 'revision = 1', 'id = ''x''', 'customer_id = ''c2''']) s;
-- more than is due is not taken by plain SQL, nor by a property, either
SELECT s, raises(s) FROM unnest(ARRAY[
    'UPDATE svc_invoice SET amount_paid = 11 WHERE id = ''open''', 'UPDATE svc_invoice SET amount_paid = 11 WHERE id = ''part''',
    'UPDATE svc_invoice SET amount_paid = ''NaN'' WHERE id = ''open''',
    'UPDATE svc_invoice SET amount_paid = 11, status = ''paid'' WHERE id = ''open''',
    'SELECT svc_update_invoice(''c1'', ''open'', ''{"amount_paid": 11}'')']) s
WHERE raises(s) !~ '^(SV013|SV006|SV009|SV001|23514): ';
-- nor does it leave a status that contradicts the money, or take money back
-- without a refund
SELECT s, raises(s) FROM unnest(ARRAY[
    'UPDATE svc_invoice SET amount_paid = 3 WHERE id = ''paid''', 'UPDATE svc_invoice SET amount_paid = 0 WHERE id = ''part''',
    'UPDATE svc_invoice SET status = ''partial'', amount_paid = 10 WHERE id = ''open''',
    'UPDATE svc_invoice SET status = ''partial'', amount_paid = 0 WHERE id = ''open''',
    'UPDATE svc_invoice SET status = ''open'', amount_paid = 10 WHERE id = ''draft''',
    'UPDATE svc_invoice SET status = ''open'', amount_paid = 1 WHERE id = ''draft''',
    'UPDATE svc_invoice SET status = ''void'', amount_paid = 1 WHERE id = ''draft''',
    'UPDATE svc_invoice SET status = ''overdue'', amount_paid = 10 WHERE id = ''part''',
    'UPDATE svc_invoice SET status = ''uncollectible'', amount_paid = 10 WHERE id = ''part''']) s
WHERE raises(s) = 'no error';
-- what is due follows from the rest, whatever is written to it
UPDATE svc_invoice SET amount_due = 3, description = 'd' WHERE id = 'open' RETURNING amount_due;
SELECT raises(format('SELECT svc_update_invoice(''c1'', ''open'', ''{"%s": 1}'')', c))
FROM unnest(ARRAY['amount_due', 'amount_refunded', 'number', 'revision', 'id', 'customer_id']) c;

-- a finalized invoice is final
SELECT raises(format('UPDATE svc_invoice SET %s WHERE id = ''open''', s)) FROM unnest(ARRAY[
    'total = 9', 'subtotal = 10', 'line_items = ''[]''', 'discount = 0', 'tax = 0', 'currency = ''EUR''',
    'period_start = ''2020-01-01Z''', 'period_end = ''2020-01-01Z''', 'issued_at = ''2020-01-01Z''',
    'order_id = ''o1''', 'subscription_id = ''s1''']) s;
SELECT raises('SELECT svc_update_invoice(''c1'', ''part'', ''{"line_items": []}'')');

-- properties
SELECT raises(format('SELECT svc_update_%s)', c)) FROM unnest(ARRAY[
    'customer(''c1'', NULL', 'customer(''c1'', ''[]''', 'customer(''c1'', ''5''', 'customer(''c1'', ''"x"''', 'customer(''c1'', ''null''',
    'customer(''c1'', ''{"nmae": "x"}''', 'customer(''c1'', ''{"id": "x"}''', 'customer(''c1'', ''{"merged_into": "c2"}''',
    'customer(''c1'', ''{"name": 5}''', 'customer(''c1'', ''{"name": null}''', 'customer(''c1'', ''{"health_score": 101}''',
    'subscription(''c1'', ''s1'', ''{"planId": "gone"}''', 'subscription(''c1'', ''s1'', ''{"plan_id": "nothing"}''',
    'subscription(''c1'', ''s1'', ''{"on_trial": true}''', 'subscription(''c1'', ''s1'', ''{"price": -1}''',
    'subscription(''c1'', ''s1'', ''{"billing_cycle": "daily"}''',
    'order(''c1'', ''o1'', ''{"quantity": 0}''', 'order(''c1'', ''o1'', ''{"payment_status": "some"}''',
    'ticket(''c1'', ''t1'', ''{"sla_target": "soon"}''', 'ticket(''c1'', ''t1'', ''{"tags": "x"}''',
    'entitlement(''c1'', ''e1'', ''{"used_amount": 0}''', 'entitlement(''c1'', ''e1'', ''{"limit_amount": -1}''',
    'entitlement(''c1'', ''e1'', ''{"remaining_amount": 5}''',
    'segment(''vip'', ''{"customer_count": 5}''', 'segment(''vip'', ''{"parent_segment_id": "vip"}''',
    'plan(''basic'', NULL', 'plan(''basic'', ''{"pric": 5}''', 'pricing_plan(''basic'', NULL', 'pricing_plan(''basic'', ''[]''',
    'pricing_plan(''basic'', ''{"name": "x"}''', 'pricing_plan(''basic'', ''{"price": "x"}''']) c;
SELECT n, p, raises(format('SELECT svc_create_%s(%s)', n, p)) FROM unnest(ARRAY[
    'customer', 'plan', 'segment', 'subscription', 'order', 'invoice', 'ticket']) n,
    (VALUES ('NULL', '22004'), ('''[]''', 'SV010'), ('''5''', 'SV010'), ('''{"unicorn": 1}''', 'SV009'), ('''{"revision": 1}''', 'SV009'),
            ('''{"id": ""}''', '22023'), ('''{"id": 5}''', 'SV010')) b (p, state),
    LATERAL (SELECT CASE WHEN n IN ('customer', 'plan', 'segment') THEN p WHEN n = 'subscription' THEN '''c1'', ''basic'', properties => ' || p
                 ELSE '''c1'', ' || p END) a (args)
WHERE raises(format('SELECT svc_create_%s(%s)', n, args)) NOT LIKE state || ': %';
SELECT raises(format('SELECT svc_record_customer_usage(''c1'', %s)', p)) FROM unnest(ARRAY[
    'NULL', '''[]''', '''{}''', '''{"period_type": "day"}''', '''{"period_type": "day", "period_start": "soon"}''',
    '''{"period_type": "eon", "period_start": "2020-01-05Z", "period_end": "2020-01-06Z"}''',
    '''{"period_type": "day", "period_start": "2020-01-05Z", "period_end": "2020-01-05Z"}''']) p;

-- arguments of single actions
SELECT raises(format('SELECT svc_%s)', c)) FROM unnest(ARRAY[
    'respond_ticket(''c1'', ''t1'', ''robot''', 'respond_ticket(''c1'', ''t1'', NULL', 'respond_ticket(''c1'', ''t1'', ''customer'', true',
    'respond_ticket(''c1'', ''t1'', hold => NULL', 'adjust_usage(''c1'', ''u1''',
    'delete_customer(''c1'', NULL', 'record_usage(''c1'', NULL',
    'record_usage(''c1'', ''calls'', NULL', 'record_usage(''c1'', ''calls'', 1, ''infinity''',
    'record_usage(''c1'', ''calls'', 1, NULL, ''''', 'record_usage(''c1'', ''calls'', 1, subscription_id => ''nothing''']) c;
-- what an action is about cannot be left out
SELECT svc_solve_ticket('c1', 't1');
SELECT c, raises(c) FROM unnest(ARRAY['SELECT svc_bill_usage(''c1'', ''u1'', NULL)',
                                      'SELECT svc_rate_ticket(''c1'', ''t1'', NULL)']) c
WHERE raises(c) !~ '^(22004|SV001): .*\n  detail: .*\n  hint: ';
SELECT raises('SELECT svc_rate_ticket(''c1'', ''t1'', ' || a || ')') FROM unnest(ARRAY['-1', '''NaN''']) a;

-- plans that nobody can move to
SELECT raises(format('SELECT svc_%s_subscription(''c1'', ''s1'', %s)', f, a))
FROM unnest(ARRAY['upgrade', 'downgrade']) f, unnest(ARRAY['''nothing''', '''gone''', '''legacy''', 'NULL', '''basic'', -1', '''basic'', ''NaN''']) a;

-- optimistic locking: the revision that the caller has seen
SELECT raises(format('SELECT svc_%s, revision => 99)', c)) FROM unnest(ARRAY[
    'suspend_customer(''c1''', 'update_customer(''c1'', ''{"name": "x"}''', 'update_invoice(''c1'', ''open'', ''{"description": "x"}''',
    'update_pricing_plan(''basic'', ''{"price": 1}''', 'pay_invoice(''c1'', ''open''', 'delete_customer(''c1''']) c;
-- every action takes it, and looks at it before the status
SELECT f.name, raises(replace(call_of(f, '''c1''', id), ')', ', revision => 99)'))
FROM action_function f, LATERAL (SELECT substring(f.name FROM '(customer_usage|customer|entitlement|segment|plan|subscription|order|invoice|ticket|usage)$')) n (noun),
     LATERAL (SELECT '''' || CASE noun WHEN 'customer_usage' THEN 'r1' WHEN 'customer' THEN 'deleted' WHEN 'entitlement' THEN 'e1'
         WHEN 'segment' THEN 'archived' WHEN 'plan' THEN 'gone' WHEN 'subscription' THEN 's1' WHEN 'order' THEN 'o1'
         WHEN 'invoice' THEN 'draft' WHEN 'ticket' THEN 't1' WHEN 'usage' THEN 'u1' END || '''') i (id)
WHERE raises(replace(call_of(f, '''c1''', id), ')', ', revision => 99)')) NOT LIKE 'SV005: %not 99.%hint: %';
-- the right one is let pass, and is old then
SELECT revision AS seen FROM svc_order WHERE id = 'o1' \gset
SELECT svc_update_order('c1', 'o1', '{"notes": "n"}', :seen);
SELECT raises(format('SELECT svc_update_order(''c1'', ''o1'', ''{"notes": "m"}'', %s)', :seen));

-- merging
SELECT raises(format('SELECT svc_merge_customer(%s)', a)) FROM unnest(ARRAY[
    '''c1'', ''c1''', '''missing'', ''c1''', '''c1'', ''missing''', '''merged'', ''c1''', '''c1'', ''merged''',
    '''deleted'', ''c1''', '''c1'', ''deleted''', 'NULL, ''c1''', '''c1'', NULL', ''''', ''c1''', '''c1'', repeat(''x'', 256)']) a;
SELECT raises('UPDATE svc_customer SET merged_into = ''c2'' WHERE id = ''c1''');

-- deleting a customer who has open subscriptions
SELECT raises('SELECT svc_delete_customer(''c1'')');
SELECT raises('SELECT svc_delete_customer(''c1'', false)');
SELECT raises('DELETE FROM svc_customer WHERE id = ''c1''');

-- nothing of all that has left a trace, but the four events of what was let
-- pass: overdue, description, solved, notes
SELECT (SELECT count(*) FROM svc_event) - b.events AS events,
       (SELECT sum(amount_paid) || ' ' || sum(amount_due) || ' ' || sum(amount_refunded) FROM svc_invoice) = b.money AS same_money,
       (SELECT md5(string_agg(c::text, '|' ORDER BY id)) FROM svc_customer c) = b.customers AS same_customers,
       (SELECT value FROM svc_counter) = b.numbers AS same_numbers
FROM before b;

-- with force, and when the subscription has ended, it is done
BEGIN;
SELECT svc_delete_customer('c1', force => true);
ROLLBACK;
SELECT svc_cancel_subscription('c1', 's1');
SELECT svc_delete_customer('c1');

SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
