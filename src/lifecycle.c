/*-------------------------------------------------------------------------
 *
 * lifecycle.c
 *	  The triggers that keep every noun's row within its lifecycle.
 *
 * Two triggers on each noun's table do the work, for INSERT and UPDATE by
 * anyone, with SQL or through svc's functions:
 *
 * BEFORE (zzz_svc_lifecycle; triggers fire in the order of their names, so a
 * user's own BEFORE trigger has already had its say): refuses changes of
 * columns that svc maintains, runs the noun's own rule, finds the line of the
 * transition table that explains the change or refuses it, and moves the
 * row's revision on by one for each event of that line.  It draws the ids of
 * these events, too, and hands them on (handover.c).  The AFTER trigger would
 * be too late: it runs at the end of its statement, when a function or trigger
 * that the statement has called may have changed the row once more and written
 * the events of that, and an entity's ids must be in the order of its revisions.
 *
 * AFTER (zzz_svc_event_insert, zzz_svc_event_update; only when revision or status changed): looks the
 * change up again, in case a trigger that sorts later still changed the row,
 * and appends the events.
 *
 * What a change *means* is its action.  svc's functions announce theirs
 * (svc_lifecycle_write); a plain statement takes the first line of the table
 * that explains it.
 *
 * A row that is inserted with its revision is *restored*: it comes from a
 * dump, is stored as it is, and makes no event.  That would let a writer
 * bypass the log, so only the tables' owner may do it.
 *
 * Locks: none but the row's own, which the triggering statement holds.  It is
 * what makes a row's revisions run 1, 2, 3 ... in the order of its commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "catalog.h"
#include "changes.h"
#include "clock.h"
#include "compat.h"
#include "error.h"
#include "event.h"
#include "handover.h"
#include "lifecycle.h"
#include "touch.h"

/* Columns of every noun that only svc writes, besides the noun's own. */
#define MAINTAINED_EVERYWHERE	"id customer_id revision"

/* Columns whose change is never reported: they change with every event. */
#define BOOKKEEPING				"revision updated_at"

/* What a function of svc has announced for the statement that it runs. */
typedef struct Announcement
{
	const SvcDeed *deed;		/* NULL: it rewrites what else is permanent */
	int			trigger_depth;	/* that the triggers run at */
} Announcement;

static const Announcement *announced = NULL;

static SvcLifecycleRules rules[SVC_NOUN_COUNT];

static SvcColumn id_column = {"id"};
static SvcColumn customer_id_column = {"customer_id"};
static SvcColumn status_column = {"status"};
static SvcColumn revision_column = {"revision", INT8OID};
static SvcColumn created_at_column = {"created_at", TIMESTAMPTZOID};
static SvcColumn updated_at_column = {"updated_at", TIMESTAMPTZOID};

static SvcNoun check_trigger(FunctionCallInfo fcinfo, bool before);
static HeapTuple before_insert(FunctionCallInfo fcinfo, SvcNoun noun);
static HeapTuple before_update(FunctionCallInfo fcinfo, SvcNoun noun);
static void check_status_given(SvcRowChange *change);
static bool is_same_row(SvcRowChange *change);
static void check_maintained_columns(SvcRowChange *change);
static bool is_reportable_change(SvcRowChange *change);
static uint64 run_announced(const SvcDeed *deed, SvcStatement *statement, const char *sql,
							int nargs, Oid *argtypes, Datum *values, const bool *isnull);
