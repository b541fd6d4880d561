/*-------------------------------------------------------------------------
 *
 * segment_check.c
 *	  Are criteria such as a segment can have?
 *
 * The language lets a path lead anywhere, and says that what is not there is
 * missing.  The document of a customer is known (document.c): a column that it has
 * not is a slip of the pen, as is a string to be compared with a column of numbers,
 * which never matches.  Below attributes, everything is the application's.
 *
 * Segments that depend on each other, by $inSegment or as parent and child, must
 * not do so in a circle.
 *
 * Locks: the table of customers, ACCESS SHARE, to look at its columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "argument.h"
#include "catalog.h"
#include "compat.h"
#include "criteria_match.h"
#include "document.h"
#include "error.h"
#include "segment_check.h"
#include "statement.h"

/* A suggestion may differ from what was written in this many places. */
#define NEAREST_DISTANCE_MAX	3

/* What values can be found at a path. */
typedef enum Expected
{
	ANYTHING,
	TEXTS,
	INSTANTS,
	NUMBERS,
	BOOLEANS,
} Expected;

/* Members with a type. */
typedef struct Member
{
	const char *name;
	Expected	type;
} Member;

static const Member usage_windows[] = {
	{"current_period", NUMBERS}, {"last_7d", NUMBERS}, {"last_30d", NUMBERS}, {"last_90d", NUMBERS},
	{"lifetime", NUMBERS}, {NULL}
};

static const Member entitlement_figures[] = {
	{"metered", BOOLEANS}, {"unlimited", BOOLEANS}, {"used", NUMBERS}, {"limit", NUMBERS},
	{"remaining", NUMBERS}, {"percent", NUMBERS}, {"value", ANYTHING}, {NULL}
};

static const Member subscription_members[] = {
	{"id", TEXTS}, {"plan", TEXTS}, {"status", TEXTS}, {"billing_cycle", TEXTS}, {"price", NUMBERS},
	{"currency", TEXTS}, {"quantity", NUMBERS}, {"on_trial", BOOLEANS}, {"trial_start", INSTANTS},
	{"trial_end", INSTANTS}, {"current_period_start", INSTANTS}, {"current_period_end", INSTANTS},
	{"next_billing_date", INSTANTS}, {"cancel_at_period_end", BOOLEANS}, {"cancelled_at", INSTANTS},
	{"started_at", INSTANTS}, {"ended_at", INSTANTS}, {"scheduled_plan", TEXTS}, {"service_id", TEXTS}, {NULL}
};

/* The components of a path. */
typedef struct Steps
{
	int			count;
	char	   *steps[SVC_CRITERIA_PATH_MAX];
} Steps;

/* What is being checked. */
typedef struct Check
{
	const SvcCriteria *criteria;
	TupleDesc	columns;
	const char *path;			/* as it is written */
} Check;

static void check_node(Check *check, int i);
static void check_subscription(Check *check, int element);
static Steps split(const SvcCriteria *criteria, const SvcCriteriaNode *node);
static Expected check_path(Check *check, const Steps *steps);
static Expected check_column(Check *check, const Steps *steps);
static Expected expected_of(Oid type);
static bool is_number(const char *step);
static Expected check_member(Check *check, const Member *members, const Steps *steps, int at);
static char *list_names(const char *const *names, int count);
static void check_operands(Check *check, int i, Expected expected);
static bool fits(const SvcCriteriaNode *value, Expected expected);
static const char *nearest(const char *wrong, const char *const *names, int count);
static List *references_of(const char *parent, const SvcCriteria *criteria);
static List *read_references(const char *id);
pg_noreturn static void report_path(Check *check, const char *what, const char *hint);
pg_noreturn static void report_operand(Check *check, Expected expected);

/*
 * Raises SV022 for a path that no customer's document has, or for an operand that
 * can never match.
 */
void
svc_segment_check_criteria(const SvcCriteria *criteria)
{
	Relation	customers = svc_catalog_open("svc_customer", AccessShareLock);
	Check		check = {.criteria = criteria, .columns = RelationGetDescr(customers)};
	int			end = criteria->node_count;

	for (int i = 0; (i = svc_criteria_condition(criteria, i, end)) < end; i += criteria->nodes[i].size)
		check_node(&check, i);
	table_close(customers, NoLock);
}

