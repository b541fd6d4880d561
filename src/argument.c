/*-------------------------------------------------------------------------
 *
 * argument.c
 *	  Arguments of SQL-callable functions, checked.
 *
 * Each function takes the position of an argument, counted from 0, and what
 * it is called in messages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

#include "amount.h"
#include "argument.h"
#include "clock.h"
#include "compat.h"

pg_noreturn static void report_null(const char *what);

void
svc_argument_not_null(FunctionCallInfo fcinfo, int n, const char *what)
{
	if (PG_ARGISNULL(n))
		report_null(what);
}

/* An id, a code or a key: text of 1 to 255 characters. */
Datum
svc_argument_id(FunctionCallInfo fcinfo, int n, const char *what)
{
	svc_argument_not_null(fcinfo, n, what);
	svc_check_id(PG_GETARG_DATUM(n), what);
	return PG_GETARG_DATUM(n);
}

/* The same, or NULL. */
Datum
svc_argument_optional_id(FunctionCallInfo fcinfo, int n, const char *what, bool *isnull)
{
	*isnull = PG_ARGISNULL(n);
	return *isnull ? (Datum) 0 : svc_argument_id(fcinfo, n, what);
}

/* A finite amount; its sign is the caller's business. */
Datum
svc_argument_amount(FunctionCallInfo fcinfo, int n, const char *what)
{
	svc_argument_not_null(fcinfo, n, what);
	svc_check_amount(PG_GETARG_DATUM(n), what);
	return PG_GETARG_DATUM(n);
}

/* A finite amount greater than 0. */
Datum
svc_argument_positive_amount(FunctionCallInfo fcinfo, int n, const char *what,
							 const char *hint)
{
	Datum		amount = svc_argument_amount(fcinfo, n, what);

	if (svc_amount_sign(amount) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than 0", what),
				 errdetail("It is %s.", svc_amount_text(amount)),
				 errhint("%s", hint)));
	return amount;
}

bool
svc_argument_bool(FunctionCallInfo fcinfo, int n, const char *what)
{
	svc_argument_not_null(fcinfo, n, what);
	return PG_GETARG_BOOL(n);
}

/* How many rows a call does at most, so that they are not locked for long. */
int32
svc_argument_max_rows(FunctionCallInfo fcinfo, int n)
{
	int32		rows;

	svc_argument_not_null(fcinfo, n, "max_rows");
	rows = PG_GETARG_INT32(n);
	if (rows < 1 || rows > SVC_MAX_ROWS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be between 1 and %d", SVC_MAX_ROWS_MAX),
				 errdetail("It is %d.", rows),
				 errhint("Leave it out for 1000.")));
	return rows;
}

/* An instant; NULL is the start of the transaction. */
TimestampTz
svc_argument_at(FunctionCallInfo fcinfo, int n)
{
	TimestampTz at;

	if (PG_ARGISNULL(n))
		return svc_clock_now();
	at = PG_GETARG_TIMESTAMPTZ(n);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"at\" must be finite"),
				 errdetail("It is %s.", at < 0 ? "-infinity" : "infinity"),
				 errhint("Pass NULL for the present.")));
	return at;
}

/* The same, and whether the caller has given it. */
SvcInstant
svc_argument_instant(FunctionCallInfo fcinfo, int n)
{
	SvcInstant	instant = {.at = svc_argument_at(fcinfo, n), .given = !PG_ARGISNULL(n)};

	return instant;
}

/* Is an interval neither shorter nor longer than these? */
bool
svc_interval_is_between(Datum interval, const char *low, const char *high)
{
	Datum		least = DirectFunctionCall3(interval_in, CStringGetDatum(low),
											ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	Datum		most = DirectFunctionCall3(interval_in, CStringGetDatum(high),
										   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	return DatumGetBool(DirectFunctionCall2(interval_ge, interval, least)) &&
		DatumGetBool(DirectFunctionCall2(interval_le, interval, most));
}

void
svc_check_id(Datum value, const char *what)
{
	text	   *id = DatumGetTextPP(value);
	int			bytes = VARSIZE_ANY_EXHDR(id);
	int			length = pg_mbstrlen_with_len(VARDATA_ANY(id), bytes);

	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what),
				 errdetail("It has 0 characters."),
				 errhint("Pass a text of 1 to %d characters.", SVC_ID_LENGTH_MAX)));
	if (length > SVC_ID_LENGTH_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("%s is too long", what),
				 errdetail("It has %d characters.", length),
				 errhint("Pass a text of 1 to %d characters.", SVC_ID_LENGTH_MAX)));
}

/*
 * Amounts have at most 36 digits before and 18 after the decimal point.  The
 * limits keep sums far from numeric's own, and rows of the ledger small.
 */
void
svc_check_amount(Datum value, const char *what)
{
	Numeric		amount = DatumGetNumeric(value);

	if (numeric_is_nan(amount) || numeric_is_inf(amount))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a finite number", what),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, value))),
				 errhint("Pass a plain number.")));

	if (svc_amount_compare(DirectFunctionCall1(numeric_abs, value), svc_amount_too_large()) >= 0 ||
		DatumGetInt32(DirectFunctionCall1(numeric_scale, value)) > SVC_AMOUNT_SCALE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s has too many digits", what),
				 errdetail("It has %d digits after the decimal point.",
						   DatumGetInt32(DirectFunctionCall1(numeric_scale, value))),
				 errhint("Amounts have at most %d digits before and %d after the decimal point.",
						 SVC_AMOUNT_DIGITS_MAX, SVC_AMOUNT_SCALE_MAX)));
}

static void
report_null(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", what),
			 errdetail("Null would leave open what is meant."),
			 errhint("Pass a value; arguments with a default may be left out.")));
}

/*
 * Which name was probably meant: the first of those that differ in the fewest places,
 * and in no more than so many; or NULL.
 */
const char *
svc_nearest(const char *wrong, const char *const *names, int count, int distance_max)
{
	const char *nearest = NULL;
	int			nearest_distance = distance_max + 1;

	/* varstr_levenshtein() itself refuses longer strings */
	if (strlen(wrong) > NAMEDATALEN)
		return NULL;
	for (int i = 0; i < count; i++)
	{
		int			distance = varstr_levenshtein_less_equal(wrong, strlen(wrong), names[i], strlen(names[i]),
															 1, 1, 1, nearest_distance - 1, true);

		if (distance < nearest_distance)
		{
			nearest = names[i];
			nearest_distance = distance;
		}
	}
	return nearest;
}
