-- Usages.

CREATE FUNCTION svc_aggregate_usage(customer_id text, usage_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_aggregate_usage(text, text, text, bigint) IS
'Action aggregate of an usage: recorded to aggregated. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_bill_usage(customer_id text, usage_id text, invoice_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_bill_usage(text, text, text, text, bigint) IS
'Action bill of an usage: aggregated to billed. Returns the new status; a row that is there already stays, without an event. invoice_id: an invoice of the same customer. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_dispute_usage(customer_id text, usage_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_dispute_usage(text, text, text, bigint) IS
'Action dispute of an usage: recorded, aggregated, billed to disputed. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_adjust_usage(customer_id text, usage_id text, quantity numeric DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_adjust_usage(text, text, numeric, text, bigint) IS
'Action adjust of an usage: recorded, aggregated to the same status; disputed to aggregated. Returns the new status; each call that is allowed makes an event. Corrects the record by a further one of this quantity (negative takes back) that refers to it; settles a dispute, for which quantity may be null. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_record_usage(
    customer_id text,
    resource text,
    quantity numeric DEFAULT 1,
    at timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    subscription_id text DEFAULT NULL)
RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_record_usage';
COMMENT ON FUNCTION svc_record_usage(text, text, numeric, timestamptz, text, jsonb, text) IS
'Stores a raw usage record and returns its id; quiet, without an event. quantity: in the unit of the resource, negative in a correction. at: null is the start of the transaction. idempotency_key: with one that was used before the earlier record''s id is returned, or SV004 raised when resource, quantity or subscription differ. Raises SV008 for an unknown customer, 22004, 22023, 22001 and 22003 for arguments.';
