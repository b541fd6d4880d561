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

/* The CHECKs of a table that svc sees to itself, by their names. */
typedef struct SvcChecks
{
	int			count;
	const char *const *names;
} SvcChecks;

extern bool svc_plain_rows(Relation rel);
extern bool svc_plain_checks(Relation rel, const SvcChecks *checks);
extern bool svc_plain_triggers(Relation rel);

#endif							/* SVC_PLAIN_H */
