/*-------------------------------------------------------------------------
 *
 * plain.c
 *	  Is a table as svc_install() has made it?
 *
 * What reads and writes tables without the executor (direct.c, insert.c, update.c)
 * does not do what the executor would do besides.  So it asks here first, and
 * leaves tables with anything else on them to a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "compat.h"
#include "plain.h"

#define OUR_TRIGGER_PREFIX	"zzz_svc_"

static bool is_distributed(Relation rel);
static char *expression_of(Relation rel, const ConstrCheck *check);

/*
 * Are its rows all that there are, in a heap, to be seen by its owner as they are?
 */
bool
svc_plain_rows(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		!rel->rd_rel->relispartition &&
		!rel->rd_rel->relhassubclass &&
		rel->rd_rules == NULL &&
		!(rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity) &&
		!is_distributed(rel);
}

/*
 * Has another extension put triggers of its own on the table, which are internal,
 * but no constraint's?  So does Citus with a table whose rows are elsewhere: its
 * local shell is empty, and a row put into that would vanish.
 */
static bool
is_distributed(Relation rel)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgisinternal && !OidIsValid(trigger->tgconstraint))
			return true;
	}
	return false;
}

/* Is there nothing that the executor would have to compute or check but these? */
bool
svc_plain_checks(Relation rel, const SvcChecks *checks)
{
	const TupleConstr *constr = RelationGetDescr(rel)->constr;

	if (constr == NULL)
		return true;
	if (constr->has_generated_stored || svc_has_generated_virtual(constr))
		return false;
	for (int i = 0; i < constr->num_check; i++)
	{
		bool		known = false;

		for (int j = 0; j < checks->count && !known; j++)
			known = strcmp(constr->check[i].ccname, checks->checks[j].name) == 0 &&
				strcmp(expression_of(rel, &constr->check[i]), checks->checks[j].expression) == 0;
		if (!known)
			return false;
	}
	return true;
}

static char *
expression_of(Relation rel, const ConstrCheck *check)
{
	return TextDatumGetCString(DirectFunctionCall2(pg_get_expr, CStringGetTextDatum(check->ccbin),
												   ObjectIdGetDatum(RelationGetRelid(rel))));
}

/* Are its triggers svc's own, none disabled, but for those of foreign keys? */
bool
svc_plain_triggers(Relation rel)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (!trigger->tgisinternal &&
			(strncmp(trigger->tgname, OUR_TRIGGER_PREFIX, strlen(OUR_TRIGGER_PREFIX)) != 0 ||
			 trigger->tgenabled != TRIGGER_FIRES_ON_ORIGIN))
			return false;
	}
	return true;
}
