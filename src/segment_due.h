/*-------------------------------------------------------------------------
 *
 * segment_due.h
 *	  What a scheduler does about segments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SEGMENT_DUE_H
#define SVC_SEGMENT_DUE_H

#include "utils/timestamp.h"

/* setting, defined in svc.c: seconds until what has no events is looked at again */
extern int	svc_segment_refresh;

extern int64 svc_segment_run_timers(TimestampTz at, int32 max_rows, int *customers_left, int64 *failed);
extern int64 svc_segment_run_syncs(TimestampTz at, int32 max_rows, int *customers_left, int64 *failed);

#endif							/* SVC_SEGMENT_DUE_H */
