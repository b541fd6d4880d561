-- Promise: the invoice for a period of a subscription says what was agreed and
-- what the ledger shows; who does not pay is past due, who pays is active.
\set SHOW_CONTEXT never
\pset null ~
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "ada", "name": "Ada", "status": "active", "timezone": "Europe/Berlin", "payment_method": "card"}'),
       svc_create_customer('{"id": "ken", "name": "Ken", "status": "active", "timezone": "Asia/Tokyo", "payment_method": "card"}'),
       svc_create_customer('{"id": "bob", "name": "Bob", "status": "active", "payment_method": "card"}') \g /dev/null
SELECT svc_create_plan('{"id": "pro", "name": "Pro", "price": 49.90, "currency": "EUR", "trial_days": 14, "overage_price": 0.0125,
           "limits": {"api_calls": {"limit": 100, "overage": "allow"}, "tokens": {"limit": 10, "reset_period": "daily", "overage": "allow"},
                      "seats": {"limit": 2, "reset_period": "never"}}}'),
       svc_create_plan('{"id": "extra", "name": "Extra", "price": 5, "currency": "EUR", "overage_price": 2,
           "limits": {"gpus": {"limit": 1, "overage": "allow", "carry_overage": true}}}'),
       svc_create_plan('{"id": "yen", "name": "Yen", "price": 1000, "currency": "JPY", "overage_price": 0.3, "limits": {"api_calls": {"limit": 1, "overage": "allow"}}}'),
       svc_create_plan('{"id": "dinar", "name": "Dinar", "price": 1.2345, "currency": "KWD"}'),
       svc_create_plan('{"id": "plain", "name": "Plain", "price": 10, "limits": {"api_calls": {"limit": 1, "overage": "allow"}}}') \g /dev/null
CREATE FUNCTION lines(invoice text) RETURNS TABLE (description text, code text, quantity numeric, unit_price numeric, amount numeric)
LANGUAGE sql AS $$
    SELECT l ->> 'description', l ->> 'code', (l ->> 'quantity')::numeric, (l ->> 'unit_price')::numeric, (l ->> 'amount')::numeric
    FROM svc_invoice i, jsonb_array_elements(i.line_items) l WHERE i.id = invoice
