/*-------------------------------------------------------------------------
 *
 * merge.c
 *	  Merging a customer into another.
 *
 * The rows of the *loser* become rows of the *survivor*.  Keys begin with the
 * customer, and a key never changes: each row is copied under the new key,
 * parents before children, and then the old ones are removed, children before
 * parents.  Copies keep their revision, so they are restored rows and make no
 * events; the events of the past stay with the loser, under whose id they
 * happened.
 *
 * An id or idempotency key that the survivor has already gets the suffix
 * "~<loser>", in the row itself and in what refers to it.  A roll-up of a
 * period that the survivor has, too, is added to the survivor's, unless their
 * currencies differ; what is finalized, on either side, stays as it is and
 * where it is, but for its subscription, which has moved.
 *
 * Tables that are not ours may refer to rows that move.  A copy would leave
 * them behind, or an ON DELETE CASCADE take them away; so such a foreign key
 * is refused.  A transaction that sees an old snapshot would leave behind what
 * has come since; so merging is for READ COMMITTED.
 *
 * The loser becomes "merged", and says into whom.  The survivor gets the
 * loser's lifetime value and, where they reach further, its first purchase and
 * last activity.
 *
 * Locks: that nobody redefines a segment (membership.c); both customers FOR
 * UPDATE, in the order of their ids, which keeps new children and actions on
 * children away (they take FOR KEY SHARE); then the loser's children, FOR
 * UPDATE, parents before children, entitlements in the order that consumes use.
 * Only then is anything copied, so that what a concurrent consume has written is
 * copied, too; a consume that waited for us finds its row gone and the customer
 * merged.  The survivor's entitlements are locked as well, because a consume
 * takes no lock on its customer, and might be writing an idempotency key that
 * the loser has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "argument.h"
#include "catalog.h"
#include "compat.h"
#include "error.h"
#include "gate.h"
#include "grant.h"
#include "lifecycle.h"
#include "membership.h"
#include "meter.h"
#include "plan_grant.h"
#include "statement.h"
#include "usage_row.h"

/*
 * Parameters of every statement that moves rows.  Those from PARAM_IDS on are
 * renamings: an array of values that both customers have, and behind it, as
 * the next parameter, the array of what they become.
 */
enum
{
	PARAM_LOSER,
	PARAM_SURVIVOR,
	PARAM_ROLLUPS,				/* ids of the roll-ups that move */
	PARAM_IDS,					/* of this table */
	PARAM_KEYS = PARAM_IDS + 2, /* idempotency keys of this table */
	PARAM_SUBSCRIPTIONS = PARAM_KEYS + 2,	/* ids of that table */
	PARAM_ORDERS = PARAM_SUBSCRIPTIONS + 2,
	PARAM_INVOICES = PARAM_ORDERS + 2,
	PARAM_ENTITLEMENTS = PARAM_INVOICES + 2,
	PARAM_HOLDS = PARAM_ENTITLEMENTS + 2,
	PARAM_COUNT = PARAM_HOLDS + 2,
};

/* An array of values and the array of what they become. */
typedef struct Renaming
{
	Datum		from;
	Datum		to;
} Renaming;

/* A table whose rows move. */
typedef struct Moved
{
	const char *table;
	const char *order;			/* in which its rows are locked */
	int			ids;			/* parameter that holds its ids for children, or 0 */
	bool		has_ids;
	bool		has_keys;
	const char *condition;		/* which rows move; NULL: all */
	bool		locks_both;		/* lock the survivor's rows, too */
} Moved;

/* Parents before children. */
static const Moved moved[] = {
	{"svc_subscription", "id", PARAM_SUBSCRIPTIONS, true},
	{"svc_subscription_period", "subscription_id, period_start"},
	{"svc_order", "id", PARAM_ORDERS, true},
	{"svc_invoice", "id", PARAM_INVOICES, true},
	{"svc_entitlement", SVC_GRANT_LOCK_ORDER, PARAM_ENTITLEMENTS, true, .locks_both = true},
	{"svc_entitlement_hold", "id, line", PARAM_HOLDS, true},
	{"svc_entitlement_ledger", "entitlement_id, seq", 0, false, true},
	{"svc_customer_usage", "id", 0, true, false, "t.id = ANY ($3)"},
	{"svc_usage", "id", 0, true, true, "t.booked_at >= coalesce((SELECT c.closed_until"
	" FROM @extschema@.svc_customer c WHERE c.id = $1), '-infinity')"},
	{"svc_support_ticket", "id", 0, true},
};

