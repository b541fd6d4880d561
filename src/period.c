/*-------------------------------------------------------------------------
 *
 * period.c
 *	  Periods: where they begin and end.
 *
 * A *cycle* divides time into half-open periods.  Period n is
 * [boundary n, boundary n + 1), and boundary n is the anchor plus n times the
 * length, each computed from the anchor and never from the boundary before:
 *
 *		anchor 31 January, monthly:  31 Jan | 28 Feb | 31 Mar | 30 Apr ...
 *
 * Lengths of a day and more are reckoned in the calendar of a time zone: the
 * time of day stays what it is on the clock there, and a day that a month does
 * not have becomes its last one.  Where a clock is put forward over a boundary,
 * or passes it twice, the server's rule holds.  Hours are 3,600 seconds long
 * whatever a clock does.
 *
 * Sources: the rule is that of OpenMeter's recurrences and of Lago's
 * anniversary billing; their own tests, as data, are in test/sql/period.sql.
 *
 * Pure: no SPI, no catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/int.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "compat.h"
#include "period.h"

static const char *const names[] = {
	[SVC_HOURLY] = "hourly",
	[SVC_DAILY] = "daily",
	[SVC_WEEKLY] = "weekly",
	[SVC_MONTHLY] = "monthly",
	[SVC_QUARTERLY] = "quarterly",
	[SVC_YEARLY] = "yearly",
	[SVC_NEVER] = "never",
};

static bool local_time(const SvcCycle *cycle, TimestampTz at, struct pg_tm *tm, fsec_t *fsec);
static int	length_in_days(SvcPeriod period);
static int	length_in_months(SvcPeriod period);
static bool add_days(struct pg_tm *tm, int64 count);
static bool add_months(struct pg_tm *tm, int64 count);
static int64 divide_down(int64 a, int64 b);
static int64 estimate_index(const SvcCycle *cycle, TimestampTz at);

PG_FUNCTION_INFO_V1(svc_period_at);

/*
 * svc_period_at(period, anchor, at, timezone) -> starts_at, ends_at
 *
 * The period that an instant lies in; nulls for "never", which has none.
 */
Datum
svc_period_at(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *zone_name = text_to_cstring(PG_GETARG_TEXT_PP(3));
	SvcCycle	cycle = {.anchor = PG_GETARG_TIMESTAMPTZ(1)};
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		isnull[2] = {true, true};

	if (!svc_period_find(name, &cycle.period))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown period \"%s\"", name),
				 errdetail("A period is how often something begins anew."),
				 errhint("The periods are %s.", SVC_PERIOD_NAMES)));
	cycle.zone = svc_period_zone(zone_name);
	if (TIMESTAMP_NOT_FINITE(cycle.anchor) || TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("anchor and instant must be finite"),
				 errdetail("No period begins or ends at infinity."),
				 errhint("Pass two instants.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "svc_period_at must return a row");

	if (cycle.period != SVC_NEVER)
	{
		int64		n = svc_cycle_index(&cycle, at);

		values[0] = TimestampTzGetDatum(svc_cycle_boundary(&cycle, n));
		values[1] = TimestampTzGetDatum(svc_cycle_boundary(&cycle, n + 1));
		isnull[0] = isnull[1] = false;
	}
	return HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
}

/* Find a period by its name. */
bool
svc_period_find(const char *name, SvcPeriod *period)
{
	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(names[i], name) == 0)
		{
			*period = (SvcPeriod) i;
			return true;
		}
	}
	return false;
}

/* A time zone by its name. */
pg_tz *
svc_period_zone(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", name),
				 errdetail("Periods of a day and more begin and end by its clock."),
				 errhint("View pg_timezone_names lists the names, such as \"Europe/Berlin\".")));
	return zone;
}

/*
 * Where period n begins, and period n - 1 ends; an infinity where that is out
 * of the range of instants.
 */
TimestampTz
svc_cycle_boundary(const SvcCycle *cycle, int64 n)
{
	TimestampTz out_of_range = n > 0 ? DT_NOEND : DT_NOBEGIN;
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	int64		length;
	TimestampTz boundary;

	if (cycle->period == SVC_HOURLY)
	{
		int64		hour = divide_down(cycle->anchor, USECS_PER_HOUR);

		/* (the distance of two instants may be out of range, not their hours) */
		if (pg_mul_s64_overflow(hour + n, USECS_PER_HOUR, &length) ||
			pg_add_s64_overflow(length, cycle->anchor - hour * USECS_PER_HOUR, &boundary) ||
			!IS_VALID_TIMESTAMP(boundary))
			return out_of_range;
		return boundary;
	}
	if (!local_time(cycle, cycle->anchor, &tm, &fsec))
		return out_of_range;
	if (length_in_days(cycle->period) > 0 ?
		!add_days(&tm, n * length_in_days(cycle->period)) :
		!add_months(&tm, n * length_in_months(cycle->period)))
		return out_of_range;
	offset = DetermineTimeZoneOffset(&tm, cycle->zone);
	if (tm2timestamp(&tm, fsec, &offset, &boundary) != 0)
		return out_of_range;
	return boundary;
}

