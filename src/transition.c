/*-------------------------------------------------------------------------
 *
 * transition.c
 *	  The lifecycles of all nouns: which action leads from which status to
 *	  which, and the events that this makes.
 *
 * The table below is the lifecycle; nothing else in svc knows a status that
 * is not here.  It is total: a pair of statuses that no line allows is
 * refused.  It reads like the design's transitions.csv (a copy is in
 * test/data) and is compared with it by test/sql/lifecycle_table.sql.
 *
 * A *line* is one row of the table as written, with a set of statuses to
 * come from.  Lines are compiled once per backend: statuses become small
 * numbers in the order in which the table first names them, sets of statuses
 * become bit masks.
 *
 * Pure: no catalog, no SPI, no allocation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "transition.h"

#define SAME	"="				/* the status stays as it is */

/* As written: "from" and "events" are lists, an empty "from" is creation. */
typedef struct Line
{
	SvcNoun		noun;
	const char *action;
	const char *from;			/* statuses joined by | */
	const char *to;				/* a status, or SAME */
	const char *events;			/* events joined by + */
	const char *guard;			/* remark for people, or NULL */
} Line;

static const Line lines[] = {
	{SVC_CUSTOMER, "create", "", "prospect", "created", "default; status=>'active' allowed"},
	{SVC_CUSTOMER, "create", "", "active", "created", "when created as active"},
	{SVC_CUSTOMER, "update", "prospect|active|at-risk|suspended|reactivated|churned", "=", "updated", "only if a column really changed"},
	{SVC_CUSTOMER, "update", "active|reactivated", "at-risk", "updated", "risk_level high/critical or explicit status"},
	{SVC_CUSTOMER, "update", "at-risk", "active", "updated", "risk cleared"},
	{SVC_CUSTOMER, "activate", "prospect|reactivated", "active", "activated", NULL},
	{SVC_CUSTOMER, "suspend", "active|at-risk|reactivated", "suspended", "suspended", "status added by svc"},
	{SVC_CUSTOMER, "reactivate", "suspended", "active", "reactivated", NULL},
	{SVC_CUSTOMER, "reactivate", "churned", "reactivated", "reactivated", "win-back"},
	{SVC_CUSTOMER, "churn", "active|at-risk|suspended|reactivated", "churned", "churned", NULL},
	{SVC_CUSTOMER, "merge", "prospect|active|at-risk|suspended|reactivated|churned", "merged", "merged",
	"status added; on the losing row; survivor gets updated"},
	{SVC_CUSTOMER, "delete", "prospect|active|at-risk|suspended|reactivated|churned|merged", "deleted", "deleted",
	"status added; tombstone without personal data"},

	{SVC_ENTITLEMENT, "grant", "", "active", "granted", "new row; rows of one code stack"},
	{SVC_ENTITLEMENT, "update", "active|exhausted|suspended|expired", "=", "updated", NULL},
	{SVC_ENTITLEMENT, "update", "exhausted", "active", "updated", "limit raised or unlimited"},
	{SVC_ENTITLEMENT, "update", "active", "exhausted", "updated+exhausted", "limit lowered to <= used"},
	{SVC_ENTITLEMENT, "update", "expired", "active", "updated", "valid_until moved ahead"},
	{SVC_ENTITLEMENT, "update", "expired", "exhausted", "updated+exhausted", "the same when nothing is left"},
	{SVC_ENTITLEMENT, "consume", "active", "=", "consumed", "used+n < limit or unlimited"},
	{SVC_ENTITLEMENT, "consume", "active", "exhausted", "consumed+exhausted", "used+n = limit (or beyond with overage)"},
	{SVC_ENTITLEMENT, "consume", "exhausted", "=", "consumed", "overage plans only; else refused with no event"},
	{SVC_ENTITLEMENT, "consume", "exhausted", "active", "consumed", "negative n (release/refund)"},
	{SVC_ENTITLEMENT, "reset", "active|suspended", "=", "reset", NULL},
	{SVC_ENTITLEMENT, "reset", "exhausted", "active", "reset", NULL},
	{SVC_ENTITLEMENT, "reset", "exhausted", "=", "reset", "overage that was carried has used up the new period"},
	{SVC_ENTITLEMENT, "alert", "active|exhausted|suspended", "=", "thresholdReached",
	"with another action; when usage reaches one of alert_percents; once per period"},
	{SVC_ENTITLEMENT, "suspend", "active|exhausted", "suspended", "suspended", NULL},
	{SVC_ENTITLEMENT, "resume", "suspended", "active", "resumed", "exhausted instead if used >= limit"},
	{SVC_ENTITLEMENT, "resume", "suspended", "exhausted", "resumed", NULL},
	{SVC_ENTITLEMENT, "expire", "active|exhausted|suspended", "expired", "expired", "now() >= valid_until; lazy on consume/check and by sweep"},
	{SVC_ENTITLEMENT, "revoke", "active|exhausted|suspended|expired", "revoked", "revoked", "terminal; grant again makes a new row"},

	{SVC_CUSTOMER_USAGE, "record", "", "partial", "recorded", NULL},
	{SVC_CUSTOMER_USAGE, "record", "partial", "=", "recorded", "hot: coalesced like consumed"},
	{SVC_CUSTOMER_USAGE, "record", "complete", "partial", "recorded", "late data"},
	{SVC_CUSTOMER_USAGE, "aggregate", "partial", "=", "aggregated", "period still open"},
	{SVC_CUSTOMER_USAGE, "aggregate", "partial", "complete", "aggregated", "period_end passed"},
	{SVC_CUSTOMER_USAGE, "aggregate", "complete", "=", "aggregated", "re-run"},
	{SVC_CUSTOMER_USAGE, "finalize", "complete", "finalized", "finalized", "terminal and immutable; later data goes to the next period"},

	{SVC_CUSTOMER_SEGMENT, "create", "", "active", "created", NULL},
	{SVC_CUSTOMER_SEGMENT, "update", "active|inactive", "=", "updated", NULL},
	{SVC_CUSTOMER_SEGMENT, "update", "active", "inactive", "updated", "no activate/deactivate action upstream"},
	{SVC_CUSTOMER_SEGMENT, "update", "inactive", "active", "updated", NULL},
	{SVC_CUSTOMER_SEGMENT, "sync", "active", "=", "synced", "carries added/removed counts"},
	{SVC_CUSTOMER_SEGMENT, "addCustomer", "active|inactive", "=", "customerAdded", "bulk (>100) collapses into synced"},
	{SVC_CUSTOMER_SEGMENT, "removeCustomer", "active|inactive", "=", "customerRemoved", NULL},
	{SVC_CUSTOMER_SEGMENT, "archive", "active|inactive", "archived", "archived", "terminal"},

	{SVC_PLAN, "create", "", "active", "created", NULL},
	{SVC_PLAN, "create", "", "hidden", "created", "when created hidden"},
	{SVC_PLAN, "update", "active|hidden|legacy", "=", "updated", NULL},
	{SVC_PLAN, "update", "active|hidden", "legacy", "updated", "explicit: closed to new; old subscribers keep it"},
	{SVC_PLAN, "activate", "hidden|legacy", "active", "activated", NULL},
	{SVC_PLAN, "hide", "active|legacy", "hidden", "hidden", NULL},
	{SVC_PLAN, "updatePricing", "active|hidden", "=", "pricingUpdated", NULL},
	{SVC_PLAN, "discontinue", "active|hidden|legacy", "discontinued", "discontinued", "terminal"},

	{SVC_SUBSCRIPTION, "create", "", "trialing", "created", "trial_days > 0"},
	{SVC_SUBSCRIPTION, "create", "", "active", "created", NULL},
	{SVC_SUBSCRIPTION, "activate", "trialing", "active", "trialEnded+activated", "also run by the trial-end sweep"},
	{SVC_SUBSCRIPTION, "activate", "past_due", "active", "activated", "paid"},
	{SVC_SUBSCRIPTION, "pause", "trialing|active|past_due", "paused", "paused", NULL},
	{SVC_SUBSCRIPTION, "resume", "paused", "active", "resumed", NULL},
	{SVC_SUBSCRIPTION, "resume", "paused", "trialing", "resumed", "trial_end still ahead"},
	{SVC_SUBSCRIPTION, "upgrade", "trialing|active|past_due", "=", "upgraded", NULL},
	{SVC_SUBSCRIPTION, "downgrade", "trialing|active|past_due", "=", "downgraded", "effective now or at period end"},
	{SVC_SUBSCRIPTION, "cancel", "trialing|active|past_due|paused", "cancelled", "cancelled", "terminal; immediate or the period-end sweep"},
	{SVC_SUBSCRIPTION, "update", "trialing|active|past_due|paused", "=", "updated", "e.g. cancel_at_period_end set or cleared"},
	{SVC_SUBSCRIPTION, "renew", "active", "=", "renewed", "period moves on"},
	{SVC_SUBSCRIPTION, "renew", "past_due", "active", "renewed", NULL},
	{SVC_SUBSCRIPTION, "markPastDue", "active", "past_due", "pastDue", "from invoice overdue / failed payment"},
	{SVC_SUBSCRIPTION, "expire", "trialing", "expired", "trialEnded+expired", "trial over without payment"},
	{SVC_SUBSCRIPTION, "expire", "active|past_due|paused", "expired", "expired", "terminal; fixed term over or dunning gave up"},

	{SVC_ORDER, "create", "", "pending", "created", NULL},
	{SVC_ORDER, "confirm", "pending", "confirmed", "confirmed", NULL},
	{SVC_ORDER, "process", "confirmed", "processing", "processing", NULL},
	{SVC_ORDER, "start", "confirmed|processing", "in-progress", "started", NULL},
	{SVC_ORDER, "review", "in-progress", "review", "reviewing", NULL},
	{SVC_ORDER, "start", "review", "in-progress", "started", "rework"},
	{SVC_ORDER, "complete", "in-progress|review", "completed", "completed", NULL},
	{SVC_ORDER, "deliver", "completed", "delivered", "delivered", NULL},
	{SVC_ORDER, "cancel", "pending|confirmed|processing|in-progress|review", "cancelled", "cancelled", NULL},
	{SVC_ORDER, "refund", "completed|delivered|cancelled", "refunded", "refunded", "terminal; payment_status follows"},
	{SVC_ORDER, "update", "pending|confirmed|processing|in-progress|review|completed|delivered|cancelled", "=", "updated",
	"only if a column really changed"},

	{SVC_INVOICE, "create", "", "draft", "created", NULL},
	{SVC_INVOICE, "finalize", "draft", "open", "finalized", "number given; lines frozen"},
	{SVC_INVOICE, "send", "open", "sent", "sent", NULL},
	{SVC_INVOICE, "send", "sent|partial|overdue", "=", "sent", "reminder"},
	{SVC_INVOICE, "pay", "open|sent|partial|overdue|uncollectible", "paid", "paid", "amount_due reaches 0"},
	{SVC_INVOICE, "pay", "open|sent", "partial", "partiallyPaid", NULL},
	{SVC_INVOICE, "pay", "partial|overdue", "=", "partiallyPaid", "overdue stays overdue"},
	{SVC_INVOICE, "markOverdue", "open|sent|partial", "overdue", "overdue", "due_date passed"},
	{SVC_INVOICE, "void", "draft|open|sent|overdue|uncollectible", "void", "voided", "terminal; not with money on it"},
	{SVC_INVOICE, "markUncollectible", "open|sent|partial|overdue", "uncollectible", "markedUncollectible", NULL},
	{SVC_INVOICE, "refund", "paid|partial", "=", "refunded", "no refunded status upstream; amount_refunded"},
	{SVC_INVOICE, "update", "draft|open|sent|paid|partial|overdue|uncollectible", "=", "updated",
	"lines and amounts of a draft only"},

	{SVC_SUPPORT_TICKET, "create", "", "new", "created", NULL},
	{SVC_SUPPORT_TICKET, "assign", "new", "open", "assigned", NULL},
	{SVC_SUPPORT_TICKET, "assign", "open|pending|on-hold|escalated", "=", "assigned", NULL},
	{SVC_SUPPORT_TICKET, "respond", "new|open|pending|on-hold", "open", "responded", "by customer"},
	{SVC_SUPPORT_TICKET, "respond", "new|open|on-hold", "pending", "responded", "by agent: waiting for customer"},
	{SVC_SUPPORT_TICKET, "respond", "open|pending", "on-hold", "responded", "by agent with hold=>true"},
	{SVC_SUPPORT_TICKET, "respond", "escalated|pending", "=", "responded", NULL},
	{SVC_SUPPORT_TICKET, "escalate", "new|open|pending|on-hold", "escalated", "escalated", NULL},
	{SVC_SUPPORT_TICKET, "solve", "new|open|pending|on-hold|escalated", "solved", "solved", NULL},
	{SVC_SUPPORT_TICKET, "close", "new|open|pending|on-hold|escalated|solved", "closed", "closed", NULL},
	{SVC_SUPPORT_TICKET, "reopen", "solved|closed", "open", "reopened", NULL},
	{SVC_SUPPORT_TICKET, "rate", "solved|closed", "=", "ratedByCustomer", "the event is upstream; the action is not"},
	{SVC_SUPPORT_TICKET, "update", "new|open|pending|on-hold|escalated|solved|closed", "=", "updated",
	"only if a column really changed"},

	{SVC_USAGE, "record", "", "recorded", "recorded", "raw record; quiet"},
	{SVC_USAGE, "aggregate", "recorded", "aggregated", "aggregated", "folded and its period complete; in bulk"},
	{SVC_USAGE, "bill", "aggregated", "billed", "billed", "invoice_id set"},
	{SVC_USAGE, "dispute", "recorded|aggregated|billed", "disputed", "disputed", NULL},
	{SVC_USAGE, "adjust", "recorded|aggregated", "=", "adjusted", "a linked correcting row"},
	{SVC_USAGE, "adjust", "disputed", "aggregated", "adjusted", "dispute settled"},
};

