/*-------------------------------------------------------------------------
 *
 * usage_chart.c
 *	  Usage as bars, for people in psql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/tuplestore.h"

#include "amount.h"
#include "argument.h"
#include "calendar.h"
#include "catalog.h"
#include "compat.h"
#include "usage_read.h"

#define BAR_WIDTH		50		/* of the longest */
#define BARS_MAX		100

/* A period, the parts that get a bar each, and how these are called. */
typedef struct Chart
{
	SvcPeriod	period;
	SvcPeriod	part;
	const char *label;			/* for pg_strftime */
} Chart;

/* A bar. */
typedef struct Bar
{
	TimestampTz start;
	Datum		quantity;
	bool		isnull;
} Bar;

static const Chart *find_chart(FunctionCallInfo fcinfo, int n);
static int	read_bars(Bar *bars, const Chart *chart, const SvcUsageReader *reader, const char *resource, TimestampTz at);
static Datum label_of(const Chart *chart, TimestampTz start, pg_tz *zone);
static Datum draw(const Bar *bar, Datum longest);

PG_FUNCTION_INFO_V1(svc_usage_chart);

/*
 * svc_usage_chart(customer_id, resource, period, at) -> period, quantity, bar
 *
 * A row for each part of the period that an instant is in.
 */
Datum
svc_usage_chart(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		customer_id = svc_argument_id(fcinfo, 0, "customer id");
	char	   *resource = TextDatumGetCString(svc_argument_id(fcinfo, 1, "resource"));
	const Chart *chart = find_chart(fcinfo, 2);
	TimestampTz at = svc_argument_at(fcinfo, 3);
	Datum		longest = svc_amount_zero();
	SvcUsageReader reader;
	Bar			bars[BARS_MAX];
	int			count;
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	svc_usage_read_begin(&reader, customer_id);
	count = read_bars(bars, chart, &reader, resource, at);
	for (int i = 0; i < count; i++)
		longest = bars[i].isnull ? longest : svc_amount_greatest(longest, bars[i].quantity);
	for (int i = 0; i < count; i++)
	{
		Datum		values[3] = {label_of(chart, bars[i].start, reader.zone), bars[i].quantity,
		draw(&bars[i], longest)};
		bool		isnull[3] = {false, bars[i].isnull, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

static const Chart *
find_chart(FunctionCallInfo fcinfo, int n)
{
	static const Chart charts[] = {
		{SVC_DAILY, SVC_HOURLY, "%Y-%m-%d %H:%M"},
		{SVC_WEEKLY, SVC_DAILY, "%Y-%m-%d %a"},
		{SVC_MONTHLY, SVC_DAILY, "%Y-%m-%d %a"},
		{SVC_QUARTERLY, SVC_WEEKLY, "%G-W%V"},
		{SVC_YEARLY, SVC_MONTHLY, "%Y-%m"},
	};
	char	   *name;

	svc_argument_not_null(fcinfo, n, "period");
	name = text_to_cstring(PG_GETARG_TEXT_PP(n));
	for (int i = 0; i < lengthof(charts); i++)
	{
		if (strcmp(svc_calendar_name(charts[i].period), name) == 0)
			return &charts[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no chart of period \"%s\"", name),
			 errdetail("A chart has a bar for each part of a period."),
			 errhint("The periods are day, week, month, quarter and year.")));
}

/* A part that begins before the period, such as a week, is cut off. */
static int
read_bars(Bar *bars, const Chart *chart, const SvcUsageReader *reader, const char *resource, TimestampTz at)
{
	SvcSpan		span = svc_calendar_span(chart->period, at, reader->zone);
	int			count = 0;

	while (span.start < span.end && count < BARS_MAX)
	{
		Bar		   *bar = &bars[count++];
		TimestampTz end = Min(svc_calendar_span(chart->part, span.start, reader->zone).end, span.end);

		CHECK_FOR_INTERRUPTS();
		bar->start = span.start;
		bar->quantity = svc_usage_read(reader, resource, span.start, end, &bar->isnull);
		span.start = end;
	}
	return count;
}

static Datum
label_of(const Chart *chart, TimestampTz start, pg_tz *zone)
{
	char		label[64];
	pg_time_t	time = timestamptz_to_time_t(start);

	pg_strftime(label, sizeof(label), chart->label, pg_localtime(&time, zone));
	return CStringGetTextDatum(label);
}

/* Anything more than nothing shows; less than nothing has no bar. */
static Datum
draw(const Bar *bar, Datum longest)
{
	const char *block = GetDatabaseEncoding() == PG_UTF8 ? "\xe2\x96\x88" : "#";
	StringInfoData drawn;
	int			width = 0;

	initStringInfo(&drawn);
	if (!bar->isnull && svc_amount_sign(bar->quantity) > 0)
		width = DatumGetInt32(DirectFunctionCall1(numeric_int4,
												  svc_amount_ratio(svc_amount_multiply(bar->quantity, svc_amount_from(BAR_WIDTH)), longest)));
	if (width == 0 && !bar->isnull && svc_amount_sign(bar->quantity) > 0)
		width = 1;
	for (int i = 0; i < width; i++)
		appendStringInfoString(&drawn, block);
	return CStringGetTextDatum(drawn.data);
}
