/*-------------------------------------------------------------------------
 *
 * segment.c
 *	  Customer segments: the functions about their members.
 *
 * Locks: the customer, and that nobody else asks where it belongs (membership.c),
 * the segment's row, then its member rows; so that customer_count is right whatever
 * happens at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "action.h"
#include "argument.h"
#include "catalog.h"
#include "error.h"
#include "lifecycle.h"
#include "membership.h"
#include "segment_check.h"
#include "segment_sync.h"
#include "statement.h"

#define SAMPLE_MAX		1000	/* ids in a preview */

/* What is done with a customer's place in a segment. */
typedef enum Place
{
	GIVEN,						/* by hand */
	TAKEN,						/* by hand */
	LEFT,						/* to the criteria */
} Place;

static Datum change_place(FunctionCallInfo fcinfo, Place place);
static void check_parent(const SvcSegment *segment, Datum customer_id);

PG_FUNCTION_INFO_V1(svc_sync_segment);
PG_FUNCTION_INFO_V1(svc_add_segment_customer);
PG_FUNCTION_INFO_V1(svc_remove_segment_customer);
PG_FUNCTION_INFO_V1(svc_clear_segment_override);
PG_FUNCTION_INFO_V1(svc_segment_of);
PG_FUNCTION_INFO_V1(svc_segments_of);
PG_FUNCTION_INFO_V1(svc_preview_segment);

/*
 * svc_sync_segment(segment_id, reason, revision) -> status
 *
 * Makes its members those that its criteria, its parent and what was done by hand say,
 * and reckons the figures about them.
 */
Datum
svc_sync_segment(PG_FUNCTION_ARGS)
{
	Datum		segment_id = svc_argument_id(fcinfo, 0, "customer_segment id");
	SvcNote		note = {0};
	SvcSyncScope scope;
	SvcSegment	segment;
	SvcFoundRow row;
	Datum		status;
	SvcCall		call;

	if (!PG_ARGISNULL(1))
	{
		note.name = "reason";
		note.new_value = TextDatumGetCString(PG_GETARG_DATUM(1));
	}
	svc_call_begin(&call, fcinfo);
	/* who is just redefining it is waited for: what we look for is what it is then */
	svc_membership_hold();
	if (svc_segment_read(&segment, segment_id))
	{
		if (segment.criteria != NULL || segment.parent != NULL)
			svc_gate_read_committed("a segment can be synced",
									"Customers that this transaction cannot see would be left out.");
		svc_segment_lock_differences(&segment, &scope);
	}
	svc_gate_lock_row(&row, SVC_CUSTOMER_SEGMENT, (Datum) 0, segment_id);
	if (!PG_ARGISNULL(2))
		svc_gate_check_revision(&row, SVC_CUSTOMER_SEGMENT, segment_id, PG_GETARG_INT64(2));
	if (strcmp(row.status, "active") != 0)
	{
		SvcActionCall forbidden = {.noun = SVC_CUSTOMER_SEGMENT, .id = segment_id, .row = row, .action = "sync"};

		svc_action_forbid(&forbidden);
	}
	(void) svc_segment_read(&segment, segment_id);
	svc_segment_sync(&segment, &scope, &note);
	status = svc_call_keep(&call, CStringGetTextDatum(row.status));
	svc_call_end(&call);
	return status;
}

/*
 * svc_add_segment_customer(segment_id, customer_id) -> status of the segment
 *
 * A customer that is a member already stays one, without an event.
 */
Datum
svc_add_segment_customer(PG_FUNCTION_ARGS)
{
	return change_place(fcinfo, GIVEN);
}

/*
 * svc_remove_segment_customer(segment_id, customer_id) -> status of the segment
 */
Datum
svc_remove_segment_customer(PG_FUNCTION_ARGS)
{
	return change_place(fcinfo, TAKEN);
}

/*
 * svc_clear_segment_override(segment_id, customer_id) -> status of the segment
 *
 * From now on the criteria decide on the customer.
 */
