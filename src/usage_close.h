/*-------------------------------------------------------------------------
 *
 * usage_close.h
 *	  The end of periods of usage.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_CLOSE_H
#define SVC_USAGE_CLOSE_H

#include "fmgr.h"
#include "utils/timestamp.h"

extern int64 svc_usage_complete(TimestampTz upto, int32 max_rows, int64 *failed);
extern int64 svc_usage_mark_aggregated(int32 max_rows, int64 *failed);

#endif							/* SVC_USAGE_CLOSE_H */
