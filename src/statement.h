/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  SQL statements of svc: written next to their use, prepared once per
 *	  backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_STATEMENT_H
#define SVC_STATEMENT_H

#include "executor/spi.h"

#define SVC_STATEMENT_ARGS_MAX	32

/*
 * A statement.  In the text, @extschema@ stands for the schema of svc, as it
 * does in extension scripts.  Tables are always written with it; operators
 * and functions of the system need no schema (see catalog.c).
 */
typedef struct SvcStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[SVC_STATEMENT_ARGS_MAX];

	/* kept by statement.c */
	SPIPlanPtr	saved;
	uint64		generation;		/* of the catalog when it was prepared */
} SvcStatement;

extern uint64 svc_statement_run(SvcStatement *statement, Datum *values,
								const bool *isnull);
extern uint64 svc_statement_read(SvcStatement *statement, Datum *values,
								 const bool *isnull);
extern uint64 svc_statement_read_latest(SvcStatement *statement, Datum *values);
extern uint64 svc_statement_run_once(const char *sql, int nargs, Oid *argtypes,
									 Datum *values, const bool *isnull);
extern uint64 svc_statement_run_literally(const char *sql, int nargs, Oid *argtypes, Datum *values,
										  bool only_read);
extern Datum svc_statement_instants(Datum *instants, int count);
extern Datum svc_statement_texts(Datum *texts, int count);
extern Datum svc_statement_value(uint64 row, int column, bool *isnull);
extern char *svc_statement_text(uint64 row, int column);

#endif							/* SVC_STATEMENT_H */
