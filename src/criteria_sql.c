/*-------------------------------------------------------------------------
 *
 * criteria_sql.c
 *	  Segment criteria as SQL over the table of customers.
 *
 * A condition on a column becomes a comparison of the column, for which the
 * planner can use an index; one on a member of a jsonb column, such as attributes,
 * the operator @~ on that column, for which it can use a GIN index.  Only what
 * means exactly the same is translated: texts compare by byte, other types than
 * the column's never match, what is NULL is missing.  If there is anything else,
 * the criteria as a whole are asked of the customer's document, besides.
 *
 * An expression may be null where it means false; so it is never put below NOT,
 * but below IS NOT TRUE.
 *
 * Locks: the table of customers, ACCESS SHARE, to look at its columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog.h"
#include "compat.h"
#include "criteria_sql.h"
#include "criteria_write.h"
#include "document.h"

/* What comparing a column means. */
typedef enum ColumnKind
{
	KIND_TEXT,
	KIND_NUMBER,
	KIND_BOOLEAN,
	KIND_INSTANT,
	KIND_DOCUMENT,
	KIND_OTHER,					/* nothing that is translated */
} ColumnKind;

typedef struct Column
{
	ColumnKind	kind;
	Oid			type;
	bool		not_null;
	char	   *name;			/* for SQL, with the table's */
} Column;

typedef struct Writer
{
	const SvcCriteria *criteria;
	Relation	customers;
	const char *schema;
} Writer;

static bool write_conjuncts(Writer *writer, int i, StringInfo out);
static void write_fallback(Writer *writer, StringInfo out);
static bool write_node(Writer *writer, int i, StringInfo out);
static bool write_positive(Writer *writer, int i, StringInfo out);
static bool write_junction(Writer *writer, int i, StringInfo out);
static void write_membership(Writer *writer, int i, StringInfo out);
static bool write_condition(Writer *writer, int i, StringInfo out);
static bool find_column(Writer *writer, int i, Column *column);
static ColumnKind kind_of(Oid type, Oid collation);
static bool write_document_condition(Writer *writer, const Column *column, int i, StringInfo out);
static bool write_column_condition(Writer *writer, const Column *column, int i, StringInfo out);
static bool write_equal(Writer *writer, const Column *column, int i, StringInfo out);
static bool write_order(Writer *writer, const Column *column, int i, StringInfo out);
static bool write_pattern(Writer *writer, const Column *column, int i, StringInfo out);
static void write_type(const SvcCriteriaNode *node, const Column *column, StringInfo out);
static bool write_remainder(Writer *writer, const Column *column, int i, StringInfo out);
static bool write_within(Writer *writer, const Column *column, int i, StringInfo out);
static bool is_comparable(const Column *column, const SvcCriteriaNode *value);
static bool is_exact(Writer *writer, const Column *column, int i);
static void write_literal(Writer *writer, const Column *column, int i, bool folded, StringInfo out);
static const char *comparison(SvcCriteriaOp op);

PG_FUNCTION_INFO_V1(svc_criteria_sql);

/*
 * svc_criteria_sql(criteria svc_criteria) -> text
 */
Datum
svc_criteria_sql(PG_FUNCTION_ARGS)
{
	const SvcCriteria *criteria = svc_criteria_present((SvcCriteria *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0)));

	svc_catalog_use(fcinfo);
	PG_RETURN_TEXT_P(cstring_to_text(svc_criteria_sql_text(criteria)));
}

/* An SQL expression, for a query from svc_customer, under no other name. */
char *
svc_criteria_sql_text(const SvcCriteria *criteria)
{
	Writer		writer = {.criteria = criteria, .schema = svc_catalog_schema_name()};
	StringInfoData out;
	bool		exact;

	writer.customers = svc_catalog_open("svc_customer", AccessShareLock);
	initStringInfo(&out);
	exact = write_conjuncts(&writer, 0, &out);
	if (!exact)
		write_fallback(&writer, &out);
	if (out.len == 0)
		appendStringInfoString(&out, "true");
	table_close(writer.customers, NoLock);
	return out.data;
}

/*
 * Write what can be translated of a conjunction, with AND between; false, when
 * that is not all.
 */
