/*-------------------------------------------------------------------------
 *
 * balance.c
 *	  What a grant has left, and what a reset makes of it.
 *
 *			  limit       rollover          room, where overage is allowed
 *		|--------------|------------|- - - - - - - - - - - - - -|
 *		|===========|~~~~~|.........|
 *			 used     held  available
 *
 * What is carried over from the period before is used first, because it
 * perishes first.  So at a reset what is left of *this* period's limit is
 *
 *		own = least(limit, limit + rollover - used - held)
 *
 * and of that at most rollover_max is carried into the next period.  What was
 * used beyond limit and rollover, the *overage*, is forgiven, or is the first
 * that counts as used in the next period.  What is held stays held.
 *
 * Pure: no SPI, no catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "amount.h"
#include "balance.h"

static Datum left(const SvcBalance *balance);
static void reset_once(SvcBalance *balance);
static int64 work_off_overage(SvcBalance *balance, int64 times);

/* What the period allows: limit and rollover. */
Datum
svc_balance_allowance(const SvcBalance *balance)
{
	return svc_amount_add(balance->limit, balance->rollover);
}

/* What can still be used within it; not below 0. */
Datum
svc_balance_available(const SvcBalance *balance)
{
	return svc_amount_greatest(svc_amount_zero(), left(balance));
}

/* What was used beyond it. */
Datum
svc_balance_overage(const SvcBalance *balance)
{
	return svc_amount_greatest(svc_amount_zero(),
							   svc_amount_subtract(balance->used, svc_balance_allowance(balance)));
}

/*
 * How much more can be used beyond it, when all that is available is used; only
 * for a balance that may exceed, up to a limit.
 */
Datum
svc_balance_overage_room(const SvcBalance *balance)
{
	Datum		beyond = svc_amount_greatest(svc_amount_subtract(svc_amount_zero(), left(balance)),
											 svc_amount_zero());

	return svc_amount_greatest(svc_amount_subtract(balance->overage_limit, beyond),
							   svc_amount_zero());
}

/* Is all used up?  What is held is not used. */
bool
svc_balance_is_spent(const SvcBalance *balance)
{
	return !balance->unlimited &&
		svc_amount_compare(balance->used, svc_balance_allowance(balance)) >= 0;
}

/*
 * Reset a number of times, one after the other, as if each had come at its
 * time.  In closed form: who looks again after ten years of hours must not
 * wait for 87,660 resets.
 *
 * While overage is being worked off, a limit per period, nothing is left to be
 * carried.  Afterwards nothing is used, and each reset adds to the rollover
 * what is not held of the limit, within 0 and the most that can be carried.
 */
void
svc_balance_reset(SvcBalance *balance, int64 times)
{
	Datum		most;
	Datum		grown;

	if (times <= 0)
		return;
	if (balance->unlimited)
	{
		balance->used = balance->rollover = svc_amount_zero();
		return;
	}
	reset_once(balance);
	times = work_off_overage(balance, times - 1);
	if (times == 0)
		return;

	most = svc_amount_least(balance->limit, balance->rollover_max);
	grown = svc_amount_add(balance->rollover,
						   svc_amount_multiply(svc_amount_from(times),
											   svc_amount_subtract(balance->limit, balance->held)));
	balance->rollover = svc_amount_greatest(svc_amount_least(grown, most), svc_amount_zero());
}

/* Negative when more is used or held than there is. */
static Datum
left(const SvcBalance *balance)
{
	return svc_amount_subtract(svc_amount_subtract(svc_balance_allowance(balance), balance->used),
							   balance->held);
}

static void
reset_once(SvcBalance *balance)
{
	Datum		own = svc_amount_least(balance->limit, left(balance));
	Datum		overage = svc_balance_overage(balance);

	balance->rollover = svc_amount_greatest(svc_amount_least(own, balance->rollover_max),
											svc_amount_zero());
	balance->used = balance->carries_overage ? overage : svc_amount_zero();
}

/*
 * After a first reset: those that follow, as long as overage is left.  Returns
 * how many are to come after that.
 */
static int64
work_off_overage(SvcBalance *balance, int64 times)
{
	Datum		whole;
	Datum		rest;
	Datum		passed;

	if (times == 0 || svc_amount_sign(balance->used) == 0)
		return times;
	if (svc_amount_sign(balance->limit) == 0)
		return 0;

	/* in so many periods a whole limit is worked off, and something is left */
	whole = svc_amount_quotient(balance->used, balance->limit);
	rest = svc_amount_subtract(balance->used, svc_amount_multiply(whole, balance->limit));
	if (svc_amount_sign(rest) == 0)
		whole = svc_amount_subtract(whole, svc_amount_from(1));

	passed = svc_amount_least(whole, svc_amount_from(times));
	balance->used = svc_amount_subtract(balance->used,
										svc_amount_multiply(passed, balance->limit));
	if (svc_amount_compare(passed, svc_amount_from(times)) == 0)
		return 0;
	reset_once(balance);
	return times - DatumGetInt64(DirectFunctionCall1(numeric_int8, passed)) - 1;
}
