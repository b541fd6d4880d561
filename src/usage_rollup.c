/*-------------------------------------------------------------------------
 *
 * usage_rollup.c
 *	  Roll-ups of usage, one row per customer and period: how their figures are
 *	  written, and what keeps them right.
 *
 * A figure of a resource is in a column of its own (meter.c) or in the object
 * usage_by_resource.  What they cost follows from the figures, and is reckoned
 * whenever a row is written.
 *
 * A roll-up of raw records (is_folded) is written by svc alone; one that was recorded
 * by hand, with svc_record_customer_usage() or SQL, is whoever's it is.  A period can
 * have both, which do not know of each other.  One of raw records becomes final with
 * all of the customer's usage up to its end (usage_close.c), not by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "amount.h"
#include "catalog.h"
#include "clock.h"
#include "gate.h"
#include "lifecycle.h"
#include "meter.h"
#include "statement.h"
#include "usage_rollup.h"

static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn status_column = {"status"};
static SvcColumn period_end_column = {"period_end", TIMESTAMPTZOID};
static SvcColumn is_folded_column = {"is_folded", BOOLOID};
static SvcColumn by_resource_column = {"usage_by_resource", JSONBOID};
static SvcColumn cost_column = {"estimated_cost", NUMERICOID};
static SvcColumn currency_column = {"currency"};

/* Columns of a roll-up of raw records that a statement by hand may write. */
#define FREE_COLUMNS	"status subscription_id updated_at revision"

static void check(SvcRowChange *change);
static void check_by_hand(SvcRowChange *change);
static void check_closed(SvcRowChange *change);
static void reckon_cost(SvcRowChange *change);
static bool add_costs(SvcRowChange *change, const char **currency, Datum *cost);
static bool read_figure(SvcRowChange *change, const SvcMeter *meter, Datum *figure);
pg_noreturn static void report_no_figures(const char *detail);

PG_FUNCTION_INFO_V1(svc_add_figures);

void
svc_usage_rollup_init(void)
{
	static const SvcLifecycleRules rules = {.check = check};

	svc_lifecycle_set_rules(SVC_CUSTOMER_USAGE, &rules);
}

/*
 * svc_add_figures(a jsonb, b jsonb) -> jsonb
 *
 * Two objects of numbers, member by member; null is an object without any.
 */
Datum
svc_add_figures(PG_FUNCTION_ARGS)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	Jsonb	   *a;
	Jsonb	   *b;

	for (int n = 0; n < 2; n++)
	{
		if (!PG_ARGISNULL(n) && !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(n)))
			report_no_figures("One of them is no object.");
	}
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		int			n = PG_ARGISNULL(0) ? 1 : 0;

		if (PG_ARGISNULL(n))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(n));
	}
	a = PG_GETARG_JSONB_P(0);
	b = PG_GETARG_JSONB_P(1);

	/* those of b first, which are added to where a has them, too: the last one holds */
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int turn = 0; turn < 2; turn++)
	{
		it = JsonbIteratorInit(turn == 0 ? &b->root : &a->root);
		while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
		{
			JsonbValue *other;

			if (token != WJB_KEY)
				continue;
			(void) JsonbIteratorNext(&it, &value, true);
			other = findJsonbValueFromContainer(turn == 0 ? &a->root : &b->root, JB_FOBJECT, &key);
			if (value.type != jbvNumeric || (other != NULL && other->type != jbvNumeric))
				report_no_figures(psprintf("\"%s\" is not.", pnstrdup(key.val.string.val, key.val.string.len)));
			if (other != NULL)
				value.val.numeric = DatumGetNumeric(svc_amount_add(NumericGetDatum(value.val.numeric),
																   NumericGetDatum(other->val.numeric)));
			(void) pushJsonbValue(&state, WJB_KEY, &key);
			(void) pushJsonbValue(&state, WJB_VALUE, &value);
		}
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static void
report_no_figures(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("figures must be numbers"),
			 errdetail_internal("%s", detail),
			 errhint("Pass objects of resource to amount.")));
}

/*
 * Append, to a WITH list that ends in "figure", the parts that write it down: to the
 * roll-ups that there are, to which the figures are added or whose figures they
 * replace, and as new ones.  "figure" has customer_id, timezone, resource, period_type,
 * period_start and amount, once for each period and resource.  "at", an expression, is
 * the present: roll-ups that it is in show what is left of quotas.
 *
 * Whoever writes has the customer's row of svc_usage_fold locked, so that nobody else
 * makes the same roll-up meanwhile.
 */