/* Compiled lines, in the order of the table, and each noun's statuses. */
static SvcTransition transitions[lengthof(lines)];
static const char *status_names[SVC_NOUN_COUNT][SVC_STATUS_MAX];
static char name_space[8192];	/* where the names split off lists live */
static size_t name_space_used = 0;
static bool compiled = false;

static void compile_table(void);
static void compile_line(const Line *line, SvcTransition *transition);
static int	add_status(SvcNoun noun, const char *name, size_t len);
static const char *keep_name(const char *name, size_t len);
static const char *keep_snake_case(const char *name);
static const char *next_item(const char **list, char separator, size_t *len);

int
svc_transition_count(void)
{
	return lengthof(lines);
}

/* The nth line of the table, from 0. */
const SvcTransition *
svc_transition_get(int n)
{
	Assert(n >= 0 && n < lengthof(lines));
	compile_table();
	return &transitions[n];
}

/* Does it only happen with other actions?  Then nobody can ask for it. */
bool
svc_transition_is_beside(const SvcTransition *transition)
{
	return strcmp(transition->action, "alert") == 0;
}

/* The number of a noun's status, or SVC_STATUS_NONE when it has none of that name. */
int
svc_status_find(SvcNoun noun, const char *name)
{
	compile_table();
	for (int i = 0; i < SVC_STATUS_MAX && status_names[noun][i] != NULL; i++)
	{
		if (strcmp(status_names[noun][i], name) == 0)
			return i;
	}
	return SVC_STATUS_NONE;
}

