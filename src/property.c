/*-------------------------------------------------------------------------
 *
 * property.c
 *	  Rows of nouns from JSON objects of properties.
 *
 * A *property* is a column that a caller may set, by its name.  The table
 * itself is the list of properties, a user's own columns included; what svc
 * maintains is not among them.  A key that is no property and a value of the
 * wrong JSON type are errors, where the server's jsonb_to_record()
 * would overlook the one and convert the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "argument.h"
#include "catalog.h"
#include "compat.h"
#include "error.h"
#include "gate.h"
#include "lifecycle.h"
#include "property.h"
#include "statement.h"
#include "transition.h"

/* Columns that no caller sets, besides those that the noun maintains. */
#define NO_PROPERTIES		"customer_id revision updated_at"

/* The columns that an object of properties sets, separated by commas. */
typedef struct ColumnLists
{
	StringInfoData names;		/* quoted */
	StringInfoData definitions; /* the same with their types */
} ColumnLists;

/* A suggestion may differ from what was written in this many places. */
#define NEAREST_DISTANCE_MAX	4

/* How much of an unknown key a message shows, in bytes. */
#define KEY_SHOWN_MAX			100

static void check_properties(SvcNoun noun, Jsonb *properties, const char *fixed,
							 ColumnLists *lists);
static void list_columns(SvcNoun noun, Relation rel, Jsonb *properties, const char *fixed,
						 ColumnLists *lists);
static void add_column(ColumnLists *lists, Form_pg_attribute att);
static Form_pg_attribute find_property(SvcNoun noun, Relation rel, const char *key);
static bool is_property(SvcNoun noun, Form_pg_attribute att);
static void check_value(SvcNoun noun, Form_pg_attribute att, const JsonbValue *value);
static const char *expected_json_type(Oid type);
static const char *json_type_name(const JsonbValue *value);
static char *to_snake_case(const char *key);
static const char *nearest_property(SvcNoun noun, Relation rel, const char *key);
pg_noreturn static void report_unknown_property(SvcNoun noun, Relation rel, const char *key);
pg_noreturn static void report_fixed_property(SvcNoun noun, const char *key);

/*
 * Insert a row of a noun from an object of properties, and return its id.
 * "customer_id" is 0 for nouns that belong to no customer.
 *
 * The row's columns that are not among the properties get their defaults.
 */
Datum
svc_property_insert(SvcNoun noun, Datum customer_id, Jsonb *properties)
{
	SvcDeed		deed = {.noun = noun, .action = svc_transition_creator(noun)};
	const char *table = svc_noun_info(noun)->table;
	bool		owned = svc_noun_info(noun)->key == SVC_KEY_OF_CUSTOMER;
	Oid			argtypes[2] = {JSONBOID, TEXTOID};
	Datum		values[2] = {JsonbPGetDatum(properties), customer_id};
	bool		isnull[2] = {false, !owned};
	ColumnLists lists;
	char	   *sql;

	check_properties(noun, properties, "", &lists);
	if (lists.names.len == 0)
		sql = owned ?
			psprintf("INSERT INTO @extschema@.%s (customer_id) VALUES ($2) RETURNING id::text", table) :
			psprintf("INSERT INTO @extschema@.%s DEFAULT VALUES RETURNING id::text", table);
	else
		sql = psprintf("INSERT INTO @extschema@.%s (%s%s)"
					   " SELECT %s%s FROM jsonb_to_record($1) AS r (%s)"
					   " RETURNING id::text",
					   table, owned ? "customer_id, " : "", lists.names.data,
					   owned ? "$2, " : "", lists.names.data, lists.definitions.data);
	svc_lifecycle_write_once(&deed, sql, 2, argtypes, values, isnull);
	return svc_statement_value(0, 1, &isnull[0]);
}

/*
 * Update a row of a noun from an object of properties; a property that is
 * null becomes NULL.  "action" is what is done, "fixed" lists columns that it
 * cannot change, "further" is what it sets besides, SQL
 * that begins with a comma, or empty.  Returns the row's
 * status.
 */