static int	trigger_depth(void);
static const Announcement *current_announcement(void);
static bool rewrite_announced(void);
static const SvcDeed *announced_deed(SvcNoun noun);
static const char *announced_action(SvcNoun noun);
static const SvcTransition *explain_change(SvcRowChange *change);
static int	event_count(const SvcTransition *transition, const char *from, const char *to);
static int	side_events(SvcRowChange *change, const char *action, SvcSideEvent *events);
static int64 row_revision(SvcRowChange *change);
static void advance_revision(SvcRowChange *change, int count);
static int64 event_id(SvcRowChange *change, int64 revision);
static void append_events(SvcRowChange *change, const SvcTransition *transition);
static const SvcEventName *event_of_action(SvcNoun noun, const char *action);
static const char *unreported_columns(SvcRowChange *change, const char *action);
static bool changes_personal_column(SvcRowChange *change);
static bool belongs_to_deleted(SvcRowChange *change);
static char *name_row(SvcRowChange *change);
static void check_may_restore(SvcRowChange *change);
pg_noreturn static void report_permanent_row(SvcRowChange *change);
pg_noreturn static void report_transition(SvcRowChange *change, const char *from, const char *to);
pg_noreturn static void report_later_trigger(SvcRowChange *change);

PG_FUNCTION_INFO_V1(svc_lifecycle);
PG_FUNCTION_INFO_V1(svc_lifecycle_event);
PG_FUNCTION_INFO_V1(svc_append_only);
PG_FUNCTION_INFO_V1(svc_transitions);

/*
 * svc_lifecycle('noun'): BEFORE INSERT OR UPDATE OR DELETE, each row.
 */
Datum
svc_lifecycle(PG_FUNCTION_ARGS)
{
	SvcNoun		noun = check_trigger(fcinfo, true);
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return PointerGetDatum(before_insert(fcinfo, noun));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return PointerGetDatum(before_update(fcinfo, noun));
	if (rewrite_announced())
		return PointerGetDatum(trigger->tg_trigtuple);
	report_permanent_row(svc_row_open(trigger->tg_relation, noun, NULL,
									  trigger->tg_trigtuple));
}

/*
 * svc_lifecycle_event('noun'): AFTER INSERT OR UPDATE, each row.
 */
Datum
svc_lifecycle_event(PG_FUNCTION_ARGS)
{
	SvcNoun		noun = check_trigger(fcinfo, false);
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const SvcTransition *transition;
	const SvcDeed *deed;
	SvcRowChange *change;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		change = svc_row_open(trigger->tg_relation, noun, NULL, trigger->tg_trigtuple);
		if (svc_handover_take_restored(change))
		{
			if (rules[noun].restored != NULL)
				rules[noun].restored(change);
			return PointerGetDatum(NULL);
		}
	}
	else
		change = svc_row_open(trigger->tg_relation, noun,
							  trigger->tg_trigtuple, trigger->tg_newtuple);

	change->fcinfo = fcinfo;
	change->action = announced_action(noun);
	transition = explain_change(change);
	/* of a status that changes in bulk there are too many to tell of each */
	deed = announced_deed(noun);
	if (deed != NULL && deed->counters_only)
		return PointerGetDatum(NULL);
	append_events(change, transition);
	svc_touch_row(change);

	if (rules[noun].conclude != NULL)
		rules[noun].conclude(change, transition->action);
	return PointerGetDatum(NULL);
}

/*
 * svc_append_only(): BEFORE UPDATE OR DELETE, each row, of a log, and BEFORE
 * TRUNCATE of any table of svc.  BEFORE INSERT, each row, of svc_meta it skips
 * a second row, such as a dump brings.
 */
Datum
svc_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *verb;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("svc_append_only() must be called as a trigger of svc"),
				 errdetail("It is for BEFORE triggers."),
				 errhint("svc_install() makes the triggers that svc needs.")));

	/* the one row of svc_meta that svc_install() has made is enough */
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return PointerGetDatum(svc_catalog_installed_version(RelationGetNamespace(trigger->tg_relation)) == 0 ?
							   trigger->tg_trigtuple : NULL);

	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event) && rewrite_announced())
		return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
							   trigger->tg_newtuple : trigger->tg_trigtuple);

	verb = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "update" :
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "delete from" : "truncate";
	ereport(ERROR,
			(errcode(ERRCODE_SVC_PERMANENT_ROW),
			 errmsg("cannot %s table \"%s\"", verb,
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("The rows of this table are the record of what happened."),
			 errhint("Correct by a further entry, made by a function of svc.")));
}

