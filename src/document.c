/*-------------------------------------------------------------------------
 *
 * document.c
 *	  The document of a customer, which segment criteria are about.
 *
 *		{"id": "c1", "status": "active", "monthly_spend": 1200,
 *		 "created_at": "2026-01-31T09:00:00.000000Z",
 *		 "attributes": {"tags": ["beta", "eu"]},
 *		 "subscriptions": [{"id": "s1", "plan": "pro", "status": "active", ...}],
 *		 "entitlements": {"api_calls": {"limit": 1000, "used": 990, "remaining": 10, "percent": 99}},
 *		 "usage": {"api_calls": {"current_period": 7, "last_7d": 9, ..., "lifetime": 1200}},
 *		 "segments": ["vip"]}
 *
 * The columns of svc_customer are its members, a user's own included; what is NULL
 * is left out.  Instants are in UTC and of one width, so that they compare as texts,
 * too; to_jsonb() would follow the session's time zone.  Usage that is asked for is
 * there, as 0, if there was none: else "fewer than 5 calls in 30 days" would miss
 * just those who made no call.
 *
 * Only what is asked for is built.  It is read with the snapshot that is active;
 * no locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "document.h"
#include "grant.h"
#include "noun.h"
#include "statement.h"
#include "usage_read.h"
#include "subscription_due.h"

/* Columns that are svc's own affair, and those of a user whose places are taken. */
#define HIDDEN_COLUMNS	"changes_at closed_until has_pools revision " \
	SVC_DOCUMENT_SUBSCRIPTIONS " " SVC_DOCUMENT_ENTITLEMENTS " " SVC_DOCUMENT_USAGE " " SVC_CRITERIA_SEGMENTS

/* Under which a value has one text only. */
static const struct
{
	const char *name;
	const char *value;
}			plain_settings[] = {
	{"TimeZone", "UTC"}, {"DateStyle", "ISO"}, {"IntervalStyle", "iso_8601"}, {"bytea_output", "hex"},
	{"extra_float_digits", "1"},
};

#define PATHS_FIRST		16		/* room to begin with */

/* A document that is being built. */
typedef struct Builder
{
	SvcDocumentWants *wants;
	Datum		customer_id;
	TimestampTz at;
	JsonbParseState *state;
} Builder;

static void parse_paths(SvcDocumentWants *wants, ArrayType *paths);
static void want(SvcDocumentWants *wants, const char *path);
static void sort_wants(SvcDocumentWants *wants);
static int	compare_paths(const void *a, const void *b);
static const SvcDocumentPath *find_wanted(SvcDocumentWants *wants, SvcDocumentPath beginning);
static bool begins_with(const SvcDocumentPath *path, const SvcDocumentPath *beginning);
static bool wants_all_of(SvcDocumentWants *wants, const char *member);
static bool wants_step(SvcDocumentWants *wants, const char *member, const char *step, const char *last);
static void begin_object(Builder *builder, const char *key);
static JsonbValue *end_object(Builder *builder);
static void add_key(Builder *builder, const char *key, int length);
static void add_value(Builder *builder, Oid type, Datum value);
static void add_string(Builder *builder, char *string);
static void add_number(Builder *builder, Datum value);
static void add_boolean(Builder *builder, bool value);
static void add_jsonb(Builder *builder, const char *column, Datum value);
static Datum any_to_jsonb(Oid type, Datum value);
static void add_columns(Builder *builder, HeapTuple row, TupleDesc desc);
static void add_subscriptions(Builder *builder);
static void add_entitlements(Builder *builder);
static void add_entitlement(Builder *builder, const char *code, const SvcGrantSet *set);
static List *wanted_steps(Builder *builder, const char *member, SvcStatement *others);
static List *distinct_steps(List *steps);
static int	compare_steps(const ListCell *a, const ListCell *b);
static void add_usage(Builder *builder);
static void add_segments(Builder *builder);
static uint64 read_of_customer(Builder *builder, SvcStatement *statement);

PG_FUNCTION_INFO_V1(svc_customer_document);