Datum
svc_property_update(SvcNoun noun, const char *action, const char *fixed,
					const char *further, Datum customer_id, Datum id, Jsonb *properties)
{
	SvcDeed		deed = {.noun = noun, .action = action};
	const char *table = svc_noun_info(noun)->table;
	bool		owned = svc_noun_info(noun)->key == SVC_KEY_OF_CUSTOMER;
	Oid			argtypes[3] = {JSONBOID, TEXTOID, TEXTOID};
	Datum		values[3] = {JsonbPGetDatum(properties), id, customer_id};
	bool		isnull[3] = {false, false, !owned};
	ColumnLists lists;
	char	   *sql;

	check_properties(noun, properties, fixed, &lists);
	if (lists.names.len == 0 && further[0] != '\0')
		sql = psprintf("UPDATE @extschema@.%s SET %s WHERE id = $2%s AND $1 IS NOT NULL"
					   " RETURNING status::text",
					   table, further + strlen(", "), owned ? " AND customer_id = $3" : "");
	else if (lists.names.len == 0)
		sql = psprintf("SELECT status::text FROM @extschema@.%s WHERE id = $2%s AND $1 IS NOT NULL",
					   table, owned ? " AND customer_id = $3" : "");
	else
		sql = psprintf("UPDATE @extschema@.%s SET (%s) ="
					   " (SELECT %s FROM jsonb_to_record($1) AS r (%s))%s"
					   " WHERE id = $2%s RETURNING status::text",
					   table, lists.names.data, lists.names.data, lists.definitions.data, further,
					   owned ? " AND customer_id = $3" : "");
	if (svc_lifecycle_write_once(&deed, sql, 3, argtypes, values, isnull) == 0)
		svc_gate_report_suppressed(noun, id);
	return svc_statement_value(0, 1, &isnull[0]);
}

/* Check an object of properties, and list the columns that it sets. */
static void
check_properties(SvcNoun noun, Jsonb *properties, const char *fixed, ColumnLists *lists)
{
	Relation	rel;

	if (!JB_ROOT_IS_OBJECT(properties))
		ereport(ERROR,
				(errcode(ERRCODE_SVC_PROPERTY_TYPE),
				 errmsg("properties of %s must be a JSON object", svc_noun_info(noun)->name),
				 errdetail("They are a JSON %s.",
						   JB_ROOT_IS_SCALAR(properties) ? "scalar" : "array"),
				 errhint("Pass an object such as '{\"name\": \"Ada\"}'.")));

	rel = svc_catalog_open(svc_noun_info(noun)->table, RowExclusiveLock);
	list_columns(noun, rel, properties, fixed, lists);
	table_close(rel, NoLock);
}

static void
list_columns(SvcNoun noun, Relation rel, Jsonb *properties, const char *fixed,
			 ColumnLists *lists)
{
	JsonbIterator *it = JsonbIteratorInit(&properties->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	Form_pg_attribute att = NULL;

	initStringInfo(&lists->names);
	initStringInfo(&lists->definitions);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *key = pnstrdup(value.val.string.val, value.val.string.len);

			att = find_property(noun, rel, key);
			if (svc_noun_list_has(fixed, key))
				report_fixed_property(noun, key);
			add_column(lists, att);
		}
		else if (token == WJB_VALUE)
			check_value(noun, att, &value);
	}
}

