/*-------------------------------------------------------------------------
 *
 * customer.c
 *	  Customers: creating them, and the rule that every row of svc_customer
 *	  obeys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "argument.h"
#include "catalog.h"
#include "customer.h"
#include "property.h"

static SvcColumn status_column = {"status"};
static SvcColumn risk_level_column = {"risk_level"};

static bool is_at_risk(const char *risk_level);

PG_FUNCTION_INFO_V1(svc_create_customer);

/*
 * svc_create_customer(properties) -> id
 *
 * Properties are the columns of svc_customer; all have defaults, the id too.
 */
Datum
svc_create_customer(PG_FUNCTION_ARGS)
{
	Datum		id;
	SvcCall		call;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("properties must not be null"),
				 errhint("Pass '{}' for a customer with defaults only.")));

	svc_call_begin(&call, fcinfo);
	id = svc_call_keep(&call, svc_property_insert(SVC_CUSTOMER, PG_GETARG_JSONB_P(0)));
	svc_call_end(&call);
	return id;
}

/*
 * The rule of svc_customer (see lifecycle.h): when risk_level rises to high
 * or critical an active or reactivated customer becomes at-risk, and active
 * again when it falls, unless the same statement sets the status itself.
 */
void
svc_customer_rule(SvcRowChange *change)
{
	char	   *status;
	bool		at_risk;

	if (change->is_insert ||
		svc_row_column_differs(change, &status_column) ||
		!svc_row_column_differs(change, &risk_level_column))
		return;

	status = svc_row_new_text(change, &status_column);
	at_risk = is_at_risk(svc_row_new_text(change, &risk_level_column));
	if (at_risk && (strcmp(status, "active") == 0 || strcmp(status, "reactivated") == 0))
		svc_row_set(change, &status_column, CStringGetTextDatum("at-risk"), false);
	else if (!at_risk && strcmp(status, "at-risk") == 0)
		svc_row_set(change, &status_column, CStringGetTextDatum("active"), false);
}

static bool
is_at_risk(const char *risk_level)
{
	return risk_level != NULL &&
		(strcmp(risk_level, "high") == 0 || strcmp(risk_level, "critical") == 0);
}
