/*-------------------------------------------------------------------------
 *
 * total.c
 *	  Totals of orders and invoices: total = subtotal - discount + tax.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "amount.h"
#include "error.h"
#include "noun.h"
#include "total.h"

static SvcColumn subtotal_column = {"subtotal", NUMERICOID};
static SvcColumn discount_column = {"discount", NUMERICOID};
static SvcColumn tax_column = {"tax", NUMERICOID};
static SvcColumn total_column = {"total", NUMERICOID};

static bool is_outdated(SvcRowChange *change);
static Datum amount_or_zero(SvcRowChange *change, SvcColumn *column);

/*
 * Where there is a subtotal, the total follows from it: it is computed when
 * left out, and refused when it is another.  Discount and tax are 0 when they
 * are left out.  Without a subtotal the total stands for itself.
 */
void
svc_total_check(SvcRowChange *change)
{
	bool		no_subtotal;
	bool		no_total;
	Datum		subtotal = svc_row_new(change, &subtotal_column, &no_subtotal);
	Datum		total = svc_row_new(change, &total_column, &no_total);
	Datum		computed;

	if (no_subtotal)
		return;
	computed = svc_amount_add(svc_amount_subtract(subtotal,
												  amount_or_zero(change, &discount_column)),
							  amount_or_zero(change, &tax_column));
	if (no_total || is_outdated(change))
		svc_row_set(change, &total_column, computed, false);
	else if (svc_amount_compare(total, computed) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("total of %s does not add up", svc_noun_info(change->noun)->name),
				 errdetail("It is %s, but subtotal - discount + tax is %s.",
						   svc_amount_text(total), svc_amount_text(computed)),
				 errhint("Leave out the total to have it computed.")));
}

/* Was something changed that the total follows from, but not the total? */
static bool
is_outdated(SvcRowChange *change)
{
	return !change->is_insert &&
		!svc_row_column_differs(change, &total_column) &&
		(svc_row_column_differs(change, &subtotal_column) ||
		 svc_row_column_differs(change, &discount_column) ||
		 svc_row_column_differs(change, &tax_column));
}

static Datum
amount_or_zero(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;
	Datum		value = svc_row_new(change, column, &isnull);

	return isnull ? svc_amount_zero() : value;
}
