/*-------------------------------------------------------------------------
 *
 * criteria_match.c
 *	  Does a document match segment criteria?
 *
 * Criteria are *prepared* once for as long as they are asked about, which for a
 * query is once: numbers become numeric, arrays and objects jsonb, strings that are
 * to be compared without case lower case.  What depends on time is computed again
 * when time has moved on.
 *
 * Then each condition walks down its path in the document, which yields a set of
 * values, as MongoDB has it: a member of an object; of an array the element with
 * that number, and the member of each element that is an object.  The condition
 * holds if one value satisfies it; a value that is an array, and that no number has
 * led to, also by one of its elements.  What is not there counts as one value more,
 * missing, which equals null.
 *
 * Nothing is allocated on the way, unless a pattern, a version, or a comparison
 * without case needs it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "clock.h"
#include "criteria.h"
#include "criteria_match.h"
#include "criteria_version.h"

/* In an object with more keys the server's search is faster. */
#define KEYS_SEARCHED_MAX	64

/* So much of a document is sent for at once. */
#define FETCHED_EARLY_MAX	2048
#define FETCH_STEP			64	/* bytes: a cache line, or half of one */

/* What a node needs besides what is stored. */
typedef struct Operand
{
	JsonbValue	value;			/* of a value */
	text	   *pattern;
	int64		instant;		/* of a value that is a time, or the bound of a duration */
} Operand;

/* Criteria, ready to be asked about. */
typedef struct SvcPreparedCriteria
{
	SvcCriteria *criteria;
	Operand    *operands;		/* as many as nodes */
	int64		now;			/* for which instants are computed */
} Prepared;

/* Those of the last call; kept with the function's FmgrInfo. */
typedef struct LastCall
{
	MemoryContext memory;		/* of all of it */
	Prepared   *prepared;
} LastCall;

/* One question. */
typedef struct Question
{
	const Prepared *prepared;
	int			condition;		/* the node that is looked at */

	/* or it is only asked which values it looks at, which are shown to this */
	SvcCriteriaVisit visit;
	void	   *visit_state;
} Question;

/* What is looked for: when the answer may change. */
typedef struct Change
{
	const Prepared *prepared;
	int			condition;
	int64		at;				/* the earliest that was found */
} Change;

static Prepared *prepare_call(FunctionCallInfo fcinfo, Datum criteria, int64 now);
static void prepare_operand(Prepared *prepared, int i);
static void fetch_early(const Jsonb *document);
static JsonbValue root_of(const Jsonb *document);
static bool matches(const Prepared *prepared, const Jsonb *document);
static bool is_true(const Prepared *prepared, int i, const JsonbValue *document);
static bool ask(const Question *question, const JsonbValue *document);
static void find_changes(Change *change, int i, const JsonbValue *document);
static void find_changes_of_elements(const JsonbValue *value, void *state);
static void note_change(const JsonbValue *value, void *state);
static bool depends_on_time(const Prepared *prepared, int i);
static int64 next_crossing(const Prepared *prepared, int i, int64 instant);
static bool all_true(const Prepared *prepared, int i, const JsonbValue *document);
static bool any_true(const Prepared *prepared, int i, const JsonbValue *document);
static bool is_in_segment(const Prepared *prepared, int i, const JsonbValue *document);
static bool walk(const Question *question, const JsonbValue *value, const char *component, int left, bool by_number);
static bool walk_array(const Question *question, const JsonbValue *array, const char *component, int left);
static bool reached(const Question *question, const JsonbValue *value, bool by_number);
static bool satisfies(const Question *question, const JsonbValue *value);
static bool equals_one(const Question *question, const JsonbValue *value);
static bool equals(const Prepared *prepared, int literal, const JsonbValue *value, bool folded);
static bool is_ordered(const Question *question, const JsonbValue *value);
static bool holds(SvcCriteriaOp op, int order);
static bool has_element(const Question *question, const JsonbValue *value);
static bool has_size(const Question *question, const JsonbValue *value);
static bool is_not_empty(const JsonbValue *value);
static bool has_type(const SvcCriteriaNode *node, const JsonbValue *value);
static bool has_pattern(const Question *question, const JsonbValue *value);
static bool has_text(const Question *question, const JsonbValue *value);
static bool has_remainder(const Question *question, const JsonbValue *value);
static bool has_version(const Question *question, const JsonbValue *value);
static bool is_within(const Question *question, const JsonbValue *value);
static int	compare_bytes(const char *a, int a_length, const char *b, int b_length);
static bool is_array(const JsonbValue *value);
static bool is_object(const JsonbValue *value);
static bool find_member(JsonbContainer *object, const char *key, int length, JsonbValue *member);
static void value_at(JsonbContainer *container, int index, uint32 offset, JsonbValue *element);
static bool element_number(const char *component, int length, int *number);

