/*-------------------------------------------------------------------------
 *
 * row.h
 *	  A row of a noun's table on its way into the table: before and after.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_ROW_H
#define SVC_ROW_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "noun.h"

/*
 * A column by name.  The number found is kept and checked against the name at
 * every use, so that dropped and added columns do no harm.
 */
typedef struct SvcColumn
{
	const char *name;
	Oid			type;			/* InvalidOid: text */
	AttrNumber	attnum;			/* where it was found last */
} SvcColumn;

/* What one INSERT or UPDATE does to one row. */
typedef struct SvcRowChange
{
	Relation	rel;
	SvcNoun		noun;
	const char *action;			/* announced by a function of svc, or NULL */
	bool		counters_only;	/* announced, too: no part of the row's life */
	FunctionCallInfo fcinfo;	/* of the trigger, for who needs a call */
	MemoryContext memory;		/* where new values belong */

	bool		is_insert;		/* then there are no old values */
	Datum	   *old_values;
	bool	   *old_isnull;
	Datum	   *new_values;
	bool	   *new_isnull;
	bool	   *differs;		/* where old and new differ */
	bool	   *replaced;		/* new values that were set in the trigger */
	bool		any_replaced;
	bool		suppressed;		/* a new row is not to be inserted, silently */
} SvcRowChange;

extern SvcRowChange *svc_row_open(Relation rel, SvcNoun noun,
								  HeapTuple old_tuple, HeapTuple new_tuple);
extern HeapTuple svc_row_form(SvcRowChange *change, HeapTuple new_tuple);

extern int	svc_column_index(TupleDesc desc, SvcColumn *column);
extern Datum svc_row_new(SvcRowChange *change, SvcColumn *column, bool *isnull);
extern Datum svc_row_old(SvcRowChange *change, SvcColumn *column, bool *isnull);
extern char *svc_row_new_text(SvcRowChange *change, SvcColumn *column);
extern bool svc_row_new_bool(SvcRowChange *change, SvcColumn *column);
extern TimestampTz svc_row_new_instant(SvcRowChange *change, SvcColumn *column,
									   TimestampTz otherwise);
extern char *svc_row_old_text(SvcRowChange *change, SvcColumn *column);
extern void svc_row_set(SvcRowChange *change, SvcColumn *column, Datum value,
						bool isnull);
extern void svc_row_set_text(SvcRowChange *change, SvcColumn *column, const char *value);
extern void svc_row_default_now(SvcRowChange *change, SvcColumn *column);
extern void svc_row_imply_now(SvcRowChange *change, SvcColumn *column);
extern bool svc_row_new_is(SvcRowChange *change, SvcColumn *column, const char *value);
extern bool svc_row_differs(SvcRowChange *change, int index);
extern bool svc_row_differs_after(SvcRowChange *change, int index);
extern bool svc_row_column_differs(SvcRowChange *change, SvcColumn *column);

#endif							/* SVC_ROW_H */
