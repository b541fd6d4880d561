/*-------------------------------------------------------------------------
 *
 * counter.c
 *	  Numbers without gaps.
 *
 * A sequence loses the numbers of transactions that roll back.  A row that is
 * counted up does not: its lock is held until the end of the transaction, and
 * a rollback takes the count back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "counter.h"
#include "statement.h"

#define NUMBER_DIGITS	6		/* at least; more when they are needed */

/* The next number of a counter as text, such as INV-000001. */
Datum
svc_counter_next(const char *name, const char *prefix)
{
	static SvcStatement statement = {
		"INSERT INTO @extschema@.svc_counter AS c (name, value) VALUES ($1, 1)"
		" ON CONFLICT (name) DO UPDATE SET value = c.value + 1 RETURNING value::bigint",
		1, {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	bool		isnull;

	svc_statement_run(&statement, &value, NULL);
	return CStringGetTextDatum(psprintf("%s%0*lld", prefix, NUMBER_DIGITS,
										(long long) DatumGetInt64(svc_statement_value(0, 1, &isnull))));
}
