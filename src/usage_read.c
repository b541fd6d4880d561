/*-------------------------------------------------------------------------
 *
 * usage_read.c
 *	  What a customer has used between two instants, exactly.
 *
 * From roll-ups, what there is in whole years, months, days and hours, the longest
 * first; from raw records, the parts of hours at both ends; and in between the *tail*,
 * records that are not rolled up yet (usage_fold.c):
 *
 *		raw | hours | days | months | years | months | days | hours | raw
 *
 * A month of a million records is one roll-up, and the tail.  All is read with one
 * snapshot, that of the calling query: what is rolled up meanwhile is not counted twice.
 *
 * A question that begins or ends within an hour whose raw records are purged misses
 * that part of an hour.
 *
 * A customer that was merged into another has only what was final, the hours of which
 * are whole, but perhaps not the days and years (merge.c).
 *
 * Of the last quantity the raw records tell most simply, by the index, as they do of the
 * greatest when what is rolled up has been corrected since.  Where they are purged, which
 * is final, roll-ups tell.  Those that a purge has left there, for they are disputed, do
 * not: what would outdo them may be gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/tuplestore.h"

#include "amount.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "meter.h"
#include "snapshot.h"
#include "statement.h"
#include "usage_read.h"
#include "usage_sql.h"

/* So many rows a call may return. */
#define ROWS_MAX		100000

/* Hours, days, months, on either side, and years. */
#define PIECES_MAX		7

const char *const svc_usage_window_names[SVC_USAGE_WINDOWS] = {
	"current_period", "last_7d", "last_30d", "last_90d", "lifetime",
};

/* Hours of those that are so many. */
static const int window_hours[SVC_USAGE_WINDOWS] = {0, 7 * 24, 30 * 24, 90 * 24, 0};

/* Spans of whole periods of one kind. */
typedef struct Piece
{
	SvcPeriod	kind;
	SvcSpan		span;
} Piece;

/* What a question is made up of. */
typedef struct Question
{
	const SvcUsageReader *reader;
	const char *resource;
	const SvcMeter *meter;		/* or NULL */
	SvcAggregation aggregation;
	int			piece_count;
	Piece		pieces[PIECES_MAX];
	SvcSpan		edges[2];		/* raw */
	SvcSpan		core;			/* all pieces together */
} Question;

/* What has been found so far. */
typedef struct Figure
{
	Datum		amount;
	bool		any;
} Figure;

static void split(Question *question, SvcSpan span);
static void add_piece(Question *question, SvcPeriod kind, TimestampTz start, TimestampTz end);
static void read_pieces(const Question *question, Figure *figure);
static void read_edges(const Question *question, Figure *figure);
static bool read_tail(const Question *question, Figure *figure);
static void read_raw(const Question *question, SvcSpan span, Figure *figure);
static void read_purged(Question *question, SvcSpan span, Figure *figure);
static bool read_last(const Question *question, SvcSpan span, Figure *figure);
static void take(const Question *question, Figure *figure, Datum amount);
static TimestampTz floor_of(SvcPeriod kind, TimestampTz at, pg_tz *zone);
static TimestampTz ceiling_of(SvcPeriod kind, TimestampTz at, pg_tz *zone);
static TimestampTz instant_argument(FunctionCallInfo fcinfo, int n, TimestampTz otherwise);
static void put_rows(ReturnSetInfo *result, const SvcUsageReader *reader, const char *resource,
					 SvcSpan span, SvcPeriod granularity);
static void put_row(ReturnSetInfo *result, const SvcUsageReader *reader, const char *resource, SvcSpan span);
static TimestampTz current_period_start(const SvcUsageReader *reader, TimestampTz at);

PG_FUNCTION_INFO_V1(svc_get_usage);
PG_FUNCTION_INFO_V1(svc_usage_windows);

/*
 * svc_get_usage(customer_id, resource, from, to, granularity)
 *	-> period_start, period_end, quantity
 */
