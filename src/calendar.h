/*-------------------------------------------------------------------------
 *
 * calendar.h
 *	  Hours, days, weeks, months, quarters and years of a time zone's calendar.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CALENDAR_H
#define SVC_CALENDAR_H

#include "period.h"

#define SVC_CALENDAR_KINDS		6	/* SVC_HOURLY to SVC_YEARLY */

/* [start, end) */
typedef struct SvcSpan
{
	TimestampTz start;
	TimestampTz end;
} SvcSpan;

extern SvcPeriod svc_calendar_kind(const char *name);
extern const char *svc_calendar_name(SvcPeriod kind);
extern SvcSpan svc_calendar_span(SvcPeriod kind, TimestampTz at, pg_tz *zone);
extern TimestampTz svc_calendar_ceiling(SvcPeriod kind, TimestampTz at, pg_tz *zone);

#endif							/* SVC_CALENDAR_H */
