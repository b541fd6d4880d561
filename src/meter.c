/*-------------------------------------------------------------------------
 *
 * meter.c
 *	  What resources mean: how they are summed up, what they cost, and what
 *	  recording them consumes.
 *
 * A resource without a row in svc_meter is summed up.  Its figure is in the column
 * of svc_customer_usage that a meter names or that is called like it, else in the
 * object usage_by_resource.
 *
 * How a resource is summed up, and where its figure is, cannot be changed once there
 * is usage of it: the figures would be of two kinds.  Costs and entitlements can, and
 * hold for periods that are not complete yet, and for what is recorded afterwards.
 *
 * The meters are kept per backend.  What invalidates them is an invalidation of the
 * relation cache for svc_meter, which who changes a meter sends, and which we have
 * received when we hold the lock that he excludes.
 *
 * Locks: who changes a meter takes svc_usage SHARE ROW EXCLUSIVE, for which it waits
 * for all who record, and they for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "compat.h"
#include "error.h"
#include "meter.h"
#include "statement.h"

const char *const svc_figure_columns[SVC_FIGURE_COLUMNS] = {
#define COMMA ,
	SVC_FIGURES(CppAsString, COMMA)
};

/* All of them, in the order of their resources' bytes. */
typedef struct Meters
{
	MemoryContext memory;
	Oid			relation;		/* svc_meter */
	bool		valid;
	int			count;
	SvcMeter   *meters;
	int			cost_count;
	const SvcMeter **costs;		/* those that have one */
} Meters;

/* What is not to change while there is usage. */
typedef struct Meaning
{
	char	   *resource;		/* NULL: there is no meter */
	char	   *aggregation;
	char	   *column;			/* NULL: not named */
} Meaning;

static Meters kept;

/* Has a message come while we read them? */
static bool forgotten;

static void forget_meters(Datum arg, Oid relation);
static void read_meters(Meters *fresh);
static SvcAggregation aggregation_of(const char *name);
static void check_row(HeapTuple row, TupleDesc desc);
static void check_word(HeapTuple row, TupleDesc desc, const char *column, const char *const *words, int count);
static void check_meaning(const Meaning *before, const Meaning *after);
static Meaning meaning_of(HeapTuple row, TupleDesc desc);
static bool is_meter(const char *resource);
static bool is_plain(const Meaning *meaning);
static bool same_text(const char *a, const char *b);
static void refuse_used(const char *resource);

PG_FUNCTION_INFO_V1(svc_meter_change);
PG_FUNCTION_INFO_V1(svc_set_meter);

/*
 * svc_meter_change(): BEFORE INSERT OR UPDATE OR DELETE, each row, of svc_meter.
 */
Datum
svc_meter_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	old_row;
	HeapTuple	new_row;
	Meaning		before;
	Meaning		after;
	SvcCall		call;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("svc_meter_change() must be called as a trigger of svc"),
				 errdetail("It is for BEFORE row triggers."),
				 errhint("svc_install() makes the triggers that svc needs.")));
	old_row = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : trigger->tg_trigtuple;
	new_row = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? trigger->tg_trigtuple :
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : NULL;

	desc = RelationGetDescr(trigger->tg_relation);
	if (new_row != NULL)
		check_row(new_row, desc);

	svc_call_begin(&call, fcinfo);
	LockRelationOid(svc_catalog_table("svc_usage"), ShareRowExclusiveLock);
	before = meaning_of(old_row, desc);
	after = meaning_of(new_row, desc);
	/* (one that is there already is refused, or it is an update that follows) */
	if (old_row != NULL || !is_meter(after.resource))
		check_meaning(&before, &after);
	CacheInvalidateRelcache(trigger->tg_relation);
	svc_call_end(&call);
	return PointerGetDatum(new_row != NULL ? new_row : old_row);
}

/*
 * svc_set_meter(resource, aggregation, unit, unit_cost, currency, usage_column,
 *				 entitlement_code, consume_mode)
 *
 * Says all that there is to say about a resource; what is left out is as if it had
 * never been said.
 */