/*
 * svc_customer_document(customer_id, paths text[]) -> jsonb
 *
 * Without paths, all of it.  NULL for a customer that there is not.
 */
Datum
svc_customer_document(PG_FUNCTION_ARGS)
{
	static SvcStatement customer = {
		"SELECT * FROM @extschema@.svc_customer WHERE id = $1", 1, {TEXTOID}
	};
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	SvcDocumentWants wants = {.all = PG_ARGISNULL(1)};
	Datum		document = 0;
	bool		found;
	SvcCall		call;

	if (!wants.all)
		parse_paths(&wants, PG_GETARG_ARRAYTYPE_P(1));
	svc_call_begin(&call, fcinfo);
	found = svc_statement_read(&customer, &customer_id, NULL) > 0;
	if (found)
		document = svc_call_keep(&call, JsonbPGetDatum(svc_document_build(&wants, customer_id, SPI_tuptable->vals[0],
																		   SPI_tuptable->tupdesc, svc_clock_now())));
	svc_call_end(&call);
	if (!found)
		PG_RETURN_NULL();
	return document;
}

/* ---- what is wanted ---- */

static void
parse_paths(SvcDocumentWants *wants, ArrayType *paths)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(paths, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			want(wants, TextDatumGetCString(elements[i]));
	}
}

/* Want what a path leads to, by its first steps; as criteria write it: a\.b.c has two. */
static void
want(SvcDocumentWants *wants, const char *path)
{
	SvcDocumentPath *wanted;
	StringInfoData step;

	if (wants->count == wants->room)
	{
		wants->room = Max(2 * wants->room, PATHS_FIRST);
		wants->paths = wants->paths == NULL ? palloc(wants->room * sizeof(SvcDocumentPath)) :
			repalloc(wants->paths, wants->room * sizeof(SvcDocumentPath));
	}
	wants->sorted = false;
	wanted = &wants->paths[wants->count++];
	wanted->count = 0;
	for (const char *c = path; wanted->count < SVC_DOCUMENT_STEPS_MAX; c++)
	{
		initStringInfo(&step);
		for (; *c != '\0' && *c != '.'; c++)
		{
			if (*c == '\\' && c[1] != '\0')
				c++;
			appendStringInfoChar(&step, *c);
		}
		wanted->steps[wanted->count++] = step.data;
		if (*c == '\0')
			break;
	}
}

/* Want what criteria look at. */
void
svc_document_want_criteria(SvcDocumentWants *wants, const SvcCriteria *criteria)
{
	int			end = criteria->node_count;

	for (int i = 0; (i = svc_criteria_condition(criteria, i, end)) < end; i += criteria->nodes[i].size)
		want(wants, svc_criteria_path_text(criteria, criteria->nodes[i].path));
	if (criteria->flags & SVC_CRITERIA_USES_SEGMENTS)
		want(wants, SVC_CRITERIA_SEGMENTS);
}

/* Ten thousand segments want as many paths, and each is asked for. */
static void
sort_wants(SvcDocumentWants *wants)
{
	int			kept = 0;

	if (wants->sorted || wants->count == 0)
		return;
	qsort(wants->paths, wants->count, sizeof(SvcDocumentPath), compare_paths);
	for (int i = 0; i < wants->count; i++)
	{
		if (kept == 0 || compare_paths(&wants->paths[i], &wants->paths[kept - 1]) != 0)
			wants->paths[kept++] = wants->paths[i];
	}
	wants->count = kept;
	wants->sorted = true;
}

/* Step by step, so that a path comes before those that go on from it. */
static int
compare_paths(const void *a, const void *b)
{
	const SvcDocumentPath *first = a;
	const SvcDocumentPath *second = b;

	for (int i = 0; i < Min(first->count, second->count); i++)
	{
		int			order = strcmp(first->steps[i], second->steps[i]);

		if (order != 0)
			return order;
	}
	return first->count - second->count;
}

