/*-------------------------------------------------------------------------
 *
 * usage_read.h
 *	  What a customer has used between two instants, exactly.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_READ_H
#define SVC_USAGE_READ_H

#include "fmgr.h"
#include "nodes/pg_list.h"

#include "calendar.h"

/* The windows that a customer's document has, by their names. */
#define SVC_USAGE_WINDOWS	5
extern const char *const svc_usage_window_names[SVC_USAGE_WINDOWS];

/* Usage of one customer; the caller keeps it while its call lasts. */
typedef struct SvcUsageReader
{
	Datum		customer_id;
	bool		is_folded;		/* is anything rolled up? */
	pg_tz	   *zone;			/* that it is rolled up in, or would be */
	bool		is_merged;		/* into another: only what was final is here */
	TimestampTz purged_until;	/* raw records of hours before are purged; or -infinity */
} SvcUsageReader;

extern void svc_usage_read_begin(SvcUsageReader *reader, Datum customer_id);
extern Datum svc_usage_read(const SvcUsageReader *reader, const char *resource, TimestampTz from,
							TimestampTz to, bool *isnull);
extern Datum svc_usage_read_window(const SvcUsageReader *reader, const char *resource, int window,
								   TimestampTz at);
extern List *svc_usage_read_resources(const SvcUsageReader *reader);

#endif							/* SVC_USAGE_READ_H */