Datum
svc_set_meter(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_meter"
		" (resource, aggregation, unit, unit_cost, currency, usage_column, entitlement_code, consume_mode)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
		" ON CONFLICT (resource) DO UPDATE SET aggregation = excluded.aggregation, unit = excluded.unit,"
		"  unit_cost = excluded.unit_cost, currency = excluded.currency, usage_column = excluded.usage_column,"
		"  entitlement_code = excluded.entitlement_code, consume_mode = excluded.consume_mode",
		8, {TEXTOID, TEXTOID, TEXTOID, NUMERICOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[8];
	bool		isnull[8];
	SvcCall		call;

	values[0] = svc_argument_id(fcinfo, 0, "resource");
	svc_argument_not_null(fcinfo, 1, "aggregation");
	svc_argument_not_null(fcinfo, 7, "consume mode");
	for (int i = 0; i < 8; i++)
	{
		isnull[i] = PG_ARGISNULL(i);
		if (i > 0)
			values[i] = PG_GETARG_DATUM(i);
	}
	svc_call_begin(&call, fcinfo);
	svc_statement_run(&statement, values, isnull);
	svc_call_end(&call);
	PG_RETURN_VOID();
}

/*
 * Read them, if they may have changed.  The caller has locked svc_usage, and is in a
 * call of ours (statement.h), or is the function that is to begin one.
 */
void
svc_meter_load(FunctionCallInfo fcinfo)
{
	static bool registered = false;
	Meters		fresh = {0};
	SvcCall		call;

	if (kept.valid)
		return;
	if (!registered)
		CacheRegisterRelcacheCallback(forget_meters, (Datum) 0);
	registered = true;

	if (fcinfo != NULL)
		svc_call_begin(&call, fcinfo);
	fresh.relation = kept.relation = svc_catalog_table("svc_meter");
	forgotten = false;
	fresh.memory = AllocSetContextCreate(CurrentMemoryContext, "svc meters", ALLOCSET_SMALL_SIZES);
	read_meters(&fresh);
	fresh.valid = !forgotten;
	MemoryContextSetParent(fresh.memory, CacheMemoryContext);
	if (fcinfo != NULL)
		svc_call_end(&call);
	if (kept.memory != NULL)
		MemoryContextDelete(kept.memory);
	kept = fresh;
}

/* The meter of a resource, or NULL, if it is just to be summed up. */
const SvcMeter *
svc_meter_find(const char *resource, int length)
{
	int			low = 0;
	int			high = kept.count;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = strncmp(kept.meters[middle].resource, resource, length);

		if (order == 0)
			order = kept.meters[middle].resource[length] != '\0';
		if (order == 0)
			return &kept.meters[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* The n-th of those that have a cost, in the order of their resources, or NULL. */
const SvcMeter *
svc_meter_with_cost(int n)
{
	return n < kept.cost_count ? kept.costs[n] : NULL;
}

static void
forget_meters(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == kept.relation)
	{
		kept.valid = false;
		forgotten = true;
	}
}

static void
read_meters(Meters *fresh)
{
	static SvcStatement statement = {
		"SELECT k.resource, k.aggregation, k.usage_column, m.unit_cost, m.currency,"
		"  m.entitlement_code::text, m.consume_mode = 'overflow'"
		" FROM " SVC_METERS " k LEFT JOIN @extschema@.svc_meter m USING (resource)"
		" ORDER BY k.resource COLLATE \"C\"",
		0
	};
	uint64		rows = svc_statement_read_latest(&statement, NULL);
	SPITupleTable *found = SPI_tuptable;
	MemoryContext old = MemoryContextSwitchTo(fresh->memory);

	fresh->count = (int) rows;
	fresh->meters = palloc0(Max(rows, 1) * sizeof(SvcMeter));
	fresh->costs = palloc0(Max(rows, 1) * sizeof(SvcMeter *));
	for (uint64 row = 0; row < rows; row++)
	{
		SvcMeter   *meter = &fresh->meters[row];
		Datum		cost = SPI_getbinval(found->vals[row], found->tupdesc, 4, &meter->has_cost);
		bool		isnull;

		meter->has_cost = !meter->has_cost;
		if (meter->has_cost)
			meter->unit_cost = datumCopy(cost, false, -1);
		meter->resource = pstrdup(SPI_getvalue(found->vals[row], found->tupdesc, 1));
		meter->aggregation = aggregation_of(SPI_getvalue(found->vals[row], found->tupdesc, 2));
		meter->column = SPI_getvalue(found->vals[row], found->tupdesc, 3);
		meter->currency = SPI_getvalue(found->vals[row], found->tupdesc, 5);
		meter->entitlement_code = SPI_getvalue(found->vals[row], found->tupdesc, 6);
		meter->overflows = DatumGetBool(SPI_getbinval(found->vals[row], found->tupdesc, 7, &isnull)) && !isnull;
		if (meter->has_cost)
			fresh->costs[fresh->cost_count++] = meter;
	}
	MemoryContextSwitchTo(old);
}

static SvcAggregation
aggregation_of(const char *name)
{
	return strcmp(name, "count") == 0 ? SVC_COUNT :
		strcmp(name, "max") == 0 ? SVC_MAX :
		strcmp(name, "last") == 0 ? SVC_LAST : SVC_SUM;
}

/* ---- what may be said ---- */

/* The table's CHECKs, which come after us, say less. */
static void
check_row(HeapTuple row, TupleDesc desc)
{
	static const char *const aggregations[] = {"sum", "count", "max", "last"};
	static const char *const modes[] = {"reject", "overflow"};
	char	   *unit_cost = SPI_getvalue(row, desc, SPI_fnumber(desc, "unit_cost"));
	char	   *code = SPI_getvalue(row, desc, SPI_fnumber(desc, "entitlement_code"));

	check_word(row, desc, "aggregation", aggregations, lengthof(aggregations));
	check_word(row, desc, "usage_column", svc_figure_columns, SVC_FIGURE_COLUMNS);
	check_word(row, desc, "consume_mode", modes, lengthof(modes));
	if (code != NULL)
		svc_check_id(CStringGetTextDatum(code), "entitlement code");
	if (unit_cost == NULL)
		return;
	svc_check_amount(DirectFunctionCall3(numeric_in, CStringGetDatum(unit_cost),
										 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)), "unit cost");
	if (SPI_getvalue(row, desc, SPI_fnumber(desc, "currency")) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("a meter with a unit cost must have a currency"),
				 errdetail("One %s costs %s.", SPI_getvalue(row, desc, SPI_fnumber(desc, "resource")), unit_cost),
				 errhint("Say which, such as EUR.")));
}

