/*-------------------------------------------------------------------------
 *
 * consumer.c
 *	  Consumers of the event log, who miss nothing and see nothing out of order.
 *
 * Why not remember the last id?  Ids are drawn before the commit.  A consumer
 * that has seen id 7 and asks for what is greater misses id 6 of a transaction
 * that commits later.  Why not wait for the oldest running transaction?  That
 * holds everybody up, and ordering by transaction would break the order of one
 * entity's events.
 *
 * The rule here is the difference of two snapshots, as in PgQ: what is visible
 * now and was not visible at the last poll is new.  That is exact, because
 * visibility is what decides when an event exists.
 *
 *		done            |         window           |  not yet
 *		visible in      |  visible in              |  visible in
 *		"snapshot"      |  "window_snapshot" only  |  neither
 *
 * A *window* is read in pages, ascending by id; "position" is how far it is
 * acknowledged.  When nothing is left of it, it is closed: its snapshot becomes
 * the consumer's, and the next poll opens a new one.  An entity's events are in
 * the order of their revisions: within a window because an id is drawn together
 * with the revision, under the lock of the entity's row, and from window to
 * window because a later revision is not visible before an earlier one.
 *
 * The window's snapshot counts our own transaction as still running, which
 * pg_current_snapshot() does not: what it writes after the poll would otherwise
 * be taken for done.
 *
 * A transaction id means something in its own installation only, which each
 * event names as its *cluster*.  After a restore elsewhere, events of the old
 * cluster are judged by the snapshot that was stored there; those of the new
 * one are all new then; those of any other are done up to the "horizon", the
 * last id that had been drawn when the snapshot was taken.
 *
 * Where to look: not at five million events that are done.  All events up to
 * the "floor" are.  The last id that was drawn before a moment becomes the
 * floor as soon as all transactions that were running then have ended, and the
 * window that shows this is done: whoever began later has drawn a greater one.
 * Until then it is the "next_floor".
 *
 * Delivery is at least once: what is handed out and not acknowledged is handed
 * out again when the lease has ended.
 *
 * Locks: the consumer's row.  A poll skips it when somebody has it; an
 * acknowledgement waits.  A purge and whoever makes a consumer wait for each
 * other by a lock on the table, which they take first; polls do not notice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#include "argument.h"
#include "catalog.h"
#include "compat.h"
#include "consumer.h"
#include "error.h"
#include "gate.h"
#include "lifecycle.h"
#include "snapshot.h"
#include "statement.h"
#include "transition.h"

#define POLL_ROWS_MAX	10000
#define POLL_COLUMNS	15

/* a consumer that died must not keep its place for ever */
#define LEASE_MAX		"1 year"

/* The last id that any event has, or that was drawn: the horizon of this moment. */
#define LAST_ID \
	"greatest((SELECT last_value FROM @extschema@.svc_event_id_seq WHERE is_called)," \
	" (SELECT max(id) FROM @extschema@.svc_event), 0)"

/* A purge would not see, and so not heed, a consumer that is being made. */
#define LOCK_CONSUMERS \
	"LOCK TABLE @extschema@.svc_event_consumer IN SHARE UPDATE EXCLUSIVE MODE"

/* seconds; 0: keep what is not acknowledged */
int			svc_event_max_retention = 0;

static int32 page_argument(FunctionCallInfo fcinfo, int n);
static Datum lease_argument(FunctionCallInfo fcinfo, int n);
static int64 last_drawn_id(void);
static void check_types(Datum types);
static bool is_known_type(const char *type);
static bool begin_poll(Datum name, bool *has_window);
static void open_window(Datum name);
static void close_window(Datum name);
static void update_consumer(SvcStatement *statement, Datum *values);
static void close_empty_window(Datum name);
static void check_history(Datum name, bool all);
static uint64 read_window(Datum name, int32 max_rows);
static void hand_out(Datum name, Datum lease, int64 last_id);
static bool consumer_exists(Datum name);
pg_noreturn static void report_unknown_consumer(Datum name);
pg_noreturn static void report_behind(Datum name);
pg_noreturn static void report_bad_ack(Datum name, int64 upto, int64 position, int64 polled,
									   bool nothing_polled);

