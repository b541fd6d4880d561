/*-------------------------------------------------------------------------
 *
 * criteria.c
 *	  The type svc_criteria: input, output, casts, equality, and what criteria
 *	  say about themselves.
 *
 * Text in is text out; everything else is made from it, so that the binary form,
 * too, is the text, and is checked as strictly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "regex/regex.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "criteria.h"
#include "criteria_match.h"
#include "error.h"

static SvcCriteria *compile(const char *source, int length);
static char *check_regex(const char *pattern, int length);
static bool are_equal(const SvcCriteria *a, const SvcCriteria *b);
static Datum as_jsonb(const SvcCriteria *criteria);
static const SvcCriteria *argument(FunctionCallInfo fcinfo, int n);
static void add_paths(const SvcCriteria *criteria, bool *mentioned);

PG_FUNCTION_INFO_V1(svc_criteria_in);
PG_FUNCTION_INFO_V1(svc_criteria_out);
PG_FUNCTION_INFO_V1(svc_criteria_recv);
PG_FUNCTION_INFO_V1(svc_criteria_send);
PG_FUNCTION_INFO_V1(svc_criteria_from_jsonb);
PG_FUNCTION_INFO_V1(svc_criteria_to_jsonb);
PG_FUNCTION_INFO_V1(svc_criteria_eq);
PG_FUNCTION_INFO_V1(svc_criteria_ne);
PG_FUNCTION_INFO_V1(svc_criteria_hash);
PG_FUNCTION_INFO_V1(svc_criteria_paths);
PG_FUNCTION_INFO_V1(svc_instant);

/*
 * svc_criteria_in(cstring) -> svc_criteria
 *
 * Raises SV022 with a JSON pointer to what is wrong.
 */
Datum
svc_criteria_in(PG_FUNCTION_ARGS)
{
	const char *source = PG_GETARG_CSTRING(0);

	PG_RETURN_POINTER(compile(source, strlen(source)));
}

Datum
svc_criteria_out(PG_FUNCTION_ARGS)
{
	const SvcCriteria *criteria = argument(fcinfo, 0);

	PG_RETURN_CSTRING(pnstrdup(svc_criteria_source(criteria), criteria->source_length));
}

/* A byte with the version of the format, which is that of the language, and text. */
Datum
svc_criteria_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgbyte(message);
	char	   *source;
	int			length;

	if (version != SVC_CRITERIA_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_INVALID_CRITERIA),
				 errmsg("segment criteria have an unknown format"),
				 errdetail("The version of the format is %d, this server knows %d.", version, SVC_CRITERIA_VERSION),
				 errhint("Send them as text.")));
	source = pq_getmsgtext(message, message->len - message->cursor, &length);
	PG_RETURN_POINTER(compile(source, length));
}

Datum
svc_criteria_send(PG_FUNCTION_ARGS)
{
	const SvcCriteria *criteria = argument(fcinfo, 0);
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendbyte(&message, SVC_CRITERIA_VERSION);
	pq_sendtext(&message, svc_criteria_source(criteria), criteria->source_length);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

Datum
svc_criteria_from_jsonb(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(svc_criteria_read(PG_GETARG_JSONB_P(0)));
}

Datum
svc_criteria_to_jsonb(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(as_jsonb(argument(fcinfo, 0)));
}

Datum
svc_criteria_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(are_equal(argument(fcinfo, 0), argument(fcinfo, 1)));
}

Datum
svc_criteria_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!are_equal(argument(fcinfo, 0), argument(fcinfo, 1)));
}

Datum
svc_criteria_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_UINT32(argument(fcinfo, 0)->hash);
}

/*
 * svc_criteria_paths(svc_criteria) -> text[]
 *
 * The paths of the document that criteria look at, as they are written there, and
 * "segments", if they look at these.
 */
Datum
svc_criteria_paths(PG_FUNCTION_ARGS)
{
	const SvcCriteria *criteria = argument(fcinfo, 0);
	bool	   *mentioned = palloc0(criteria->path_count * sizeof(bool));
	Datum	   *texts = palloc((criteria->path_count + 1) * sizeof(Datum));
	bool		segments = (criteria->flags & SVC_CRITERIA_USES_SEGMENTS) != 0;
	int			count = 0;

	add_paths(criteria, mentioned);
	for (int i = 0; i < criteria->path_count; i++)
	{
		char	   *path = svc_criteria_path_text(criteria, i);

		if (!mentioned[i])
			continue;
		texts[count++] = CStringGetTextDatum(path);
		segments &= strcmp(path, SVC_CRITERIA_SEGMENTS) != 0;
	}
	if (segments)
		texts[count++] = CStringGetTextDatum(SVC_CRITERIA_SEGMENTS);
	PG_RETURN_ARRAYTYPE_P(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * svc_instant(math text, at timestamptz) -> timestamptz
 *
 * What date math, such as "now-30d/d", comes to at an instant, by default now.
 */
Datum
svc_instant(PG_FUNCTION_ARGS)
{
	char	   *math;
	int64		instant;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	math = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!svc_criteria_read_date_math(math, strlen(math), PG_ARGISNULL(1) ? svc_clock_now() : PG_GETARG_TIMESTAMPTZ(1), &instant))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("invalid date math: \"%s\"", math),
				 errdetail("It is no date math, or leads out of time."),
				 errhint("It is \"now\", followed by steps such as \"-30d\" and roundings such as \"/d\"; units are s, m, h, d, w, M and y.")));
	PG_RETURN_TIMESTAMPTZ(instant);
}

