/*-------------------------------------------------------------------------
 *
 * changes.c
 *	  What an event says about the change that it reports.
 *
 * An object with a member for each column that changed:
 *
 *		{"status": {"old": "active", "new": "churned"}, ...}
 *
 * Numbers, booleans and small JSON documents are themselves, all else is text;
 * instants are in UTC, whatever the session's time zone; long values are cut.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "changes.h"

/* How much of a long value is shown, in bytes. */
#define VALUE_SHOWN_MAX			200

static void append_notes(StringInfo json, const SvcNote *note);
static bool finish(StringInfo json, Datum *changes);
static void append_change(StringInfo json, const char *name);
static void append_json_value(StringInfo json, Oid type, Datum value, bool isnull);
static void append_json_text(StringInfo json, const char *value);

/*
 * Describe what a statement has changed, less the columns in the space-separated
 * list "omitted", and with notes, if there are any.  Returns false when there
 * is nothing to say.
 */
bool
svc_changes_describe(SvcRowChange *change, const char *omitted, const SvcNote *note,
					 Datum *changes)
{
	TupleDesc	desc = RelationGetDescr(change->rel);
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < desc->natts && !change->is_insert; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!svc_row_differs(change, i) || svc_noun_list_has(omitted, NameStr(att->attname)))
			continue;
		append_change(&json, NameStr(att->attname));
		append_json_value(&json, att->atttypid, change->old_values[i], change->old_isnull[i]);
		appendStringInfoString(&json, ",\"new\":");
		append_json_value(&json, att->atttypid, change->new_values[i], change->new_isnull[i]);
		appendStringInfoChar(&json, '}');
	}
	append_notes(&json, note);
	return finish(&json, changes);
}

/* Changes that are no more than notes. */
bool
svc_changes_note(const SvcNote *note, Datum *changes)
{
	StringInfoData json;

	initStringInfo(&json);
	append_notes(&json, note);
	return finish(&json, changes);
}

static void
append_notes(StringInfo json, const SvcNote *note)
{
	for (; note != NULL && note->name != NULL; note = note->next)
	{
		append_change(json, note->name);
		append_json_text(json, note->old_value);
		appendStringInfoString(json, ",\"new\":");
		append_json_text(json, note->new_value);
		appendStringInfoChar(json, '}');
	}
}

/* Close the object; false when it has no members. */
static bool
finish(StringInfo json, Datum *changes)
{
	if (json->len == 0)
		return false;
	appendStringInfoChar(json, '}');
	*changes = DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data));
	return true;
}

/* {"name":{"old": or ,"name":{"old": */
static void
append_change(StringInfo json, const char *name)
{
	appendStringInfoChar(json, json->len == 0 ? '{' : ',');
	escape_json(json, name);
	appendStringInfoString(json, ":{\"old\":");
}

static void
append_json_value(StringInfo json, Oid type, Datum value, bool isnull)
{
	char		instant[MAXDATELEN + 1];
	int			utc = 0;
	Oid			output;
	bool		is_varlena;
	char	   *printed;

	if (isnull)
	{
		append_json_text(json, NULL);
		return;
	}
	if (type == TIMESTAMPTZOID && !TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(value)))
	{
		JsonEncodeDateTime(instant, value, type, &utc);
		append_json_text(json, instant);
		return;
	}

	getTypeOutputInfo(type, &output, &is_varlena);
	printed = OidOutputFunctionCall(output, value);
	switch (type)
	{
		case BOOLOID:
			appendStringInfoString(json, DatumGetBool(value) ? "true" : "false");
			return;
		case INT4OID:
		case INT8OID:
			appendStringInfoString(json, printed);
			return;
		case NUMERICOID:
			/* NaN and infinities are no JSON numbers */
			if (isdigit((unsigned char) printed[strspn(printed, "-")]) &&
				strlen(printed) <= VALUE_SHOWN_MAX)
			{
				appendStringInfoString(json, printed);
				return;
			}
			break;
		case JSONBOID:
			if (strlen(printed) <= VALUE_SHOWN_MAX)
			{
				appendStringInfoString(json, printed);
				return;
			}
			break;
		default:
			break;
	}
	append_json_text(json, printed);
}

/* A text, cut when it is long; NULL is null. */
static void
append_json_text(StringInfo json, const char *value)
{
	size_t		len;

	if (value == NULL)
	{
		appendStringInfoString(json, "null");
		return;
	}
	len = strlen(value);
	if (len > VALUE_SHOWN_MAX)
		value = psprintf("%.*s...", pg_mbcliplen(value, len, VALUE_SHOWN_MAX), value);
	escape_json(json, value);
}
