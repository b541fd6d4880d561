/*-------------------------------------------------------------------------
 *
 * ticket.c
 *	  Support tickets: their actions, and what these imply.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "action.h"
#include "argument.h"
#include "clock.h"
#include "lifecycle.h"
#include "ticket.h"

static SvcColumn status_column = {"status"};
static SvcColumn sla_target_column = {"sla_target", TIMESTAMPTZOID};
static SvcColumn sla_breached_column = {"sla_breached", BOOLOID};
static SvcColumn first_response_at_column = {"first_response_at", TIMESTAMPTZOID};
static SvcColumn resolved_at_column = {"resolved_at", TIMESTAMPTZOID};
static SvcColumn closed_at_column = {"closed_at", TIMESTAMPTZOID};

static void imply(SvcRowChange *change, const char *action);
static void judge_sla(SvcRowChange *change);
static void prepare_assign(SvcActionCall *call);
static void prepare_respond(SvcActionCall *call);
static void prepare_rate(SvcActionCall *call);

static const SvcAction actions[] = {
	{"svc_assign_ticket", SVC_SUPPORT_TICKET, "assign", "assigned_to assigned_team", prepare_assign},
	{"svc_respond_ticket", SVC_SUPPORT_TICKET, "respond", NULL, prepare_respond},
	{"svc_solve_ticket", SVC_SUPPORT_TICKET, "solve", "resolution resolution_code"},
	{"svc_rate_ticket", SVC_SUPPORT_TICKET, "rate", "satisfaction_score satisfaction_comment", prepare_rate},
};

void
svc_ticket_init(void)
{
	static const SvcLifecycleRules rules = {.imply = imply};

	svc_lifecycle_set_rules(SVC_SUPPORT_TICKET, &rules);
	svc_action_register(actions, lengthof(actions));
}

/* The instants follow the status; a ticket that is reopened is not resolved. */
static void
imply(SvcRowChange *change, const char *action)
{
	if (strcmp(action, "respond") == 0)
	{
		/* only an agent's response leads there */
		if (svc_row_new_is(change, &status_column, "pending") ||
			svc_row_new_is(change, &status_column, "on-hold"))
			svc_row_default_now(change, &first_response_at_column);
	}
	else if (strcmp(action, "solve") == 0)
	{
		svc_row_imply_now(change, &resolved_at_column);
		judge_sla(change);
	}
	else if (strcmp(action, "close") == 0)
	{
		svc_row_imply_now(change, &closed_at_column);
		judge_sla(change);
	}
	else if (strcmp(action, "reopen") == 0)
	{
		svc_row_set(change, &resolved_at_column, (Datum) 0, true);
		svc_row_set(change, &closed_at_column, (Datum) 0, true);
	}
}

/* The deadline is missed when the ticket is resolved after it. */
static void
judge_sla(SvcRowChange *change)
{
	bool		no_target;
	bool		not_resolved;
	Datum		target = svc_row_new(change, &sla_target_column, &no_target);
	Datum		resolved_at = svc_row_new(change, &resolved_at_column, &not_resolved);
	TimestampTz end = not_resolved ? svc_clock_now() :
		DatumGetTimestampTz(resolved_at);

	if (!no_target)
		svc_row_set(change, &sla_breached_column,
					BoolGetDatum(end > DatumGetTimestampTz(target)), false);
}

/* svc_assign_ticket(): to an agent, a team, or both. */
static void
prepare_assign(SvcActionCall *call)
{
	FunctionCallInfo fcinfo = call->fcinfo;

	if (PG_ARGISNULL(call->first_argument) && PG_ARGISNULL(call->first_argument + 1))
		svc_action_refuse(call, "nobody is named", "Pass assigned_to, assigned_team, or both.");
}

/* svc_rate_ticket(): a rating is a score; a comment may come with it. */
static void
prepare_rate(SvcActionCall *call)
{
	(void) svc_argument_amount(call->fcinfo, call->first_argument, "score");
}

/*
 * svc_respond_ticket(customer_id, ticket_id, by, hold, reason, revision)
 *
 * By the customer: the ticket is open.  By an agent: it is pending, waiting
 * for the customer, or with hold => true on-hold, waiting for somebody else.
 * An escalated ticket stays escalated.
 */
static void
prepare_respond(SvcActionCall *call)
{
	FunctionCallInfo fcinfo = call->fcinfo;
	int			n = call->first_argument;
	char	   *by = TextDatumGetCString(svc_argument_id(fcinfo, n, "by"));
	bool		hold = svc_argument_bool(fcinfo, n + 1, "hold");

	if (strcmp(by, "customer") != 0 && strcmp(by, "agent") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown respondent \"%s\"", by),
				 errhint("A ticket is responded to by \"customer\" or by \"agent\".")));
	if (hold && strcmp(by, "agent") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only an agent can put a ticket on hold"),
				 errhint("Pass by => 'agent', or leave out \"hold\".")));

	if (strcmp(call->row.status, "escalated") == 0)
	{
		call->to = call->row.status;
		if (strcmp(by, "agent") == 0)
			svc_action_set_now_once(call, "first_response_at");
	}
	else
		call->to = strcmp(by, "customer") == 0 ? "open" : hold ? "on-hold" : "pending";
	if (call->note.name == NULL)
	{
		call->note.name = "responded_by";
		call->note.new_value = by;
	}
}
