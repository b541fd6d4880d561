-- Entitlements.

CREATE FUNCTION svc_grant_entitlement(
    customer_id text,
    code text,
    limit_amount numeric DEFAULT NULL,
    unlimited boolean DEFAULT false,
    value jsonb DEFAULT NULL,
    type text DEFAULT NULL,
    name text DEFAULT NULL,
    description text DEFAULT NULL,
    priority integer DEFAULT 100,
    source text DEFAULT 'manual',
    source_id text DEFAULT NULL,
    valid_from timestamptz DEFAULT NULL,
    valid_until timestamptz DEFAULT NULL,
    id text DEFAULT NULL,
    plan_id text DEFAULT NULL,
    subscription_id text DEFAULT NULL,
    reset_period text DEFAULT NULL,
    reset_anchor timestamptz DEFAULT NULL,
    rollover_max numeric DEFAULT NULL,
    overage text DEFAULT 'deny',
    overage_limit numeric DEFAULT NULL,
    carry_overage boolean DEFAULT false,
    alert_percents integer[] DEFAULT NULL,
    costs jsonb DEFAULT NULL)
RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_grant_entitlement';
COMMENT ON FUNCTION svc_grant_entitlement(text, text, numeric, boolean, jsonb, text, text, text, integer, text, text, timestamptz, timestamptz, text, text, text, text, timestamptz, numeric, text, numeric, boolean, integer[], jsonb) IS
'Grants a customer a right and returns the id of the grant; grants of one code stack. limit_amount: how much may be consumed, in the unit of the code; null for a right that is not counted, unless unlimited. value: what a right that is not counted carries. type: quota or feature when null. name: the code when null. priority: grants with a smaller one pay first. valid_from and valid_until: half-open, null is without bound. id: made by svc_new_id(''ent'') when null. plan_id, subscription_id: where it comes from. reset_period: how often used_amount returns to 0 (hourly, daily, weekly, monthly, quarterly, yearly; never or null: not by itself), at reset_anchor + n periods in the customer''s time zone; reset_anchor: null is valid_from, or now. rollover_max: how much of what is left is carried into the next period at most; null is nothing. overage: deny, or allow consumes beyond the limit, by overage_limit at most (null: without end). carry_overage: overage counts as used in the next period. alert_percents: thresholds of usage that make an event thresholdReached. costs: makes the grant a pool: an object of codes that spend it, when their own grants do not suffice, and of what a unit of each costs, in units of this grant, such as {"gpt_large": 10, "gpt_small": 1}; null is none. Raises SV008 when the customer does not exist, SV001 when it is merged or deleted, 23503 for an unknown plan or subscription, 22004, 22023 and 22003 for arguments. Locks the customer FOR KEY SHARE.';

CREATE FUNCTION svc_check_entitlement(
    customer_id text,
    code text,
    amount numeric DEFAULT 1,
    at timestamptz DEFAULT NULL)
RETURNS svc_decision
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_check_entitlement';
COMMENT ON FUNCTION svc_check_entitlement(text, text, numeric, timestamptz) IS
'What svc_consume_entitlement would decide, without consuming: sees what the calling query sees, writes nothing, takes no lock, works on a standby. at: null is the start of the transaction. An unknown customer or code is a reason, not an error. Raises 22004, 22023 and 22003 for arguments.';

CREATE FUNCTION svc_has_entitlement(
    customer_id text,
    code text,
    amount numeric DEFAULT 1)
RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_has_entitlement';
COMMENT ON FUNCTION svc_has_entitlement(text, text, numeric) IS
'Whether svc_check_entitlement would allow the amount: for WHERE and for policies. Null for a null argument. Raises 22023 and 22003 for the amount.';