void
svc_rollup_append_writes(StringInfo sql, bool adds, const char *at)
{
	appendStringInfo(sql, ", quota AS MATERIALIZED (SELECT c.customer_id,"
					 "   jsonb_object_agg(e.code, e.used_amount) AS used,"
					 "   jsonb_object_agg(e.code, e.remaining_amount) AS remaining"
					 "  FROM (SELECT DISTINCT f.customer_id FROM figure f WHERE EXISTS (SELECT"
					 "    FROM @extschema@.svc_entitlement g WHERE g.customer_id = f.customer_id AND g.limit_amount IS NOT NULL)) c,"
					 "   @extschema@.svc_entitlements(c.customer_id, greatest(%s, now())) e"
					 "  WHERE e.metered AND e.remaining_amount IS NOT NULL GROUP BY c.customer_id)", at);

	/* one row per roll-up */
	appendStringInfoString(sql, ", meter AS MATERIALIZED " SVC_METERS
						   ", delta AS MATERIALIZED (SELECT f.customer_id, f.period_type, f.period_start,"
						   "  @extschema@.svc_period_end(f.period_type, f.period_start, f.timezone) AS period_end,");
	for (int i = 0; i < SVC_FIGURE_COLUMNS; i++)
		appendStringInfo(sql, " sum(f.amount) FILTER (WHERE m.usage_column = '%1$s') AS %1$s,",
						 svc_figure_columns[i]);
	appendStringInfoString(sql, " jsonb_object_agg(f.resource, f.amount) FILTER (WHERE m.usage_column IS NULL) AS usage_by_resource"
						   " FROM figure f LEFT JOIN meter m ON m.resource = f.resource"
						   " GROUP BY f.customer_id, f.timezone, f.period_type, f.period_start)");

	appendStringInfoString(sql, ", updated AS (UPDATE @extschema@.svc_customer_usage t SET status = 'partial'");
	for (int i = 0; i < SVC_FIGURE_COLUMNS; i++)
		appendStringInfo(sql, adds ? ", %1$s = CASE WHEN d.%1$s IS NULL THEN t.%1$s ELSE coalesce(t.%1$s, 0) + d.%1$s END" :
						 ", %1$s = coalesce(d.%1$s, t.%1$s)", svc_figure_columns[i]);
	appendStringInfoString(sql, adds ? ", usage_by_resource = @extschema@.svc_add_figures(t.usage_by_resource, d.usage_by_resource)" :
						   ", usage_by_resource = CASE WHEN d.usage_by_resource IS NULL THEN t.usage_by_resource"
						   " ELSE coalesce(t.usage_by_resource, '{}') || d.usage_by_resource END");
	appendStringInfo(sql, ", quota_used = CASE WHEN d.period_start <= %1$s AND d.period_end > %1$s"
					 " THEN q.used ELSE t.quota_used END"
					 ", quota_remaining = CASE WHEN d.period_start <= %1$s AND d.period_end > %1$s"
					 " THEN q.remaining ELSE t.quota_remaining END"
					 " FROM delta d LEFT JOIN quota q ON q.customer_id = d.customer_id"
					 " WHERE t.customer_id = d.customer_id AND t.period_type = d.period_type AND t.period_start = d.period_start AND t.is_folded"
					 " RETURNING t.customer_id, t.period_type, t.period_start)", at);

	appendStringInfoString(sql, ", inserted AS (INSERT INTO @extschema@.svc_customer_usage"
						   " (customer_id, period_type, period_start, period_end, is_folded");
	for (int i = 0; i < SVC_FIGURE_COLUMNS; i++)
		appendStringInfo(sql, ", %s", svc_figure_columns[i]);
	appendStringInfoString(sql, ", usage_by_resource, quota_used, quota_remaining)"
						   " SELECT d.customer_id, d.period_type, d.period_start, d.period_end, true");
	for (int i = 0; i < SVC_FIGURE_COLUMNS; i++)
		appendStringInfo(sql, ", d.%s", svc_figure_columns[i]);
	appendStringInfo(sql, ", d.usage_by_resource,"
					 " CASE WHEN d.period_start <= %1$s AND d.period_end > %1$s THEN q.used END,"
					 " CASE WHEN d.period_start <= %1$s AND d.period_end > %1$s THEN q.remaining END"
					 " FROM delta d LEFT JOIN quota q ON q.customer_id = d.customer_id"
					 " WHERE NOT EXISTS (SELECT FROM updated u WHERE u.customer_id = d.customer_id"
					 "  AND u.period_type = d.period_type AND u.period_start = d.period_start))", at);
}

/* ---- the row's rules ---- */