/* A condition on the document. */
static void
check_node(Check *check, int i)
{
	const SvcCriteriaNode *node = &check->criteria->nodes[i];
	Steps		steps = split(check->criteria, node);

	check->path = svc_criteria_path_text(check->criteria, node->path);
	check_operands(check, i, check_path(check, &steps));
	if (node->op == SVC_CRITERIA_ELEMENT_DOCUMENT && strcmp(steps.steps[0], SVC_DOCUMENT_SUBSCRIPTIONS) == 0)
		check_subscription(check, i);
}

/* Conditions on one subscription. */
static void
check_subscription(Check *check, int element)
{
	const SvcCriteriaNode *nodes = check->criteria->nodes;
	int			end = element + nodes[element].size;

	for (int i = element + 1; (i = svc_criteria_condition(check->criteria, i, end)) < end; i += nodes[i].size)
	{
		Steps		steps = split(check->criteria, &nodes[i]);

		check->path = svc_criteria_path_text(check->criteria, nodes[i].path);
		check_operands(check, i, check_member(check, subscription_members, &steps, 0));
	}
}

static Steps
split(const SvcCriteria *criteria, const SvcCriteriaNode *node)
{
	const SvcCriteriaPath *path = &svc_criteria_paths_of(criteria)[node->path];
	const char *component = svc_criteria_data(criteria) + path->data;
	Steps		steps = {.count = path->count};

	for (int i = 0; i < path->count; i++)
	{
		int			length = svc_criteria_component(&component);

		steps.steps[i] = pnstrdup(component, length);
		component += length;
	}
	return steps;
}

static Expected
check_path(Check *check, const Steps *steps)
{
	const char *first = steps->steps[0];

	if (strcmp(first, SVC_CRITERIA_SEGMENTS) == 0)
		report_path(check, "which segments a customer is in is no matter of paths",
					"Use \"$inSegment\" or \"$notInSegment\".");
	if (strcmp(first, SVC_DOCUMENT_USAGE) == 0)
	{
		if (steps->count != 3)
			report_path(check, "usage is that of a resource in a window",
						"Write \"usage.<resource>.<window>\", such as \"usage.api_calls.last_30d\".");
		return check_member(check, usage_windows, steps, 2);
	}
	if (strcmp(first, SVC_DOCUMENT_ENTITLEMENTS) == 0)
		return steps->count < 3 ? ANYTHING : check_member(check, entitlement_figures, steps, 2);
	if (strcmp(first, SVC_DOCUMENT_SUBSCRIPTIONS) == 0)
	{
		int			member = steps->count > 1 && is_number(steps->steps[1]) ? 2 : 1;

		return member >= steps->count ? ANYTHING : check_member(check, subscription_members, steps, member);
	}
	return check_column(check, steps);
}

static Expected
check_column(Check *check, const Steps *steps)
{
	const char *names[MaxHeapAttributeNumber];
	const char *meant;
	int			count = 0;

	for (int i = 0; i < check->columns->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(check->columns, i);

		if (!svc_document_has_column(att))
			continue;
		names[count++] = NameStr(att->attname);
		if (strcmp(NameStr(att->attname), steps->steps[0]) != 0)
			continue;
		if (steps->count > 1 && expected_of(svc_document_column_type(att)) != ANYTHING)
			report_path(check, psprintf("column \"%s\" has no members", steps->steps[0]),
						"Members are those of jsonb columns, such as \"attributes.plan\".");
		return expected_of(svc_document_column_type(att));
	}
	meant = nearest(steps->steps[0], names, count);
	report_path(check, psprintf("customers have no column \"%s\"", steps->steps[0]),
				meant != NULL ? meant : "What belongs to your application is in \"attributes\".");
}

static Expected
expected_of(Oid type)
{
	if (type == TEXTOID || type == VARCHAROID)
		return TEXTS;
	if (type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID ||
		type == FLOAT4OID || type == FLOAT8OID)
		return NUMBERS;
	if (type == BOOLOID)
		return BOOLEANS;
	return type == TIMESTAMPTZOID ? INSTANTS : ANYTHING;
}

static bool
is_number(const char *step)
{
	return step[0] != '\0' && strspn(step, "0123456789") == strlen(step);
}