PG_FUNCTION_INFO_V1(svc_create_consumer);
PG_FUNCTION_INFO_V1(svc_poll_events);
PG_FUNCTION_INFO_V1(svc_ack_events);
PG_FUNCTION_INFO_V1(svc_drop_consumer);
PG_FUNCTION_INFO_V1(svc_purge_events);

/*
 * svc_create_consumer(name, from, types, customer_id) -> name
 *
 * From now: all that is visible is done, and what this transaction writes is
 * not.  From the beginning: nothing is done.
 */
Datum
svc_create_consumer(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_event_consumer"
		" (name, types, customer_id, cluster, snapshot, horizon, floor, next_floor, next_floor_xid)"
		" SELECT $1, $3, $4, CASE WHEN $2 THEN $5 END, CASE WHEN $2 THEN c.s END, CASE WHEN $2 THEN " LAST_ID " END,"
		/* nobody but we is running, and we have drawn nothing: then all that was drawn is done */
		"  CASE WHEN $2 AND $9 AND pg_snapshot_xmax(c.s) >= $7"
		"   AND NOT EXISTS (SELECT FROM pg_snapshot_xip(c.s) x WHERE x <> $7)"
		"   AND greatest(pg_snapshot_xmax(c.s)::text::numeric, $7::text::numeric + 1) >= $8::text::numeric"
		"   THEN $6 ELSE 0 END,"
		"  CASE WHEN $2 THEN $6 END, CASE WHEN $2 THEN $8 END"
		" FROM (" SVC_SNAPSHOT_WITH_SELF("$7") ") c"
		" ON CONFLICT (name) DO NOTHING",
		9, {TEXTOID, BOOLOID, TEXTARRAYOID, TEXTOID, INT8OID, INT8OID, XID8OID, XID8OID, BOOLOID}
	};
	Datum		values[9];
	bool		isnull[9] = {false};
	char	   *start;
	SvcCall		call;

	values[0] = svc_argument_id(fcinfo, 0, "consumer name");
	start = TextDatumGetCString(svc_argument_id(fcinfo, 1, "start"));
	if (strcmp(start, "now") != 0 && strcmp(start, "beginning") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown start \"%s\"", start),
				 errdetail("A consumer starts somewhere in the event log."),
				 errhint("The start is \"now\" or \"beginning\".")));
	values[1] = BoolGetDatum(strcmp(start, "now") == 0);
	isnull[2] = PG_ARGISNULL(2);
	if (!isnull[2])
	{
		values[2] = PG_GETARG_DATUM(2);
		check_types(values[2]);
	}
	values[3] = svc_argument_optional_id(fcinfo, 3, "customer id", &isnull[3]);
	values[4] = svc_cluster();

	PreventCommandIfReadOnly("svc_create_consumer()");
	PreventCommandDuringRecovery("svc_create_consumer()");
	svc_call_begin(&call, fcinfo);
	/* have we drawn nothing? (a row lock will give us a transaction id) */
	values[8] = BoolGetDatum(!TransactionIdIsValid(GetTopTransactionIdIfAny()));
	svc_statement_run_once(LOCK_CONSUMERS, 0, NULL, NULL, NULL);
	/* 40001 if events were purged that our snapshot does not see */
	svc_statement_run_once("SELECT FROM @extschema@.svc_meta FOR SHARE", 0, NULL, NULL, NULL);
	values[5] = Int64GetDatum(last_drawn_id());
	values[6] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[7] = FullTransactionIdGetDatum(ReadNextFullTransactionId());
	if (svc_statement_run(&statement, values, isnull) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("consumer \"%s\" exists", TextDatumGetCString(values[0])),
				 errdetail("A consumer's name is how it is told from others."),
				 errhint("Choose another name, or drop the consumer first.")));
	svc_call_end(&call);
	return values[0];
}

/*
 * svc_poll_events(name, max_rows, lease) -> events
 */
