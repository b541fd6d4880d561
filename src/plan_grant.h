/*-------------------------------------------------------------------------
 *
 * plan_grant.h
 *	  What a plan grants to its subscribers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_PLAN_GRANT_H
#define SVC_PLAN_GRANT_H

#include "fmgr.h"
#include "utils/jsonb.h"

/* Whose grants they are, and for what. */
typedef struct SvcPlanTerms
{
	Datum		customer_id;
	Datum		subscription_id;
	Datum		plan_id;
	const char *source;			/* plan, trial or addon */
	int32		quantity;		/* limits are for one */
	Datum		billing_cycle;	/* resets follow it, unless the plan says otherwise */
	Datum		anchor;			/* of the resets */
} SvcPlanTerms;

extern void svc_plan_check_limits(Jsonb *limits);
extern void svc_plan_grant_all(const SvcPlanTerms *terms);
extern void svc_plan_lock_grants(const SvcPlanTerms *terms);
extern void svc_plan_change_all(const SvcPlanTerms *terms);

#endif							/* SVC_PLAN_GRANT_H */
