/*-------------------------------------------------------------------------
 *
 * criteria_explain.c
 *	  Segment criteria as a sentence, for people who do not read JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "criteria.h"
#include "criteria_write.h"

/* How a condition is said, and how the opposite is. */
typedef struct Phrase
{
	const char *is;
	const char *is_not;
} Phrase;

/* Those whose operand follows. */
static const Phrase phrases[] = {
	[SVC_CRITERIA_GT] = {"is greater than", "is not greater than"},
	[SVC_CRITERIA_GTE] = {"is at least", "is not at least"},
	[SVC_CRITERIA_LT] = {"is less than", "is not less than"},
	[SVC_CRITERIA_LTE] = {"is at most", "is not at most"},
	[SVC_CRITERIA_ELEMENT] = {"has an element that", "has no element that"},
	[SVC_CRITERIA_ELEMENT_DOCUMENT] = {"has an element with", "has no element with"},
	[SVC_CRITERIA_SIZE] = {"has a number of elements that", "has no number of elements that"},
	[SVC_CRITERIA_EXISTS] = {"exists", "does not exist"},
	[SVC_CRITERIA_NOT_EMPTY] = {"is not empty", "is empty"},
	[SVC_CRITERIA_REGEX] = {"matches", "does not match"},
	[SVC_CRITERIA_STARTS_WITH] = {"starts with", "does not start with"},
	[SVC_CRITERIA_ENDS_WITH] = {"ends with", "does not end with"},
	[SVC_CRITERIA_CONTAINS] = {"contains", "does not contain"},
	[SVC_CRITERIA_VERSION_EQ] = {"is version", "is not version"},
	[SVC_CRITERIA_VERSION_GT] = {"is a version after", "is no version after"},
	[SVC_CRITERIA_VERSION_GTE] = {"is at least version", "is not at least version"},
	[SVC_CRITERIA_VERSION_LT] = {"is a version before", "is no version before"},
	[SVC_CRITERIA_VERSION_LTE] = {"is at most version", "is not at most version"},
	[SVC_CRITERIA_WITHIN_LAST] = {"is within the last", "is not within the last"},
	[SVC_CRITERIA_WITHIN_NEXT] = {"is within the next", "is not within the next"},
};

static void explain(const SvcCriteria *criteria, int i, StringInfo out, bool alone);
static void explain_parts(const SvcCriteria *criteria, int i, const char *between, StringInfo out);
static void explain_list(const SvcCriteria *criteria, int i, const char *subject, StringInfo out);
static void explain_types(const SvcCriteriaNode *node, StringInfo out);
static void explain_duration(const char *math, int length, StringInfo out);
static void explain_value(const SvcCriteria *criteria, int i, StringInfo out);

PG_FUNCTION_INFO_V1(svc_explain_criteria);

/*
 * svc_explain_criteria(svc_criteria) -> text
 */
Datum
svc_explain_criteria(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(svc_criteria_explain(svc_criteria_present((SvcCriteria *)
																			   PG_DETOAST_DATUM(PG_GETARG_DATUM(0))))));
}

/* Criteria as a sentence. */
char *
svc_criteria_explain(const SvcCriteria *criteria)
{
	StringInfoData out;

	initStringInfo(&out);
	if (criteria->node_count == 1)
		appendStringInfoString(&out, "everyone");
	else
		explain(criteria, 0, &out, true);
	return out.data;
}

