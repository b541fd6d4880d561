/*-------------------------------------------------------------------------
 *
 * criteria_time.c
 *	  Instants in segment criteria, and in the documents that they are about.
 *
 * An *instant* is ISO 8601: a date, or a date and a time with or without seconds
 * and their fraction, and with or without an offset.  A date alone is its first
 * moment; what has no offset is in UTC.  In UTC it is of the years 1 to 9999: so what
 * is written can be read, by the server, too.
 *
 * *Date math* is "now", followed by steps such as "-30d" and roundings such as
 * "/d", from left to right, all in UTC.  Units: s, m, h, d, w, M, y.  A step of
 * months that leads past the end of a month leads to its end.  A rounding leads
 * down, to Monday for weeks.  (As in Elasticsearch.)
 *
 * Instants are microseconds since 2000-01-01 00:00 UTC, as of a timestamptz.  The
 * calendar's arithmetic is that of Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms".
 *
 * Pure: no SPI, no catalog, no server.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "common/int.h"

#include "criteria.h"

#define SECOND		INT64CONST(1000000)
#define MINUTE		(60 * SECOND)
#define HOUR		(60 * MINUTE)
#define DAY			(24 * HOUR)
#define EPOCH_DAY	10957		/* 2000-01-01, in days since 1970-01-01 */

/* within what a timestamptz can be */
#define YEAR_MIN	(-4712)
#define YEAR_MAX	294275

/* instants begin with the year 1, and end with the year 9999 */
#define TIME_MIN	((INT64CONST(-719162) - EPOCH_DAY) * DAY)
#define TIME_MAX	((INT64CONST(2932897) - EPOCH_DAY) * DAY)

/* the present, for as long as this program is in use: 2000-01-01 to 9000-01-01 */
#define PRESENT_MIN	0
#define PRESENT_MAX	((INT64CONST(2567655) - EPOCH_DAY) * DAY)

/* What is still to be read. */
typedef struct Reader
{
	const char *at;
	const char *end;
} Reader;

static int64 first_reached(const char *math, int length, int64 now, int64 wanted, int64 end);
static int64 largest_fall(const char *math, int length, int64 now, int64 *next_jump);
static bool read_digits(Reader *reader, int count, int *value);
static bool read_char(Reader *reader, char wanted);
static bool read_fraction(Reader *reader, int64 *microseconds);
static bool read_offset(Reader *reader, int64 *offset);
static bool step(int64 *instant, int64 count, char unit);
static bool round_down(int64 *instant, char unit);
static bool unit_length(char unit, int64 *length);
static int64 days_from_civil(int64 year, int month, int day);
static void civil_from_days(int64 days, int64 *year, int *month, int *day);
static int	days_in_month(int64 year, int month);
static int64 floor_div(int64 a, int64 b);

/* Read an instant; false, when the text is none. */
bool
svc_criteria_read_instant(const char *string, int length, int64 *instant)
{
	Reader		reader = {string, string + length};
	int			year,
				month,
				day;
	int			hour = 0,
				minute = 0,
				second = 0;
	int64		fraction = 0,
				offset = 0;

	if (!read_digits(&reader, 4, &year) || !read_char(&reader, '-') ||
		!read_digits(&reader, 2, &month) || !read_char(&reader, '-') ||
		!read_digits(&reader, 2, &day) ||
		month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
		return false;
	if (reader.at < reader.end)
	{
		if ((!read_char(&reader, 'T') && !read_char(&reader, ' ')) ||
			!read_digits(&reader, 2, &hour) || !read_char(&reader, ':') ||
			!read_digits(&reader, 2, &minute) || hour > 23 || minute > 59)
			return false;
		if (read_char(&reader, ':') &&
			(!read_digits(&reader, 2, &second) || second > 59 || !read_fraction(&reader, &fraction)))
			return false;
		if (!read_offset(&reader, &offset) || reader.at < reader.end)
			return false;
	}
	*instant = (days_from_civil(year, month, day) - EPOCH_DAY) * DAY +
		hour * HOUR + minute * MINUTE + second * SECOND + fraction - offset;
	return *instant >= TIME_MIN && *instant < TIME_MAX;
}

/* Write an instant, in UTC, with a fraction only if it has one. */
char *
svc_criteria_write_instant(int64 instant)
{
	char	   *written = svc_criteria_write_fixed_instant(instant);
	char	   *fraction = strchr(written, '.');

	if (strcmp(fraction, ".000000Z") == 0)
		strcpy(fraction, "Z");
	return written;
}

/* The same with all digits of the fraction. */
char *
svc_criteria_write_fixed_instant(int64 instant)
{
	int64		days = floor_div(instant, DAY);
	int64		rest = instant - days * DAY;
	int64		year;
	int			month;
	int			day;

	civil_from_days(days + EPOCH_DAY, &year, &month, &day);
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", (int) year, month, day, (int) (rest / HOUR),
					(int) (rest / MINUTE % 60), (int) (rest / SECOND % 60), (int) (rest % SECOND));
}

