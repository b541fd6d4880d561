-- Promise: a subscription that cannot go on keeps nobody else back, and what is
-- asked for at odd moments is either done right or refused.
\set SHOW_CONTEXT never
\pset null ~
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "ada", "name": "Ada", "status": "active", "payment_method": "card"}'),
       svc_create_customer('{"id": "bob", "name": "Bob", "status": "active"}'),
       svc_create_customer('{"id": "kim", "name": "Kim", "status": "active", "payment_method": "card"}') \g /dev/null
SELECT svc_create_plan('{"id": "starter", "name": "Starter", "price": 9, "currency": "EUR", "limits": {"api_calls": 100}}'),
       svc_create_plan('{"id": "pro", "name": "Pro", "price": 49, "currency": "EUR", "annual_discount": 20, "limits": {"api_calls": 1000, "sso": true}}'),
       svc_create_plan('{"id": "third", "name": "Third", "price": 20, "currency": "EUR", "limits": {"api_calls": 300}}'),
       svc_create_plan('{"id": "trialy", "name": "Trialy", "price": 49, "trial_days": 14, "limits": {"api_calls": 1000}}'),
       svc_create_plan('{"id": "storage", "name": "Storage", "price": 5, "currency": "EUR", "annual_discount": 10, "limits": {"gigs": 10}}'),
       svc_create_plan('{"id": "seats", "name": "Seats", "price": 3, "limits": {"seats": 5}}') \g /dev/null
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
CREATE FUNCTION run_due(at timestamptz, max_rows int DEFAULT 1000) RETURNS TABLE (task text, done bigint)
LANGUAGE sql AS $$ SELECT task, done FROM svc_run_due(at, max_rows) WHERE done > 0 $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = TG_ARGV[0], MESSAGE = 'not this one'; END $$;

-- an error that is passed on leaves nothing of ours behind: a cancel, or a full disk, in the middle of a batch
SELECT svc_create_subscription('ada', 'starter', properties => '{"id": "s"}', at => '2027-01-01Z') \g /dev/null
CREATE TRIGGER refuse BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.id = 's') EXECUTE FUNCTION refuse('53100');
CREATE ROLE regress_svc_teller;
SELECT svc_grant('regress_svc_teller', 'app');
GRANT USAGE ON SCHEMA svc TO regress_svc_teller;
SET SESSION AUTHORIZATION regress_svc_teller;
DO $$ BEGIN
    PERFORM svc_run_due('2027-02-02Z');
EXCEPTION WHEN disk_full THEN RAISE NOTICE 'caught; I am %', current_user; END $$;
SELECT current_user;
BEGIN;
SELECT svc_run_due('2027-02-02Z');
ROLLBACK;
SELECT current_user, current_setting('search_path');
RESET SESSION AUTHORIZATION;
SELECT svc_revoke('regress_svc_teller', 'app');
REVOKE ALL ON SCHEMA svc FROM regress_svc_teller;
DROP ROLE regress_svc_teller;
DROP TRIGGER refuse ON svc_subscription;

-- what a plain INSERT lacks, its columns tell
SELECT raises($$INSERT INTO svc_subscription (customer_id, id, status) VALUES ('ada', 'x', 'trialing')$$) LIKE '23502%plan_id%' AS plan,
       raises($$INSERT INTO svc_subscription (plan_id, id, status) VALUES ('pro', 'x', 'trialing')$$) LIKE '23502%customer_id%' AS customer;
SELECT raises($$SELECT svc_create_subscription('ada', 'pro', properties => '{"$$ || p || $$": "infinity"}')$$)
FROM unnest(ARRAY['started_at', 'current_period_start', 'current_period_end']) p;
SELECT raises($$SELECT svc_create_subscription('ada', 'pro', billing_anchor => '-infinity')$$),
       raises($$SELECT svc_create_subscription('ada', 'pro', properties => '{"status": "trialing", "trial_end": "-infinity"}')$$);

-- one subscription that cannot go on: consume, give back and pay all the same
SELECT svc_create_subscription('ada', 'seats', properties => '{"id": "t"}', at => '2027-02-01Z'),
       svc_upgrade_subscription('ada', 's', 'pro', at_period_end => true, at => '2027-02-01Z'),
       svc_create_invoice_for('ada', 't', due_date => '2027-02-10Z', at => '2027-02-02Z') \g /dev/null