const char *
svc_criteria_type_name(SvcCriteriaType type)
{
	static const char *const names[SVC_CRITERIA_TYPE_COUNT] = {
		[SVC_CRITERIA_TYPE_NULL] = "null", [SVC_CRITERIA_TYPE_BOOLEAN] = "boolean",
		[SVC_CRITERIA_TYPE_NUMBER] = "number", [SVC_CRITERIA_TYPE_STRING] = "string",
		[SVC_CRITERIA_TYPE_ARRAY] = "array", [SVC_CRITERIA_TYPE_OBJECT] = "object",
	};

	return names[type];
}

/* A path as it is written in criteria. */
char *
svc_criteria_path_text(const SvcCriteria *criteria, int number)
{
	const SvcCriteriaPath *path = &svc_criteria_paths_of(criteria)[number];
	const char *component = svc_criteria_data(criteria) + path->data;
	StringInfoData written;

	initStringInfo(&written);
	for (int i = 0; i < path->count; i++)
	{
		int			length = svc_criteria_component(&component);

		if (i > 0)
			appendStringInfoChar(&written, '.');
		for (int j = 0; j < length; j++)
		{
			if (component[j] == '.' || component[j] == '\\')
				appendStringInfoChar(&written, '\\');
			appendStringInfoChar(&written, component[j]);
		}
		component += length;
	}
	return written.data;
}

/* Those of the document itself, not of documents in it. */
static void
add_paths(const SvcCriteria *criteria, bool *mentioned)
{
	int			end = criteria->node_count;

	for (int i = 0; (i = svc_criteria_condition(criteria, i, end)) < end; i += criteria->nodes[i].size)
		mentioned[criteria->nodes[i].path] = true;
}

/* Criteria from a document; raises SV022. */
SvcCriteria *
svc_criteria_read(Jsonb *document)
{
	StringInfoData source;

	initStringInfo(&source);
	(void) JsonbToCString(&source, &document->root, VARSIZE(document));
	return compile(source.data, source.len);
}

/* Would that be taken for criteria? */
bool
svc_criteria_is_valid(const char *source, int length)
{
	SvcCriteriaHost host = {.encoding = GetDatabaseEncoding(), .check_regex = check_regex};
	SvcCriteriaError error;

	return svc_criteria_parse(source, length, &host, &error) != NULL;
}

static SvcCriteria *
compile(const char *source, int length)
{
	SvcCriteriaHost host = {.encoding = GetDatabaseEncoding(), .check_regex = check_regex};
	SvcCriteriaError error;
	SvcCriteria *criteria = svc_criteria_parse(source, length, &host, &error);
	Datum		document;

	if (criteria == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_INVALID_CRITERIA),
				 errmsg("invalid segment criteria: %s", error.message),
				 errdetail("at %s", error.pointer[0] == '\0' ? "the whole" : error.pointer),
				 error.hint != NULL ? errhint("%s", error.hint) : 0));
	document = as_jsonb(criteria);
	criteria->hash = DatumGetUInt32(DirectFunctionCall1(jsonb_hash, document));
	pfree(DatumGetPointer(document));
	return criteria;
}

/*
 * Are these the same document, whatever its spaces and the order of its keys?  What
 * is made on the way is freed, because ANALYZE compares very many.
 */
static bool
are_equal(const SvcCriteria *a, const SvcCriteria *b)
{
	Datum		first;
	Datum		second;
	bool		equal;

	if (a->hash != b->hash)
		return false;
	if (a->source_length == b->source_length &&
		memcmp(svc_criteria_source(a), svc_criteria_source(b), a->source_length) == 0)
		return true;
	first = as_jsonb(a);
	second = as_jsonb(b);
	equal = DatumGetBool(DirectFunctionCall2(jsonb_eq, first, second));
	pfree(DatumGetPointer(first));
	pfree(DatumGetPointer(second));
	return equal;
}

/* NULL, or why PostgreSQL does not take a pattern. */
static char *
check_regex(const char *pattern, int length)
{
	pg_wchar   *wide = palloc((length + 1) * sizeof(pg_wchar));
	int			wide_length = pg_mb2wchar_with_len(pattern, wide, length);
	regex_t		regex;
	char		message[100];
	int			result = pg_regcomp(&regex, wide, wide_length, REG_ADVANCED | REG_NOSUB, DEFAULT_COLLATION_OID);

	pfree(wide);
	if (result == REG_OKAY)
	{
		pg_regfree(&regex);
		return NULL;
	}
	pg_regerror(result, &regex, message, sizeof(message));
	return pstrdup(message);
}

static Datum
as_jsonb(const SvcCriteria *criteria)
{
	char	   *source = pnstrdup(svc_criteria_source(criteria), criteria->source_length);
	Datum		document = DirectFunctionCall1(jsonb_in, CStringGetDatum(source));

	pfree(source);
	return document;
}

static const SvcCriteria *
argument(FunctionCallInfo fcinfo, int n)
{
	return svc_criteria_present((SvcCriteria *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)));
}

/* Stored criteria, if this version can read them; raises SV022 else. */
const SvcCriteria *
svc_criteria_present(const SvcCriteria *criteria)
{
	if (criteria->version != SVC_CRITERIA_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_INVALID_CRITERIA),
				 errmsg("segment criteria have an unknown format"),
				 errdetail("The version of the format is %d, this server knows %d.", criteria->version, SVC_CRITERIA_VERSION),
				 errhint("Another version of svc has stored them; use that one, or store them anew.")));
	return criteria;
}
