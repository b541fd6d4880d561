/*-------------------------------------------------------------------------
 *
 * balance.h
 *	  What a grant has left, and what a reset makes of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_BALANCE_H
#define SVC_BALANCE_H

#include "fmgr.h"

/* The figures of one grant that is counted; numeric, see amount.h. */
typedef struct SvcBalance
{
	bool		unlimited;		/* then only "used" and "held" mean anything */
	Datum		limit;
	Datum		rollover;		/* carried over from the period before */
	Datum		used;
	Datum		held;			/* set aside, and not used yet */

	Datum		rollover_max;	/* of what a reset carries over */
	bool		carries_overage;	/* or forgives it */
	bool		may_exceed;		/* may use go beyond limit and rollover? */
	bool		has_overage_limit;
	Datum		overage_limit;	/* how far */
} SvcBalance;

extern Datum svc_balance_allowance(const SvcBalance *balance);
extern Datum svc_balance_available(const SvcBalance *balance);
extern Datum svc_balance_overage(const SvcBalance *balance);
extern Datum svc_balance_overage_room(const SvcBalance *balance);
extern bool svc_balance_is_spent(const SvcBalance *balance);
extern void svc_balance_reset(SvcBalance *balance, int64 times);

#endif							/* SVC_BALANCE_H */