CREATE FUNCTION svc_consume_entitlement(
    customer_id text,
    code text,
    amount numeric DEFAULT 1,
    idempotency_key text DEFAULT NULL,
    mode text DEFAULT 'reject',
    at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
RETURNS svc_consumption
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_consume_entitlement';
COMMENT ON FUNCTION svc_consume_entitlement(text, text, numeric, text, text, timestamptz, jsonb) IS
'Consumes an amount from a customer''s grants of a code, in burn order, or denies it; both are results. What these lack is taken from pools that have a cost for the code, in whole units where one cannot pay all of the rest; then limits are exceeded, where they may be, in the same order. A negative amount is given back: first what pools have paid since their last reset, at the cost of that time; then what was used beyond limits, then against the burn order; more than was used is an error (SV013) unless mode is cap. Use it as SELECT * FROM svc_consume_entitlement(...). idempotency_key: with the same key and arguments the first answer is returned again, with other arguments SV004 is raised; a denial leaves the key free. mode: reject takes all or nothing; cap takes (or gives back) what is there, and denies a consume only when that is nothing; overflow takes all, and books as overage on the last grant what none covers. at: null is the start of the transaction, or the start of the grant''s present period if that is later; an earlier one than that is refused (22023). metadata: kept in the ledger. Raises SV011 when the code is not metered, 22004, 22023, 22001 and 22003 for arguments, 40001 under REPEATABLE READ and SERIALIZABLE. Locks the code''s grants FOR NO KEY UPDATE until the end of the transaction, then, if they do not suffice, the pools.';

CREATE FUNCTION svc_require_entitlement(
    customer_id text,
    code text,
    amount numeric DEFAULT 1,
    idempotency_key text DEFAULT NULL,
    mode text DEFAULT 'reject',
    at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
RETURNS svc_consumption
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_require_entitlement';
COMMENT ON FUNCTION svc_require_entitlement(text, text, numeric, text, text, timestamptz, jsonb) IS
'svc_consume_entitlement, but a denial is an error: SV003, with the reason in the message.';

CREATE FUNCTION svc_consume_entitlements(
    customer_id text,
    amounts jsonb,
    idempotency_key text DEFAULT NULL,
    at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
RETURNS svc_consumptions
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_consume_entitlements';
COMMENT ON FUNCTION svc_consume_entitlements(text, jsonb, text, timestamptz, jsonb) IS
'Consumes of several codes at once, all or nothing. amounts: an object of codes and amounts greater than 0, such as {"api_calls": 1, "tokens": 250}. When one is denied, nothing is taken, and code names the first in bytewise order. Otherwise like svc_consume_entitlement with mode reject, arguments, errors and locks included; codes are served in bytewise order, of which several may spend the same pool; the grants are locked in the order of their codes and ids, those of codes that have pools last.';

-- Holds.

CREATE FUNCTION svc_hold_entitlement(
    customer_id text,
    code text,
    amount numeric DEFAULT 1,
    ttl interval DEFAULT '1 hour',
    idempotency_key text DEFAULT NULL,
    mode text DEFAULT 'reject',
    at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
RETURNS svc_hold
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_hold_entitlement';
COMMENT ON FUNCTION svc_hold_entitlement(text, text, numeric, interval, text, text, timestamptz, jsonb) IS
'Sets an amount (greater than 0) aside for work whose cost is known only later, as a consume would take it, or denies it; both are results. On a pool it holds credits, at the cost of now. hold_id is for svc_settle_hold or svc_release_hold. ttl: after that time, 10 years at most, the hold lapses by itself; null is never. mode: reject or cap. Other arguments, errors and locks as svc_consume_entitlement.';

CREATE FUNCTION svc_settle_hold(
    customer_id text,
    hold_id text,
    amount numeric,
    idempotency_key text DEFAULT NULL,
    mode text DEFAULT 'reject',
    at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
RETURNS svc_consumption
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_settle_hold';
COMMENT ON FUNCTION svc_settle_hold(text, text, numeric, text, text, timestamptz, jsonb) IS
'Ends a hold with what the work has really cost, which is consumed: less (0 or more), as much, or more than was held. Less is given back against the burn order. More is consumed like anything else: reject denies the whole settlement when it is not there, and the hold stays; cap takes what is there; overflow takes all. Up to the amount held, neither a suspended customer nor a suspended or expired grant is in the way. Raises SV008 when the customer has no such hold, SV017 when it was settled or released or has lapsed (unless the idempotency_key is that of the same request), 22004, 22023 and 22003 for arguments. Locks all grants of the code FOR NO KEY UPDATE, then pools, if it is on some or does not suffice, then the hold.';

CREATE FUNCTION svc_release_hold(
    customer_id text,
    hold_id text,
    idempotency_key text DEFAULT NULL,
    at timestamptz DEFAULT NULL)
RETURNS svc_consumption
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_release_hold';
COMMENT ON FUNCTION svc_release_hold(text, text, text, timestamptz) IS
'Ends a hold of work that has cost nothing: what was held is available again. Errors and locks as svc_settle_hold.';

-- Looking at entitlements.

CREATE FUNCTION svc_entitlements(
    customer_id text, at timestamptz DEFAULT NULL,
    OUT code text, OUT reason text, OUT metered boolean, OUT unlimited boolean,
    OUT limit_amount numeric, OUT rollover_amount numeric, OUT used_amount numeric, OUT held_amount numeric,
    OUT remaining_amount numeric, OUT overage numeric, OUT usage_percent numeric, OUT value jsonb,
    OUT reset_at timestamptz, OUT valid_until timestamptz, OUT sources text[])
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_entitlements';
COMMENT ON FUNCTION svc_entitlements(text, timestamptz) IS
'What a customer is entitled to, a row for each code that has grants which are not revoked, in the order of the codes, by these grants alone: a pool has a row for its own code, and codes that only pools pay for have none. reason: ok, or why nothing can be consumed; figures: sums over the live grants (limit_amount, remaining_amount and usage_percent null when one is unlimited, all null when the right is not counted); value: of the first live grant that has one; reset_at and valid_until: the next reset and the next end of a live grant; sources: where grants come from. at: null is the start of the transaction. An unknown customer has no rows. Raises 22004 for a null customer, 22023 for an instant before a grant''s present period. Reads with the snapshot of the calling query, takes no lock.';

CREATE FUNCTION svc_explain_entitlement(
    customer_id text, code text, amount numeric DEFAULT 1, at timestamptz DEFAULT NULL,
    OUT step integer, OUT what text, OUT entitlement_id text, OUT state text, OUT available numeric,
    OUT pays numeric, OUT explanation text)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_explain_entitlement';
COMMENT ON FUNCTION svc_explain_entitlement(text, text, numeric, timestamptz) IS
'How svc_check_entitlement comes to its decision, a row for each step: the customer; the grants, those that are live first, in the order in which they pay, then the pools that have a cost for the code, each with its state, what is available of it (null when unlimited or not counted) and what it would pay, of a pool in credits; the decision. Arguments and errors as svc_check_entitlement.';

CREATE FUNCTION svc_balance_at(customer_id text, code text, at timestamptz)
RETURNS svc_balance
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_balance_at';
COMMENT ON FUNCTION svc_balance_at(text, text, timestamptz) IS
'The balance of a code at an instant of the past, read from the ledger; of the present; or of the future, if nothing happens until then. Counts the grants that had been made, were valid by their present valid_from and valid_until, and were not revoked; suspensions are not looked at, nor pools of other codes; an instant among resets that were made up for at once is reckoned by the present rollover_max, carry_overage and periods. at: null is the start of the transaction. Raises 22004 and 22023 for arguments.';

-- A trigger for users' own tables.

CREATE FUNCTION svc_guard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'svc_guard';
COMMENT ON FUNCTION svc_guard() IS
'AFTER INSERT OR UPDATE OR DELETE trigger, FOR EACH ROW, of a table of your own: svc_guard(''code'' [, ''customer column'' [, ''amount column'']]). A row that comes consumes its amount of the code, or is refused (SV003); one that goes gives it back, as far as it counts as used; one that changes does both, or the difference. customer column: customer_id when left out; a null in it consumes nothing. amount column: 1 for each row when left out; a null is 0; a negative amount is refused (22023). TRUNCATE gives nothing back. Locks the code''s grants, as svc_consume_entitlement does.';

-- Actions on one grant.

CREATE FUNCTION svc_update_entitlement(customer_id text, entitlement_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_entitlement(text, text, jsonb, bigint) IS
'Changes the columns of an entitlement that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_reset_entitlement(customer_id text, entitlement_id text, move_anchor boolean DEFAULT false, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_reset_entitlement(text, text, boolean, text, bigint) IS
'Action reset of an entitlement: active, suspended to the same status; exhausted to active, or, when overage that is carried uses up the new period, to the same. Returns the new status; each call that is allowed makes an event. A reset out of turn, like those that come by themselves: used_amount returns to 0 by a row of the ledger, what is left is carried over up to rollover_max, overage is forgiven or carried. move_anchor: later resets are reckoned from now on; else they come when they would have. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action or it is not metered. Locks the row.';

CREATE FUNCTION svc_suspend_entitlement(customer_id text, entitlement_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_suspend_entitlement(text, text, text, bigint) IS
'Action suspend of an entitlement: active, exhausted to suspended. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_resume_entitlement(customer_id text, entitlement_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_resume_entitlement(text, text, text, bigint) IS
'Action resume of an entitlement: suspended to active; suspended to exhausted. Returns the new status; a row that is there already stays, without an event. Exhausted when nothing is left, else active. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_expire_entitlement(customer_id text, entitlement_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_expire_entitlement(text, text, text, bigint) IS
'Action expire of an entitlement: active, exhausted, suspended to expired. Returns the new status; a row that is there already stays, without an event. Refused while its validity is not over. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_revoke_entitlement(customer_id text, entitlement_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_revoke_entitlement(text, text, text, bigint) IS
'Action revoke of an entitlement: active, exhausted, suspended, expired to revoked. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';