/* The step of a path that is to be one of these, the last one unless it can have members. */
static Expected
check_member(Check *check, const Member *members, const Steps *steps, int at)
{
	const char *names[lengthof(subscription_members)];
	const char *step = steps->steps[at];
	const char *meant;
	int			count = 0;

	for (; members[count].name != NULL; count++)
	{
		names[count] = members[count].name;
		if (strcmp(step, names[count]) != 0)
			continue;
		if (steps->count > at + 1 && members[count].type != ANYTHING)
			report_path(check, psprintf("\"%s\" has no members", step), psprintf("Leave out what follows \"%s\".", step));
		return members[count].type;
	}
	meant = nearest(step, names, count);
	report_path(check, psprintf("there is no \"%s\"", step), meant != NULL ? meant : list_names(names, count));
}

static char *
list_names(const char *const *names, int count)
{
	StringInfoData list;

	initStringInfo(&list);
	appendStringInfoString(&list, "There are");
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s \"%s\"", i == 0 ? "" : i == count - 1 ? " and" : ",", names[i]);
	appendStringInfoChar(&list, '.');
	return list.data;
}

/* Can the condition ever hold? */
static void
check_operands(Check *check, int i, Expected expected)
{
	const SvcCriteriaNode *nodes = check->criteria->nodes;

	switch ((SvcCriteriaOp) nodes[i].op)
	{
		case SVC_CRITERIA_IN:
		case SVC_CRITERIA_GT:
		case SVC_CRITERIA_GTE:
		case SVC_CRITERIA_LT:
		case SVC_CRITERIA_LTE:
			for (int value = i + 1; value < i + nodes[i].size; value++)
			{
				if (!fits(&nodes[value], expected))
					report_operand(check, expected);
			}
			break;
		case SVC_CRITERIA_ELEMENT:
		case SVC_CRITERIA_ELEMENT_DOCUMENT:
		case SVC_CRITERIA_SIZE:
			if (expected != ANYTHING)
				report_operand(check, expected);
			break;
		case SVC_CRITERIA_REGEX:
		case SVC_CRITERIA_STARTS_WITH:
		case SVC_CRITERIA_ENDS_WITH:
		case SVC_CRITERIA_CONTAINS:
		case SVC_CRITERIA_VERSION_EQ:
		case SVC_CRITERIA_VERSION_GT:
		case SVC_CRITERIA_VERSION_GTE:
		case SVC_CRITERIA_VERSION_LT:
		case SVC_CRITERIA_VERSION_LTE:
			if (expected != ANYTHING && expected != TEXTS && expected != INSTANTS)
				report_operand(check, expected);
			break;
		case SVC_CRITERIA_MOD:
			if (expected != ANYTHING && expected != NUMBERS)
				report_operand(check, expected);
			break;
		case SVC_CRITERIA_WITHIN_LAST:
		case SVC_CRITERIA_WITHIN_NEXT:
			if (expected == NUMBERS || expected == BOOLEANS)
				report_operand(check, expected);
			break;
		case SVC_CRITERIA_EXISTS:
		case SVC_CRITERIA_NOT_EMPTY:
		case SVC_CRITERIA_TYPE:
		case SVC_CRITERIA_AND:
		case SVC_CRITERIA_OR:
		case SVC_CRITERIA_IN_SEGMENT:
		case SVC_CRITERIA_NULL:
		case SVC_CRITERIA_FALSE:
		case SVC_CRITERIA_TRUE:
		case SVC_CRITERIA_NUMBER:
		case SVC_CRITERIA_STRING:
		case SVC_CRITERIA_INSTANT:
		case SVC_CRITERIA_DATE_MATH:
		case SVC_CRITERIA_JSON:
			break;
	}
}

/* (a text may be written like a time, and a time is a text in the document) */
static bool
fits(const SvcCriteriaNode *value, Expected expected)
{
	if (expected == ANYTHING || value->op == SVC_CRITERIA_NULL)
		return true;
	if (expected == NUMBERS)
		return value->op == SVC_CRITERIA_NUMBER;
	if (expected == BOOLEANS)
		return value->op == SVC_CRITERIA_TRUE || value->op == SVC_CRITERIA_FALSE;
	return value->op == SVC_CRITERIA_STRING || value->op == SVC_CRITERIA_INSTANT ||
		value->op == SVC_CRITERIA_DATE_MATH;
}