/* The first wanted path that this one is the beginning of, or NULL. */
static const SvcDocumentPath *
find_wanted(SvcDocumentWants *wants, SvcDocumentPath beginning)
{
	int			low = 0;
	int			high;

	sort_wants(wants);
	for (high = wants->count; low < high;)
	{
		int			middle = (low + high) / 2;

		if (compare_paths(&wants->paths[middle], &beginning) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < wants->count && begins_with(&wants->paths[low], &beginning) ? &wants->paths[low] : NULL;
}

static bool
begins_with(const SvcDocumentPath *path, const SvcDocumentPath *beginning)
{
	for (int i = 0; i < beginning->count; i++)
	{
		if (i >= path->count || strcmp(path->steps[i], beginning->steps[i]) != 0)
			return false;
	}
	return true;
}

/* Is a member of the document wanted, or something of it? */
bool
svc_document_wants(SvcDocumentWants *wants, const char *member)
{
	return wants->all || find_wanted(wants, (SvcDocumentPath) {1, {member}}) != NULL;
}

/* Is a member wanted as a whole? */
static bool
wants_all_of(SvcDocumentWants *wants, const char *member)
{
	const SvcDocumentPath *path = find_wanted(wants, (SvcDocumentPath) {1, {member}});

	return wants->all || (path != NULL && path->count == 1);
}

/* Is a member of a member wanted, and of that this, or, if it is NULL, something? */
static bool
wants_step(SvcDocumentWants *wants, const char *member, const char *step, const char *last)
{
	const SvcDocumentPath *path = find_wanted(wants, (SvcDocumentPath) {2, {member, step}});

	if (wants_all_of(wants, member))
		return true;
	return path != NULL && (last == NULL || path->count == 2 ||
							find_wanted(wants, (SvcDocumentPath) {3, {member, step, last}}) != NULL);
}

/* Is a column of svc_customer a member of the document? */
bool
svc_document_has_column(Form_pg_attribute att)
{
	return !att->attisdropped && !svc_noun_list_has(HIDDEN_COLUMNS, NameStr(att->attname));
}

/* Its type; of a domain, what that is of. */
Oid
svc_document_column_type(Form_pg_attribute att)
{
	return getBaseType(att->atttypid);
}

/* ---- building ---- */

/*
 * Build what is wanted of the document of a customer, whose row this is, as it is
 * at an instant.
 */
Jsonb *
svc_document_build(SvcDocumentWants *wants, Datum customer_id, HeapTuple row, TupleDesc desc, TimestampTz at)
{
	Builder		builder = {.wants = wants, .customer_id = customer_id, .at = at};

	begin_object(&builder, NULL);
	add_columns(&builder, row, desc);
	if (svc_document_wants(wants, SVC_DOCUMENT_SUBSCRIPTIONS))
		add_subscriptions(&builder);
	if (svc_document_wants(wants, SVC_DOCUMENT_ENTITLEMENTS))
		add_entitlements(&builder);
	if (svc_document_wants(wants, SVC_DOCUMENT_USAGE))
		add_usage(&builder);
	if (svc_document_wants(wants, SVC_CRITERIA_SEGMENTS))
		add_segments(&builder);
	return JsonbValueToJsonb(end_object(&builder));
}

static void
begin_object(Builder *builder, const char *key)
{
	if (key != NULL)
		add_key(builder, key, strlen(key));
	(void) pushJsonbValue(&builder->state, WJB_BEGIN_OBJECT, NULL);
}

static JsonbValue *
end_object(Builder *builder)
{
	return pushJsonbValue(&builder->state, WJB_END_OBJECT, NULL);
}

static void
add_key(Builder *builder, const char *key, int length)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, key);
	value.val.string.len = length;
	(void) pushJsonbValue(&builder->state, WJB_KEY, &value);
}