PG_FUNCTION_INFO_V1(svc_matches);
PG_FUNCTION_INFO_V1(svc_criteria_match);
PG_FUNCTION_INFO_V1(svc_next_change);

/*
 * svc_matches(doc jsonb, criteria svc_criteria, at timestamptz) -> boolean
 *
 * STRICT but for "at", of which null is the present: so it is not declared so.
 */
Datum
svc_matches(PG_FUNCTION_ARGS)
{
	Jsonb	   *document;
	Prepared   *prepared;
	bool		result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	document = PG_GETARG_JSONB_P(0);
	prepared = prepare_call(fcinfo, PG_GETARG_DATUM(1),
							PG_ARGISNULL(2) ? svc_clock_now() : PG_GETARG_TIMESTAMPTZ(2));
	result = matches(prepared, document);
	PG_FREE_IF_COPY(document, 0);
	PG_RETURN_BOOL(result);
}

/*
 * doc @~ criteria: at the present.
 */
Datum
svc_criteria_match(PG_FUNCTION_ARGS)
{
	Jsonb	   *document = PG_GETARG_JSONB_P(0);
	bool		result = matches(prepare_call(fcinfo, PG_GETARG_DATUM(1), svc_clock_now()), document);

	PG_FREE_IF_COPY(document, 0);
	PG_RETURN_BOOL(result);
}

/*
 * svc_next_change(doc jsonb, criteria svc_criteria, at timestamptz) -> timestamptz
 *
 * The next instant at which time alone may change whether the document matches;
 * NULL, if it never will.  It may come too early, in the days at the end of a month,
 * but never too late.
 */
Datum
svc_next_change(PG_FUNCTION_ARGS)
{
	Prepared   *prepared;
	int64		next;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	prepared = prepare_call(fcinfo, PG_GETARG_DATUM(1),
							PG_ARGISNULL(2) ? svc_clock_now() : PG_GETARG_TIMESTAMPTZ(2));
	next = svc_criteria_next_change(prepared, PG_GETARG_JSONB_P(0));
	if (next == DT_NOEND)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}

/* ---- preparing ---- */

/* The criteria that a call is about, ready for that instant. */
static Prepared *
prepare_call(FunctionCallInfo fcinfo, Datum datum, int64 now)
{
	LastCall   *last = fcinfo->flinfo->fn_extra;
	struct varlena *stored = PG_DETOAST_DATUM_PACKED(datum);
	const SvcCriteria *criteria = (SvcCriteria *) stored;
	MemoryContext old;

	if (last != NULL && !VARATT_IS_SHORT(stored) && VARSIZE(last->prepared->criteria) == VARSIZE(stored) &&
		memcmp(last->prepared->criteria, stored, VARSIZE(stored)) == 0)
	{
		svc_criteria_set_now(last->prepared, now);
		return last->prepared;
	}
	criteria = svc_criteria_present((SvcCriteria *) PG_DETOAST_DATUM(datum));
	if (last != NULL)
	{
		fcinfo->flinfo->fn_extra = NULL;
		MemoryContextDelete(last->memory);
	}
	old = MemoryContextSwitchTo(AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "svc criteria", ALLOCSET_SMALL_SIZES));
	last = palloc(sizeof(LastCall));
	last->memory = CurrentMemoryContext;
	last->prepared = svc_criteria_prepare(criteria, now);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = last;
	return last->prepared;
}

/* Make criteria ready for that instant, in the memory that is current. */
Prepared *
svc_criteria_prepare(const SvcCriteria *criteria, int64 now)
{
	Prepared   *prepared = palloc0(sizeof(Prepared));

	prepared->criteria = palloc(VARSIZE(criteria));
	memcpy(prepared->criteria, criteria, VARSIZE(criteria));
	prepared->operands = palloc0(criteria->node_count * sizeof(Operand));
	prepared->now = now - 1;
	for (int i = 0; i < criteria->node_count; i++)
		prepare_operand(prepared, i);
	svc_criteria_set_now(prepared, now);
	return prepared;
}

/* The criteria, as they are prepared. */
const SvcCriteria *
svc_criteria_of(const Prepared *prepared)
{
	return prepared->criteria;
}

