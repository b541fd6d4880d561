/*-------------------------------------------------------------------------
 *
 * insert.h
 *	  Inserting a row into a table of svc without the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_INSERT_H
#define SVC_INSERT_H

#include "plain.h"

/* What a table is like that is as svc_install() has made it. */
typedef struct SvcPlainTable
{
	int			natts;
	const Oid  *types;			/* of its columns */
	SvcChecks	checks;			/* which the caller has seen to */
	const char *arbiter;		/* unique index whose conflicts are no error, or NULL */
	SvcPlainVerdict verdict;	/* kept by insert.c */
} SvcPlainTable;

extern bool svc_insert_row(Relation rel, SvcPlainTable *table, Datum *values, bool *isnull);

#endif							/* SVC_INSERT_H */
