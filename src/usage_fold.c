/*-------------------------------------------------------------------------
 *
 * usage_fold.c
 *	  Rolling up usage: what is new is added, once.
 *
 * The rule of what is new is that of the event log (consumer.c): what is visible now
 * and was not when the customer was rolled up last.  For each customer that moment is
 * kept, as a snapshot, in svc_usage_fold; a record has the id of its transaction.  So
 * a record of a long transaction that commits late is not missed, and none is counted
 * twice.  Nobody waits for a recorder, nor does a recorder wait for us.
 *
 * The snapshot counts our own transaction as still running: what it has recorded, or
 * will, is rolled up by the next one.
 *
 * One statement, which has one snapshot, adds up the new records to hours, these to
 * days, these to weeks and months, and months to quarters and years, each in the time
 * zone that the customer is rolled up in (calendar.c), and writes all of them, and the
 * snapshot.
 *
 * The greatest or last quantity cannot be added to.  Hours in which there are new
 * records of such a resource are looked up anew in the raw records, then their days in
 * the hours, and so on.  What is counted there with a later snapshot than that of the
 * statement before it will be looked up once more; that does no harm.
 *
 * Which customers have anything new?  The *horizon* is a transaction id before which
 * all records are rolled up: only greater ones are looked at.
 *
 * Locks: the customers FOR KEY SHARE, then their rows of svc_usage_fold FOR NO KEY
 * UPDATE, both in the order of their ids; then roll-ups, which nobody waits for who has
 * them: what completes them skips those that are locked (usage_close.c).  Who is asked
 * to do all customers skips those that somebody else has.  Last, svc_usage_horizon SHARE
 * ROW EXCLUSIVE, to move the horizon: if somebody else has it, that is not done now.
 *
 * Before, state is made for customers that have none, with these locked FOR SHARE: who
 * changes a customer's time zone tells its state (customer.c), and must find it (at
 * REPEATABLE READ he may not: then the next record sets it right).  Who makes the same
 * row is waited for, so all customers' is made with that very lock on svc_usage_horizon
 * only, and one customer's with ROW EXCLUSIVE, which conflicts with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/xid8.h"

#include "attempt.h"
#include "catalog.h"
#include "clock.h"
#include "lifecycle.h"
#include "meter.h"
#include "snapshot.h"
#include "statement.h"
#include "usage_fold.h"
#include "usage_rollup.h"
#include "usage_sql.h"

/* A batch of customers that are rolled up together. */
typedef struct Batch
{
	Datum		customer_ids;	/* text[] */
	FullTransactionId horizon;
	int64		folded;			/* records */
} Batch;

/* Where figures of the greatest or last quantity come from. */
typedef struct Level
{
	const char *kind;
	const char *from;
} Level;

static void put_last(Datum customer_id);
static void move_horizon(FullTransactionId to);
static FullTransactionId first_left(FullTransactionId horizon, FullTransactionId seen);
static bool try_lock_horizon(void);
static void lock_customer(Datum id);
static void make_all_state(FullTransactionId horizon, int32 max_customers);
static Datum lock_all(FullTransactionId horizon, int32 max_customers, int *locked, int64 *found);
static Datum texts_of_column(uint64 rows);
static void fold_batch(void *state);
static bool change_timezones(Batch *batch);
static const char *fold_sql(void);
static void look_up_gauges(Datum *touched);
static void look_up_hours(Datum *touched);
static void look_up_level(const Level *level, Datum *touched);
static void write_figures(const char *figure, Datum *values, int count);

/* Roll up what is new of a customer, and wait for who is doing it; how many records. */
int64
svc_usage_fold_customer(Datum customer_id)
{
	Batch		batch = {.customer_ids = svc_statement_texts(&customer_id, 1), .horizon = svc_usage_horizon()};

	lock_customer(customer_id);
	fold_batch(&batch);
	return batch.folded;
}

/*
 * Roll up what is new of all customers, or of so many of them; how many records.
 * Customers that cannot be done stay for the next time.
 */