static void
prepare_operand(Prepared *prepared, int i)
{
	const SvcCriteriaNode *node = &prepared->criteria->nodes[i];
	char	   *bytes = unconstify(char *, svc_criteria_data(prepared->criteria) + node->data);
	Operand    *operand = &prepared->operands[i];
	JsonbValue *value = &operand->value;

	if (node->op == SVC_CRITERIA_NULL)
		value->type = jbvNull;
	else if (node->op == SVC_CRITERIA_FALSE || node->op == SVC_CRITERIA_TRUE)
	{
		value->type = jbvBool;
		value->val.boolean = node->op == SVC_CRITERIA_TRUE;
	}
	else if (node->op == SVC_CRITERIA_NUMBER)
	{
		value->type = jbvNumeric;
		value->val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(bytes, node->length)),
																 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	else if (node->op == SVC_CRITERIA_STRING || node->op == SVC_CRITERIA_CONTAINS)
	{
		value->type = jbvString;
		value->val.string.val = bytes;
		value->val.string.len = node->length;
		if (node->flags & SVC_CRITERIA_FOLDED)
		{
			value->val.string.val = str_tolower(bytes, node->length, DEFAULT_COLLATION_OID);
			value->val.string.len = strlen(value->val.string.val);
		}
	}
	else if (node->op == SVC_CRITERIA_INSTANT || node->op == SVC_CRITERIA_DATE_MATH)
	{
		value->type = jbvDatetime;
		if (node->op == SVC_CRITERIA_INSTANT)
			memcpy(&operand->instant, bytes, sizeof(int64));
	}
	else if (node->op == SVC_CRITERIA_JSON)
	{
		Jsonb	   *jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(bytes, node->length))));

		value->type = jbvBinary;
		value->val.binary.data = &jsonb->root;
		value->val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	}
	else if (node->op >= SVC_CRITERIA_VERSION_EQ && node->op <= SVC_CRITERIA_VERSION_LTE)
	{
		StringInfoData padded;

		initStringInfo(&padded);
		svc_criteria_pad_version(bytes, node->length, &padded);
		value->type = jbvString;
		value->val.string.val = padded.data;
		value->val.string.len = padded.len;
	}
	else if (node->op == SVC_CRITERIA_REGEX)
		operand->pattern = cstring_to_text_with_len(bytes, node->length);
}

/* Compute what is relative to the present, which this is from now on. */
void
svc_criteria_set_now(Prepared *prepared, int64 now)
{
	if (prepared->now == now)
		return;
	prepared->now = now;
	if (!(prepared->criteria->flags & SVC_CRITERIA_TIME_DEPENDENT))
		return;
	for (int i = 0; i < prepared->criteria->node_count; i++)
	{
		const SvcCriteriaNode *node = &prepared->criteria->nodes[i];
		int64	   *instant = &prepared->operands[i].instant;

		if (node->op != SVC_CRITERIA_DATE_MATH && node->op != SVC_CRITERIA_WITHIN_LAST &&
			node->op != SVC_CRITERIA_WITHIN_NEXT)
			continue;
		*instant = svc_criteria_date_math(svc_criteria_data(prepared->criteria) + node->data, node->length, now);
	}
}

/* ---- junctions ---- */

static bool
matches(const Prepared *prepared, const Jsonb *document)
{
	JsonbValue	root = root_of(document);

	fetch_early(document);
	return is_true(prepared, 0, &root);
}

/*
 * A row's document is rarely in the processor's cache, and to wait for one line of
 * it after the other takes longer than the criteria: so they are all sent for.
 */
static void
fetch_early(const Jsonb *document)
{
#ifdef __GNUC__
	Size		size = Min(VARSIZE(document), FETCHED_EARLY_MAX);

	for (Size offset = 0; offset < size; offset += FETCH_STEP)
		__builtin_prefetch((const char *) document + offset);
#endif
}

static JsonbValue
root_of(const Jsonb *document)
{
	JsonbValue	root = {.type = jbvBinary};

	root.val.binary.data = unconstify(JsonbContainer *, &document->root);
	root.val.binary.len = VARSIZE(document) - VARHDRSZ;
	/* a scalar has no members */
	if (JB_ROOT_IS_SCALAR(document))
		root.type = jbvNull;
	return root;
}

/* Does one condition hold of a document, were it not negated? */
bool
svc_criteria_condition_holds(const Prepared *prepared, int i, const Jsonb *document)
{
	JsonbValue	root = root_of(document);

	return is_true(prepared, i, &root) != ((prepared->criteria->nodes[i].flags & SVC_CRITERIA_NEGATED) != 0);
}

/* Show the values of a document that a condition looks at, NULL for what is missing. */
void
svc_criteria_visit_values(const Prepared *prepared, int i, const Jsonb *document, SvcCriteriaVisit visit, void *state)
{
	JsonbValue	root = root_of(document);
	Question	question = {prepared, i, visit, state};

	(void) ask(&question, &root);
}

