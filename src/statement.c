/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  SQL statements of svc: written next to their use, prepared once per
 *	  backend.
 *
 * All run inside a call (see catalog.c), hence as the tables' owner and with
 * the safe search_path.  A saved statement names the schema; when a schema is
 * renamed, the catalog's generation moves and the statement is prepared anew.
 * Everything else that can change under it is the plan cache's business.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "statement.h"

#define SCHEMA_MARK "@extschema@"

static void prepare_if_needed(SvcStatement *statement);
static char *fill_in_schema(const char *sql);
static char *null_flags(int nargs, const bool *isnull);
static uint64 execute_statement(SvcStatement *statement, Datum *values,
								const bool *isnull, bool read_only);
static uint64 processed(int rc);

/*
 * Run a statement; its result, if any, is left in SPI_tuptable.  "isnull" may
 * be NULL when no argument is.  Returns the number of rows.
 *
 * Under READ COMMITTED it sees everything that is committed now, and all that
 * this transaction has done.
 */
uint64
svc_statement_run(SvcStatement *statement, Datum *values, const bool *isnull)
{
	return execute_statement(statement, values, isnull, false);
}

/*
 * Run a SELECT with the snapshot of the calling query: for functions that are
 * STABLE, and the only way on a standby.
 */
uint64
svc_statement_read(SvcStatement *statement, Datum *values, const bool *isnull)
{
	return execute_statement(statement, values, isnull, true);
}

/*
 * Run a SELECT with the latest snapshot, even where the transaction has one
 * of its own: to find out what it cannot see.
 */
uint64
svc_statement_read_latest(SvcStatement *statement, Datum *values)
{
	prepare_if_needed(statement);
	return processed(SPI_execute_snapshot(statement->saved, values, NULL, GetLatestSnapshot(),
										  InvalidSnapshot, true, false, 0));
}

/* Run a statement whose text is made for this one time. */
uint64
svc_statement_run_once(const char *sql, int nargs, Oid *argtypes,
					   Datum *values, const bool *isnull)
{
	return processed(SPI_execute_with_args(fill_in_schema(sql), nargs, argtypes,
										   values, null_flags(nargs, isnull),
										   false, 0));
}

/* The same with a text in which nothing stands for the schema. */
uint64
svc_statement_run_literally(const char *sql, int nargs, Oid *argtypes, Datum *values, bool only_read)
{
	return processed(SPI_execute_with_args(sql, nargs, argtypes, values, NULL, only_read, 0));
}

/* An argument of type timestamptz[]. */
Datum
svc_statement_instants(Datum *instants, int count)
{
	return PointerGetDatum(construct_array(instants, count, TIMESTAMPTZOID, sizeof(TimestampTz),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* An argument of type text[]. */
Datum
svc_statement_texts(Datum *texts, int count)
{
	return PointerGetDatum(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* A value of the last result, counted from row 0 and column 1. */
Datum
svc_statement_value(uint64 row, int column, bool *isnull)
{
	if (row >= SPI_processed)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a row that svc has written is not there"),
				 errdetail("A trigger, rule or policy on a table of svc has suppressed it."),
				 errhint("Such triggers must let svc's own rows pass.")));
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

/* A text value of the last result as a C string, NULL for NULL. */
char *
svc_statement_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = svc_statement_value(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static uint64
execute_statement(SvcStatement *statement, Datum *values, const bool *isnull,
				  bool read_only)
{
	prepare_if_needed(statement);
	return processed(SPI_execute_plan(statement->saved, values,
									  null_flags(statement->nargs, isnull), read_only, 0));
}

/*
 * The number of rows.  SPI's own error codes tell of a wrong call, such as one
 * outside of SPI or a COMMIT, which svc's fixed statements do not make; what
 * goes wrong within a statement is raised there.
 */
static uint64
processed(int rc)
{
	if (rc < 0)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

static void
prepare_if_needed(SvcStatement *statement)
{
	SPIPlanPtr	prepared;

	if (statement->saved != NULL &&
		statement->generation == svc_catalog_generation())
		return;

	/*
	 * The one that this replaces, after the schema was renamed, may be
	 * running further up the stack: it is left to the end of the session.
	 */
	prepared = SPI_prepare(fill_in_schema(statement->sql), statement->nargs,
						   statement->argtypes);
	if (prepared == NULL)
		elog(ERROR, "could not prepare statement: %s",
			 SPI_result_code_string(SPI_result));
	if (SPI_keepplan(prepared) != 0)
		elog(ERROR, "could not keep statement");
	statement->saved = prepared;
	statement->generation = svc_catalog_generation();
}

static char *
fill_in_schema(const char *sql)
{
	const char *schema = svc_catalog_schema_name();
	StringInfoData filled;
	const char *mark;

	initStringInfo(&filled);
	while ((mark = strstr(sql, SCHEMA_MARK)) != NULL)
	{
		appendBinaryStringInfo(&filled, sql, mark - sql);
		appendStringInfoString(&filled, schema);
		sql = mark + strlen(SCHEMA_MARK);
	}
	appendStringInfoString(&filled, sql);
	return filled.data;
}

/* SPI wants 'n' for NULL and ' ' for a value. */
static char *
null_flags(int nargs, const bool *isnull)
{
	char	   *flags;

	if (isnull == NULL)
		return NULL;
	flags = palloc(nargs + 1);
	for (int i = 0; i < nargs; i++)
		flags[i] = isnull[i] ? 'n' : ' ';
	flags[nargs] = '\0';
	return flags;
}