Datum
svc_get_usage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	char	   *resource = TextDatumGetCString(svc_argument_id(fcinfo, 1, "resource"));
	SvcSpan		span;
	SvcPeriod	granularity = SVC_NEVER;
	SvcUsageReader reader;
	SvcCall		call;

	span.start = instant_argument(fcinfo, 2, DT_NOBEGIN);
	span.end = instant_argument(fcinfo, 3, DT_NOEND);
	if (!PG_ARGISNULL(4))
		granularity = svc_calendar_kind(text_to_cstring(PG_GETARG_TEXT_PP(4)));

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	svc_usage_read_begin(&reader, customer_id);
	if (granularity == SVC_NEVER)
		put_row(result, &reader, resource, span);
	else
		put_rows(result, &reader, resource, span, granularity);
	svc_call_end(&call);
	return (Datum) 0;
}

/*
 * svc_usage_windows(customer_id, at)
 *	-> resource, current_period, last_7d, last_30d, last_90d, lifetime
 */
Datum
svc_usage_windows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	TimestampTz at = svc_argument_at(fcinfo, 1);
	SvcUsageReader reader;
	ListCell   *cell;
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	svc_usage_read_begin(&reader, customer_id);
	foreach(cell, svc_usage_read_resources(&reader))
	{
		Datum		values[1 + SVC_USAGE_WINDOWS] = {CStringGetTextDatum(lfirst(cell))};
		bool		isnull[1 + SVC_USAGE_WINDOWS] = {false};

		for (int i = 0; i < SVC_USAGE_WINDOWS; i++)
			values[1 + i] = svc_usage_read_window(&reader, lfirst(cell), i, at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

/* Begin to read what a customer has used; it need not exist. */
void
svc_usage_read_begin(SvcUsageReader *reader, Datum customer_id)
{
	static SvcStatement statement = {
		"SELECT coalesce(f.timezone, c.timezone, 'UTC')::text, f.snapshot IS NOT NULL,"
		"  coalesce(f.purged_until, '-infinity'), c.merged_into IS NOT NULL FROM @extschema@.svc_customer c"
		" LEFT JOIN @extschema@.svc_usage_fold f ON f.customer_id = c.id WHERE c.id = $1",
		1, {TEXTOID}
	};
	bool		isnull;
	bool		found;

	/* (another may have changed one since our last lock) */
	AcceptInvalidationMessages();
	svc_meter_load(NULL);
	reader->customer_id = customer_id;
	found = svc_statement_read(&statement, &customer_id, NULL) > 0;
	reader->zone = svc_period_zone(found ? svc_statement_text(0, 1) : "UTC");
	reader->is_folded = found && DatumGetBool(svc_statement_value(0, 2, &isnull));
	reader->purged_until = found ? DatumGetTimestampTz(svc_statement_value(0, 3, &isnull)) : DT_NOBEGIN;
	reader->is_merged = found && DatumGetBool(svc_statement_value(0, 4, &isnull));
	if (!TIMESTAMP_NOT_FINITE(reader->purged_until))
		reader->purged_until = svc_calendar_ceiling(SVC_HOURLY, reader->purged_until, reader->zone);
}

/*
 * What counts from an instant, or since ever, up to another one, or for ever.  Nothing
 * is 0 where quantities or records are added, else null.
 */
Datum
svc_usage_read(const SvcUsageReader *reader, const char *resource, TimestampTz from,
			   TimestampTz to, bool *isnull)
{
	SvcSpan		span = {from, to};
	SvcSpan		purged = {from, Min(to, reader->purged_until)};
	SvcSpan		raw = {Max(from, reader->purged_until), to};
	Question	question = {.reader = reader, .resource = resource,
	.meter = svc_meter_find(resource, strlen(resource))};
	Figure		figure = {.amount = svc_amount_zero()};

	question.aggregation = question.meter == NULL ? SVC_SUM : question.meter->aggregation;
	if (from < to && question.aggregation == SVC_LAST)
	{
		if (!read_last(&question, raw, &figure))
			read_purged(&question, purged, &figure);
	}
	else if (from < to)
	{
		split(&question, span);
		if (read_tail(&question, &figure))
		{
			read_pieces(&question, &figure);
			read_edges(&question, &figure);
		}
		else
		{
			read_raw(&question, raw, &figure);
			read_purged(&question, purged, &figure);
		}
	}
	*isnull = !figure.any && (question.aggregation == SVC_MAX || question.aggregation == SVC_LAST);
	return figure.amount;
}

/* The same of a window that ends at an instant, which is in it; nothing is 0. */
Datum
svc_usage_read_window(const SvcUsageReader *reader, const char *resource, int window, TimestampTz at)
{
	TimestampTz from = DT_NOBEGIN;
	bool		isnull;
	Datum		amount;

	if (window == 0)
		from = current_period_start(reader, at);
	else if (window_hours[window] > 0)
		from = at - window_hours[window] * USECS_PER_HOUR + 1;
	amount = svc_usage_read(reader, resource, from, at + 1, &isnull);
	return isnull ? svc_amount_zero() : amount;
}

/* ---- what a span is made up of ---- */

static void
split(Question *question, SvcSpan span)
{
	static const SvcPeriod ladder[] = {SVC_HOURLY, SVC_DAILY, SVC_MONTHLY, SVC_YEARLY};
	int			length = question->reader->is_merged ? 1 : lengthof(ladder);
	pg_tz	   *zone = question->reader->zone;

	question->piece_count = 0;
	question->core = question->edges[0] = question->edges[1] = (SvcSpan) {0, 0};
	if (!question->reader->is_folded)
	{
		question->edges[0] = span;
		return;
	}
	for (int i = 0; i < length; i++)
	{
		TimestampTz start = ceiling_of(ladder[i], span.start, zone);
		TimestampTz end = floor_of(ladder[i], span.end, zone);

		/* what has no whole one is made up of shorter ones */
		if (start >= end)
			start = end = span.end;
		if (i == 0)
		{
			question->edges[0] = (SvcSpan) {span.start, start};
			question->edges[1] = (SvcSpan) {end, span.end};
			question->core = (SvcSpan) {start, end};
		}
		else
		{
			add_piece(question, ladder[i - 1], span.start, start);
			add_piece(question, ladder[i - 1], end, span.end);
		}
		span = (SvcSpan) {start, end};
	}
	add_piece(question, ladder[length - 1], span.start, span.end);
}

static void
add_piece(Question *question, SvcPeriod kind, TimestampTz start, TimestampTz end)
{
	if (start < end)
		question->pieces[question->piece_count++] = (Piece) {kind, {start, end}};
}

/* Infinity is the beginning and end of everything. */
static TimestampTz
floor_of(SvcPeriod kind, TimestampTz at, pg_tz *zone)
{
	return TIMESTAMP_NOT_FINITE(at) ? at : svc_calendar_span(kind, at, zone).start;
}

static TimestampTz
ceiling_of(SvcPeriod kind, TimestampTz at, pg_tz *zone)
{
	return TIMESTAMP_NOT_FINITE(at) ? at : svc_calendar_ceiling(kind, at, zone);
}

/* ---- reading the parts ---- */

#define RAW_SPAN \
	" u.customer_id = $1 AND u.resource = $2 AND u.booked_at >= $3 AND u.booked_at < $4"

/* Few, and to be found by the index on xid, not by that on booked_at. */
#define TAIL \
	" FROM (SELECT n.* FROM @extschema@.svc_usage_fold f CROSS JOIN LATERAL" \
	"   (SELECT u.* FROM @extschema@.svc_usage u WHERE u.customer_id = $1 AND u.xid >= " SVC_USAGE_NEW_FROM("f", "$5") \
	"     AND " SVC_USAGE_IS_NEW("u", "f", "$5") " OFFSET 0) n WHERE f.customer_id = $1) u" \
	" WHERE u.resource = $2 AND u.booked_at >= $3 AND u.booked_at < $4"

/* Roll-ups of whole periods. */
static void
read_pieces(const Question *question, Figure *figure)
{
	/* for each column and for usage_by_resource; added, the greatest, the last */
	static SvcStatement statements[SVC_FIGURE_COLUMNS + 1][3];
	static const char *const results[3] = {"sum(r.amount)", "max(r.amount)",
	"(array_agg(r.amount ORDER BY r.period_start DESC))[1]"};
	int			column = SVC_FIGURE_COLUMNS;
	int			result = question->aggregation == SVC_MAX ? 1 : question->aggregation == SVC_LAST ? 2 : 0;
	SvcStatement *statement;
	Datum		kinds[PIECES_MAX];
	Datum		starts[PIECES_MAX];
	Datum		ends[PIECES_MAX];
	Datum		values[5] = {question->reader->customer_id, CStringGetTextDatum(question->resource)};
	bool		isnull;
	Datum		amount;

	if (question->piece_count == 0)
		return;
	for (int i = 0; question->meter != NULL && question->meter->column != NULL && i < SVC_FIGURE_COLUMNS; i++)
	{
		if (strcmp(svc_figure_columns[i], question->meter->column) == 0)
			column = i;
	}
	statement = &statements[column][result];
	if (statement->sql == NULL)
	{
		char	   *sql = psprintf("SELECT %s FROM (SELECT u.period_start, %s AS amount"
								   "  FROM unnest($3, $4, $5) k (kind, start, \"end\") JOIN @extschema@.svc_customer_usage u"
								   "   ON u.customer_id = $1 AND u.period_type = k.kind"
								   "    AND u.period_start >= k.start AND u.period_start < k.\"end\""
								   "  WHERE u.is_folded AND $2 <> '') r WHERE r.amount IS NOT NULL",
								   results[result], column == SVC_FIGURE_COLUMNS ?
								   "(u.usage_by_resource ->> $2)::numeric" : psprintf("u.%s", svc_figure_columns[column]));

		statement->nargs = 5;
		statement->argtypes[0] = statement->argtypes[1] = TEXTOID;
		statement->argtypes[2] = TEXTARRAYOID;
		statement->argtypes[3] = statement->argtypes[4] = TIMESTAMPTZARRAYOID;
		statement->sql = MemoryContextStrdup(TopMemoryContext, sql);
	}
	for (int i = 0; i < question->piece_count; i++)
	{
		kinds[i] = CStringGetTextDatum(svc_calendar_name(question->pieces[i].kind));
		starts[i] = TimestampTzGetDatum(question->pieces[i].span.start);
		ends[i] = TimestampTzGetDatum(question->pieces[i].span.end);
	}
	values[2] = svc_statement_texts(kinds, question->piece_count);
	values[3] = svc_statement_instants(starts, question->piece_count);
	values[4] = svc_statement_instants(ends, question->piece_count);
	(void) svc_statement_read(statement, values, NULL);
	amount = svc_statement_value(0, 1, &isnull);
	if (!isnull)
		take(question, figure, amount);
}

static void
read_edges(const Question *question, Figure *figure)
{
	for (int i = 0; i < lengthof(question->edges); i++)
		read_raw(question, question->edges[i], figure);
}

/*
 * Records that are not rolled up, of whole periods.  False, if one of them corrects
 * what is rolled up as the greatest: then that is not to be relied upon.
 */
static bool
read_tail(const Question *question, Figure *figure)
{
	static SvcStatement statements[3] = {
		{"SELECT sum(u.quantity), false" TAIL, 5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}},
		{"SELECT sum(" SVC_USAGE_COUNT("u") "), false" TAIL, 5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}},
		{"SELECT max(u.quantity), coalesce(bool_or(u.adjusts_id IS NOT NULL), false)" TAIL, 5, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}},
	};
	Datum		values[5] = {question->reader->customer_id, CStringGetTextDatum(question->resource),
		TimestampTzGetDatum(question->core.start), TimestampTzGetDatum(question->core.end),
	svc_cluster()};
	bool		isnull;
	Datum		amount;

	if (question->core.start >= question->core.end)
		return true;
	(void) svc_statement_read(&statements[question->aggregation], values, NULL);
	if (DatumGetBool(svc_statement_value(0, 2, &isnull)))
		return false;
	amount = svc_statement_value(0, 1, &isnull);
	if (!isnull)
		take(question, figure, amount);
	return true;
}

