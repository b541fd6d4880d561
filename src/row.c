/*-------------------------------------------------------------------------
 *
 * row.c
 *	  A row of a noun's table on its way into the table: before and after.
 *
 * The rows are deformed once, into arrays that live as long as the trigger's
 * memory context; what a trigger sets goes into the new array, and a tuple is
 * formed anew only if something was set.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "row.h"

static bool compare_column(SvcRowChange *change, int index);
static bool compare_values(SvcRowChange *change, int index);

/* Old is NULL for a new row. */
SvcRowChange *
svc_row_open(Relation rel, SvcNoun noun, HeapTuple old_tuple, HeapTuple new_tuple)
{
	TupleDesc	desc = RelationGetDescr(rel);
	SvcRowChange *change = palloc0(sizeof(SvcRowChange));

	change->rel = rel;
	change->noun = noun;
	change->is_insert = old_tuple == NULL;
	change->memory = CurrentMemoryContext;

	change->new_values = palloc(desc->natts * sizeof(Datum));
	change->new_isnull = palloc(desc->natts * sizeof(bool));
	change->replaced = palloc0(desc->natts * sizeof(bool));
	heap_deform_tuple(new_tuple, desc, change->new_values, change->new_isnull);

	if (old_tuple != NULL)
	{
		change->old_values = palloc(desc->natts * sizeof(Datum));
		change->old_isnull = palloc(desc->natts * sizeof(bool));
		heap_deform_tuple(old_tuple, desc, change->old_values, change->old_isnull);
		change->differs = palloc(desc->natts * sizeof(bool));
		for (int i = 0; i < desc->natts; i++)
			change->differs[i] = compare_column(change, i);
	}
	return change;
}

/* The new row as a tuple: the one given, unless something was set. */
HeapTuple
svc_row_form(SvcRowChange *change, HeapTuple new_tuple)
{
	if (!change->any_replaced)
		return new_tuple;
	return heap_modify_tuple(new_tuple, RelationGetDescr(change->rel),
							 change->new_values, change->new_isnull,
							 change->replaced);
}

/* The position of a column in arrays of values. */
int
svc_column_index(TupleDesc desc, SvcColumn *column)
{
	AttrNumber	attnum = column->attnum;
	Oid			type = OidIsValid(column->type) ? column->type : TEXTOID;

	if (attnum < 1 || attnum > desc->natts ||
		TupleDescAttr(desc, attnum - 1)->attisdropped ||
		strcmp(NameStr(TupleDescAttr(desc, attnum - 1)->attname), column->name) != 0)
	{
		for (attnum = 1; attnum <= desc->natts; attnum++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);

			if (!att->attisdropped && strcmp(NameStr(att->attname), column->name) == 0)
				break;
		}
		if (attnum > desc->natts)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("a table of svc lacks its column \"%s\"", column->name),
					 errhint("Put the column back; svc cannot work without it.")));
		column->attnum = attnum;
	}

	/* its owner may have altered it; a value must not be taken for another */
	if (TupleDescAttr(desc, attnum - 1)->atttypid != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of a table of svc has another type than svc gave it",
						column->name),
				 errdetail("It is %s, not %s.",
						   format_type_be(TupleDescAttr(desc, attnum - 1)->atttypid),
						   format_type_be(type)),
				 errhint("Give it its type back.")));
	return attnum - 1;
}

Datum
svc_row_new(SvcRowChange *change, SvcColumn *column, bool *isnull)
{
	int			index = svc_column_index(RelationGetDescr(change->rel), column);

	*isnull = change->new_isnull[index];
	return change->new_values[index];
}

Datum
svc_row_old(SvcRowChange *change, SvcColumn *column, bool *isnull)
{
	int			index = svc_column_index(RelationGetDescr(change->rel), column);

	Assert(!change->is_insert);
	*isnull = change->old_isnull[index];
	return change->old_values[index];
}