static void
check(SvcRowChange *change)
{
	bool		isnull;
	SvcCall		call;

	if (!svc_lifecycle_by_function(change))
		check_by_hand(change);
	if (change->is_insert && !svc_row_new_bool(change, &is_folded_column))
	{
		/* (who rolls up has locked the customers before) */
		svc_call_begin(&call, change->fcinfo);
		svc_gate_customer(svc_row_new(change, &customer_id_column, &isnull), "a usage roll-up");
		svc_call_end(&call);
	}
	if (!change->is_insert && !svc_lifecycle_by_function(change) &&
		svc_row_column_differs(change, &status_column) && svc_row_new_is(change, &status_column, "complete") &&
		DatumGetTimestampTz(svc_row_new(change, &period_end_column, &isnull)) > svc_clock_now())
		svc_lifecycle_refuse_change(change, "its period is not over", "Wait until period_end.");
	if (!svc_row_new_bool(change, &is_folded_column))
		return;
	if (svc_row_new_is(change, &status_column, "finalized") &&
		(change->is_insert || svc_row_column_differs(change, &status_column)))
		check_closed(change);
	/* what is complete keeps the costs of its time */
	if (svc_row_new_is(change, &status_column, "partial"))
		reckon_cost(change);
}

/* What is rolled up from raw records follows from these. */
static void
check_by_hand(SvcRowChange *change)
{
	TupleDesc	desc = RelationGetDescr(change->rel);

	if (change->is_insert && svc_row_new_bool(change, &is_folded_column))
		svc_lifecycle_refuse_column(change, "is_folded", "Record raw usage, with svc_record_usage().");
	for (int i = 0; !change->is_insert && svc_row_new_bool(change, &is_folded_column) && i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (svc_row_differs(change, i) && !svc_noun_list_has(FREE_COLUMNS, name))
			svc_lifecycle_refuse_column(change, name,
										"The row is rolled up from raw records: correct these, with svc_adjust_usage().");
	}
}

/* Final is a customer's usage up to an instant, of all resources and kinds of period. */
static void
check_closed(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT closed_until >= $2 FROM @extschema@.svc_customer WHERE id = $1",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2];
	bool		isnull;
	bool		is_closed;
	SvcCall		call;

	values[0] = svc_row_new(change, &customer_id_column, &isnull);
	values[1] = svc_row_new(change, &period_end_column, &isnull);
	svc_call_begin(&call, change->fcinfo);
	is_closed = svc_statement_run(&statement, values, NULL) > 0;
	is_closed = is_closed && DatumGetBool(svc_statement_value(0, 1, &isnull)) && !isnull;
	svc_call_end(&call);
	if (!is_closed)
		svc_lifecycle_refuse_change(change, "it is rolled up from records that may still come",
									"Use svc_finalize_usage(), which closes the customer's usage up to the end of a period.");
}

/*
 * What the figures cost, of those in one currency: that which the row has, as long as
 * there is any in that, else that of the first.
 */
static void
reckon_cost(SvcRowChange *change)
{
	const char *currency = svc_row_new_text(change, &currency_column);
	Datum		cost;

	svc_meter_load(change->fcinfo);
	if (!add_costs(change, &currency, &cost))
	{
		currency = NULL;
		if (!add_costs(change, &currency, &cost))
		{
			svc_row_set(change, &cost_column, (Datum) 0, true);
			svc_row_set(change, &currency_column, (Datum) 0, true);
			return;
		}
	}
	svc_row_set(change, &cost_column, cost, false);
	svc_row_set_text(change, &currency_column, currency);
}

/* Costs in a currency, or that of the first; false, if there are none. */
static bool
add_costs(SvcRowChange *change, const char **currency, Datum *cost)
{
	const SvcMeter *meter;
	bool		any = false;

	*cost = svc_amount_zero();
	for (int n = 0; (meter = svc_meter_with_cost(n)) != NULL; n++)
	{
		Datum		figure;

		if ((*currency != NULL && strcmp(*currency, meter->currency) != 0) ||
			!read_figure(change, meter, &figure))
			continue;
		*currency = meter->currency;
		*cost = svc_amount_add(*cost, svc_amount_multiply(figure, meter->unit_cost));
		any = true;
	}
	return any;
}

static bool
read_figure(SvcRowChange *change, const SvcMeter *meter, Datum *figure)
{
	bool		isnull;
	Datum		object;
	JsonbValue	key = {.type = jbvString};
	JsonbValue *found;

	if (meter->column != NULL)
	{
		SvcColumn	column = {meter->column, NUMERICOID};

		*figure = svc_row_new(change, &column, &isnull);
		return !isnull;
	}
	object = svc_row_new(change, &by_resource_column, &isnull);
	if (isnull)
		return false;
	key.val.string.val = unconstify(char *, meter->resource);
	key.val.string.len = strlen(meter->resource);
	found = findJsonbValueFromContainer(&DatumGetJsonbP(object)->root, JB_FOBJECT, &key);
	if (found == NULL || found->type != jbvNumeric)
		return false;
	*figure = NumericGetDatum(found->val.numeric);
	return true;
}
