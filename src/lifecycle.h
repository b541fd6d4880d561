/*-------------------------------------------------------------------------
 *
 * lifecycle.h
 *	  The triggers that keep every noun's row within its lifecycle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_LIFECYCLE_H
#define SVC_LIFECYCLE_H

#include "utils/jsonb.h"

#include "argument.h"
#include "changes.h"
#include "compat.h"
#include "row.h"
#include "statement.h"
#include "update.h"

#define SVC_SIDE_EVENTS_MAX		24	/* of one change */

/* Something that happened with a change, apart from its action. */
typedef struct SvcSideEvent
{
	const char *action;			/* whose event it is, in the table of transitions */
	SvcNote		note;
} SvcSideEvent;

/*
 * A noun's own rules; each may be NULL.
 */
typedef struct SvcLifecycleRules
{
	/*
	 * Before a function of svc locks a row for an action: locks what comes
	 * before rows. "properties" are those of an update, else NULL.
	 */
	void		(*before_lock) (const char *action, Jsonb *properties);

	/*
	 * Before an action of a function of svc, with the row locked: writes down
	 * what time has done to it, and returns whether there was something.
	 * "instant" is what the action is for.
	 */
	bool		(*catch_up) (Datum customer_id, Datum id, SvcInstant instant);

	/*
	 * In the BEFORE trigger, first: checks the new row, and may set columns
	 * of it, the status included.
	 */
	void		(*check) (SvcRowChange *change);

	/*
	 * In the BEFORE trigger, when the action is known: sets what it implies,
	 * such as the instant of a solution.
	 */
	void		(*imply) (SvcRowChange *change, const char *action);

	/*
	 * In both triggers, from the same two rows: what else has happened, apart
	 * from the action; each thing is an event of its own, with from = to.
	 * Fills in and returns their number, or only that, if "events" is NULL.
	 */
	int			(*also) (SvcRowChange *change, const char *action, SvcSideEvent *events);

	/*
	 * In the AFTER trigger, of a row that was restored: there is no action, and no
	 * event.
	 */
	void		(*restored) (SvcRowChange *change);

	/*
	 * In the AFTER trigger, when the events are written.
	 */
	void		(*conclude) (SvcRowChange *change, const char *action);
} SvcLifecycleRules;

/*
 * What a function of svc is doing to the rows of a noun: it says so for the
 * statement that does it.
 */
typedef struct SvcDeed
{
	SvcNoun		noun;
	const char *action;
	SvcNote		note;
	bool		counters_only;	/* it is no change of the row's life: no event */
} SvcDeed;

extern void svc_lifecycle_set_rules(SvcNoun noun, const SvcLifecycleRules *rules);

extern bool svc_lifecycle_catch_up(SvcNoun noun, Datum customer_id, Datum id,
								   SvcInstant instant);
extern void svc_lifecycle_before_lock(SvcNoun noun, const char *action, Jsonb *properties);
extern uint64 svc_lifecycle_write(const SvcDeed *deed, SvcStatement *statement,
								  Datum *values, const bool *isnull);
extern bool svc_lifecycle_update_row(const SvcDeed *deed, SvcUpdateTable *table, const Datum *keys,
									 const Datum *values);
extern uint64 svc_lifecycle_write_once(const SvcDeed *deed, const char *sql, int nargs,
									   Oid *argtypes, Datum *values, const bool *isnull);
extern uint64 svc_lifecycle_rewrite(SvcStatement *statement, Datum *values,
									const bool *isnull);
extern uint64 svc_lifecycle_rewrite_once(const char *sql, int nargs, Oid *argtypes,
										 Datum *values);
extern bool svc_lifecycle_by_function(SvcRowChange *change);
extern bool svc_lifecycle_is_update(SvcRowChange *change);
extern char *svc_lifecycle_next_statuses(SvcNoun noun, int from);
pg_noreturn extern void svc_lifecycle_refuse_column(SvcRowChange *change, const char *column,
													const char *hint);
pg_noreturn extern void svc_lifecycle_refuse_change(SvcRowChange *change, const char *why,
													const char *hint);

#endif							/* SVC_LIFECYCLE_H */
