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

/* If more customers than these have changed, it is forgotten which. */
#define SVC_TOUCH_CUSTOMERS_MAX		1000

/*
 * A customer, and the path in its document that has changed, of one component
 * or of two: "status", "attributes.plan", "entitlements.api_calls"; "" is all of it,
 * "segments.vip" that it has come to the segment or left it.  Customer "" may be any.
 */
typedef struct SvcTouch
{
	const char *customer_id;
	const char *path;
} SvcTouch;

extern void svc_touch_init(void);
extern void svc_touch_row(SvcRowChange *change);
extern void svc_touch_customer(const char *customer_id);
extern void svc_touch_membership(const char *segment_id, const char *customer_id);
extern void svc_touch_memberships(const char *segment_id);
extern int	svc_touch_take(SvcTouch **touches);
extern bool svc_touch_begins(void);
extern bool svc_touch_begin_evaluation(void);
extern void svc_touch_end_evaluation(void);

#endif							/* SVC_TOUCH_H */
