/*-------------------------------------------------------------------------
 *
 * consumer.h
 *	  Consumers of the event log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CONSUMER_H
#define SVC_CONSUMER_H

/* setting, defined in svc.c */
extern int	svc_event_max_retention;

#endif							/* SVC_CONSUMER_H */