/* Which name was probably meant, as a hint; NULL, if none is like it. */
static const char *
nearest(const char *wrong, const char *const *names, int count)
{
	/* half of it may be wrong */
	const char *meant = svc_nearest(wrong, names, count, Min(NEAREST_DISTANCE_MAX, strlen(wrong) / 2));

	return meant != NULL ? psprintf("Perhaps you meant \"%s\".", meant) : NULL;
}

/*
 * Criteria as they are stored; NULL, and why, if they are none: a row that was
 * restored may have them.
 */
SvcCriteria *
svc_segment_try_criteria(Jsonb *document, ErrorData **error)
{
	MemoryContext memory = CurrentMemoryContext;
	SvcCriteria *volatile criteria = NULL;

	/* without a subtransaction: all that the parser has when it fails is memory */
	PG_TRY();
	{
		criteria = svc_criteria_read(document);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(memory);
		*error = CopyErrorData();
		if ((*error)->sqlerrcode != ERRCODE_SVC_INVALID_CRITERIA)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return criteria;
}

/* ---- segments that depend on others ---- */

/*
 * Raises SV022 when a segment that is named does not exist, or when the segment
 * would depend on itself.
 */
void
svc_segment_check_references(const char *id, const char *parent, const SvcCriteria *criteria)
{
	List	   *pending = references_of(parent, criteria);
	List	   *seen = NIL;

	while (pending != NIL)
	{
		char	   *next = linitial(pending);
		bool		known = false;
		ListCell   *cell;

		pending = list_delete_first(pending);
		if (strcmp(next, id) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_SVC_INVALID_CRITERIA),
					 errmsg("segment \"%s\" would depend on itself", id),
					 errdetail("A segment depends on its parent, and on those that \"$inSegment\" and \"$notInSegment\" name."),
					 errhint("Leave one of these out.")));
		foreach(cell, seen)
			known |= strcmp(lfirst(cell), next) == 0;
		if (known)
			continue;
		seen = lappend(seen, next);
		pending = list_concat(pending, read_references(next));
	}
}

static List *
references_of(const char *parent, const SvcCriteria *criteria)
{
	List	   *references = parent == NULL ? NIL : list_make1(pstrdup(parent));

	if (criteria == NULL || !(criteria->flags & SVC_CRITERIA_USES_SEGMENTS))
		return references;
	for (int i = 0; i < criteria->node_count; i++)
	{
		const SvcCriteriaNode *node = &criteria->nodes[i];

		for (int value = i + 1; node->op == SVC_CRITERIA_IN_SEGMENT && value < i + node->size; value++)
			references = lappend(references, pnstrdup(svc_criteria_data(criteria) + criteria->nodes[value].data,
													  criteria->nodes[value].length));
	}
	return references;
}

static List *
read_references(const char *id)
{
	static SvcStatement statement = {
		"SELECT parent_segment_id::text, criteria::jsonb FROM @extschema@.svc_customer_segment WHERE id = $1",
		1, {TEXTOID}
	};
	Datum		key = CStringGetTextDatum(id);
	bool		isnull;
	bool		no_criteria;
	Datum		parent;
	Datum		criteria;

	if (svc_statement_read_latest(&statement, &key) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_INVALID_CRITERIA),
				 errmsg("segment \"%s\" does not exist", id),
				 errdetail("It was to be depended on."),
				 errhint("Create it first.")));
	parent = svc_statement_value(0, 1, &isnull);
	criteria = svc_statement_value(0, 2, &no_criteria);
	return references_of(isnull ? NULL : TextDatumGetCString(parent),
						 no_criteria ? NULL : svc_criteria_read(DatumGetJsonbP(criteria)));
}

/* ---- reports ---- */

static void
report_path(Check *check, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_INVALID_CRITERIA),
			 errmsg("invalid segment criteria: %s", what),
			 errdetail("at path %s", check->path),
			 errhint("%s", hint)));
}

static void
report_operand(Check *check, Expected expected)
{
	static const char *const types[] = {
		[ANYTHING] = "anything", [TEXTS] = "a string", [INSTANTS] = "a time", [NUMBERS] = "a number",
		[BOOLEANS] = "a boolean",
	};

	ereport(ERROR,
			(errcode(ERRCODE_SVC_INVALID_CRITERIA),
			 errmsg("invalid segment criteria: the condition can never hold"),
			 errdetail("at path %s: it is %s", check->path, types[expected]),
			 errhint("Values of different types never match; 8 is not \"8\".")));
}
