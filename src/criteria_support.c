/*-------------------------------------------------------------------------
 *
 * criteria_support.c
 *	  What the planner can ask an index instead of segment criteria.
 *
 * A stock GIN index on documents, of jsonb_path_ops or jsonb_ops, answers
 * "doc @@ jsonpath".  So the planner is given a jsonpath that is true of every
 * document that matches, and of few others; of the rows that the index finds, the
 * criteria decide.
 *
 *		{"status": "active", "tags": {"$in": ["a", "b"]}, "age": {"$gt": 5}}
 *		($."status" == "active" && exists($."tags"?(@ == "a" || @ == "b")))
 *
 * Such an index knows which strings, numbers and booleans stand below which keys,
 * and nothing else.  So it is asked for equality to these only.  Of AND the parts
 * for which it cannot be asked are left out; it is asked for OR if it can be for
 * each part, and never for the opposite of something, or for what a missing value
 * may satisfy.  Dates are not strings here: nothing that is asked depends on time.
 *
 * Lax jsonpath steps through an array as criteria do, into its elements, but not
 * into arrays among these, and compares an array by its elements.  It differs in
 * two ways:
 *
 * - A number in a path is a key there, and never that of an element; so an index is
 *   not asked for what has such a path.
 *
 * - A filter takes apart an element that is an array: then what two elements of
 *   that array satisfy together, none does.  Hence each condition of $elemMatch has
 *   its whole path, ($."items"[*]."sku" == 1 && $."items"[*]."size" == 2), which is
 *   weaker, but to the index the same: it does not know which element a value is of.
 *
 * "doc @> jsonb" is not derived: it does not look for a scalar in an array.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "criteria.h"
#include "criteria_write.h"

/*
 * A GIN index compares each equality that it is asked for with each other, once for
 * the plan and once for the scan: 3,000 take 0.2 s, 1,000 a tenth of that.
 */
#define EQUALITIES_MAX		1000

/* Only paths make it longer: that of $elemMatch is repeated in each of its conditions. */
#define JSONPATH_LENGTH_MAX	(4 * SVC_CRITERIA_LENGTH_MAX)

typedef struct Writer
{
	const SvcCriteria *criteria;
	bool	   *indexable;		/* of each node */
	StringInfoData jsonpath;
	int			equalities;
} Writer;

static List *find_condition(const SupportRequestIndexCondition *request);
static Oid	find_operator(const SupportRequestIndexCondition *request);
static char *write_jsonpath(const SvcCriteria *criteria);
static bool is_indexable(const Writer *writer, int i);
static bool has_plain_path(const SvcCriteria *criteria, const SvcCriteriaNode *node);
static bool is_too_long(const Writer *writer);
static void write_node(Writer *writer, int i, const char *place);
static void write_parts(Writer *writer, int i, const char *place, const char *junction);
static void write_junction(Writer *writer, const int *parts, int count, const char *place, const char *junction);
static const char *place_of(const SvcCriteria *criteria, const SvcCriteriaNode *node, const char *place);

PG_FUNCTION_INFO_V1(svc_criteria_support);

/*
 * svc_criteria_support(internal) -> internal
 *
 * Planner support of svc_criteria_match and svc_matches: both begin with the document
 * and the criteria, and no other argument matters here.
 */
Datum
svc_criteria_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	List	   *condition = NIL;

	if (IsA(request, SupportRequestIndexCondition))
	{
		condition = find_condition((SupportRequestIndexCondition *) request);
		((SupportRequestIndexCondition *) request)->lossy = true;
	}
	PG_RETURN_POINTER(condition);
}

/* A list of one condition, or NIL. */
static List *
find_condition(const SupportRequestIndexCondition *request)
{
	List	   *args = is_opclause(request->node) ? ((OpExpr *) request->node)->args :
		is_funcclause(request->node) ? ((FuncExpr *) request->node)->args : NIL;
	Oid			operator;
	Const	   *criteria;
	char	   *jsonpath;
	Datum		value;

	if (request->indexarg != 0 || list_length(args) < 2 || !IsA(lsecond(args), Const))
		return NIL;
	criteria = lsecond_node(Const, args);
	operator = find_operator(request);
	if (criteria->constisnull || !OidIsValid(operator))
		return NIL;
	jsonpath = write_jsonpath(svc_criteria_present((SvcCriteria *) PG_DETOAST_DATUM(criteria->constvalue)));
	if (jsonpath == NULL)
		return NIL;
	value = DirectFunctionCall1(jsonpath_in, CStringGetDatum(jsonpath));
	return list_make1(make_opclause(operator, BOOLOID, false, linitial(args),
									(Expr *) makeConst(JSONPATHOID, -1, InvalidOid, -1, value, false, false),
									InvalidOid, InvalidOid));
}

