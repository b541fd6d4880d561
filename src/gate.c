/*-------------------------------------------------------------------------
 *
 * gate.c
 *	  Rows that a call is about: there, locked, and the caller's own version.
 *
 * Locks: a customer FOR KEY SHARE, before any row of it; merging and deleting
 * take it FOR UPDATE and so are alone with it.  A row of a noun FOR NO KEY
 * UPDATE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "error.h"
#include "gate.h"
#include "statement.h"

static void find_row(SvcFoundRow *row, SvcStatement *statement, SvcNoun noun,
					 Datum customer_id, Datum id, const char *lock);

/*
 * Refuse a customer that does not exist, or not any more: one that is to get
 * a row, which "purpose" names.
 */
void
svc_gate_customer(Datum customer_id, const char *purpose)
{
	static SvcStatement statement = {
		"SELECT status::text FROM @extschema@.svc_customer WHERE id = $1 FOR KEY SHARE",
		1, {TEXTOID}
	};
	bool		found = svc_statement_run(&statement, &customer_id, NULL) > 0;

	svc_gate_check_customer(customer_id, found ? svc_statement_text(0, 1) : NULL, purpose);
}

/* The same of one whose status is known; NULL: it does not exist. */
void
svc_gate_check_customer(Datum customer_id, const char *status, const char *purpose)
{
	if (status == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_UNKNOWN_ROW),
				 errmsg("customer \"%s\" does not exist", TextDatumGetCString(customer_id)),
				 errdetail("The customer was to get %s.", purpose),
				 errhint("Create the customer first, with svc_create_customer().")));
	if (strcmp(status, "merged") == 0 || strcmp(status, "deleted") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_FORBIDDEN_TRANSITION),
				 errmsg("customer \"%s\" is %s", TextDatumGetCString(customer_id), status),
				 errdetail("The customer was to get %s.", purpose),
				 errhint("Choose a customer that is still served.")));
}

/* Keep a customer from being merged or deleted; it need not exist. */
void
svc_gate_hold_customer(Datum customer_id)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_customer WHERE id = $1 FOR KEY SHARE",
		1, {TEXTOID}
	};

	svc_statement_run(&statement, &customer_id, NULL);
}

/* Be alone with a customer: nobody else acts on it, or on its rows, meanwhile. */
void
svc_gate_take_customer(Datum customer_id)
{
	static SvcStatement statement = {
		"SELECT FROM @extschema@.svc_customer WHERE id = $1 FOR UPDATE",
		1, {TEXTOID}
	};

	svc_statement_run(&statement, &customer_id, NULL);
}

/*
 * Refuse a transaction that sees an old snapshot: one must do the work that
 * sees all rows.  "work" is what cannot be done, as a clause, "why" a sentence.
 */
void
svc_gate_read_committed(const char *work, const char *why)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("%s at READ COMMITTED only", work),
				 errdetail("%s", why),
				 errhint("Run it in a transaction with ISOLATION LEVEL READ COMMITTED.")));
}

/* Lock a row and say what it is like; raises SV008 when there is none. */
void
svc_gate_lock_row(SvcFoundRow *row, SvcNoun noun, Datum customer_id, Datum id)
{
	static SvcStatement statements[SVC_NOUN_COUNT];

	find_row(row, &statements[noun], noun, customer_id, id, " FOR NO KEY UPDATE");
}

/* The same FOR KEY SHARE: it stays, and that is all. */
void
svc_gate_hold_row(SvcFoundRow *row, SvcNoun noun, Datum customer_id, Datum id)
{
	static SvcStatement statements[SVC_NOUN_COUNT];

	find_row(row, &statements[noun], noun, customer_id, id, " FOR KEY SHARE");
}

/* The same without a lock. */
void
svc_gate_read_row(SvcFoundRow *row, SvcNoun noun, Datum customer_id, Datum id)
{
	static SvcStatement statements[SVC_NOUN_COUNT];

	find_row(row, &statements[noun], noun, customer_id, id, "");
}

/* Optimistic locking: raises SV005 when the row is not what the caller saw. */
void
svc_gate_check_revision(const SvcFoundRow *row, SvcNoun noun, Datum id, int64 expected)
{
	if (row->revision != expected)
		ereport(ERROR,
				(errcode(ERRCODE_SVC_REVISION_CONFLICT),
				 errmsg("%s \"%s\" was changed meanwhile", svc_noun_info(noun)->name,
						TextDatumGetCString(id)),
				 errdetail("Its revision is " INT64_FORMAT ", not " INT64_FORMAT ".",
						   row->revision, expected),
				 errhint("Read the row again and decide anew.")));
}

/* Our own write of a row that we had locked did not arrive. */
void
svc_gate_report_suppressed(SvcNoun noun, Datum id)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("%s \"%s\" was not updated as svc has asked", svc_noun_info(noun)->name,
					TextDatumGetCString(id)),
			 errdetail("A trigger, rule or policy on table \"%s\" has suppressed or changed it.",
					   svc_noun_info(noun)->table),
			 errhint("Such triggers must let svc's own updates pass.")));
}

/* Our own write of any other row did not arrive. */
void
svc_gate_report_unwritten(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("a row of table \"%s\" was not written", table),
			 errdetail("A trigger, rule or policy on the table has suppressed it."),
			 errhint("Such triggers must let svc's own rows pass.")));
}

/* "statement" is the one for this noun and lock, which is written here once. */
static void
find_row(SvcFoundRow *row, SvcStatement *statement, SvcNoun noun,
		 Datum customer_id, Datum id, const char *lock)
{
	const SvcNounInfo *info = svc_noun_info(noun);
	bool		owned = info->key == SVC_KEY_OF_CUSTOMER;
	Datum		values[2] = {id, customer_id};
	uint64		rows;
	bool		isnull;

	if (statement->sql == NULL)
	{
		char	   *sql = psprintf("SELECT status::text, revision::bigint FROM @extschema@.%s"
								   " WHERE id = $1%s%s",
								   info->table, owned ? " AND customer_id = $2" : "", lock);

		statement->nargs = owned ? 2 : 1;
		statement->argtypes[0] = statement->argtypes[1] = TEXTOID;
		statement->sql = MemoryContextStrdup(TopMemoryContext, sql);
	}

	/* what takes no lock is for functions that are STABLE */
	rows = lock[0] != '\0' ? svc_statement_run(statement, values, NULL) :
		svc_statement_read(statement, values, NULL);
	if (rows == 0)
		svc_gate_report_unknown(noun, customer_id, id);
	row->status = svc_statement_text(0, 1);
	row->revision = DatumGetInt64(svc_statement_value(0, 2, &isnull));
}

/* The row that a call names does not exist. */
void
svc_gate_report_unknown(SvcNoun noun, Datum customer_id, Datum id)
{
	const SvcNounInfo *info = svc_noun_info(noun);

	ereport(ERROR,
			(errcode(ERRCODE_SVC_UNKNOWN_ROW),
			 info->key == SVC_KEY_OF_CUSTOMER ?
			 errmsg("customer \"%s\" has no %s \"%s\"", TextDatumGetCString(customer_id),
					info->name, TextDatumGetCString(id)) :
			 errmsg("%s \"%s\" does not exist", info->name, TextDatumGetCString(id)),
			 errdetail("Table \"%s\" has no such row.", info->table),
			 errhint("Ids are compared byte by byte; look the row up first.")));
}