/* The name of a noun's status, or NULL past the last one. */
const char *
svc_status_name(SvcNoun noun, int status)
{
	compile_table();
	if (status < 0 || status >= SVC_STATUS_MAX)
		return NULL;
	return status_names[noun][status];
}

/*
 * The line that allows a change, or NULL when it is forbidden.
 *
 * "from" is SVC_STATUS_NONE for a new row.  "action" is NULL when the caller
 * wrote plain SQL: then the first line that explains a change of status is
 * taken, and when the status stays only the action "update" explains it.
 */
const SvcTransition *
svc_transition_match(SvcNoun noun, const char *action, int from, int to)
{
	compile_table();

	if (to == SVC_STATUS_NONE)
		return NULL;
	if (action == NULL && from == to)
		action = "update";

	for (int i = 0; i < lengthof(lines); i++)
	{
		const SvcTransition *t = &transitions[i];

		if (t->noun == noun &&
			svc_transition_leaves(t, from) &&
			(t->to == to || (t->to == SVC_STATUS_NONE && from == to)) &&
			(action == NULL || strcmp(t->action, action) == 0))
			return t;
	}
	return NULL;
}

/* Can this line be taken from a status (SVC_STATUS_NONE: from nothing)? */
bool
svc_transition_leaves(const SvcTransition *transition, int from)
{
	if (from == SVC_STATUS_NONE)
		return transition->creates;
	return (transition->from_mask & (((uint32) 1) << from)) != 0;
}