/* Raw records, rolled up or not. */
static void
read_raw(const Question *question, SvcSpan span, Figure *figure)
{
	static SvcStatement statements[3] = {
		{"SELECT sum(u.quantity) FROM @extschema@.svc_usage u WHERE" RAW_SPAN, 4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}},
		{"SELECT sum(" SVC_USAGE_COUNT("u") ") FROM @extschema@.svc_usage u WHERE" RAW_SPAN, 4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}},
		{"SELECT max(" SVC_USAGE_CORRECTED("u") ") FROM @extschema@.svc_usage u WHERE" RAW_SPAN " AND u.adjusts_id IS NULL", 4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}},
	};
	Datum		values[4] = {question->reader->customer_id, CStringGetTextDatum(question->resource),
	TimestampTzGetDatum(span.start), TimestampTzGetDatum(span.end)};
	bool		isnull;
	Datum		amount;

	if (span.start >= span.end)
		return;
	(void) svc_statement_read(&statements[question->aggregation], values, NULL);
	amount = svc_statement_value(0, 1, &isnull);
	if (!isnull)
		take(question, figure, amount);
}

/* Roll-ups, where raw records are purged. */
static void
read_purged(Question *question, SvcSpan span, Figure *figure)
{
	if (span.start >= span.end)
		return;
	split(question, span);
	read_pieces(question, figure);
}

