/*-------------------------------------------------------------------------
 *
 * action.c
 *	  The SQL functions that are actions on nouns.
 *
 * All of them are one C function, svc_action(), which knows from the name it
 * was called by what it is to do: svc_suspend_customer is the action "suspend"
 * of the noun "customer", and "svc_create_" and "svc_update_" make and change
 * rows from properties.  What an action does besides changing the status is
 * registered by the noun's own file (SvcAction).
 *
 * Arguments: the keys (customer id and id, or the id alone), then the
 * action's own, then "reason", kept with the event, and "revision", which must
 * be the row's, if given (optimistic locking); some end with "at", the instant
 * that they work for.
 *
 * A call in the status that the action leads to is a no-op: what was to be
 * done is done.
 *
 * Locks: the customer, FOR KEY SHARE, then the row, FOR NO KEY UPDATE, before
 * anything is decided.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "action.h"
#include "argument.h"
#include "catalog.h"
#include "clock.h"
#include "error.h"
#include "lifecycle.h"
#include "property.h"
#include "transition.h"

#define REGISTRIES_MAX		16

/* Ids never change. */
#define FIXED_IN_UPDATE		"id"

/* What a function turned out to be; kept with its FmgrInfo. */
typedef struct Target
{
	SvcNoun		noun;
	const char *action;
	const SvcAction *special;	/* or NULL */
	bool		timed;			/* is its last argument "at"? */
} Target;

/* A call, for the clock to run. */
typedef struct Run
{
	FunctionCallInfo fcinfo;
	const Target *target;
	Datum		result;
} Run;

static struct
{
	const SvcAction *actions;
	int			count;
} registries[REGISTRIES_MAX];
static int	registry_count = 0;

static void run_action(void *state);
static const Target *find_target(FunctionCallInfo fcinfo);
static bool resolve_special(const char *function, Target *target);
static bool resolve_plain(const char *function, Target *target);
static bool is_function_of(const char *function, const char *action, SvcNoun noun);
static char *snake_case(const char *action);
static Datum create_row(FunctionCallInfo fcinfo, const Target *target);
static Datum update_row(FunctionCallInfo fcinfo, const Target *target);
static Datum change_row(FunctionCallInfo fcinfo, const Target *target);
static SvcInstant instant_of(FunctionCallInfo fcinfo, const Target *target);
static Jsonb *properties_argument(FunctionCallInfo fcinfo, int n);
static void read_keys(FunctionCallInfo fcinfo, SvcActionCall *call);
static void read_columns(SvcActionCall *call, const char *columns);
static bool leads_anywhere(SvcActionCall *call);
static bool is_idle(SvcActionCall *call);
static void choose_status(SvcActionCall *call);
static Datum write_row(SvcActionCall *call);
static SvcNoun noun_argument(FunctionCallInfo fcinfo, int n);
static void append_mermaid_id(StringInfo diagram, const char *status);
pg_noreturn static void report_unknown_function(const char *function);
pg_noreturn static void report_unknown_noun(const char *name);

PG_FUNCTION_INFO_V1(svc_action);
PG_FUNCTION_INFO_V1(svc_available_actions);
PG_FUNCTION_INFO_V1(svc_transition_diagram);

/*
 * svc_<action>_<noun>(keys, ...): svc_create_ -> the id, others -> the status.
 */
Datum
svc_action(PG_FUNCTION_ARGS)
{
	Run			run = {.fcinfo = fcinfo};
	Datum		result;
	SvcCall		call;

	svc_catalog_use(fcinfo);
	run.target = find_target(fcinfo);
	svc_call_begin(&call, fcinfo);
	svc_clock_run_at(instant_of(fcinfo, run.target).at, run_action, &run);
	result = svc_call_keep(&call, run.result);
	svc_call_end(&call);
	return result;
}

/*
 * svc_available_actions(noun, customer_id, id) -> action, to_status, guard
 *
 * What can be done with a row now.  customer_id is ignored for nouns that
 * belong to no customer.
 */
