-- Consumers of the event log, and how far each has come; see src/consumer.c.
CREATE TABLE IF NOT EXISTS @schema@.svc_event_consumer (
    name text COLLATE "C" PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
    types text[],
    customer_id text COLLATE "C",
    cluster bigint,
    snapshot pg_snapshot,
    horizon bigint,
    floor bigint NOT NULL DEFAULT 0,
    next_floor bigint,
    next_floor_xid xid8,
    window_cluster bigint,
    window_snapshot pg_snapshot,
    window_horizon bigint,
    window_floor bigint,
    position bigint NOT NULL DEFAULT 0,
    polled_id bigint,
    leased_until timestamptz,
    is_behind boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((window_cluster IS NULL) = (window_snapshot IS NULL)),
    CHECK (polled_id IS NULL OR window_snapshot IS NOT NULL)
);

COMMENT ON TABLE @schema@.svc_event_consumer IS 'Who reads the event log, and how far each has come; written by svc.';
COMMENT ON COLUMN @schema@.svc_event_consumer.types IS 'Event types that it wants; null: all.';
COMMENT ON COLUMN @schema@.svc_event_consumer.customer_id IS 'The customer whose events it wants; null: all.';
COMMENT ON COLUMN @schema@.svc_event_consumer.snapshot IS 'Events of the cluster that are visible in it are done; null: none is.';
COMMENT ON COLUMN @schema@.svc_event_consumer.horizon IS 'Events of other clusters up to this id are done; null: none is.';
COMMENT ON COLUMN @schema@.svc_event_consumer.floor IS 'All events up to this id are done: where a search may begin.';
COMMENT ON COLUMN @schema@.svc_event_consumer.next_floor IS 'The floor when all transactions before next_floor_xid have ended.';
COMMENT ON COLUMN @schema@.svc_event_consumer.window_snapshot IS 'Events visible in it, and not done, are the window that is being read; null: none is.';
COMMENT ON COLUMN @schema@.svc_event_consumer.position IS 'Events of the window up to this id are done.';
COMMENT ON COLUMN @schema@.svc_event_consumer.polled_id IS 'The last event handed out; null: all that were are done.';
COMMENT ON COLUMN @schema@.svc_event_consumer.leased_until IS 'Until then nobody else is handed anything.';
COMMENT ON COLUMN @schema@.svc_event_consumer.is_behind IS 'Events that it has not read were purged.';

CREATE OR REPLACE VIEW @schema@.svc_consumer_lag AS
SELECT k.name, l.pending, l.oldest_pending_at, k.polled_id IS NOT NULL AS is_reading, k.leased_until, k.is_behind
FROM @schema@.svc_event_consumer k
     CROSS JOIN LATERAL (
         SELECT count(*) AS pending, min(e.occurred_at) AS oldest_pending_at
         FROM @schema@.svc_event e
         WHERE e.id > k.floor AND @schema@.svc_event_is_pending(e.cluster, e.xid, e.id, k.cluster, k.snapshot, k.horizon,
                                             k.window_cluster, k.window_snapshot, k.position)
           AND (k.types IS NULL OR e.type = ANY (k.types))
           AND (k.customer_id IS NULL OR e.customer_id = k.customer_id)) l;
COMMENT ON VIEW @schema@.svc_consumer_lag IS 'For each consumer: how many events it has not acknowledged, and since when the oldest waits.';
