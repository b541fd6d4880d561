/*-------------------------------------------------------------------------
 *
 * insert.c
 *	  Inserting a row into a table of svc without the executor.
 *
 * Through the table and index access methods a row of the event log, or of the
 * ledger, costs a fraction of what an INSERT does, which reads all CHECKs anew
 * each time.  This bypasses whatever the executor would do besides, so it is for
 * *plain* tables only: as svc_install() has made them, perhaps with more plain
 * indexes.  A table with anything else on it, a user's trigger, column, constraint
 * or policy, partitions, another access method, is not plain, and the caller runs
 * an INSERT instead.
 *
 * A unique index may be the *arbiter*, as that of ON CONFLICT DO NOTHING, and then
 * the row is inserted speculatively, as the executor does: those who have the same
 * key wait for our decision, not for our transaction.  The arbiter's entry is made
 * first.  If there is, or may come, a row with the same key, ours is killed, and was
 * never there, not even for logical decoding; the caller runs an INSERT, which knows
 * how to wait for a rival that is in progress.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "catalog.h"
#include "insert.h"

/* More indexes than this are left to the executor. */
#define INDEXES_MAX			8

/* A table and its indexes, opened for one row. */
typedef struct Target
{
	Relation	rel;
	int			count;
	Relation	indexes[INDEXES_MAX];
	bool		wanted[INDEXES_MAX];	/* does the row belong in it? */
} Target;

static bool is_plain_table(Relation rel, SvcPlainTable *table);
static bool has_types(TupleDesc desc, const Oid *types);
static bool breaks_not_null(TupleDesc desc, const bool *isnull);
static bool fires_on_insert(const TriggerDesc *triggers);
static bool open_indexes(Target *target, Datum *values, bool *isnull);
static bool is_plain_index(Relation index);
static bool find_wanted(Relation index, Datum *values, bool *isnull, bool *wanted);
static bool has_arbiter(Target *target, const char *arbiter);
static void close_indexes(Target *target);
static bool insert_row(Target *target, const char *arbiter, Datum *values, bool *isnull);
static bool is_arbiter(Relation index, const char *arbiter);
static bool insert_entry(Target *target, Relation index, TupleTableSlot *slot, bool may_object);

/*
 * Insert a row into a table, which the caller has opened and locked, if the table
 * is plain; else, or if the arbiter objects, return false, with nothing done.
 *
 * Other unique indexes are enforced.  CHECKs are the caller's business.  A row that
 * breaks a NOT NULL is left to the executor to refuse.
 */
bool
svc_insert_row(Relation rel, SvcPlainTable *table, Datum *values, bool *isnull)
{
	Target		target = {.rel = rel};
	bool		done;

	if (!is_plain_table(rel, table) || breaks_not_null(RelationGetDescr(rel), isnull))
		return false;
	done = open_indexes(&target, values, isnull) &&
		has_arbiter(&target, table->arbiter) &&
		insert_row(&target, table->arbiter, values, isnull);
	close_indexes(&target);
	return done;
}

static bool
is_plain_table(Relation rel, SvcPlainTable *table)
{
	SvcPlainVerdict *verdict = &table->verdict;

	if (verdict->rel != RelationGetRelid(rel) || verdict->changes != svc_catalog_changes())
	{
		verdict->changes = svc_catalog_changes();
		verdict->rel = RelationGetRelid(rel);
		verdict->is_plain = svc_plain_rows(rel) &&
			RelationGetDescr(rel)->natts == table->natts &&
			has_types(RelationGetDescr(rel), table->types) &&
			svc_plain_checks(rel, &table->checks) &&
			svc_plain_triggers(rel) &&
			!fires_on_insert(rel->trigdesc);
	}
	return verdict->is_plain;
}

static bool
has_types(TupleDesc desc, const Oid *types)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped ||
			TupleDescAttr(desc, i)->atttypid != types[i] ||
			TupleDescAttr(desc, i)->atttypmod != -1)
			return false;
	}
	return true;
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

/* Is there any trigger for it, a foreign key's included? */
static bool
fires_on_insert(const TriggerDesc *triggers)
{
	return triggers != NULL &&
		(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		 triggers->trig_insert_instead_row || triggers->trig_insert_before_statement ||
		 triggers->trig_insert_after_statement || triggers->trig_insert_new_table);
}

/* Open all indexes; false when one is not plain, or there are too many. */
static bool
open_indexes(Target *target, Datum *values, bool *isnull)
{
	List	   *oids = RelationGetIndexList(target->rel);
	ListCell   *cell;
	bool		plain = list_length(oids) <= INDEXES_MAX;

	foreach(cell, oids)
	{
		Relation	index;

		if (!plain)
			break;
		index = index_open(lfirst_oid(cell), RowExclusiveLock);
		target->indexes[target->count] = index;
		plain = is_plain_index(index) &&
			find_wanted(index, values, isnull, &target->wanted[target->count]);
		target->count++;
	}
	list_free(oids);
	return plain;
}

