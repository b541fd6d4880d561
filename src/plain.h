/*-------------------------------------------------------------------------
 *
 * plain.h
 *	  Is a table as svc_install() has made it?
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_PLAIN_H
#define SVC_PLAIN_H

#include "utils/relcache.h"

/* A CHECK of a table that svc sees to itself, as it is in the catalog. */
typedef struct SvcCheck
{
	const char *name;
	const char *expression;
} SvcCheck;

typedef struct SvcChecks
{
	int			count;
	const SvcCheck *checks;
} SvcChecks;

/* What was found about a table, as long as no relation changes. */
typedef struct SvcPlainVerdict
{
	Oid			rel;
	uint64		changes;		/* of the catalog when it was found */
	bool		is_plain;
} SvcPlainVerdict;

extern bool svc_plain_rows(Relation rel);
extern bool svc_plain_checks(Relation rel, const SvcChecks *checks);
extern bool svc_plain_triggers(Relation rel);

#endif							/* SVC_PLAIN_H */
