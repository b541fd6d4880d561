/*-------------------------------------------------------------------------
 *
 * touch.h
 *	  Which customers this transaction has changed, and what of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_TOUCH_H
#define SVC_TOUCH_H

#include "row.h"

/* More customers than these are looked at all together. */
#define SVC_TOUCH_CUSTOMERS_MAX		1000

/*
 * A customer, and the path in its document that has changed, of one component
 * or of two: "status", "attributes.plan", "entitlements.api_calls"; "" is all of it,
 * "segments.vip" that it has come to the segment or left it.
 */
typedef struct SvcTouch
{
	const char *customer_id;
	const char *path;
} SvcTouch;

/* What has been touched, by customer. */
typedef struct SvcTouches
{
	bool		too_many;		/* the customers are not known: it may be any */
	int			count;
	SvcTouch   *touches;		/* ordered; with too_many, "" instead of customers */
} SvcTouches;

extern void svc_touch_init(void);
extern void svc_touch_row(SvcRowChange *change);
extern void svc_touch_customer(const char *customer_id);
extern void svc_touch_membership(const char *segment_id, const char *customer_id);
extern void svc_touch_memberships(const char *segment_id);
extern bool svc_touch_take(SvcTouches *touches);
extern bool svc_touch_begins(void);
extern void svc_touch_begin_evaluation(void);
extern void svc_touch_end_evaluation(void);

#endif							/* SVC_TOUCH_H */
