/*-------------------------------------------------------------------------
 *
 * direct.c
 *	  Reading rows of svc's tables without the executor.
 *
 * Through an index and the table's access method a row costs a fraction of what
 * a SELECT does by SPI: no plan, no change of role, no portal.  What the
 * executor would do besides is not done; so this is for *plain* tables only,
 * without policies that bind the owner, rules, partitions, heirs, another access
 * method or rows on another server, with a btree index that begins with the keys.
 * Whoever finds that a table is not plain runs a SELECT instead, which gives the
 * same rows.
 *
 * Rows are those of the active snapshot, which is that of the calling query, or a
 * new one (svc_direct_enter).  A privilege is not looked at: as everywhere in svc,
 * EXECUTE on the function is the gate.
 *
 * Locks: ACCESS SHARE on table and index, released at the end of the
 * transaction, as the executor's are; where a row is locked, ROW SHARE, and the
 * row as the caller says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "direct.h"
#include "plain.h"

bool		svc_direct_access = true;

static bool has_same_keys(SvcDirectScan *scan, const Datum *keys);
static bool open_table(SvcDirectScan *scan, SvcDirectTable *table);
static void look_up(SvcDirectTable *table, Relation rel);
static AttrNumber find_column(TupleDesc desc, const SvcColumn *column);
static Oid	find_index(Relation rel, const SvcDirectTable *table);
static bool has_keys(Relation index, Relation rel, const SvcDirectTable *table);
static bool has_predicate(Relation index, const char *predicate);

/*
 * From here to svc_direct_leave() rows are those that a statement of a volatile
 * function would see: committed by now, and what the transaction has done itself.
 * False, where all goes by statements: also at SERIALIZABLE, so that what fails
 * there fails alike.
 */
bool
svc_direct_enter(void)
{
	if (!svc_direct_access || IsolationIsSerializable())
		return false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

void
svc_direct_leave(void)
{
	PopActiveSnapshot();
}

/*
 * Begin to read the rows with these keys; false, and nothing is open, when the
 * table is to be read by SPI.
 */
bool
svc_direct_begin(SvcDirectScan *scan, SvcDirectTable *table, const Datum *keys)
{
	ScanKeyData conditions[SVC_DIRECT_KEYS_MAX];

	if (!svc_direct_access || !ActiveSnapshotSet() || !open_table(scan, table))
		return false;
	for (int i = 0; i < table->key_count; i++)
		ScanKeyEntryInitialize(&conditions[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   scan->index->rd_indcollation[i], F_TEXTEQ, keys[i]);
	scan->slot = table_slot_create(scan->rel, NULL);
	scan->scan = svc_index_beginscan(scan->rel, scan->index, GetActiveSnapshot(), table->key_count);
	index_rescan(scan->scan, conditions, table->key_count, NULL, 0);
	return true;
}

/* Go to the next row; false when there is none. */
bool
svc_direct_next(SvcDirectScan *scan)
{
	return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

/*
 * Lock a row that has been found, and go to it, as it is by then; waits for who has it
 * locked.  False, when it is gone or has other keys.
 *
 * FOR KEY SHARE does not wait for who changes other columns: it is the old version that
 * is locked, and so must the new one be, or who locks that would not wait for us.
 *
 * Raises 40001 when it has changed since the snapshot of REPEATABLE READ.
 */
bool
svc_direct_lock(SvcDirectScan *scan, ItemPointer tid, LockTupleMode mode, const Datum *keys)
{
	uint8		flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	TM_FailureData failure;
	TM_Result	result;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	LockRelationOid(RelationGetRelid(scan->rel), RowShareLock);
	result = table_tuple_lock(scan->rel, tid, GetActiveSnapshot(), scan->slot, GetCurrentCommandId(true),
							  mode, LockWaitBlock, flags, &failure);
	if (result == TM_Ok)
		return !failure.traversed || has_same_keys(scan, keys);
	if (result != TM_Updated && result != TM_Deleted)
		elog(ERROR, "unexpected result of a row lock: %d", result);
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	return false;
}

static bool
has_same_keys(SvcDirectScan *scan, const Datum *keys)
{
	for (int i = 0; i < scan->table->key_count; i++)
	{
		bool		isnull;
		Datum		key = slot_getattr(scan->slot, scan->index->rd_index->indkey.values[i], &isnull);

		if (isnull || !DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, key, keys[i])))
			return false;
	}
	return true;
}

/*
 * A column of the present row, by its number among those that are read; it is
 * gone with the next row: whoever keeps a value copies it.
 */
Datum
svc_direct_value(SvcDirectScan *scan, int column, bool *isnull)
{
	return slot_getattr(scan->slot, scan->table->attnums[column], isnull);
}

void
svc_direct_end(SvcDirectScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, NoLock);
	table_close(scan->rel, NoLock);
}