Datum
svc_poll_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		name = svc_argument_id(fcinfo, 0, "consumer name");
	int32		max_rows = page_argument(fcinfo, 1);
	Datum		lease = lease_argument(fcinfo, 2);
	bool		has_window;
	SvcCall		call;

	InitMaterializedSRF(fcinfo, 0);
	svc_call_begin(&call, fcinfo);
	check_history(name, false);
	if (begin_poll(name, &has_window))
	{
		uint64		rows = has_window ? read_window(name, max_rows) : 0;
		int64		last_id = 0;

		if (rows == 0)
		{
			/* nothing is left of it, or there was none */
			if (has_window)
				close_empty_window(name);
			open_window(name);
			rows = read_window(name, max_rows);
		}
		for (uint64 row = 0; row < rows; row++)
		{
			Datum		values[POLL_COLUMNS];
			bool		isnull[POLL_COLUMNS];

			for (int i = 0; i < POLL_COLUMNS; i++)
				values[i] = svc_statement_value(row, i + 1, &isnull[i]);
			last_id = DatumGetInt64(values[0]);
			tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
		}
		if (rows > 0)
			hand_out(name, lease, last_id);
		else
			close_empty_window(name);
	}
	svc_call_end(&call);
	return (Datum) 0;
}

/*
 * svc_ack_events(name, upto) -> upto
 *
 * Once more the same, whose answer was lost, is fine.  But when somebody else
 * has gone on to the next window meanwhile, it is refused: the next window may
 * have lower ids, which would be done with it.  So the event must be one of the
 * window; one that was purged since is not.
 */
Datum
svc_ack_events(PG_FUNCTION_ARGS)
{
	static SvcStatement find = {
		"SELECT position::bigint, polled_id::bigint, EXISTS (SELECT FROM @extschema@.svc_event e"
		"   WHERE e.id = $2 AND @extschema@.svc_event_is_pending(e.cluster, e.xid, e.id,"
		"     k.cluster, k.snapshot, k.horizon, NULL, NULL, NULL)"
		"    AND CASE WHEN e.cluster = k.window_cluster THEN pg_visible_in_snapshot(e.xid, k.window_snapshot)"
		"     ELSE e.id <= k.window_horizon END)"
		" FROM @extschema@.svc_event_consumer k WHERE name = $1 FOR UPDATE OF k",
		2, {TEXTOID, INT8OID}
	};
	static SvcStatement advance = {
		"UPDATE @extschema@.svc_event_consumer SET position = $2, updated_at = now(),"
		"  polled_id = CASE WHEN $2 < polled_id THEN polled_id END,"
		"  leased_until = CASE WHEN $2 < polled_id THEN leased_until END"
		" WHERE name = $1",
		2, {TEXTOID, INT8OID}
	};
	Datum		values[2] = {svc_argument_id(fcinfo, 0, "consumer name"), PG_GETARG_DATUM(1)};
	int64		upto;
	int64		position;
	int64		polled;
	bool		nothing_polled;
	bool		isnull;
	SvcCall		call;

	svc_argument_not_null(fcinfo, 1, "upto");
	upto = PG_GETARG_INT64(1);

	svc_call_begin(&call, fcinfo);
	if (svc_statement_run(&find, values, NULL) == 0)
		report_unknown_consumer(values[0]);
	position = DatumGetInt64(svc_statement_value(0, 1, &isnull));
	polled = DatumGetInt64(svc_statement_value(0, 2, &nothing_polled));

	if (upto != position)
	{
		bool		is_of_window = DatumGetBool(svc_statement_value(0, 3, &isnull));

		if (nothing_polled || upto < position || upto > polled)
			report_bad_ack(values[0], upto, position, polled, nothing_polled);
		if (!is_of_window)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("event " INT64_FORMAT " is not among those that were polled last", upto),
					 errdetail("It was acknowledged before, and consumer \"%s\" has been polled again since; or there is no such event.",
							   TextDatumGetCString(values[0])),
					 errhint("Acknowledge before the lease of the poll ends.")));
		update_consumer(&advance, values);
	}
	svc_call_end(&call);
	PG_RETURN_INT64(upto);
}

/*
 * svc_drop_consumer(name)
 */
