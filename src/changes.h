/*-------------------------------------------------------------------------
 *
 * changes.h
 *	  What an event says about the change that it reports.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CHANGES_H
#define SVC_CHANGES_H

#include "row.h"

/* A remark that goes with an event, as a member of its changes. */
typedef struct SvcNote
{
	const char *name;			/* of the member; NULL: there is no remark */
	const char *old_value;		/* or NULL */
	const char *new_value;		/* or NULL */
	const struct SvcNote *next; /* another remark, or NULL */
} SvcNote;

extern bool svc_changes_describe(SvcRowChange *change, const char *omitted,
								 const SvcNote *note, Datum *changes);
extern bool svc_changes_note(const SvcNote *note, Datum *changes);

#endif							/* SVC_CHANGES_H */
