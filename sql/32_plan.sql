-- Plans.

CREATE FUNCTION svc_create_plan(properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_create_plan(jsonb) IS
'Creates a plan from an object of properties, which are columns of svc_plan, and returns its id; id and what else has a default may be left out. Raises 22004 for null, SV009 for an unknown property, SV010 for a value of the wrong JSON type, SV001 for a status that a new row cannot have, 23502 for a missing property, 23505 when the id exists.';

CREATE FUNCTION svc_update_plan(plan_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_plan(text, jsonb, bigint) IS
'Changes the columns of a plan that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_activate_plan(plan_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_activate_plan(text, text, bigint) IS
'Action activate of a plan: hidden, legacy to active. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_hide_plan(plan_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_hide_plan(text, text, bigint) IS
'Action hide of a plan: active, legacy to hidden. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_discontinue_plan(plan_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_discontinue_plan(text, text, bigint) IS
'Action discontinue of a plan: active, hidden, legacy to discontinued. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_update_pricing_plan(plan_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_update_pricing_plan';
COMMENT ON FUNCTION svc_update_pricing_plan(text, jsonb, bigint) IS
'svc_update_plan for what the plan costs (price, currency, billing_interval, annual_discount, overage_price, overage_enabled), with its own event. Raises SV009 for other properties.';

CREATE FUNCTION svc_plan_terms(plan_id text) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_plan_terms';
COMMENT ON FUNCTION svc_plan_terms(text) IS
'What a plan promises now, as an object of its columns limits, entitlements, executions_per_month, overage_enabled and overage_price: a new subscription keeps it in column terms. Raises SV008 for an unknown plan, 22004 for null.';

CREATE FUNCTION svc_terms_grants(
    terms jsonb, quantity integer DEFAULT 1, billing_cycle text DEFAULT NULL, addons jsonb DEFAULT NULL,
    OUT addon_id text, OUT code text, OUT limit_amount numeric, OUT unlimited boolean, OUT value jsonb,
    OUT reset_period text, OUT rollover_max numeric, OUT overage text, OUT overage_limit numeric,
    OUT carry_overage boolean, OUT alert_percents integer[], OUT priority integer, OUT per_unit boolean,
    OUT costs jsonb)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_terms_grants';
COMMENT ON FUNCTION svc_terms_grants(jsonb, integer, text, jsonb) IS
'What is granted under terms (see svc_plan_terms), and under those of addons (column addons of svc_subscription), a row per add-on and code, in this order. limit_amount, rollover_max and overage_limit are for the quantity, unless per_unit is false; reset_period of what is counted is billing_cycle, if the terms do not say. Nothing when terms is null.';

CREATE FUNCTION svc_plan_grants(
    plan_id text,
    OUT code text, OUT limit_amount numeric, OUT unlimited boolean, OUT value jsonb, OUT reset_period text,
    OUT rollover_max numeric, OUT overage text, OUT overage_limit numeric, OUT carry_overage boolean,
    OUT alert_percents integer[], OUT priority integer, OUT per_unit boolean, OUT costs jsonb)
RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT g.code, g.limit_amount, g.unlimited, g.value, g.reset_period, g.rollover_max, g.overage,
           g.overage_limit, g.carry_overage, g.alert_percents, g.priority, g.per_unit, g.costs
    FROM svc_terms_grants(svc_plan_terms(plan_id)) g;
END;
COMMENT ON FUNCTION svc_plan_grants(text) IS
'What a plan grants to each new subscriber, a row per code, in the order of the codes: from its limits, entitlements, executions_per_month and overage_enabled. limit_amount is for a quantity of one, unless per_unit is false; reset_period null is the billing cycle; costs make a pool. Raises SV008 for an unknown plan, 22004 for null.';