/*
 * svc_transitions() -> the lifecycles, one row for each status that a line of
 * the table can be taken from.
 */
Datum
svc_transitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);

	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);
		Datum		events[SVC_TRANSITION_EVENTS_MAX];

		for (int i = 0; i < t->event_count; i++)
			events[i] = CStringGetTextDatum(t->events[i].name);

		for (int from = SVC_STATUS_NONE; from < SVC_STATUS_MAX; from++)
		{
			int			to = t->to == SVC_STATUS_NONE ? from : t->to;
			Datum		values[7];
			bool		isnull[7] = {false};

			if (!svc_transition_leaves(t, from))
				continue;
			values[0] = Int32GetDatum(n + 1);
			values[1] = CStringGetTextDatum(svc_noun_info(t->noun)->name);
			values[2] = CStringGetTextDatum(t->action);
			isnull[3] = from == SVC_STATUS_NONE;
			values[3] = isnull[3] ? (Datum) 0 :
				CStringGetTextDatum(svc_status_name(t->noun, from));
			values[4] = CStringGetTextDatum(svc_status_name(t->noun, to));
			values[5] = PointerGetDatum(construct_array(events, t->event_count, TEXTOID,
														-1, false, TYPALIGN_INT));
			isnull[6] = t->guard == NULL;
			values[6] = isnull[6] ? (Datum) 0 : CStringGetTextDatum(t->guard);
			tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
		}
	}
	return (Datum) 0;
}

/* To be called from _PG_init. */
void
svc_lifecycle_set_rules(SvcNoun noun, const SvcLifecycleRules *noun_rules)
{
	rules[noun] = *noun_rules;
}

/*
 * Let what time has done to a row, which is locked, be written down; true when
 * there was something.
 */
bool
svc_lifecycle_catch_up(SvcNoun noun, Datum customer_id, Datum id, SvcInstant instant)
{
	return rules[noun].catch_up != NULL && rules[noun].catch_up(customer_id, id, instant);
}

/* What an action locks before the row that it is about. */
void
svc_lifecycle_before_lock(SvcNoun noun, const char *action, Jsonb *properties)
{
	if (rules[noun].before_lock != NULL)
		rules[noun].before_lock(action, properties);
}

/*
 * Run a statement that writes a noun's rows, and say which action it is.
 *
 * The announcement holds for triggers that this statement fires itself.  What
 * a user's trigger does inside it is plain SQL again: it runs one trigger
 * deeper.
 */
uint64
svc_lifecycle_write(const SvcDeed *deed, SvcStatement *statement,
					Datum *values, const bool *isnull)
{
	return run_announced(deed, statement, NULL, 0, NULL, values, isnull);
}

/*
 * Update a row without the executor, and say which action it is; false when that
 * is for a statement to do (update.c).
 */
bool
svc_lifecycle_update_row(const SvcDeed *deed, SvcUpdateTable *table, const Datum *keys, const Datum *values)
{
	const Announcement *outer = announced;
	/* svc's triggers are called from here, not by the server */
	Announcement mine = {deed, trigger_depth()};
	bool		done;

	PG_TRY();
	{
		announced = &mine;
		done = svc_update_row(table, keys, values);
	}
	PG_FINALLY();
	{
		announced = outer;
	}
	PG_END_TRY();
	return done;
}

/* The same for a statement whose text is made for this one time. */
uint64
svc_lifecycle_write_once(const SvcDeed *deed, const char *sql, int nargs,
						 Oid *argtypes, Datum *values, const bool *isnull)
{
	return run_announced(deed, NULL, sql, nargs, argtypes, values, isnull);
}

/*
 * Run a statement that removes or changes rows which are permanent to
 * everybody else: when a customer is merged or becomes a tombstone, or a hold
 * ends.
 */
