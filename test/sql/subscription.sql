-- Promise: a subscription lives by the calendar of its customer. Each flow is a
-- timeline with explicit instants; what is due is written down by svc_run_due()
-- or by the next call, with the same result.
\set SHOW_CONTEXT never
\pset null ~
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "ada", "name": "Ada", "status": "active", "timezone": "Europe/Berlin", "payment_method": "card"}'),
       svc_create_customer('{"id": "bob", "name": "Bob", "status": "active", "timezone": "America/New_York"}'),
       svc_create_customer('{"id": "eve", "name": "Eve", "status": "active", "timezone": "Europe/Berlin", "payment_method": "card"}'),
       svc_create_customer('{"id": "kim", "name": "Kim", "status": "active", "timezone": "Pacific/Kiritimati", "payment_method": "card"}') \g /dev/null
SELECT svc_create_plan('{"id": "starter", "name": "Starter", "price": 9, "currency": "EUR",
           "limits": {"api_calls": 100, "seats": {"limit": 1, "reset_period": "never"}, "tokens": {"limit": 10, "reset_period": "daily"}}}'),
       svc_create_plan('{"id": "pro", "name": "Pro", "price": 49, "currency": "EUR", "annual_discount": 20, "trial_days": 14, "service_id": "api",
           "overage_price": 0.01, "limits": {"api_calls": {"limit": 1000, "overage": "allow"}, "seats": {"limit": 5, "reset_period": "never"},
                                             "sso": true, "support": {"value": "priority"}}}'),
       svc_create_plan('{"id": "storage", "name": "Storage", "price": 5, "currency": "EUR", "limits": {"gigabytes": {"limit": 50, "reset_period": "never"}, "api_calls": 10}}'),
       svc_create_plan('{"id": "yearly", "name": "Yearly", "price": 400, "currency": "EUR", "billing_interval": "yearly", "limits": {"api_calls": 5000}}'),
       svc_create_plan('{"id": "dollar", "name": "Dollar", "price": 1, "currency": "USD"}'),
       svc_create_plan('{"id": "carded", "name": "Carded", "price": 1, "trial_days": 7, "trial_requires_card": true}'),
       svc_create_plan('{"id": "free", "name": "Free", "price": 0, "trial_days": 3, "limits": {"api_calls": 5}}'),
       svc_create_plan('{"id": "secret", "name": "Secret", "price": 1, "status": "hidden"}'),
       svc_create_plan('{"id": "gone", "name": "Gone", "price": 1}'), svc_discontinue_plan('gone') \g /dev/null
CREATE VIEW life AS
SELECT id, status, plan_id AS plan, price, billing_cycle AS cycle, current_period_start AS period_start, current_period_end AS period_end, due_at
FROM svc_subscription ORDER BY customer_id, id;
CREATE VIEW grants AS
SELECT subscription_id AS sub, code, status, source, limit_amount AS lim, used_amount AS used, reset_at
FROM svc_entitlement ORDER BY subscription_id, code, source, created_at, status;
CREATE FUNCTION story(customer text, subscription text) RETURNS TABLE (revision bigint, event text, to_status text, note text)
LANGUAGE sql AS $$
    SELECT revision, event, to_status, changes -> 'reason' ->> 'new' FROM svc_event
    WHERE noun = 'subscription' AND customer_id = customer AND entity_id = subscription ORDER BY revision
$$;
CREATE FUNCTION run_due(at timestamptz) RETURNS TABLE (task text, done bigint)
LANGUAGE sql AS $$ SELECT task, done FROM svc_run_due(at) WHERE done > 0 $$;
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

--
-- What is left out, the plan tells
--
SELECT svc_create_subscription('ada', 'pro', 2, addons => '{"storage": 3}', properties => '{"id": "s"}', at => '2027-01-17 12:00+01');
SELECT status, plan_id, service_id, billing_cycle, price, currency, quantity, trial_start, trial_end, on_trial, billing_anchor,
       next_billing_date, entitlements, usage_limits FROM svc_subscription;
SELECT addons, terms FROM svc_subscription;
SELECT * FROM grants;
-- a plan billed monthly can be had by the quarter and by the year
SELECT cycle, svc_create_subscription('bob', 'pro', 1, 0, properties => jsonb_build_object('id', cycle, 'billing_cycle', cycle),
    allow_duplicate => true, at => '2028-02-29 10:00-05') FROM unnest(ARRAY['monthly', 'quarterly', 'yearly']) cycle;