SELECT svc_finalize_invoice('ada', id, at => '2027-02-02Z') FROM svc_invoice WHERE subscription_id = 't';
CREATE TRIGGER refuse BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.id = 's') EXECUTE FUNCTION refuse('P0001');
SELECT allowed, reason FROM svc_consume_entitlement('ada', 'seats', 2, at => '2027-03-02Z');
SELECT consumed FROM svc_consume_entitlement('ada', 'seats', -1, at => '2027-03-02Z');
CREATE TRIGGER refuse_t BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.id = 't' AND NEW.status <> 'active') EXECUTE FUNCTION refuse('P0001');
SELECT svc_pay_invoice('ada', id, at => '2027-02-05Z') FROM svc_invoice WHERE subscription_id = 't';
DROP TRIGGER refuse_t ON svc_subscription;
-- it is the oldest, and keeps the others of a batch of one from nothing
SELECT svc_create_subscription('kim', 'starter', properties => '{"id": "k"}', at => '2027-02-15Z') \g /dev/null
SELECT * FROM run_due('2027-03-16Z', 1);
SELECT * FROM run_due('2027-03-16Z', 1);
DROP TRIGGER refuse ON svc_subscription;
SELECT * FROM run_due('2027-03-16Z');
-- what was promised is kept: the plan has another currency and interval by then
SELECT svc_create_subscription('kim', 'third', properties => '{"id": "promised"}', at => '2027-03-01Z'),
       svc_downgrade_subscription('kim', 'promised', 'seats', at_period_end => true, at => '2027-03-02Z'),
       svc_update_plan('seats', '{"currency": "USD", "billing_interval": "yearly"}') \g /dev/null
SELECT status, plan_id, price, billing_cycle FROM svc_subscription, run_due('2027-04-01Z') WHERE id = 'promised' ORDER BY 1 LIMIT 1;
SELECT plan_id, price, billing_cycle, currency FROM svc_subscription WHERE id = 'promised';
-- without an anchor there is nothing to renew, and nothing that fails
UPDATE svc_subscription SET billing_anchor = NULL WHERE id = 'k';
SELECT due_at FROM svc_subscription WHERE id = 'k';
SELECT svc_update_subscription('kim', 'k', '{"billing_anchor": "2027-02-15 00:00Z"}', at => '2027-05-01Z');
SELECT due_at FROM svc_subscription WHERE id = 'k';

-- migration: the same plan is no other plan; new terms that say the same are granted; who has left is left alone
SELECT svc_create_customer(jsonb_build_object('id', 'm' || n, 'name', 'M')), svc_create_subscription('m' || n, 'pro', properties => '{"id": "x"}', at => '2027-01-01Z')
FROM generate_series(1, 3) n \g /dev/null
SELECT svc_update_plan('pro', '{"name": "Pro!"}') \g /dev/null
SELECT * FROM svc_migrate_subscribers('pro', carry_usage => false, max_rows => 1, at => '2027-01-05Z');
SELECT code, status FROM svc_entitlement WHERE customer_id = 'm1' ORDER BY 1, 2;
CREATE TRIGGER refuse BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.customer_id = 'm2') EXECUTE FUNCTION refuse('P0001');
SELECT * FROM svc_migrate_subscribers('pro', 'pro', max_rows => 1, at => '2027-01-05Z');
DROP TRIGGER refuse ON svc_subscription;
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER suppress BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.customer_id = 'm2') EXECUTE FUNCTION suppress();
SELECT * FROM svc_migrate_subscribers('pro', carry_usage => false, at => '2027-01-05Z');
DROP TRIGGER suppress ON svc_subscription;
SELECT code, status FROM svc_entitlement WHERE customer_id = 'm2' ORDER BY 1, 2;
SELECT svc_cancel_subscription('m2', 'x', true, at => '2027-01-06Z'), svc_downgrade_subscription('m3', 'x', 'starter', at_period_end => true, at => '2027-01-06Z');
SELECT migrated, failed FROM svc_migrate_subscribers('pro', 'third', at => '2027-02-03Z');
SELECT customer_id, plan_id, status, price FROM svc_subscription WHERE id = 'x' ORDER BY 1;
SELECT * FROM svc_migrate_subscribers('third', 'pro', at => '2020-01-01Z');

-- prices follow the billing cycle, of add-ons, too
SELECT svc_create_customer('{"id": "eve", "name": "Eve", "payment_method": "card"}'),
       svc_create_subscription('eve', 'pro', addons => '{"storage": 2}', properties => '{"id": "e"}', at => '2027-01-01Z') \g /dev/null