/* A column that has one of these words, or null. */
static void
check_word(HeapTuple row, TupleDesc desc, const char *column, const char *const *words, int count)
{
	char	   *given = SPI_getvalue(row, desc, SPI_fnumber(desc, column));
	StringInfoData list;

	if (given == NULL)
		return;
	initStringInfo(&list);
	for (int i = 0; i < count; i++)
	{
		if (strcmp(words[i], given) == 0)
			return;
		appendStringInfo(&list, "%s%s", i == 0 ? "" : i == count - 1 ? " and " : ", ", words[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("a meter has no %s \"%s\"", column, given),
			 errdetail("The meter of resource \"%s\" was to have it.",
					   SPI_getvalue(row, desc, SPI_fnumber(desc, "resource"))),
			 errhint("There are %s.", list.data)));
}

/* ---- what may be changed ---- */

/* Refuse a change of what the figures mean that there are. */
static void
check_meaning(const Meaning *before, const Meaning *after)
{
	bool		same_resource = same_text(before->resource, after->resource);
	bool		same_column = same_text(before->column, after->column);

	if (same_resource && same_column && same_text(before->aggregation, after->aggregation))
		return;
	/* without a meter, a resource is summed up, and has no column */
	if (before->resource != NULL && (same_resource || !is_plain(before)))
		refuse_used(before->resource);
	if (after->resource != NULL && !same_resource && !is_plain(after))
		refuse_used(after->resource);
	/* the column of a meter is not any more that of the resource of its name */
	if (!same_column && before->column != NULL)
		refuse_used(before->column);
	if (!same_column && after->column != NULL)
		refuse_used(after->column);
}

static Meaning
meaning_of(HeapTuple row, TupleDesc desc)
{
	Meaning		meaning = {0};

	if (row == NULL)
		return meaning;
	meaning.resource = SPI_getvalue(row, desc, SPI_fnumber(desc, "resource"));
	meaning.aggregation = SPI_getvalue(row, desc, SPI_fnumber(desc, "aggregation"));
	meaning.column = SPI_getvalue(row, desc, SPI_fnumber(desc, "usage_column"));
	return meaning;
}

static bool
is_meter(const char *resource)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_meter WHERE resource = $1", 1, {TEXTOID}
	};
	Datum		value;

	if (resource == NULL)
		return false;
	value = CStringGetTextDatum(resource);
	return svc_statement_read_latest(&statement, &value) > 0;
}

static bool
is_plain(const Meaning *meaning)
{
	return same_text(meaning->aggregation, "sum") && meaning->column == NULL;
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Is there usage of the resource, raw or rolled up? */
static void
refuse_used(const char *resource)
{
	static SvcStatement statement = {
		"SELECT EXISTS (SELECT FROM @extschema@.svc_usage WHERE resource = $1)"
		" OR EXISTS (SELECT FROM @extschema@.svc_customer_usage u LEFT JOIN " SVC_METERS " m ON m.resource = $1"
		"  WHERE u.is_folded AND coalesce(to_jsonb(u) ->> m.usage_column, u.usage_by_resource ->> $1) IS NOT NULL)",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(resource);
	bool		isnull;

	svc_statement_read_latest(&statement, &value);
	if (DatumGetBool(svc_statement_value(0, 1, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_SVC_METER_IN_USE),
				 errmsg("how resource \"%s\" is summed up, or in which column, cannot be changed", resource),
				 errdetail("There is usage of it already, whose figures would be of another kind."),
				 errhint("Use another resource for what is to come.")));
}
