/*-------------------------------------------------------------------------
 *
 * transition.h
 *	  The lifecycles of all nouns, as a table that can be asked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_TRANSITION_H
#define SVC_TRANSITION_H

#include "noun.h"

#define SVC_STATUS_MAX				12	/* statuses of one noun */
#define SVC_TRANSITION_EVENTS_MAX	2	/* events of one transition */
#define SVC_STATUS_NONE				(-1)	/* no status: before creation, or unknown */

typedef struct SvcEventName
{
	const char *name;			/* "customerAdded" */
	const char *type;			/* "customer_added" */
} SvcEventName;

/* One line of the table. */
typedef struct SvcTransition
{
	SvcNoun		noun;
	const char *action;
	bool		creates;		/* makes a new row */
	uint32		from_mask;		/* statuses that it can be taken from */
	int			to;				/* status it leads to; SVC_STATUS_NONE: unchanged */
	int			event_count;
	SvcEventName events[SVC_TRANSITION_EVENTS_MAX]; /* the first carries the change */
	const char *guard;			/* when it applies, for people; or NULL */
} SvcTransition;

extern int	svc_transition_count(void);
extern const SvcTransition *svc_transition_get(int n);
extern const SvcTransition *svc_transition_match(SvcNoun noun, const char *action,
												 int from, int to);
extern bool svc_transition_is_beside(const SvcTransition *transition);
extern bool svc_transition_leaves(const SvcTransition *transition, int from);
extern int	svc_status_find(SvcNoun noun, const char *name);
extern const char *svc_status_name(SvcNoun noun, int status);
extern const char *svc_transition_creator(SvcNoun noun);
extern bool svc_action_exists(SvcNoun noun, const char *action);

#endif							/* SVC_TRANSITION_H */
