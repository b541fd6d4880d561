-- Who may do what: sets of privileges for roles.
--
-- Functions of svc run their statements as the tables' owner, so an application
-- needs EXECUTE and nothing else. The sets:
--
--   app     EXECUTE on all functions but those for admin and for svc itself
--   reader  SELECT on all tables and views, EXECUTE on functions that only read
--   admin   both, and EXECUTE on what cannot be undone
--
-- A new function is for app unless it is listed here.
CREATE FUNCTION svc_privileges(
    set_name text,
    OUT object_type text, OUT object text, OUT privilege text)
RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $svc_privileges$
DECLARE
    admin_only CONSTANT text[] := ARRAY['svc_merge_customer', 'svc_delete_customer',
                                        'svc_create_consumer', 'svc_drop_consumer', 'svc_purge_events',
                                        'svc_set_meter', 'svc_finalize_usage', 'svc_purge_usage'];
    internal CONSTANT text[] := ARRAY['svc_install', 'svc_make_tables', 'svc_make_tables_as',
                                      'svc_grant', 'svc_revoke', 'svc_privileges'];
    schema_oid oid;
    schema name;
BEGIN
    IF set_name IS NULL OR set_name <> ALL (ARRAY['app', 'reader', 'admin']) THEN
        RAISE EXCEPTION 'unknown set of privileges "%"', set_name
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'A set names what a role is for.',
                  HINT = 'The sets are "app", "reader" and "admin".';
    END IF;
    SELECT n.oid, n.nspname INTO STRICT schema_oid, schema
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname = 'svc';

    RETURN QUERY SELECT 'SCHEMA', quote_ident(schema), 'USAGE';
    RETURN QUERY
        SELECT 'FUNCTION', p.oid::regprocedure::text, 'EXECUTE'
        FROM pg_depend d
             JOIN pg_extension x ON x.oid = d.refobjid
             JOIN pg_proc p ON p.oid = d.objid
        WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
          AND d.deptype = 'e' AND x.extname = 'svc'
          AND (p.prorettype <> 'trigger'::regtype OR p.proname = 'svc_guard')
          AND p.proname::text <> ALL (internal)
          AND (set_name = 'admin' OR
               (set_name = 'app' AND p.proname::text <> ALL (admin_only)) OR
               (set_name = 'reader' AND p.provolatile <> 'v'))
        ORDER BY 2;
    IF set_name IN ('reader', 'admin') THEN
        RETURN QUERY
            SELECT 'TABLE', format('%I.%I', schema, c.relname), 'SELECT'
            FROM pg_class c
            WHERE c.relnamespace = schema_oid AND c.relkind IN ('r', 'p', 'v')
              AND starts_with(c.relname::text, 'svc_')
              AND c.relowner = (SELECT m.relowner FROM pg_class m
                                WHERE m.relnamespace = schema_oid AND m.relname = 'svc_meta')
            ORDER BY c.relname;
    END IF;
END
$svc_privileges$;
COMMENT ON FUNCTION svc_privileges(text) IS
'The privileges of a set: app (EXECUTE on what applications need), reader (SELECT, EXECUTE on what only reads) or admin (both, and what cannot be undone: merging and deleting customers, purging, closing usage). Raises 22023 for another set, also for null.';

CREATE FUNCTION svc_grant(role name, set_name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $svc_grant$
DECLARE
    schema name;
    p record;
BEGIN
    IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
        RAISE EXCEPTION 'role "%" does not exist', role
            USING ERRCODE = 'undefined_object',
                  DETAIL = format('It was to get the privileges of set "%s".', set_name),
                  HINT = 'Create it first.';
    END IF;
    SELECT n.nspname INTO STRICT schema
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname = 'svc';
    FOR p IN EXECUTE format('SELECT * FROM %I.svc_privileges($1)', schema) USING set_name LOOP
        -- everybody may use a public schema, and not everybody may grant it
        CONTINUE WHEN p.object_type = 'SCHEMA' AND has_schema_privilege(role, schema, 'USAGE');
        EXECUTE format('GRANT %s ON %s %s TO %I', p.privilege, p.object_type, p.object, role);
    END LOOP;
END
$svc_grant$;
COMMENT ON FUNCTION svc_grant(name, text) IS
'Gives a role the privileges of a set: app, reader or admin; see svc_privileges(). To be called by a superuser or by the owner of svc''s tables; again after an upgrade, for what is new. Raises 42704 for an unknown role, 22023 for an unknown set, 42501 for who may not grant.';

CREATE FUNCTION svc_revoke(role name, set_name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $svc_revoke$
DECLARE
    schema name;
    p record;
BEGIN
    IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
        RAISE EXCEPTION 'role "%" does not exist', role
            USING ERRCODE = 'undefined_object',
                  DETAIL = format('It was to lose the privileges of set "%s".', set_name),
                  HINT = 'Look at the roles with \du.';
    END IF;
    SELECT n.nspname INTO STRICT schema
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname = 'svc';
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = schema AND c.relname = 'svc_meta' AND pg_get_userbyid(c.relowner) = role) THEN
        RAISE EXCEPTION 'role "%" owns the tables of svc', role
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'Functions of svc run as this role, and need all of its privileges.',
                  HINT = 'Name the role that got them from svc_grant().';
    END IF;
    FOR p IN EXECUTE format('SELECT * FROM %I.svc_privileges($1)', schema) USING set_name LOOP
        CONTINUE WHEN p.object_type = 'SCHEMA';
        EXECUTE format('REVOKE %s ON %s %s FROM %I', p.privilege, p.object_type, p.object, role);
    END LOOP;
END
$svc_revoke$;
COMMENT ON FUNCTION svc_revoke(name, text) IS
'Takes the privileges of a set from a role, those that the caller has granted; USAGE on the schema, which other things may need, stays. Raises 42704 for an unknown role, 22023 for an unknown set or the owner of svc''s tables.';