/* Columns that refer to a moved table, and the parameter with its ids. */
static const struct
{
	const char *column;
	int			ids;
}			references[] = {
	{"subscription_id", PARAM_SUBSCRIPTIONS},
	{"order_id", PARAM_ORDERS},
	{"invoice_id", PARAM_INVOICES},
	{"entitlement_id", PARAM_ENTITLEMENTS},
	{"hold_id", PARAM_HOLDS},
	{"adjusts_id", PARAM_IDS},
};

/* Two roll-ups, s and l, that add up: same period, open, no two currencies. */
#define ADDABLE \
	"l.customer_id = $1 AND s.customer_id = $2" \
	" AND s.period_type = l.period_type AND s.period_start = l.period_start" \
	" AND s.status <> 'finalized' AND l.status <> 'finalized'" \
	" AND NOT s.is_folded AND NOT l.is_folded" \
	" AND coalesce(s.currency = l.currency, true)"

/* What adds up of a roll-up. */
static const char *const figures[] = {
#define COMMA ,
	SVC_FIGURES(CppAsString, COMMA), "estimated_cost",
};
static const char *const figure_maps[] = {"usage_by_resource", "quota_used", "quota_remaining"};

static Oid	param_types[PARAM_COUNT] = {TEXTOID, TEXTOID, TEXTARRAYOID,
	TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
TEXTARRAYOID, TEXTARRAYOID};

static void refuse_foreign_references(void);
static void lock_customers(Datum loser, Datum survivor);
static void check_customer(Datum id);
static void move_rows(Datum loser, Datum survivor);
static Renaming find_common(const char *table, const char *column, Datum *params);
static void set_renaming(Datum *params, int param, Renaming renaming);
static void add_rollups(Datum *params);
static void copy_rows(const Moved *what, Datum *params);
static void append_copied(StringInfo sql, const Moved *what, const char *column);
static void append_renamed(StringInfo sql, const char *column, int param);
static void remove_rows(const Moved *what, Datum *params);
static Datum close_loser(Datum loser, Datum survivor);
static void update_survivor(Datum loser, Datum survivor);

PG_FUNCTION_INFO_V1(svc_merge_customer);

/*
 * svc_merge_customer(from_id, into_id) -> the new status of from_id, "merged"
 */
Datum
svc_merge_customer(PG_FUNCTION_ARGS)
{
	Datum		loser = svc_argument_id(fcinfo, 0, "customer id");
	Datum		survivor = svc_argument_id(fcinfo, 1, "customer id");
	Datum		status;
	SvcCall		call;

	if (strcmp(TextDatumGetCString(loser), TextDatumGetCString(survivor)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot merge customer \"%s\" into itself", TextDatumGetCString(loser)),
				 errdetail("Both ids are the same."),
				 errhint("Name another customer to merge into.")));

	svc_call_begin(&call, fcinfo);
	svc_gate_read_committed("customers can be merged",
							"Rows that this transaction cannot see would be left behind.");
	/* who fills a segment has this first, and may then wait for one of the customers */
	svc_membership_hold();
	lock_customers(loser, survivor);
	refuse_foreign_references();
	/* as one who has recorded usage of them, we knew them otherwise */
	svc_usage_row_forget();
	move_rows(loser, survivor);
	svc_membership_move(loser, survivor);
	svc_plan_note_change(loser);
	svc_plan_note_change(survivor);
	update_survivor(loser, survivor);
	status = svc_call_keep(&call, close_loser(loser, survivor));
	svc_call_end(&call);
	return status;
}

/* Refuse foreign keys to rows that move, from tables that do not. */
static void
refuse_foreign_references(void)
{
	static SvcStatement statement = {
		"SELECT k.conname::text, k.conrelid::regclass::text, r.relname::text"
		" FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid"
		" JOIN pg_class f ON f.oid = k.conrelid"
		" WHERE k.contype = 'f' AND r.relnamespace = $1 AND r.relname::text = ANY ($2)"
		"  AND NOT (f.relnamespace = $1 AND f.relname::text = ANY ($2))"
		" ORDER BY 1 LIMIT 1",
		2, {OIDOID, TEXTARRAYOID}
	};
	Datum		tables[lengthof(moved)];
	Datum		values[2];

	for (int i = 0; i < lengthof(moved); i++)
		tables[i] = CStringGetTextDatum(moved[i].table);
	values[0] = ObjectIdGetDatum(svc_catalog_schema());
	values[1] = svc_statement_texts(tables, lengthof(moved));
	if (svc_statement_run(&statement, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_STILL_IN_USE),
				 errmsg("cannot merge customers while table \"%s\" refers to \"%s\"",
						svc_statement_text(0, 2), svc_statement_text(0, 3)),
				 errdetail("Its foreign key \"%s\" would not follow the rows that move.",
						   svc_statement_text(0, 1)),
				 errhint("Drop the foreign key, merge, let the rows follow, and add it again.")));
}

