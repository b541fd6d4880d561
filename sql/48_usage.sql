-- Usage: meters, records, roll-ups.

CREATE FUNCTION svc_meter_change() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'svc_meter_change';
COMMENT ON FUNCTION svc_meter_change() IS
'Trigger of svc_meter.';

CREATE FUNCTION svc_usage_consume() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'svc_usage_consume';
COMMENT ON FUNCTION svc_usage_consume() IS
'Trigger of svc_usage: consumes what a record is worth, of the entitlement that its meter names.';

CREATE FUNCTION svc_set_meter(
    resource text,
    aggregation text DEFAULT 'sum',
    unit text DEFAULT NULL,
    unit_cost numeric DEFAULT NULL,
    currency text DEFAULT NULL,
    usage_column text DEFAULT NULL,
    entitlement_code text DEFAULT NULL,
    consume_mode text DEFAULT 'reject')
RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_set_meter';
COMMENT ON FUNCTION svc_set_meter(text, text, text, numeric, text, text, text, text) IS
'Says how a resource is metered, all of it: what is left out is as if it had never been said. aggregation: what a period''s figure is, sum of quantities, count of records, max or last quantity. unit: for people. unit_cost, in currency: for estimated_cost. usage_column: of svc_customer_usage. entitlement_code: what a record consumes; consume_mode: what a denial does, reject or overflow (record it, and say in column overage how much was not covered). Raises SV024 when there is usage already and aggregation or column would change, 22004 for null, 23514 for other values. Locks svc_usage in SHARE ROW EXCLUSIVE mode: recorders wait.';

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
'Stores a raw usage record and returns its id; quiet, without an event. quantity: in the unit of the resource, negative in a correction. at: null is the start of the transaction. idempotency_key: with one that was used before the earlier record''s id is returned, or SV004 raised when resource, quantity or subscription differ. Raises SV003 when the meter''s entitlement does not cover it, SV025 when it is late and svc.late_usage is reject, SV008 for an unknown customer, 22004, 22023, 22001 and 22003 for arguments.';

CREATE FUNCTION svc_add_figures(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_add_figures';
COMMENT ON FUNCTION svc_add_figures(jsonb, jsonb) IS
'The sums of two objects of numbers, member by member, such as those in usage_by_resource; a null is an object without members. Raises 22023 for a member that is no number.';

CREATE FUNCTION svc_aggregate_usage(customer_id text DEFAULT NULL, upto timestamptz DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_aggregate_usage';
COMMENT ON FUNCTION svc_aggregate_usage(text, timestamptz) IS
'Rolls up what usage is new since the last time, of a customer or of all (null), to hours, days, weeks, months, quarters and years of the customer''s time zone, and completes periods that have ended by upto (null, or what is later, is the start of the transaction); returns the number of records. Records that commit late are not missed, none is counted twice; what this transaction has recorded comes next time. Of all customers, those that somebody else is rolling up are skipped. Raises SV008 for an unknown customer. Locks customers FOR KEY SHARE and their rows of svc_usage_fold; recorders do not wait.';

CREATE FUNCTION svc_finalize_usage(customer_id text, period_type text, at timestamptz, reason text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_finalize_usage';
COMMENT ON FUNCTION svc_finalize_usage(text, text, timestamptz, text) IS
'Closes a customer''s usage, of all resources, up to the end of the period (hour, day, week, month, quarter or year) that an instant is in: rolls up what is there, makes all periods that end by then final, and returns up to where it is closed. What is recorded later about an earlier time counts from there on (svc.late_usage). reason: kept with the events. Closing again is nothing. Raises SV001 when the period is not over, SV008 for an unknown customer, 25000 at another isolation level than READ COMMITTED and in a transaction that has recorded such usage, 22004, 22023. Locks the customer FOR UPDATE: waits for who records its usage.';

CREATE FUNCTION svc_purge_usage(before timestamptz) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_purge_usage';
COMMENT ON FUNCTION svc_purge_usage(timestamptz) IS
'Deletes raw records that count before an instant, are of what is final and rolled up, and returns their number; disputed ones stay. Roll-ups and what is summed up from them stay. An idempotency key goes with its record. Raises 22004 for null. Locks the rows.';

CREATE FUNCTION svc_get_usage(
    customer_id text, resource text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, granularity text DEFAULT NULL,
    OUT period_start timestamptz, OUT period_end timestamptz, OUT quantity numeric)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_get_usage';
COMMENT ON FUNCTION svc_get_usage(text, text, timestamptz, timestamptz, text) IS
'What a customer has used of a resource, as its meter sums it up, in [from, to), exactly, whatever is rolled up. from: null is since ever; to: null is for ever. granularity: hour, day, week, month, quarter or year of the customer''s time zone, a row for each, the first and last cut off at from and to (null is now); null is one row. Nothing is 0, but null for the greatest or last quantity. A part of an hour whose raw records are purged is missing. An unknown customer has used nothing. Raises 22004, 22023. Reads with the snapshot of the calling query, takes no lock.';

CREATE FUNCTION svc_usage_windows(
    customer_id text, at timestamptz DEFAULT NULL,
    OUT resource text, OUT current_period numeric, OUT last_7d numeric, OUT last_30d numeric, OUT last_90d numeric, OUT lifetime numeric)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_usage_windows';
COMMENT ON FUNCTION svc_usage_windows(text, timestamptz) IS
'What a customer has used, a row for each resource: in the current period, which is that of the subscription that has been going on longest, else the calendar month; in the last 7, 30 and 90 times 24 hours; and since ever, up to an instant (null is the start of the transaction). As svc_get_usage; nothing is 0.';

CREATE FUNCTION svc_usage_chart(
    customer_id text, resource text, period text DEFAULT 'month', at timestamptz DEFAULT NULL,
    OUT part text, OUT quantity numeric, OUT bar text)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_usage_chart';
COMMENT ON FUNCTION svc_usage_chart(text, text, text, timestamptz) IS
'Usage as bars, for people in psql: of the day by hours, of the week or month by days, of the quarter by weeks, of the year by months, in the customer''s time zone. at: an instant in the period (null is the start of the transaction). The longest bar has 50 characters. Raises 22004, 22023.';

CREATE FUNCTION svc_record_usage_batch(
    items jsonb, all_or_nothing boolean DEFAULT false,
    OUT item integer, OUT usage_id text, OUT outcome text, OUT sqlstate text, OUT message text)
RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_record_usage_batch';
COMMENT ON FUNCTION svc_record_usage_batch(jsonb, boolean) IS
'Stores raw usage records, up to 100000, and returns a row for each item, in order: outcome recorded, repeated (its idempotency key was used before for the same; usage_id is of that record) or refused, with sqlstate and message. items: an array of objects with customer_id, resource, quantity (1), at (a timestamptz as a string, which should name its time zone; the start of the transaction), idempotency_key, metadata and subscription_id, as the arguments of svc_record_usage. all_or_nothing: the first item that cannot be recorded raises its error. Raises 22004 for null, 22023 for what is no array, 54000 for too many items. Locks as svc_record_usage does.';
