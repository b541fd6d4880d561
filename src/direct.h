/*-------------------------------------------------------------------------
 *
 * direct.h
 *	  Reading rows of svc's tables without the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_DIRECT_H
#define SVC_DIRECT_H

#include "access/genam.h"
#include "access/relscan.h"
#include "executor/tuptable.h"

#include "row.h"

#define SVC_DIRECT_KEYS_MAX		2
#define SVC_DIRECT_COLUMNS_MAX	24

/* A table that is read by the first columns of an index, all of them text. */
typedef struct SvcDirectTable
{
	const char *name;
	int			key_count;
	SvcColumn	keys[SVC_DIRECT_KEYS_MAX];
	int			column_count;	/* that are read */
	SvcColumn  *columns;
	const char *predicate;		/* of the index, if it has one */

	/* kept by direct.c, as long as no relation changes */
	Oid			schema;
	uint64		changes;		/* of the catalog when it was looked up */
	Oid			rel;
	Oid			index;			/* InvalidOid: the table is not plain */
	AttrNumber	attnums[SVC_DIRECT_COLUMNS_MAX];
} SvcDirectTable;

/* A scan of it, open or not. */
typedef struct SvcDirectScan
{
	const SvcDirectTable *table;
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} SvcDirectScan;

extern bool svc_direct_access;	/* setting */

extern bool svc_direct_enter(void);
extern void svc_direct_leave(void);
extern bool svc_direct_begin(SvcDirectScan *scan, SvcDirectTable *table, const Datum *keys);
extern bool svc_direct_next(SvcDirectScan *scan);
extern bool svc_direct_lock(SvcDirectScan *scan, ItemPointer tid, LockTupleMode mode, const Datum *keys);
extern Datum svc_direct_value(SvcDirectScan *scan, int column, bool *isnull);
extern void svc_direct_end(SvcDirectScan *scan);

#endif							/* SVC_DIRECT_H */
