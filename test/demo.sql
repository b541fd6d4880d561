-- The demo: customers, a quota stacked from plan and promotion, consumed next to
-- the work that it protects, rolled back, denied; and the life of a subscription.
-- Run by demo.sh.
\set ON_ERROR_STOP on
\pset footer off
\pset border 1
\t off

\echo
\echo '== Two statements install svc: code (CREATE EXTENSION) and tables'
\echo
SELECT svc_install();

\echo '== The application has a table of its own'
\echo
CREATE TABLE report (id int PRIMARY KEY, customer_id text COLLATE "C" NOT NULL, title text NOT NULL);

\echo '== Two customers: Ada has 3 reports by her plan and 2 by a promotion that pays first'
\echo
SELECT svc_create_customer('{"id": "cus_ada", "name": "Ada Lovelace", "status": "active",
                             "company": "Analytical Engines", "monthly_spend": 49}');
SELECT svc_create_customer('{"id": "cus_bob", "name": "Bob Moog"}');
SELECT svc_grant_entitlement('cus_ada', 'reports', 3, source => 'plan', source_id => 'pro', id => 'ent_plan');
SELECT svc_grant_entitlement('cus_ada', 'reports', 2, source => 'promotion', priority => 10,
                             valid_until => now() + interval '30 days', id => 'ent_promo');
SELECT svc_grant_entitlement('cus_ada', 'sso', value => '{"provider": "okta"}', id => 'ent_sso');

\echo '== May she? A check writes nothing'
\echo
SELECT allowed, reason, remaining, entitlement_id FROM svc_check_entitlement('cus_ada', 'reports');
SELECT allowed, value FROM svc_check_entitlement('cus_ada', 'sso');
SELECT allowed, reason FROM svc_check_entitlement('cus_bob', 'reports');

\echo '== A consume and the work that it protects: both or neither'
\echo
BEGIN;
SELECT allowed, remaining, entitlement_id FROM svc_require_entitlement('cus_ada', 'reports', 1, 'report-1');
INSERT INTO report VALUES (1, 'cus_ada', 'Churn by cohort');
COMMIT;

\echo '== Here the work fails, so nothing is consumed'
\echo
\set ON_ERROR_STOP off
BEGIN;
SELECT allowed, remaining FROM svc_require_entitlement('cus_ada', 'reports', 1, 'report-2');
INSERT INTO report VALUES (1, 'cus_ada', 'A report with the same id');
ROLLBACK;
\set ON_ERROR_STOP on
SELECT allowed, remaining FROM svc_check_entitlement('cus_ada', 'reports');

\echo '== A retry with the same idempotency key gets the first answer, and takes nothing'
\echo
SELECT allowed, remaining, consumed, replayed FROM svc_consume_entitlement('cus_ada', 'reports', 1, 'report-1');

\echo '== Four more use up promotion and plan; the sixth is denied'
\echo
SELECT allowed, reason, remaining, entitlement_id
FROM generate_series(2, 6) AS n, svc_consume_entitlement('cus_ada', 'reports', 1, 'report-' || n);
SELECT id, source, status, used_amount, limit_amount, usage_percent FROM svc_entitlement
WHERE code = 'reports' ORDER BY priority;

\echo '== The ledger: every unit, and who took it'
\echo
SELECT entitlement_id, seq, amount, idempotency_key, actor FROM svc_entitlement_ledger
ORDER BY entitlement_id DESC, seq;

\echo '== Work whose cost is known later: 4,000 tokens are held, 3,120 are settled'
\echo
SELECT svc_grant_entitlement('cus_ada', 'tokens', 10000, reset_period => 'monthly', rollover_max => 5000,
                             alert_percents => '{30}', id => 'ent_tokens');
SELECT allowed, held, remaining, hold_id FROM svc_hold_entitlement('cus_ada', 'tokens', 4000, '10 minutes') \gset
SELECT :'allowed' AS allowed, :'held' AS held, :'remaining' AS remaining;
SELECT consumed, remaining FROM svc_settle_hold('cus_ada', :'hold_id', 3120);

\echo '== Next month begins by itself, with what is left of this one, up to 5,000'
\echo
SELECT allowed, remaining FROM svc_check_entitlement('cus_ada', 'tokens', 1, now() + interval '1 month');

