/*-------------------------------------------------------------------------
 *
 * counter.h
 *	  Numbers without gaps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_COUNTER_H
#define SVC_COUNTER_H

extern Datum svc_counter_next(const char *name, const char *prefix);

#endif							/* SVC_COUNTER_H */
