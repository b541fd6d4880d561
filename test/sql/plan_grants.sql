-- Promise: what a plan grants is well defined before anybody subscribes, and a
-- subscriber has just that, from the first day of the subscription to the last.
\set SHOW_CONTEXT never
\pset null ~
SET timezone = 'UTC';
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active", "timezone": "Europe/Berlin"}') \g /dev/null

-- each way of defining a grant
SELECT svc_create_plan('{"id": "pro", "name": "Pro", "price": 49, "billing_interval": "monthly",
    "entitlements": ["sso", "api_calls", "audit"], "executions_per_month": 100,
    "limits": {"api_calls": 10000,
               "tokens": {"limit": 500, "reset_period": "daily", "rollover_max": 50, "overage": "allow",
                          "overage_limit": 10, "carry_overage": true, "alert_percents": [100, 80], "priority": 5},
               "seats": {"limit": 3, "reset_period": "never"}, "projects": {"limit": 2, "per_unit": false},
               "pages": {"unlimited": true}, "audit": true, "support": {"value": "priority"}}}');
SELECT * FROM svc_plan_grants('pro');
SELECT svc_create_plan('{"id": "team", "name": "Team", "price": 99, "overage_enabled": true,
    "limits": {"api_calls": 20000, "tokens": {"limit": 100, "overage": "deny"}, "executions": 7, "boards": 1, "sso": true}}');
SELECT code, limit_amount, reset_period, overage FROM svc_plan_grants('team');
SELECT svc_create_plan('{"id": "none", "name": "None", "price": 0}');
SELECT * FROM svc_plan_grants('none');

-- each way of defining it wrongly, with a pointer to where
CREATE FUNCTION refused(limits text) RETURNS TABLE (state text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM svc_update_plan('none', jsonb_build_object('limits', limits::jsonb));
    state := 'accepted';
    RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END $$;
SELECT limits, r.* FROM unnest(ARRAY['[]', '5', '"x"', '{"": 1}', '{"a": -1}', '{"a": false}', '{"a": null}', '{"a": "10"}',
    '{"a": [1]}', '{"a": {"limits": 1}}', '{"a": {"limit": "1"}}', '{"a": {"limit": -1}}', '{"a": {"limit": 1e40}}',
    '{"a": {"limit": 1, "reset_period": "fortnightly"}}', '{"a": {"limit": 1, "overage": "maybe"}}',
    '{"a": {"limit": 1, "alert_percents": 80}}', '{"a": {"limit": 1, "alert_percents": [0]}}',
    '{"a": {"limit": 1, "alert_percents": [80.5]}}', '{"a": {"limit": 1, "alert_percents": ["80"]}}',
    '{"a": {"limit": 1, "alert_percents": [101]}}', '{"a": {"limit": 1, "overage": "allow", "alert_percents": [101]}}',
    '{"a": {"limit": 1, "priority": -1}}', '{"a": {"limit": 1, "priority": 3000000000}}',
    '{"a": {"value": 1, "reset_period": "daily"}}', '{"a": {"unlimited": false, "rollover_max": 1}}',
    '{"a/b": {"limit": 1, "c/d": 1}}', '{"a": {}}', '{"a": 0}', '{"a": {"unlimited": true, "reset_period": "daily"}}']) AS limits,
    LATERAL refused(limits) r;
SELECT svc_update_plan('none', '{"limits": null, "entitlements": null}');
SELECT svc_update_plan('none', '{"entitlements": ["a", null]}');
SELECT svc_update_plan('none', '{"entitlements": [""]}');
SELECT svc_plan_grants('nothing');
\echo :SQLSTATE
SELECT svc_plan_grants(NULL);

-- a subscription grants, for its quantity, with resets from its anchor
SELECT svc_create_subscription('c1', 'pro', 2, properties => '{"id": "s1", "price": 98}', at => '2040-01-31T00:00:00+01');
CREATE VIEW grants AS
SELECT code, status, limit_amount AS lim, unlimited AS unl, used_amount AS used, value, priority AS prio, source, source_id,
       reset_period AS period, reset_anchor AS anchor, overage AS over, rollover_max AS roll, alert_percents AS alerts
FROM svc_entitlement WHERE subscription_id = 's1' ORDER BY code, created_at, id;
SELECT * FROM grants;
SELECT entitlements, usage_limits FROM svc_subscription WHERE id = 's1';
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'api_calls', 15000);
SELECT allowed, remaining FROM svc_consume_entitlement('c1', 'tokens', 1000);
SELECT allowed, reason, value FROM svc_check_entitlement('c1', 'support');

-- paused: nothing is left of it; resumed: as it was, what was exhausted included
SELECT svc_pause_subscription('c1', 's1');
SELECT code, status FROM grants;
SELECT allowed, reason FROM svc_check_entitlement('c1', 'api_calls');
SELECT svc_resume_subscription('c1', 's1');
SELECT code, status FROM grants;

-- another plan: what both have keeps what was used, what the new one lacks ends
SELECT svc_upgrade_subscription('c1', 's1', 'team');
SELECT code, status, lim, used, source_id, over, roll FROM grants;
SELECT entitlements, usage_limits FROM svc_subscription WHERE id = 's1';
SELECT allowed, remaining FROM svc_check_entitlement('c1', 'api_calls');
SELECT svc_downgrade_subscription('c1', 's1', 'pro');
SELECT code, status, lim, used FROM grants WHERE status <> 'revoked';

-- more of it, fewer of it
SELECT svc_update_subscription('c1', 's1', '{"quantity": 1}');
SELECT code, status, lim, used FROM grants WHERE status <> 'revoked' AND lim IS NOT NULL;
SELECT svc_update_subscription('c1', 's1', '{"quantity": 0}');
\echo :SQLSTATE

-- a plan that changes leaves its subscribers alone
SELECT svc_update_plan('pro', '{"limits": {"api_calls": 1}}');
SELECT lim FROM grants WHERE code = 'api_calls' AND status <> 'revoked';

-- the end
SELECT svc_cancel_subscription('c1', 's1');
SELECT DISTINCT status FROM grants;
SELECT DISTINCT changes -> 'reason' FROM svc_event WHERE noun = 'entitlement' AND event IN ('revoked', 'suspended') ORDER BY 1;

-- a trial: granted as such, and kept by who is activated
SELECT svc_create_subscription('c1', 'team', properties => '{"id": "s2", "price": 99, "status": "trialing"}');
SELECT code, source, status FROM svc_entitlement WHERE subscription_id = 's2' ORDER BY code;
SELECT allowed FROM svc_consume_entitlement('c1', 'executions', 4);
SELECT svc_activate_subscription('c1', 's2');
SELECT code, source, status, used_amount FROM svc_entitlement WHERE subscription_id = 's2' ORDER BY code;
SELECT svc_expire_subscription('c1', 's2');
SELECT DISTINCT status FROM svc_entitlement WHERE subscription_id = 's2';

-- by plain SQL just as well
INSERT INTO svc_subscription (customer_id, id, plan_id, price) VALUES ('c1', 's3', 'team', 99);
UPDATE svc_subscription SET status = 'paused' WHERE id = 's3';
SELECT code, status FROM svc_entitlement WHERE subscription_id = 's3' ORDER BY code;
UPDATE svc_subscription SET status = 'cancelled' WHERE id = 's3';
SELECT DISTINCT status FROM svc_entitlement WHERE subscription_id = 's3';
INSERT INTO svc_subscription (customer_id, id, plan_id, price) VALUES ('c1', 's4', 'nothing', 99);
SELECT * FROM svc_verify();
SET client_min_messages = warning;
DROP SCHEMA svc CASCADE;
