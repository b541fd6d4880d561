-- Customer usages.

CREATE FUNCTION svc_aggregate_customer_usage(customer_id text, usage_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_aggregate_customer_usage(text, text, text, bigint) IS
'Action aggregate of a customer usage: partial to the same status; partial to complete; complete to the same status. Returns the new status; each call that is allowed makes an event. Complete when the period is over, else partial. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_finalize_customer_usage(customer_id text, usage_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_finalize_customer_usage(text, text, text, bigint) IS
'Action finalize of a customer usage: complete to finalized. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_record_customer_usage(customer_id text, properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_record_customer_usage';
COMMENT ON FUNCTION svc_record_customer_usage(text, jsonb) IS
'Records the figures of the period that period_type and period_start name, and returns the id of its row: makes it, or writes the figures given to the one that there is. A complete one is partial again; a finalized one raises SV001.';
