/*-------------------------------------------------------------------------
 *
 * period.h
 *	  Periods: where they begin and end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_PERIOD_H
#define SVC_PERIOD_H

#include "pgtime.h"
#include "utils/timestamp.h"

typedef enum SvcPeriod
{
	SVC_HOURLY,
	SVC_DAILY,
	SVC_WEEKLY,
	SVC_MONTHLY,
	SVC_QUARTERLY,
	SVC_YEARLY,
	SVC_NEVER,
} SvcPeriod;

#define SVC_PERIOD_NAMES "hourly, daily, weekly, monthly, quarterly, yearly and never"

/* Periods of one length, one after the other without end. */
typedef struct SvcCycle
{
	SvcPeriod	period;			/* not SVC_NEVER */
	TimestampTz anchor;			/* where period 0 begins; finite */
	pg_tz	   *zone;			/* in whose calendar */
} SvcCycle;

extern bool svc_period_find(const char *name, SvcPeriod *period);
extern pg_tz *svc_period_zone(const char *name);
extern TimestampTz svc_cycle_boundary(const SvcCycle *cycle, int64 n);
extern int64 svc_cycle_index(const SvcCycle *cycle, TimestampTz at);

#endif							/* SVC_PERIOD_H */