/* Compute date math; false, when the text is none, or leads out of time. */
bool
svc_criteria_read_date_math(const char *string, int length, int64 now, int64 *instant)
{
	Reader		reader = {string, string + length};

	*instant = now;
	if (!read_char(&reader, 'n') || !read_char(&reader, 'o') || !read_char(&reader, 'w'))
		return false;
	while (reader.at < reader.end)
	{
		char		sign = *reader.at++;
		int64		count = 0;

		if (sign == '/')
		{
			if (reader.at == reader.end || !round_down(instant, *reader.at++))
				return false;
			continue;
		}
		if ((sign != '+' && sign != '-') || reader.at == reader.end || *reader.at < '0' || *reader.at > '9')
			return false;
		while (reader.at < reader.end && *reader.at >= '0' && *reader.at <= '9')
		{
			count = count * 10 + (*reader.at++ - '0');
			if (count > PG_INT32_MAX)
				return false;
		}
		if (reader.at == reader.end || !step(instant, sign == '-' ? -count : count, *reader.at++))
			return false;
	}
	return true;
}

/* The same of date math that is some; what leads out of time is before, or after, everything. */
int64
svc_criteria_date_math(const char *math, int length, int64 now)
{
	int64		instant;

	if (svc_criteria_read_date_math(math, length, now, &instant))
		return instant;
	return memchr(math, '-', length) != NULL ? PG_INT64_MIN : PG_INT64_MAX;
}

/* Does date math lead to something that can be read and written, whenever that is? */
bool
svc_criteria_date_math_is_near(const char *math, int length)
{
	/* (what lies between is reached in between) */
	int64		first = svc_criteria_date_math(math, length, PRESENT_MIN);
	int64		last = svc_criteria_date_math(math, length, PRESENT_MAX);

	return first >= TIME_MIN && last < TIME_MAX;
}

/*
 * The next instant at which the result of date math may pass another, in either
 * direction; PG_INT64_MAX: never.
 *
 * The result rises with the present, in steps where it is rounded.  Months are an
 * exception: because they lead to the month's end at most, 30 March 12:00 leads
 * back to noon, 31 March 0:00 to midnight of the same last day of February.  So the
 * result may fall, when the month is counted from another day.  Far from the other
 * instant that does not matter; near it, we look again when the day changes.
 */
int64
svc_criteria_next_crossing(const char *math, int length, int64 now, int64 instant)
{
	int64		next_jump = TIME_MAX;
	int64		near = largest_fall(math, length, now, &next_jump);
	int64		result = svc_criteria_date_math(math, length, now);
	int64		reached;

	if (near == 0 || result < instant - near || result > instant + near)
		next_jump = TIME_MAX;
	if (result > instant)
		reached = TIME_MAX;
	else if (result < instant - near)
		reached = first_reached(math, length, now, instant - near, TIME_MAX);
	else
		reached = first_reached(math, length, now, result == instant ? instant + 1 : instant, next_jump);
	return Min(reached, next_jump) == TIME_MAX ? PG_INT64_MAX : Min(reached, next_jump);
}

/*
 * The first instant after the present, before the end, at which date math comes to
 * what is wanted, or more; the end, if it does not.  (At the end it may fall.)
 */
static int64
first_reached(const char *math, int length, int64 now, int64 wanted, int64 end)
{
	int64		before = now;
	int64		after = now;
	int64		last = end - 1;
	int64		stride = SECOND;

	/* in strides that get longer, then between the last two by halves */
	while (after < last && svc_criteria_date_math(math, length, after) < wanted)
	{
		before = after;
		after = last - after > stride ? after + stride : last;
		stride *= 2;
	}
	if (svc_criteria_date_math(math, length, after) < wanted)
		return end;
	while (after - before > 1)
	{
		int64		middle = before + (after - before) / 2;

		if (svc_criteria_date_math(math, length, middle) < wanted)
			before = middle;
		else
			after = middle;
	}
	return after;
}

/*
 * How far may the result of date math fall?  Not at all without steps of months;
 * else each makes it a day, and three more if that leads to another month, for the
 * next one; and each rounding a unit.  Tells, too, when the first of these steps is
 * taken from another day.
 */
static int64
largest_fall(const char *math, int length, int64 now, int64 *next_jump)
{
	int			month_steps = 0;
	int			rounding_days = 0;

	for (int i = strlen("now") + 1; i < length; i++)
	{
		int			sign = i;
		int64		start;

		if (math[i - 1] == '/')
			rounding_days += math[i] == 'y' ? 366 : math[i] == 'M' ? 31 : math[i] == 'w' ? 7 : 1;
		if ((math[i] != 'M' && math[i] != 'y') || math[i - 1] == '/')
			continue;
		month_steps++;
		while (math[sign] != '+' && math[sign] != '-')
			sign--;
		/* (which it may be long before it is the next day here, if it was rounded) */
		start = svc_criteria_date_math(math, sign, now);
		*next_jump = first_reached(math, sign, now, (floor_div(start, DAY) + 1) * DAY, Min(*next_jump, now + DAY));
	}
	return month_steps == 0 ? 0 : (4 * month_steps + rounding_days) * DAY;
}