Datum
svc_available_actions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SvcNoun		noun = noun_argument(fcinfo, 0);
	bool		owned = svc_noun_info(noun)->key == SVC_KEY_OF_CUSTOMER;
	Datum		customer_id = owned ? svc_argument_id(fcinfo, 1, "customer id") : (Datum) 0;
	Datum		id = svc_argument_id(fcinfo, 2, "id");
	SvcFoundRow row;
	SvcCall		call;
	int			from;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	svc_gate_read_row(&row, noun, customer_id, id);
	from = svc_status_find(noun, row.status);

	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);
		Datum		values[3];
		bool		isnull[3] = {false};

		if (t->noun != noun || !svc_transition_leaves(t, from) || svc_transition_is_beside(t))
			continue;
		values[0] = CStringGetTextDatum(t->action);
		values[1] = CStringGetTextDatum(svc_status_name(noun, t->to == SVC_STATUS_NONE ?
														from : t->to));
		isnull[2] = t->guard == NULL;
		values[2] = isnull[2] ? (Datum) 0 : CStringGetTextDatum(t->guard);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

/*
 * svc_transition_diagram(noun) -> a state diagram in Mermaid's language
 */
Datum
svc_transition_diagram(PG_FUNCTION_ARGS)
{
	SvcNoun		noun = noun_argument(fcinfo, 0);
	StringInfoData diagram;

	initStringInfo(&diagram);
	appendStringInfoString(&diagram, "stateDiagram-v2\n");
	for (int status = 0; svc_status_name(noun, status) != NULL; status++)
	{
		const char *name = svc_status_name(noun, status);

		if (strchr(name, '-') != NULL)
		{
			appendStringInfo(&diagram, "    state \"%s\" as ", name);
			append_mermaid_id(&diagram, name);
			appendStringInfoChar(&diagram, '\n');
		}
	}
	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);

		for (int from = SVC_STATUS_NONE; from < SVC_STATUS_MAX; from++)
		{
			if (t->noun != noun || !svc_transition_leaves(t, from) || t->to == SVC_STATUS_NONE)
				continue;
			appendStringInfoString(&diagram, "    ");
			append_mermaid_id(&diagram, from == SVC_STATUS_NONE ? "[*]" : svc_status_name(noun, from));
			appendStringInfoString(&diagram, " --> ");
			append_mermaid_id(&diagram, svc_status_name(noun, t->to));
			appendStringInfo(&diagram, " : %s\n", t->action);
		}
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(diagram.data, diagram.len));
}

/* To be called from _PG_init. */
void
svc_action_register(const SvcAction *actions, int count)
{
	Assert(registry_count < REGISTRIES_MAX);
	registries[registry_count].actions = actions;
	registries[registry_count].count = count;
	registry_count++;
}

/* For "prepare": set a column of the row. */
void
svc_action_set(SvcActionCall *call, const char *column, Oid type, Datum value)
{
	SvcAssignment *assignment = &call->assignments[call->assignment_count++];

	Assert(call->assignment_count <= SVC_ACTION_COLUMNS_MAX);
	assignment->column = column;
	assignment->type = type;
	assignment->value = value;
}

/* For "prepare": set an instant to the start of the transaction, unless set. */
void
svc_action_set_now_once(SvcActionCall *call, const char *column)
{
	svc_action_set(call, column, TIMESTAMPTZOID,
				   TimestampTzGetDatum(svc_clock_now()));
	call->assignments[call->assignment_count - 1].keep = true;
}

/* For "prepare": refuse the action, which the table allows, by its guard. */
void
svc_action_refuse(SvcActionCall *call, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
			 errmsg("cannot %s %s \"%s\": %s", call->action, svc_noun_info(call->noun)->name,
					TextDatumGetCString(call->id), why),
			 errdetail("It has status \"%s\".", call->row.status),
			 errhint("%s", hint)));
}

static void
run_action(void *state)
{
	Run		   *run = state;
	const Target *target = run->target;

	if (strcmp(target->action, "create") == 0)
		run->result = create_row(run->fcinfo, target);
	else if (target->special == NULL && strcmp(target->action, "update") == 0)
		run->result = update_row(run->fcinfo, target);
	else
		run->result = change_row(run->fcinfo, target);
}