static void
add_value(Builder *builder, Oid type, Datum value)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
			add_string(builder, TextDatumGetCString(value));
			return;
		case BOOLOID:
			add_boolean(builder, DatumGetBool(value));
			return;
		case INT2OID:
			add_number(builder, NumericGetDatum(int64_to_numeric(DatumGetInt16(value))));
			return;
		case INT4OID:
			add_number(builder, NumericGetDatum(int64_to_numeric(DatumGetInt32(value))));
			return;
		case INT8OID:
			add_number(builder, NumericGetDatum(int64_to_numeric(DatumGetInt64(value))));
			return;
		case NUMERICOID:
			add_number(builder, value);
			return;
		case TIMESTAMPTZOID:
			if (TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(value)))
				add_string(builder, TIMESTAMP_IS_NOEND(DatumGetTimestampTz(value)) ? "infinity" : "-infinity");
			else
				add_string(builder, svc_criteria_write_fixed_instant(DatumGetTimestampTz(value)));
			return;
		case JSONBOID:
			add_jsonb(builder, NULL, value);
			return;
		default:				/* types are open */
			add_jsonb(builder, NULL, any_to_jsonb(type, value));
	}
}

static void
add_string(Builder *builder, char *string)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = string;
	value.val.string.len = strlen(string);
	(void) pushJsonbValue(&builder->state, WJB_VALUE, &value);
}

static void
add_number(Builder *builder, Datum number)
{
	JsonbValue	value = {.type = jbvNumeric};

	/* JSON has no such numbers */
	if (numeric_is_nan(DatumGetNumeric(number)) || numeric_is_inf(DatumGetNumeric(number)))
	{
		add_string(builder, svc_amount_text(number));
		return;
	}
	value.val.numeric = DatumGetNumeric(number);
	(void) pushJsonbValue(&builder->state, WJB_VALUE, &value);
}

static void
add_boolean(Builder *builder, bool boolean)
{
	JsonbValue	value = {.type = jbvBool};

	value.val.boolean = boolean;
	(void) pushJsonbValue(&builder->state, WJB_VALUE, &value);
}

/* A document; of an object in that column, if it is given, what is wanted. */
static void
add_jsonb(Builder *builder, const char *column, Datum document)
{
	Jsonb	   *jsonb = DatumGetJsonbP(document);
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (column == NULL || !JB_ROOT_IS_OBJECT(jsonb) || wants_all_of(builder->wants, column))
	{
		JsonbToJsonbValue(jsonb, &value);
		if (JB_ROOT_IS_SCALAR(jsonb))
			(void) JsonbExtractScalar(&jsonb->root, &value);
		(void) pushJsonbValue(&builder->state, WJB_VALUE, &value);
		return;
	}
	begin_object(builder, NULL);
	iterator = JsonbIteratorInit(&jsonb->root);
	(void) JsonbIteratorNext(&iterator, &value, true);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_KEY)
	{
		bool		wanted = wants_step(builder->wants, column,
										pnstrdup(value.val.string.val, value.val.string.len), NULL);

		if (wanted)
			add_key(builder, value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (wanted)
			(void) pushJsonbValue(&builder->state, WJB_VALUE, &value);
	}
	(void) end_object(builder);
}

/*
 * As to_jsonb() does; that asks for the type of the expression.  What is within it,
 * such as the times of an array, does not follow the session's settings either.
 */
static Datum
any_to_jsonb(Oid type, Datum value)
{
	FmgrInfo	function;
	Const	   *argument = makeNullConst(type, -1, InvalidOid);
	int			nest = NewGUCNestLevel();
	Datum		result;

	for (int i = 0; i < lengthof(plain_settings); i++)
		(void) set_config_option(plain_settings[i].name, plain_settings[i].value, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	fmgr_info(F_TO_JSONB, &function);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(argument), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL), &function);
	result = FunctionCall1(&function, value);
	AtEOXact_GUC(true, nest);
	return result;
}

static void
add_columns(Builder *builder, HeapTuple row, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char	   *name = NameStr(att->attname);
		Oid			type;
		bool		isnull;
		Datum		value;

		if (!svc_document_has_column(att) || !svc_document_wants(builder->wants, name))
			continue;
		value = heap_getattr(row, i + 1, desc, &isnull);
		if (isnull)
			continue;
		add_key(builder, name, strlen(name));
		type = svc_document_column_type(att);
		if (type == JSONBOID)
			add_jsonb(builder, name, value);
		else
			add_value(builder, type, value);
	}
}