/* "alone": it needs no parentheses. */
static void
explain(const SvcCriteria *criteria, int i, StringInfo out, bool alone)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	const char *bytes = svc_criteria_data(criteria) + node->data;
	bool		negated = (node->flags & SVC_CRITERIA_NEGATED) != 0;
	const Phrase *phrase = node->op < lengthof(phrases) ? &phrases[node->op] : NULL;

	check_stack_depth();
	if (node->op == SVC_CRITERIA_AND || node->op == SVC_CRITERIA_OR)
	{
		int			parts = 0;

		for (int child = i + 1; child < i + node->size; child += criteria->nodes[child].size)
			parts++;
		if (negated)
			appendStringInfoString(out, "not ");
		if (parts == 0)
			appendStringInfoString(out, "anything");
		else if (parts == 1 && (!negated || criteria->nodes[i + 1].op <= SVC_CRITERIA_OR))
			explain(criteria, i + 1, out, alone && !negated);
		else
		{
			bool		bare = alone && !negated;

			appendStringInfoString(out, bare ? "" : "(");
			explain_parts(criteria, i, node->op == SVC_CRITERIA_AND ? " and " : " or ", out);
			appendStringInfoString(out, bare ? "" : ")");
		}
		return;
	}
	if (node->op == SVC_CRITERIA_IN_SEGMENT)
	{
		explain_list(criteria, i, "segment", out);
		return;
	}
	if (node->path != SVC_CRITERIA_NO_PATH)
		appendStringInfo(out, "%s ", svc_criteria_path_text(criteria, node->path));
	if (node->op == SVC_CRITERIA_IN)
		explain_list(criteria, i, NULL, out);
	else if (node->op == SVC_CRITERIA_TYPE)
		explain_types(node, out);
	else if (node->op == SVC_CRITERIA_MOD)
	{
		appendStringInfoString(out, "divided by ");
		explain_value(criteria, i + 1, out);
		appendStringInfoString(out, negated ? " does not leave " : " leaves ");
		explain_value(criteria, i + 2, out);
	}
	else
	{
		appendStringInfoString(out, negated ? phrase->is_not : phrase->is);
		if (node->size > 1)
		{
			appendStringInfoChar(out, ' ');
			if (node->op == SVC_CRITERIA_ELEMENT || node->op == SVC_CRITERIA_ELEMENT_DOCUMENT || node->op == SVC_CRITERIA_SIZE)
				explain_parts(criteria, i, " and ", out);
			else
				explain_value(criteria, i + 1, out);
		}
		else if (node->op == SVC_CRITERIA_WITHIN_LAST || node->op == SVC_CRITERIA_WITHIN_NEXT)
			explain_duration(bytes, node->length, out);
		else if (node->length > 0)
		{
			appendStringInfoChar(out, ' ');
			/* (a pattern has PostgreSQL's options in front) */
			if (node->op == SVC_CRITERIA_REGEX)
			{
				const char *pattern = memchr(bytes, ')', node->length);

				appendStringInfo(out, "/%s/", pnstrdup(pattern + 1, node->length - (pattern + 1 - bytes)));
			}
			else
				escape_json(out, pnstrdup(bytes, node->length));
		}
	}
	if ((node->flags & SVC_CRITERIA_FOLDED) && node->op != SVC_CRITERIA_AND)
		appendStringInfoString(out, " in whatever case");
}

static void
explain_parts(const SvcCriteria *criteria, int i, const char *between, StringInfo out)
{
	for (int child = i + 1; child < i + criteria->nodes[i].size; child += criteria->nodes[child].size)
	{
		if (child > i + 1)
			appendStringInfoString(out, between);
		explain(criteria, child, out, false);
	}
}

/* Membership in a list, which may have one element, or none. */
static void
explain_list(const SvcCriteria *criteria, int i, const char *subject, StringInfo out)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	bool		negated = (node->flags & SVC_CRITERIA_NEGATED) != 0;

	if (subject != NULL)
		appendStringInfo(out, negated ? "in no %s" : "in %s", subject);
	else if (node->size == 2 && criteria->nodes[i + 1].op == SVC_CRITERIA_NULL)
	{
		appendStringInfoString(out, negated ? "is present" : "is missing or null");
		return;
	}
	else if (node->size == 2)
		appendStringInfoString(out, negated ? "is not" : "is");
	else
		appendStringInfoString(out, negated ? "is none of" : "is one of");
	for (int child = i + 1; child < i + node->size; child++)
	{
		appendStringInfoString(out, child == i + 1 ? " " : subject != NULL ? " or " : ", ");
		explain_value(criteria, child, out);
	}
	if (node->size == 1)
		appendStringInfoString(out, " no values");
}

static void
explain_types(const SvcCriteriaNode *node, StringInfo out)
{
	bool		first = true;

	appendStringInfoString(out, node->flags & SVC_CRITERIA_NEGATED ? "is not of type" : "is of type");
	for (int i = 0; i < SVC_CRITERIA_TYPE_COUNT; i++)
	{
		if (!(node->data & 1 << i))
			continue;
		appendStringInfo(out, first ? " %s" : " or %s", svc_criteria_type_name((SvcCriteriaType) i));
		first = false;
	}
}

/* "now-30d" */
static void
explain_duration(const char *math, int length, StringInfo out)
{
	static const char letters[] = "smhdwMy";
	static const char *const units[] = {"second", "minute", "hour", "day", "week", "month", "year"};
	char	   *count = pnstrdup(math + 4, length - 5);

	appendStringInfo(out, " %s %s%s", count, units[strchr(letters, math[length - 1]) - letters],
					 strcmp(count, "1") == 0 ? "" : "s");
}

static void
explain_value(const SvcCriteria *criteria, int i, StringInfo out)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	const char *bytes = svc_criteria_data(criteria) + node->data;
	int64		instant;

	if (node->op == SVC_CRITERIA_INSTANT)
	{
		memcpy(&instant, bytes, sizeof(instant));
		appendStringInfoString(out, svc_criteria_write_instant(instant));
	}
	else if (node->op == SVC_CRITERIA_DATE_MATH)
		appendBinaryStringInfo(out, bytes, node->length);
	else
		svc_criteria_write_value(criteria, i, out);
}
