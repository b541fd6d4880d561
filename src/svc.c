/*-------------------------------------------------------------------------
 *
 * svc.c
 *	  The module: its settings, and what is set up when it is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "customer.h"
#include "entitlement.h"
#include "event.h"
#include "lifecycle.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

static void define_settings(void);

PG_FUNCTION_INFO_V1(svc_library_version);
PG_FUNCTION_INFO_V1(svc_schema_version);
PG_FUNCTION_INFO_V1(svc_installed_schema_version);

void
_PG_init(void)
{
	define_settings();
	svc_lifecycle_set_rule(SVC_CUSTOMER, svc_customer_rule);
	svc_lifecycle_set_rule(SVC_ENTITLEMENT, svc_entitlement_rule);
}

/*
 * svc_library_version() -> the version of the loaded library.
 */
Datum
svc_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(SVC_VERSION));
}

/*
 * svc_schema_version() -> the version of the tables that this library works
 * with.
 */
Datum
svc_schema_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(SVC_SCHEMA_VERSION);
}

/*
 * svc_installed_schema_version() -> the version of the tables that there are,
 * NULL when there are none.
 */
Datum
svc_installed_schema_version(PG_FUNCTION_ARGS)
{
	int			version = svc_catalog_installed_version(get_func_namespace(fcinfo->flinfo->fn_oid));

	if (version == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(version);
}

static void
define_settings(void)
{
	DefineCustomBoolVariable("svc.notify",
							 "Sends each event of svc by NOTIFY, too.",
							 "The event log is written in any case.",
							 &svc_notify, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("svc.consumed_events",
							 "Writes an event for every consume, even if the status stays.",
							 "The ledger records every consume in any case.",
							 &svc_consumed_events, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("svc.actor",
							   "Names who acts, for the event log and the ledger.",
							   "Empty means the role of the session.",
							   &svc_actor, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("svc.request_id",
							   "Names the application's request, for the event log and the ledger.",
							   "Empty means none.",
							   &svc_request_id, "", PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("svc");
}