static void
lock_customers(Datum loser, Datum survivor)
{
	static SvcStatement statement = {
		"SELECT id FROM @extschema@.svc_customer WHERE id IN ($1, $2) ORDER BY id FOR UPDATE",
		2, {TEXTOID, TEXTOID}
	};
	Datum		ids[2] = {loser, survivor};

	svc_statement_run(&statement, ids, NULL);
	check_customer(loser);
	check_customer(survivor);
}

/* Both must exist and be neither merged nor deleted; so there are no cycles. */
static void
check_customer(Datum id)
{
	SvcFoundRow row;

	svc_gate_lock_row(&row, SVC_CUSTOMER, (Datum) 0, id);
	if (strcmp(row.status, "merged") == 0 || strcmp(row.status, "deleted") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
				 errmsg("cannot merge customer with status \"%s\"", row.status),
				 errdetail("Customer \"%s\" has this status.", TextDatumGetCString(id)),
				 strcmp(row.status, "merged") == 0 ?
				 errhint("Follow merged_into to the customer that has taken its place.") :
				 errhint("A deleted customer stays as it is.")));
}

/* Lock all, find what collides, add roll-ups, copy, remove. */
static void
move_rows(Datum loser, Datum survivor)
{
	Datum		params[PARAM_COUNT] = {loser, survivor};
	Renaming	ids[lengthof(moved)] = {{0}};
	Renaming	keys[lengthof(moved)] = {{0}};

	for (int p = PARAM_ROLLUPS; p < PARAM_COUNT; p++)
		params[p] = PointerGetDatum(construct_empty_array(TEXTOID));
	for (int i = 0; i < lengthof(moved); i++)
		svc_statement_run_once(psprintf("SELECT count(*) FROM (SELECT FROM @extschema@.%s"
										" WHERE customer_id IN ($1, %s)"
										" ORDER BY customer_id, %s FOR UPDATE) t",
										moved[i].table, moved[i].locks_both ? "$2" : "$1",
										moved[i].order),
							   PARAM_COUNT, param_types, params, NULL);

	for (int i = 0; i < lengthof(moved); i++)
	{
		if (moved[i].has_ids)
			ids[i] = find_common(moved[i].table, "id", params);
		if (moved[i].has_keys)
			keys[i] = find_common(moved[i].table, "idempotency_key", params);
		if (moved[i].ids != 0)
			set_renaming(params, moved[i].ids, ids[i]);
	}

	add_rollups(params);
	for (int i = 0; i < lengthof(moved); i++)
	{
		if (moved[i].has_ids)
			set_renaming(params, PARAM_IDS, ids[i]);
		if (moved[i].has_keys)
			set_renaming(params, PARAM_KEYS, keys[i]);
		copy_rows(&moved[i], params);
	}
	for (int i = lengthof(moved) - 1; i >= 0; i--)
		remove_rows(&moved[i], params);
}

/*
 * The values of a column that both customers have, and what the loser's become:
 * the value with the suffix, or where that is too long or taken as well, with a
 * hash in place of its end.
 */
static Renaming
find_common(const char *table, const char *column, Datum *params)
{
	Renaming	renaming;
	bool		isnull;

	svc_statement_run_once(psprintf("SELECT coalesce(array_agg(r.old ORDER BY r.old), '{}'),"
									" coalesce(array_agg(r.new ORDER BY r.old), '{}')"
									" FROM (SELECT DISTINCT l.%1$s::text AS old,"
									"  CASE WHEN length(l.%1$s) + 1 + length($1) <= %3$d"
									"   AND NOT EXISTS (SELECT FROM @extschema@.%2$s o"
									"    WHERE o.customer_id IN ($1, $2) AND o.%1$s = l.%1$s || '~' || $1)"
									"  THEN l.%1$s || '~' || $1"
									"  ELSE left(l.%1$s, %4$d) || '~' || md5(l.%1$s || '~' || $1) END AS new"
									"  FROM @extschema@.%2$s l JOIN @extschema@.%2$s s ON s.%1$s = l.%1$s"
									"  WHERE l.customer_id = $1 AND s.customer_id = $2) r",
									column, table, SVC_ID_LENGTH_MAX, SVC_ID_LENGTH_MAX - 33),
						   PARAM_COUNT, param_types, params, NULL);
	renaming.from = svc_statement_value(0, 1, &isnull);
	renaming.to = svc_statement_value(0, 2, &isnull);
	return renaming;
}