static bool
read_last(const Question *question, SvcSpan span, Figure *figure)
{
	static SvcStatement statement = {
		"SELECT " SVC_USAGE_CORRECTED("u") " FROM @extschema@.svc_usage u WHERE" RAW_SPAN " AND u.adjusts_id IS NULL"
		" ORDER BY u.booked_at DESC, u.occurred_at DESC, u.id DESC LIMIT 1",
		4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {question->reader->customer_id, CStringGetTextDatum(question->resource),
	TimestampTzGetDatum(span.start), TimestampTzGetDatum(span.end)};
	bool		isnull;

	if (svc_statement_read(&statement, values, NULL) == 0)
		return false;
	take(question, figure, svc_statement_value(0, 1, &isnull));
	return true;
}

static void
take(const Question *question, Figure *figure, Datum amount)
{
	if (!figure->any || question->aggregation == SVC_LAST)
		figure->amount = amount;
	else if (question->aggregation == SVC_MAX)
		figure->amount = svc_amount_greatest(figure->amount, amount);
	else
		figure->amount = svc_amount_add(figure->amount, amount);
	figure->any = true;
}

/* ---- answers ---- */

static TimestampTz
instant_argument(FunctionCallInfo fcinfo, int n, TimestampTz otherwise)
{
	return PG_ARGISNULL(n) ? otherwise : PG_GETARG_TIMESTAMPTZ(n);
}

/* A row for each period, the first and the last cut off. */
static void
put_rows(ReturnSetInfo *result, const SvcUsageReader *reader, const char *resource,
		 SvcSpan span, SvcPeriod granularity)
{
	int			rows = 0;

	if (TIMESTAMP_NOT_FINITE(span.start))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("usage by the %s needs an instant to begin with", svc_calendar_name(granularity)),
				 errdetail("There is a row for each %s.", svc_calendar_name(granularity)),
				 errhint("Pass \"from\", or leave out the granularity.")));
	if (TIMESTAMP_NOT_FINITE(span.end))
		span.end = svc_clock_now() + 1;
	while (span.start < span.end)
	{
		SvcSpan		part = {span.start, Min(svc_calendar_span(granularity, span.start, reader->zone).end, span.end)};

		CHECK_FOR_INTERRUPTS();
		if (++rows > ROWS_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("usage by the %s has more than %d rows", svc_calendar_name(granularity), ROWS_MAX),
					 errdetail("There is a row for each %s.", svc_calendar_name(granularity)),
					 errhint("Ask for a shorter time, or a coarser granularity.")));
		put_row(result, reader, resource, part);
		span.start = part.end;
	}
}