CREATE VIEW prices AS SELECT billing_cycle, price, addons -> 'storage' ->> 'price' AS storage FROM svc_subscription WHERE id = 'e';
SELECT svc_upgrade_subscription('eve', 'e', 'pro', billing_cycle => 'yearly', at => '2027-01-02Z');
SELECT * FROM prices;
SELECT svc_update_subscription('eve', 'e', '{"billing_cycle": "monthly"}', at => '2027-01-03Z');
SELECT * FROM prices;
SELECT svc_update_subscription('eve', 'e', '{"billing_cycle": "quarterly", "price": 100}', at => '2027-01-04Z');
SELECT * FROM prices;
SELECT raises($$SELECT svc_upgrade_subscription('eve', 'e', 'seats', billing_cycle => 'monthly', at => '2027-01-05Z')$$);

-- another time zone moves the grid, and makes no short period
SELECT svc_create_subscription('bob', 'starter', properties => '{"id": "b"}', at => '2027-01-31Z'), svc_update_customer('bob', '{"timezone": "America/New_York"}') \g /dev/null
SELECT * FROM run_due('2027-05-15Z') WHERE task LIKE 'renew%';
SELECT svc_update_customer('bob', '{"timezone": "Asia/Tokyo"}') \g /dev/null
SELECT * FROM run_due('2027-08-15Z') WHERE task LIKE 'renew%';
SELECT period_start, period_end FROM svc_subscription_period WHERE subscription_id = 'b' ORDER BY 1;

-- a trial that is made longer; one that runs out in a pause; an anchor of one's own
SELECT svc_create_subscription('bob', 'trialy', properties => '{"id": "long"}', at => '2027-05-01Z'),
       svc_update_subscription('bob', 'long', '{"trial_end": "2027-05-29 00:00Z"}', at => '2027-05-02Z');
SELECT trial_end, billing_anchor, current_period_end, due_at FROM svc_subscription WHERE id = 'long';
SELECT svc_pause_subscription('bob', 'long', at => '2027-05-03Z');
SELECT raises($$SELECT svc_resume_subscription('bob', 'long', at => '2027-06-03Z')$$);
SELECT svc_update_customer('bob', '{"payment_method": "card"}'), svc_resume_subscription('bob', 'long', at => '2027-06-03Z');
SELECT current_period_start, current_period_end, billing_anchor FROM svc_subscription WHERE id = 'long';
SELECT svc_create_subscription('kim', 'trialy', billing_anchor => '2027-06-10Z', properties => '{"id": "own"}', at => '2027-05-01Z'),
       svc_pause_subscription('kim', 'own', at => '2027-05-03Z'), svc_resume_subscription('kim', 'own', at => '2027-06-03Z');
SELECT current_period_start, current_period_end, billing_anchor FROM svc_subscription WHERE id = 'own';
-- a scheduled change comes with the end of the period, wherever that is
SELECT svc_upgrade_subscription('kim', 'own', 'pro', at_period_end => true, at => '2027-06-04Z'),
       svc_update_subscription('kim', 'own', '{"current_period_end": "2027-06-20 00:00Z"}', at => '2027-06-04Z');
SELECT scheduled_at, current_period_end FROM svc_subscription WHERE id = 'own';

-- a grant of the plan that has expired is granted again
UPDATE svc_entitlement SET valid_until = '2026-01-01Z' WHERE customer_id = 'eve' AND code = 'sso';
SELECT svc_expire_entitlement('eve', id) FROM svc_entitlement WHERE customer_id = 'eve' AND code = 'sso' AND status = 'active';
SELECT svc_update_subscription('eve', 'e', '{"quantity": 2}', at => '2027-08-16Z');
SELECT code, status FROM svc_entitlement WHERE customer_id = 'eve' AND code = 'sso' ORDER BY 1, 2;