static bool
write_conjuncts(Writer *writer, int i, StringInfo out)
{
	const SvcCriteriaNode *nodes = writer->criteria->nodes;
	StringInfoData part;

	check_stack_depth();
	if (nodes[i].op == SVC_CRITERIA_AND && !(nodes[i].flags & SVC_CRITERIA_NEGATED))
	{
		bool		exact = true;

		for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
			exact &= write_conjuncts(writer, child, out);
		return exact;
	}
	initStringInfo(&part);
	if (!write_node(writer, i, &part))
		return false;
	appendStringInfo(out, "%s%s", out->len == 0 ? "" : " AND ", part.data);
	return true;
}

/* All of the criteria, asked of the document. */
static void
write_fallback(Writer *writer, StringInfo out)
{
	const SvcCriteria *criteria = writer->criteria;
	int			end = criteria->node_count;
	StringInfoData paths;

	initStringInfo(&paths);
	for (int i = 0; (i = svc_criteria_condition(criteria, i, end)) < end; i += criteria->nodes[i].size)
		appendStringInfo(&paths, "%s%s", paths.len == 0 ? "" : ", ",
						 quote_literal_cstr(svc_criteria_path_text(criteria, criteria->nodes[i].path)));
	if (criteria->flags & SVC_CRITERIA_USES_SEGMENTS)
		appendStringInfo(&paths, "%s'%s'", paths.len == 0 ? "" : ", ", SVC_CRITERIA_SEGMENTS);
	appendStringInfo(out, "%s%s.svc_customer_document(svc_customer.id, ARRAY[%s]::text[]) OPERATOR(%s.@~) %s::%s.svc_criteria",
					 out->len == 0 ? "" : " AND ", writer->schema, paths.data, writer->schema,
					 quote_literal_cstr(pnstrdup(svc_criteria_source(criteria), criteria->source_length)),
					 writer->schema);
}

/* A node; false, when it cannot be translated. */
static bool
write_node(Writer *writer, int i, StringInfo out)
{
	bool		done;

	check_stack_depth();
	if (!(writer->criteria->nodes[i].flags & SVC_CRITERIA_NEGATED))
		return write_positive(writer, i, out);
	appendStringInfoString(out, "(");
	done = write_positive(writer, i, out);
	appendStringInfoString(out, ") IS NOT TRUE");
	return done;
}

static bool
write_positive(Writer *writer, int i, StringInfo out)
{
	SvcCriteriaOp op = writer->criteria->nodes[i].op;

	if (op == SVC_CRITERIA_AND || op == SVC_CRITERIA_OR)
		return write_junction(writer, i, out);
	if (op == SVC_CRITERIA_IN_SEGMENT)
	{
		write_membership(writer, i, out);
		return true;
	}
	return write_condition(writer, i, out);
}

static bool
write_junction(Writer *writer, int i, StringInfo out)
{
	const SvcCriteriaNode *nodes = writer->criteria->nodes;
	bool		is_and = nodes[i].op == SVC_CRITERIA_AND;

	if (nodes[i].size == 1)
	{
		appendStringInfoString(out, is_and ? "true" : "false");
		return true;
	}
	appendStringInfoChar(out, '(');
	for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
	{
		if (child > i + 1)
			appendStringInfoString(out, is_and ? " AND " : " OR ");
		if (!write_node(writer, child, out))
			return false;
	}
	appendStringInfoChar(out, ')');
	return true;
}

static void
write_membership(Writer *writer, int i, StringInfo out)
{
	const SvcCriteria *criteria = writer->criteria;

	appendStringInfo(out, "EXISTS (SELECT FROM %s.svc_segment_member WHERE svc_segment_member.customer_id = svc_customer.id"
					 " AND svc_segment_member.segment_id IN (", writer->schema);
	for (int value = i + 1; value < i + criteria->nodes[i].size; value++)
		appendStringInfo(out, "%s%s", value == i + 1 ? "" : ", ",
						 quote_literal_cstr(pnstrdup(svc_criteria_data(criteria) + criteria->nodes[value].data,
													 criteria->nodes[value].length)));
	appendStringInfoString(out, "))");
}

/* ---- conditions ---- */

static bool
write_condition(Writer *writer, int i, StringInfo out)
{
	int			steps = svc_criteria_paths_of(writer->criteria)[writer->criteria->nodes[i].path].count;
	Column		column;

	if (!find_column(writer, i, &column) || column.kind == KIND_OTHER)
		return false;
	if (column.kind == KIND_DOCUMENT)
		return steps > 1 && write_document_condition(writer, &column, i, out);
	return steps == 1 && write_column_condition(writer, &column, i, out);
}

