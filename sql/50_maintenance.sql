-- Maintenance.

CREATE FUNCTION svc_run_due(
    at timestamptz DEFAULT NULL, max_rows integer DEFAULT 1000,
    OUT task text, OUT done bigint)
RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_run_due';
COMMENT ON FUNCTION svc_run_due(timestamptz, integer) IS
'Does what time alone makes due, and returns how much of each task was done: end trials, change plans, renew subscriptions, cancel subscriptions, mark invoices overdue, lapse holds, reset entitlements, expire entitlements, note usage (in column usage_this_period of subscriptions), aggregate usage (records rolled up), complete usage (periods that are over), mark usage aggregated (records of what is final), ask about segments (customers that time may have brought into one or out of it), sync segments; and how many rows have failed, each with a WARNING. What was due several times is done as often, each at its instant, with the same result as in time. To be called by a scheduler; entitlements are right without it, but events come only then. at: null is the start of the transaction. max_rows: of rows to look at for each task, 1 to 100000; of customers, because of segments, it is no more than 1000. Can be run again, and several at once: rows that others have locked are skipped. Locks the rows that it does until the end of the transaction.';

CREATE FUNCTION svc_verify(
    of_customer text DEFAULT NULL,
    OUT customer_id text, OUT id text, OUT figure text, OUT stored text, OUT recounted text)
RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_verify';
COMMENT ON FUNCTION svc_verify(text) IS
'Recounts the figures of entitlements and of roll-ups of usage, of one customer or of all (null), and returns those that are not what they should be, with the id of the row. Of entitlements: used_amount and held_amount against the ledger, held_amount against the open holds, the numbers of the ledger, what is derived from these. Of roll-ups: each figure against the raw records that are rolled up, from where on these are not purged. No rows is what is right. Reads the whole ledger and all raw usage of the customer, or of all.';
