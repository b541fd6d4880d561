/*-------------------------------------------------------------------------
 *
 * update.h
 *	  Updating a row of a noun without the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_UPDATE_H
#define SVC_UPDATE_H

#include "direct.h"
#include "plain.h"

/* The most columns that one call changes. */
#define SVC_UPDATE_COLUMNS_MAX	8

/* Columns that a user's foreign keys may have, for all we care. */
#define SVC_UPDATE_FIXED_MAX	4

/* A table whose counters are updated. */
typedef struct SvcUpdateTable
{
	SvcDirectTable direct;		/* by its primary key, with the columns to change */
	SvcChecks	checks;			/* which the caller has seen to */
	const char *fixed[SVC_UPDATE_FIXED_MAX];	/* columns that neither it nor a trigger of svc changes */
	SvcPlainVerdict verdict;	/* kept by update.c */
} SvcUpdateTable;

extern bool svc_update_row(SvcUpdateTable *table, const Datum *keys, const Datum *values);

#endif							/* SVC_UPDATE_H */
