-- Subscriptions.

CREATE FUNCTION svc_create_subscription(
    customer_id text, plan_id text, quantity integer DEFAULT 1, trial_days integer DEFAULT NULL,
    billing_anchor timestamptz DEFAULT NULL, addons jsonb DEFAULT NULL, allow_duplicate boolean DEFAULT false,
    properties jsonb DEFAULT '{}', at timestamptz DEFAULT NULL)
RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_create_subscription';
COMMENT ON FUNCTION svc_create_subscription(text, text, integer, integer, timestamptz, jsonb, boolean, jsonb, timestamptz) IS
'Subscribes a customer to a plan, which grants what its terms say, and returns the subscription''s id. quantity: how many of the plan; null is 1. trial_days: 0 for no trial, null for as many as the plan has; days of the customer''s calendar. billing_anchor: periods begin at billing_anchor + n billing cycles; null is the end of the trial, or the start. addons: an object of plan ids and quantities, such as {"extra_storage": 2}. allow_duplicate: may it be a second subscription to the plan? properties: other columns of svc_subscription, such as id, price, billing_cycle. at: the instant at which it begins, null for the start of the transaction. Raises 22004 for null, SV008 for an unknown customer or plan, SV001 for a plan that is closed, SV019 for a currency or billing cycle that the plan has not, or a trial that requires a payment method, SV020 when the customer has the plan, SV009 and SV010 for properties, 22023 for add-ons of the wrong shape. Locks the customer FOR SHARE and the plans FOR SHARE.';

CREATE FUNCTION svc_activate_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_activate_subscription(text, text, text, bigint, timestamptz) IS
'Action activate of a subscription: trialing to active; past_due to active. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_pause_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_pause_subscription(text, text, text, bigint, timestamptz) IS
'Action pause of a subscription: trialing, active, past_due to paused. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_resume_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_resume_subscription(text, text, text, bigint, timestamptz) IS
'Action resume of a subscription: paused to active; paused to trialing. Returns the new status; a row that is there already stays, without an event. Trialing again while trial_end is ahead, else active; periods that went by in the pause are not made up for. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_upgrade_subscription(customer_id text, subscription_id text, plan_id text, price numeric DEFAULT NULL, at_period_end boolean DEFAULT false, carry_usage boolean DEFAULT true, billing_cycle text DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_upgrade_subscription(text, text, text, numeric, boolean, boolean, text, text, bigint, timestamptz) IS
'Action upgrade of a subscription: trialing, active, past_due to the same status. Returns the new status; each call that is allowed makes an event. price: per unit of quantity; null is the new plan''s. at_period_end: only note it, as event updated, and do it when the current period ends. carry_usage: what was used counts under the new plan, code by code; false begins anew. billing_cycle: null keeps the present one. A code that the new plan lacks is revoked. Raises SV008 for an unknown plan, SV001 for one that is closed to new subscribers, SV019 for a currency or a billing cycle that it has not, SV020 when the customer has it already. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_downgrade_subscription(customer_id text, subscription_id text, plan_id text, price numeric DEFAULT NULL, at_period_end boolean DEFAULT false, carry_usage boolean DEFAULT true, billing_cycle text DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_downgrade_subscription(text, text, text, numeric, boolean, boolean, text, text, bigint, timestamptz) IS
'Action downgrade of a subscription: trialing, active, past_due to the same status. Returns the new status; each call that is allowed makes an event. As svc_upgrade_subscription, with its own event. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_cancel_subscription(customer_id text, subscription_id text, at_period_end boolean DEFAULT false, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_cancel_subscription(text, text, boolean, text, bigint, timestamptz) IS
'Action cancel of a subscription: trialing, active, past_due, paused to cancelled. Returns the new status; a row that is there already stays, without an event. Ends the subscription now, or, with at_period_end, only notes it in cancel_at_period_end, as event updated, and ends it when the current period ends. The reason is kept in cancellation_reason, too. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_update_subscription(customer_id text, subscription_id text, properties jsonb, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_subscription(text, text, jsonb, bigint, timestamptz) IS
'Changes the columns of a subscription that the object of properties names, a null among them to null, and returns the status. scheduled_plan_id null withdraws a scheduled change of plan. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_renew_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_renew_subscription(text, text, text, bigint, timestamptz) IS
'Action renew of a subscription: active to the same status; past_due to active. Returns the new status; each call that is allowed makes an event. The next period begins where the current one ends, and ends at the next of billing_anchor + n billing cycles, in the customer''s time zone (UTC without one). reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_mark_past_due_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_mark_past_due_subscription(text, text, text, bigint, timestamptz) IS
'Action markPastDue of a subscription: active to past_due. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_expire_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_expire_subscription(text, text, text, bigint, timestamptz) IS
'Action expire of a subscription: trialing to expired; active, past_due, paused to expired. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction; what was due before is done first. Raises 22023 when it is before the current period. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_uncancel_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_uncancel_subscription(text, text, text, bigint, timestamptz) IS
'Withdraws the cancellation at the end of the period of a subscription, as event updated, and returns the status; without an event when none was noted. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. at: null for the start of the transaction. Raises SV008 when there is no such row, SV001 when it has ended. Locks the row.';

