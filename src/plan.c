/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Plans: their actions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "argument.h"
#include "catalog.h"
#include "gate.h"
#include "property.h"

/* All but these may be changed by svc_update_pricing_plan(). */
#define NO_PRICING	"id status created_at name slug service_id description tier display_order highlighted" \
	" entitlements features limits executions_per_month support_hours trial_days trial_requires_card"

PG_FUNCTION_INFO_V1(svc_update_pricing_plan);

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