\echo '== A quota on a table of the application: two seats'
\echo
CREATE TABLE seat (customer_id text COLLATE "C", member text, PRIMARY KEY (customer_id, member));
CREATE TRIGGER seats AFTER INSERT OR UPDATE OR DELETE ON seat FOR EACH ROW EXECUTE FUNCTION svc_guard('seats');
SELECT svc_grant_entitlement('cus_ada', 'seats', 2, id => 'ent_seats');
INSERT INTO seat VALUES ('cus_ada', 'charles'), ('cus_ada', 'mary');
\set ON_ERROR_STOP off
INSERT INTO seat VALUES ('cus_ada', 'george');
\set ON_ERROR_STOP on

\echo '== What she has, and why the next report is denied'
\echo
SELECT code, reason, limit_amount, used_amount, remaining_amount, usage_percent, sources FROM svc_entitlements('cus_ada');
SELECT step, what, entitlement_id, state, available, pays, left(explanation, 80) AS explanation
FROM svc_explain_entitlement('cus_ada', 'reports');

\echo '== The life of a subscription: two plans, and a trial of 14 days'
\echo
SELECT svc_create_plan('{"id": "starter", "name": "Starter", "price": 9, "currency": "EUR", "limits": {"api_calls": 100}}');
SELECT svc_create_plan('{"id": "pro", "name": "Pro", "price": 49, "currency": "EUR", "trial_days": 14, "overage_price": 0.02,
    "limits": {"api_calls": {"limit": 1000, "overage": "allow"}, "sso": true,
               "credits": {"limit": 500, "costs": {"gpt_large": 10, "gpt_small": 1}}}}');
SELECT svc_create_customer('{"id": "cus_eve", "name": "Eve Torres", "status": "active", "timezone": "Europe/Berlin", "payment_method": "card"}');
SELECT svc_create_subscription('cus_eve', 'pro', properties => '{"id": "sub_eve"}', at => '2027-01-17 12:00+01');
SELECT code, source, limit_amount, reset_at FROM svc_entitlement WHERE customer_id = 'cus_eve' ORDER BY code;

\echo '== Two weeks later it is paid for: the scheduler has ended the trial'
\echo
SELECT * FROM svc_run_due('2027-02-01 00:00+01') WHERE done > 0;
SELECT status, current_period_start, current_period_end, price FROM svc_subscription;

\echo '== Credits that several codes spend: 3 of gpt_large at 10 each'
\echo
SELECT allowed, consumed, remaining, entitlement_id IS NOT NULL AS by_the_pool
FROM svc_consume_entitlement('cus_eve', 'gpt_large', 3, at => '2027-02-09 12:00+01');

\echo '== 200 calls too many; what would a smaller plan do? It is to come when the month ends'
\echo
SELECT allowed, remaining, overage FROM svc_consume_entitlement('cus_eve', 'api_calls', 1200, at => '2027-02-10 12:00+01');
SELECT code, effect, limit_before, limit_after, used, exceeded
FROM svc_preview_subscription_change('cus_eve', 'sub_eve', 'starter', at => '2027-02-11 12:00+01');
SELECT svc_downgrade_subscription('cus_eve', 'sub_eve', 'starter', at_period_end => true, at => '2027-02-11 12:00+01');

\echo '== The invoice: the plan, and what was used beyond its limit'
\echo
SELECT svc_create_invoice_for('cus_eve', 'sub_eve', tax => 10.07, due_date => '2027-03-14 00:00+01', at => '2027-02-27 12:00+01') AS invoice \gset
SELECT l ->> 'description' AS line, l -> 'quantity' AS quantity, l -> 'unit_price' AS unit_price, l -> 'amount' AS amount
FROM svc_invoice, jsonb_array_elements(line_items) l;
SELECT svc_finalize_invoice('cus_eve', :'invoice', at => '2027-02-28 11:00+01');
SELECT number, status, total, due_date FROM svc_invoice;

\echo '== The scheduler was down until 20 March, and makes up for it, each thing at its own instant'
\echo
SELECT * FROM svc_run_due('2027-03-20 00:00+01') WHERE done > 0;
SELECT status, plan_id, price, current_period_start FROM svc_subscription;
SELECT svc_pay_invoice('cus_eve', :'invoice', at => '2027-03-21 09:00+01');
SELECT svc_cancel_subscription('cus_eve', 'sub_eve', at_period_end => true, reason => 'moving on', at => '2027-03-22 09:00+01');
SELECT allowed, reason FROM svc_consume_entitlement('cus_eve', 'api_calls', at => '2027-03-31 11:59+02');
SELECT allowed, reason FROM svc_consume_entitlement('cus_eve', 'api_calls', at => '2027-03-31 12:00+02');
SELECT revision, event, from_status, to_status FROM svc_event WHERE noun = 'subscription' ORDER BY revision;

