-- Consumers of the event log.

CREATE FUNCTION svc_event_is_pending(
    event_cluster bigint, event_xid xid8, event_id bigint,
    cluster bigint, snapshot pg_snapshot, horizon bigint,
    window_cluster bigint, window_snapshot pg_snapshot, "position" bigint)
RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN
    CASE WHEN event_cluster = cluster
         THEN snapshot IS NULL OR NOT pg_visible_in_snapshot(event_xid, snapshot)
         ELSE horizon IS NULL OR event_id > horizon END
    AND NOT (window_snapshot IS NOT NULL AND event_id <= "position" AND
             (event_cluster <> window_cluster OR pg_visible_in_snapshot(event_xid, window_snapshot)));
COMMENT ON FUNCTION svc_event_is_pending(bigint, xid8, bigint, bigint, pg_snapshot, bigint, bigint, pg_snapshot, bigint) IS
'Whether a consumer has not acknowledged an event yet: the rule of src/consumer.c.';

CREATE FUNCTION svc_create_consumer(
    name text,
    "from" text DEFAULT 'now',
    types text[] DEFAULT NULL,
    customer_id text DEFAULT NULL)
RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_create_consumer';
COMMENT ON FUNCTION svc_create_consumer(text, text, text[], text) IS
'Creates a consumer of the event log and returns its name. from (write "from" in named notation): now, for events that are not committed yet, or beginning, for all that the log has. types: event types such as svc.entitlement.exhausted; null is all. customer_id: null is all. Raises 42710 when it exists, 22023 for an unknown start or event type, 22004 for a null name, 40001 when events were purged that the transaction''s snapshot does not see. Locks svc_event_consumer in SHARE UPDATE EXCLUSIVE mode: purges wait.';

CREATE TYPE svc_polled_event AS (
    id bigint, type text, customer_id text, noun text, entity_id text, revision bigint,
    event text, action text, from_status text, to_status text, occurred_at timestamptz,
    actor text, request_id text, changes jsonb, cluster bigint
);
COMMENT ON TYPE svc_polled_event IS
'An event as svc_poll_events() hands it out; the attributes are the columns of svc_event.';

CREATE FUNCTION svc_poll_events(
    name text,
    max_rows integer DEFAULT 1000,
    lease interval DEFAULT '30 seconds')
RETURNS SETOF svc_polled_event
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_poll_events';
COMMENT ON FUNCTION svc_poll_events(text, integer, interval) IS
'The next events for a consumer, at most max_rows (1 to 10000), ascending by id within what one poll sees; an entity''s revisions in order. Who polls has the lease (0 to 1 year): nobody else is handed anything until it ends or all is acknowledged; then what is not acknowledged comes again. svc_cloudevent() makes a CloudEvent of each. Raises 42704 for an unknown consumer, SV015 when events that it has not read were purged, SV016 when its state comes from another history of the server (a promoted copy), 40001 under REPEATABLE READ and SERIALIZABLE, 22004 and 22023 for arguments, 25006 in a read-only transaction or on a standby. Locks the consumer; a consumer that another transaction has locked yields nothing.';

CREATE FUNCTION svc_cloudevent(event svc_polled_event) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN (event).id IS NOT NULL THEN jsonb_build_object(
    'specversion', '1.0',
    'id', (event).id::text,
    'source', '/svc/' || (event).cluster,
    'type', (event).type,
    'subject', (event).entity_id,
    'time', to_char((event).occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'datacontenttype', 'application/json',
    'data', jsonb_build_object(
        'customer_id', (event).customer_id,
        'revision', (event).revision,
        'action', (event).action,
        'from_status', (event).from_status,
        'to_status', (event).to_status,
        'actor', (event).actor,
        'request_id', (event).request_id,
        'changes', (event).changes)) END;
COMMENT ON FUNCTION svc_cloudevent(svc_polled_event) IS
'An event in the JSON format of CloudEvents 1.0: SELECT svc_cloudevent(e) FROM svc_poll_events(...) AS e. Null for null.';

CREATE FUNCTION svc_ack_events(name text, upto bigint) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_ack_events';
COMMENT ON FUNCTION svc_ack_events(text, bigint) IS
'Acknowledges the events that a consumer was handed, up to an id, which is returned. In the same transaction as the consumer''s own writes, each event takes effect exactly once. Raises 42704 for an unknown consumer, 22023 for an id beyond what was polled, below what was acknowledged before, or of no event that was polled last: of an earlier poll, when the consumer has been polled to the end and again since.';

CREATE FUNCTION svc_drop_consumer(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_drop_consumer';
COMMENT ON FUNCTION svc_drop_consumer(text) IS
'Removes a consumer. Raises 42704 when there is none of that name.';

CREATE FUNCTION svc_purge_events(before timestamptz) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_purge_events';
COMMENT ON FUNCTION svc_purge_events(timestamptz) IS
'Deletes the events that occurred before an instant and returns their number. What a consumer has not acknowledged stays, unless it is older than the setting svc.event_max_retention; such a consumer is then behind, and its next poll raises SV015. Raises 22004 for null, 22023 for an instant in the future, 25000 unless at READ COMMITTED. Locks svc_event_consumer in SHARE UPDATE EXCLUSIVE mode: whoever creates a consumer waits.';