$$;
CREATE FUNCTION raises(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
    h text;
BEGIN
    EXECUTE call;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN concat(SQLSTATE, ': ', SQLERRM, ' | ', d, ' | ', h);
END $$;
CREATE FUNCTION run_due(at timestamptz) RETURNS TABLE (task text, done bigint)
LANGUAGE sql AS $$ SELECT task, done FROM svc_run_due(at) WHERE done > 0 $$;

-- a trial costs nothing, but for what was used beyond it
SELECT svc_create_subscription('ada', 'pro', 3, addons => '{"extra": {"quantity": 2, "price": 4.5}}', properties => '{"id": "s"}', at => '2027-01-17 09:00Z');
SELECT allowed, overage FROM svc_consume_entitlement('ada', 'api_calls', 304, at => '2027-01-18Z');
SELECT svc_create_invoice_for('ada', 's', at => '2027-01-19Z') AS trial \gset
SELECT * FROM lines(:'trial');
SELECT status, description, subtotal, discount, tax, total, amount_due, currency, period_start, period_end, due_date, number FROM svc_invoice WHERE id = :'trial';

-- a period: quantity by price, add-ons, and overage by code; what was given
-- back is not billed, a limit that was raised later changes nothing, each day
-- has its own limit
SELECT allowed, overage FROM svc_consume_entitlement('ada', 'api_calls', 350, at => '2027-02-01Z');
SELECT allowed, overage FROM svc_consume_entitlement('ada', 'api_calls', -20, at => '2027-02-02Z');
SELECT allowed, overage FROM svc_consume_entitlement('ada', 'tokens', 31, at => '2027-02-02Z');
SELECT allowed, overage FROM svc_consume_entitlement('ada', 'tokens', 32, at => '2027-02-03Z');
SELECT allowed, overage FROM svc_consume_entitlement('ada', 'gpus', 5, at => '2027-02-03Z');
SELECT hold_id AS hold FROM svc_hold_entitlement('ada', 'api_calls', 10, ttl => '2 days', at => '2027-02-03Z') \gset
SELECT consumed FROM svc_settle_hold('ada', :'hold', 4, at => '2027-02-04Z');
SELECT svc_update_subscription('ada', 's', '{"quantity": 4}', at => '2027-02-10Z');
SELECT svc_create_invoice_for('ada', 's', discount => 10, tax => 20.5, due_date => '2027-03-14Z', at => '2027-02-20Z') AS february \gset
SELECT * FROM lines(:'february');
SELECT status, subtotal, discount, tax, total, period_start, period_end, due_date FROM svc_invoice WHERE id = :'february';
SELECT occurred_at, kind, amount, overage FROM svc_entitlement_ledger WHERE overage IS NOT NULL AND occurred_at > '2027-01-31' ORDER BY occurred_at, seq;
-- once: the same call finds it, also from the next period, unless it is void
SELECT svc_create_invoice_for('ada', 's', at => '2027-02-21Z') = :'february' AS same;
SELECT svc_create_invoice_for('ada', 's', '2027-02-20Z', at => '2027-03-05Z') = :'february' AS same;
SELECT svc_void_invoice('ada', :'february', at => '2027-03-05Z');
SELECT svc_create_invoice_for('ada', 's', '2027-02-20Z', due_date => '2027-03-14Z', at => '2027-03-05Z') AS again \gset
SELECT :'again' = :'february' AS same, subtotal, period_start, period_end FROM svc_invoice WHERE id = :'again';
-- what was carried over is not billed twice; the next period has nothing beyond
SELECT allowed, overage FROM svc_consume_entitlement('ada', 'gpus', 1, at => '2027-03-06Z');
SELECT svc_create_invoice_for('ada', 's', at => '2027-03-06Z') AS march \gset
SELECT * FROM lines(:'march');
-- digits of the currency
SELECT svc_create_subscription('ken', 'yen', 3, properties => '{"id": "y"}', at => '2027-01-01Z'), svc_create_subscription('ken', 'dinar', properties => '{"id": "d"}', at => '2027-01-01Z'),
       svc_create_subscription('bob', 'plain', properties => '{"id": "p"}', at => '2027-01-01Z') \g /dev/null
SELECT overage FROM svc_consume_entitlement('ken', 'api_calls', 8, at => '2027-01-02Z');
SELECT overage FROM svc_consume_entitlement('bob', 'api_calls', 8, at => '2027-01-02Z');
SELECT svc_create_invoice_for(customer, id, at => '2027-01-03Z') FROM (VALUES ('ken', 'y'), ('ken', 'd'), ('bob', 'p')) s (customer, id) \g /dev/null
SELECT i.subscription_id, l.*, i.total, i.currency FROM svc_invoice i, LATERAL lines(i.id) l
WHERE subscription_id IN ('y', 'd', 'p') ORDER BY i.subscription_id, l.code NULLS FIRST;

-- not paid in time: past due; paid: active, and the periods go on from where
-- they have stopped
SELECT svc_finalize_invoice('ada', :'again', at => '2027-03-05Z'), svc_finalize_invoice('ada', :'march', '2027-03-20Z', at => '2027-03-07Z');
SELECT * FROM run_due('2027-03-14Z'::timestamptz - interval '1 second');
SELECT * FROM run_due('2027-03-14Z');
SELECT status, due_at FROM svc_subscription WHERE id = 's';
SELECT allowed FROM svc_consume_entitlement('ada', 'seats', 1, at => '2027-03-15Z');
SELECT svc_pay_invoice('ada', :'again', 1, at => '2027-03-16Z');
SELECT * FROM run_due('2027-05-02Z');
SELECT status, current_period_end FROM svc_subscription WHERE id = 's';
-- two are overdue: the payment of one is not enough
SELECT svc_pay_invoice('ada', :'again', at => '2027-05-03Z');
SELECT status FROM svc_subscription WHERE id = 's';
SELECT svc_pay_invoice('ada', :'march', at => '2027-05-03Z');
SELECT status, due_at FROM svc_subscription WHERE id = 's';
SELECT * FROM run_due('2027-05-03Z');
SELECT status, current_period_start, current_period_end FROM svc_subscription WHERE id = 's';
SELECT revision, event, from_status, to_status FROM svc_event WHERE noun = 'subscription' AND entity_id = 's' ORDER BY revision;
-- late: the same as in time. It is past due from the due date on, and does not
-- renew after that
SELECT svc_create_customer('{"id": "zoe", "name": "Zoe", "status": "active"}') \g /dev/null
SELECT svc_create_subscription('zoe', 'plain', properties => '{"id": "z"}', at => '2027-01-01Z');
SELECT svc_create_invoice_for('zoe', 'z', at => '2027-01-03Z') AS zoes \gset
SELECT svc_finalize_invoice('zoe', :'zoes', '2027-02-10Z', at => '2027-01-04Z');
SELECT svc_pause_subscription('zoe', 'z', at => '2027-06-01Z');
SELECT event, to_status, changes -> 'current_period_start' ->> 'new' AS period FROM svc_event WHERE entity_id = 'z' ORDER BY revision;
SELECT * FROM run_due('2027-06-01Z');
SELECT status FROM svc_invoice WHERE id = :'zoes';
-- by plain SQL just as well; what is not owed any more, is as good as paid
SELECT svc_resume_subscription('zoe', 'z', at => '2027-06-02Z'), svc_mark_past_due_subscription('zoe', 'z', at => '2027-06-02Z');
UPDATE svc_invoice SET status = 'void' WHERE id = :'zoes';
SELECT status FROM svc_subscription WHERE id = 'z';

-- a period that is over is billed by what was agreed in it, also when plan,
-- cycle and anchor are others now; what went by in a pause is no period
SELECT svc_create_customer('{"id": "tim", "name": "Tim", "status": "active", "payment_method": "card"}'),
       svc_create_subscription('tim', 'pro', trial_days => 0, properties => '{"id": "t"}', at => '2027-01-15Z') \g /dev/null
SELECT overage FROM svc_consume_entitlement('tim', 'api_calls', 300, at => '2027-01-20Z');
SELECT svc_downgrade_subscription('tim', 't', 'extra', at_period_end => true, at => '2027-01-21Z');
SELECT svc_upgrade_subscription('tim', 't', 'extra', billing_cycle => 'yearly', at => '2027-03-03Z');
SELECT svc_pause_subscription('tim', 't', at => '2027-03-10Z'), svc_resume_subscription('tim', 't', at => '2029-06-10Z');
SELECT period_start, period_end, is_trial, plan_id, quantity, price FROM svc_subscription_period WHERE subscription_id = 't' ORDER BY 1;
SELECT svc_create_invoice_for('tim', 't', p, at => '2029-06-11Z') FROM unnest(ARRAY['2027-01-16Z', '2027-02-20Z', '2027-03-04Z', '2029-06-10Z']::timestamptz[]) p \g /dev/null
SELECT period_start, period_end, description, total FROM svc_invoice WHERE subscription_id = 't' ORDER BY 1;
SELECT raises($$SELECT svc_create_invoice_for('tim', 't', '2028-05-01Z', at => '2029-06-11Z')$$);
SELECT raises($$UPDATE svc_subscription_period SET price = 1 WHERE subscription_id = 't'$$);
-- a draft is brought up to date, but for the lines that somebody has added
SELECT svc_create_subscription('tim', 'pro', trial_days => 0, properties => '{"id": "u"}', at => '2030-01-01Z'),
       svc_create_invoice_for('tim', 'u', discount => 5, at => '2030-01-30Z') AS draft \gset
SELECT svc_update_invoice('tim', :'draft', jsonb_build_object('line_items', line_items || '[{"description": "Setup", "amount": 15}]')) FROM svc_invoice WHERE id = :'draft';
SELECT overage FROM svc_consume_entitlement('tim', 'api_calls', 300, at => '2030-01-31Z');
SELECT svc_create_invoice_for('tim', 'u', '2030-01-30Z', at => '2030-02-02Z') = :'draft' AS same;
SELECT * FROM lines(:'draft');
SELECT subtotal, discount, total FROM svc_invoice WHERE id = :'draft';
SELECT svc_finalize_invoice('tim', :'draft', at => '2030-02-02Z');
SELECT overage FROM svc_consume_entitlement('tim', 'api_calls', 300, at => '2030-02-03Z');
SELECT svc_create_invoice_for('tim', 'u', '2030-01-30Z', at => '2030-02-03Z') = :'draft' AS same;
SELECT revision, event FROM svc_event WHERE entity_id = :'draft' ORDER BY 1;
-- nothing to pay: never overdue
SELECT svc_create_plan('{"id": "free", "name": "Free", "price": 0}'), svc_create_subscription('tim', 'free', properties => '{"id": "f"}', at => '2030-01-01Z') \g /dev/null
SELECT svc_create_invoice_for('tim', 'f', due_date => '2030-01-10Z', at => '2030-01-02Z') AS nothing \gset
SELECT svc_finalize_invoice('tim', :'nothing', at => '2030-01-02Z');
SELECT * FROM run_due('2030-01-20Z');
SELECT i.status, i.total, s.status FROM svc_invoice i JOIN svc_subscription s ON s.id = i.subscription_id WHERE i.id = :'nothing';

-- refused
SELECT c, raises('SELECT svc_create_invoice_for(' || c || ')') FROM unnest(ARRAY[
    $$'ada', 'missing'$$, $$'nobody', 's'$$, $$NULL, 's'$$, $$'ada', NULL$$, $$'ada', 's', '2026-12-31Z'$$, $$'ada', 's', '2099-12-31Z'$$,
    $$'ada', 's', 'infinity'$$, $$'ada', 's', discount => -1$$, $$'ada', 's', tax => 'NaN'$$, $$'ada', 's', at => 'infinity'$$,
    $$'bob', 'p', discount => 1000, at => '2027-06-10Z'$$]) c;
SELECT * FROM svc_verify();
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
