/*-------------------------------------------------------------------------
 *
 * plan_limits.c
 *	  Is what a plan grants well defined?
 *
 * The language of definitions stands in plan_grant.c.  They are checked when a
 * plan is saved, so that no subscription fails on one later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "amount.h"
#include "argument.h"
#include "compat.h"
#include "error.h"
#include "period.h"
#include "plan_limits.h"
#include "pool.h"

#define CODE_SHOWN_MAX		100 /* of a code or key, in a message */
#define CODES_MAX			1000	/* of one plan */

/* What a definition can have, and of which JSON type; any for "value". */
static const struct
{
	const char *key;
	enum jbvType type;
}			definition_keys[] = {
	{"limit", jbvNumeric}, {"unlimited", jbvBool}, {"value", jbvNull},
	{"reset_period", jbvString}, {"rollover_max", jbvNumeric},
	{"overage", jbvString}, {"overage_limit", jbvNumeric}, {"carry_overage", jbvBool},
	{"alert_percents", jbvArray}, {"priority", jbvNumeric}, {"per_unit", jbvBool},
	{"costs", jbvObject},
};

static void check_definition(const char *code, JsonbValue *value);
static void check_member(const char *code, const char *key, JsonbValue *value);
static bool has_type(const JsonbValue *value, enum jbvType type);
static void check_costs(const char *code, JsonbContainer *costs);
static void check_amount(const char *code, const char *key, JsonbValue *value);
static void check_integer(const char *code, const char *key, JsonbValue *value, int32 low, int32 high);
static void check_percents(const char *code, JsonbContainer *object);
static bool may_exceed(JsonbContainer *object);
static void check_counted(const char *code, JsonbContainer *object);
static char *known_keys(void);
static void append_component(StringInfo pointer, const char *name);
pg_noreturn static void report_bad_limits(const char *problem, const char *code, const char *key,
										  const char *hint);
pg_noreturn static void report_bad_limits_at(const char *problem, const char *code, const char *key,
											 const char *member, const char *hint);

/* Refuse limits that do not define grants; NULL defines none. */
void
svc_plan_check_limits(Jsonb *limits)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *code = NULL;

	if (!JB_ROOT_IS_OBJECT(limits))
		report_bad_limits("they must be an object", NULL, NULL,
						  "Pass an object of entitlement codes and limits.");
	if (JB_ROOT_COUNT(limits) > CODES_MAX)
		report_bad_limits("there are too many codes", NULL, NULL,
						  psprintf("A plan grants at most %d codes.", CODES_MAX));
	it = JsonbIteratorInit(&limits->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			code = pnstrdup(value.val.string.val, value.val.string.len);
			svc_check_id(CStringGetTextDatum(code), "entitlement code");
		}
		else if (token == WJB_VALUE)
			check_definition(code, &value);
	}
}

static void
check_definition(const char *code, JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	member;
	char	   *key = NULL;

	if (value->type == jbvNumeric)
	{
		check_amount(code, NULL, value);
		return;
	}
	if (value->type == jbvBool && value->val.boolean)
		return;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		report_bad_limits("a code is defined by a number, true or an object", code, NULL,
						  "Leave out what the plan does not grant.");

	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(member.val.string.val, member.val.string.len);
		else if (token == WJB_VALUE)
			check_member(code, key, &member);
	}
	check_counted(code, value->val.binary.data);
	check_percents(code, value->val.binary.data);
}

static void
check_member(const char *code, const char *key, JsonbValue *value)
{
	SvcPeriod	period;
	char	   *word;
	int			i = 0;

	while (i < lengthof(definition_keys) && strcmp(definition_keys[i].key, key) != 0)
		i++;
	if (i == lengthof(definition_keys))
		report_bad_limits("unknown key", code, key, psprintf("The keys are %s.", known_keys()));
	if (!has_type(value, definition_keys[i].type))
		report_bad_limits("a value of the wrong type", code, key,
						  "Numbers, true and false are written without quotation marks.");

	word = value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
	if (strcmp(key, "reset_period") == 0 && !svc_period_find(word, &period))
		report_bad_limits("unknown period", code, key, "The periods are " SVC_PERIOD_NAMES ".");
	if (strcmp(key, "overage") == 0 && strcmp(word, "allow") != 0 && strcmp(word, "deny") != 0)
		report_bad_limits("unknown overage", code, key, "It is \"deny\" or \"allow\".");
	if (strcmp(key, "costs") == 0)
		check_costs(code, value->val.binary.data);
	if (strcmp(key, "priority") == 0)
		check_integer(code, key, value, 0, PG_INT32_MAX);
	else if (definition_keys[i].type == jbvNumeric)
		check_amount(code, key, value);
}