static void
put_row(ReturnSetInfo *result, const SvcUsageReader *reader, const char *resource, SvcSpan span)
{
	Datum		values[3] = {TimestampTzGetDatum(span.start), TimestampTzGetDatum(span.end)};
	bool		isnull[3] = {span.start == DT_NOBEGIN, span.end == DT_NOEND};
	SvcCall		call;

	/* what a row has taken up in memory is free for the next */
	svc_call_begin_inner(&call);
	values[2] = svc_usage_read(reader, resource, span.start, span.end, &isnull[2]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	svc_call_end(&call);
}

/* Resources that the customer has used, in order. */
List *
svc_usage_read_resources(const SvcUsageReader *reader)
{
	static SvcStatement statement = {
		"SELECT x.resource::text FROM ("
		"  SELECT m.resource FROM " SVC_METERS " m JOIN @extschema@.svc_customer_usage u"
		"    ON u.customer_id = $1 AND u.period_type = $3 AND u.is_folded"
		"   WHERE m.usage_column IS NOT NULL AND to_jsonb(u) ->> m.usage_column IS NOT NULL"
		"  UNION SELECT k FROM @extschema@.svc_customer_usage u, jsonb_object_keys(u.usage_by_resource) k"
		"   WHERE u.customer_id = $1 AND u.period_type = $3 AND u.is_folded"
		"  UNION SELECT u.resource FROM @extschema@.svc_usage u LEFT JOIN @extschema@.svc_usage_fold f USING (customer_id)"
		"   WHERE u.customer_id = $1 AND u.xid >= " SVC_USAGE_NEW_FROM("f", "$2") " AND " SVC_USAGE_IS_NEW("u", "f", "$2")
		" ) x ORDER BY x.resource COLLATE \"C\"",
		3, {TEXTOID, INT8OID, TEXTOID}
	};
	Datum		values[3] = {reader->customer_id, svc_cluster(),
	CStringGetTextDatum(reader->is_merged ? "hour" : "year")};
	uint64		rows = svc_statement_read(&statement, values, NULL);
	List	   *resources = NIL;

	for (uint64 row = 0; row < rows; row++)
		resources = lappend(resources, svc_statement_text(row, 1));
	return resources;
}

/*
 * The current period is that of the subscription that has been going on longest, else
 * the calendar month.
 */
static TimestampTz
current_period_start(const SvcUsageReader *reader, TimestampTz at)
{
	static SvcStatement statement = {
		"SELECT s.current_period_start::timestamptz FROM @extschema@.svc_subscription s"
		" WHERE s.customer_id = $1 AND s.status IN ('trialing', 'active', 'past_due')"
		"  AND s.current_period_start <= $2 AND s.current_period_end > $2"
		" ORDER BY s.started_at, s.id LIMIT 1",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {reader->customer_id, TimestampTzGetDatum(at)};
	bool		isnull;

	if (svc_statement_read(&statement, values, NULL) > 0)
		return DatumGetTimestampTz(svc_statement_value(0, 1, &isnull));
	return svc_calendar_span(SVC_MONTHLY, at, reader->zone).start;
}