uint64
svc_lifecycle_rewrite(SvcStatement *statement, Datum *values, const bool *isnull)
{
	return run_announced(NULL, statement, NULL, 0, NULL, values, isnull);
}

/* The same for a statement whose text is made for this one time. */
uint64
svc_lifecycle_rewrite_once(const char *sql, int nargs, Oid *argtypes, Datum *values)
{
	return run_announced(NULL, NULL, sql, nargs, argtypes, values, NULL);
}

/* Is this change made by a function of svc, not by plain SQL? */
bool
svc_lifecycle_by_function(SvcRowChange *change)
{
	return change->action != NULL;
}

/* Refuse a write to a column that svc keeps itself. */
void
svc_lifecycle_refuse_column(SvcRowChange *change, const char *column, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_MAINTAINED_COLUMN),
			 errmsg("column \"%s\" of \"%s\" cannot be written by hand", column,
					RelationGetRelationName(change->rel)),
			 errdetail("%s was to be written.", name_row(change)),
			 errhint("%s", hint),
			 errtablecol(change->rel, get_attnum(RelationGetRelid(change->rel), column))));
}

/* Refuse a change of status that the table allows, but whose guard fails. */
void
svc_lifecycle_refuse_change(SvcRowChange *change, const char *why, const char *hint)
{
	const SvcNounInfo *info = svc_noun_info(change->noun);

	ereport(ERROR,
			(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
			 svc_lifecycle_by_function(change) ?
			 errmsg("cannot %s %s: %s", change->action, info->name, why) :
			 errmsg("cannot change %s status from \"%s\" to \"%s\": %s", info->name,
					svc_row_old_text(change, &status_column),
					svc_row_new_text(change, &status_column), why),
			 errdetail("%s was to be written.", name_row(change)),
			 errhint("%s", hint)));
}

/*
 * The noun of a trigger, from its argument: on a shard the table's name would
 * not tell.  Refuses tables outside the extension's schema, where the trigger
 * would write events about rows that are not ours.
 */
static SvcNoun
check_trigger(FunctionCallInfo fcinfo, bool before)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SvcNoun		noun;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BEFORE(trigger->tg_event) != before ||
		(!before && TRIGGER_FIRED_BY_DELETE(trigger->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function must be called as a row trigger of svc"),
				 errdetail("It is for %s.", before ? "BEFORE INSERT OR UPDATE OR DELETE" :
						   "AFTER INSERT OR UPDATE"),
				 errhint("svc_install() makes the triggers that svc needs.")));
	if (RelationGetNamespace(trigger->tg_relation) !=
		get_func_namespace(fcinfo->flinfo->fn_oid) ||
		trigger->tg_trigger->tgnargs != 1 ||
		!svc_noun_find(trigger->tg_trigger->tgargs[0], &noun))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" is not a trigger of a table of svc",
						trigger->tg_trigger->tgname),
				 errhint("svc_install() makes the triggers that svc needs.")));
	return noun;
}

static HeapTuple
before_insert(FunctionCallInfo fcinfo, SvcNoun noun)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SvcRowChange *change = svc_row_open(trigger->tg_relation, noun, NULL,
										trigger->tg_trigtuple);
	const SvcTransition *transition;
	char	   *status;
	bool		isnull;

	(void) svc_row_new(change, &revision_column, &isnull);
	if (!isnull)
	{
		check_may_restore(change);
		svc_handover_restored(change);
		return trigger->tg_trigtuple;
	}

	change->fcinfo = fcinfo;
	change->action = announced_action(noun);
	check_status_given(change);
	if (rules[noun].check != NULL)
		rules[noun].check(change);
	if (change->suppressed)
		return NULL;
	status = svc_row_new_text(change, &status_column);

	transition = explain_change(change);
	if (rules[noun].imply != NULL)
		rules[noun].imply(change, transition->action);
	advance_revision(change, event_count(transition, NULL, status));
	svc_row_default_now(change, &created_at_column);
	svc_row_set(change, &updated_at_column,
				TimestampTzGetDatum(svc_clock_now()), false);
	return svc_row_form(change, trigger->tg_trigtuple);
}

