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
    subscription_id text DEFAULT NULL)
RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_grant_entitlement';
COMMENT ON FUNCTION svc_grant_entitlement(text, text, numeric, boolean, jsonb, text, text, text, integer, text, text, timestamptz, timestamptz, text, text, text) IS
'Grants a customer a right and returns the id of the grant; grants of one code stack. limit_amount: how much may be consumed, in the unit of the code; null for a right that is not counted, unless unlimited. value: what a right that is not counted carries. type: quota or feature when null. name: the code when null. priority: grants with a smaller one pay first. valid_from and valid_until: half-open, null is without bound. id: made by svc_new_id(''ent'') when null. plan_id, subscription_id: where it comes from. Raises SV008 when the customer does not exist, SV001 when it is merged or deleted, 23503 for an unknown plan or subscription, 22004, 22023 and 22003 for arguments. Locks the customer FOR SHARE.';

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
'Consumes an amount (greater than 0) from a customer''s grants of a code, in burn order, or denies it; both are results. Use it as SELECT * FROM svc_consume_entitlement(...). idempotency_key: with the same key and arguments the first answer is returned again, with other arguments SV004 is raised; a denial leaves the key free. mode: reject takes all or nothing. at: null is the start of the transaction. metadata: kept in the ledger. Raises SV011 when the code is not metered, 22004, 22023, 22001 and 22003 for arguments, 40001 under REPEATABLE READ and SERIALIZABLE. Locks the code''s grants FOR NO KEY UPDATE until the end of the transaction.';

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

-- Actions on one grant.

CREATE FUNCTION svc_update_entitlement(customer_id text, entitlement_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_entitlement(text, text, jsonb, bigint) IS
'Changes the columns of an entitlement that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_reset_entitlement(customer_id text, entitlement_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_reset_entitlement(text, text, text, bigint) IS
'Action reset of an entitlement: active, suspended to the same status; exhausted to active. Returns the new status; each call that is allowed makes an event. Sets used_amount to 0 by a row of the ledger that takes it back. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

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