/* What the function that was called is to do. */
static const Target *
find_target(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	Target	   *target = flinfo->fn_extra;

	if (target == NULL)
	{
		char	   *function = get_func_name(flinfo->fn_oid);
		Oid		   *argtypes;
		int			nargs;

		if (function == NULL)
			report_unknown_function("?");
		target = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(Target));
		if (!resolve_special(function, target) && !resolve_plain(function, target))
			report_unknown_function(function);
		(void) get_func_signature(flinfo->fn_oid, &argtypes, &nargs);
		target->timed = argtypes[nargs - 1] == TIMESTAMPTZOID;
		flinfo->fn_extra = target;
	}
	return target;
}

static bool
resolve_special(const char *function, Target *target)
{
	for (int r = 0; r < registry_count; r++)
	{
		for (int i = 0; i < registries[r].count; i++)
		{
			const SvcAction *action = &registries[r].actions[i];

			if (strcmp(action->function, function) == 0)
			{
				target->noun = action->noun;
				target->action = action->action;
				target->special = action;
				return true;
			}
		}
	}
	return false;
}

static bool
resolve_plain(const char *function, Target *target)
{
	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);

		if (is_function_of(function, t->action, t->noun))
		{
			target->noun = t->noun;
			target->action = t->action;
			return true;
		}
	}
	return false;
}

static bool
is_function_of(const char *function, const char *action, SvcNoun noun)
{
	char	   *name = psprintf("svc_%s_%s", snake_case(action), svc_noun_info(noun)->short_name);

	return strcmp(function, name) == 0;
}

/* markOverdue becomes mark_overdue. */
static char *
snake_case(const char *action)
{
	StringInfoData snake;

	initStringInfo(&snake);
	for (const char *c = action; *c != '\0'; c++)
	{
		if (*c >= 'A' && *c <= 'Z')
			appendStringInfo(&snake, "_%c", *c - 'A' + 'a');
		else
			appendStringInfoChar(&snake, *c);
	}
	return snake.data;
}

/* svc_create_<noun>([customer_id,] properties) -> id */
static Datum
create_row(FunctionCallInfo fcinfo, const Target *target)
{
	Datum		customer_id = 0;

	if (svc_noun_info(target->noun)->key == SVC_KEY_OF_CUSTOMER)
	{
		customer_id = svc_argument_id(fcinfo, 0, "customer id");
		svc_gate_customer(customer_id, psprintf("a new %s", svc_noun_info(target->noun)->name));
	}
	return svc_property_insert(target->noun, customer_id,
							   properties_argument(fcinfo, customer_id != 0 ? 1 : 0));
}

/* svc_update_<noun>([customer_id,] id, properties, revision) -> status */
static Datum
update_row(FunctionCallInfo fcinfo, const Target *target)
{
	SvcActionCall call = {.fcinfo = fcinfo, .noun = target->noun, .action = target->action};
	Jsonb	   *properties;

	read_keys(fcinfo, &call);
	properties = properties_argument(fcinfo, call.first_argument);
	if (call.customer_id != 0)
		svc_gate_hold_customer(call.customer_id);
	svc_lifecycle_before_lock(call.noun, call.action, properties);
	svc_gate_lock_row(&call.row, call.noun, call.customer_id, call.id);
	if (!PG_ARGISNULL(call.first_argument + 1))
		svc_gate_check_revision(&call.row, call.noun, call.id,
								PG_GETARG_INT64(call.first_argument + 1));
	(void) svc_lifecycle_catch_up(call.noun, call.customer_id, call.id, instant_of(fcinfo, target));
	return svc_property_update(call.noun, "update", FIXED_IN_UPDATE, "",
							   call.customer_id, call.id, properties);
}

