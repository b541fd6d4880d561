/*-------------------------------------------------------------------------
 *
 * segment.c
 *	  Customer segments: their members, and the figures about them.
 *
 * Locks: the customer, the segment's row, then its member rows; so that customer_count is
 * right whatever happens at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "action.h"
#include "argument.h"
#include "catalog.h"
#include "lifecycle.h"
#include "membership.h"
#include "segment.h"
#include "statement.h"

static Datum change_membership(FunctionCallInfo fcinfo, bool joins);
static void prepare_sync(SvcActionCall *call);

static const SvcAction actions[] = {
	{"svc_sync_segment", SVC_CUSTOMER_SEGMENT, "sync", NULL, prepare_sync},
};

PG_FUNCTION_INFO_V1(svc_add_segment_customer);
PG_FUNCTION_INFO_V1(svc_remove_segment_customer);
PG_FUNCTION_INFO_V1(svc_segment_of);

void
svc_segment_init(void)
{
	svc_action_register(actions, lengthof(actions));
}

/*
 * svc_add_segment_customer(segment_id, customer_id) -> status of the segment
 *
 * A customer that is a member already stays one, without an event.
 */
Datum
svc_add_segment_customer(PG_FUNCTION_ARGS)
{
	return change_membership(fcinfo, true);
}

/*
 * svc_remove_segment_customer(segment_id, customer_id) -> status of the segment
 */
Datum
svc_remove_segment_customer(PG_FUNCTION_ARGS)
{
	return change_membership(fcinfo, false);
}

/*
 * svc_segment_of(customer_id) -> the id of its first segment, or NULL
 */
Datum
svc_segment_of(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"SELECT s.id::text FROM @extschema@.svc_segment_member m"
		" JOIN @extschema@.svc_customer_segment s ON s.id = m.segment_id"
		" WHERE m.customer_id = $1 AND s.status = 'active'"
		" ORDER BY s.priority DESC, s.id LIMIT 1",
		1, {TEXTOID}
	};
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	Datum		segment_id = 0;
	bool		found;
	bool		isnull;
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	found = svc_statement_read(&statement, &customer_id, NULL) > 0;
	if (found)
		segment_id = svc_call_keep(&call, svc_statement_value(0, 1, &isnull));
	svc_call_end(&call);
	if (!found)
		PG_RETURN_NULL();
	return segment_id;
}

static Datum
change_membership(FunctionCallInfo fcinfo, bool joins)
{
	Datum		segment_id = svc_argument_id(fcinfo, 0, "segment id");
	Datum		customer_id = svc_argument_id(fcinfo, 1, "customer id");
	SvcFoundRow row;
	Datum		status;
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	if (joins)
		svc_gate_customer(customer_id, "a place in a segment");
	svc_gate_lock_row(&row, SVC_CUSTOMER_SEGMENT, (Datum) 0, segment_id);
	if (strcmp(row.status, "archived") == 0)
	{
		SvcActionCall refused = {.noun = SVC_CUSTOMER_SEGMENT, .id = segment_id, .row = row,
		.action = joins ? "add to" : "remove from"};

		svc_action_refuse(&refused, "it is archived", "Use another segment.");
	}
	svc_membership_change(segment_id, customer_id, joins);
	status = svc_call_keep(&call, CStringGetTextDatum(row.status));
	svc_call_end(&call);
	return status;
}

/*
 * svc_sync_segment(segment_id, ...): recount the members, and what the
 * segment's row says about them.
 */
static void
prepare_sync(SvcActionCall *call)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer_segment s SET"
		"  customer_count = m.members, percent_of_total = m.percent, total_revenue = m.revenue,"
		"  avg_revenue = m.mean_revenue, avg_lifetime_value = m.mean_value,"
		"  avg_engagement_score = m.mean_engagement, churn_rate = m.churned, last_synced_at = now()"
		" FROM (SELECT count(*) AS members,"
		"   round(100.0 * count(*) / nullif((SELECT count(*) FROM @extschema@.svc_customer"
		"     WHERE status NOT IN ('merged', 'deleted')), 0), 2) AS percent,"
		"   sum(c.monthly_spend) AS revenue, round(avg(c.monthly_spend), 4) AS mean_revenue,"
		"   round(avg(c.lifetime_value), 4) AS mean_value,"
		"   round(avg(c.engagement_score), 4) AS mean_engagement,"
		"   round(100.0 * count(*) FILTER (WHERE c.status = 'churned') / nullif(count(*), 0), 2) AS churned"
		"  FROM @extschema@.svc_segment_member sm"
		"  JOIN @extschema@.svc_customer c ON c.id = sm.customer_id"
		"  WHERE sm.segment_id = $1 AND c.status NOT IN ('merged', 'deleted')) m"
		" WHERE s.id = $1",
		1, {TEXTOID}
	};
	SvcDeed		deed = {.noun = SVC_CUSTOMER_SEGMENT, .action = "sync", .note = call->note};

	/* this is the write; there is nothing left for the action itself */
	if (svc_lifecycle_write(&deed, &statement, &call->id, NULL) == 0)
		svc_gate_report_suppressed(SVC_CUSTOMER_SEGMENT, call->id);
	call->done = true;
	call->to = call->row.status;
}