static void
set_renaming(Datum *params, int param, Renaming renaming)
{
	params[param] = renaming.from;
	params[param + 1] = renaming.to;
}

/*
 * Add the loser's roll-ups to the survivor's of the same periods, and remove
 * them.  A complete one is partial again, as after any late data.
 */
static void
add_rollups(Datum *params)
{
	static const SvcDeed deed = {.noun = SVC_CUSTOMER_USAGE, .action = "record"};
	StringInfoData sql;
	bool		isnull;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE @extschema@.svc_customer_usage s"
						   " SET status = 'partial', change_from_previous = NULL");
	for (int i = 0; i < lengthof(figures); i++)
		appendStringInfo(&sql, ", %1$s = CASE WHEN s.%1$s IS NULL THEN l.%1$s"
						 " ELSE s.%1$s + coalesce(l.%1$s, 0) END", figures[i]);
	for (int i = 0; i < lengthof(figure_maps); i++)
		appendStringInfo(&sql, ", %1$s = @extschema@.svc_add_figures(s.%1$s, l.%1$s)", figure_maps[i]);
	appendStringInfoString(&sql, ", currency = coalesce(s.currency, l.currency)"
						   " FROM @extschema@.svc_customer_usage l WHERE " ADDABLE);
	svc_lifecycle_write_once(&deed, sql.data, PARAM_COUNT, param_types, params, NULL);

	svc_lifecycle_rewrite_once("DELETE FROM @extschema@.svc_customer_usage l"
							   " USING @extschema@.svc_customer_usage s WHERE " ADDABLE,
							   PARAM_COUNT, param_types, params);

	/* of the rest, those move that are open and of a period of their own */
	svc_statement_run_once("SELECT coalesce(array_agg(t.id::text), '{}')"
						   " FROM @extschema@.svc_customer_usage t"
						   " WHERE t.customer_id = $1 AND t.status <> 'finalized' AND NOT t.is_folded"
						   " AND NOT EXISTS (SELECT FROM @extschema@.svc_customer_usage o"
						   "  WHERE o.customer_id = $2 AND o.period_type = t.period_type"
						   "  AND o.period_start = t.period_start AND NOT o.is_folded)",
						   PARAM_COUNT, param_types, params, NULL);
	params[PARAM_ROLLUPS] = svc_statement_value(0, 1, &isnull);

	/* what is rolled up from records that move is so again, for the survivor */
	svc_lifecycle_rewrite_once("DELETE FROM @extschema@.svc_customer_usage"
							   " WHERE customer_id = $1 AND is_folded AND status <> 'finalized'",
							   PARAM_COUNT, param_types, params);

	/* those that stay with the loser lose the subscription, which moves away */
	svc_lifecycle_rewrite_once("UPDATE @extschema@.svc_customer_usage SET subscription_id = NULL"
							   " WHERE customer_id = $1 AND subscription_id IS NOT NULL"
							   " AND id <> ALL ($3)",
							   PARAM_COUNT, param_types, params);
}

/* Copy the rows that move, all columns, a user's own included. */
static void
copy_rows(const Moved *what, Datum *params)
{
	Relation	rel = svc_catalog_open(what->table, RowExclusiveLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData columns;
	StringInfoData copies;

	initStringInfo(&columns);
	initStringInfo(&copies);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *separator = columns.len > 0 ? ", " : "";

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		appendStringInfo(&columns, "%s%s", separator, quote_identifier(NameStr(att->attname)));
		appendStringInfoString(&copies, separator);
		append_copied(&copies, what, NameStr(att->attname));
	}
	table_close(rel, NoLock);

	svc_statement_run_once(psprintf("INSERT INTO @extschema@.%1$s (%2$s)"
									" OVERRIDING SYSTEM VALUE"
									" SELECT %3$s FROM @extschema@.%1$s t WHERE customer_id = $1 AND %4$s",
									what->table, columns.data, copies.data,
									what->condition ? what->condition : "true"),
						   PARAM_COUNT, param_types, params, NULL);
}