/* svc_<action>_<noun>(keys, ..., reason, revision) -> status */
static Datum
change_row(FunctionCallInfo fcinfo, const Target *target)
{
	SvcActionCall call = {.fcinfo = fcinfo, .noun = target->noun, .action = target->action};
	int			last = PG_NARGS() - (target->timed ? 2 : 1);
	int			reason = last - 1;
	int			revision = last;

	read_keys(fcinfo, &call);
	if (!PG_ARGISNULL(reason))
	{
		call.note.name = "reason";
		call.note.new_value = TextDatumGetCString(PG_GETARG_DATUM(reason));
	}

	if (call.customer_id != 0)
		svc_gate_hold_customer(call.customer_id);
	else if (target->special != NULL && target->special->alone)
		svc_gate_take_customer(call.id);
	svc_lifecycle_before_lock(call.noun, call.action, NULL);
	svc_gate_lock_row(&call.row, call.noun, call.customer_id, call.id);
	if (!PG_ARGISNULL(revision))
		svc_gate_check_revision(&call.row, call.noun, call.id, PG_GETARG_INT64(revision));
	if (svc_lifecycle_catch_up(call.noun, call.customer_id, call.id, instant_of(fcinfo, target)))
		svc_gate_lock_row(&call.row, call.noun, call.customer_id, call.id);

	if (!leads_anywhere(&call))
	{
		if ((target->special != NULL && target->special->never_idle) || !is_idle(&call))
			svc_action_forbid(&call);
		return CStringGetTextDatum(call.row.status);
	}
	if (target->special != NULL)
	{
		read_columns(&call, target->special->columns);
		if (target->special->prepare != NULL)
			target->special->prepare(&call);
	}
	choose_status(&call);
	return call.done ? CStringGetTextDatum(call.to) : write_row(&call);
}

/* What the call works for: the present, unless it says otherwise. */
static SvcInstant
instant_of(FunctionCallInfo fcinfo, const Target *target)
{
	SvcInstant	present = {.at = svc_clock_now()};

	return target->timed ? svc_argument_instant(fcinfo, PG_NARGS() - 1) : present;
}

static Jsonb *
properties_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("properties must not be null"),
				 errdetail("Null would leave open what is meant."),
				 errhint("Pass a JSON object, '{}' for none.")));
	return PG_GETARG_JSONB_P(n);
}

static void
read_keys(FunctionCallInfo fcinfo, SvcActionCall *call)
{
	const SvcNounInfo *info = svc_noun_info(call->noun);

	if (info->key == SVC_KEY_OF_CUSTOMER)
		call->customer_id = svc_argument_id(fcinfo, call->first_argument++, "customer id");
	call->id = svc_argument_id(fcinfo, call->first_argument++, psprintf("%s id", info->name));
}

/* The arguments that are columns, as the type that the function declares. */
static void
read_columns(SvcActionCall *call, const char *columns)
{
	FunctionCallInfo fcinfo = call->fcinfo;
	int			n = call->first_argument;
	Oid		   *argtypes;
	int			nargs;

	if (columns == NULL)
		return;
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &argtypes, &nargs);
	for (const char *at = columns; *at != '\0'; n++)
	{
		size_t		len = strcspn(at, " ");

		if (!PG_ARGISNULL(n))
			svc_action_set(call, pnstrdup(at, len), argtypes[n], PG_GETARG_DATUM(n));
		at += len;
		at += strspn(at, " ");
	}
}

/* Is there a line of the action that can be taken from here? */
static bool
leads_anywhere(SvcActionCall *call)
{
	int			from = svc_status_find(call->noun, call->row.status);

	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);

		if (t->noun == call->noun && strcmp(t->action, call->action) == 0 &&
			svc_transition_leaves(t, from))
			return true;
	}
	return false;
}

/* Is the row where the action leads to? */
static bool
is_idle(SvcActionCall *call)
{
	int			from = svc_status_find(call->noun, call->row.status);

	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);

		if (t->noun == call->noun && strcmp(t->action, call->action) == 0 && t->to == from)
			return true;
	}
	return false;
}