int64
svc_usage_fold_all(int32 max_customers, int64 *failed)
{
	static SvcStatement now = {
		"SELECT pg_snapshot_xmin(c.s) FROM (" SVC_SNAPSHOT_WITH_SELF("$1") ") c", 1, {XID8OID}
	};
	Batch		batch = {0};
	Datum		me = FullTransactionIdGetDatum(GetTopFullTransactionId());
	FullTransactionId seen;
	bool		isnull;
	int64		found;
	int			locked;
	int64		folded;
	int64		failed_before = *failed;

	batch.horizon = svc_usage_horizon();
	svc_statement_run(&now, &me, NULL);
	seen = DatumGetFullTransactionId(svc_statement_value(0, 1, &isnull));

	make_all_state(batch.horizon, max_customers);
	batch.customer_ids = lock_all(batch.horizon, max_customers, &locked, &found);
	if (locked > 0 && svc_attempt_work(fold_batch, &batch) != NULL)
	{
		/* who cannot be done must not keep the others back */
		Datum	   *each;
		int			count;

		folded = 0;
		deconstruct_array(DatumGetArrayTypeP(batch.customer_ids), TEXTOID, -1, false, TYPALIGN_INT, &each, NULL, &count);
		for (int i = 0; i < count; i++)
		{
			batch.customer_ids = svc_statement_texts(&each[i], 1);
			batch.folded = 0;
			if (svc_attempt(fold_batch, &batch, SVC_CUSTOMER, (Datum) 0, each[i]))
				folded += batch.folded;
			else
			{
				put_last(each[i]);
				(*failed)++;
			}
		}
	}
	else
		folded = batch.folded;
	/* what has been left keeps the horizon behind it */
	if (found != locked || *failed != failed_before)
		seen = first_left(batch.horizon, seen);
	move_horizon(seen);
	return folded;
}

/* Who cannot be rolled up now has had its turn. */
static void
put_last(Datum customer_id)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_usage_fold SET folded_at = $2 WHERE customer_id = $1", 2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {customer_id, TimestampTzGetDatum(svc_clock_now())};

	svc_statement_run(&statement, values, NULL);
}

/* ---- which customers ---- */

/* Before which transaction all is rolled up; 0: nobody has said that, here. */
FullTransactionId
svc_usage_horizon(void)
{
	static SvcStatement statement = {
		"SELECT xid::xid8 FROM @extschema@.svc_usage_horizon WHERE cluster = $1", 1, {INT8OID}
	};
	Datum		cluster = svc_cluster();
	bool		isnull;

	if (svc_statement_run(&statement, &cluster, NULL) == 0)
		return FullTransactionIdFromU64(0);
	return DatumGetFullTransactionId(svc_statement_value(0, 1, &isnull));
}

/* Never back, and not if somebody else is at it: he will do, or the next time. */
static void
move_horizon(FullTransactionId to)
{
	static SvcStatement insert = {
		"INSERT INTO @extschema@.svc_usage_horizon (cluster, xid) VALUES ($1, $2)"
		" ON CONFLICT (only_row) DO UPDATE SET cluster = $1, xid = $2"
		"  WHERE svc_usage_horizon.cluster <> $1 OR svc_usage_horizon.xid < $2",
		2, {INT8OID, XID8OID}
	};
	Datum		values[2] = {svc_cluster(), FullTransactionIdGetDatum(to)};

	/* with an old snapshot, it may not see the row that it would change */
	if (!IsolationUsesXactSnapshot() && try_lock_horizon())
		svc_statement_run(&insert, values, NULL);
}

/* The first transaction that has records which are not rolled up, if it is before "seen". */
static FullTransactionId
first_left(FullTransactionId horizon, FullTransactionId seen)
{
	static SvcStatement statement = {
		"SELECT u.xid::xid8 FROM @extschema@.svc_usage u"
		" LEFT JOIN @extschema@.svc_usage_fold f ON f.customer_id = u.customer_id"
		" WHERE u.xid >= $1 AND u.xid < $2 AND " SVC_USAGE_IS_NEW("u", "f", "$3")
		" ORDER BY u.xid LIMIT 1",
		3, {XID8OID, XID8OID, INT8OID}
	};
	Datum		values[3] = {FullTransactionIdGetDatum(horizon), FullTransactionIdGetDatum(seen), svc_cluster()};
	bool		isnull;

	if (svc_statement_run(&statement, values, NULL) == 0)
		return seen;
	return DatumGetFullTransactionId(svc_statement_value(0, 1, &isnull));
}