/* An array of objects, in the order of their ids. */
static void
add_subscriptions(Builder *builder)
{
	static SvcStatement subscriptions = {
		"SELECT id, plan_id AS plan, status, billing_cycle, price, currency, quantity, on_trial,"
		"  trial_start, trial_end, current_period_start, current_period_end, next_billing_date,"
		"  cancel_at_period_end, cancelled_at, started_at, ended_at, scheduled_plan_id AS scheduled_plan,"
		"  service_id"
		" FROM @extschema@.svc_subscription WHERE customer_id = $1 ORDER BY id",
		1, {TEXTOID}
	};
	uint64		rows = read_of_customer(builder, &subscriptions);
	SPITupleTable *found = SPI_tuptable;

	add_key(builder, SVC_DOCUMENT_SUBSCRIPTIONS, strlen(SVC_DOCUMENT_SUBSCRIPTIONS));
	(void) pushJsonbValue(&builder->state, WJB_BEGIN_ARRAY, NULL);
	for (uint64 row = 0; row < rows; row++)
	{
		begin_object(builder, NULL);
		for (int i = 0; i < found->tupdesc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(found->tupdesc, i);
			bool		isnull;
			Datum		value = SPI_getbinval(found->vals[row], found->tupdesc, i + 1, &isnull);

			if (isnull)
				continue;
			add_key(builder, NameStr(att->attname), strlen(NameStr(att->attname)));
			add_value(builder, att->atttypid, value);
		}
		(void) end_object(builder);
	}
	(void) pushJsonbValue(&builder->state, WJB_END_ARRAY, NULL);
}

/* Of each code with live grants, as svc_entitlements() tells them. */
static void
add_entitlements(Builder *builder)
{
	static SvcStatement codes = {
		"SELECT DISTINCT code::text FROM @extschema@.svc_entitlement"
		" WHERE customer_id = $1 AND status IN ('active', 'exhausted')",
		1, {TEXTOID}
	};
	List	   *wanted = distinct_steps(wanted_steps(builder, SVC_DOCUMENT_ENTITLEMENTS, &codes));
	SvcInstant	instant = {.at = builder->at};
	SvcGate		gate;
	ListCell   *cell;

	svc_grant_gate(&gate, builder->customer_id, true);
	begin_object(builder, SVC_DOCUMENT_ENTITLEMENTS);
	foreach(cell, wanted)
	{
		Datum		code = CStringGetTextDatum(lfirst(cell));
		SvcGrantSet set;

		svc_grant_find(&set, builder->customer_id, code, instant, SVC_GRANT_READ);
		if (gate.changes_at <= instant.at)
			svc_subscription_look(&set, builder->customer_id, code, instant.at, false);
		if (set.live > 0)
			add_entitlement(builder, lfirst(cell), &set);
	}
	(void) end_object(builder);
}

static void
add_entitlement(Builder *builder, const char *code, const SvcGrantSet *set)
{
	SvcGrantTotal total = svc_grant_total(set);

	begin_object(builder, code);
	add_key(builder, "metered", 7);
	add_boolean(builder, set->metered);
	if (set->metered)
	{
		add_key(builder, "unlimited", 9);
		add_boolean(builder, set->unlimited);
		add_key(builder, "used", 4);
		add_number(builder, total.balance.used);
	}
	if (set->metered && !set->unlimited)
	{
		add_key(builder, "limit", 5);
		add_number(builder, svc_balance_allowance(&total.balance));
		add_key(builder, "remaining", 9);
		add_number(builder, svc_amount_greatest(set->available, svc_amount_zero()));
		add_key(builder, "percent", 7);
		add_number(builder, total.percent);
	}
	for (int i = 0; i < set->live; i++)
	{
		if (!set->grants[i].has_value)
			continue;
		add_key(builder, "value", 5);
		add_jsonb(builder, NULL, set->grants[i].value);
		break;
	}
	(void) end_object(builder);
}

/*
 * The members of a member that are wanted: those that are named, or else, or
 * besides, those that a statement knows of.
 */