SELECT * FROM life WHERE id IN ('monthly', 'quarterly', 'yearly');
-- billed on the first of each month; plain SQL is completed as well
SELECT svc_create_subscription('bob', 'starter', billing_anchor => '2027-02-01 00:00-05', properties => '{"id": "first"}', at => '2027-01-20 15:00-05');
INSERT INTO svc_subscription (customer_id, id, plan_id, started_at) VALUES ('kim', 'old', 'starter', '2020-03-31 12:00+14');
SELECT status, price, currency, billing_cycle, billing_anchor, current_period_start <= now() AND now() < current_period_end AS is_present FROM svc_subscription WHERE id = 'old';
SELECT * FROM life WHERE id = 'first';
SELECT svc_cancel_subscription(customer_id, id, at => greatest(current_period_start, now())) FROM svc_subscription WHERE id <> 's' \g /dev/null

--
-- Trial: converts for who has a payment method, or where there is nothing to pay
--
SELECT allowed, remaining FROM svc_consume_entitlement('ada', 'api_calls', 500, at => '2027-01-20Z');
SELECT allowed, remaining FROM svc_consume_entitlement('ada', 'seats', 4, at => '2027-01-20Z');
SELECT * FROM run_due('2027-01-31 12:00+01'::timestamptz - interval '1 microsecond');
SELECT * FROM run_due('2027-01-31 12:00+01');
SELECT * FROM life WHERE id = 's';
-- with the paid period the counters begin anew, but for what never does
SELECT * FROM grants WHERE sub = 's';
SELECT svc_create_subscription('bob', 'pro', properties => '{"id": "try"}', at => '2027-03-01 12:00-05'),
       svc_create_subscription('bob', 'free', properties => '{"id": "nothing"}', at => '2027-03-01 12:00-05');
-- across the change of clocks a day of the trial has 23 hours, and the hour stays
SELECT id, trial_end - trial_start AS length FROM svc_subscription WHERE id IN ('try', 'nothing');
SELECT allowed, reason FROM svc_check_entitlement('bob', 'sso', at => '2027-03-16Z');
SELECT * FROM run_due('2027-03-16Z');
SELECT id, status, ended_at, current_period_start, current_period_end FROM svc_subscription WHERE id IN ('try', 'nothing');
SELECT * FROM story('bob', 'try');
SELECT status, count(*) FROM svc_entitlement WHERE subscription_id = 'try' GROUP BY 1;
-- activated early: the paid period begins then
SELECT svc_create_subscription('kim', 'pro', properties => '{"id": "early"}', at => '2027-05-01 00:00+14');
SELECT svc_activate_subscription('kim', 'early', at => '2027-05-03 00:00+14');
SELECT id, trial_end, billing_anchor, current_period_start, current_period_end FROM svc_subscription WHERE id = 'early';

--
-- 31 January, through a leap year: each boundary is reckoned from the anchor
--
SELECT at, r.done, l.period_start, l.period_end FROM unnest(ARRAY['2027-02-28 11:00Z', '2027-03-31 10:00Z', '2027-04-30 10:00Z', '2028-02-29 11:00Z']::timestamptz[]) at,
    LATERAL (SELECT sum(done) AS done FROM svc_run_due(at) WHERE task = 'renew subscriptions') r,
    LATERAL (SELECT * FROM life WHERE id = 's') l;
SELECT count(*), min(changes -> 'current_period_end' ->> 'new'), max(changes -> 'current_period_end' ->> 'new')
FROM svc_event WHERE entity_id = 's' AND event = 'renewed';
SELECT * FROM run_due('2028-02-29 11:00Z');

--
-- Another plan at once: what both have carries on, what the new one lacks ends
--
SELECT allowed, remaining, overage FROM svc_consume_entitlement('ada', 'api_calls', 2500, at => '2028-03-02Z');
SELECT * FROM svc_preview_subscription_change('ada', 's', 'starter', at => '2028-03-02Z');
SELECT * FROM svc_preview_subscription_change('ada', 's', 'starter', 1, carry_usage => false, at => '2028-03-02Z');
SELECT * FROM svc_preview_subscription_change('ada', 's', 'pro', 9, at => '2028-03-02Z');
SELECT svc_downgrade_subscription('ada', 's', 'starter', reason => 'too big', at => '2028-03-03Z');
SELECT * FROM life WHERE id = 's';
SELECT * FROM grants WHERE sub = 's';
SELECT allowed, reason FROM svc_check_entitlement('ada', 'sso', at => '2028-03-03Z');
SELECT svc_subscription_usage('ada', 's', '2028-03-03Z');
-- without what was used
SELECT svc_upgrade_subscription('ada', 's', 'pro', carry_usage => false, at => '2028-03-04Z');
SELECT * FROM grants WHERE sub = 's' AND status <> 'revoked';
SELECT svc_subscription_usage('ada', 's', '2028-03-04Z'), usage_this_period FROM svc_subscription WHERE id = 's';
SELECT allowed FROM svc_consume_entitlement('ada', 'seats', 2, at => '2028-03-04Z');
SELECT usage_this_period FROM svc_subscription WHERE id = 's';
SELECT * FROM run_due('2028-03-04Z');
SELECT usage_this_period FROM svc_subscription WHERE id = 's';
-- another cycle begins at once
SELECT svc_upgrade_subscription('ada', 's', 'yearly', billing_cycle => 'yearly', at => '2028-03-05 09:00Z');
SELECT * FROM life WHERE id = 's';

