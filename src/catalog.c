/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  Where svc's tables are, who owns them, and how a call into svc enters
 *	  and leaves their owner's rights.
 *
 * The schema is never spelled in the code: a C function finds it as the
 * namespace of its own pg_proc row, so that ALTER SCHEMA ... RENAME and any
 * search_path are survived.
 *
 * A *call* is one execution of an SQL-callable function that runs statements
 * of its own.  It does what foreign-key triggers do: it becomes the owner of
 * the tables, so that EXECUTE on the function is the only right that a caller
 * needs, and nothing ever runs as the superuser who happens to call.  In
 * addition it sets search_path to the system's schema, because an operator in
 * a statement is looked up by name: with the caller's path, a caller could
 * have an operator of his own run as the owner.  On error both are put back
 * by the abort of the surrounding (sub)transaction.  What the owner defers to
 * the end of the transaction, a constraint trigger of his own, runs as whoever
 * commits, as on any table.
 *
 * What is looked up is cached per backend and forgotten when the schema or
 * svc_meta changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "error.h"

#define META_TABLE	"svc_meta"

/* What the server itself uses for such ends, from version 17 on. */
#define SAFE_SEARCH_PATH	"pg_catalog, pg_temp"

static struct
{
	bool		valid;
	Oid			schema;
	NameData	schema_name;
	Oid			meta;			/* svc_meta; its owner is the owner of all tables */
	Oid			owner;
} cache;

/* Moves on when the schema gets another name, or is another one. */
static uint64 generation = 1;
static uint64 changes = 1;
static bool callbacks_registered = false;

/* The schema of the call that is running. */
static Oid	current_schema_oid = InvalidOid;

static void enter(SvcCall *call);
static void register_callbacks(void);
static void forget_relation(Datum arg, Oid relid);
static void forget_syscache(Datum arg, int cacheid, uint32 hashvalue);
static void load_cache(Oid schema);
static bool has_own_trigger(Oid meta, Oid schema);
pg_noreturn static void report_not_installed(Oid schema);
pg_noreturn static void report_other_version(int version);
pg_noreturn static void report_superuser_owner(Oid owner);

/*
 * Become the owner of svc's tables, with a search_path that nobody but the
 * system's administrators can put anything into, and connect to SPI.
 *
 * Raises SV002 when svc_install() has not been run, or was run by another
 * version.
 */
void
svc_call_begin(SvcCall *call, FunctionCallInfo fcinfo)
{
	svc_catalog_use(fcinfo);
	enter(call);
}

/*
 * Begin a call within the one that is running, whose statements' memory it has
 * for itself.
 */
void
svc_call_begin_inner(SvcCall *call)
{
	if (!cache.valid)
		load_cache(svc_catalog_schema());
	enter(call);
}

static void
enter(SvcCall *call)
{
	GetUserIdAndSecContext(&call->caller, &call->caller_context);
	SetUserIdAndSecContext(cache.owner,
						   call->caller_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);

	call->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", SAFE_SEARCH_PATH,
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);

	call->memory = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/* Copy a varlena result to where it outlives svc_call_end(). */
Datum
svc_call_keep(SvcCall *call, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(call->memory);
	Datum		kept = datumCopy(value, false, -1);

	MemoryContextSwitchTo(old);
	return kept;
}

/*
 * Put back what svc_call_begin() changed, and any setting that a trigger on our
 * tables has made meanwhile: it must not follow the caller home.  This frees all that the call's
 * statements have returned; svc_call_keep() saves a result from it.
 */
void
svc_call_end(SvcCall *call)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	AtEOXact_GUC(false, call->guc_level);
	SetUserIdAndSecContext(call->caller, call->caller_context);
}

/*
 * Find svc's tables for the function that is running, without becoming their
 * owner.  svc_call_begin() does this too.
 */
void
svc_catalog_use(FunctionCallInfo fcinfo)
{
	Oid			schema = get_func_namespace(fcinfo->flinfo->fn_oid);

	if (!OidIsValid(schema))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the extension svc was dropped meanwhile"),
				 errdetail("This function of it is still running."),
				 errhint("Create the extension again, then run svc_install().")));
	if (!cache.valid || cache.schema != schema)
		load_cache(schema);
	current_schema_oid = schema;
}

/* The schema of the running call. */
Oid
svc_catalog_schema(void)
{
	Assert(OidIsValid(current_schema_oid));
	return current_schema_oid;
}

/* Its name, quoted for use in a statement. */
const char *
svc_catalog_schema_name(void)
{
	return quote_identifier(NameStr(cache.schema_name));
}

/* A number that changes when statements must be prepared anew. */
uint64
svc_catalog_generation(void)
{
	return generation;
}

/*
 * A number that changes whenever a relation does, any relation: what was looked
 * up about one holds until then.
 */
uint64
svc_catalog_changes(void)
{
	return changes;
}

