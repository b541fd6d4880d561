/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  Usage records and roll-ups: what _PG_init must know of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_USAGE_H
#define SVC_USAGE_H

extern void svc_usage_init(void);

#endif							/* SVC_USAGE_H */