/* The next instant at which time alone may change the answer; DT_NOEND: never. */
int64
svc_criteria_next_change(const Prepared *prepared, const Jsonb *document)
{
	JsonbValue	root = root_of(document);
	Change		change = {.prepared = prepared, .at = DT_NOEND};

	if (prepared->criteria->flags & SVC_CRITERIA_TIME_DEPENDENT)
		find_changes(&change, 0, &root);
	return change.at;
}

/* Is a node true of a document, or, if it has no path, of a value? */
static bool
is_true(const Prepared *prepared, int i, const JsonbValue *document)
{
	const SvcCriteriaNode *node = &prepared->criteria->nodes[i];
	Question	question = {prepared, i};
	bool		result;

	if (node->op == SVC_CRITERIA_AND)
		result = all_true(prepared, i, document);
	else if (node->op == SVC_CRITERIA_OR)
		result = any_true(prepared, i, document);
	else if (node->op == SVC_CRITERIA_IN_SEGMENT)
		result = is_in_segment(prepared, i, document);
	else
		result = ask(&question, document);
	return result != ((node->flags & SVC_CRITERIA_NEGATED) != 0);
}

/* A condition: of the values of its path, or, if it has none, of this one. */
static bool
ask(const Question *question, const JsonbValue *document)
{
	const SvcCriteria *criteria = question->prepared->criteria;
	const SvcCriteriaNode *node = &criteria->nodes[question->condition];
	const SvcCriteriaPath *path = &svc_criteria_paths_of(criteria)[node->path];

	if (node->path == SVC_CRITERIA_NO_PATH)
		return satisfies(question, document);
	return walk(question, document, svc_criteria_data(criteria) + path->data, path->count, false);
}

static bool
all_true(const Prepared *prepared, int i, const JsonbValue *document)
{
	const SvcCriteriaNode *nodes = prepared->criteria->nodes;

	check_stack_depth();
	for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
	{
		if (!is_true(prepared, child, document))
			return false;
	}
	return true;
}

static bool
any_true(const Prepared *prepared, int i, const JsonbValue *document)
{
	const SvcCriteriaNode *nodes = prepared->criteria->nodes;

	check_stack_depth();
	for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
	{
		if (is_true(prepared, child, document))
			return true;
	}
	return false;
}

/* (of the whole document: criteria for elements have no such condition) */
static bool
is_in_segment(const Prepared *prepared, int i, const JsonbValue *document)
{
	Question	question = {prepared, i};
	JsonbValue	segments;

	if (!is_object(document) || !find_member(document->val.binary.data, SVC_CRITERIA_SEGMENTS, strlen(SVC_CRITERIA_SEGMENTS), &segments))
		return false;
	return reached(&question, &segments, false);
}

/* ---- when time changes the answer ---- */

/*
 * All conditions that depend on time count, whatever the others say: the answer
 * can only change when one of theirs does.
 */
static void
find_changes(Change *change, int i, const JsonbValue *document)
{
	const SvcCriteriaNode *nodes = change->prepared->criteria->nodes;
	Change		inner = {change->prepared, i, DT_NOEND};
	Question	question = {change->prepared, i, NULL, &inner};

	check_stack_depth();
	if (nodes[i].op == SVC_CRITERIA_AND || nodes[i].op == SVC_CRITERIA_OR)
	{
		for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
			find_changes(change, child, document);
		return;
	}
	if (nodes[i].op == SVC_CRITERIA_ELEMENT || nodes[i].op == SVC_CRITERIA_ELEMENT_DOCUMENT)
		question.visit = find_changes_of_elements;
	else if (depends_on_time(change->prepared, i))
		question.visit = note_change;
	else
		return;
	(void) ask(&question, document);
	change->at = Min(change->at, inner.at);
}

/* (of a path that leads to an array with elements that have conditions) */
static void
find_changes_of_elements(const JsonbValue *value, void *state)
{
	Change	   *change = state;
	const SvcCriteriaNode *nodes = change->prepared->criteria->nodes;
	int			i = change->condition;
	uint32		offset = 0;

	if (value == NULL || !is_array(value))
		return;
	for (int n = 0; n < JsonContainerSize(value->val.binary.data); n++)
	{
		JsonbValue	element;

		value_at(value->val.binary.data, n, offset, &element);
		JBE_ADVANCE_OFFSET(offset, value->val.binary.data->children[n]);
		for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
			find_changes(change, child, &element);
	}
}