static List *
wanted_steps(Builder *builder, const char *member, SvcStatement *others)
{
	const SvcDocumentWants *wants = builder->wants;
	List	   *steps = NIL;

	for (int i = 0; i < wants->count; i++)
	{
		const SvcDocumentPath *path = &wants->paths[i];

		if (path->count >= 2 && strcmp(path->steps[0], member) == 0)
			steps = lappend(steps, pstrdup(path->steps[1]));
	}
	if (wants_all_of(builder->wants, member))
	{
		uint64		rows = read_of_customer(builder, others);

		for (uint64 row = 0; row < rows; row++)
			steps = lappend(steps, svc_statement_text(row, 1));
	}
	return steps;
}

/* Each once: of equal keys, jsonb would keep one, but we would read for each. */
static List *
distinct_steps(List *steps)
{
	list_sort(steps, compare_steps);
	for (int i = list_length(steps) - 1; i > 0; i--)
	{
		if (strcmp(list_nth(steps, i), list_nth(steps, i - 1)) == 0)
			steps = list_delete_nth_cell(steps, i);
	}
	return steps;
}

static int
compare_steps(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* What the customer has used, in windows up to the present (usage_read.c). */
static void
add_usage(Builder *builder)
{
	/* also those that it has not used, but a segment asks about */
	static SvcStatement resources = {
		"SELECT DISTINCT substring(p FROM '^usage[.]([^.\\\\]+)[.]')"
		"  FROM @extschema@.svc_customer_segment s,"
		"   unnest(@extschema@.svc_criteria_paths(s.criteria::@extschema@.svc_criteria)) p"
		"  WHERE s.status <> 'archived' AND s.criteria IS NOT NULL AND p ~ '^usage[.][^.\\\\]+[.]'"
		"   AND $1 <> ''",
		1, {TEXTOID}
	};
	List	   *wanted = wanted_steps(builder, SVC_DOCUMENT_USAGE, &resources);
	SvcUsageReader reader;
	ListCell   *cell;

	svc_usage_read_begin(&reader, builder->customer_id);
	if (wants_all_of(builder->wants, SVC_DOCUMENT_USAGE))
		wanted = list_concat(wanted, svc_usage_read_resources(&reader));
	wanted = distinct_steps(wanted);

	begin_object(builder, SVC_DOCUMENT_USAGE);
	foreach(cell, wanted)
	{
		const char *resource = lfirst(cell);

		begin_object(builder, resource);
		for (int i = 0; i < SVC_USAGE_WINDOWS; i++)
		{
			const char *window = svc_usage_window_names[i];

			if (!wants_step(builder->wants, SVC_DOCUMENT_USAGE, resource, window))
				continue;
			add_key(builder, window, strlen(window));
			add_number(builder, svc_usage_read_window(&reader, resource, i, builder->at));
		}
		(void) end_object(builder);
	}
	(void) end_object(builder);
}

/* Those that the customer is in, archived ones included. */
static void
add_segments(Builder *builder)
{
	static SvcStatement segments = {
		"SELECT segment_id::text FROM @extschema@.svc_segment_member WHERE customer_id = $1 ORDER BY segment_id",
		1, {TEXTOID}
	};
	uint64		rows = read_of_customer(builder, &segments);

	add_key(builder, SVC_CRITERIA_SEGMENTS, strlen(SVC_CRITERIA_SEGMENTS));
	(void) pushJsonbValue(&builder->state, WJB_BEGIN_ARRAY, NULL);
	for (uint64 row = 0; row < rows; row++)
	{
		JsonbValue	value = {.type = jbvString};

		value.val.string.val = svc_statement_text(row, 1);
		value.val.string.len = strlen(value.val.string.val);
		(void) pushJsonbValue(&builder->state, WJB_ELEM, &value);
	}
	(void) pushJsonbValue(&builder->state, WJB_END_ARRAY, NULL);
}

static uint64
read_of_customer(Builder *builder, SvcStatement *statement)
{
	return svc_statement_read(statement, &builder->customer_id, NULL);
}