\echo '== Usage: last month, every quarter of an hour, by COPY, INSERT or a function; what resources mean and cost'
\echo
SELECT svc_create_customer(jsonb_build_object('id', 'cus_kim', 'name', 'Kim Park', 'status', 'active', 'timezone', 'Europe/Berlin',
                                              'created_at', now() - interval '1 year'));
SELECT svc_set_meter('api_calls', unit => 'requests', unit_cost => 0.0004, currency => 'EUR'), svc_set_meter('storage_gb', 'max');
INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at)
SELECT 'cus_kim', 'api_calls', round((20 + 30 * sin((extract(hour FROM t) - 6) * pi() / 12) ^ 2 + extract(day FROM t))
                                     * CASE WHEN extract(isodow FROM t) > 5 THEN 0.3 ELSE 1 END), t AT TIME ZONE 'Europe/Berlin'
FROM generate_series(date_trunc('month', now()::timestamp) - interval '1 month', date_trunc('month', now()::timestamp) - interval '15 min', '15 min') t;
SELECT svc_record_usage('cus_kim', 'storage_gb', 40 + n, date_trunc('month', now()) - n * interval '5 days') AS storage FROM generate_series(1, 2) n \g /dev/null
SELECT svc_record_usage('cus_kim', 'api_calls', 5, idempotency_key => 'request-1') = svc_record_usage('cus_kim', 'api_calls', 5, idempotency_key => 'request-1') AS recorded_once;

\echo '== Rolled up to hours, days, weeks, months, quarters and years, in her time zone'
\echo
SELECT svc_aggregate_usage() AS records;
SELECT period_type, count(*) AS periods, sum(api_calls) AS api_calls, max(storage_gb) AS storage_gb, sum(estimated_cost) AS cost, string_agg(DISTINCT status, ', ') AS status
FROM svc_customer_usage GROUP BY 1 ORDER BY 2 DESC, 1;
SELECT * FROM svc_usage_chart('cus_kim', 'api_calls', 'month', date_trunc('month', now()) - interval '2 days');

\echo '== The month is closed and billed: what comes late counts in the next one'
\echo
SELECT svc_finalize_usage('cus_kim', 'month', date_trunc('month', now()) - interval '2 days', 'invoiced') > now() - interval '40 days' AS closed;
SELECT svc_record_usage('cus_kim', 'api_calls', 77, date_trunc('month', now()) - interval '9 days') \g /dev/null
SELECT period_end < now() AS last_month, sum(quantity) AS api_calls
FROM svc_get_usage('cus_kim', 'api_calls', date_trunc('month', now() AT TIME ZONE 'Europe/Berlin' - interval '1 month') AT TIME ZONE 'Europe/Berlin', granularity => 'month') GROUP BY 1 ORDER BY 1 DESC;
SELECT * FROM svc_usage_windows('cus_kim');
SELECT count(*) AS wrong_figures FROM svc_verify();

\echo '== A segment: who pays well and has a quota that is nearly used up? First in words, and who would be in'
\echo
\set criteria '{"status": "active", "monthly_spend": {"$gte": 40}, "entitlements.reports.percent": {"$gte": 80}}'
SELECT svc_explain_criteria(:'criteria');
SELECT customer_count, percent_of_total, customer_ids FROM svc_preview_segment(:'criteria');

\echo '== One that is right the moment a customer changes: big spenders, by criteria'
\echo
SELECT svc_create_segment('{"id": "big", "name": "Big spenders", "sync_frequency": "realtime",
                            "criteria": {"status": "active", "monthly_spend": {"$gte": 100}}}');
SELECT svc_update_customer('cus_ada', '{"monthly_spend": 149}');
SELECT segment_id, name, by FROM svc_segments_of('cus_ada');
SELECT svc_suspend_customer('cus_ada', reason => 'card expired');
SELECT count(*) AS segments_of_ada FROM svc_segments_of('cus_ada');

\echo '== No statement gets a row out of its lifecycle'
\echo
\set ON_ERROR_STOP off
UPDATE svc_customer SET status = 'churned' WHERE id = 'cus_bob';
\set ON_ERROR_STOP on
UPDATE svc_customer SET status = 'active' WHERE id = 'cus_bob';

\echo '== The event log'
\echo
SELECT id, type, entity_id, revision, from_status, to_status FROM svc_event WHERE customer_id IN ('cus_ada', 'cus_bob', '') ORDER BY id;
