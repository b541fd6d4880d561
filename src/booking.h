/*-------------------------------------------------------------------------
 *
 * booking.h
 *	  Writing to grants what was decided about them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_BOOKING_H
#define SVC_BOOKING_H

#include "ledger.h"

extern void svc_booking_renew(Datum customer_id, SvcGrant *grant);
extern int64 svc_booking_lapse(Datum customer_id, SvcGrant *grant);
extern void svc_booking_expire(Datum customer_id, const SvcGrant *grant);
extern void svc_booking_catch_up(const SvcRequest *request, SvcGrantSet *set);
extern bool svc_booking_write(const SvcRequest *request, const SvcGrantSet *set, int *line,
							  Datum answer);

#endif							/* SVC_BOOKING_H */