/* Until the end of the transaction; false, if somebody else has it. */
static bool
try_lock_horizon(void)
{
	return ConditionalLockRelationOid(svc_catalog_table("svc_usage_horizon"), ShareRowExclusiveLock);
}

#define MAKE_STATE \
	"INSERT INTO @extschema@.svc_usage_fold (customer_id, cluster, timezone)" \
	" SELECT c.id, $2, coalesce(c.timezone, 'UTC') FROM @extschema@.svc_customer c"

/* Lock a customer and its state, which it gets if it has none yet. */
static void
lock_customer(Datum id)
{
	static SvcStatement customer = {
		"SELECT FROM @extschema@.svc_customer WHERE id = $1 FOR KEY SHARE", 1, {TEXTOID}
	};
	static SvcStatement state = {
		"SELECT FROM @extschema@.svc_usage_fold WHERE customer_id = $1 FOR NO KEY UPDATE", 1, {TEXTOID}
	};
	static SvcStatement make = {
		MAKE_STATE " WHERE c.id = $1 FOR SHARE ON CONFLICT DO NOTHING", 2, {TEXTOID, INT8OID}
	};
	Datum		values[2] = {id, svc_cluster()};

	svc_statement_run(&customer, values, NULL);
	if (svc_statement_run(&state, values, NULL) > 0)
		return;
	LockRelationOid(svc_catalog_table("svc_usage_horizon"), RowExclusiveLock);
	svc_statement_run(&make, values, NULL);
	svc_statement_run(&state, values, NULL);
}

/* Customers with records that are not rolled up, or a new time zone. */
#define CUSTOMERS_WITH_NEW \
	"SELECT u.customer_id FROM @extschema@.svc_usage u" \
	" LEFT JOIN @extschema@.svc_usage_fold f ON f.customer_id = u.customer_id" \
	" WHERE u.xid >= $1 AND (u.xid <> $3 OR u.cluster <> $2) AND " SVC_USAGE_IS_NEW("u", "f", "$2") \
	" GROUP BY u.customer_id" \
	" UNION SELECT customer_id FROM @extschema@.svc_usage_fold WHERE has_moved"

/* Give state to those that have none, unless somebody else is doing that. */
static void
make_all_state(FullTransactionId horizon, int32 max_customers)
{
	Oid			types[4] = {XID8OID, INT8OID, XID8OID, INT4OID};
	Datum		values[4] = {FullTransactionIdGetDatum(horizon), svc_cluster(),
	FullTransactionIdGetDatum(GetTopFullTransactionId()), Int32GetDatum(max_customers)};

	if (try_lock_horizon())
		svc_statement_run_once(MAKE_STATE " WHERE c.id IN (SELECT u.customer_id FROM @extschema@.svc_usage u"
							   "   WHERE u.xid >= $1 AND (u.xid <> $3 OR u.cluster <> $2))"
							   "  AND NOT EXISTS (SELECT FROM @extschema@.svc_usage_fold f WHERE f.customer_id = c.id)"
							   " ORDER BY c.id LIMIT $4 FOR SHARE OF c SKIP LOCKED ON CONFLICT DO NOTHING",
							   4, types, values, NULL);
}

/*
 * Lock those of all customers that nobody else has, and so many of them, who have waited
 * longest first.  "found" is how many there are, or -1.
 */
