/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The instant that svc works for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CLOCK_H
#define SVC_CLOCK_H

#include "utils/timestamp.h"

extern TimestampTz svc_clock_now(void);
extern void svc_clock_run_at(TimestampTz at, void (*work) (void *state), void *state);

#endif							/* SVC_CLOCK_H */
