/*-------------------------------------------------------------------------
 *
 * criteria_write.c
 *	  Parts of segment criteria as documents of their own.
 *
 * Written from the compiled form: what comes out means the same as what was put
 * in, but may be spelled otherwise ({"a": 1} as {"a": {"$in": [1]}}).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "criteria_write.h"

static bool write_parts(const SvcCriteria *criteria, int i, StringInfo out);
static void write_path(const SvcCriteria *criteria, int path, int skipped, StringInfo out);
static bool write_condition(const SvcCriteria *criteria, int i, StringInfo out);
static const char *operator_of(const SvcCriteriaNode *node);
static bool write_operand(const SvcCriteria *criteria, int i, StringInfo out);
static bool write_own_conditions(const SvcCriteria *criteria, int i, StringInfo out);
static void write_values(const SvcCriteria *criteria, int i, StringInfo out);
static void write_types(const SvcCriteriaNode *node, StringInfo out);
static void write_pattern(const char *pattern, int length, StringInfo out);

/*
 * Write a node, with all that belongs to it, as criteria; of its paths the first
 * "skipped" components are left out.  False, and nothing useful is written, for what
 * cannot be spelled from the compiled form.
 */
bool
svc_criteria_write(const SvcCriteria *criteria, int i, int skipped, StringInfo out)
{
	bool		done;

	if (!(criteria->nodes[i].flags & SVC_CRITERIA_NEGATED))
		return svc_criteria_write_positive(criteria, i, skipped, out);
	appendStringInfoString(out, "{\"$nor\":[");
	done = svc_criteria_write_positive(criteria, i, skipped, out);
	appendStringInfoString(out, "]}");
	return done;
}

/* The same, as if it were not negated. */
bool
svc_criteria_write_positive(const SvcCriteria *criteria, int i, int skipped, StringInfo out)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	bool		done;

	check_stack_depth();
	if (node->op == SVC_CRITERIA_IN_SEGMENT)
		return false;
	if (node->op == SVC_CRITERIA_AND || node->op == SVC_CRITERIA_OR)
	{
		if (skipped > 0)
			return false;
		appendStringInfoString(out, node->op == SVC_CRITERIA_AND ? "{\"$and\":[" : "{\"$or\":[");
		done = write_parts(criteria, i, out);
		appendStringInfoString(out, "]}");
	}
	else
	{
		if (node->path == SVC_CRITERIA_NO_PATH)
			return false;
		appendStringInfoChar(out, '{');
		write_path(criteria, node->path, skipped, out);
		appendStringInfoString(out, ":{");
		done = write_condition(criteria, i, out);
		appendStringInfoString(out, "}}");
	}
	return done;
}

/* (an empty junction is that of {}) */
static bool
write_parts(const SvcCriteria *criteria, int i, StringInfo out)
{
	int			end = i + criteria->nodes[i].size;

	if (end == i + 1)
		appendStringInfoString(out, "{}");
	for (int child = i + 1; child < end; child += criteria->nodes[child].size)
	{
		if (child > i + 1)
			appendStringInfoChar(out, ',');
		if (!svc_criteria_write(criteria, child, 0, out))
			return false;
	}
	return true;
}

static void
write_path(const SvcCriteria *criteria, int path, int skipped, StringInfo out)
{
	char	   *rest = svc_criteria_path_text(criteria, path);

	for (; skipped > 0; rest++)
	{
		if (*rest == '\\')
			rest++;
		else if (*rest == '.')
			skipped--;
	}
	escape_json(out, rest);
}

/* "$op": operand, without the negation. */
static bool
write_condition(const SvcCriteria *criteria, int i, StringInfo out)
{
	appendStringInfo(out, "\"%s\":", operator_of(&criteria->nodes[i]));
	return write_operand(criteria, i, out);
}