static Datum
lock_all(FullTransactionId horizon, int32 max_customers, int *locked, int64 *found)
{
	Oid			types[4] = {XID8OID, INT8OID, XID8OID, INT4OID};
	Datum		values[4] = {FullTransactionIdGetDatum(horizon), svc_cluster(),
	FullTransactionIdGetDatum(GetTopFullTransactionId()), Int32GetDatum(max_customers)};
	bool		isnull;

	*locked = (int) svc_statement_run_once("SELECT c.id::text, n.count"
										   " FROM (SELECT x.customer_id, count(*) OVER () AS count FROM (" CUSTOMERS_WITH_NEW ") x) n"
										   "  JOIN @extschema@.svc_customer c ON c.id = n.customer_id"
										   "  JOIN @extschema@.svc_usage_fold f ON f.customer_id = n.customer_id"
										   " ORDER BY f.folded_at NULLS FIRST, c.id LIMIT $4"
										   " FOR KEY SHARE OF c SKIP LOCKED FOR NO KEY UPDATE OF f SKIP LOCKED",
										   4, types, values, NULL);
	*found = *locked == 0 ? -1 : DatumGetInt64(svc_statement_value(0, 2, &isnull));
	return texts_of_column(*locked);
}

/* The first column of the last result, as text[]. */
static Datum
texts_of_column(uint64 rows)
{
	Datum	   *texts = palloc(Max(rows, 1) * sizeof(Datum));
	bool		isnull;

	for (uint64 row = 0; row < rows; row++)
		texts[row] = svc_statement_value(row, 1, &isnull);
	return svc_statement_texts(texts, (int) rows);
}

/* ---- rolling up ---- */

/* Roll up customers that are locked. */
static void
fold_batch(void *state)
{
	static const SvcDeed deed = {.noun = SVC_CUSTOMER_USAGE, .action = "record"};
	Batch	   *batch = state;
	Oid			types[5] = {TEXTARRAYOID, INT8OID, XID8OID, XID8OID, TIMESTAMPTZOID};
	Datum		values[5] = {batch->customer_ids, svc_cluster(),
		FullTransactionIdGetDatum(GetTopFullTransactionId()), FullTransactionIdGetDatum(batch->horizon),
	TimestampTzGetDatum(svc_clock_now())};
	Datum		touched[3];
	bool		isnull;

	if (change_timezones(batch))
		values[3] = FullTransactionIdGetDatum(FullTransactionIdFromU64(0));
	svc_lifecycle_write_once(&deed, fold_sql(), 5, types, values, NULL);
	batch->folded = DatumGetInt64(svc_statement_value(0, 1, &isnull));
	for (int i = 0; i < 3; i++)
		touched[i] = svc_statement_value(0, i + 2, &isnull);
	if (!isnull)
		look_up_gauges(touched);
}

/*
 * Who has a new time zone is rolled up anew in that, if nothing is final yet, else
 * stays in the old one: periods that are final could not be cut otherwise.  Is there
 * anybody?
 */
static bool
change_timezones(Batch *batch)
{
	static SvcStatement change = {
		"UPDATE @extschema@.svc_usage_fold f SET timezone = coalesce(c.timezone, 'UTC'), snapshot = NULL"
		" FROM @extschema@.svc_customer c WHERE f.customer_id = ANY ($1) AND c.id = f.customer_id"
		"  AND c.closed_until IS NULL AND f.timezone <> coalesce(c.timezone, 'UTC')"
		" RETURNING f.customer_id::text",
		1, {TEXTARRAYOID}
	};
	static SvcStatement remove = {
		"DELETE FROM @extschema@.svc_customer_usage WHERE customer_id = ANY ($1) AND is_folded", 1, {TEXTARRAYOID}
	};
	Datum		ids = batch->customer_ids;
	uint64		rows = svc_statement_run(&change, &ids, NULL);

	if (rows == 0)
		return false;
	ids = texts_of_column(rows);
	(void) svc_lifecycle_rewrite(&remove, &ids, NULL);
	return true;
}

/*
 * What adds up is written; what does not is returned, as arrays of customer, resource
 * and hour, after the number of records.
 */