/* Where to: as "prepare" has decided, else where the first line leads. */
static void
choose_status(SvcActionCall *call)
{
	int			from = svc_status_find(call->noun, call->row.status);

	if (call->to != NULL)
	{
		if (svc_transition_match(call->noun, call->action, from,
								 svc_status_find(call->noun, call->to)) == NULL)
			svc_action_forbid(call);
		return;
	}
	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);

		if (t->noun == call->noun && strcmp(t->action, call->action) == 0 &&
			svc_transition_leaves(t, from))
		{
			call->to = t->to == SVC_STATUS_NONE ? call->row.status :
				svc_status_name(call->noun, t->to);
			return;
		}
	}
}

/* Write status and columns; returns the status, which a rule may have set. */
static Datum
write_row(SvcActionCall *call)
{
	const SvcNounInfo *info = svc_noun_info(call->noun);
	SvcDeed		deed = {.noun = call->noun, .action = call->action, .note = call->note};
	Oid			argtypes[SVC_ACTION_COLUMNS_MAX + 3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[SVC_ACTION_COLUMNS_MAX + 3] = {CStringGetTextDatum(call->to), call->id,
	call->customer_id};
	bool		isnull[SVC_ACTION_COLUMNS_MAX + 3] = {false};
	bool		owned = info->key == SVC_KEY_OF_CUSTOMER;
	StringInfoData sql;

	isnull[2] = !owned;
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE @extschema@.%s SET status = $1", info->table);
	for (int i = 0; i < call->assignment_count; i++)
	{
		const SvcAssignment *assignment = &call->assignments[i];

		if (assignment->keep)
			appendStringInfo(&sql, ", %1$s = coalesce(%1$s, $%2$d)", assignment->column, i + 4);
		else
			appendStringInfo(&sql, ", %s = $%d", assignment->column, i + 4);
		argtypes[i + 3] = assignment->type;
		values[i + 3] = assignment->value;
	}
	appendStringInfo(&sql, " WHERE id = $2 AND %s RETURNING status",
					 owned ? "customer_id = $3" : "$3::text IS NULL");

	if (svc_lifecycle_write_once(&deed, sql.data, call->assignment_count + 3,
								 argtypes, values, isnull) == 0)
		svc_gate_report_suppressed(call->noun, call->id);
	return svc_statement_value(0, 1, &isnull[0]);
}

static SvcNoun
noun_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name = TextDatumGetCString(svc_argument_id(fcinfo, n, "noun"));
	SvcNoun		noun;

	if (!svc_noun_find(name, &noun))
		report_unknown_noun(name);
	return noun;
}

/* Identifiers in Mermaid have no hyphens. */
static void
append_mermaid_id(StringInfo diagram, const char *status)
{
	for (const char *c = status; *c != '\0'; c++)
		appendStringInfoChar(diagram, *c == '-' ? '_' : *c);
}

/* Refuse an action that the table does not allow. */
void
svc_action_forbid(SvcActionCall *call)
{
	const SvcNounInfo *info = svc_noun_info(call->noun);
	char	   *next = svc_lifecycle_next_statuses(call->noun,
												   svc_status_find(call->noun, call->row.status));

	ereport(ERROR,
			(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
			 errmsg("cannot %s %s with status \"%s\"", call->action, info->name, call->row.status),
			 errdetail("%s \"%s\" has this status.", info->title, TextDatumGetCString(call->id)),
			 next == NULL ? errhint("Status \"%s\" is final.", call->row.status) :
			 errhint("Allowed next statuses are %s.", next)));
}

/* Somebody has declared svc_action under a name of his own. */
static void
report_unknown_function(const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_UNKNOWN_NOUN),
			 errmsg("function \"%s\" is no action of svc", function),
			 errdetail("The C function svc_action() goes by the name svc_<action>_<noun>."),
			 errhint("See svc_transitions() for nouns and actions.")));
}

static void
report_unknown_noun(const char *name)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < SVC_NOUN_COUNT; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", svc_noun_info((SvcNoun) i)->name);
	ereport(ERROR,
			(errcode(ERRCODE_SVC_UNKNOWN_NOUN),
			 errmsg("unknown noun \"%s\"", name),
			 errdetail("Nouns are kinds of rows with a lifecycle."),
			 errhint("The nouns are %s.", names.data)));
}
