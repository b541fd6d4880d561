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
    id text DEFAULT NULL)
RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_grant_entitlement';
COMMENT ON FUNCTION svc_grant_entitlement(text, text, numeric, boolean, jsonb, text, text, text, integer, text, text, timestamptz, timestamptz, text) IS
'Grants a customer a right and returns the id of the grant; grants of one code stack. limit_amount: how much may be consumed, in the unit of the code; null for a right that is not counted, unless unlimited. value: what a right that is not counted carries. type: quota or feature when null. name: the code when null. priority: grants with a smaller one pay first. valid_from and valid_until: half-open, null is without bound. id: made by svc_new_id(''ent'') when null. Raises SV008 when the customer does not exist, SV001 when it is merged or deleted, 22004, 22023 and 22003 for arguments. Locks the customer FOR KEY SHARE.';

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