--
-- At the end of the period: noted, shown, withdrawn, noted again, done
--
SELECT svc_create_subscription('eve', 'pro', 1, 0, properties => '{"id": "later"}', at => '2027-08-31 08:00Z');
SELECT allowed FROM svc_consume_entitlement('eve', 'seats', 3, at => '2027-08-31 09:00Z');
SELECT svc_downgrade_subscription('eve', 'later', 'starter', at_period_end => true, reason => 'saving', at => '2027-09-01Z');
SELECT scheduled_at, scheduled_action, scheduled_plan_id, scheduled_price, scheduled_billing_cycle, scheduled_carry_usage FROM svc_subscription WHERE id = 'later';
SELECT svc_update_subscription('eve', 'later', '{"scheduled_plan_id": null}', at => '2027-09-02Z');
SELECT scheduled_at, scheduled_action, scheduled_plan_id, scheduled_price FROM svc_subscription WHERE id = 'later';
SELECT svc_downgrade_subscription('eve', 'later', 'starter', 7, at_period_end => true, at => '2027-09-03Z');
SELECT changes_at FROM svc_customer WHERE id = 'eve';
-- until then nothing changes; then the first consume has it written down
SELECT allowed, reason, remaining FROM svc_consume_entitlement('eve', 'tokens', 1, at => '2027-09-30 07:00Z');
SELECT allowed, reason, remaining FROM svc_consume_entitlement('eve', 'tokens', 1, at => '2027-09-30 08:00Z');
SELECT allowed, reason, remaining FROM svc_consume_entitlement('eve', 'seats', 1, at => '2027-09-30 08:00Z');
SELECT * FROM life WHERE id = 'later';
SELECT * FROM grants WHERE sub = 'later';
SELECT * FROM story('eve', 'later');
-- a limit that the change lowers denies, from that instant on, who runs late
SELECT svc_upgrade_subscription('eve', 'later', 'pro', at => '2027-10-01Z'),
       svc_downgrade_subscription('eve', 'later', 'starter', at_period_end => true, carry_usage => false, at => '2027-10-01Z');
SELECT allowed, remaining FROM svc_consume_entitlement('eve', 'api_calls', 101, at => '2027-11-30 08:00Z');
SELECT status, plan_id, current_period_start FROM svc_subscription WHERE id = 'later';
SELECT * FROM grants WHERE sub = 'later' AND status <> 'revoked';

--
-- Pause and resume: what went by is not made up for
--
SELECT svc_pause_subscription('eve', 'later', at => '2027-12-01Z');
SELECT status, due_at, next_billing_date FROM svc_subscription WHERE id = 'later';
SELECT DISTINCT status FROM svc_entitlement WHERE subscription_id = 'later' AND status <> 'revoked';
SELECT svc_update_subscription('eve', 'later', '{"quantity": 2, "addons": {"storage": 1}}', at => '2027-12-02Z');
SELECT DISTINCT status FROM svc_entitlement WHERE subscription_id = 'later' AND status <> 'revoked';
SELECT * FROM run_due('2028-02-15Z');
SELECT svc_resume_subscription('eve', 'later', at => '2028-02-15Z');
SELECT * FROM life WHERE id = 'later';
SELECT code, status, source, lim, used FROM grants WHERE sub = 'later' AND status <> 'revoked';

