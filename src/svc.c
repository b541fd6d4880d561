/*-------------------------------------------------------------------------
 *
 * svc.c
 *	  The module: its settings, and what is set up when it is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "compat.h"
#include "consumer.h"
#include "customer.h"
#include "direct.h"
#include "doorbell.h"
#include "early_release.h"
#include "entitlement.h"
#include "event.h"
#include "handover.h"
#include "invoice.h"
#include "order.h"
#include "plan.h"
#include "segment_due.h"
#include "segment_rule.h"
#include "subscription.h"
#include "ticket.h"
#include "touch.h"
#include "usage.h"
#include "usage_rollup.h"
#include "usage_row.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

static void define_settings(void);

PG_FUNCTION_INFO_V1(svc_library_version);
PG_FUNCTION_INFO_V1(svc_schema_version);
PG_FUNCTION_INFO_V1(svc_installed_schema_version);
PG_FUNCTION_INFO_V1(svc_make_tables_as);

void
_PG_init(void)
{
	define_settings();
	svc_doorbell_init();
	svc_early_release_init();
	svc_handover_init();
	svc_customer_init();
	svc_entitlement_init();
	svc_invoice_init();
	svc_order_init();
	svc_plan_init();
	svc_segment_rule_init();
	svc_subscription_init();
	svc_ticket_init();
	svc_touch_init();
	svc_usage_init();
	svc_usage_rollup_init();
	svc_usage_row_init();
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

/*
 * svc_make_tables_as(owner, always) -> whether there was anything to do
 *
 * Runs svc_make_tables() as the owner, in a security-restricted operation:
 * triggers on existing tables are the owner's code, and must neither run with
 * the rights of a superuser who installs nor get at them by SET ROLE.
 */
Datum
svc_make_tables_as(PG_FUNCTION_ARGS)
{
	Oid			owner = get_role_oid(NameStr(*PG_GETARG_NAME(0)), false);
	char	   *schema = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	Oid			argtype = BOOLOID;
	Datum		always = PG_GETARG_DATUM(1);
	Oid			caller;
	int			caller_context;
	int			guc_level;
	bool		isnull;
	bool		result;

	check_is_member_of_role(GetUserId(), owner);
	GetUserIdAndSecContext(&caller, &caller_context);
	SetUserIdAndSecContext(owner, caller_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	SPI_connect();
	if (SPI_execute_with_args(psprintf("SELECT %s.svc_make_tables($1)", quote_identifier(schema)),
							  1, &argtype, &always, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "svc_make_tables failed");
	result = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	/* a restricted operation does not forbid SET: what was set ends here */
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(caller, caller_context);
	PG_RETURN_BOOL(result);
}

static void
define_settings(void)
{
	static const struct config_enum_entry late_usage_options[] = {
		{"adjust", SVC_LATE_ADJUST, false},
		{"reject", SVC_LATE_REJECT, false},
		{NULL, 0, false}
	};

	DefineCustomBoolVariable("svc.notify",
							 "Sends each event of svc by NOTIFY, too.",
							 "The event log is written in any case.",
							 &svc_notify, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("svc.notify_max_per_transaction",
							"Sends one NOTIFY per noun instead, if a transaction has more events.",
							"The event log has every event in any case.",
							&svc_notify_max_per_transaction, 100, 0, 10000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("svc.direct_access",
							 "Reads and writes svc's tables without the executor, where they are as svc has made them.",
							 "Off, everything goes by SPI, with the same results: for developers.",
							 &svc_direct_access, true, PGC_USERSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomBoolVariable("svc.early_lock_release",
							 "Releases the locks of a transaction that consumes before its commit is on disk.",
							 "The client is answered after that, as always; others may see the commit a moment before.",
							 &svc_early_lock_release, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("svc.consumed_events",
							 "Writes an event for every consume, even if the status stays.",
							 "The ledger records every consume in any case.",
							 &svc_consumed_events, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("svc.event_max_retention",
							"Lets svc_purge_events() delete older events that a consumer has not read.",
							"0 keeps them.",
							&svc_event_max_retention, 0, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("svc.segment_refresh",
							"How long segments in real time may take to follow usage and counters.",
							"svc_run_due() looks at them again after this time.",
							&svc_segment_refresh, 300, 0, INT_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable("svc.late_usage",
							 "What becomes of usage of a period that is finalized.",
							 "adjust counts it in the period that is open, reject refuses it.",
							 &svc_late_usage, SVC_LATE_ADJUST, late_usage_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("svc.usage_future_limit",
							"How far from now usage may be said to have occurred.",
							"Clocks differ; what is further ahead is refused.",
							&svc_usage_future_limit, 24 * 60, 0, INT_MAX / 1000,
							PGC_USERSET, GUC_UNIT_MIN, NULL, NULL, NULL);
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
