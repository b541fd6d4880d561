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

-- The tables themselves: makes them, or brings them up to date, in its own
-- schema, and returns whether there was anything to do. With "always" it does
-- not ask whether all triggers are there.
CREATE FUNCTION svc_make_tables(always boolean) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $svc_make_tables$
DECLARE
    schema name;
    schema_oid oid;
    version integer;
    made_triggers text[];
    noun text;
BEGIN
    SELECT n.nspname, n.oid INTO STRICT schema, schema_oid
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname = 'svc';
    EXECUTE format('SELECT %I.svc_schema_version()', schema) INTO version;
    IF NOT always THEN
        EXECUTE format('SELECT triggers FROM %I.svc_meta', schema) INTO made_triggers;
        IF made_triggers IS NOT NULL AND NOT EXISTS (
            SELECT unnest(made_triggers)
            EXCEPT
            SELECT concat(c.relname, '.', t.tgname)
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
            WHERE c.relnamespace = schema_oid AND t.tgenabled IN ('O', 'A'))
        THEN
            RETURN false;
        END IF;
    END IF;

    -- Every name is written with its schema, and the path is the system's
    -- alone: an operator that somebody has put into our schema must not become
    -- part of a CHECK.
    EXECUTE replace($svc_ddl$
@TABLES@
    $svc_ddl$, '@schema@', quote_ident(schema));

    -- the triggers of all nouns' tables; see src/lifecycle.c
    FOR noun IN EXECUTE format('SELECT DISTINCT noun FROM %I.svc_transitions()', schema) LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_lifecycle BEFORE INSERT OR UPDATE OR DELETE ON %1$I.%2$I
            FOR EACH ROW EXECUTE FUNCTION %1$I.svc_lifecycle(%3$L)', schema, concat('svc_', noun), noun);
        EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_event_insert AFTER INSERT ON %1$I.%2$I
            FOR EACH ROW WHEN (NEW.revision > 0) EXECUTE FUNCTION %1$I.svc_lifecycle_event(%3$L)',
            schema, concat('svc_', noun), noun);
        EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_event_update AFTER UPDATE ON %1$I.%2$I
            FOR EACH ROW WHEN (OLD.revision <> NEW.revision OR OLD.status <> NEW.status)
            EXECUTE FUNCTION %1$I.svc_lifecycle_event(%3$L)', schema, concat('svc_', noun), noun);
        EXECUTE format('CREATE OR REPLACE TRIGGER zzz_svc_truncate BEFORE TRUNCATE ON %1$I.%2$I
            FOR EACH STATEMENT EXECUTE FUNCTION %1$I.svc_append_only()', schema, concat('svc_', noun));
    END LOOP;

    -- what segments have to follow; see src/touch.c
    FOREACH noun IN ARRAY ARRAY['customer', 'entitlement', 'subscription', 'customer_segment'] LOOP
        PERFORM FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = schema_oid AND c.relname = concat('svc_', noun)
          AND t.tgname = 'zzz_svc_watch_insert';
        -- (a constraint trigger cannot be replaced)
        IF NOT FOUND THEN
            EXECUTE format('CREATE CONSTRAINT TRIGGER zzz_svc_watch_insert AFTER INSERT ON %1$I.%2$I
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.revision > 0 AND %1$I.svc_watch_begins())
                EXECUTE FUNCTION %1$I.svc_watch()', schema, concat('svc_', noun));
            EXECUTE format('CREATE CONSTRAINT TRIGGER zzz_svc_watch_update AFTER UPDATE ON %1$I.%2$I
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                WHEN ((OLD.revision <> NEW.revision OR OLD.status <> NEW.status) AND %1$I.svc_watch_begins())
                EXECUTE FUNCTION %1$I.svc_watch()', schema, concat('svc_', noun));
        END IF;
    END LOOP;

    SELECT array_agg(concat(c.relname, '.', t.tgname) ORDER BY concat(c.relname, '.', t.tgname))
    INTO made_triggers
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = schema_oid AND starts_with(t.tgname::text, 'zzz_svc_') AND NOT c.relispartition;
    EXECUTE format('UPDATE %I.svc_meta SET schema_version = $1, triggers = $2, updated_at = now()', schema)
    USING version, made_triggers;
    EXECUTE format('INSERT INTO %1$I.svc_meta (schema_version, triggers)
        SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM %1$I.svc_meta)', schema)
    USING version, made_triggers;
    RETURN true;
END
$svc_make_tables$;
COMMENT ON FUNCTION svc_make_tables(boolean) IS
'For svc_install(): makes the tables, as the role that calls it.';

CREATE FUNCTION svc_make_tables_as(owner name, always boolean) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_make_tables_as';
COMMENT ON FUNCTION svc_make_tables_as(name, boolean) IS
'For svc_install(): svc_make_tables() as another role, which the caller must be a member of (42501).';

-- A superuser may call this, in a schema where others may create. So what
-- needs the caller's rights touches catalogs and privileges only, with names of
-- the system; everything that touches tables, their triggers included, is done
-- as their owner (svc_make_tables_as), who can then harm nobody but himself.
CREATE FUNCTION svc_install(owner name DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $svc_install$
DECLARE
    relations CONSTANT name[] := ARRAY['svc_meta', 'svc_customer', 'svc_plan', 'svc_subscription',
        'svc_subscription_period', 'svc_order', 'svc_invoice', 'svc_counter', 'svc_entitlement', 'svc_entitlement_ledger',
        'svc_entitlement_hold',
        'svc_customer_usage', 'svc_customer_segment', 'svc_segment_member', 'svc_segment_override',
        'svc_segment_timer', 'svc_support_ticket',
        'svc_usage', 'svc_meter', 'svc_usage_fold', 'svc_usage_horizon', 'svc_event', 'svc_event_consumer', 'svc_consumer_lag'];
    superuser CONSTANT boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
    schema name;
    schema_oid oid;
    old_owner name;
    new_owner name;
    may_create boolean;
    installed integer;
    wanted integer;
    something_done boolean;
    relation text;
    fn regprocedure;
BEGIN
    SELECT n.nspname, n.oid INTO STRICT schema, schema_oid
    FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname = 'svc';
    EXECUTE format('SELECT %1$I.svc_installed_schema_version(), %1$I.svc_schema_version()', schema)
    INTO installed, wanted;
    IF installed > wanted THEN
        RAISE EXCEPTION 'the tables of svc are of version %, but this library works with version %',
            installed, wanted
            USING ERRCODE = 'SV002', DETAIL = 'A newer svc has made them.',
                  HINT = 'Install the svc that made them, or a newer one.';
    END IF;

    -- two at once would both find nothing and both create
    PERFORM pg_advisory_xact_lock(hashtextextended('svc_install', 0));

    -- Who owns what is there? All of it must be one role's, and unless the
    -- caller names that role, one that svc_install() has chosen before: else
    -- somebody has put his own tables in our place.
    FOR relation, old_owner IN
        SELECT c.relname, r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
        WHERE c.relnamespace = schema_oid
          AND starts_with(c.relname::text, 'svc_')
    LOOP
        -- (indexes count: one in our index's place would keep it from being made)
        IF NOT (old_owner = 'svc_owner' OR old_owner = current_user OR
                old_owner IS NOT DISTINCT FROM owner OR
                EXISTS (SELECT FROM pg_roles WHERE rolname = old_owner AND rolsuper) OR
                has_function_privilege(old_owner, format('%I.svc_install(name)', schema), 'EXECUTE'))
        THEN
            RAISE EXCEPTION 'relation "%" exists and belongs to role "%"', relation, old_owner
                USING ERRCODE = 'duplicate_table',
                      DETAIL = 'svc_install() has not made it for this extension.',
                      HINT = format('If these are the tables of svc, run svc_install(owner => %L).', old_owner);
        END IF;
    END LOOP;
    SELECT r.rolname INTO old_owner
    FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
    WHERE c.relnamespace = schema_oid AND c.relname = 'svc_meta';

    new_owner := coalesce(owner,
        (SELECT rolname FROM pg_roles WHERE rolname = old_owner AND NOT rolsuper),
        CASE WHEN superuser THEN 'svc_owner' ELSE current_user END);
    IF owner IS NULL AND new_owner = 'svc_owner' AND
       NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'svc_owner') THEN
        CREATE ROLE svc_owner NOLOGIN;
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
                  HINT = CASE new_owner WHEN 'svc_owner' THEN 'Run ALTER ROLE svc_owner NOSUPERUSER.'
                         ELSE 'Leave out the owner to have role "svc_owner" made.' END;
    END IF;

    -- privileges and ownership
    FOREACH relation IN ARRAY relations LOOP
        IF EXISTS (SELECT FROM pg_class WHERE relnamespace = schema_oid AND relname = relation
                   AND pg_get_userbyid(relowner) <> new_owner) THEN
            EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', schema, relation, new_owner);
        END IF;
    END LOOP;
    FOR fn IN
        SELECT d.objid
        FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
        WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
          AND d.deptype = 'e' AND x.extname = 'svc'
    LOOP
        -- WITH GRANT OPTION, so that the owner can let others use svc (svc_grant)
        IF NOT has_function_privilege(new_owner, fn,
               CASE WHEN superuser THEN 'EXECUTE WITH GRANT OPTION' ELSE 'EXECUTE' END) THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I WITH GRANT OPTION', fn, new_owner);
        END IF;
        IF superuser AND old_owner <> new_owner THEN
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I CASCADE', fn, old_owner);
        END IF;
    END LOOP;
    IF superuser AND NOT has_schema_privilege(new_owner, schema, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I WITH GRANT OPTION', schema, new_owner);
    END IF;
    may_create := has_schema_privilege(new_owner, schema, 'CREATE');
    IF superuser AND NOT may_create THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO %I', schema, new_owner);
    END IF;

    EXECUTE format('SELECT %I.svc_make_tables_as($1, $2)', schema)
    INTO something_done
    USING new_owner, installed IS DISTINCT FROM wanted OR old_owner IS DISTINCT FROM new_owner;

    IF superuser AND NOT may_create THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM %I', schema, new_owner);
    END IF;

    IF NOT something_done THEN
        RETURN format('svc is installed in schema "%s" with tables of version %s; nothing to do',
                      schema, wanted);
    END IF;
    RETURN format(CASE WHEN installed IS NULL THEN
                      'svc is now installed in schema "%s" with tables of version %s, owned by "%s"'
                  ELSE
                      'svc is now up to date in schema "%s" with tables of version %s, owned by "%s"'
                  END, schema, wanted, new_owner);
END
$svc_install$;
COMMENT ON FUNCTION svc_install(name) IS
'Makes the tables of svc in the extension''s schema, brings older ones up to date, or puts back triggers and defaults after DROP EXTENSION ... CASCADE; says what it did. owner: the role that is to own the tables and as which functions of svc run their statements; null keeps the present one, or is the caller, or for a superuser role svc_owner, which is made if absent. It must not be a superuser (22023) and must exist (42704). Refuses relations of these names that belong to others (42P07). Run again, it does nothing and locks nothing against anybody.';
