-- What svc_install() has made.
CREATE TABLE IF NOT EXISTS @schema@.svc_meta (
    schema_version integer NOT NULL,
    triggers text[] NOT NULL,
    purged_id bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
-- Without a key: a dump of the data brings the row once more, and must not
-- fail on it, even if triggers are off.
ALTER TABLE @schema@.svc_meta REPLICA IDENTITY FULL;
COMMENT ON TABLE @schema@.svc_meta IS 'One row, written by svc_install(): the version of the tables of svc, and the triggers that they need.';
COMMENT ON COLUMN @schema@.svc_meta.purged_id IS 'The greatest id of an event that svc_purge_events() has deleted: who makes a consumer locks it, and so meets purges that are later than his snapshot.';

-- Made anew by every svc_install() that changes anything, this also tells
-- other sessions to look at the version again (catalog.c).
CREATE OR REPLACE TRIGGER zzz_svc_single BEFORE INSERT ON @schema@.svc_meta
    FOR EACH ROW EXECUTE FUNCTION @schema@.svc_append_only();
CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON @schema@.svc_meta
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.svc_append_only();
