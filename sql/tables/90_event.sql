-- The event log.
--
-- xid and cluster say which transaction of which installation wrote a row:
-- they are set by the trigger that writes it, never by a default, so that a
-- restored row keeps its own.
CREATE SEQUENCE IF NOT EXISTS @schema@.svc_event_id_seq AS bigint CACHE 1;
CREATE TABLE IF NOT EXISTS @schema@.svc_event (
    id bigint NOT NULL,
    xid xid8 NOT NULL,
    cluster bigint NOT NULL,
    revision bigint NOT NULL CHECK (revision >= 1),
    occurred_at timestamptz NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    noun text COLLATE "C" NOT NULL,
    entity_id text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    from_status text,
    to_status text NOT NULL,
    actor text,
    request_id text,
    changes jsonb,
    PRIMARY KEY (customer_id, noun, entity_id, revision)
);
CREATE INDEX IF NOT EXISTS svc_event_id ON @schema@.svc_event (id);
ALTER SEQUENCE @schema@.svc_event_id_seq CACHE 1 OWNED BY @schema@.svc_event.id;

COMMENT ON TABLE @schema@.svc_event IS 'What happened, append-only: one row for each committed change of status, and for what else the lifecycles call an event. An entity''s revisions run 1, 2, 3 ... without holes.';
COMMENT ON SEQUENCE @schema@.svc_event_id_seq IS 'Ids of events. CACHE must stay 1: an entity''s events are in the order of their ids.';
COMMENT ON COLUMN @schema@.svc_event.id IS 'For paging. Ids do not follow the order of commits.';
COMMENT ON COLUMN @schema@.svc_event.xid IS 'The transaction that wrote the row.';
COMMENT ON COLUMN @schema@.svc_event.cluster IS 'The system identifier of the installation that wrote the row.';
COMMENT ON COLUMN @schema@.svc_event.customer_id IS 'Empty for nouns that belong to no customer.';
COMMENT ON COLUMN @schema@.svc_event.event IS 'The name of the event, as in svc_transitions().';
COMMENT ON COLUMN @schema@.svc_event.type IS 'svc.<noun>.<event in snake_case>, as in NOTIFY.';
COMMENT ON COLUMN @schema@.svc_event.from_status IS 'Null on creation. Equal to to_status for what happened beside a change of status.';
COMMENT ON COLUMN @schema@.svc_event.actor IS 'The setting svc.actor, else the role of the session.';
COMMENT ON COLUMN @schema@.svc_event.request_id IS 'The setting svc.request_id.';
COMMENT ON COLUMN @schema@.svc_event.changes IS 'Object of the columns that changed, each with its old and new value; null on creation.';

CREATE OR REPLACE TRIGGER zzz_svc_append_only BEFORE UPDATE OR DELETE ON @schema@.svc_event
    FOR EACH ROW EXECUTE FUNCTION @schema@.svc_append_only();
CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON @schema@.svc_event
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.svc_append_only();
