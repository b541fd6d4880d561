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
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "insert.h"

#define OUR_TRIGGER_PREFIX	"zzz_svc_"

/* More indexes than this are left to the executor. */
#define INDEXES_MAX			8

/* A table and its indexes, opened for one row. */
typedef struct Target
{
	Relation	rel;
	int			count;
	Relation	indexes[INDEXES_MAX];
} Target;

static bool is_plain_table(Relation rel, int natts, const Oid *types, const char *check);
static bool has_only_check(TupleConstr *constr, const char *check);
static bool has_types(TupleDesc desc, const Oid *types);
static bool breaks_not_null(TupleDesc desc, const bool *isnull);
static bool has_foreign_trigger(Relation rel);
static bool open_indexes(Target *target);
static bool is_plain_index(Relation index);
static void close_indexes(Target *target);
static void insert_row(Target *target, Datum *values, bool *isnull);

/*
 * Insert a row of natts columns of these types into a table, which the caller
 * has opened and locked, if the table is plain; else return false, with nothing
 * done.
 *
 * Unique indexes are enforced.  The one CHECK that the table may have is named
 * by "check", and is the caller's business.  A row that breaks a NOT NULL is
 * left to the executor to refuse.
 */
bool
svc_insert_row(Relation rel, int natts, const Oid *types, const char *check,
			   Datum *values, bool *isnull)
{
	Target		target = {.rel = rel};
	bool		plain;

	if (!is_plain_table(rel, natts, types, check) ||
		breaks_not_null(RelationGetDescr(rel), isnull))
		return false;
	plain = open_indexes(&target);
	if (plain)
		insert_row(&target, values, isnull);
	close_indexes(&target);
	return plain;
}

static bool
is_plain_table(Relation rel, int natts, const Oid *types, const char *check)
{

	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		!rel->rd_rel->relispartition &&
		!rel->rd_rel->relhasrules &&
		RelationGetDescr(rel)->natts == natts &&
		has_types(RelationGetDescr(rel), types) &&
		!(rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity) &&
		has_only_check(RelationGetDescr(rel)->constr, check) &&
		!has_foreign_trigger(rel);
}

static bool
has_types(TupleDesc desc, const Oid *types)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped ||
			TupleDescAttr(desc, i)->atttypid != types[i])
			return false;
	}
	return true;
}

static bool
has_only_check(TupleConstr *constr, const char *check)
{
	if (constr == NULL)
		return true;
	return !constr->has_generated_stored &&
		(constr->num_check == 0 ||
		 (constr->num_check == 1 && strcmp(constr->check[0].ccname, check) == 0));
}

static bool
breaks_not_null(TupleDesc desc, const bool *isnull)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (isnull[i] && TupleDescAttr(desc, i)->attnotnull)
			return true;
	}
	return false;
}

/*
 * Any trigger that fires on INSERT, a foreign key's included, and any that is
 * neither a constraint's nor ours, whatever it fires on: a distributed table's
 * local shell has one, and a row put into that would vanish.
 */
static bool
has_foreign_trigger(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	if (triggers != NULL &&
		(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		 triggers->trig_insert_instead_row || triggers->trig_insert_before_statement ||
		 triggers->trig_insert_after_statement || triggers->trig_insert_new_table))
		return true;
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (!trigger->tgisinternal &&
			strncmp(trigger->tgname, OUR_TRIGGER_PREFIX, strlen(OUR_TRIGGER_PREFIX)) != 0)
			return true;
	}
	return false;
}

/* Open all indexes; false when one is not plain, or there are too many. */
static bool
open_indexes(Target *target)
{
	List	   *oids = RelationGetIndexList(target->rel);
	ListCell   *cell;
	bool		plain = list_length(oids) <= INDEXES_MAX;

	foreach(cell, oids)
	{
		if (!plain)
			break;
		target->indexes[target->count] = index_open(lfirst_oid(cell), RowExclusiveLock);
		plain = is_plain_index(target->indexes[target->count++]);
	}
	list_free(oids);
	return plain;
}

/* A btree with neither expression nor predicate, no deferred or exclusion constraint. */
static bool
is_plain_index(Relation index)
{
	return index->rd_rel->relam == BTREE_AM_OID &&
		index->rd_index->indisready &&
		index->rd_index->indimmediate &&
		!index->rd_index->indisexclusion &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

static void
close_indexes(Target *target)
{
	for (int i = 0; i < target->count; i++)
		index_close(target->indexes[i], NoLock);
}

static void
insert_row(Target *target, Datum *values, bool *isnull)
{
	TupleTableSlot *slot = table_slot_create(target->rel, NULL);
	int			natts = RelationGetDescr(target->rel)->natts;

	memcpy(slot->tts_values, values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(target->rel, slot, GetCurrentCommandId(true), 0, NULL);

	for (int i = 0; i < target->count; i++)
	{
		Relation	index = target->indexes[i];
		IndexInfo  *info = BuildIndexInfo(index);
		Datum		keys[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		FormIndexDatum(info, slot, NULL, keys, nulls);
		(void) index_insert(index, keys, nulls, &slot->tts_tid, target->rel,
							index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
							false, info);
	}
	ExecDropSingleTupleTableSlot(slot);
}