static HeapTuple
before_update(FunctionCallInfo fcinfo, SvcNoun noun)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SvcRowChange *change = svc_row_open(trigger->tg_relation, noun,
										trigger->tg_trigtuple, trigger->tg_newtuple);
	const SvcDeed *deed = announced_deed(noun);
	char	   *status;

	if (rewrite_announced())
		return trigger->tg_newtuple;

	change->fcinfo = fcinfo;
	change->action = announced_action(noun);
	change->counters_only = deed != NULL && deed->counters_only;
	if (svc_lifecycle_is_update(change))
	{
		if (is_same_row(change) && (deed == NULL || deed->note.name == NULL))
			return trigger->tg_newtuple;
		if (!svc_lifecycle_by_function(change))
			check_maintained_columns(change);
	}
	check_status_given(change);
	if (rules[noun].check != NULL)
		rules[noun].check(change);
	status = svc_row_new_text(change, &status_column);

	if (is_reportable_change(change))
	{
		const SvcTransition *transition = explain_change(change);
		int			count = event_count(transition, svc_row_old_text(change, &status_column),
										status) + side_events(change, transition->action, NULL);

		if (rules[noun].imply != NULL)
			rules[noun].imply(change, transition->action);
		if (count > 0)
			advance_revision(change, count);
	}
	svc_row_set(change, &updated_at_column,
				TimestampTzGetDatum(svc_clock_now()), false);
	return svc_row_form(change, trigger->tg_newtuple);
}

/* Rules need not think of NULL. */
static void
check_status_given(SvcRowChange *change)
{
	if (svc_row_new_text(change, &status_column) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("status of %s must not be null", svc_noun_info(change->noun)->name),
				 errdetail("%s was to be written.", name_row(change)),
				 errhint("See svc_transitions() for the statuses.")));
}

/* Plain SQL, or a function that does what plain SQL would. */
bool
svc_lifecycle_is_update(SvcRowChange *change)
{
	return !svc_lifecycle_by_function(change) ||
		strcmp(change->action, "update") == 0 ||
		strcmp(change->action, "updatePricing") == 0;
}

/* An UPDATE that changes nothing is nothing, unless it comes with a note. */
static bool
is_same_row(SvcRowChange *change)
{
	for (int i = 0; i < RelationGetDescr(change->rel)->natts; i++)
	{
		if (svc_row_differs(change, i))
			return false;
	}
	return true;
}

static void
check_maintained_columns(SvcRowChange *change)
{
	TupleDesc	desc = RelationGetDescr(change->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (!svc_row_differs(change, i))
			continue;
		if (svc_noun_list_has(MAINTAINED_EVERYWHERE, name))
			svc_lifecycle_refuse_column(change, name,
										"Keys and revisions of svc's rows never change.");
		if (svc_noun_list_has(svc_noun_info(change->noun)->maintained, name))
			svc_lifecycle_refuse_column(change, name,
										"Use the functions of svc, which keep the books, too.");
	}
}

/*
 * Is there anything that the lifecycle has a say in?  An announced action
 * always; else a change of a column that is neither counter nor bookkeeping.
 */
static bool
is_reportable_change(SvcRowChange *change)
{
	TupleDesc	desc = RelationGetDescr(change->rel);
	const char *counters = svc_noun_info(change->noun)->counters;

	if (change->counters_only)
		return false;
	if (svc_lifecycle_by_function(change) ||
		svc_row_column_differs(change, &status_column))
		return true;
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (svc_row_differs(change, i) &&
			!svc_noun_list_has(counters, name) &&
			!svc_noun_list_has(BOOKKEEPING, name))
			return true;
	}
	return false;
}

