/*-------------------------------------------------------------------------
 *
 * criteria_set_sql.c
 *	  Which criteria of an array does a document match?
 *
 * The set that is made of an array is kept for the calls that follow, as long as they
 * pass the same array.  A constant is the same without being looked at, and that is
 * what the planner makes of most parameters; other arrays are compared with a copy of
 * the last.  Of another array only what is new to it is prepared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/primnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "clock.h"
#include "compat.h"
#include "criteria.h"
#include "criteria_set.h"

/* That of the last call; kept with the function's FmgrInfo. */
typedef struct LastCall
{
	ArrayType  *array;
	SvcCriteriaSet *set;
} LastCall;

/* Those that match, so far. */
typedef struct Matching
{
	Datum	   *numbers;
	int			count;
} Matching;

static SvcCriteriaSet *set_of_call(FunctionCallInfo fcinfo, int n);
static bool is_constant(FunctionCallInfo fcinfo, int n);
static SvcCriteriaMember *members_of(ArrayType *array, int *count);
static Bitmapset *candidates_of(SvcCriteriaSet *set, ArrayType *changed);
static bool note_matching(int member, bool matches, void *state);

PG_FUNCTION_INFO_V1(svc_matching_criteria);

/*
 * svc_matching_criteria(doc jsonb, criteria svc_criteria[], changed text[], at timestamptz) -> integer[]
 *
 * STRICT but for "changed", of which null is everything, and "at", of which it is the
 * present.
 */
Datum
svc_matching_criteria(PG_FUNCTION_ARGS)
{
	Matching	matching = {0};
	SvcCriteriaSetHost host = {.decide = note_matching, .state = &matching};
	SvcCriteriaSet *set;
	Bitmapset  *candidates;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	set = set_of_call(fcinfo, 1);
	candidates = candidates_of(set, PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2));
	matching.numbers = palloc((bms_num_members(candidates) + 1) * sizeof(Datum));
	svc_criteria_set_evaluate(set, candidates, PG_GETARG_JSONB_P(0),
							  PG_ARGISNULL(3) ? svc_clock_now() : PG_GETARG_TIMESTAMPTZ(3), &host);
	PG_RETURN_ARRAYTYPE_P(construct_array(matching.numbers, matching.count, INT4OID,
										  sizeof(int32), true, TYPALIGN_INT));
}

/* The set of the criteria that a call is about. */
static SvcCriteriaSet *
set_of_call(FunctionCallInfo fcinfo, int n)
{
	LastCall   *last = fcinfo->flinfo->fn_extra;
	SvcCriteriaMember *members;
	ArrayType  *array;
	ArrayType  *copy;
	int			count;

	if (last != NULL && is_constant(fcinfo, n))
		return last->set;
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (last != NULL && VARSIZE(last->array) == VARSIZE(array) && memcmp(last->array, array, VARSIZE(array)) == 0)
		return last->set;
	if (last == NULL)
		last = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(LastCall));
	members = members_of(array, &count);
	copy = MemoryContextAllocHuge(fcinfo->flinfo->fn_mcxt, VARSIZE(array));
	memcpy(copy, array, VARSIZE(array));
	/* if this fails, the query does */
	last->set = svc_criteria_set_make(fcinfo->flinfo->fn_mcxt, members, count, last->set);
	if (last->array != NULL)
		pfree(last->array);
	last->array = copy;
	fcinfo->flinfo->fn_extra = last;
	return last->set;
}

/* Does an argument have the same value in all calls?  (That of a parameter may change.) */
static bool
is_constant(FunctionCallInfo fcinfo, int n)
{
	const FuncExpr *call = (FuncExpr *) fcinfo->flinfo->fn_expr;

	return call != NULL && IsA(call, FuncExpr) && list_length(call->args) > n && IsA(list_nth(call->args, n), Const);
}

static SvcCriteriaMember *
members_of(ArrayType *array, int *count)
{
	SvcCriteriaMember *members;
	Datum	   *elements;
	bool	   *nulls;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("criteria must be a list"),
				 errdetail("The array has %d dimensions.", ARR_NDIM(array)),
				 errhint("Pass an array of one dimension.")));
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &elements, &nulls, count);
	members = palloc0((*count + 1) * sizeof(SvcCriteriaMember));
	for (int i = 0; i < *count; i++)
	{
		if (!nulls[i])
			members[i].criteria = (SvcCriteria *) PG_DETOAST_DATUM(elements[i]);
	}
	return members;
}

static Bitmapset *
candidates_of(SvcCriteriaSet *set, ArrayType *changed)
{
	const char **paths;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			given = 0;

	if (changed == NULL)
		return svc_criteria_set_candidates(set, NULL, 0);
	deconstruct_array(changed, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	paths = palloc((count + 1) * sizeof(char *));
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			paths[given++] = TextDatumGetCString(elements[i]);
	}
	return svc_criteria_set_candidates(set, paths, given);
}

/* (members without ids and parents are numbered as they were given) */
static bool
note_matching(int member, bool matches, void *state)
{
	Matching   *matching = state;

	if (matches)
		matching->numbers[matching->count++] = Int32GetDatum(member + 1);
	return matches;
}