--
-- Cancelled at the end of the period, and not after all, and after all
--
SELECT svc_cancel_subscription('eve', 'later', true, 'moving', at => '2028-02-16Z');
SELECT status, cancel_at_period_end, cancellation_reason, due_at, next_billing_date FROM svc_subscription WHERE id = 'later';
SELECT svc_uncancel_subscription('eve', 'later', 'staying', at => '2028-02-17Z');
SELECT svc_uncancel_subscription('eve', 'later', 'nothing to do', at => '2028-02-17Z');
SELECT status, cancel_at_period_end, cancellation_reason, due_at, next_billing_date FROM svc_subscription WHERE id = 'later';
SELECT svc_cancel_subscription('eve', 'later', true, 'moving', at => '2028-02-18Z');
SELECT allowed FROM svc_consume_entitlement('eve', 'gigabytes', 1, at => '2028-02-29 08:59Z');
-- also for who only looks, whether it is written down or not
SELECT allowed, reason FROM svc_check_entitlement('eve', 'gigabytes', 1, at => '2028-02-29 08:59Z');
SELECT allowed, reason FROM svc_check_entitlement('eve', 'gigabytes', 1, at => '2028-02-29 09:00Z');
SELECT code, reason, remaining_amount FROM svc_entitlements('eve', '2028-02-29 09:00Z');
SELECT what, state FROM svc_explain_entitlement('eve', 'gigabytes', 1, '2028-02-29 09:00Z');
SELECT allowed, reason FROM svc_consume_entitlement('eve', 'gigabytes', 1, at => '2028-02-29 09:00Z');
SELECT allowed, reason FROM svc_check_entitlement('eve', 'gigabytes', 1, at => '2028-02-29 09:00Z');
SELECT status, ended_at, cancelled_at, due_at FROM svc_subscription WHERE id = 'later';
SELECT raises($$SELECT svc_uncancel_subscription('eve', 'later')$$);
SELECT * FROM story('eve', 'later');
-- who has paused is cancelled all the same
SELECT svc_create_subscription('kim', 'starter', properties => '{"id": "p"}', at => '2027-06-01 00:00+14'),
       svc_cancel_subscription('kim', 'p', true, at => '2027-06-02 00:00+14'), svc_pause_subscription('kim', 'p', at => '2027-06-03 00:00+14');
SELECT * FROM run_due('2027-06-30 23:59+14');
SELECT * FROM run_due('2027-07-01 00:00+14');

--
-- A plan that changes leaves its subscribers alone, until they are migrated
--
SELECT svc_create_customer(jsonb_build_object('id', 'm' || n, 'name', 'M')), svc_create_subscription('m' || n, 'starter', properties => '{"id": "x"}', at => '2027-01-01Z')
FROM generate_series(1, 5) n \g /dev/null
SELECT allowed FROM svc_consume_entitlement('m1', 'api_calls', 60, at => '2027-01-02Z');
SELECT svc_update_plan('starter', '{"limits": {"api_calls": 50, "reports": true}, "price": 8}');
SELECT svc_update_subscription('m1', 'x', '{"quantity": 2}', at => '2027-01-03Z');
SELECT code, lim, used FROM grants JOIN svc_subscription s ON s.id = sub WHERE s.id = 'x' AND s.customer_id = 'm1' AND lim = 200;
SELECT * FROM svc_migrate_subscribers('starter', max_rows => 3, at => '2027-01-04Z');
SELECT * FROM svc_migrate_subscribers('starter', max_rows => 3, at => '2027-01-04Z');
SELECT * FROM svc_migrate_subscribers('starter', at => '2027-01-04Z');
SELECT customer_id, code, status, limit_amount, used_amount FROM svc_entitlement WHERE customer_id IN ('m1', 'm5') ORDER BY 1, 2, 3;
SELECT DISTINCT price, terms -> 'limits' AS limits FROM svc_subscription WHERE customer_id LIKE 'm%';
-- to another plan; one that cannot follow does not keep the others back
SELECT svc_create_subscription('m2', 'secret', properties => '{"id": "y"}', at => '2027-01-01Z') \g /dev/null
SELECT * FROM svc_migrate_subscribers('starter', 'secret', with_price => true, at => '2027-01-05Z');
SELECT customer_id, id, plan_id, price FROM svc_subscription WHERE customer_id LIKE 'm%' ORDER BY 1, 2;

