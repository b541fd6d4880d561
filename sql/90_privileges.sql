-- Who may execute what: only functions that read and write nothing are for
-- PUBLIC. A loop, so that a new function cannot be forgotten.

DO $privileges$
DECLARE
    pure CONSTANT name[] := ARRAY['svc_new_id', 'svc_transitions', 'svc_version',
                                  'svc_library_version', 'svc_schema_version',
                                  'svc_installed_schema_version', 'svc_transition_diagram',
                                  'svc_period_at', 'svc_period_start', 'svc_period_end', 'svc_criteria_in', 'svc_criteria_out',
                                  'svc_criteria_recv', 'svc_criteria_send', 'svc_criteria', 'jsonb',
                                  'svc_criteria_eq', 'svc_criteria_ne', 'svc_criteria_hash',
                                  'svc_criteria_paths', 'svc_explain_criteria', 'svc_criteria_match', 'svc_matches',
                                  'svc_criteria_support', 'svc_next_change', 'svc_instant', 'svc_watch_begins',
                                  'svc_matching_criteria'];
    fn regprocedure;
BEGIN
    FOR fn IN
        SELECT p.oid
        FROM pg_catalog.pg_depend d
             JOIN pg_catalog.pg_proc p ON p.oid = d.objid
             JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
          AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
          AND d.deptype = 'e'
          AND x.extname = 'svc'
          AND p.proname <> ALL (pure)
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', fn);
    END LOOP;
END
$privileges$;
