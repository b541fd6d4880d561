/*-------------------------------------------------------------------------
 *
 * action.h
 *	  The SQL functions that are actions on nouns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ACTION_H
#define SVC_ACTION_H

#include "fmgr.h"

#include "changes.h"
#include "gate.h"

#define SVC_ACTION_COLUMNS_MAX	6	/* columns that one action sets */

typedef struct SvcActionCall SvcActionCall;

/* An action that is more than a change of status. */
typedef struct SvcAction
{
	const char *function;		/* "svc_pay_invoice" */
	SvcNoun		noun;
	const char *action;

	/*
	 * Columns that the arguments after the keys set, in order; an argument
	 * that is NULL leaves its column alone.
	 */
	const char *columns;

	/* Decides on more, with the row locked; or NULL. */
	void		(*prepare) (SvcActionCall *call);

	/* Is it an error, not a no-op, to call it in the status it leads to? */
	bool		never_idle;

	/* Must nobody else do anything with the customer meanwhile? */
	bool		alone;
} SvcAction;

/* A column to be set. */
typedef struct SvcAssignment
{
	const char *column;
	Oid			type;
	Datum		value;
	bool		keep;			/* what the column has, if it has something */
} SvcAssignment;

/* One execution of an action on one row. */
struct SvcActionCall
{
	FunctionCallInfo fcinfo;
	SvcNoun		noun;
	const char *action;
	int			first_argument; /* the first after the keys */
	Datum		customer_id;
	Datum		id;
	SvcFoundRow row;			/* as locked */

	/* what to do, completed by "prepare" */
	bool		done;			/* it has written the row itself */
	const char *to;				/* NULL: where the first line leads */
	int			assignment_count;
	SvcAssignment assignments[SVC_ACTION_COLUMNS_MAX];
	SvcNote		note;			/* goes with the event */
};

extern void svc_action_register(const SvcAction *actions, int count);
extern void svc_action_set(SvcActionCall *call, const char *column, Oid type, Datum value);
extern void svc_action_set_now_once(SvcActionCall *call, const char *column);
pg_noreturn extern void svc_action_forbid(SvcActionCall *call);
pg_noreturn extern void svc_action_refuse(SvcActionCall *call, const char *why,
										  const char *hint);

#endif							/* SVC_ACTION_H */