/* Only an instant is ever passed. */
static void
note_change(const JsonbValue *value, void *state)
{
	Change	   *change = state;
	const SvcCriteriaNode *nodes = change->prepared->criteria->nodes;
	int			i = change->condition;
	int64		instant;

	if (value == NULL || value->type != jbvString ||
		!svc_criteria_read_instant(value->val.string.val, value->val.string.len, &instant))
		return;
	if (nodes[i].op == SVC_CRITERIA_WITHIN_LAST || nodes[i].op == SVC_CRITERIA_WITHIN_NEXT)
	{
		/* it is passed by the present, too */
		if (instant >= change->prepared->now)
			change->at = Min(change->at, instant + (instant == change->prepared->now));
		change->at = Min(change->at, next_crossing(change->prepared, i, instant));
		return;
	}
	for (int operand = i + 1; operand < i + nodes[i].size; operand++)
	{
		if (nodes[operand].op == SVC_CRITERIA_DATE_MATH)
			change->at = Min(change->at, next_crossing(change->prepared, operand, instant));
	}
}

static bool
depends_on_time(const Prepared *prepared, int i)
{
	const SvcCriteriaNode *nodes = prepared->criteria->nodes;

	if (nodes[i].op == SVC_CRITERIA_WITHIN_LAST || nodes[i].op == SVC_CRITERIA_WITHIN_NEXT)
		return true;
	for (int operand = i + 1; operand < i + nodes[i].size; operand++)
	{
		if (nodes[operand].op == SVC_CRITERIA_DATE_MATH)
			return true;
	}
	return false;
}

static int64
next_crossing(const Prepared *prepared, int i, int64 instant)
{
	const SvcCriteriaNode *node = &prepared->criteria->nodes[i];

	return svc_criteria_next_crossing(svc_criteria_data(prepared->criteria) + node->data, node->length,
									  prepared->now, instant);
}

/* ---- walking ---- */

/*
 * Walk down a path from a value, NULL if it is missing; "left" components are left.
 * True as soon as one of the values that the path leads to satisfies the condition.
 */
static bool
walk(const Question *question, const JsonbValue *value, const char *component, int left, bool by_number)
{
	JsonbValue	member;
	int			length;

	if (left == 0)
		return reached(question, value, by_number);
	if (value != NULL && is_array(value))
		return walk_array(question, value, component, left);
	length = svc_criteria_component(&component);
	if (value == NULL || !is_object(value) ||
		!find_member(value->val.binary.data, component, length, &member))
		return reached(question, NULL, false);
	return walk(question, &member, component + length, left - 1, false);
}

static bool
walk_array(const Question *question, const JsonbValue *array, const char *component, int left)
{
	JsonbContainer *container = array->val.binary.data;
	int			count = JsonContainerSize(container);
	const char *name = component;
	int			length = svc_criteria_component(&name);
	uint32		offset = 0;
	JsonbValue	element;
	int			number;

	CHECK_FOR_INTERRUPTS();
	if (element_number(name, length, &number) && number < count)
	{
		value_at(container, number, getJsonbOffset(container, number), &element);
		if (walk(question, &element, name + length, left - 1, true))
			return true;
	}
	for (int i = 0; i < count; i++)
	{
		value_at(container, i, offset, &element);
		JBE_ADVANCE_OFFSET(offset, container->children[i]);
		if (is_object(&element) && walk(question, &element, component, left, false))
			return true;
	}
	return false;
}

/* A value at the end of a path. */
static bool
reached(const Question *question, const JsonbValue *value, bool by_number)
{
	const SvcCriteriaNode *node = &question->prepared->criteria->nodes[question->condition];
	bool		whole_only = node->op == SVC_CRITERIA_EXISTS || node->op == SVC_CRITERIA_NOT_EMPTY ||
		node->op == SVC_CRITERIA_SIZE || node->op == SVC_CRITERIA_ELEMENT ||
		node->op == SVC_CRITERIA_ELEMENT_DOCUMENT;

	if (value != NULL && is_array(value) && !by_number && !whole_only)
	{
		JsonbContainer *container = value->val.binary.data;
		int			count = JsonContainerSize(container);
		uint32		offset = 0;

		for (int i = 0; i < count; i++)
		{
			JsonbValue	element;

			value_at(container, i, offset, &element);
			JBE_ADVANCE_OFFSET(offset, container->children[i]);
			/* type "array" is that of the whole */
			if (node->op == SVC_CRITERIA_TYPE && is_array(&element))
				continue;
			if (satisfies(question, &element))
				return true;
		}
	}
	return satisfies(question, value);
}

/* ---- conditions on one value, NULL if it is missing ---- */

