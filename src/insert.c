/*-------------------------------------------------------------------------
 *
 * insert.c
 *	  Inserting a row into a table of svc without the executor.
 *
 * Through the table and index access methods a row of the event log costs a
 * fraction of what an INSERT does.  This bypasses whatever the executor would
 * do besides, so it is for *plain* tables only: as svc_install() has made
 * them, perhaps with more plain indexes.  A table with anything else on it, a
 * user's trigger, column, constraint or policy, partitions, another access
 * method, is not plain, and the caller runs an INSERT instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "insert.h"

#define OUR_TRIGGER_PREFIX	"zzz_svc_"

/* The CHECK constraints that svc's own tables may have (revision >= 1). */
#define OUR_CHECKS_MAX		1

static bool has_foreign_trigger(Relation rel);
static bool has_plain_indexes(Relation rel);

/* May svc_insert_row() be used on this table, which has natts columns of ours? */
bool
svc_insert_is_plain(Relation rel, int natts)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		!rel->rd_rel->relispartition &&
		!rel->rd_rel->relhasrules &&
		RelationGetDescr(rel)->natts == natts &&
		!(rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity) &&
		(constr == NULL ||
		 (constr->num_check <= OUR_CHECKS_MAX && !constr->has_generated_stored)) &&
		!has_foreign_trigger(rel) &&
		has_plain_indexes(rel);
}

/* Insert a row; unique indexes are enforced, NOT NULL is the caller's business. */
void
svc_insert_row(Relation rel, Datum *values, bool *isnull)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	int			natts = RelationGetDescr(rel)->natts;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	memcpy(slot->tts_values, values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(rel, slot, GetCurrentCommandId(true), 0, NULL);

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);
		Datum		keys[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		FormIndexDatum(info, slot, NULL, keys, nulls);
		(void) index_insert(index, keys, nulls, &slot->tts_tid, rel,
							index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
							false, info);
		index_close(index, NoLock);
	}
	list_free(indexes);
	ExecDropSingleTupleTableSlot(slot);
}

/* Any trigger that is neither a constraint's nor ours, whatever it fires on. */
static bool
has_foreign_trigger(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (!trigger->tgisinternal &&
			strncmp(trigger->tgname, OUR_TRIGGER_PREFIX, strlen(OUR_TRIGGER_PREFIX)) != 0)
			return true;
	}
	return false;
}

/* Neither expressions nor predicates nor deferred or exclusion constraints. */
static bool
has_plain_indexes(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		plain = true;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);

		plain = plain && index->rd_index->indisready &&
			index->rd_index->indimmediate && !index->rd_index->indisexclusion &&
			RelationGetIndexExpressions(index) == NIL &&
			RelationGetIndexPredicate(index) == NIL;
		index_close(index, NoLock);
	}
	list_free(indexes);
	return plain;
}
