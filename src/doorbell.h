/*-------------------------------------------------------------------------
 *
 * doorbell.h
 *	  NOTIFY, once, just before commit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_DOORBELL_H
#define SVC_DOORBELL_H

#include "noun.h"

/* setting, defined in svc.c */
extern int	svc_notify_max_per_transaction;

extern void svc_doorbell_init(void);
extern bool svc_doorbell_wants_payload(void);
extern void svc_doorbell_ring(SvcNoun noun, int64 event_id, const char *payload);

#endif							/* SVC_DOORBELL_H */