static bool
satisfies(const Question *question, const JsonbValue *value)
{
	const SvcCriteriaNode *node = &question->prepared->criteria->nodes[question->condition];

	if (question->visit != NULL)
	{
		question->visit(value, question->visit_state);
		return false;
	}
	switch ((SvcCriteriaOp) node->op)
	{
		case SVC_CRITERIA_IN:
		case SVC_CRITERIA_IN_SEGMENT:
			return equals_one(question, value);
		case SVC_CRITERIA_GT:
		case SVC_CRITERIA_GTE:
		case SVC_CRITERIA_LT:
		case SVC_CRITERIA_LTE:
			return value != NULL && is_ordered(question, value);
		case SVC_CRITERIA_ELEMENT:
		case SVC_CRITERIA_ELEMENT_DOCUMENT:
			return value != NULL && has_element(question, value);
		case SVC_CRITERIA_SIZE:
			return value != NULL && has_size(question, value);
		case SVC_CRITERIA_EXISTS:
			return value != NULL;
		case SVC_CRITERIA_NOT_EMPTY:
			return value != NULL && is_not_empty(value);
		case SVC_CRITERIA_TYPE:
			return value != NULL && has_type(node, value);
		case SVC_CRITERIA_REGEX:
			return value != NULL && value->type == jbvString && has_pattern(question, value);
		case SVC_CRITERIA_STARTS_WITH:
		case SVC_CRITERIA_ENDS_WITH:
		case SVC_CRITERIA_CONTAINS:
			return value != NULL && value->type == jbvString && has_text(question, value);
		case SVC_CRITERIA_MOD:
			return value != NULL && value->type == jbvNumeric && has_remainder(question, value);
		case SVC_CRITERIA_VERSION_EQ:
		case SVC_CRITERIA_VERSION_GT:
		case SVC_CRITERIA_VERSION_GTE:
		case SVC_CRITERIA_VERSION_LT:
		case SVC_CRITERIA_VERSION_LTE:
			return value != NULL && value->type == jbvString && has_version(question, value);
		case SVC_CRITERIA_WITHIN_LAST:
		case SVC_CRITERIA_WITHIN_NEXT:
			return value != NULL && value->type == jbvString && is_within(question, value);
		case SVC_CRITERIA_AND:
		case SVC_CRITERIA_OR:
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
	elog(ERROR, "unexpected node of segment criteria: %d", node->op);
}

static bool
equals_one(const Question *question, const JsonbValue *value)
{
	const Prepared *prepared = question->prepared;
	const SvcCriteriaNode *node = &prepared->criteria->nodes[question->condition];

	for (int literal = question->condition + 1; literal < question->condition + node->size; literal++)
	{
		if (equals(prepared, literal, value, (node->flags & SVC_CRITERIA_FOLDED) != 0))
			return true;
	}
	return false;
}

/* A value that is missing equals null. */
static bool
equals(const Prepared *prepared, int literal, const JsonbValue *value, bool folded)
{
	const JsonbValue *wanted = &prepared->operands[literal].value;
	int64		instant;

	if (value == NULL || value->type == jbvNull)
		return wanted->type == jbvNull;
	if (wanted->type == jbvDatetime)
		return value->type == jbvString &&
			svc_criteria_read_instant(value->val.string.val, value->val.string.len, &instant) &&
			instant == prepared->operands[literal].instant;
	if (value->type != wanted->type)
		return false;
	if (value->type == jbvBool)
		return value->val.boolean == wanted->val.boolean;
	if (value->type == jbvNumeric)
		return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value->val.numeric),
												 NumericGetDatum(wanted->val.numeric))) == 0;
	if (value->type == jbvBinary)
		return is_array(value) == is_array(wanted) &&
			compareJsonbContainers(value->val.binary.data, wanted->val.binary.data) == 0;
	if (folded)
	{
		/* (what is wanted is lower case already) */
		char	   *lower = str_tolower(value->val.string.val, value->val.string.len, DEFAULT_COLLATION_OID);
		bool		result = compare_bytes(lower, strlen(lower), wanted->val.string.val, wanted->val.string.len) == 0;

		pfree(lower);
		return result;
	}
	return value->val.string.len == wanted->val.string.len &&
		memcmp(value->val.string.val, wanted->val.string.val, wanted->val.string.len) == 0;
}

/* $gt and the like: only values of one type have an order. */
static bool
is_ordered(const Question *question, const JsonbValue *value)
{
	const Prepared *prepared = question->prepared;
	const Operand *operand = &prepared->operands[question->condition + 1];
	const JsonbValue *bound = &operand->value;
	int64		instant;
	int			order;

	if (bound->type == jbvDatetime)
	{
		if (value->type != jbvString ||
			!svc_criteria_read_instant(value->val.string.val, value->val.string.len, &instant))
			return false;
		order = instant < operand->instant ? -1 : instant > operand->instant;
	}
	else if (value->type != bound->type)
		return false;
	else if (value->type == jbvNumeric)
		order = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value->val.numeric),
												  NumericGetDatum(bound->val.numeric)));
	else if (value->type == jbvBool)
		order = value->val.boolean - bound->val.boolean;
	else
		order = compare_bytes(value->val.string.val, value->val.string.len,
							  bound->val.string.val, bound->val.string.len);
	return holds(prepared->criteria->nodes[question->condition].op, order);
}