/* A btree without expressions, no deferred or exclusion constraint. */
static bool
is_plain_index(Relation index)
{
	return index->rd_rel->relam == BTREE_AM_OID &&
		index->rd_index->indisready &&
		index->rd_index->indimmediate &&
		!index->rd_index->indisexclusion &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL);
}

/*
 * Does a row belong in an index?  We know the answer where the predicate is a
 * conjunction of IS NULL, IS NOT NULL and integer = constant; else returns false.
 */
static bool
find_wanted(Relation index, Datum *values, bool *isnull, bool *wanted)
{
	ListCell   *cell;

	*wanted = true;
	if (heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return true;
	if (index->rd_indpred == NIL)
		(void) RelationGetIndexPredicate(index);	/* which keeps it there */
	foreach(cell, index->rd_indpred)
	{
		Node	   *node = lfirst(cell);
		NullTest   *test = (NullTest *) node;
		OpExpr	   *equal = (OpExpr *) node;

		if (IsA(node, NullTest) && IsA(test->arg, Var) && !test->argisrow)
			*wanted &= isnull[((Var *) test->arg)->varattno - 1] == (test->nulltesttype == IS_NULL);
		else if (IsA(node, OpExpr) && equal->opfuncid == F_INT4EQ &&
				 IsA(linitial(equal->args), Var) && IsA(lsecond(equal->args), Const))
		{
			Var		   *column = linitial(equal->args);
			Const	   *constant = lsecond(equal->args);

			*wanted &= !isnull[column->varattno - 1] && !constant->constisnull &&
				DatumGetInt32(values[column->varattno - 1]) == DatumGetInt32(constant->constvalue);
		}
		else
			return false;
	}
	return true;
}

/* Is there what the caller relies on? */
static bool
has_arbiter(Target *target, const char *arbiter)
{
	if (arbiter == NULL)
		return true;
	for (int i = 0; i < target->count; i++)
	{
		if (is_arbiter(target->indexes[i], arbiter))
			return target->indexes[i]->rd_index->indisunique && target->indexes[i]->rd_index->indisvalid;
	}
	return false;
}

static void
close_indexes(Target *target)
{
	for (int i = 0; i < target->count; i++)
		index_close(target->indexes[i], NoLock);
}

/* False, when the arbiter objects. */
static bool
insert_row(Target *target, const char *arbiter, Datum *values, bool *isnull)
{
	TupleTableSlot *slot = table_slot_create(target->rel, NULL);
	int			natts = RelationGetDescr(target->rel)->natts;
	TransactionId xid = GetCurrentTransactionId();
	uint32		token = 0;
	bool		done = true;

	memcpy(slot->tts_values, values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	if (arbiter != NULL)
	{
		token = SpeculativeInsertionLockAcquire(xid);
		table_tuple_insert_speculative(target->rel, slot, GetCurrentCommandId(true), 0, NULL, token);
	}
	else
		table_tuple_insert(target->rel, slot, GetCurrentCommandId(true), 0, NULL);

	for (int i = 0; i < target->count && done; i++)
	{
		if (target->wanted[i] && is_arbiter(target->indexes[i], arbiter))
			done = insert_entry(target, target->indexes[i], slot, true);
	}
	for (int i = 0; i < target->count && done; i++)
	{
		if (target->wanted[i] && !is_arbiter(target->indexes[i], arbiter))
			(void) insert_entry(target, target->indexes[i], slot, false);
	}
	if (arbiter != NULL)
	{
		table_tuple_complete_speculative(target->rel, slot, token, done);
		SpeculativeInsertionLockRelease(xid);
	}
	ExecDropSingleTupleTableSlot(slot);
	return done;
}

static bool
is_arbiter(Relation index, const char *arbiter)
{
	return arbiter != NULL && strcmp(RelationGetRelationName(index), arbiter) == 0;
}

/* False, when there may be another row with the key. */
static bool
insert_entry(Target *target, Relation index, TupleTableSlot *slot, bool may_object)
{
	IndexInfo  *info = BuildIndexInfo(index);
	Datum		keys[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	IndexUniqueCheck check = UNIQUE_CHECK_NO;

	if (index->rd_index->indisunique)
		check = may_object ? UNIQUE_CHECK_PARTIAL : UNIQUE_CHECK_YES;
	FormIndexDatum(info, slot, NULL, keys, nulls);
	return index_insert(index, keys, nulls, &slot->tts_tid, target->rel, check, false, info) ||
		check != UNIQUE_CHECK_PARTIAL;
}