/* A table of svc by its name. */
Oid
svc_catalog_table(const char *name)
{
	Oid			relid = get_relname_relid(name, svc_catalog_schema());

	if (!OidIsValid(relid))
		report_not_installed(svc_catalog_schema());
	return relid;
}

/*
 * Open a table of svc by its name.  While we have waited for the lock, another may
 * have taken its place: then that one.
 */
Relation
svc_catalog_open(const char *name, LOCKMODE lock)
{
	for (;;)
	{
		Oid			relid = svc_catalog_table(name);
		Relation	rel = try_table_open(relid, lock);

		if (rel != NULL && svc_catalog_table(name) == relid)
			return rel;
		if (rel != NULL)
			table_close(rel, lock);
	}
}

/*
 * The version of the tables in a schema, 0 when there are none.
 *
 * Read by a plain scan of svc_meta's only row, with the catalogs' snapshot:
 * this runs before we are the owner, also on a standby and in a parallel
 * worker, and the answer must be as new as the catalogs that led here.
 */
int
svc_catalog_installed_version(Oid schema)
{
	Oid			relid = get_relname_relid(META_TABLE, schema);
	Relation	rel;
	TupleTableSlot *slot;
	TableScanDesc scan;
	Snapshot	snapshot;
	int			version = 0;

	if (!OidIsValid(relid))
		return 0;

	rel = table_open(relid, AccessShareLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION)
	{
		table_close(rel, AccessShareLock);
		return 0;
	}
	snapshot = RegisterSnapshot(GetCatalogSnapshot(relid));
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	if (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		AttrNumber	attnum = get_attnum(relid, "schema_version");
		bool		isnull = true;
		Datum		value = 0;

		if (attnum != InvalidAttrNumber && get_atttype(relid, attnum) == INT4OID)
			value = slot_getattr(slot, attnum, &isnull);
		if (!isnull)
			version = DatumGetInt32(value);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return version;
}

static void
load_cache(Oid schema)
{
	Oid			meta;
	char	   *schema_name;
	HeapTuple	tuple;
	int			version;

	register_callbacks();

	meta = get_relname_relid(META_TABLE, schema);
	version = svc_catalog_installed_version(schema);
	if (version == 0 || !has_own_trigger(meta, schema))
		report_not_installed(schema);
	if (version != SVC_SCHEMA_VERSION)
		report_other_version(version);

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(meta));
	schema_name = get_namespace_name(schema);
	if (!HeapTupleIsValid(tuple) || schema_name == NULL)
		elog(ERROR, "cache lookup failed for relation %u", meta);
	cache.owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (superuser_arg(cache.owner))
		report_superuser_owner(cache.owner);

	if (cache.schema != schema || strcmp(NameStr(cache.schema_name), schema_name) != 0)
		generation++;
	namestrcpy(&cache.schema_name, schema_name);
	cache.schema = schema;
	cache.meta = meta;
	cache.valid = true;
}

/*
 * Does a trigger of svc_meta call a function of this extension?  If not, the
 * extension was dropped and created again, the tables have lost all their
 * triggers, and nothing would guard what we write.
 */
static bool
has_own_trigger(Oid meta, Oid schema)
{
	Relation	rel = table_open(meta, AccessShareLock);
	TriggerDesc *triggers = rel->trigdesc;
	bool		found = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		found = found || get_func_namespace(triggers->triggers[i].tgfoid) == schema;
	table_close(rel, AccessShareLock);
	return found;
}

static void
register_callbacks(void)
{
	if (callbacks_registered)
		return;
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_syscache, (Datum) 0);
	callbacks_registered = true;
}

/* svc_install() touches svc_meta whenever it changes anything. */
static void
forget_relation(Datum arg, Oid relid)
{
	changes++;
	if (relid == InvalidOid || relid == cache.meta)
		cache.valid = false;
}

static void
forget_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	cache.valid = false;
}

static void
report_not_installed(Oid schema)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_NOT_INSTALLED),
			 errmsg("the tables of svc are not installed"),
			 errdetail("Schema \"%s\" holds the extension, but no tables that it has made or attached to.",
					   get_namespace_name(schema)),
			 errhint("Run SELECT %s.svc_install().",
					 quote_identifier(get_namespace_name(schema)))));
}

static void
report_other_version(int version)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_NOT_INSTALLED),
			 errmsg("the tables of svc are of version %d, but this library works with version %d",
					version, SVC_SCHEMA_VERSION),
			 version < SVC_SCHEMA_VERSION ?
			 errhint("Run SELECT svc_install() to bring them up to date.") :
			 errhint("Install the svc that made them, or a newer one.")));
}

/* As after pg_restore --no-owner: nothing of ours may run as superuser. */
static void
report_superuser_owner(Oid owner)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_NOT_INSTALLED),
			 errmsg("the tables of svc are owned by a superuser"),
			 errdetail("Functions of svc run as the owner of the tables, which is \"%s\".",
					   GetUserNameFromId(owner, false)),
			 errhint("Run SELECT svc_install() to give them to another role.")));
}