/* Is a comparison true of a value whose order to the bound is that? */
static bool
holds(SvcCriteriaOp op, int order)
{
	if (op == SVC_CRITERIA_GT || op == SVC_CRITERIA_VERSION_GT)
		return order > 0;
	if (op == SVC_CRITERIA_GTE || op == SVC_CRITERIA_VERSION_GTE)
		return order >= 0;
	if (op == SVC_CRITERIA_LT || op == SVC_CRITERIA_VERSION_LT)
		return order < 0;
	if (op == SVC_CRITERIA_LTE || op == SVC_CRITERIA_VERSION_LTE)
		return order <= 0;
	Assert(op == SVC_CRITERIA_VERSION_EQ);
	return order == 0;
}

static bool
has_element(const Question *question, const JsonbValue *value)
{
	const SvcCriteriaNode *node = &question->prepared->criteria->nodes[question->condition];
	JsonbContainer *container;
	int			count;
	uint32		offset = 0;

	if (!is_array(value))
		return false;
	container = value->val.binary.data;
	count = JsonContainerSize(container);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	element;

		value_at(container, i, offset, &element);
		JBE_ADVANCE_OFFSET(offset, container->children[i]);
		if ((node->op == SVC_CRITERIA_ELEMENT || element.type == jbvBinary) &&
			all_true(question->prepared, question->condition, &element))
			return true;
	}
	return false;
}

static bool
has_size(const Question *question, const JsonbValue *value)
{
	JsonbValue	size = {.type = jbvNumeric};
	bool		result;

	if (!is_array(value))
		return false;
	size.val.numeric = int64_to_numeric(JsonContainerSize(value->val.binary.data));
	result = all_true(question->prepared, question->condition, &size);
	pfree(size.val.numeric);
	return result;
}

static bool
is_not_empty(const JsonbValue *value)
{
	if (value->type == jbvString)
		return value->val.string.len > 0;
	if (value->type == jbvBinary)
		return JsonContainerSize(value->val.binary.data) > 0;
	return value->type != jbvNull;
}

static bool
has_type(const SvcCriteriaNode *node, const JsonbValue *value)
{
	SvcCriteriaType type = SVC_CRITERIA_TYPE_NULL;

	if (value->type == jbvBool)
		type = SVC_CRITERIA_TYPE_BOOLEAN;
	else if (value->type == jbvNumeric)
		type = SVC_CRITERIA_TYPE_NUMBER;
	else if (value->type == jbvString)
		type = SVC_CRITERIA_TYPE_STRING;
	else if (value->type == jbvBinary)
		type = is_array(value) ? SVC_CRITERIA_TYPE_ARRAY : SVC_CRITERIA_TYPE_OBJECT;
	return (node->data & 1 << type) != 0;
}

/* (the server keeps compiled patterns for the session) */
static bool
has_pattern(const Question *question, const JsonbValue *value)
{
	return RE_compile_and_execute(question->prepared->operands[question->condition].pattern,
								  value->val.string.val, value->val.string.len,
								  REG_ADVANCED | REG_NOSUB, DEFAULT_COLLATION_OID, 0, NULL);
}

static bool
has_text(const Question *question, const JsonbValue *value)
{
	const SvcCriteria *criteria = question->prepared->criteria;
	const SvcCriteriaNode *node = &criteria->nodes[question->condition];
	const char *wanted = svc_criteria_data(criteria) + node->data;
	int			wanted_length = node->length;
	char	   *string = value->val.string.val;
	int			length = value->val.string.len;
	char	   *lower = NULL;
	bool		found = false;

	if (node->flags & SVC_CRITERIA_FOLDED)
	{
		const JsonbValue *folded = &question->prepared->operands[question->condition].value;

		wanted = folded->val.string.val;
		wanted_length = folded->val.string.len;
		string = lower = str_tolower(string, length, DEFAULT_COLLATION_OID);
		length = strlen(lower);
	}
	if (wanted_length > length)
		found = false;
	else if (node->op == SVC_CRITERIA_STARTS_WITH)
		found = memcmp(string, wanted, wanted_length) == 0;
	else if (node->op == SVC_CRITERIA_ENDS_WITH)
		found = memcmp(string + length - wanted_length, wanted, wanted_length) == 0;
	else
		found = memmem(string, length, wanted, wanted_length) != NULL;
	if (lower != NULL)
		pfree(lower);
	return found;
}

