/*-------------------------------------------------------------------------
 *
 * segment_rule.c
 *	  The rule that every segment obeys, and what a change of it leads to.
 *
 * Criteria that could never be right are refused when they are saved (segment_check.c).
 * A segment that gets criteria, a parent or a status has the members that follow from
 * them in the same statement.
 *
 * Locks: all memberships (membership.c), before the segment's row; else a customer
 * that changes meanwhile could be asked about the old criteria, and the new ones
 * about the old customer.  A plain UPDATE has the row's lock already, and may meet
 * with a deadlock, which the server resolves.
 *
 * At REPEATABLE READ, an old snapshot does not show all customers: the segment is
 * marked as due instead, for svc_run_due().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "catalog.h"
#include "criteria_match.h"
#include "error.h"
#include "lifecycle.h"
#include "membership.h"
#include "segment_check.h"
#include "segment_rule.h"
#include "segment_sync.h"

static SvcColumn criteria_column = {"criteria", JSONBOID};
static SvcColumn automated_column = {"automated", BOOLOID};
static SvcColumn parent_column = {"parent_segment_id"};
static SvcColumn frequency_column = {"sync_frequency"};
static SvcColumn status_column = {"status"};

/* What decides on who is in a segment. */
static SvcColumn *const defining[] = {
	&criteria_column, &automated_column, &parent_column, &frequency_column, &status_column
};

static SvcColumn id_column = {"id"};
static SvcColumn description_column = {"criteria_description"};

static void before_lock(const char *action, Jsonb *properties);
static void check(SvcRowChange *change);
static bool is_redefined(SvcRowChange *change);
static bool has_criteria(SvcRowChange *change);
static bool had_criteria(SvcRowChange *change);
static void complete(SvcRowChange *change);
static void describe(SvcRowChange *change, const SvcCriteria *criteria);
static SvcCriteria *old_criteria(SvcRowChange *change);
static void restored(SvcRowChange *change);
static void conclude(SvcRowChange *change, const char *action);
static void keep_members(Datum segment_id);
static void fill(Datum segment_id);
static void forget_timers(Datum segment_id);

/* To be called from _PG_init. */
void
svc_segment_rule_init(void)
{
	static const SvcLifecycleRules rules = {.before_lock = before_lock, .check = check, .restored = restored,
	.conclude = conclude};

	svc_lifecycle_set_rules(SVC_CUSTOMER_SEGMENT, &rules);
}

static void
before_lock(const char *action, Jsonb *properties)
{
	bool		redefines = strcmp(action, "archive") == 0;

	for (int i = 0; i < lengthof(defining) && properties != NULL && JB_ROOT_IS_OBJECT(properties); i++)
	{
		JsonbValue	key = {.type = jbvString};

		key.val.string.val = unconstify(char *, defining[i]->name);
		key.val.string.len = strlen(defining[i]->name);
		redefines |= findJsonbValueFromContainer(&properties->root, JB_FOBJECT, &key) != NULL;
	}
	if (redefines)
		svc_membership_take_all();
}

static void
check(SvcRowChange *change)
{
	SvcCriteria *criteria = NULL;
	const char *id;
	SvcCall		call;

	if (!change->is_insert && !is_redefined(change))
		return;
	complete(change);
	svc_call_begin(&call, change->fcinfo);
	if (has_criteria(change))
	{
		bool		isnull;

		criteria = svc_criteria_read(DatumGetJsonbP(svc_row_new(change, &criteria_column, &isnull)));
		svc_segment_check_criteria(criteria);
	}
	if (criteria != NULL || svc_row_new_text(change, &parent_column) != NULL || !change->is_insert)
		svc_membership_take_all();
	id = svc_row_new_text(change, &id_column);
	svc_segment_check_references(id == NULL ? "" : id, svc_row_new_text(change, &parent_column),
								 criteria);
	describe(change, criteria);
	svc_call_end(&call);
}

static bool
is_redefined(SvcRowChange *change)
{
	for (int i = 0; i < lengthof(defining); i++)
	{
		if (svc_row_column_differs(change, defining[i]))
			return true;
	}
	return false;
}