/* The action that makes a row of a noun: "create" for most. */
const char *
svc_transition_creator(SvcNoun noun)
{
	compile_table();
	for (int i = 0; i < lengthof(lines); i++)
	{
		if (transitions[i].noun == noun && transitions[i].creates)
			return transitions[i].action;
	}
	pg_unreachable();
}

/* Does the noun have this action at all? */
bool
svc_action_exists(SvcNoun noun, const char *action)
{
	compile_table();
	for (int i = 0; i < lengthof(lines); i++)
	{
		if (transitions[i].noun == noun && strcmp(transitions[i].action, action) == 0)
			return true;
	}
	return false;
}

static void
compile_table(void)
{
	if (compiled)
		return;
	name_space_used = 0;
	memset(status_names, 0, sizeof(status_names));
	for (int i = 0; i < lengthof(lines); i++)
		compile_line(&lines[i], &transitions[i]);
	compiled = true;
}

static void
compile_line(const Line *line, SvcTransition *transition)
{
	const char *rest;
	const char *item;
	size_t		len;

	memset(transition, 0, sizeof(*transition));
	transition->noun = line->noun;
	transition->action = line->action;
	transition->guard = line->guard;
	transition->creates = line->from[0] == '\0';

	rest = line->from;
	while ((item = next_item(&rest, '|', &len)) != NULL)
		transition->from_mask |= ((uint32) 1) << add_status(line->noun, item, len);

	if (strcmp(line->to, SAME) == 0)
		transition->to = SVC_STATUS_NONE;
	else
		transition->to = add_status(line->noun, line->to, strlen(line->to));

	rest = line->events;
	while ((item = next_item(&rest, '+', &len)) != NULL)
	{
		SvcEventName *event = &transition->events[transition->event_count++];

		Assert(transition->event_count <= SVC_TRANSITION_EVENTS_MAX);
		event->name = keep_name(item, len);
		event->type = keep_snake_case(event->name);
	}
}