/* PostgreSQL's own jsonb @@ jsonpath, if that is what a GIN index answers. */
static Oid
find_operator(const SupportRequestIndexCondition *request)
{
	Oid			operator;

	if (request->index->relam != GIN_AM_OID)
		return InvalidOid;
	operator = get_opfamily_member(request->opfamily, JSONBOID, JSONPATHOID, JsonbJsonpathPredicateStrategyNumber);
	if (!OidIsValid(operator) || get_opcode(operator) != F_JSONB_PATH_MATCH_OPR)
		return InvalidOid;
	return operator;
}

/* NULL, if there is nothing that an index could be asked. */
static char *
write_jsonpath(const SvcCriteria *criteria)
{
	Writer		writer = {criteria};

	/* (a node comes before its children) */
	writer.indexable = palloc(criteria->node_count * sizeof(bool));
	for (int i = criteria->node_count - 1; i >= 0; i--)
		writer.indexable[i] = is_indexable(&writer, i);
	if (!writer.indexable[0])
		return NULL;
	initStringInfo(&writer.jsonpath);
	write_node(&writer, 0, "$");
	return is_too_long(&writer) ? NULL : writer.jsonpath.data;
}

/* Can an index be asked for a node?  That is decided of its children already. */
static bool
is_indexable(const Writer *writer, int i)
{
	const SvcCriteriaNode *nodes = writer->criteria->nodes;
	int			count = 0;
	int			indexable = 0;

	if ((nodes[i].flags & (SVC_CRITERIA_NEGATED | SVC_CRITERIA_FOLDED)) != 0 ||
		!has_plain_path(writer->criteria, &nodes[i]))
		return false;
	for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
	{
		count++;
		indexable += writer->indexable[child];
	}
	switch ((SvcCriteriaOp) nodes[i].op)
	{
		case SVC_CRITERIA_AND:
		case SVC_CRITERIA_ELEMENT:
		case SVC_CRITERIA_ELEMENT_DOCUMENT:
			return indexable > 0;
		case SVC_CRITERIA_OR:
			return count > 0 && indexable == count;
		case SVC_CRITERIA_IN:
			return count > 0 && count <= EQUALITIES_MAX && indexable == count;
		case SVC_CRITERIA_FALSE:
		case SVC_CRITERIA_TRUE:
		case SVC_CRITERIA_NUMBER:
		case SVC_CRITERIA_STRING:
			return true;
		case SVC_CRITERIA_IN_SEGMENT:
		case SVC_CRITERIA_GT:
		case SVC_CRITERIA_GTE:
		case SVC_CRITERIA_LT:
		case SVC_CRITERIA_LTE:
		case SVC_CRITERIA_SIZE:
		case SVC_CRITERIA_EXISTS:
		case SVC_CRITERIA_NOT_EMPTY:
		case SVC_CRITERIA_TYPE:
		case SVC_CRITERIA_REGEX:
		case SVC_CRITERIA_STARTS_WITH:
		case SVC_CRITERIA_ENDS_WITH:
		case SVC_CRITERIA_CONTAINS:
		case SVC_CRITERIA_MOD:
		case SVC_CRITERIA_VERSION_EQ:
		case SVC_CRITERIA_VERSION_GT:
		case SVC_CRITERIA_VERSION_GTE:
		case SVC_CRITERIA_VERSION_LT:
		case SVC_CRITERIA_VERSION_LTE:
		case SVC_CRITERIA_WITHIN_LAST:
		case SVC_CRITERIA_WITHIN_NEXT:
		case SVC_CRITERIA_NULL:
		case SVC_CRITERIA_INSTANT:
		case SVC_CRITERIA_DATE_MATH:
		case SVC_CRITERIA_JSON:
			break;
	}
	return false;
}

