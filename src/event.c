/*-------------------------------------------------------------------------
 *
 * event.c
 *	  The event log and its doorbell.
 *
 * The *event log* is the table svc_event: one row for each status change
 * that is committed, and for what else the lifecycle calls an event.  It is
 * the truth.  The *doorbell* is a NOTIFY on channel "svc" with ids and
 * statuses only: any role can LISTEN, so it carries no personal data, and
 * who missed it finds the event in the log.
 *
 * Both belong to the transaction: rolled back, also to a savepoint, neither
 * has happened.
 *
 * A row is written while the lock on its entity's row is held, so that an
 * entity's revisions are in the order of its commits.  The id is drawn then
 * too, but is for paging only: over all entities, ids do not follow the order
 * of commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "event.h"
#include "statement.h"

#define CHANNEL "svc"

bool		svc_notify = true;
bool		svc_consumed_events = false;
char	   *svc_actor = NULL;
char	   *svc_request_id = NULL;

static int64 insert_event(const SvcEvent *event, const char *type, TimestampTz at);
static void ring(const SvcEvent *event, const char *type, int64 id, TimestampTz at);
static void append_member(StringInfo json, const char *key, const char *value);
static Datum text_or_null(const char *value, bool *isnull);

/*
 * Append an event to the log and ring the doorbell.
 *
 * Runs inside a call, under the lock of the entity's row.
 */
void
svc_event_append(const SvcEvent *event)
{
	TimestampTz at = GetCurrentTimestamp();
	char	   *type = psprintf("svc.%s.%s", svc_noun_info(event->noun)->name,
								event->name->type);
	int64		id = insert_event(event, type, at);

	if (svc_notify)
		ring(event, type, id, at);
}

/*
 * Who did it: what the application says in svc.actor, else the role that the
 * session acts as (not the owner that a call of ours runs as).
 */
const char *
svc_event_actor(void)
{
	if (svc_actor != NULL && svc_actor[0] != '\0')
		return svc_actor;
	return GetUserNameFromId(GetOuterUserId(), false);
}

/* The application's own name for what it is doing, from svc.request_id. */
Datum
svc_event_request_id(bool *isnull)
{
	return text_or_null(svc_request_id, isnull);
}

/* Write the row and return its id. */
static int64
insert_event(const SvcEvent *event, const char *type, TimestampTz at)
{
	static SvcStatement insert = {
		"INSERT INTO @extschema@.svc_event"
		" (id, xid, cluster, occurred_at, noun, event, type, action,"
		"  customer_id, entity_id, revision, from_status, to_status,"
		"  actor, request_id, changes)"
		" VALUES (nextval('@extschema@.svc_event_id_seq'::regclass),"
		"  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
		" RETURNING id",
		15, {XID8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
			TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID,
		TEXTOID, TEXTOID, JSONBOID}
	};
	Datum		values[15];
	bool		isnull[15] = {false};

	values[0] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[1] = Int64GetDatum((int64) GetSystemIdentifier());
	values[2] = TimestampTzGetDatum(at);
	values[3] = CStringGetTextDatum(svc_noun_info(event->noun)->name);
	values[4] = CStringGetTextDatum(event->name->name);
	values[5] = CStringGetTextDatum(type);
	values[6] = CStringGetTextDatum(event->action);
	values[7] = CStringGetTextDatum(event->customer_id);
	values[8] = CStringGetTextDatum(event->entity_id);
	values[9] = Int64GetDatum(event->revision);
	values[10] = text_or_null(event->from_status, &isnull[10]);
	values[11] = CStringGetTextDatum(event->to_status);
	values[12] = CStringGetTextDatum(svc_event_actor());
	values[13] = svc_event_request_id(&isnull[13]);
	values[14] = event->changes;
	isnull[14] = !event->has_changes;

	svc_statement_run(&insert, values, isnull);
	return DatumGetInt64(svc_statement_value(0, 1, &isnull[0]));
}

/* Ids and statuses only; README documents the members. */
static void
ring(const SvcEvent *event, const char *type, int64 id, TimestampTz at)
{
	StringInfoData json;
	char		instant[MAXDATELEN + 1];
	int			utc = 0;

	JsonEncodeDateTime(instant, TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc);

	initStringInfo(&json);
	appendStringInfo(&json, "{\"id\":" INT64_FORMAT, id);
	append_member(&json, "type", type);
	append_member(&json, "customer", event->customer_id);
	append_member(&json, "subject", event->entity_id);
	appendStringInfo(&json, ",\"revision\":" INT64_FORMAT, event->revision);
	append_member(&json, "from", event->from_status);
	append_member(&json, "to", event->to_status);
	append_member(&json, "at", instant);
	appendStringInfoChar(&json, '}');

	Async_Notify(CHANNEL, json.data);
}

static void
append_member(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, ",\"%s\":", key);
	if (value == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, value);
}

/* Settings that are unset are NULL or empty. */
static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value == NULL || value[0] == '\0';
	return *isnull ? (Datum) 0 : CStringGetTextDatum(value);
}