-- a noted change stays at the period's end, wherever that goes
SELECT svc_create_customer(jsonb_build_object('id', c, 'name', c, 'status', 'active', 'payment_method', 'card'))
FROM unnest(ARRAY['c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'c8', 'c9']) c \g /dev/null
SELECT svc_create_subscription('c1', 'pro', properties => '{"id": "n"}', at => '2027-01-01Z'),
       svc_downgrade_subscription('c1', 'n', 'starter', at_period_end => true, at => '2027-01-02Z'),
       svc_update_subscription('c1', 'n', '{"billing_cycle": "yearly"}', at => '2027-01-03Z') \g /dev/null
SELECT price, current_period_end, scheduled_at FROM svc_subscription WHERE id = 'n';
SELECT svc_create_subscription('c2', 'trialy', properties => '{"id": "n2"}', at => '2027-01-01Z'),
       svc_downgrade_subscription('c2', 'n2', 'starter', at_period_end => true, at => '2027-01-02Z'),
       svc_update_subscription('c2', 'n2', '{"trial_end": "2027-01-25Z"}', at => '2027-01-03Z') \g /dev/null
SELECT status, trial_end, scheduled_at, due_at FROM svc_subscription WHERE id = 'n2';
SELECT svc_activate_subscription('c2', 'n2', at => '2027-01-04Z') \g /dev/null
SELECT status, current_period_end, scheduled_at, due_at FROM svc_subscription WHERE id = 'n2';

-- a price that is given stands, and add-ons follow the billing cycle where theirs is not
SELECT svc_create_subscription('c3', 'pro', addons => '{"storage": 1}', properties => '{"id": "y"}', at => '2027-01-01Z'),
       svc_update_subscription('c3', 'y', '{"billing_cycle": "yearly", "addons": {"storage": 2}}', at => '2027-01-02Z') \g /dev/null
SELECT price, addons -> 'storage' -> 'price' AS storage FROM svc_subscription WHERE id = 'y';
SELECT svc_create_subscription('c4', 'pro', properties => '{"id": "y2"}', at => '2027-01-01Z'),
       svc_upgrade_subscription('c4', 'y2', 'pro', price => 49, billing_cycle => 'yearly', at => '2027-01-02Z') \g /dev/null
SELECT price, billing_cycle FROM svc_subscription WHERE id = 'y2';

-- a subscription that cannot be written keeps no invoice from becoming overdue, nor from being paid
SELECT svc_create_subscription('c5', 'pro', properties => '{"id": "w"}', at => '2027-01-01Z') \g /dev/null
SELECT svc_create_invoice_for('c5', 'w', due_date => '2027-01-10Z', at => '2027-01-02Z') AS invoice \gset
SELECT svc_finalize_invoice('c5', :'invoice', at => '2027-01-02Z') \g /dev/null
CREATE TRIGGER refuse BEFORE UPDATE ON svc_subscription FOR EACH ROW
    WHEN (OLD.id = 'w' AND OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION refuse('P0001');
SELECT * FROM run_due('2027-01-12Z') WHERE task LIKE '%overdue%';
SELECT svc_pay_invoice('c5', :'invoice', at => '2027-01-13Z');
SELECT i.status AS invoice, s.status FROM svc_invoice i, svc_subscription s WHERE i.id = :'invoice' AND s.id = 'w';
DROP TRIGGER refuse ON svc_subscription;

-- what costs nothing is never overdue, whoever looks
SELECT svc_create_subscription('c6', 'trialy', properties => '{"id": "z"}', at => '2027-01-01Z') \g /dev/null
SELECT svc_create_invoice_for('c6', 'z', due_date => '2027-01-10Z', at => '2027-01-02Z') AS invoice \gset
SELECT svc_finalize_invoice('c6', :'invoice', at => '2027-01-02Z') \g /dev/null
SELECT svc_send_invoice('c6', :'invoice', at => '2027-01-12Z');

-- a trial that becomes a plan without a price does not end, whoever looks
SELECT svc_create_plan('{"id": "free", "name": "Free", "price": 0, "limits": {"api_calls": 10}}'),
       svc_create_customer('{"id": "d0", "name": "D", "status": "active"}'),
       svc_create_subscription('d0', 'trialy', properties => '{"id": "f"}', at => '2027-01-01Z'),
       svc_downgrade_subscription('d0', 'f', 'free', at_period_end => true, at => '2027-01-02Z') \g /dev/null
SELECT (svc_check_entitlement('d0', 'api_calls', at => '2027-01-16Z')).allowed AS "check",
       (svc_consume_entitlement('d0', 'api_calls', 1, at => '2027-01-16Z')).remaining;

-- a grant that cannot be written keeps no other back
SELECT svc_grant_entitlement('c7', 'calls', 5, id => 'e', valid_from => '2027-01-01Z', reset_period => 'monthly'),
       svc_grant_entitlement('c8', 'calls', 5, id => 'e', valid_from => '2027-01-01Z', reset_period => 'monthly') \g /dev/null
SELECT svc_consume_entitlement(c, 'calls', 2, at => '2027-01-02Z') FROM unnest(ARRAY['c7', 'c8']) c \g /dev/null
CREATE TRIGGER refuse BEFORE UPDATE ON svc_entitlement FOR EACH ROW WHEN (OLD.customer_id = 'c7') EXECUTE FUNCTION refuse('P0001');
\set VERBOSITY terse
SELECT count(*) FROM svc_run_due('2027-03-02Z') \g /dev/null
\set VERBOSITY default
DROP TRIGGER refuse ON svc_entitlement;
SELECT customer_id, used_amount FROM svc_entitlement WHERE code = 'calls' ORDER BY 1;

-- another subscription's trouble does not keep a noted change from being made
SELECT svc_create_subscription('c9', 'pro', properties => '{"id": "a"}', at => '2027-01-01Z'),
       svc_cancel_subscription('c9', 'a', at_period_end => true, at => '2027-01-02Z'),
       svc_create_subscription('c9', 'starter', properties => '{"id": "b"}', at => '2027-01-02Z') \g /dev/null
UPDATE svc_subscription SET allow_duplicate = true WHERE id = 'a';
SELECT svc_upgrade_subscription('c9', 'b', 'pro', at_period_end => true, at => '2027-01-03Z') \g /dev/null
UPDATE svc_subscription SET allow_duplicate = false WHERE id = 'a';
CREATE TRIGGER refuse BEFORE UPDATE ON svc_subscription FOR EACH ROW WHEN (OLD.id = 'a') EXECUTE FUNCTION refuse('P0001');
SELECT svc_renew_subscription('c9', 'b', at => '2027-02-03Z') \g /dev/null
DROP TRIGGER refuse ON svc_subscription;
SELECT id, plan_id, status, allow_duplicate FROM svc_subscription WHERE customer_id = 'c9' ORDER BY id;

-- a noted change to a plan comes before who wants that plan after it
SELECT svc_create_customer('{"id": "d9", "name": "D", "status": "active", "payment_method": "card"}'),
       svc_create_subscription('d9', 'pro', properties => '{"id": "a"}', at => '2027-01-01Z'),
       svc_downgrade_subscription('d9', 'a', 'starter', at_period_end => true, at => '2027-01-02Z') \g /dev/null
\set VERBOSITY sqlstate
SELECT svc_create_subscription('d9', 'starter', at => '2027-02-03Z');
\set VERBOSITY default

-- a period whose end is put off after it was over is billed by what it came to be
SELECT svc_create_customer('{"id": "d1", "name": "D", "status": "active", "payment_method": "card"}'),
       svc_create_subscription('d1', 'seats', properties => '{"id": "p"}', at => '2027-01-01Z'),
       svc_mark_past_due_subscription('d1', 'p', at => '2027-01-15Z'),
       svc_update_subscription('d1', 'p', '{"quantity": 3}', at => '2027-02-05Z'),
       svc_update_subscription('d1', 'p', '{"current_period_end": "2027-03-01Z"}', at => '2027-02-06Z') \g /dev/null
SELECT svc_create_invoice_for('d1', 'p', at => '2027-02-07Z') AS invoice \gset
SELECT period_start, period_end, line_items FROM svc_invoice WHERE id = :'invoice';
SELECT svc_activate_subscription('d1', 'p', at => '2027-02-08Z') \g /dev/null
SELECT count(*) FROM svc_run_due('2027-03-05Z') \g /dev/null
SELECT svc_create_invoice_for('d1', 'p', in_period => '2027-02-15Z', at => '2027-03-07Z') = :'invoice' AS the_same;

-- a draft that cannot be brought up to date says why
SELECT svc_create_subscription('d1', 'starter', properties => '{"id": "q"}', quantity => 2, at => '2027-01-01Z') \g /dev/null
SELECT svc_create_invoice_for('d1', 'q', discount => 15, at => '2027-01-02Z') AS invoice \gset
SELECT svc_update_subscription('d1', 'q', '{"quantity": 1}', at => '2027-01-03Z') \g /dev/null
SELECT raises($$SELECT svc_create_invoice_for('d1', 'q', at => '2027-01-04Z')$$);
SELECT svc_update_invoice('d1', :'invoice', '{"discount": 0, "line_items": [{"amount": "ten"}]}') \g /dev/null
SELECT regexp_replace(raises($$SELECT svc_create_invoice_for('d1', 'q', at => '2027-01-04Z')$$), '"\w+" must', '"…" must');
SELECT svc_update_invoice('d1', :'invoice', '{"line_items": {"amount": 1}}') \g /dev/null
SELECT regexp_replace(raises($$SELECT svc_create_invoice_for('d1', 'q', at => '2027-01-04Z')$$), '"\w+" must', '"…" must');
SELECT svc_update_invoice('d1', :'invoice', '{"line_items": [{"amount": 1}]}') \g /dev/null
SELECT svc_create_invoice_for('d1', 'q', at => '2027-01-04Z') = :'invoice' AS the_same;
SELECT subtotal FROM svc_invoice WHERE id = :'invoice';

SELECT * FROM svc_verify();
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
