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

/* A table whose counters are updated. */
typedef struct SvcUpdateTable
{
	SvcDirectTable direct;		/* by its primary key, with the columns to change */
	SvcChecks	checks;			/* which the caller has seen to */
} SvcUpdateTable;

extern bool svc_update_row(SvcUpdateTable *table, const Datum *keys, const Datum *values);

#endif							/* SVC_UPDATE_H */
