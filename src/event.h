/*-------------------------------------------------------------------------
 *
 * event.h
 *	  The event log and its doorbell.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_EVENT_H
#define SVC_EVENT_H

#include "fmgr.h"

#include "transition.h"

/* One row of svc_event, less what the log itself adds. */
typedef struct SvcEvent
{
	SvcNoun		noun;
	const char *action;
	const SvcEventName *name;
	const char *customer_id;	/* "" for nouns without a customer */
	const char *entity_id;
	int64		revision;
	const char *from_status;	/* NULL on creation */
	const char *to_status;
	Datum		changes;		/* jsonb */
	bool		has_changes;
} SvcEvent;

/* settings, defined in svc.c */
extern bool svc_notify;
extern bool svc_consumed_events;
extern char *svc_actor;
extern char *svc_request_id;

extern int64 svc_event_draw_id(FunctionCallInfo fcinfo);
extern void svc_event_append(FunctionCallInfo fcinfo, int64 id, const SvcEvent *event);
extern const char *svc_event_actor(void);
extern Datum svc_event_request_id(bool *isnull);

#endif							/* SVC_EVENT_H */