/* Announce, run a statement, saved or not, and take the announcement back. */
static uint64
run_announced(const SvcDeed *deed, SvcStatement *statement, const char *sql,
			  int nargs, Oid *argtypes, Datum *values, const bool *isnull)
{
	const Announcement *outer = announced;
	Announcement mine;
	uint64		rows;

	Assert(deed == NULL || svc_action_exists(deed->noun, deed->action));
	mine.deed = deed;
	mine.trigger_depth = trigger_depth() + 1;

	PG_TRY();
	{
		announced = &mine;
		rows = statement != NULL ? svc_statement_run(statement, values, isnull) :
			svc_statement_run_once(sql, nargs, argtypes, values, isnull);
	}
	PG_FINALLY();
	{
		announced = outer;
	}
	PG_END_TRY();
	return rows;
}

/* The announcement for the statement that fired this very trigger, or NULL. */
static const Announcement *
current_announcement(void)
{
	return announced != NULL && announced->trigger_depth == trigger_depth() ? announced : NULL;
}

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

static const SvcDeed *
announced_deed(SvcNoun noun)
{
	const Announcement *current = current_announcement();

	if (current == NULL || current->deed == NULL || current->deed->noun != noun)
		return NULL;
	return current->deed;
}

static bool
rewrite_announced(void)
{
	const Announcement *current = current_announcement();

	return current != NULL && current->deed == NULL;
}

static const char *
announced_action(SvcNoun noun)
{
	const SvcDeed *deed = announced_deed(noun);

	return deed == NULL ? NULL : deed->action;
}

/* The line of the table that allows this change, or an error. */
static const SvcTransition *
explain_change(SvcRowChange *change)
{
	char	   *from_name = NULL;
	char	   *to_name = svc_row_new_text(change, &status_column);
	int			from = SVC_STATUS_NONE;
	int			to = svc_status_find(change->noun, to_name);
	const SvcTransition *transition;

	if (!change->is_insert)
	{
		from_name = svc_row_old_text(change, &status_column);
		from = from_name == NULL ? SVC_STATUS_NONE : svc_status_find(change->noun, from_name);
		if (from == SVC_STATUS_NONE)
			report_transition(change, from_name == NULL ? "" : from_name, to_name);
	}
	transition = svc_transition_match(change->noun, change->action, from, to);
	if (transition == NULL)
		report_transition(change, from_name, to_name);
	return transition;
}

/*
 * How many events a transition makes here.  The hot ones have a record of
 * their own and make none unless svc.consumed_events asks for it: a consume or
 * a recording that leaves the status as it is, and a new usage record.
 */
static int
event_count(const SvcTransition *transition, const char *from, const char *to)
{
	bool		hot = strcmp(transition->action, "consume") == 0 ||
		strcmp(transition->action, "record") == 0;

	bool		quiet = from == NULL ? transition->noun == SVC_USAGE : strcmp(from, to) == 0;

	if (hot && quiet && !svc_consumed_events)
		return 0;
	return transition->event_count;
}

/* What has happened besides, by the noun's own rules. */
static int
side_events(SvcRowChange *change, const char *action, SvcSideEvent *events)
{
	return rules[change->noun].also == NULL ? 0 :
		rules[change->noun].also(change, action, events);
}

/* The revision before the change. */
static int64
row_revision(SvcRowChange *change)
{
	bool		isnull;

	if (change->is_insert)
		return 0;
	return DatumGetInt64(svc_row_old(change, &revision_column, &isnull));
}

/* Move the row's revision on, and draw an id for each event on the way. */
static void
advance_revision(SvcRowChange *change, int count)
{
	int64		revision = row_revision(change);

	for (int i = 0; i < count; i++)
		svc_handover_event(change, ++revision, svc_event_draw_id(change->fcinfo));
	svc_row_set(change, &revision_column, Int64GetDatum(revision), false);
}

/* The id that was drawn with the revision; now, if our BEFORE trigger is off. */
static int64
event_id(SvcRowChange *change, int64 revision)
{
	int64		id = svc_handover_take_event(change, revision);

	return id != 0 ? id : svc_event_draw_id(change->fcinfo);
}

