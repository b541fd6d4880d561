/*-------------------------------------------------------------------------
 *
 * calendar.c
 *	  Hours, days, weeks, months, quarters and years of a time zone's calendar.
 *
 * All of them are cycles (period.c) from the same anchor, which is the first of a
 * week and of a year, but hours: they are counted from the beginning of the day, each
 * 3,600 seconds, the last one shorter where the day is not whole hours long.  So each
 * hour is within one day, and each day within one week, month, quarter and year,
 * whatever the clock does: what is summed up for hours can be summed up further.  A
 * day on which the clock is put back has 25 hours, a day on which it is put forward 23.
 *
 * Weeks are those of ISO 8601, from Monday.
 *
 * Pure: no SPI, no catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "calendar.h"
#include "compat.h"

/* A Monday, and the first day of a year. */
#define ANCHOR_YEAR		2001

static const char *const names[SVC_CALENDAR_KINDS] = {
	[SVC_HOURLY] = "hour",
	[SVC_DAILY] = "day",
	[SVC_WEEKLY] = "week",
	[SVC_MONTHLY] = "month",
	[SVC_QUARTERLY] = "quarter",
	[SVC_YEARLY] = "year",
};

/* What the calls of one call site have found last; kept with its FmgrInfo. */
typedef struct LastSpan
{
	SvcPeriod	kind;
	int			kind_length;	/* of the argument's text; 0: none yet */
	char		kind_name[NAMEDATALEN];
	pg_tz	   *zone;
	int			zone_length;
	char		zone_name[TZ_STRLEN_MAX + 1];
	SvcSpan		span;			/* of an hour, the day */
} LastSpan;

static TimestampTz anchor_of(pg_tz *zone);
static SvcSpan whole_span(SvcPeriod kind, TimestampTz at, pg_tz *zone);
static SvcSpan hour_of(const SvcSpan *day, TimestampTz at);
static SvcSpan span_of_call(FunctionCallInfo fcinfo);
static void read_kind(LastSpan *last, text *name);
static void read_zone(LastSpan *last, text *name);

PG_FUNCTION_INFO_V1(svc_period_start);
PG_FUNCTION_INFO_V1(svc_period_end);

/*
 * svc_period_start(period_type, at, timezone) -> timestamptz
 *
 * The calls of a statement are mostly about one zone and one day.
 */
Datum
svc_period_start(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(span_of_call(fcinfo).start);
}

/*
 * svc_period_end(period_type, at, timezone) -> timestamptz
 */
Datum
svc_period_end(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(span_of_call(fcinfo).end);
}

/* A kind by its name. */
SvcPeriod
svc_calendar_kind(const char *name)
{
	for (int i = 0; i < SVC_CALENDAR_KINDS; i++)
	{
		if (strcmp(names[i], name) == 0)
			return (SvcPeriod) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown period type \"%s\"", name),
			 errdetail("Usage is summed up by periods of the calendar."),
			 errhint("The period types are hour, day, week, month, quarter and year.")));
}

const char *
svc_calendar_name(SvcPeriod kind)
{
	Assert((int) kind >= 0 && (int) kind < SVC_CALENDAR_KINDS);
	return names[kind];
}

/* The hour, day and so on that a finite instant is in. */
SvcSpan
svc_calendar_span(SvcPeriod kind, TimestampTz at, pg_tz *zone)
{
	SvcSpan		span = whole_span(kind, at, zone);

	return kind == SVC_HOURLY ? hour_of(&span, at) : span;
}

/* The first beginning of one at or after an instant. */
TimestampTz
svc_calendar_ceiling(SvcPeriod kind, TimestampTz at, pg_tz *zone)
{
	SvcSpan		span = svc_calendar_span(kind, at, zone);

	return span.start == at ? at : span.end;
}

/* The same, but of an hour its day. */
static SvcSpan
whole_span(SvcPeriod kind, TimestampTz at, pg_tz *zone)
{
	SvcCycle	cycle = {kind == SVC_HOURLY ? SVC_DAILY : kind, anchor_of(zone), zone};
	int64		n = svc_cycle_index(&cycle, at);
	SvcSpan		span = {svc_cycle_boundary(&cycle, n), svc_cycle_boundary(&cycle, n + 1)};

	return span;
}

static SvcSpan
hour_of(const SvcSpan *day, TimestampTz at)
{
	SvcSpan		hour;

	if (TIMESTAMP_NOT_FINITE(day->start))
		return *day;			/* at the edge of the range */
	hour.start = day->start + (at - day->start) / USECS_PER_HOUR * USECS_PER_HOUR;
	hour.end = Min(hour.start + USECS_PER_HOUR, day->end);
	return hour;
}

static TimestampTz
anchor_of(pg_tz *zone)
{
	static pg_tz *last_zone = NULL;
	static TimestampTz last_anchor;

	if (zone != last_zone)
	{
		struct pg_tm tm = {.tm_year = ANCHOR_YEAR, .tm_mon = 1, .tm_mday = 1};
		int			offset = DetermineTimeZoneOffset(&tm, zone);

		if (tm2timestamp(&tm, 0, &offset, &last_anchor) != 0)
			elog(ERROR, "the first day of %d is out of range", ANCHOR_YEAR);
		last_zone = zone;
	}
	return last_anchor;
}

static SvcSpan
span_of_call(FunctionCallInfo fcinfo)
{
	LastSpan   *last = fcinfo->flinfo->fn_extra;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);

	if (last == NULL)
		last = fcinfo->flinfo->fn_extra =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(LastSpan));
	read_kind(last, PG_GETARG_TEXT_PP(0));
	read_zone(last, PG_GETARG_TEXT_PP(2));
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("instant must be finite"),
				 errdetail("No period begins or ends at infinity."),
				 errhint("Pass an instant.")));
	if (at < last->span.start || at >= last->span.end)
		last->span = whole_span(last->kind, at, last->zone);
	return last->kind == SVC_HOURLY ? hour_of(&last->span, at) : last->span;
}

static void
read_kind(LastSpan *last, text *name)
{
	int			length = VARSIZE_ANY_EXHDR(name);
	char	   *string;

	if (length > 0 && length == last->kind_length &&
		memcmp(VARDATA_ANY(name), last->kind_name, length) == 0)
		return;
	string = text_to_cstring(name);
	last->kind = svc_calendar_kind(string);
	memcpy(last->kind_name, string, length + 1);
	last->kind_length = length;
	last->span = (SvcSpan) {0, 0};
}

static void
read_zone(LastSpan *last, text *name)
{
	int			length = VARSIZE_ANY_EXHDR(name);
	char	   *string;

	if (length > 0 && length == last->zone_length &&
		memcmp(VARDATA_ANY(name), last->zone_name, length) == 0)
		return;
	string = text_to_cstring(name);
	last->zone = svc_period_zone(string);
	memcpy(last->zone_name, string, length + 1);
	last->zone_length = length;
	last->span = (SvcSpan) {0, 0};
}
