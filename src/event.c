/*-------------------------------------------------------------------------
 *
 * event.c
 *	  The event log and its doorbell.
 *
 * The *event log* is the table svc_event: one row for each status change
 * that is committed, and for what else the lifecycle calls an event.  It is
 * the truth.  The *doorbell* is a NOTIFY on channel "svc" with ids and
 * statuses only: any role can LISTEN, so it carries no personal data, and
 * who missed it finds the event in the log (doorbell.c).
 *
 * Both belong to the transaction: rolled back, also to a savepoint, neither
 * has happened.
 *
 * A row is written while the lock on its entity's row is held, so that an
 * entity's revisions are in the order of its commits.  Its id is drawn under
 * the same lock, but earlier, when the entity's row gets the revision, so that
 * an entity's ids are in the order of its revisions.  Over all entities, ids do
 * not follow the order of commits: they are for paging only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "catalog.h"
#include "doorbell.h"
#include "event.h"
#include "insert.h"
#include "snapshot.h"
#include "statement.h"

/* Columns of svc_event as svc_install() makes them. */
#define EVENT_COLUMNS	16
#define EVENT_TYPES \
	INT8OID, XID8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, \
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID

static const Oid event_types[EVENT_COLUMNS] = {EVENT_TYPES};
static const SvcCheck event_checks[] = {{"svc_event_revision_check", "(revision >= 1)"}};
static SvcPlainTable plain_log = {EVENT_COLUMNS, event_types, {lengthof(event_checks), event_checks}};

bool		svc_notify = true;
bool		svc_consumed_events = false;
char	   *svc_actor = NULL;
char	   *svc_request_id = NULL;

static void fill_row(int64 id, const SvcEvent *event, const char *type, TimestampTz at,
					 Datum *values, bool *isnull);
static void insert_by_statement(FunctionCallInfo fcinfo, Datum *values, const bool *isnull);
static void ring(const SvcEvent *event, const char *type, int64 id, TimestampTz at);
static void append_member(StringInfo json, const char *key, const char *value);
static Datum text_or_null(const char *value, bool *isnull);

/*
 * Draw the id of an event, for the trigger that runs.
 *
 * Not before the transaction has an id of its own: who polls concludes that
 * transactions which get theirs later draw greater ids (consumer.c).
 */
int64
svc_event_draw_id(FunctionCallInfo fcinfo)
{
	(void) GetTopFullTransactionId();
	svc_catalog_use(fcinfo);
	return nextval_internal(svc_catalog_table("svc_event_id_seq"), false);
}

/*
 * Append an event to the log, with an id that was drawn for it, and ring the
 * doorbell.
 *
 * "fcinfo" is of the trigger that runs, under the lock of the entity's row.
 */
void
svc_event_append(FunctionCallInfo fcinfo, int64 id, const SvcEvent *event)
{
	TimestampTz at = GetCurrentTimestamp();
	char	   *type = psprintf("svc.%s.%s", svc_noun_info(event->noun)->name,
								event->name->type);
	Datum		values[EVENT_COLUMNS];
	bool		isnull[EVENT_COLUMNS] = {false};
	Relation	log;

	svc_catalog_use(fcinfo);
	fill_row(id, event, type, at, values, isnull);

	log = svc_catalog_open("svc_event", RowExclusiveLock);
	if (!svc_insert_row(log, &plain_log, values, isnull))
		insert_by_statement(fcinfo, values, isnull);
	table_close(log, NoLock);

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

/* The row, in the order of the table's columns. */
static void
fill_row(int64 id, const SvcEvent *event, const char *type, TimestampTz at,
		 Datum *values, bool *isnull)
{
	values[0] = Int64GetDatum(id);
	values[1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[2] = svc_cluster();
	values[3] = Int64GetDatum(event->revision);
	values[4] = TimestampTzGetDatum(at);
	values[5] = CStringGetTextDatum(event->customer_id);
	values[6] = CStringGetTextDatum(svc_noun_info(event->noun)->name);
	values[7] = CStringGetTextDatum(event->entity_id);
	values[8] = CStringGetTextDatum(event->name->name);
	values[9] = CStringGetTextDatum(type);
	values[10] = CStringGetTextDatum(event->action);
	values[11] = text_or_null(event->from_status, &isnull[11]);
	values[12] = CStringGetTextDatum(event->to_status);
	values[13] = CStringGetTextDatum(svc_event_actor());
	values[14] = svc_event_request_id(&isnull[14]);
	values[15] = event->changes;
	isnull[15] = !event->has_changes;
}

/* The slow path: as everybody would, for a table that users have changed. */
static void
insert_by_statement(FunctionCallInfo fcinfo, Datum *values, const bool *isnull)
{
	static SvcStatement insert = {
		"INSERT INTO @extschema@.svc_event"
		" (id, xid, cluster, revision, occurred_at, customer_id, noun, entity_id,"
		"  event, type, action, from_status, to_status, actor, request_id, changes)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
		EVENT_COLUMNS, {EVENT_TYPES}
	};
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	if (svc_statement_run(&insert, values, isnull) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("an event was not written"),
				 errdetail("A trigger, rule or policy on table \"svc_event\" has suppressed it."),
				 errhint("Such triggers must let svc's own rows pass.")));
	svc_call_end(&call);
}

/* Ids and statuses only; README documents the members. */
static void
ring(const SvcEvent *event, const char *type, int64 id, TimestampTz at)
{
	StringInfoData json;
	char		instant[MAXDATELEN + 1];
	int			utc = 0;

	if (!svc_doorbell_wants_payload())
	{
		svc_doorbell_ring(event->noun, id, NULL);
		return;
	}
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

	svc_doorbell_ring(event->noun, id, json.data);
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