/*
 * Append the events of a change.  The first carries the change of status and
 * of columns; what follows happened with it, and has from = to.
 */
static void
append_events(SvcRowChange *change, const SvcTransition *transition)
{
	const SvcNounInfo *info = svc_noun_info(change->noun);
	bool		isnull;
	int64		revision = row_revision(change);
	int64		new_revision = DatumGetInt64(svc_row_new(change, &revision_column, &isnull));
	char	   *to = svc_row_new_text(change, &status_column);
	const SvcDeed *deed = announced_deed(change->noun);
	SvcSideEvent besides[SVC_SIDE_EVENTS_MAX];
	int			besides_count = change->is_insert ? 0 : side_events(change, transition->action, besides);
	SvcEvent	event = {0};
	int			count;

	event.noun = change->noun;
	event.entity_id = svc_row_new_text(change, &id_column);
	event.customer_id = info->key == SVC_KEY_IS_CUSTOMER ? event.entity_id :
		info->key == SVC_KEY_OF_CUSTOMER ? svc_row_new_text(change, &customer_id_column) : "";
	event.from_status = change->is_insert ? NULL : svc_row_old_text(change, &status_column);
	event.to_status = to;

	count = event_count(transition, event.from_status, to);
	if (new_revision - revision != count + besides_count)
		report_later_trigger(change);

	event.has_changes = svc_changes_describe(change, unreported_columns(change, transition->action),
											 deed == NULL ? NULL : &deed->note, &event.changes);
	for (int i = 0; i < count; i++)
	{
		event.action = transition->action;
		event.name = &transition->events[i];
		event.revision = ++revision;
		svc_event_append(change->fcinfo, event_id(change, revision), &event);
		event.from_status = to;
		event.has_changes = false;
	}
	event.from_status = to;
	for (int i = 0; i < besides_count; i++)
	{
		event.action = besides[i].action;
		event.name = event_of_action(change->noun, besides[i].action);
		event.revision = ++revision;
		event.has_changes = svc_changes_note(&besides[i].note, &event.changes);
		svc_event_append(change->fcinfo, event_id(change, revision), &event);
	}
}

/* The first event of an action. */
static const SvcEventName *
event_of_action(SvcNoun noun, const char *action)
{
	int			n = 0;

	while (svc_transition_get(n)->noun != noun ||
		   strcmp(svc_transition_get(n)->action, action) != 0)
		n++;
	return &svc_transition_get(n)->events[0];
}

/* Neither the event of a deletion nor any later one tells who was deleted. */
static const char *
unreported_columns(SvcRowChange *change, const char *action)
{
	const SvcNounInfo *info = svc_noun_info(change->noun);
	const char *silent = info->silent == NULL ? BOOKKEEPING :
		psprintf("%s %s", BOOKKEEPING, info->silent);

	if (strcmp(action, "delete") == 0 ||
		(info->key == SVC_KEY_OF_CUSTOMER && changes_personal_column(change) &&
		 belongs_to_deleted(change)))
		return psprintf("%s %s", silent, info->personal);
	return silent;
}

static bool
changes_personal_column(SvcRowChange *change)
{
	TupleDesc	desc = RelationGetDescr(change->rel);

	for (int i = 0; i < desc->natts && !change->is_insert; i++)
	{
		if (svc_row_differs(change, i) &&
			svc_noun_list_has(svc_noun_info(change->noun)->personal,
							  NameStr(TupleDescAttr(desc, i)->attname)))
			return true;
	}
	return false;
}

/* Is the row's customer deleted?  The lock waits for one that is being so. */
static bool
belongs_to_deleted(SvcRowChange *change)
{
	static SvcStatement statement = {
		"SELECT status = 'deleted' FROM @extschema@.svc_customer WHERE id = $1 FOR KEY SHARE",
		1, {TEXTOID}
	};
	bool		isnull;
	Datum		customer_id = svc_row_new(change, &customer_id_column, &isnull);
	SvcCall		call;
	bool		deleted;

	svc_call_begin(&call, change->fcinfo);
	deleted = svc_statement_run(&statement, &customer_id, NULL) > 0 &&
		DatumGetBool(svc_statement_value(0, 1, &isnull));
	svc_call_end(&call);
	return deleted;
}

