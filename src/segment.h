/*-------------------------------------------------------------------------
 *
 * segment.h
 *	  Customer segments: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SEGMENT_H
#define SVC_SEGMENT_H

extern void svc_segment_init(void);

#endif							/* SVC_SEGMENT_H */
