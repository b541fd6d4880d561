/*-------------------------------------------------------------------------
 *
 * amount.c
 *	  Amounts that are needed in every call, and so made once in a session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datum.h"
#include "utils/memutils.h"

#include "amount.h"

static Datum keep(Datum amount);

Datum
svc_amount_zero(void)
{
	static Datum zero = 0;

	if (zero == 0)
		zero = keep(svc_amount_from(0));
	return zero;
}

/* The least amount that has more than SVC_AMOUNT_DIGITS_MAX digits. */
Datum
svc_amount_too_large(void)
{
	static Datum limit = 0;

	if (limit == 0)
		limit = keep(DirectFunctionCall3(numeric_in, CStringGetDatum("1e" CppAsString2(SVC_AMOUNT_DIGITS_MAX)),
										 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return limit;
}

static Datum
keep(Datum amount)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Datum		kept = datumCopy(amount, false, -1);

	MemoryContextSwitchTo(old);
	return kept;
}
