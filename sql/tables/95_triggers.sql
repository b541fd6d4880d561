-- The triggers of all nouns' tables; see src/lifecycle.c.
FOR relation, noun IN SELECT DISTINCT 'svc_' || t.noun, t.noun FROM svc_transitions() t LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_lifecycle BEFORE INSERT OR UPDATE OR DELETE ON %I
        FOR EACH ROW EXECUTE FUNCTION svc_lifecycle(%L)', relation, noun);
    EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_event_insert AFTER INSERT ON %I
        FOR EACH ROW WHEN (NEW.revision > 0) EXECUTE FUNCTION svc_lifecycle_event(%L)', relation, noun);
    EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_event_update AFTER UPDATE ON %I
        FOR EACH ROW WHEN (OLD.revision <> NEW.revision OR OLD.status <> NEW.status)
        EXECUTE FUNCTION svc_lifecycle_event(%L)', relation, noun);
    EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON %I
        FOR EACH STATEMENT EXECUTE FUNCTION svc_append_only()', relation);
END LOOP;