-- Looking at subscriptions, and at many of them.

CREATE FUNCTION svc_subscription_usage(customer_id text, subscription_id text, at timestamptz DEFAULT NULL) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_subscription_usage';
COMMENT ON FUNCTION svc_subscription_usage(text, text, timestamptz) IS
'What is used of the grants of a subscription in their present periods, as an object of codes and amounts; null when it has no grant that is counted, also when there is no such subscription. at: null is the start of the transaction. Raises 22004 for null ids. Takes no lock.';

CREATE FUNCTION svc_preview_subscription_change(
    customer_id text, subscription_id text, plan_id text, quantity integer DEFAULT NULL,
    carry_usage boolean DEFAULT true, billing_cycle text DEFAULT NULL, at timestamptz DEFAULT NULL,
    OUT code text, OUT effect text, OUT limit_before numeric, OUT limit_after numeric,
    OUT value_before jsonb, OUT value_after jsonb, OUT used numeric, OUT carried numeric,
    OUT remaining_before numeric, OUT remaining_after numeric, OUT lost numeric, OUT exceeded numeric)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_preview_subscription_change';
COMMENT ON FUNCTION svc_preview_subscription_change(text, text, text, integer, boolean, text, timestamptz) IS
'What a change of plan would do to what the plan of a subscription grants, without doing it, a row per code. effect: granted, revoked, changed or kept. Limits and what remains are Infinity without a limit, null where nothing is counted. carried: what was used and counts under the new plan; lost: what could be used before and not after; exceeded: how much of what is used or held is beyond the new limit. quantity and billing_cycle: null for the present ones. at: null is the start of the transaction. Raises SV008 for an unknown subscription or plan, 22004 for null ids, 22023 for a quantity below 1 or an unknown cycle. Takes no lock.';

CREATE FUNCTION svc_migrate_subscribers(
    plan_id text, to_plan_id text DEFAULT NULL, with_price boolean DEFAULT false,
    carry_usage boolean DEFAULT true, max_rows integer DEFAULT 1000, at timestamptz DEFAULT NULL,
    OUT migrated bigint, OUT failed bigint, OUT remaining bigint)
RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_migrate_subscribers';
COMMENT ON FUNCTION svc_migrate_subscribers(text, text, boolean, boolean, integer, timestamptz) IS
'Gives subscribers of a plan its present terms, or, with to_plan_id, another plan, and returns how many were done, how many failed, each with a WARNING, and how many are left. with_price: the plan''s present price, too. carry_usage: what was used counts on. max_rows: of one call, 1 to 100000; call again, in a transaction of its own, while migrated is greater than 0. at: null is the start of the transaction. Raises SV008 for an unknown plan, SV001 for one that is closed to new subscribers. Locks subscriptions that nobody else has locked, and their grants.';