static const char *
operator_of(const SvcCriteriaNode *node)
{
	static const char *const names[] = {
		[SVC_CRITERIA_IN] = "$in",
		[SVC_CRITERIA_GT] = "$gt",
		[SVC_CRITERIA_GTE] = "$gte",
		[SVC_CRITERIA_LT] = "$lt",
		[SVC_CRITERIA_LTE] = "$lte",
		[SVC_CRITERIA_ELEMENT] = "$elemMatch",
		[SVC_CRITERIA_ELEMENT_DOCUMENT] = "$elemMatch",
		[SVC_CRITERIA_SIZE] = "$size",
		[SVC_CRITERIA_EXISTS] = "$exists",
		[SVC_CRITERIA_NOT_EMPTY] = "$empty",
		[SVC_CRITERIA_TYPE] = "$type",
		[SVC_CRITERIA_REGEX] = "$regex",
		[SVC_CRITERIA_STARTS_WITH] = "$startsWith",
		[SVC_CRITERIA_ENDS_WITH] = "$endsWith",
		[SVC_CRITERIA_CONTAINS] = "$contains",
		[SVC_CRITERIA_MOD] = "$mod",
		[SVC_CRITERIA_VERSION_EQ] = "$veq",
		[SVC_CRITERIA_VERSION_GT] = "$vgt",
		[SVC_CRITERIA_VERSION_GTE] = "$vgte",
		[SVC_CRITERIA_VERSION_LT] = "$vlt",
		[SVC_CRITERIA_VERSION_LTE] = "$vlte",
		[SVC_CRITERIA_WITHIN_LAST] = "$withinLast",
		[SVC_CRITERIA_WITHIN_NEXT] = "$withinNext",
	};

	if (node->flags & SVC_CRITERIA_FOLDED)
	{
		if (node->op == SVC_CRITERIA_IN)
			return "$ini";
		if (node->op == SVC_CRITERIA_CONTAINS)
			return "$icontains";
	}
	return names[node->op];
}

static bool
write_operand(const SvcCriteria *criteria, int i, StringInfo out)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	const char *bytes = svc_criteria_data(criteria) + node->data;

	switch ((SvcCriteriaOp) node->op)
	{
		case SVC_CRITERIA_IN:
		case SVC_CRITERIA_MOD:
			write_values(criteria, i, out);
			return true;
		case SVC_CRITERIA_GT:
		case SVC_CRITERIA_GTE:
		case SVC_CRITERIA_LT:
		case SVC_CRITERIA_LTE:
			svc_criteria_write_value(criteria, i + 1, out);
			return true;
		case SVC_CRITERIA_ELEMENT:
		case SVC_CRITERIA_SIZE:
			return write_own_conditions(criteria, i, out);
		case SVC_CRITERIA_ELEMENT_DOCUMENT:
			{
				bool		done;

				appendStringInfoString(out, "{\"$and\":[");
				done = write_parts(criteria, i, out);
				appendStringInfoString(out, "]}");
				return done;
			}
		case SVC_CRITERIA_EXISTS:
			appendStringInfoString(out, "true");
			return true;
		case SVC_CRITERIA_NOT_EMPTY:
			appendStringInfoString(out, "false");
			return true;
		case SVC_CRITERIA_TYPE:
			write_types(node, out);
			return true;
		case SVC_CRITERIA_REGEX:
			write_pattern(bytes, node->length, out);
			return true;
		case SVC_CRITERIA_STARTS_WITH:
		case SVC_CRITERIA_ENDS_WITH:
		case SVC_CRITERIA_CONTAINS:
		case SVC_CRITERIA_VERSION_EQ:
		case SVC_CRITERIA_VERSION_GT:
		case SVC_CRITERIA_VERSION_GTE:
		case SVC_CRITERIA_VERSION_LT:
		case SVC_CRITERIA_VERSION_LTE:
			escape_json(out, pnstrdup(bytes, node->length));
			return true;
		case SVC_CRITERIA_WITHIN_LAST:
		case SVC_CRITERIA_WITHIN_NEXT:
			/* less "now-" or "now+" */
			escape_json(out, pnstrdup(bytes + 4, node->length - 4));
			return true;
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
	return false;
}