/* 'Entitlement "e1" of customer "c1"' */
static char *
name_row(SvcRowChange *change)
{
	const SvcNounInfo *info = svc_noun_info(change->noun);
	bool		use_old = !change->is_insert;
	char	   *id = use_old ? svc_row_old_text(change, &id_column) :
		svc_row_new_text(change, &id_column);

	if (info->key == SVC_KEY_OF_CUSTOMER)
		return psprintf("%s \"%s\" of customer \"%s\"", info->title, id,
						use_old ? svc_row_old_text(change, &customer_id_column) :
						svc_row_new_text(change, &customer_id_column));
	return psprintf("%s \"%s\"", info->title, id);
}

/* '"active", "churned"', or NULL when there is none. */
char *
svc_lifecycle_next_statuses(SvcNoun noun, int from)
{
	StringInfoData list;
	uint32		listed = 0;

	initStringInfo(&list);
	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);

		if (t->noun != noun || !svc_transition_leaves(t, from) ||
			t->to == SVC_STATUS_NONE || (listed & (((uint32) 1) << t->to)) != 0)
			continue;
		appendStringInfo(&list, "%s\"%s\"", list.len > 0 ? ", " : "",
						 svc_status_name(noun, t->to));
		listed |= ((uint32) 1) << t->to;
	}
	return list.len > 0 ? list.data : NULL;
}

/* Only who could write anything else into the table may skip the event log. */
static void
check_may_restore(SvcRowChange *change)
{
	if (!has_privs_of_role(GetUserId(), change->rel->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\" to insert a row with its revision",
						RelationGetRelationName(change->rel)),
				 errdetail("%s was to be inserted as a restored row.", name_row(change)),
				 errhint("Leave out column \"revision\"; svc sets it.")));
}

static void
report_permanent_row(SvcRowChange *change)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_PERMANENT_ROW),
			 errmsg("cannot delete from table \"%s\"",
					RelationGetRelationName(change->rel)),
			 errdetail("%s has a history that refers to it.", name_row(change)),
			 errhint("End it by a change of status.")));
}

static void
report_transition(SvcRowChange *change, const char *from, const char *to)
{
	const SvcNounInfo *info = svc_noun_info(change->noun);
	char	   *next = svc_lifecycle_next_statuses(change->noun, from == NULL ? SVC_STATUS_NONE :
										  svc_status_find(change->noun, from));
	char	   *hint = next == NULL ? psprintf("Status \"%s\" is final.", from) :
		psprintf(from == NULL ? "A new row can have status %s." :
				 "Allowed next statuses are %s.", next);

	if (from == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
				 errmsg("cannot create %s with status \"%s\"", info->name, to),
				 errdetail("%s was to be inserted.", name_row(change)),
				 errhint("%s", hint)));
	if (strcmp(from, to) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
				 errmsg("cannot %s %s with status \"%s\"",
						change->action ? change->action : "update", info->name, from),
				 errdetail("%s has this status.", name_row(change)),
				 errhint("%s", hint)));
	ereport(ERROR,
			(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
			 errmsg("cannot change %s status from \"%s\" to \"%s\"", info->name, from, to),
			 errdetail("%s has status \"%s\".", name_row(change), from),
			 errhint("%s", hint)));
}

static void
report_later_trigger(SvcRowChange *change)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("a trigger changed status or revision of \"%s\" after svc had checked them",
					RelationGetRelationName(change->rel)),
			 errdetail("%s was to be written.", name_row(change)),
			 errhint("Give your BEFORE trigger a name that sorts before \"zzz_svc_lifecycle\".")));
}