Datum
svc_clear_segment_override(PG_FUNCTION_ARGS)
{
	return change_place(fcinfo, LEFT);
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

/*
 * svc_segments_of(customer_id) -> segment_id, name, since, by
 */
Datum
svc_segments_of(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"SELECT s.id::text, s.name::text, m.added_at::timestamptz,"
		"  CASE WHEN o.included OR NOT s.automated THEN 'hand' ELSE 'criteria' END::text"
		" FROM @extschema@.svc_segment_member m"
		" JOIN @extschema@.svc_customer_segment s ON s.id = m.segment_id"
		" LEFT JOIN @extschema@.svc_segment_override o"
		"  ON o.segment_id = m.segment_id AND o.customer_id = m.customer_id"
		" WHERE m.customer_id = $1 AND s.status = 'active'"
		" ORDER BY s.priority DESC, s.id",
		1, {TEXTOID}
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	uint64		rows;
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	rows = svc_statement_read(&statement, &customer_id, NULL);
	for (uint64 row = 0; row < rows; row++)
	{
		Datum		values[4];
		bool		isnull[4];

		for (int i = 0; i < 4; i++)
			values[i] = svc_statement_value(row, i + 1, &isnull[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

/*
 * svc_preview_segment(criteria, sample) -> customer_count, percent_of_total, sample
 *
 * Who would be in a segment with these criteria, without one.
 */
Datum
svc_preview_segment(PG_FUNCTION_ARGS)
{
	SvcSegment	segment = {.id = CStringGetTextDatum("")};
	int32		sample;
	Oid			argtypes[2] = {TEXTOID, INT4OID};
	Datum		arguments[2] = {segment.id};
	Datum		values[3];
	bool		isnull[3];
	TupleDesc	desc;
	char	   *sql;
	Datum		row;
	SvcCall		call;

	svc_argument_not_null(fcinfo, 0, "criteria");
	svc_argument_not_null(fcinfo, 1, "sample");
	segment.criteria = svc_criteria_present((SvcCriteria *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0)));
	sample = PG_GETARG_INT32(1);
	if (sample < 0 || sample > SAMPLE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be between 0 and %d", SAMPLE_MAX),
				 errdetail("It is %d.", sample),
				 errhint("Leave it out for 10 ids.")));
	arguments[1] = Int32GetDatum(sample);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	svc_call_begin(&call, fcinfo);
	svc_segment_check_criteria(segment.criteria);
	svc_segment_check_references("", NULL, segment.criteria);
	sql = psprintf("WITH wanted AS MATERIALIZED (%s)"
				   " SELECT (SELECT count(*) FROM wanted)::bigint,"
				   "  round(100.0 * (SELECT count(*) FROM wanted) / nullif((SELECT count(*) FROM %s.svc_customer"
				   "   WHERE status NOT IN ('merged', 'deleted')), 0), 2)::numeric,"
				   "  ARRAY(SELECT id::text FROM wanted WHERE $1 IS NOT NULL ORDER BY id LIMIT $2)::text[]",
				   svc_segment_candidates_sql(&segment, false, ""), svc_catalog_schema_name());
	(void) svc_statement_run_literally(sql, 2, argtypes, arguments, true);
	for (int i = 0; i < 3; i++)
		values[i] = svc_statement_value(0, i + 1, &isnull[i]);
	row = svc_call_keep(&call, HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
	svc_call_end(&call);
	return row;
}

static Datum
change_place(FunctionCallInfo fcinfo, Place place)
{
	static const char *const actions[] = {[GIVEN] = "add to", [TAKEN] = "remove from", [LEFT] = "clear an override of"};
	Datum		segment_id = svc_argument_id(fcinfo, 0, "segment id");
	Datum		customer_id = svc_argument_id(fcinfo, 1, "customer id");
	SvcSegment	segment;
	SvcFoundRow row;
	Datum		status;
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	if (place == GIVEN)
		svc_gate_customer(customer_id, "a place in a segment");
	svc_membership_take(&customer_id, 1);
	svc_gate_lock_row(&row, SVC_CUSTOMER_SEGMENT, (Datum) 0, segment_id);
	if (strcmp(row.status, "archived") == 0)
	{
		SvcActionCall refused = {.noun = SVC_CUSTOMER_SEGMENT, .id = segment_id, .row = row, .action = actions[place]};

		svc_action_refuse(&refused, "it is archived", "Use another segment.");
	}
	(void) svc_segment_read(&segment, segment_id);
	if (place == GIVEN)
		check_parent(&segment, customer_id);
	if (place == GIVEN || (place == TAKEN && segment.criteria != NULL))
		svc_membership_override(segment_id, customer_id, place == GIVEN);
	else
		(void) svc_membership_clear_override(segment_id, customer_id);
	svc_segment_settle(&segment, customer_id);
	status = svc_call_keep(&call, CStringGetTextDatum(row.status));
	svc_call_end(&call);
	return status;
}

static void
check_parent(const SvcSegment *segment, Datum customer_id)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_segment_member WHERE customer_id = $1 AND segment_id = $2",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {customer_id};

	if (segment->parent == NULL)
		return;
	values[1] = CStringGetTextDatum(segment->parent);
	if (svc_statement_run(&statement, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_NOT_IN_PARENT),
				 errmsg("customer \"%s\" is not in segment \"%s\"", TextDatumGetCString(customer_id), segment->parent),
				 errdetail("It is the parent of segment \"%s\", which is within it.", TextDatumGetCString(segment->id)),
				 errhint("Add the customer to the parent first.")));
}