/* Is there nothing in its path that may be the number of an element? */
static bool
has_plain_path(const SvcCriteria *criteria, const SvcCriteriaNode *node)
{
	const SvcCriteriaPath *path = &svc_criteria_paths_of(criteria)[node->path];
	const char *component;

	if (node->path == SVC_CRITERIA_NO_PATH)
		return true;
	component = svc_criteria_data(criteria) + path->data;
	for (int i = 0; i < path->count; i++)
	{
		int			length = svc_criteria_component(&component);
		int			digits = 0;

		while (digits < length && component[digits] >= '0' && component[digits] <= '9')
			digits++;
		if (digits == length)
			return false;
		component += length;
	}
	return true;
}

/* ---- writing ---- */

static bool
is_too_long(const Writer *writer)
{
	return writer->equalities > EQUALITIES_MAX || writer->jsonpath.len > JSONPATH_LENGTH_MAX;
}

/* A node, of what is at a place, or where its path leads from there. */
static void
write_node(Writer *writer, int i, const char *place)
{
	const SvcCriteriaNode *node = &writer->criteria->nodes[i];

	check_stack_depth();
	if (is_too_long(writer))
		return;
	place = place_of(writer->criteria, node, place);
	if (node->op == SVC_CRITERIA_AND)
		write_parts(writer, i, place, " && ");
	else if (node->op == SVC_CRITERIA_OR)
		write_parts(writer, i, place, " || ");
	else if (node->op == SVC_CRITERIA_ELEMENT || node->op == SVC_CRITERIA_ELEMENT_DOCUMENT)
		write_parts(writer, i, psprintf("%s[*]", place), " && ");
	else if (node->op == SVC_CRITERIA_IN && node->size == 2)
		write_node(writer, i + 1, place);
	else if (node->op == SVC_CRITERIA_IN)
	{
		/* (more than one part are in parentheses) */
		appendStringInfo(&writer->jsonpath, "exists(%s?", place);
		write_parts(writer, i, "@", " || ");
		appendStringInfoChar(&writer->jsonpath, ')');
	}
	else
	{
		appendStringInfo(&writer->jsonpath, "%s == ", place);
		svc_criteria_write_value(writer->criteria, i, &writer->jsonpath);
		writer->equalities++;
	}
}

static void
write_parts(Writer *writer, int i, const char *place, const char *junction)
{
	const SvcCriteriaNode *nodes = writer->criteria->nodes;
	int		   *parts = palloc(nodes[i].size * sizeof(int));
	int			count = 0;

	for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
	{
		if (writer->indexable[child])
			parts[count++] = child;
	}
	write_junction(writer, parts, count, place, junction);
	pfree(parts);
}

/*
 * By halves, so that thousands of parts are no deep tree: the server reads, writes
 * and executes a jsonpath by recursion.
 */
static void
write_junction(Writer *writer, const int *parts, int count, const char *place, const char *junction)
{
	if (count == 1)
	{
		write_node(writer, parts[0], place);
		return;
	}
	appendStringInfoChar(&writer->jsonpath, '(');
	write_junction(writer, parts, count / 2, place, junction);
	appendStringInfoString(&writer->jsonpath, junction);
	write_junction(writer, parts + count / 2, count - count / 2, place, junction);
	appendStringInfoChar(&writer->jsonpath, ')');
}

/* Where the path of a node leads from a place. */
static const char *
place_of(const SvcCriteria *criteria, const SvcCriteriaNode *node, const char *place)
{
	const SvcCriteriaPath *path = &svc_criteria_paths_of(criteria)[node->path];
	const char *component;
	StringInfoData result;

	if (node->path == SVC_CRITERIA_NO_PATH)
		return place;
	initStringInfo(&result);
	appendStringInfoString(&result, place);
	component = svc_criteria_data(criteria) + path->data;
	for (int i = 0; i < path->count; i++)
	{
		int			length = svc_criteria_component(&component);

		appendStringInfoChar(&result, '.');
		escape_json(&result, pnstrdup(component, length));
		component += length;
	}
	return result.data;
}