static bool
read_digits(Reader *reader, int count, int *value)
{
	*value = 0;
	if (reader->end - reader->at < count)
		return false;
	for (int i = 0; i < count; i++, reader->at++)
	{
		if (*reader->at < '0' || *reader->at > '9')
			return false;
		*value = *value * 10 + (*reader->at - '0');
	}
	return true;
}

static bool
read_char(Reader *reader, char wanted)
{
	if (reader->at == reader->end || *reader->at != wanted)
		return false;
	reader->at++;
	return true;
}

/* Perhaps a point and digits; what is less than a microsecond does not count. */
static bool
read_fraction(Reader *reader, int64 *microseconds)
{
	int64		unit = SECOND / 10;
	const char *first;

	if (!read_char(reader, '.'))
		return true;
	first = reader->at;
	for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++, unit /= 10)
		*microseconds += (*reader->at - '0') * unit;
	return reader->at > first;
}

/* Perhaps Z, +HH, +HHMM or +HH:MM. */
static bool
read_offset(Reader *reader, int64 *offset)
{
	bool		west = false;
	int			hours;
	int			minutes = 0;

	if (reader->at == reader->end || read_char(reader, 'Z'))
		return true;
	if (!read_char(reader, '+') && !(west = read_char(reader, '-')))
		return false;
	if (!read_digits(reader, 2, &hours))
		return false;
	if (reader->at < reader->end)
	{
		(void) read_char(reader, ':');
		if (!read_digits(reader, 2, &minutes))
			return false;
	}
	if (hours > 15 || minutes > 59)
		return false;
	*offset = (hours * HOUR + minutes * MINUTE) * (west ? -1 : 1);
	return true;
}

static bool
step(int64 *instant, int64 count, char unit)
{
	int64		days = floor_div(*instant, DAY);
	int64		length;
	int64		year;
	int64		months;
	int			month;
	int			day;

	if (unit == 'M' || unit == 'y')
	{
		civil_from_days(days + EPOCH_DAY, &year, &month, &day);
		months = year * 12 + (month - 1) + (unit == 'y' ? count * 12 : count);
		year = floor_div(months, 12);
		month = (int) (months - year * 12) + 1;
		if (year < YEAR_MIN || year > YEAR_MAX)
			return false;
		day = Min(day, days_in_month(year, month));
		*instant = (days_from_civil(year, month, day) - EPOCH_DAY) * DAY + (*instant - days * DAY);
		return true;
	}
	if (!unit_length(unit, &length) || pg_mul_s64_overflow(count, length, &length) ||
		pg_add_s64_overflow(*instant, length, instant))
		return false;
	civil_from_days(floor_div(*instant, DAY) + EPOCH_DAY, &year, &month, &day);
	return year >= YEAR_MIN && year <= YEAR_MAX;
}

static bool
round_down(int64 *instant, char unit)
{
	int64		days = floor_div(*instant, DAY);
	int64		length;
	int64		year;
	int			month;
	int			day;

	if (unit == 'M' || unit == 'y')
	{
		civil_from_days(days + EPOCH_DAY, &year, &month, &day);
		*instant = (days_from_civil(year, unit == 'y' ? 1 : month, 1) - EPOCH_DAY) * DAY;
	}
	else if (unit == 'w')
		/* 2000-01-03 was a Monday */
		*instant = (floor_div(days - 2, 7) * 7 + 2) * DAY;
	else if (unit_length(unit, &length))
		*instant = floor_div(*instant, length) * length;
	else
		return false;
	return true;
}

/* The length of a unit that has always the same. */
static bool
unit_length(char unit, int64 *length)
{
	static const char units[] = "smhdw";
	static const int64 lengths[] = {SECOND, MINUTE, HOUR, DAY, 7 * DAY};
	const char *found = unit == '\0' ? NULL : strchr(units, unit);

	if (found == NULL)
		return false;
	*length = lengths[found - units];
	return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar. */
static int64
days_from_civil(int64 year, int month, int day)
{
	int64		era;
	int64		year_of_era;
	int64		day_of_year;

	year -= month <= 2;
	era = floor_div(year, 400);
	year_of_era = year - era * 400;
	day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static void
civil_from_days(int64 days, int64 *year, int *month, int *day)
{
	int64		era;
	int64		day_of_era;
	int64		year_of_era;
	int64		day_of_year;
	int64		shifted;

	days += 719468;
	era = floor_div(days, 146097);
	day_of_era = days - era * 146097;
	year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	shifted = (5 * day_of_year + 2) / 153;
	*day = (int) (day_of_year - (153 * shifted + 2) / 5) + 1;
	*month = (int) (shifted < 10 ? shifted + 3 : shifted - 9);
	*year = year_of_era + era * 400 + (*month <= 2);
}

static int
days_in_month(int64 year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool		leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

static int64
floor_div(int64 a, int64 b)
{
	return a / b - (a % b < 0);
}
