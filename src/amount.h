/*-------------------------------------------------------------------------
 *
 * amount.h
 *	  Arithmetic on amounts, which are numeric and never float.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_AMOUNT_H
#define SVC_AMOUNT_H

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* the digits that an amount may have */
#define SVC_AMOUNT_DIGITS_MAX	36	/* digits before the decimal point */
#define SVC_AMOUNT_SCALE_MAX	18	/* digits after it */

extern Datum svc_amount_zero(void);
extern Datum svc_amount_too_large(void);

static inline Datum
svc_amount_from(int64 value)
{
	return NumericGetDatum(int64_to_numeric(value));
}

/* Less than this nobody can ask for. */
static inline Datum
svc_amount_smallest(void)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum("1e-18"),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/* No limit. */
static inline Datum
svc_amount_infinity(void)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum("Infinity"),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static inline Datum
svc_amount_add(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_add, a, b);
}

static inline Datum
svc_amount_subtract(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_sub, a, b);
}

static inline Datum
svc_amount_negate(Datum a)
{
	return DirectFunctionCall1(numeric_uminus, a);
}

static inline Datum
svc_amount_multiply(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_mul, a, b);
}

/* The whole part of a / b. */
static inline Datum
svc_amount_quotient(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_div_trunc, a, b);
}

/* a / b, as exact as numeric makes it, without zeros behind. */
static inline Datum
svc_amount_ratio(Datum a, Datum b)
{
	return DirectFunctionCall1(numeric_trim_scale, DirectFunctionCall2(numeric_div, a, b));
}

/* Less than, equal to or greater than 0, as a is to b. */
static inline int
svc_amount_compare(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b));
}

/* The sign: -1, 0 or 1. */
static inline int
svc_amount_sign(Datum a)
{
	return svc_amount_compare(a, svc_amount_zero());
}

static inline Datum
svc_amount_least(Datum a, Datum b)
{
	return svc_amount_compare(a, b) <= 0 ? a : b;
}

static inline Datum
svc_amount_greatest(Datum a, Datum b)
{
	return svc_amount_compare(a, b) >= 0 ? a : b;
}

static inline char *
svc_amount_text(Datum a)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, a));
}

#endif							/* SVC_AMOUNT_H */
