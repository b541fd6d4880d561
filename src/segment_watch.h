/*-------------------------------------------------------------------------
 *
 * segment_watch.h
 *	  Segments that follow their customers in real time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SEGMENT_WATCH_H
#define SVC_SEGMENT_WATCH_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

extern List *svc_segment_ask(Datum customer_id, List *segment_ids, TimestampTz at);
extern Datum svc_segment_list_counting(void);

#endif							/* SVC_SEGMENT_WATCH_H */