/* The column that a path begins with. */
static bool
find_column(Writer *writer, int i, Column *column)
{
	const SvcCriteria *criteria = writer->criteria;
	TupleDesc	desc = RelationGetDescr(writer->customers);
	const char *name = svc_criteria_data(criteria) + svc_criteria_paths_of(criteria)[criteria->nodes[i].path].data;
	int			length = svc_criteria_component(&name);

	for (int n = 0; n < desc->natts; n++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, n);

		if (!svc_document_has_column(att) || strlen(NameStr(att->attname)) != length ||
			memcmp(NameStr(att->attname), name, length) != 0)
			continue;
		column->type = svc_document_column_type(att);
		column->kind = kind_of(column->type, att->attcollation);
		column->not_null = att->attnotnull;
		column->name = psprintf("svc_customer.%s", quote_identifier(NameStr(att->attname)));
		return true;
	}
	return false;
}

/* (what is equal by a collation may differ by byte) */
static ColumnKind
kind_of(Oid type, Oid collation)
{
	if (type == TEXTOID || type == VARCHAROID)
		return get_collation_isdeterministic(collation) ? KIND_TEXT : KIND_OTHER;
	if (type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID)
		return KIND_NUMBER;
	if (type == BOOLOID)
		return KIND_BOOLEAN;
	if (type == TIMESTAMPTZOID)
		return KIND_INSTANT;
	return type == JSONBOID ? KIND_DOCUMENT : KIND_OTHER;
}

/* On a member of a document: criteria of its own, for that document. */
static bool
write_document_condition(Writer *writer, const Column *column, int i, StringInfo out)
{
	StringInfoData condition;

	initStringInfo(&condition);
	/* (what is spelled otherwise may be too long, or too deep) */
	if (!svc_criteria_write_positive(writer->criteria, i, 1, &condition) ||
		!svc_criteria_is_valid(condition.data, condition.len))
		return false;
	appendStringInfo(out, column->not_null ? "%s" : "coalesce(%s, '{}')", column->name);
	appendStringInfo(out, " OPERATOR(%s.@~) %s::%s.svc_criteria", writer->schema,
					 quote_literal_cstr(condition.data), writer->schema);
	return true;
}