static const char *
fold_sql(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "WITH state AS MATERIALIZED (SELECT f.customer_id, f.cluster, f.snapshot, f.timezone,"
						   "  " SVC_USAGE_NEW_FROM("f", "$2") " AS new_from"
						   "  FROM @extschema@.svc_usage_fold f WHERE f.customer_id = ANY ($1)),"
						   " hour AS MATERIALIZED (SELECT u.customer_id, u.resource, f.timezone,"
						   "  @extschema@.svc_period_start('hour', u.booked_at, f.timezone) AS start,"
						   "  count(*) AS records, sum(u.quantity) AS total,"
						   "  sum(" SVC_USAGE_COUNT("u") ")"
						   "   FILTER (WHERE u.resource IN (SELECT m.resource FROM @extschema@.svc_meter m WHERE m.aggregation = 'count')) AS counted"
						   "  FROM state f JOIN @extschema@.svc_usage u ON u.customer_id = f.customer_id AND u.xid >= f.new_from"
						   "  WHERE u.xid >= $4 AND (u.xid <> $3 OR u.cluster <> $2) AND " SVC_USAGE_IS_NEW("u", "f", "$2")
						   "  GROUP BY u.customer_id, u.resource, f.timezone, start),"
						   " gauge AS (SELECT resource FROM @extschema@.svc_meter WHERE aggregation IN ('max', 'last')),"
						   " added AS MATERIALIZED (SELECT h.customer_id, h.resource, h.timezone, h.start,"
						   "  coalesce(h.counted, h.total) AS amount FROM hour h WHERE h.resource NOT IN (SELECT resource FROM gauge)),"
						   " day AS MATERIALIZED (SELECT customer_id, resource, timezone, sum(amount) AS amount,"
						   "  @extschema@.svc_period_start('day', start, timezone) AS day"
						   "  FROM added GROUP BY customer_id, resource, timezone, day),"
						   " month AS MATERIALIZED (SELECT customer_id, resource, timezone, sum(amount) AS amount,"
						   "  @extschema@.svc_period_start('month', day, timezone) AS month"
						   "  FROM day GROUP BY customer_id, resource, timezone, month),"
						   " figure AS (SELECT customer_id, resource, timezone, 'hour' AS period_type, start AS period_start, amount FROM added"
						   " UNION ALL SELECT customer_id, resource, timezone, 'day', day, amount FROM day"
						   " UNION ALL SELECT customer_id, resource, timezone, 'month', month, amount FROM month");
	appendStringInfoString(&sql,
						   " UNION ALL SELECT customer_id, resource, timezone, 'week',"
						   "   @extschema@.svc_period_start('week', day, timezone) AS start, sum(amount)"
						   "  FROM day GROUP BY customer_id, resource, timezone, start"
						   " UNION ALL SELECT customer_id, resource, timezone, 'quarter',"
						   "   @extschema@.svc_period_start('quarter', month, timezone) AS start, sum(amount)"
						   "  FROM month GROUP BY customer_id, resource, timezone, start"
						   " UNION ALL SELECT customer_id, resource, timezone, 'year',"
						   "   @extschema@.svc_period_start('year', month, timezone) AS start, sum(amount)"
						   "  FROM month GROUP BY customer_id, resource, timezone, start)");
	svc_rollup_append_writes(&sql, true, "$5");
	appendStringInfoString(&sql,
						   ", seen AS (UPDATE @extschema@.svc_usage_fold SET cluster = $2, snapshot = n.s, folded_at = $5, has_moved = false"
						   "  FROM (" SVC_SNAPSHOT_WITH_SELF("$3") ") n WHERE customer_id = ANY ($1))"
						   " SELECT coalesce(sum(h.records), 0)::bigint, array_agg(h.customer_id::text) FILTER (WHERE h.resource IN (SELECT resource FROM gauge)),"
						   "  array_agg(h.resource::text) FILTER (WHERE h.resource IN (SELECT resource FROM gauge)),"
						   "  array_agg(h.start) FILTER (WHERE h.resource IN (SELECT resource FROM gauge)) FROM hour h");
	return sql.data;
}

/* ---- the greatest and the last ---- */

/* Hours in which something has changed, and all that they are within. */
static void
look_up_gauges(Datum *touched)
{
	static const Level levels[] = {
		{"day", "hour"}, {"week", "day"}, {"month", "day"}, {"quarter", "month"}, {"year", "month"},
	};

	look_up_hours(touched);
	for (int i = 0; i < lengthof(levels); i++)
		look_up_level(&levels[i], touched);
}