Datum
svc_drop_consumer(PG_FUNCTION_ARGS)
{
	static SvcStatement statement = {
		"DELETE FROM @extschema@.svc_event_consumer WHERE name = $1",
		1, {TEXTOID}
	};
	Datum		name = svc_argument_id(fcinfo, 0, "consumer name");
	SvcCall		call;

	svc_call_begin(&call, fcinfo);
	if (svc_statement_run(&statement, &name, NULL) == 0)
		report_unknown_consumer(name);
	svc_call_end(&call);
	PG_RETURN_VOID();
}

/*
 * svc_purge_events(before) -> number of events deleted
 *
 * Locks all consumers, so that what is pending stays so until the end.
 */
Datum
svc_purge_events(PG_FUNCTION_ARGS)
{
	Oid			argtypes[2] = {TIMESTAMPTZOID, INT4OID};
	Datum		values[2] = {0, Int32GetDatum(svc_event_max_retention)};
	int64		purged;
	bool		isnull;
	SvcCall		call;

	svc_argument_not_null(fcinfo, 0, "before");
	values[0] = PG_GETARG_DATUM(0);
	if (PG_GETARG_TIMESTAMPTZ(0) > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("before must not be in the future"),
				 errdetail("It is %s.", timestamptz_to_str(PG_GETARG_TIMESTAMPTZ(0))),
				 errhint("Pass an instant in the past.")));

	PreventCommandIfReadOnly("svc_purge_events()");
	PreventCommandDuringRecovery("svc_purge_events()");
	svc_gate_read_committed("events can be purged",
							"A consumer that this transaction cannot see would lose what it has not read.");
	svc_call_begin(&call, fcinfo);
	svc_statement_run_once(LOCK_CONSUMERS, 0, NULL, NULL, NULL);
	svc_statement_run_once("SELECT FROM @extschema@.svc_event_consumer ORDER BY name FOR UPDATE",
						   0, NULL, NULL, NULL);
	check_history((Datum) 0, true);
#define PENDING \
	"@extschema@.svc_event_is_pending(e.cluster, e.xid, e.id, k.cluster, k.snapshot," \
	" k.horizon, k.window_cluster, k.window_snapshot, k.position)" \
	" AND (k.types IS NULL OR e.type = ANY (k.types))" \
	" AND (k.customer_id IS NULL OR e.customer_id = k.customer_id)"
#define TOO_OLD \
	"($2 > 0 AND e.occurred_at < now() - make_interval(secs => $2))"
	/* in one statement: both must see the same events */
	svc_lifecycle_rewrite_once("WITH behind AS (UPDATE @extschema@.svc_event_consumer k SET is_behind = true"
										" WHERE EXISTS (SELECT FROM @extschema@.svc_event e"
										"  WHERE e.occurred_at < $1 AND " TOO_OLD " AND " PENDING "))"
										", gone AS (DELETE FROM @extschema@.svc_event e WHERE e.occurred_at < $1"
										"  AND (" TOO_OLD " OR NOT EXISTS"
										"  (SELECT FROM @extschema@.svc_event_consumer k WHERE " PENDING "))"
										"  RETURNING id)"
										/* whoever makes a consumer with an older snapshot is told so */
										", mark AS (UPDATE @extschema@.svc_meta SET purged_id ="
										"  greatest(purged_id, (SELECT max(id) FROM gone))"
										"  WHERE EXISTS (SELECT FROM gone))"
										" SELECT count(*) FROM gone",
										2, argtypes, values);
	purged = DatumGetInt64(svc_statement_value(0, 1, &isnull));
#undef PENDING
#undef TOO_OLD
	svc_call_end(&call);
	PG_RETURN_INT64(purged);
}

/* How many events a poll may hand out. */
static int32
page_argument(FunctionCallInfo fcinfo, int n)
{
	int32		max_rows;

	svc_argument_not_null(fcinfo, n, "max_rows");
	max_rows = PG_GETARG_INT32(n);
	if (max_rows < 1 || max_rows > POLL_ROWS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be between 1 and %d", POLL_ROWS_MAX),
				 errdetail("It is %d.", max_rows),
				 errhint("Leave it out for 1000.")));
	return max_rows;
}

