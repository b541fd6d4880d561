/*-------------------------------------------------------------------------
 *
 * offer.h
 *	  What a plan offers to a subscriber.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_OFFER_H
#define SVC_OFFER_H

#include "fmgr.h"
#include "utils/timestamp.h"

/* A plan, as it is now, for one billing cycle. */
typedef struct SvcOffer
{
	Datum		plan_id;
	const char *status;
	const char *currency;		/* or NULL */
	const char *interval;		/* at which the plan itself is billed */
	const char *billing_cycle;	/* the one asked for, else the plan's own */
	bool		fits;			/* is the cycle a whole multiple of the interval? */
	Datum		price;			/* for one cycle */
	bool		has_service;
	Datum		service_id;
	int64		revision;
	Datum		terms;
	int32		trial_days;
	bool		trial_requires_card;
} SvcOffer;

extern bool svc_offer_read(SvcOffer *offer, Datum plan_id, const char *billing_cycle);
extern void svc_offer_check_cycle(const char *billing_cycle);
extern TimestampTz svc_offer_trial_end(Datum customer_id, Datum plan_id, TimestampTz start, int32 days);
extern void svc_offer_check_open(const SvcOffer *offer);
extern void svc_offer_check_fit(const SvcOffer *offer, const char *currency);

#endif							/* SVC_OFFER_H */
