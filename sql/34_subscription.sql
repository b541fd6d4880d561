-- Subscriptions.

CREATE FUNCTION svc_create_subscription(customer_id text, properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_create_subscription(text, jsonb) IS
'Creates a subscription from an object of properties, which are columns of svc_subscription, and returns its id; id and what else has a default may be left out. Raises 22004 for null, SV008 for an unknown customer, SV009 for an unknown property, SV010 for a value of the wrong JSON type, SV001 for a status that a new row cannot have, 23502 for a missing property, 23505 when the id exists. Locks the customer FOR SHARE.';

CREATE FUNCTION svc_activate_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_activate_subscription(text, text, text, bigint) IS
'Action activate of a subscription: trialing to active; past_due to active. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_pause_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_pause_subscription(text, text, text, bigint) IS
'Action pause of a subscription: trialing, active, past_due to paused. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_resume_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_resume_subscription(text, text, text, bigint) IS
'Action resume of a subscription: paused to active; paused to trialing. Returns the new status; a row that is there already stays, without an event. Trialing again while trial_end is ahead, else active. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_upgrade_subscription(customer_id text, subscription_id text, plan_id text, price numeric DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_upgrade_subscription(text, text, text, numeric, text, bigint) IS
'Action upgrade of a subscription: trialing, active, past_due to the same status. Returns the new status; each call that is allowed makes an event. price: the new plan''s when null. Raises SV008 for an unknown plan, SV001 for one that is closed to new subscribers. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_downgrade_subscription(customer_id text, subscription_id text, plan_id text, price numeric DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_downgrade_subscription(text, text, text, numeric, text, bigint) IS
'Action downgrade of a subscription: trialing, active, past_due to the same status. Returns the new status; each call that is allowed makes an event. As svc_upgrade_subscription, with its own event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_cancel_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_cancel_subscription(text, text, text, bigint) IS
'Action cancel of a subscription: trialing, active, past_due, paused to cancelled. Returns the new status; a row that is there already stays, without an event. Ends the subscription now; the reason is kept in cancellation_reason, too. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_update_subscription(customer_id text, subscription_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_subscription(text, text, jsonb, bigint) IS
'Changes the columns of a subscription that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_renew_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_renew_subscription(text, text, text, bigint) IS
'Action renew of a subscription: active to the same status; past_due to active. Returns the new status; each call that is allowed makes an event. The next period begins where the current one ends, and ends at the next of billing_anchor + n billing cycles, in the customer''s time zone (UTC without one). reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_mark_past_due_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_mark_past_due_subscription(text, text, text, bigint) IS
'Action markPastDue of a subscription: active to past_due. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_expire_subscription(customer_id text, subscription_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_expire_subscription(text, text, text, bigint) IS
'Action expire of a subscription: trialing to expired; active, past_due, paused to expired. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';