/* How long nobody else is handed anything. */
static Datum
lease_argument(FunctionCallInfo fcinfo, int n)
{
	svc_argument_not_null(fcinfo, n, "lease");
	if (!svc_interval_is_between(PG_GETARG_DATUM(n), "0", LEASE_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease must be between 0 and %s", LEASE_MAX),
				 errdetail("It is %s.",
						   DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
				 errhint("Leave it out for 30 seconds.")));
	return PG_GETARG_DATUM(n);
}

/*
 * The last event id that was drawn, or 0 when that cannot be told.
 *
 * To be called before the next transaction id is read that it is to go with:
 * whoever gets that one, or a later one, draws a greater event id.  (The xmax of
 * a snapshot would not do: it follows the last transaction that has ended, and
 * who has it may have been running for long.)  Not so where sessions draw in
 * advance.
 */
static int64
last_drawn_id(void)
{
	static SvcStatement statement = {
		"SELECT CASE WHEN q.seqcache <> 1 THEN 0 WHEN s.is_called THEN s.last_value"
		"  ELSE s.last_value - 1 END"
		" FROM @extschema@.svc_event_id_seq s JOIN pg_sequence q ON q.seqrelid = s.tableoid",
		0, {0}
	};
	bool		isnull;

	/* the setting must be of the same moment as the value */
	svc_statement_read_latest(&statement, NULL);
	return DatumGetInt64(svc_statement_value(0, 1, &isnull));
}

/* Event types are those that the lifecycles have. */
static void
check_types(Datum types)
{
	Datum	   *values;
	bool	   *isnull;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(types), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &isnull, &count);
	for (int i = 0; i < count; i++)
	{
		if (isnull[i] || !is_known_type(TextDatumGetCString(values[i])))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown event type \"%s\"",
							isnull[i] ? "null" : TextDatumGetCString(values[i])),
					 errdetail("Event types are svc.<noun>.<event in snake_case>."),
					 errhint("svc_transitions() lists nouns and events.")));
	}
}

static bool
is_known_type(const char *type)
{
	for (int n = 0; n < svc_transition_count(); n++)
	{
		const SvcTransition *t = svc_transition_get(n);

		for (int i = 0; i < t->event_count; i++)
		{
			if (strcmp(type, psprintf("svc.%s.%s", svc_noun_info(t->noun)->name,
									  t->events[i].type)) == 0)
				return true;
		}
	}
	return false;
}

/*
 * A copy of a server, once promoted, goes on under the same identity with
 * transaction ids of its own.  What such a copy knew of the future, a dump of it
 * brings back; here it would take new events for done.  Looks at one consumer, or
 * at all.
 */
static void
check_history(Datum name, bool all)
{
	static SvcStatement statement = {
		"SELECT name::text FROM @extschema@.svc_event_consumer"
		" WHERE ($3 IS NULL OR name = $3)"
		"  AND ((cluster = $1 AND pg_snapshot_xmax(snapshot) > $2)"
		"   OR (window_cluster = $1 AND pg_snapshot_xmax(window_snapshot) > $2)) LIMIT 1",
		3, {INT8OID, XID8OID, TEXTOID}
	};
	Datum		values[3] = {svc_cluster(),
	FullTransactionIdGetDatum(ReadNextFullTransactionId()), name};
	bool		isnull[3] = {false, false, all};

	if (svc_statement_run(&statement, values, isnull) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_OTHER_HISTORY),
				 errmsg("consumer \"%s\" comes from another history of this server",
						svc_statement_text(0, 1)),
				 errdetail("It has seen transactions that have not happened here yet."),
				 errhint("Bring its data up to date by other means, then drop and create it.")));
}

/* Lock the consumer; false when there is nothing for us. */
static bool
begin_poll(Datum name, bool *has_window)
{
	static SvcStatement statement = {
		"SELECT window_snapshot IS NOT NULL, is_behind::boolean,"
		"  polled_id IS NOT NULL AND leased_until > clock_timestamp()"
		" FROM @extschema@.svc_event_consumer WHERE name = $1 FOR UPDATE SKIP LOCKED",
		1, {TEXTOID}
	};
	bool		isnull;

	if (svc_statement_run(&statement, &name, NULL) == 0)
	{
		if (!consumer_exists(name))
			report_unknown_consumer(name);
		return false;
	}
	*has_window = DatumGetBool(svc_statement_value(0, 1, &isnull));
	if (DatumGetBool(svc_statement_value(0, 2, &isnull)))
		report_behind(name);
	return !DatumGetBool(svc_statement_value(0, 3, &isnull));
}

