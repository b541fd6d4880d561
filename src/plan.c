/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Plans: their actions, and the rule that every plan obeys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "argument.h"
#include "catalog.h"
#include "gate.h"
#include "lifecycle.h"
#include "plan.h"
#include "plan_limits.h"
#include "property.h"

/* All but these may be changed by svc_update_pricing_plan(). */
#define NO_PRICING	"id status created_at name slug service_id description tier display_order highlighted" \
	" entitlements features limits executions_per_month support_hours trial_days trial_requires_card"

static SvcColumn limits_column = {"limits", JSONBOID};
static SvcColumn entitlements_column = {"entitlements", TEXTARRAYOID};

static void check(SvcRowChange *change);

PG_FUNCTION_INFO_V1(svc_update_pricing_plan);

void
svc_plan_init(void)
{
	static const SvcLifecycleRules rules = {.check = check};

	svc_lifecycle_set_rules(SVC_PLAN, &rules);
}

/* What a plan grants must be well defined before anybody subscribes to it. */
static void
check(SvcRowChange *change)
{
	bool		isnull;
	Datum		value = svc_row_new(change, &limits_column, &isnull);
	Datum	   *codes;
	bool	   *nulls;
	int			count;

	if (!isnull)
		svc_plan_check_limits(DatumGetJsonbP(value));
	value = svc_row_new(change, &entitlements_column, &isnull);
	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &codes, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("entitlements of plan must not have a null"),
					 errdetail("It is a list of entitlement codes."),
					 errhint("Leave the null out.")));
		svc_check_id(codes[i], "entitlement code");
	}
}


/*
 * svc_update_pricing_plan(plan_id, properties, revision) -> status
 *
 * As svc_update_plan(), for what the plan costs; the event says so.
 */
Datum
svc_update_pricing_plan(PG_FUNCTION_ARGS)
{
	Datum		id = svc_argument_id(fcinfo, 0, "plan id");
	SvcFoundRow row;
	Datum		status;
	SvcCall		call;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("properties must not be null"),
				 errdetail("Null would leave open what is meant."),
				 errhint("Pass a JSON object.")));

	svc_call_begin(&call, fcinfo);
	svc_gate_lock_row(&row, SVC_PLAN, (Datum) 0, id);
	if (!PG_ARGISNULL(2))
		svc_gate_check_revision(&row, SVC_PLAN, id, PG_GETARG_INT64(2));
	status = svc_property_update(SVC_PLAN, "updatePricing", NO_PRICING, "", (Datum) 0, id,
								 PG_GETARG_JSONB_P(1));
	status = svc_call_keep(&call, status);
	svc_call_end(&call);
	return status;
}