/* From the raw records, with what corrects them. */
static void
look_up_hours(Datum *touched)
{
	write_figures("SELECT k.customer_id, f.timezone, k.resource, 'hour' AS period_type, k.start AS period_start, v.amount"
				  " FROM unnest($1, $2, $3) k (customer_id, resource, start)"
				  "  JOIN @extschema@.svc_usage_fold f ON f.customer_id = k.customer_id"
				  "  JOIN @extschema@.svc_meter m ON m.resource = k.resource,"
				  "  LATERAL (SELECT CASE m.aggregation WHEN 'max' THEN max(r.amount)"
				  "     ELSE (array_agg(r.amount ORDER BY r.booked_at DESC, r.occurred_at DESC, r.id DESC))[1] END AS amount"
				  "    FROM (SELECT u.booked_at, u.occurred_at, u.id, " SVC_USAGE_CORRECTED("u") " AS amount"
				  "      FROM @extschema@.svc_usage u WHERE u.customer_id = k.customer_id AND u.resource = k.resource"
				  "       AND u.booked_at >= k.start AND u.booked_at < @extschema@.svc_period_end('hour', k.start, f.timezone)"
				  "       AND u.adjusts_id IS NULL) r) v"
				  " WHERE v.amount IS NOT NULL",
				  touched, 3);
}

/* From the roll-ups of a shorter kind. */
static void
look_up_level(const Level *level, Datum *touched)
{
	Datum		values[5] = {touched[0], touched[1], touched[2],
	CStringGetTextDatum(level->kind), CStringGetTextDatum(level->from)};

	write_figures("SELECT k.customer_id, k.timezone, k.resource, $4 AS period_type, k.start AS period_start, v.amount"
				  " FROM (SELECT DISTINCT t.customer_id, t.resource, f.timezone,"
				  "    @extschema@.svc_period_start($4, t.start, f.timezone) AS start"
				  "   FROM unnest($1, $2, $3) t (customer_id, resource, start)"
				  "    JOIN @extschema@.svc_usage_fold f ON f.customer_id = t.customer_id) k"
				  "  JOIN " SVC_METERS " m ON m.resource = k.resource,"
				  "  LATERAL (SELECT CASE m.aggregation WHEN 'max' THEN max(r.amount)"
				  "     ELSE (array_agg(r.amount ORDER BY r.period_start DESC))[1] END AS amount"
				  "    FROM (SELECT u.period_start, " SVC_ROLLUP_FIGURE("u", "m", "k.resource") " AS amount"
				  "      FROM @extschema@.svc_customer_usage u WHERE u.customer_id = k.customer_id AND u.is_folded AND u.period_type = $5"
				  "       AND u.period_start >= k.start AND u.period_start < @extschema@.svc_period_end($4, k.start, k.timezone)) r"
				  "    WHERE r.amount IS NOT NULL) v"
				  " WHERE v.amount IS NOT NULL",
				  values, 5);
}

/* Write figures that a query yields in place of those that there are. */
static void
write_figures(const char *figure, Datum *values, int count)
{
	static const SvcDeed deed = {.noun = SVC_CUSTOMER_USAGE, .action = "record"};
	static const Oid types[5] = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTOID, TEXTOID};
	StringInfoData sql;
	Datum		all[6];
	Oid			all_types[6];

	memcpy(all, values, count * sizeof(Datum));
	memcpy(all_types, types, count * sizeof(Oid));
	all[count] = TimestampTzGetDatum(svc_clock_now());
	all_types[count] = TIMESTAMPTZOID;

	initStringInfo(&sql);
	appendStringInfo(&sql, "WITH figure AS MATERIALIZED (%s)", figure);
	svc_rollup_append_writes(&sql, false, psprintf("$%d", count + 1));
	appendStringInfoString(&sql, " SELECT");
	svc_lifecycle_write_once(&deed, sql.data, count + 1, all_types, all, NULL);
}