--
-- Refused
--
SELECT c, raises('SELECT svc_create_subscription(' || c || ')') FROM unnest(ARRAY[
    $$'ada', 'gone'$$, $$'ada', 'nothing'$$, $$'nobody', 'pro'$$, $$NULL, 'pro'$$, $$'ada', NULL$$, $$'ada', 'pro', 0$$,
    $$'bob', 'pro', trial_days => -1$$, $$'bob', 'pro', trial_days => 3651$$, $$'bob', 'carded'$$,
    $$'bob', 'yearly', properties => '{"billing_cycle": "monthly"}'$$, $$'bob', 'yearly', properties => '{"billing_cycle": "daily"}'$$,
    $$'bob', 'pro', properties => '{"currency": "USD"}'$$, $$'bob', 'pro', properties => '{"plan_id": "free"}'$$,
    $$'bob', 'pro', properties => '{"terms": {}}'$$, $$'bob', 'pro', properties => '[]'$$, $$'bob', 'pro', properties => NULL$$,
    $$'bob', 'pro', allow_duplicate => NULL$$, $$'bob', 'pro', at => 'infinity'$$,
    $$'bob', 'pro', addons => '[]'$$, $$'bob', 'pro', addons => '{"nothing": 1}'$$, $$'bob', 'pro', addons => '{"gone": 1}'$$,
    $$'bob', 'pro', addons => '{"storage": 0}'$$, $$'bob', 'pro', addons => '{"storage": 1.5}'$$, $$'bob', 'pro', addons => '{"storage": "1"}'$$,
    $$'bob', 'pro', addons => '{"storage": {"quantity": 1, "price": -1}}'$$, $$'bob', 'pro', addons => '{"dollar": 1}'$$,
    $$'bob', 'free'$$]) c;
SELECT svc_create_subscription('bob', 'secret', 1, 0, addons => '{"storage": {"quantity": 1, "price": 2.5}}', properties => '{"id": "hidden"}', at => '2027-01-01Z');
SELECT status, addons -> 'storage' ->> 'price' AS price FROM svc_subscription WHERE id = 'hidden';
SELECT c, raises('SELECT svc_' || c || ')') FROM unnest(ARRAY[
    $$upgrade_subscription('bob', 'nothing', 'dollar'$$, $$upgrade_subscription('ada', 's', 'dollar'$$, $$upgrade_subscription('ada', 's', 'pro', billing_cycle => 'weekly'$$,
    $$upgrade_subscription('ada', 's', 'gone', at_period_end => true$$, $$upgrade_subscription('ada', 's', 'yearly', billing_cycle => 'monthly', at_period_end => true$$,
    $$upgrade_subscription('ada', 's', 'pro', at_period_end => NULL$$, $$upgrade_subscription('ada', 's', 'pro', carry_usage => NULL$$,
    $$upgrade_subscription('bob', 'nothing', 'secret'$$, $$upgrade_subscription('bob', 'nothing', 'secret', at_period_end => true$$,
    $$upgrade_subscription('eve', 'later', 'pro'$$, $$cancel_subscription('ada', 's', NULL$$,
    $$pause_subscription('ada', 's', at => '2028-01-01Z'$$, $$renew_subscription('ada', 's', at => '-infinity'$$,
    $$preview_subscription_change('ada', 'missing', 'pro'$$, $$preview_subscription_change('ada', 's', 'missing'$$, $$preview_subscription_change('ada', 's', NULL$$,
    $$preview_subscription_change('ada', 's', 'pro', -5$$, $$preview_subscription_change('ada', 's', 'pro', billing_cycle => 'daily'$$,
    $$migrate_subscribers('missing'$$, $$migrate_subscribers('pro', 'gone'$$, $$migrate_subscribers('pro', max_rows => 0$$, $$plan_terms('missing'$$]) c;
SELECT raises($$SELECT svc_pause_subscription('ada', 's', at => '4000-01-01Z')$$), raises($$SELECT svc_pause_subscription('bob', 'nothing', at => '290000-01-01Z')$$);
SELECT raises($$INSERT INTO svc_subscription (customer_id, plan_id) VALUES ('bob', 'free')$$);
SELECT raises($$UPDATE svc_subscription SET scheduled_plan_id = 'pro' WHERE id = 's'$$), raises($$UPDATE svc_subscription SET terms = '{}' WHERE id = 's'$$);
-- one that cannot be done does not keep the others back, and is told
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one' USING DETAIL = 'really', HINT = 'let it be'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.id = 'early') EXECUTE FUNCTION refuse();
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER suppress BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.id = 'x') EXECUTE FUNCTION suppress();
SELECT * FROM run_due('2029-06-01Z');
DROP TRIGGER refuse ON svc_subscription;
DROP TRIGGER suppress ON svc_subscription;
SELECT * FROM run_due('2029-06-01Z');
SELECT * FROM run_due('2029-06-01Z');
SELECT * FROM svc_verify();
SELECT noun, entity_id, revision, from_status, previous FROM (
    SELECT noun, customer_id, entity_id, revision, from_status, lag(to_status) OVER w AS previous, row_number() OVER w AS n
    FROM svc_event WINDOW w AS (PARTITION BY noun, customer_id, entity_id ORDER BY revision)) e
WHERE n <> revision OR from_status IS DISTINCT FROM previous;
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