/* Open a window up to now, with ourselves as still running. */
static void
open_window(Datum name)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_event_consumer SET position = 0, updated_at = now(),"
		"  window_cluster = $2, window_horizon = greatest(horizon, " LAST_ID "), window_floor = w.floor,"
		"  next_floor = CASE WHEN w.is_mature THEN nullif($4, 0) ELSE next_floor END,"
		"  next_floor_xid = CASE WHEN w.is_mature AND $4 > 0 THEN $5 WHEN NOT w.is_mature THEN next_floor_xid END,"
		"  window_snapshot = w.s"
		" FROM (SELECT n.s, n.is_mature, CASE WHEN n.is_mature THEN coalesce(n.next_floor, n.floor)"
		"   ELSE n.floor END AS floor"
		"  FROM (SELECT n.s, k.floor, k.next_floor,"
		/* the transactions of another cluster have ended with the dump */
		"    coalesce(k.cluster <> $2 OR k.next_floor_xid <= pg_snapshot_xmin(n.s), true) AS is_mature"
		"   FROM @extschema@.svc_event_consumer k CROSS JOIN LATERAL ("
		SVC_SNAPSHOT_WITH_SELF("$3") ") n"
		"   WHERE k.name = $1) n) w"
		" WHERE name = $1",
		5, {TEXTOID, INT8OID, XID8OID, INT8OID, XID8OID}
	};
	Datum		values[5] = {name, svc_cluster()};

	/* in this order: who gets a transaction id from now on draws a greater one */
	values[2] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[3] = Int64GetDatum(last_drawn_id());
	values[4] = FullTransactionIdGetDatum(ReadNextFullTransactionId());

	update_consumer(&statement, values);
}

/* All of the window is done. */
static void
close_window(Datum name)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_event_consumer SET position = 0, updated_at = now(),"
		"  cluster = window_cluster, snapshot = window_snapshot, horizon = window_horizon,"
		"  floor = window_floor, window_floor = NULL,"
		"  window_cluster = NULL, window_snapshot = NULL, window_horizon = NULL,"
		"  polled_id = NULL, leased_until = NULL"
		" WHERE name = $1 AND window_snapshot IS NOT NULL",
		1, {TEXTOID}
	};

	update_consumer(&statement, &name);
}

/*
 * Close a window of which nothing was read.
 *
 * A transaction whose snapshot is older than a rewrite of the log (ALTER TABLE)
 * finds the log empty.  That is no reason to be done with what is in it.
 */
static void
close_empty_window(Datum name)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_event e JOIN @extschema@.svc_event_consumer k ON k.name = $1"
		" WHERE e.id > k.floor AND (k.types IS NULL OR e.type = ANY (k.types))"
		"  AND (k.customer_id IS NULL OR e.customer_id = k.customer_id)"
		"  AND @extschema@.svc_event_is_pending(e.cluster, e.xid, e.id, k.cluster, k.snapshot, k.horizon,"
		"   k.window_cluster, k.window_snapshot, k.position)"
		"  AND CASE WHEN e.cluster = k.window_cluster THEN pg_visible_in_snapshot(e.xid, k.window_snapshot)"
		"   ELSE e.id <= k.window_horizon END"
		" LIMIT 1",
		1, {TEXTOID}
	};

	if (IsolationUsesXactSnapshot() && svc_statement_read_latest(&statement, &name) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to a concurrent rewrite of table \"svc_event\""),
				 errhint("Retry the transaction.")));
	close_window(name);
}

/* Our write of the consumer's row, which we have locked, must arrive. */
static void
update_consumer(SvcStatement *statement, Datum *values)
{
	if (svc_statement_run(statement, values, NULL) != 1)
		svc_gate_report_unwritten("svc_event_consumer");
}