/* The period that a finite instant lies in. */
int64
svc_cycle_index(const SvcCycle *cycle, TimestampTz at)
{
	int64		n = estimate_index(cycle, at);

	/* the estimate does not look at days of months, nor at clocks */
	while (svc_cycle_boundary(cycle, n) > at)
		n--;
	while (svc_cycle_boundary(cycle, n + 1) <= at)
		n++;
	return n;
}

/* Never off by more than a few. */
static int64
estimate_index(const SvcCycle *cycle, TimestampTz at)
{
	struct pg_tm from;
	struct pg_tm to;
	fsec_t		fsec;

	if (cycle->period == SVC_HOURLY ||
		!local_time(cycle, cycle->anchor, &from, &fsec) || !local_time(cycle, at, &to, &fsec))
	{
		int64		length = cycle->period == SVC_HOURLY ? 1 :
			HOURS_PER_DAY * (length_in_days(cycle->period) > 0 ? length_in_days(cycle->period) :
							 DAYS_PER_MONTH * length_in_months(cycle->period));

		/* both halved: the difference of two instants may be out of range */
		return divide_down(at / 2 - cycle->anchor / 2, length * (USECS_PER_HOUR / 2));
	}
	if (length_in_days(cycle->period) > 0)
		return divide_down(date2j(to.tm_year, to.tm_mon, to.tm_mday) -
						   date2j(from.tm_year, from.tm_mon, from.tm_mday),
						   length_in_days(cycle->period));
	return divide_down((to.tm_year - from.tm_year) * MONTHS_PER_YEAR + to.tm_mon - from.tm_mon,
					   length_in_months(cycle->period));
}

/* What the clock of the zone shows; false at the edge of the range. */
static bool
local_time(const SvcCycle *cycle, TimestampTz at, struct pg_tm *tm, fsec_t *fsec)
{
	int			offset;

	return timestamp2tm(at, &offset, tm, fsec, NULL, cycle->zone) == 0;
}

/* 0: it is not made of days. */
static int
length_in_days(SvcPeriod period)
{
	switch (period)
	{
		case SVC_DAILY:
			return 1;
		case SVC_WEEKLY:
			return 7;
		case SVC_HOURLY:
		case SVC_MONTHLY:
		case SVC_QUARTERLY:
		case SVC_YEARLY:
		case SVC_NEVER:
			return 0;
	}
	pg_unreachable();
}

/* The same of months. */
static int
length_in_months(SvcPeriod period)
{
	switch (period)
	{
		case SVC_MONTHLY:
			return 1;
		case SVC_QUARTERLY:
			return 3;
		case SVC_YEARLY:
			return MONTHS_PER_YEAR;
		case SVC_HOURLY:
		case SVC_DAILY:
		case SVC_WEEKLY:
		case SVC_NEVER:
			return 0;
	}
	pg_unreachable();
}

static bool
add_days(struct pg_tm *tm, int64 count)
{
	int64		julian = date2j(tm->tm_year, tm->tm_mon, tm->tm_mday) + count;

	if (julian < 0 || julian >= TIMESTAMP_END_JULIAN)
		return false;
	j2date((int) julian, &tm->tm_year, &tm->tm_mon, &tm->tm_mday);
	return true;
}

static bool
add_months(struct pg_tm *tm, int64 count)
{
	int64		month = (int64) tm->tm_year * MONTHS_PER_YEAR + tm->tm_mon - 1 + count;
	int64		year = divide_down(month, MONTHS_PER_YEAR);

	if (year < JULIAN_MINYEAR || year > JULIAN_MAXYEAR)
		return false;
	tm->tm_year = (int) year;
	tm->tm_mon = (int) (month - year * MONTHS_PER_YEAR) + 1;
	tm->tm_mday = Min(tm->tm_mday, day_tab[isleap(tm->tm_year)][tm->tm_mon - 1]);
	return IS_VALID_JULIAN(tm->tm_year, tm->tm_mon, tm->tm_mday);
}

/* a / b, rounded down. */
static int64
divide_down(int64 a, int64 b)
{
	return a >= 0 ? a / b : -1 - (-1 - a) / b;
}