static bool
write_column_condition(Writer *writer, const Column *column, int i, StringInfo out)
{
	const SvcCriteriaNode *node = &writer->criteria->nodes[i];

	switch ((SvcCriteriaOp) node->op)
	{
		case SVC_CRITERIA_IN:
			return write_equal(writer, column, i, out);
		case SVC_CRITERIA_GT:
		case SVC_CRITERIA_GTE:
		case SVC_CRITERIA_LT:
		case SVC_CRITERIA_LTE:
			return write_order(writer, column, i, out);
		case SVC_CRITERIA_EXISTS:
			appendStringInfo(out, "%s IS NOT NULL", column->name);
			return true;
		case SVC_CRITERIA_NOT_EMPTY:
			appendStringInfo(out, column->kind == KIND_TEXT ? "%s <> ''" : "%s IS NOT NULL", column->name);
			return true;
		case SVC_CRITERIA_TYPE:
			if (column->type == NUMERICOID)
				return false;	/* (NaN is a string there) */
			write_type(node, column, out);
			return true;
		case SVC_CRITERIA_REGEX:
		case SVC_CRITERIA_STARTS_WITH:
		case SVC_CRITERIA_ENDS_WITH:
		case SVC_CRITERIA_CONTAINS:
			return column->kind == KIND_TEXT && write_pattern(writer, column, i, out);
		case SVC_CRITERIA_MOD:
			return write_remainder(writer, column, i, out);
		case SVC_CRITERIA_WITHIN_LAST:
		case SVC_CRITERIA_WITHIN_NEXT:
			return column->kind == KIND_INSTANT && write_within(writer, column, i, out);
		case SVC_CRITERIA_ELEMENT:
		case SVC_CRITERIA_ELEMENT_DOCUMENT:
		case SVC_CRITERIA_SIZE:
			/* no array */
			appendStringInfoString(out, "false");
			return true;
		case SVC_CRITERIA_VERSION_EQ:
		case SVC_CRITERIA_VERSION_GT:
		case SVC_CRITERIA_VERSION_GTE:
		case SVC_CRITERIA_VERSION_LT:
		case SVC_CRITERIA_VERSION_LTE:
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

static bool
write_equal(Writer *writer, const Column *column, int i, StringInfo out)
{
	const SvcCriteriaNode *nodes = writer->criteria->nodes;
	bool		folded = (nodes[i].flags & SVC_CRITERIA_FOLDED) != 0;
	bool		or_null = false;
	int			count = 0;
	StringInfoData list;

	initStringInfo(&list);
	for (int value = i + 1; value < i + nodes[i].size; value++)
	{
		if (!is_exact(writer, column, value))
			return false;
		or_null |= nodes[value].op == SVC_CRITERIA_NULL;
		if (!is_comparable(column, &nodes[value]))
			continue;
		if (count++ > 0)
			appendStringInfoString(&list, ", ");
		write_literal(writer, column, value, folded, &list);
	}
	appendStringInfoChar(out, '(');
	if (list.len == 0)
		appendStringInfoString(out, or_null ? "" : "false");
	else if (folded && column->kind == KIND_TEXT)
		appendStringInfo(out, "lower(%s COLLATE \"default\") IN (%s)", column->name, list.data);
	else
		appendStringInfo(out, count == 1 ? "%s = %s" : "%s IN (%s)", column->name, list.data);
	if (or_null)
		appendStringInfo(out, "%s%s IS NULL", list.len == 0 ? "" : " OR ", column->name);
	appendStringInfoChar(out, ')');
	return true;
}

static bool
write_order(Writer *writer, const Column *column, int i, StringInfo out)
{
	SvcCriteriaOp op = writer->criteria->nodes[i].op;
	bool		upwards = op == SVC_CRITERIA_GT || op == SVC_CRITERIA_GTE;

	if (!is_exact(writer, column, i + 1))
		return false;
	if (!is_comparable(column, &writer->criteria->nodes[i + 1]))
	{
		appendStringInfoString(out, "false");
		return true;
	}
	appendStringInfo(out, "(%s%s %s ", column->name, column->kind == KIND_TEXT ? " COLLATE \"C\"" : "", comparison(op));
	write_literal(writer, column, i + 1, false, out);
	/* what is no number in JSON, and no instant */
	if (column->kind == KIND_INSTANT)
		appendStringInfo(out, upwards ? " AND %s < '10000-01-01Z'" : " AND %s >= '0001-01-01Z'", column->name);
	if (column->type == NUMERICOID)
		appendStringInfo(out, upwards ? " AND %s < 'infinity'" : " AND %s > '-infinity'", column->name);
	appendStringInfoChar(out, ')');
	return true;
}

static bool
write_pattern(Writer *writer, const Column *column, int i, StringInfo out)
{
	const SvcCriteriaNode *node = &writer->criteria->nodes[i];
	const char *bytes = svc_criteria_data(writer->criteria) + node->data;
	char	   *wanted = pnstrdup(bytes, node->length);
	char	   *literal = quote_literal_cstr(wanted);

	if (node->op == SVC_CRITERIA_REGEX)
		appendStringInfo(out, "%s COLLATE \"default\" ~ %s", column->name, literal);
	else if (node->op == SVC_CRITERIA_STARTS_WITH)
		appendStringInfo(out, "starts_with(%s, %s)", column->name, literal);
	else if (node->op == SVC_CRITERIA_ENDS_WITH)
		appendStringInfo(out, "right(%s, char_length(%s)) = %s", column->name, literal, literal);
	else if (node->flags & SVC_CRITERIA_FOLDED)
		appendStringInfo(out, "strpos(lower(%s COLLATE \"default\"), %s) > 0", column->name,
						 quote_literal_cstr(str_tolower(bytes, node->length, DEFAULT_COLLATION_OID)));
	else
		appendStringInfo(out, "strpos(%s, %s) > 0", column->name, literal);
	return true;
}

static void
write_type(const SvcCriteriaNode *node, const Column *column, StringInfo out)
{
	SvcCriteriaType type = column->kind == KIND_NUMBER ? SVC_CRITERIA_TYPE_NUMBER :
		column->kind == KIND_BOOLEAN ? SVC_CRITERIA_TYPE_BOOLEAN : SVC_CRITERIA_TYPE_STRING;

	if (node->data & 1 << type)
		appendStringInfo(out, "%s IS NOT NULL", column->name);
	else
		appendStringInfoString(out, "false");
}

/* Of whole numbers; others may be none. */
static bool
write_remainder(Writer *writer, const Column *column, int i, StringInfo out)
{
	if (column->kind != KIND_NUMBER || column->type == NUMERICOID)
		return false;
	appendStringInfo(out, "mod(%s::numeric, trunc(", column->name);
	svc_criteria_write_value(writer->criteria, i + 1, out);
	appendStringInfoString(out, "::numeric)) = trunc(");
	svc_criteria_write_value(writer->criteria, i + 2, out);
	appendStringInfoString(out, "::numeric)");
	return true;
}

static bool
write_within(Writer *writer, const Column *column, int i, StringInfo out)
{
	const SvcCriteriaNode *node = &writer->criteria->nodes[i];
	char	   *bound = pnstrdup(svc_criteria_data(writer->criteria) + node->data, node->length);
	bool		last = node->op == SVC_CRITERIA_WITHIN_LAST;

	if (!svc_criteria_date_math_is_near(bound, node->length))
		return false;
	appendStringInfo(out, "(%s BETWEEN %s.svc_instant('%s') AND %s.svc_instant('%s'))", column->name,
					 writer->schema, last ? bound : "now", writer->schema, last ? "now" : bound);
	return true;
}

/* ---- literals ---- */

/* Can a column have such a value at all? */
static bool
is_comparable(const Column *column, const SvcCriteriaNode *value)
{
	if (column->kind == KIND_TEXT)
		return value->op == SVC_CRITERIA_STRING;
	if (column->kind == KIND_NUMBER)
		return value->op == SVC_CRITERIA_NUMBER;
	if (column->kind == KIND_BOOLEAN)
		return value->op == SVC_CRITERIA_TRUE || value->op == SVC_CRITERIA_FALSE;
	return value->op == SVC_CRITERIA_INSTANT || value->op == SVC_CRITERIA_DATE_MATH;
}

/*
 * A text may be an instant, and an instant is a text, in the document; so is NaN.
 * Date math that leads far away leads where there are no instants.
 */
static bool
is_exact(Writer *writer, const Column *column, int i)
{
	const SvcCriteriaNode *value = &writer->criteria->nodes[i];

	if (column->kind == KIND_TEXT)
		return value->op != SVC_CRITERIA_INSTANT && value->op != SVC_CRITERIA_DATE_MATH;
	if (column->kind == KIND_INSTANT && value->op == SVC_CRITERIA_DATE_MATH)
		return svc_criteria_date_math_is_near(svc_criteria_data(writer->criteria) + value->data, value->length);
	return value->op != SVC_CRITERIA_STRING || (column->kind != KIND_INSTANT && column->type != NUMERICOID);
}

static void
write_literal(Writer *writer, const Column *column, int i, bool folded, StringInfo out)
{
	const SvcCriteriaNode *node = &writer->criteria->nodes[i];
	const char *bytes = svc_criteria_data(writer->criteria) + node->data;
	int64		instant;

	if (node->op == SVC_CRITERIA_STRING)
		appendStringInfoString(out, quote_literal_cstr(folded ? str_tolower(bytes, node->length, DEFAULT_COLLATION_OID) :
													   pnstrdup(bytes, node->length)));
	else if (node->op == SVC_CRITERIA_INSTANT)
	{
		memcpy(&instant, bytes, sizeof(instant));
		appendStringInfo(out, "'%s'::timestamptz", svc_criteria_write_instant(instant));
	}
	else if (node->op == SVC_CRITERIA_DATE_MATH)
		appendStringInfo(out, "%s.svc_instant('%.*s')", writer->schema, (int) node->length, bytes);
	else if (node->op == SVC_CRITERIA_NUMBER && strspn(pnstrdup(bytes, node->length), "0123456789") < node->length)
		appendStringInfo(out, "(%.*s)", (int) node->length, bytes);
	else
		svc_criteria_write_value(writer->criteria, i, out);
}

static const char *
comparison(SvcCriteriaOp op)
{
	if (op == SVC_CRITERIA_GT)
		return ">";
	if (op == SVC_CRITERIA_GTE)
		return ">=";
	return op == SVC_CRITERIA_LT ? "<" : "<=";
}