static void
add_column(ColumnLists *lists, Form_pg_attribute att)
{
	const char *separator = lists->names.len > 0 ? ", " : "";
	const char *name = quote_identifier(NameStr(att->attname));

	appendStringInfo(&lists->names, "%s%s", separator, name);
	appendStringInfo(&lists->definitions, "%s%s %s", separator, name,
					 format_type_extended(att->atttypid, att->atttypmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

static Form_pg_attribute
find_property(SvcNoun noun, Relation rel, const char *key)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (is_property(noun, att) && strcmp(NameStr(att->attname), key) == 0)
			return att;
	}
	report_unknown_property(noun, rel, key);
}

static bool
is_property(SvcNoun noun, Form_pg_attribute att)
{
	const char *name = NameStr(att->attname);

	return !att->attisdropped && att->attgenerated == '\0' &&
		att->attidentity != ATTRIBUTE_IDENTITY_ALWAYS &&
		!svc_noun_list_has(NO_PROPERTIES, name) &&
		!svc_noun_list_has(svc_noun_info(noun)->maintained, name) &&
		!svc_noun_list_has(svc_noun_info(noun)->counters, name);
}

/* Null is a value of every type; jsonb columns take any. */
static void
check_value(SvcNoun noun, Form_pg_attribute att, const JsonbValue *value)
{
	const char *expected = expected_json_type(getBaseType(att->atttypid));
	const char *given = json_type_name(value);

	if (value->type != jbvNull && expected != NULL && strcmp(expected, given) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_PROPERTY_TYPE),
				 errmsg("property \"%s\" of %s must be a JSON %s",
						NameStr(att->attname), svc_noun_info(noun)->name, expected),
				 errdetail("It is a JSON %s.", given),
				 errhint("The column is of type %s.", format_type_be(att->atttypid))));

	if (strcmp(NameStr(att->attname), "id") == 0 && value->type == jbvString)
		svc_check_id(PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
															  value->val.string.len)),
					 psprintf("%s id", svc_noun_info(noun)->name));
}

/* The JSON type that a column takes; NULL: any. */
static const char *
expected_json_type(Oid type)
{
	switch (type)
	{
		case JSONBOID:
		case JSONOID:
			return NULL;
		case BOOLOID:
			return "boolean";
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return "number";
		default:
			return OidIsValid(get_element_type(type)) ? "array" : "string";
	}
}

static const char *
json_type_name(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
		case jbvDatetime:
			return "string";
		case jbvNumeric:
			return "number";
		case jbvBool:
			return "boolean";
		case jbvArray:
			return "array";
		case jbvObject:
			return "object";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "array" : "object";
	}
	pg_unreachable();
}

/* externalId becomes external_id, for who writes the other spelling. */
static char *
to_snake_case(const char *key)
{
	StringInfoData snake;

	initStringInfo(&snake);
	for (const char *c = key; *c != '\0'; c++)
	{
		if (*c >= 'A' && *c <= 'Z')
		{
			if (c > key)
				appendStringInfoChar(&snake, '_');
			appendStringInfoChar(&snake, *c - 'A' + 'a');
		}
		else
			appendStringInfoChar(&snake, *c == '-' || *c == ' ' ? '_' : *c);
	}
	return snake.data;
}

/* The property that a key was probably meant to be, or NULL. */
static const char *
nearest_property(SvcNoun noun, Relation rel, const char *key)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const char **names = palloc(desc->natts * sizeof(char *));
	int			count = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		if (is_property(noun, TupleDescAttr(desc, i)))
			names[count++] = NameStr(TupleDescAttr(desc, i)->attname);
	}
	return svc_nearest(to_snake_case(key), names, count, NEAREST_DISTANCE_MAX);
}

static void
report_unknown_property(SvcNoun noun, Relation rel, const char *key)
{
	const char *nearest = nearest_property(noun, rel, key);
	int			shown = pg_mbcliplen(key, strlen(key), KEY_SHOWN_MAX);

	ereport(ERROR,
			(errcode(ERRCODE_SVC_UNKNOWN_PROPERTY),
			 errmsg("%s has no property \"%.*s\" that can be set",
					svc_noun_info(noun)->name, shown, key),
			 errdetail("Properties are the columns of table \"%s\" that svc does not maintain itself.",
					   RelationGetRelationName(rel)),
			 nearest ? errhint("Did you mean \"%s\"?", nearest) :
			 errhint("Keep what belongs to your application in property \"attributes\".")));
}

static void
report_fixed_property(SvcNoun noun, const char *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_UNKNOWN_PROPERTY),
			 errmsg("property \"%s\" of %s cannot be changed here", key,
					svc_noun_info(noun)->name),
			 errhint("Ids never change; other properties have actions of their own.")));
}