/* jbvNull stands for any type. */
static bool
has_type(const JsonbValue *value, enum jbvType type)
{
	if (type == jbvNull)
		return true;
	if (type == jbvArray)
		return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
	if (type == jbvObject)
		return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
	return value->type == type;
}

static void
check_costs(const char *code, JsonbContainer *costs)
{
	char	   *of_code;
	const char *problem = svc_pool_check_costs(costs, code, &of_code);

	if (problem != NULL)
		report_bad_limits_at(problem, code, "costs", of_code,
							 "For example {\"gpt_large\": 10, \"gpt_small\": 1}.");
}

static void
check_amount(const char *code, const char *key, JsonbValue *value)
{
	Datum		amount = NumericGetDatum(value->val.numeric);

	svc_check_amount(amount, key == NULL ? code : key);
	if (svc_amount_sign(amount) < 0)
		report_bad_limits("a negative amount", code, key, "A limit of 0 grants nothing.");
}

static void
check_integer(const char *code, const char *key, JsonbValue *value, int32 low, int32 high)
{
	Datum		number = NumericGetDatum(value->val.numeric);

	if (svc_amount_compare(number, svc_amount_from(low)) < 0 ||
		svc_amount_compare(number, svc_amount_from(high)) > 0 ||
		svc_amount_compare(number, svc_amount_quotient(number, svc_amount_from(1))) != 0)
		report_bad_limits("a number out of range", code, key,
						  psprintf("Pass a whole number from %d to %d.", low, high));
}

/* Beyond 100 usage gets only where it may exceed the limit. */
static void
check_percents(const char *code, JsonbContainer *object)
{
	int			max = may_exceed(object) ? 1000 : 100;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	JsonbValue *percents = getKeyJsonValueFromContainer(object, "alert_percents", 14, &element);

	if (percents == NULL)
		return;
	it = JsonbIteratorInit(percents->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvNumeric)
			report_bad_limits("a value of the wrong type", code, "alert_percents",
							  "Pass a list of whole numbers, such as [80, 100].");
		check_integer(code, "alert_percents", &element, 1, max);
	}
}

static bool
may_exceed(JsonbContainer *object)
{
	JsonbValue	value;
	JsonbValue *overage = getKeyJsonValueFromContainer(object, "overage", 7, &value);

	return overage != NULL && overage->val.string.len == 5 &&
		memcmp(overage->val.string.val, "allow", 5) == 0;
}

/* What is said about counting makes sense only of what is counted. */
static void
check_counted(const char *code, JsonbContainer *object)
{
	static const char *const counted[] = {"reset_period", "rollover_max", "overage", "overage_limit",
	"carry_overage", "alert_percents", "costs"};
	JsonbValue	value;
	JsonbValue *unlimited = getKeyJsonValueFromContainer(object, "unlimited", 9, &value);

	if (getKeyJsonValueFromContainer(object, "limit", 5, NULL) != NULL ||
		(unlimited != NULL && unlimited->val.boolean))
		return;
	for (int i = 0; i < lengthof(counted); i++)
	{
		if (getKeyJsonValueFromContainer(object, counted[i], strlen(counted[i]), NULL) != NULL)
			report_bad_limits("a right that is not counted has no such thing", code, counted[i],
							  "Give it a limit, or leave this out.");
	}
}

static char *
known_keys(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < lengthof(definition_keys); i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", definition_keys[i].key);
	return list.data;
}

/* A component of a JSON pointer (RFC 6901), cut when it is long. */
static void
append_component(StringInfo pointer, const char *name)
{
	int			shown = pg_mbcliplen(name, strlen(name), CODE_SHOWN_MAX);

	appendStringInfoChar(pointer, '/');
	for (const char *c = name; c < name + shown; c++)
	{
		if (*c == '~' || *c == '/')
			appendStringInfoString(pointer, *c == '~' ? "~0" : "~1");
		else
			appendStringInfoChar(pointer, *c);
	}
}

/* "code" and "key" say where; NULL: the whole. */
static void
report_bad_limits(const char *problem, const char *code, const char *key, const char *hint)
{
	report_bad_limits_at(problem, code, key, NULL, hint);
}

/* The same, and which member of the key's value. */
static void
report_bad_limits_at(const char *problem, const char *code, const char *key, const char *member,
					 const char *hint)
{
	StringInfoData pointer;

	initStringInfo(&pointer);
	if (code != NULL)
		append_component(&pointer, code);
	if (key != NULL)
		append_component(&pointer, key);
	if (member != NULL)
		append_component(&pointer, member);
	ereport(ERROR,
			(errcode(ERRCODE_SVC_PLAN_LIMITS),
			 errmsg("invalid limits of plan: %s", problem),
			 code == NULL ? errdetail("It concerns the whole.") : errdetail("at %s", pointer.data),
			 errhint("%s", hint)));
}
