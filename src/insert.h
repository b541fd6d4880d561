/*-------------------------------------------------------------------------
 *
 * insert.h
 *	  Inserting a row into a table of svc without the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_INSERT_H
#define SVC_INSERT_H

#include "utils/relcache.h"

extern bool svc_insert_row(Relation rel, int natts, const Oid *types, const char *check,
						   Datum *values, bool *isnull);

#endif							/* SVC_INSERT_H */