static int
add_status(SvcNoun noun, const char *name, size_t len)
{
	int			i;

	for (i = 0; i < SVC_STATUS_MAX && status_names[noun][i] != NULL; i++)
	{
		if (strlen(status_names[noun][i]) == len &&
			memcmp(status_names[noun][i], name, len) == 0)
			return i;
	}
	Assert(i < SVC_STATUS_MAX);
	status_names[noun][i] = keep_name(name, len);
	return i;
}

/* Copy a name into name_space; it is sized for the table above. */
static const char *
keep_name(const char *name, size_t len)
{
	char	   *copy = name_space + name_space_used;

	Assert(name_space_used + len + 1 <= sizeof(name_space));
	memcpy(copy, name, len);
	copy[len] = '\0';
	name_space_used += len + 1;
	return copy;
}

/* customerAdded becomes customer_added: the spelling of event types. */
static const char *
keep_snake_case(const char *name)
{
	char		buf[64];
	size_t		len = 0;

	for (const char *c = name; *c != '\0'; c++)
	{
		Assert(len + 2 < sizeof(buf));
		if (*c >= 'A' && *c <= 'Z')
		{
			buf[len++] = '_';
			buf[len++] = *c - 'A' + 'a';
		}
		else
			buf[len++] = *c;
	}
	return keep_name(buf, len);
}

/* Step through a list; NULL at its end. */
static const char *
next_item(const char **list, char separator, size_t *len)
{
	const char *item = *list;
	const char *end = strchr(item, separator);

	if (*item == '\0')
		return NULL;
	*len = end ? (size_t) (end - item) : strlen(item);
	*list = end ? end + 1 : item + *len;
	return item;
}