/*
 * Read a page of the window.
 *
 * Prepared for each poll: the consumer's values are constants to the planner,
 * which then does not evaluate what they decide.
 */
static uint64
read_window(Datum name, int32 max_rows)
{
	static SvcStatement find = {
		"SELECT types::text[], customer_id::text, cluster::bigint, snapshot::pg_snapshot, horizon::bigint,"
		"  window_cluster::bigint, window_snapshot::pg_snapshot, greatest(position, floor)::bigint,"
		"  window_horizon::bigint"
		" FROM @extschema@.svc_event_consumer WHERE name = $1",
		1, {TEXTOID}
	};
	Oid			argtypes[10] = {TEXTARRAYOID, TEXTOID, INT8OID, PG_SNAPSHOTOID, INT8OID, INT8OID,
	PG_SNAPSHOTOID, INT8OID, INT8OID, INT4OID};
	Datum		values[10];
	bool		isnull[10];

	svc_statement_run(&find, &name, NULL);
	for (int i = 0; i < 9; i++)
		values[i] = svc_statement_value(0, i + 1, &isnull[i]);
	values[9] = Int32GetDatum(max_rows);
	isnull[9] = false;

	return svc_statement_run_once("SELECT id::bigint, type::text, customer_id::text, noun::text, entity_id::text,"
								  "  revision::bigint, event::text, action::text, from_status::text, to_status::text,"
								  "  occurred_at::timestamptz, actor::text, request_id::text, changes::jsonb,"
								  "  cluster::bigint"
								  " FROM @extschema@.svc_event e"
								  " WHERE id > $8"
								  "  AND CASE WHEN cluster = $6 THEN pg_visible_in_snapshot(xid, $7) ELSE id <= $9 END"
								  "  AND CASE WHEN cluster = $3 THEN $4 IS NULL OR NOT pg_visible_in_snapshot(xid, $4)"
								  "   ELSE $5 IS NULL OR id > $5 END"
								  "  AND ($1 IS NULL OR type = ANY ($1))"
								  "  AND ($2 IS NULL OR customer_id = $2)"
								  " ORDER BY id LIMIT $10",
								  10, argtypes, values, isnull);
}

static void
hand_out(Datum name, Datum lease, int64 last_id)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_event_consumer SET polled_id = $2,"
		"  leased_until = clock_timestamp() + $3, updated_at = now() WHERE name = $1",
		3, {TEXTOID, INT8OID, INTERVALOID}
	};
	Datum		values[3] = {name, Int64GetDatum(last_id), lease};

	update_consumer(&statement, values);
}

static bool
consumer_exists(Datum name)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_event_consumer WHERE name = $1",
		1, {TEXTOID}
	};

	return svc_statement_run(&statement, &name, NULL) > 0;
}

static void
report_unknown_consumer(Datum name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("consumer \"%s\" does not exist", TextDatumGetCString(name)),
			 errdetail("Table \"svc_event_consumer\" has no such row."),
			 errhint("Create it with svc_create_consumer().")));
}

static void
report_behind(Datum name)
{
	ereport(ERROR,
			(errcode(ERRCODE_SVC_EVENTS_PURGED),
			 errmsg("events that consumer \"%s\" has not read were purged", TextDatumGetCString(name)),
			 errdetail("They were older than svc.event_max_retention."),
			 errhint("Bring its data up to date by other means, then drop and create it.")));
}

static void
report_bad_ack(Datum name, int64 upto, int64 position, int64 polled, bool nothing_polled)
{
	if (nothing_polled)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("consumer \"%s\" has nothing to acknowledge", TextDatumGetCString(name)),
				 errdetail("Event " INT64_FORMAT " was to be acknowledged.", upto),
				 errhint("Poll first.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 upto > polled ?
			 errmsg("event " INT64_FORMAT " is beyond what was polled", upto) :
			 errmsg("event " INT64_FORMAT " is below what was acknowledged before", upto),
			 errdetail("Consumer \"%s\" can acknowledge events from " INT64_FORMAT " to " INT64_FORMAT ".",
					   TextDatumGetCString(name), position, polled),
			 errhint("Pass an id that svc_poll_events() has returned.")));
}