/* The conditions of an element, or of a length, on itself: one per operator. */
static bool
write_own_conditions(const SvcCriteria *criteria, int i, StringInfo out)
{
	uint32		used = 0;
	int			end = i + criteria->nodes[i].size;

	appendStringInfoChar(out, '{');
	for (int child = i + 1; child < end; child += criteria->nodes[child].size)
	{
		const SvcCriteriaNode *node = &criteria->nodes[child];

		if (node->op <= SVC_CRITERIA_IN_SEGMENT || (used & ((uint32) 1 << node->op)) ||
			(node->flags & (SVC_CRITERIA_FOLDED | SVC_CRITERIA_NEGATED)))
			return false;
		used |= (uint32) 1 << node->op;
		if (child > i + 1)
			appendStringInfoChar(out, ',');
		if (!write_condition(criteria, child, out))
			return false;
	}
	appendStringInfoChar(out, '}');
	return true;
}

static void
write_values(const SvcCriteria *criteria, int i, StringInfo out)
{
	appendStringInfoChar(out, '[');
	for (int value = i + 1; value < i + criteria->nodes[i].size; value++)
	{
		if (value > i + 1)
			appendStringInfoChar(out, ',');
		svc_criteria_write_value(criteria, value, out);
	}
	appendStringInfoChar(out, ']');
}

static void
write_types(const SvcCriteriaNode *node, StringInfo out)
{
	bool		first = true;

	appendStringInfoChar(out, '[');
	for (int i = 0; i < SVC_CRITERIA_TYPE_COUNT; i++)
	{
		if (!(node->data & 1 << i))
			continue;
		appendStringInfo(out, first ? "\"%s\"" : ",\"%s\"", svc_criteria_type_name((SvcCriteriaType) i));
		first = false;
	}
	appendStringInfoChar(out, ']');
}

/*
 * A pattern, as PostgreSQL has it, begins with its options: (?p), (?s), (?n) or
 * (?w), perhaps with i and x.  Translated once more it stays what it is.
 */
static void
write_pattern(const char *pattern, int length, StringInfo out)
{
	const char *end = memchr(pattern, ')', length);
	StringInfoData options;

	initStringInfo(&options);
	for (const char *option = pattern + 2; option < end; option++)
		appendStringInfoString(&options, *option == 'n' ? "m" : *option == 'w' ? "sm" :
							   *option == 'p' ? "" : *option == 's' ? "s" : *option == 'i' ? "i" : "x");
	escape_json(out, pnstrdup(end + 1, length - (end + 1 - pattern)));
	if (options.len > 0)
		appendStringInfo(out, ",\"$options\":\"%s\"", options.data);
}

/* A literal. */
void
svc_criteria_write_value(const SvcCriteria *criteria, int i, StringInfo out)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	const char *bytes = svc_criteria_data(criteria) + node->data;
	int64		instant;

	if (node->op == SVC_CRITERIA_NULL)
		appendStringInfoString(out, "null");
	else if (node->op == SVC_CRITERIA_FALSE || node->op == SVC_CRITERIA_TRUE)
		appendStringInfoString(out, node->op == SVC_CRITERIA_TRUE ? "true" : "false");
	else if (node->op == SVC_CRITERIA_STRING)
		escape_json(out, pnstrdup(bytes, node->length));
	else if (node->op == SVC_CRITERIA_INSTANT)
	{
		memcpy(&instant, bytes, sizeof(instant));
		appendStringInfo(out, "{\"$date\":\"%s\"}", svc_criteria_write_instant(instant));
	}
	else if (node->op == SVC_CRITERIA_DATE_MATH)
		appendStringInfo(out, "{\"$date\":\"%.*s\"}", (int) node->length, bytes);
	else
		appendBinaryStringInfo(out, bytes, node->length);
}