/* All is truncated towards zero before. */
static bool
has_remainder(const Question *question, const JsonbValue *value)
{
	const Operand *operands = &question->prepared->operands[question->condition + 1];
	Datum		truncated[3] = {NumericGetDatum(value->val.numeric), NumericGetDatum(operands[0].value.val.numeric),
	NumericGetDatum(operands[1].value.val.numeric)};

	if (numeric_is_nan(value->val.numeric) || numeric_is_inf(value->val.numeric))
		return false;
	for (int i = 0; i < lengthof(truncated); i++)
		truncated[i] = DirectFunctionCall2(numeric_trunc, truncated[i], Int32GetDatum(0));
	return DatumGetBool(DirectFunctionCall2(numeric_eq, DirectFunctionCall2(numeric_mod, truncated[0], truncated[1]),
											truncated[2]));
}

static bool
has_version(const Question *question, const JsonbValue *value)
{
	const JsonbValue *bound = &question->prepared->operands[question->condition].value;
	StringInfoData padded;
	int			order;

	initStringInfo(&padded);
	svc_criteria_pad_version(value->val.string.val, value->val.string.len, &padded);
	order = compare_bytes(padded.data, padded.len, bound->val.string.val, bound->val.string.len);
	pfree(padded.data);
	return holds(question->prepared->criteria->nodes[question->condition].op, order);
}

/* From the bound to the present, or from the present to the bound, both included. */
static bool
is_within(const Question *question, const JsonbValue *value)
{
	const Prepared *prepared = question->prepared;
	int64		bound = prepared->operands[question->condition].instant;
	int64		instant;

	if (!svc_criteria_read_instant(value->val.string.val, value->val.string.len, &instant))
		return false;
	if (prepared->criteria->nodes[question->condition].op == SVC_CRITERIA_WITHIN_LAST)
		return instant >= bound && instant <= prepared->now;
	return instant >= prepared->now && instant <= bound;
}

/* By code point, which in UTF-8 is by byte. */
static int
compare_bytes(const char *a, int a_length, const char *b, int b_length)
{
	int			order = memcmp(a, b, Min(a_length, b_length));

	return order != 0 ? order : a_length - b_length;
}

/* ---- looking at jsonb ---- */

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

/*
 * Find a member of an object.  Keys are sorted by length, then by byte, and only
 * the lengths of most are stored: to add them up from the first one takes less than
 * a binary search, unless there are many.
 */
static bool
find_member(JsonbContainer *object, const char *key, int length, JsonbValue *member)
{
	int			count = JsonContainerSize(object);
	const char *base = (char *) &object->children[count * 2];
	uint32		offset = 0;

	if (count > KEYS_SEARCHED_MAX)
		return getKeyJsonValueFromContainer(object, key, length, member) != NULL;
	for (int i = 0; i < count; i++)
	{
		uint32		end = offset;

		JBE_ADVANCE_OFFSET(end, object->children[i]);
		if (end - offset > length)
			return false;
		if (end - offset == length && memcmp(base + offset, key, length) == 0)
		{
			value_at(object, count + i, getJsonbOffset(object, count + i), member);
			return true;
		}
		offset = end;
	}
	return false;
}

/*
 * An element of an array, or a value of an object, which come behind its keys; it
 * stays where it is.
 */
static void
value_at(JsonbContainer *container, int index, uint32 offset, JsonbValue *element)
{
	JEntry		entry = container->children[index];
	char	   *base = (char *) &container->children[JsonContainerSize(container) * (JsonContainerIsObject(container) ? 2 : 1)];

	if (JBE_ISNULL(entry))
		element->type = jbvNull;
	else if (JBE_ISSTRING(entry))
	{
		element->type = jbvString;
		element->val.string.val = base + offset;
		element->val.string.len = getJsonbLength(container, index);
	}
	else if (JBE_ISNUMERIC(entry))
	{
		element->type = jbvNumeric;
		element->val.numeric = (Numeric) (base + INTALIGN(offset));
	}
	else if (JBE_ISBOOL(entry))
	{
		element->type = jbvBool;
		element->val.boolean = JBE_ISBOOL_TRUE(entry);
	}
	else
	{
		element->type = jbvBinary;
		element->val.binary.data = (JsonbContainer *) (base + INTALIGN(offset));
		element->val.binary.len = getJsonbLength(container, index) - (INTALIGN(offset) - offset);
	}
}

/* The number that a component names, if it is written as numbers of elements are. */
static bool
element_number(const char *component, int length, int *number)
{
	if (length == 0 || length > 9 || (component[0] == '0' && length > 1))
		return false;
	*number = 0;
	for (int i = 0; i < length; i++)
	{
		if (component[i] < '0' || component[i] > '9')
			return false;
		*number = *number * 10 + (component[i] - '0');
	}
	return true;
}