/*
 * Open table and index.  What was looked up is kept until some relation has
 * changed; a change that concerns us comes to light when the table is locked.
 */
static bool
open_table(SvcDirectScan *scan, SvcDirectTable *table)
{
	bool		known = table->schema == svc_catalog_schema() && table->changes == svc_catalog_changes();

	scan->table = table;
	if (known && !OidIsValid(table->index))
		return false;
	scan->rel = known ? try_table_open(table->rel, AccessShareLock) : NULL;
	if (scan->rel == NULL || table->changes != svc_catalog_changes())
	{
		/* it may be gone, or another may be in its place */
		if (scan->rel != NULL)
			table_close(scan->rel, AccessShareLock);
		scan->rel = svc_catalog_open(table->name, AccessShareLock);
		look_up(table, scan->rel);
	}
	if (!OidIsValid(table->index))
	{
		table_close(scan->rel, NoLock);
		return false;
	}
	scan->index = index_open(table->index, AccessShareLock);
	return true;
}

static void
look_up(SvcDirectTable *table, Relation rel)
{
	table->schema = svc_catalog_schema();
	table->rel = RelationGetRelid(rel);
	table->index = svc_plain_rows(rel) ? find_index(rel, table) : InvalidOid;
	for (int i = 0; i < table->column_count; i++)
	{
		table->attnums[i] = find_column(RelationGetDescr(rel), &table->columns[i]);
		if (table->attnums[i] == InvalidAttrNumber)
			table->index = InvalidOid;
	}
	table->changes = svc_catalog_changes();
}

/* The number of a column of this name and type; 0: the table has none. */
static AttrNumber
find_column(TupleDesc desc, const SvcColumn *column)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), column->name) == 0 &&
			att->atttypid == (OidIsValid(column->type) ? column->type : TEXTOID) &&
			att->atttypmod == -1)
			return i + 1;
	}
	return InvalidAttrNumber;
}

/* An index that begins with the keys. */
static Oid
find_index(Relation rel, const SvcDirectTable *table)
{
	List	   *oids = RelationGetIndexList(rel);
	Oid			found = InvalidOid;
	ListCell   *cell;

	foreach(cell, oids)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (has_keys(index, rel, table))
			found = lfirst_oid(cell);
		index_close(index, NoLock);
		if (OidIsValid(found))
			break;
	}
	list_free(oids);
	return found;
}

/* A btree whose first columns are the keys, over all rows, or those we know of. */
static bool
has_keys(Relation index, Relation rel, const SvcDirectTable *table)
{
	if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisvalid ||
		index->rd_index->indcheckxmin ||
		index->rd_index->indnkeyatts < table->key_count ||
		!has_predicate(index, table->predicate))
		return false;
	for (int i = 0; i < table->key_count; i++)
	{
		if (index->rd_index->indkey.values[i] != find_column(RelationGetDescr(rel), &table->keys[i]) ||
			index->rd_opfamily[i] != TEXT_BTREE_FAM_OID ||
			index->rd_indcollation[i] != TupleDescAttr(RelationGetDescr(rel), index->rd_index->indkey.values[i] - 1)->attcollation)
			return false;
	}
	return true;
}

/* This one, or none; as text, as it is in the catalog. */
static bool
has_predicate(Relation index, const char *predicate)
{
	bool		isnull;
	Datum		stored = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, Anum_pg_index_indpred, &isnull);

	if (isnull || predicate == NULL)
		return isnull && predicate == NULL;
	return strcmp(TextDatumGetCString(DirectFunctionCall2(pg_get_expr, stored,
														  ObjectIdGetDatum(index->rd_index->indrelid))),
				  predicate) == 0;
}
