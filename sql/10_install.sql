-- Versions, and svc_install(), which makes the tables.
--
-- CREATE EXTENSION makes code only. The tables are ordinary tables, made by
-- svc_install(): tables that belonged to the extension would lose rows in
-- pg_restore -j, have their triggers fire on a plain restore, and be dropped
-- with it. The DDL is in sql/tables/; the Makefile puts it below.

CREATE FUNCTION svc_library_version() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_library_version';
COMMENT ON FUNCTION svc_library_version() IS
'The version of the loaded library of svc.';

CREATE FUNCTION svc_schema_version() RETURNS integer
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_schema_version';
COMMENT ON FUNCTION svc_schema_version() IS
'The version of the tables that the loaded library works with.';

CREATE FUNCTION svc_installed_schema_version() RETURNS integer
    LANGUAGE c STABLE PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'svc_installed_schema_version';
COMMENT ON FUNCTION svc_installed_schema_version() IS
'The version of the tables that svc_install() has made; null when there are none.';

CREATE FUNCTION svc_version(OUT library text, OUT extension text, OUT schema integer)
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT svc_library_version(),
           (SELECT x.extversion FROM pg_catalog.pg_extension x WHERE x.extname = 'svc'),
           svc_installed_schema_version();
END;
COMMENT ON FUNCTION svc_version() IS
'The versions of the loaded library, of the extension as created in this database, and of the tables (null before svc_install()).';

CREATE FUNCTION svc_install(owner name DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $svc_install$
DECLARE
    tables CONSTANT name[] := ARRAY['svc_meta', 'svc_customer', 'svc_entitlement',
                                    'svc_entitlement_ledger', 'svc_event'];
    schema name;
    schema_oid oid;
    current_owner name;
    new_owner name;
    installed integer;
    made_triggers text[];
    relation text;
    fn regprocedure;
BEGIN
    SELECT n.nspname, n.oid INTO STRICT schema, schema_oid
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname = 'svc';

    -- two at once would both find nothing and both create
    PERFORM pg_advisory_xact_lock(hashtextextended('svc_install', 0));
    -- names are made in the first schema of the path; pg_catalog is searched before it
    PERFORM set_config('search_path', format('%I, pg_temp', schema), true);

    installed := svc_installed_schema_version();
    IF installed > svc_schema_version() THEN
        RAISE EXCEPTION 'the tables of svc are of version %, but this library works with version %',
            installed, svc_schema_version()
            USING ERRCODE = 'SV002', HINT = 'Install the svc that made them, or a newer one.';
    END IF;

    SELECT r.rolname INTO current_owner
    FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
    WHERE c.relnamespace = schema_oid AND c.relname = 'svc_meta'
      AND NOT r.rolsuper;
    new_owner := coalesce(owner, current_owner);
    IF new_owner IS NULL AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        new_owner := current_user;
    ELSIF new_owner IS NULL THEN
        new_owner := 'svc_owner';
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = new_owner) THEN
            CREATE ROLE svc_owner NOLOGIN;
        END IF;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = new_owner) THEN
        RAISE EXCEPTION 'role "%" does not exist', new_owner
            USING ERRCODE = 'undefined_object',
                  DETAIL = 'It was to own the tables of svc.',
                  HINT = 'Create it first; it needs no LOGIN.';
    END IF;
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = new_owner) THEN
        RAISE EXCEPTION 'the tables of svc must not be owned by a superuser'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = format('Role "%s" is one, and functions of svc run as the owner of the tables.', new_owner),
                  HINT = 'Leave out the owner to have role "svc_owner" made.';
    END IF;

    IF installed = svc_schema_version() AND new_owner = current_owner THEN
        EXECUTE 'SELECT triggers FROM svc_meta' INTO made_triggers;
        IF NOT EXISTS (
            SELECT unnest(made_triggers)
            EXCEPT
            SELECT format('%s.%s', c.relname, t.tgname)
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
            WHERE c.relnamespace = schema_oid AND t.tgenabled <> 'D')
        THEN
            RETURN format('svc is installed in schema "%s" with tables of version %s; nothing to do',
                          schema, installed);
        END IF;
    END IF;

@TABLES@

    FOREACH relation IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO %I', relation, new_owner);
    END LOOP;
    IF NOT has_schema_privilege(new_owner, schema, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema, new_owner);
    END IF;
    FOR fn IN
        SELECT d.objid
        FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
        WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
          AND d.deptype = 'e' AND x.extname = 'svc'
          AND NOT has_function_privilege(new_owner, d.objid, 'EXECUTE')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', fn, new_owner);
    END LOOP;

    SELECT array_agg(format('%s.%s', c.relname, t.tgname) ORDER BY c.relname, t.tgname)
    INTO made_triggers
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = schema_oid AND c.relname = ANY (tables)
      AND t.tgname LIKE 'zzz\_svc\_%';
    INSERT INTO svc_meta (schema_version, triggers)
    VALUES (svc_schema_version(), made_triggers)
    ON CONFLICT (singleton) DO UPDATE
    SET schema_version = excluded.schema_version, triggers = excluded.triggers,
        updated_at = now();

    RETURN format(CASE WHEN installed IS NULL THEN
                      'svc is now installed in schema "%s" with tables of version %s, owned by "%s"'
                  ELSE
                      'svc is now up to date in schema "%s" with tables of version %s, owned by "%s"'
                  END, schema, svc_schema_version(), new_owner);
END
$svc_install$;
COMMENT ON FUNCTION svc_install(name) IS
'Makes the tables of svc in the extension''s schema, brings older ones up to date, or puts back triggers and defaults after DROP EXTENSION ... CASCADE; says what it did. owner: the role that is to own the tables and as which functions of svc run their statements; null keeps the present one, or is the caller, or for a superuser role svc_owner, which is made if absent. It must not be a superuser (22023) and must exist (42704). Run again, it does nothing and takes no lock on the tables.';