static bool
has_criteria(SvcRowChange *change)
{
	bool		isnull;

	(void) svc_row_new(change, &criteria_column, &isnull);
	return !isnull;
}

static bool
had_criteria(SvcRowChange *change)
{
	bool		isnull;

	if (change->is_insert)
		return false;
	(void) svc_row_old(change, &criteria_column, &isnull);
	return !isnull;
}

/* Criteria that come or go bring or take "automated", unless it is set. */
static void
complete(SvcRowChange *change)
{
	bool		given = has_criteria(change);
	bool		isnull;

	(void) svc_row_new(change, &automated_column, &isnull);
	if (isnull || (!change->is_insert && given != had_criteria(change) &&
				   !svc_row_column_differs(change, &automated_column)))
		svc_row_set(change, &automated_column, BoolGetDatum(given), false);
	if (!svc_row_new_bool(change, &automated_column))
		return;
	if (!given)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_INVALID_CRITERIA),
				 errmsg("segment \"%s\" cannot be automated without criteria", svc_row_new_text(change, &id_column)),
				 errdetail("Criteria say who is in an automated segment."),
				 errhint("Give it criteria, '{}' for everyone, or set automated to false.")));
	if (svc_row_new_text(change, &frequency_column) == NULL)
		svc_row_set_text(change, &frequency_column, "realtime");
}

/* Say it in words, unless somebody has done so himself. */
static void
describe(SvcRowChange *change, const SvcCriteria *criteria)
{
	char	   *written = svc_row_new_text(change, &description_column);
	SvcCriteria *old = old_criteria(change);

	if (written == NULL || (old != NULL && strcmp(written, svc_criteria_explain(old)) == 0))
		svc_row_set_text(change, &description_column, criteria == NULL ? NULL : svc_criteria_explain(criteria));
}

static SvcCriteria *
old_criteria(SvcRowChange *change)
{
	ErrorData  *error;
	bool		isnull;

	return had_criteria(change) ?
		svc_segment_try_criteria(DatumGetJsonbP(svc_row_old(change, &criteria_column, &isnull)), &error) : NULL;
}

/* Who keeps what segments are (segment_watch.c) has to read it anew. */
static void
restored(SvcRowChange *change)
{
	CacheInvalidateRelcache(change->rel);
}

/* In the same statement, its members follow. */
static void
conclude(SvcRowChange *change, const char *action)
{
	bool		isnull;
	Datum		id = svc_row_new(change, &id_column, &isnull);
	SvcCall		call;

	if (!change->is_insert && !is_redefined(change))
		return;
	/* who keeps what segments are (segment_watch.c) has to read it anew */
	CacheInvalidateRelcache(change->rel);
	svc_call_begin(&call, change->fcinfo);
	/* the row is to be seen */
	CommandCounterIncrement();
	if (!change->is_insert && had_criteria(change) && !svc_row_new_bool(change, &automated_column))
		keep_members(id);
	if (svc_row_new_is(change, &status_column, "active"))
		fill(id);
	else
		forget_timers(id);
	svc_call_end(&call);
}

/* A segment that criteria have filled, and that people fill from now on. */
static void
keep_members(Datum segment_id)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_segment_override (customer_id, segment_id, included)"
		" SELECT customer_id, segment_id, true FROM @extschema@.svc_segment_member WHERE segment_id = $1"
		" ON CONFLICT DO NOTHING",
		1, {TEXTOID}
	};

	svc_statement_run(&statement, &segment_id, NULL);
}

static void
fill(Datum segment_id)
{
	SvcSyncScope everyone;
	SvcNote		no_note = {0};
	SvcSegment	segment;

	svc_scope_everyone(&everyone);
	if (IsolationUsesXactSnapshot())
		svc_segment_mark_due(segment_id);
	else if (svc_segment_read(&segment, segment_id) && (segment.criteria != NULL || segment.parent != NULL))
		svc_segment_sync(&segment, &everyone, &no_note);
}

static void
forget_timers(Datum segment_id)
{
	static SvcStatement statement = {
		"DELETE FROM @extschema@.svc_segment_timer WHERE segment_id = $1", 1, {TEXTOID}
	};

	svc_statement_run(&statement, &segment_id, NULL);
}