/* A text column of the new row as a C string, NULL for NULL. */
char *
svc_row_new_text(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;
	Datum		value = svc_row_new(change, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* A boolean column of the new row, false for NULL. */
bool
svc_row_new_bool(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;
	Datum		value = svc_row_new(change, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* An instant of the new row, or another one for NULL. */
TimestampTz
svc_row_new_instant(SvcRowChange *change, SvcColumn *column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = svc_row_new(change, column, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(value);
}

/* A text column of the old row as a C string, NULL for NULL. */
char *
svc_row_old_text(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;
	Datum		value = svc_row_old(change, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Set a column; a value that was made within a call is saved from it. */
void
svc_row_set(SvcRowChange *change, SvcColumn *column, Datum value, bool isnull)
{
	int			index = svc_column_index(RelationGetDescr(change->rel), column);

	if (!isnull && CurrentMemoryContext != change->memory)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(change->rel), index);
		MemoryContext old = MemoryContextSwitchTo(change->memory);

		value = datumCopy(value, att->attbyval, att->attlen);
		MemoryContextSwitchTo(old);
	}
	change->new_values[index] = value;
	change->new_isnull[index] = isnull;
	change->replaced[index] = true;
	change->any_replaced = true;
	if (!change->is_insert)
		change->differs[index] = compare_column(change, index);
}

/* Set a text column; NULL for NULL. */
void
svc_row_set_text(SvcRowChange *change, SvcColumn *column, const char *value)
{
	svc_row_set(change, column, value == NULL ? (Datum) 0 : CStringGetTextDatum(value),
				value == NULL);
}

/* Set an instant to the start of the transaction, unless something is there. */
void
svc_row_default_now(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;

	(void) svc_row_new(change, column, &isnull);
	if (isnull)
		svc_row_set(change, column,
					TimestampTzGetDatum(svc_clock_now()), false);
}

/*
 * The instant at which something happened that happens now: the start of the
 * transaction, unless the statement says which instant it was.
 */
void
svc_row_imply_now(SvcRowChange *change, SvcColumn *column)
{
	bool		isnull;

	(void) svc_row_new(change, column, &isnull);
	if (isnull || change->is_insert || !svc_row_column_differs(change, column))
		svc_row_set(change, column,
					TimestampTzGetDatum(svc_clock_now()), false);
}

/* Has a text column of the new row this value? */
bool
svc_row_new_is(SvcRowChange *change, SvcColumn *column, const char *value)
{
	char	   *text_value = svc_row_new_text(change, column);

	return text_value != NULL && strcmp(text_value, value) == 0;
}

/* Do the old and the new row differ in the column at this position? */
bool
svc_row_differs(SvcRowChange *change, int index)
{
	Assert(!change->is_insert);
	return change->differs[index];
}

/*
 * The same after the change, when generated columns are known, too.  One that is only
 * computed when it is read may differ each time.
 */
bool
svc_row_differs_after(SvcRowChange *change, int index)
{
	char		generated = TupleDescAttr(RelationGetDescr(change->rel), index)->attgenerated;

	if (generated == '\0')
		return svc_row_differs(change, index);
	return generated != ATTRIBUTE_GENERATED_STORED || compare_values(change, index);
}

bool
svc_row_column_differs(SvcRowChange *change, SvcColumn *column)
{
	return svc_row_differs(change,
						   svc_column_index(RelationGetDescr(change->rel), column));
}

static bool
compare_column(SvcRowChange *change, int index)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(change->rel), index);

	/* a generated column is computed after the BEFORE triggers */
	if (att->attisdropped || att->attgenerated != '\0')
		return false;
	return compare_values(change, index);
}

static bool
compare_values(SvcRowChange *change, int index)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(change->rel), index);

	if (change->old_isnull[index] || change->new_isnull[index])
		return change->old_isnull[index] != change->new_isnull[index];
	if (att->atttypid == NUMERICOID)
		return !DatumGetBool(DirectFunctionCall2(numeric_eq, change->old_values[index],
												 change->new_values[index]));
	return !datum_image_eq(change->old_values[index], change->new_values[index],
						   att->attbyval, att->attlen);
}