/* What a column becomes. */
static void
append_copied(StringInfo sql, const Moved *what, const char *column)
{
	if (strcmp(column, "customer_id") == 0)
	{
		appendStringInfoString(sql, "$2");
		return;
	}
	if (what->has_ids && strcmp(column, "id") == 0)
	{
		append_renamed(sql, column, PARAM_IDS);
		return;
	}
	if (what->has_keys && strcmp(column, "idempotency_key") == 0)
	{
		append_renamed(sql, column, PARAM_KEYS);
		return;
	}
	/* a usage record is new to the survivor's roll-ups, and what is final there stays so */
	if (strcmp(what->table, "svc_usage") == 0 && strcmp(column, "booked_at") == 0)
	{
		appendStringInfoString(sql, "greatest(t.booked_at, (SELECT c.closed_until"
							   " FROM @extschema@.svc_customer c WHERE c.id = $2))");
		return;
	}
	if (strcmp(what->table, "svc_usage") == 0 && strcmp(column, "xid") == 0)
	{
		appendStringInfoString(sql, "pg_current_xact_id()");
		return;
	}
	if (strcmp(what->table, "svc_usage") == 0 && strcmp(column, "cluster") == 0)
	{
		appendStringInfo(sql, INT64_FORMAT, (int64) GetSystemIdentifier());
		return;
	}
	/* one of two that have the same plan now */
	if (strcmp(column, "allow_duplicate") == 0)
	{
		appendStringInfoString(sql, "t.allow_duplicate OR EXISTS (SELECT FROM @extschema@.svc_subscription s"
							   " WHERE s.customer_id = $2 AND s.plan_id = t.plan_id)");
		return;
	}
	/* a retry of the call that made a hold is told its id */
	if (what->has_keys && strcmp(column, "answer") == 0)
	{
		appendStringInfoString(sql, "CASE WHEN t.hold_id IS NOT NULL AND t.answer ? 'hold_id'"
							   " THEN jsonb_set(t.answer, '{hold_id}', to_jsonb(");
		append_renamed(sql, "hold_id", PARAM_HOLDS);
		appendStringInfoString(sql, "::text)) ELSE t.answer END");
		return;
	}
	for (int i = 0; i < lengthof(references); i++)
	{
		if (strcmp(column, references[i].column) == 0)
		{
			append_renamed(sql, column, references[i].ids);
			return;
		}
	}
	appendStringInfo(sql, "t.%s", quote_identifier(column));
}

static void
append_renamed(StringInfo sql, const char *column, int param)
{
	appendStringInfo(sql, "coalesce(($%2$d)[array_position($%3$d, t.%1$s::text)], t.%1$s)",
					 column, param + 2, param + 1);
}

static void
remove_rows(const Moved *what, Datum *params)
{
	svc_lifecycle_rewrite_once(psprintf("DELETE FROM @extschema@.%s t WHERE customer_id = $1 AND %s",
										what->table, what->condition ? what->condition : "true"),
							   PARAM_COUNT, param_types, params);
}

static Datum
close_loser(Datum loser, Datum survivor)
{
	static const SvcDeed deed = {.noun = SVC_CUSTOMER, .action = "merge"};
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer SET status = 'merged', merged_into = $2"
		" WHERE id = $1 RETURNING status",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {loser, survivor};
	bool		isnull;

	if (svc_lifecycle_write(&deed, &statement, values, NULL) == 0)
		svc_gate_report_suppressed(SVC_CUSTOMER, loser);
	return svc_statement_value(0, 1, &isnull);
}

static void
update_survivor(Datum loser, Datum survivor)
{
	static SvcStatement statement = {
		"UPDATE @extschema@.svc_customer s SET"
		"  lifetime_value = CASE WHEN s.default_currency <> l.default_currency THEN s.lifetime_value"
		"   WHEN s.lifetime_value IS NULL THEN l.lifetime_value"
		"   ELSE s.lifetime_value + coalesce(l.lifetime_value, 0) END,"
		"  first_purchase_at = least(s.first_purchase_at, l.first_purchase_at),"
		"  last_activity_at = greatest(s.last_activity_at, l.last_activity_at),"
		"  has_pools = s.has_pools OR l.has_pools"
		" FROM @extschema@.svc_customer l WHERE s.id = $2 AND l.id = $1",
		2, {TEXTOID, TEXTOID}
	};
	SvcDeed		deed = {.noun = SVC_CUSTOMER, .action = "update",
	.note = {"merged_from", NULL, TextDatumGetCString(loser)}};
	Datum		values[2] = {loser, survivor};

	if (svc_lifecycle_write(&deed, &statement, values, NULL) == 0)
		svc_gate_report_suppressed(SVC_CUSTOMER, survivor);
}
