/*-------------------------------------------------------------------------
 *
 * criteria_parse.c
 *	  From the text of segment criteria to their compiled form (criteria.h).
 *
 * Two passes: the text is read into a tree of JSON values, with the server's lexer,
 * so that a duplicate key is an error, which jsonb would silently pass; then the
 * tree is compiled.  What MongoDB would take for "matches nothing" is an error:
 * an unknown operator, an operand of the wrong type, an empty list of alternatives.
 * The language is described in README.
 *
 * An error is not raised but returned, with a JSON pointer to what is wrong: so
 * that this file runs without a server, as test/fuzz needs it.
 *
 * Pure: no SPI, no catalog, no server.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#define SET_VARSIZE(datum, size)	((datum)->vl_len_ = (size) << 2)
#else
#include "postgres.h"
#endif

#include "common/jsonapi.h"
#include "lib/stringinfo.h"

#include "compat.h"
#include "criteria.h"

/* deeper than the deepest criteria with the deepest values in them */
#define JSON_DEPTH_MAX	200

#define NUMBER_LENGTH_MAX	1000
#define NUMBER_EXPONENT_MAX	1000

typedef enum JsonKind
{
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
} JsonKind;

/* A JSON value, and where it is. */
typedef struct Json
{
	JsonKind	kind;
	struct Json *parent;
	char	   *key;			/* in an object; NULL in an array */
	int			index;			/* among its parent's */
	char	   *text;			/* of a string, or a number */
	int			length;
	struct Json **members;
	int			count;
	const char *start;			/* in the source */
	const char *end;
} Json;

typedef struct Parser
{
	const SvcCriteriaHost *host;
	SvcCriteriaError *error;
	JsonLexContext *lex;
	SvcCriteriaNode *nodes;
	int			node_count;
	int			node_room;
	int			counted;		/* nodes that count for the limit */
	SvcCriteriaPath *paths;
	int			path_count;
	int			path_room;
	StringInfoData data;
	int			flags;
} Parser;

/* What may stand at a place. */
typedef struct Place
{
	int			depth;			/* of criteria */
	bool		segments;		/* $inSegment */
} Place;

typedef enum OperandKind
{
	OPERAND_VALUE,
	OPERAND_ORDERED,
	OPERAND_LIST,
	OPERAND_ALL,
	OPERAND_ELEMENT,
	OPERAND_SIZE,
	OPERAND_EXISTS,
	OPERAND_EMPTY,
	OPERAND_TYPE,
	OPERAND_REGEX,
	OPERAND_OPTIONS,
	OPERAND_TEXT,
	OPERAND_MOD,
	OPERAND_VERSION,
	OPERAND_DURATION,
	OPERAND_NOT,
} OperandKind;

typedef struct Operator
{
	const char *name;
	OperandKind operand;
	SvcCriteriaOp op;
	int			flags;
} Operator;

static const Operator operators[] = {
	{"$eq", OPERAND_VALUE, SVC_CRITERIA_IN, 0},
	{"$ne", OPERAND_VALUE, SVC_CRITERIA_IN, SVC_CRITERIA_NEGATED},
	{"$gt", OPERAND_ORDERED, SVC_CRITERIA_GT, 0},
	{"$gte", OPERAND_ORDERED, SVC_CRITERIA_GTE, 0},
	{"$lt", OPERAND_ORDERED, SVC_CRITERIA_LT, 0},
	{"$lte", OPERAND_ORDERED, SVC_CRITERIA_LTE, 0},
	{"$in", OPERAND_LIST, SVC_CRITERIA_IN, 0},
	{"$nin", OPERAND_LIST, SVC_CRITERIA_IN, SVC_CRITERIA_NEGATED},
	{"$ini", OPERAND_LIST, SVC_CRITERIA_IN, SVC_CRITERIA_FOLDED},
	{"$nini", OPERAND_LIST, SVC_CRITERIA_IN, SVC_CRITERIA_FOLDED | SVC_CRITERIA_NEGATED},
	{"$all", OPERAND_ALL, SVC_CRITERIA_IN, 0},
	{"$alli", OPERAND_ALL, SVC_CRITERIA_IN, SVC_CRITERIA_FOLDED},
	{"$elemMatch", OPERAND_ELEMENT, SVC_CRITERIA_ELEMENT, 0},
	{"$size", OPERAND_SIZE, SVC_CRITERIA_SIZE, 0},
	{"$exists", OPERAND_EXISTS, SVC_CRITERIA_EXISTS, 0},
	{"$empty", OPERAND_EMPTY, SVC_CRITERIA_NOT_EMPTY, 0},
	{"$type", OPERAND_TYPE, SVC_CRITERIA_TYPE, 0},
	{"$regex", OPERAND_REGEX, SVC_CRITERIA_REGEX, 0},
	{"$regexi", OPERAND_REGEX, SVC_CRITERIA_REGEX, SVC_CRITERIA_FOLDED},
	{"$notRegex", OPERAND_REGEX, SVC_CRITERIA_REGEX, SVC_CRITERIA_NEGATED},
	{"$notRegexi", OPERAND_REGEX, SVC_CRITERIA_REGEX, SVC_CRITERIA_FOLDED | SVC_CRITERIA_NEGATED},
	{"$options", OPERAND_OPTIONS, SVC_CRITERIA_REGEX, 0},
	{"$startsWith", OPERAND_TEXT, SVC_CRITERIA_STARTS_WITH, 0},
	{"$endsWith", OPERAND_TEXT, SVC_CRITERIA_ENDS_WITH, 0},
	{"$contains", OPERAND_TEXT, SVC_CRITERIA_CONTAINS, 0},
	{"$icontains", OPERAND_TEXT, SVC_CRITERIA_CONTAINS, SVC_CRITERIA_FOLDED},
	{"$mod", OPERAND_MOD, SVC_CRITERIA_MOD, 0},
	{"$veq", OPERAND_VERSION, SVC_CRITERIA_VERSION_EQ, 0},
	{"$vne", OPERAND_VERSION, SVC_CRITERIA_VERSION_EQ, SVC_CRITERIA_NEGATED},
	{"$vgt", OPERAND_VERSION, SVC_CRITERIA_VERSION_GT, 0},
	{"$vgte", OPERAND_VERSION, SVC_CRITERIA_VERSION_GTE, 0},
	{"$vlt", OPERAND_VERSION, SVC_CRITERIA_VERSION_LT, 0},
	{"$vlte", OPERAND_VERSION, SVC_CRITERIA_VERSION_LTE, 0},
	{"$withinLast", OPERAND_DURATION, SVC_CRITERIA_WITHIN_LAST, 0},
	{"$withinNext", OPERAND_DURATION, SVC_CRITERIA_WITHIN_NEXT, 0},
	{"$not", OPERAND_NOT, SVC_CRITERIA_AND, SVC_CRITERIA_NEGATED},
};

/* keys of criteria that are no paths */
static const char *const junctions[] = {
	"$and", "$or", "$nor", "$not", "$inSegment", "$notInSegment", "$comment",
};

static Json *read_json(Parser *parser, const char *source, int length);
static bool next_token(Parser *parser, Json *at);
static bool read_value(Parser *parser, Json *value, int depth);
static bool read_array(Parser *parser, Json *array, int depth);
static bool read_object(Parser *parser, Json *object, int depth);
static Json *add_member(Json *parent, int *room, char *key);
static bool check_duplicates(Parser *parser, Json *object);
static int	compare_keys(const void *a, const void *b);

static bool parse_criteria(Parser *parser, Json *json, Place place);
static bool parse_junction(Parser *parser, Json *json, Place place);
static bool parse_parts(Parser *parser, Json *json, Place place, SvcCriteriaOp op, int flags);
static bool parse_segments(Parser *parser, Json *json, Place place, int flags);
static bool parse_condition(Parser *parser, Json *json, int path, Place place);
static bool parse_operators(Parser *parser, Json *json, int path, Place place);
static bool parse_operator(Parser *parser, Json *json, int path, Place place);
static bool parse_ordered(Parser *parser, Json *json);
static bool parse_list(Parser *parser, Json *json, int flags);
static bool parse_all(Parser *parser, Json *json, int path, int flags, Place place);
static bool parse_element(Parser *parser, Json *json, int path, Place place);
static bool parse_size(Parser *parser, Json *json, Place place);
static bool parse_flag(Parser *parser, Json *json, bool numbers, bool *value);
static bool parse_type(Parser *parser, Json *json, int node);
static bool parse_regex(Parser *parser, Json *json, int node, int flags);
static bool parse_mod(Parser *parser, Json *json);
static bool parse_duration(Parser *parser, Json *json, int node, char sign);
static bool parse_value(Parser *parser, Json *json, int flags);
static bool parse_date(Parser *parser, Json *json);
static bool check_plain(Parser *parser, Json *json, int depth);
static bool check_number(Parser *parser, Json *json);

static const Operator *find_operator(const char *name);
static bool is_operator_object(const Json *json);
static bool is_date(const Json *json);
static bool is_element_match(const Json *json);
static Json *find_member(const Json *object, const char *key);
static int	find_path(Parser *parser, Json *json);
static int	open_node(Parser *parser, Json *json, SvcCriteriaOp op, int flags, int path);
static int	add_node(Parser *parser, SvcCriteriaOp op, int flags, int path);
static void close_node(Parser *parser, int node);
static void set_bytes(Parser *parser, int node, const char *bytes, int length);
static bool fail(Parser *parser, const Json *at, char *hint, const char *message,...) pg_attribute_printf(4, 5);
static void write_pointer(StringInfo pointer, const Json *at);
static bool fail_unknown(Parser *parser, const Json *json, bool in_condition);
static int	distance(const char *a, const char *b);
static SvcCriteria *assemble(Parser *parser, const char *source, int length);

/*
 * Compile criteria; NULL, when they are wrong, and what is wrong in *error.
 * The source need not be terminated.
 */
SvcCriteria *
svc_criteria_parse(const char *source, int length, const SvcCriteriaHost *host, SvcCriteriaError *error)
{
	Parser		parser = {.host = host, .error = error};
	Place		place = {.depth = 0, .segments = true};
	Json	   *json;

	initStringInfo(&parser.data);
	if (length > SVC_CRITERIA_LENGTH_MAX)
	{
		(void) fail(&parser, NULL, NULL, "they are longer than %d bytes", SVC_CRITERIA_LENGTH_MAX);
		return NULL;
	}
	json = read_json(&parser, source, length);
	if (json == NULL || !parse_criteria(&parser, json, place))
		return NULL;
	return assemble(&parser, source, length);
}

/* ---- from text to a tree ---- */

static Json *
read_json(Parser *parser, const char *source, int length)
{
	Json	   *json = palloc0(sizeof(Json));
	/* (the lexer looks behind the end in its messages) */
	char	   *copy = pnstrdup(source, length);

	parser->lex = svc_json_lexer(copy, strlen(copy), parser->host->encoding);
	if (strlen(copy) < length)
	{
		(void) fail(parser, NULL, NULL, "they contain a zero byte");
		return NULL;
	}
	if (!next_token(parser, json) || !read_value(parser, json, 0))
		return NULL;
	if (parser->lex->token_type != JSON_TOKEN_END)
	{
		(void) fail(parser, json, NULL, "something follows the document");
		return NULL;
	}
	return json;
}

static bool
next_token(Parser *parser, Json *at)
{
	JsonParseErrorType result = json_lex(parser->lex);

	if (result == JSON_SUCCESS)
		return true;
	return fail(parser, at, NULL, "invalid JSON: %s", json_errdetail(result, parser->lex));
}

/* Read the value that begins with the present token, and the token behind it. */
static bool
read_value(Parser *parser, Json *value, int depth)
{
	JsonLexContext *lex = parser->lex;
	JsonTokenType token = lex->token_type;

	value->start = lex->token_start;
	if (token == JSON_TOKEN_NULL)
		value->kind = JSON_NULL;
	else if (token == JSON_TOKEN_FALSE)
		value->kind = JSON_FALSE;
	else if (token == JSON_TOKEN_TRUE)
		value->kind = JSON_TRUE;
	else if (token == JSON_TOKEN_NUMBER)
	{
		value->kind = JSON_NUMBER;
		value->text = pnstrdup(lex->token_start, lex->token_terminator - lex->token_start);
		value->length = strlen(value->text);
	}
	else if (token == JSON_TOKEN_STRING)
	{
		value->kind = JSON_STRING;
		value->text = pstrdup(lex->strval->data);
		value->length = lex->strval->len;
	}
	else if (token == JSON_TOKEN_ARRAY_START || token == JSON_TOKEN_OBJECT_START)
	{
		value->kind = token == JSON_TOKEN_ARRAY_START ? JSON_ARRAY : JSON_OBJECT;
		if (!(value->kind == JSON_ARRAY ? read_array(parser, value, depth + 1) : read_object(parser, value, depth + 1)))
			return false;
	}
	else
		return fail(parser, value, NULL, "invalid JSON: a value is missing");
	value->end = lex->token_terminator;
	return next_token(parser, value);
}

static bool
read_array(Parser *parser, Json *array, int depth)
{
	int			room = 0;

	if (depth > JSON_DEPTH_MAX)
		return fail(parser, array, NULL, "it is nested too deeply");
	if (!next_token(parser, array))
		return false;
	if (parser->lex->token_type == JSON_TOKEN_ARRAY_END)
		return true;
	for (;;)
	{
		if (!read_value(parser, add_member(array, &room, NULL), depth))
			return false;
		if (parser->lex->token_type == JSON_TOKEN_ARRAY_END)
			return true;
		if (parser->lex->token_type != JSON_TOKEN_COMMA)
			return fail(parser, array, NULL, "invalid JSON: \",\" or \"]\" is missing");
		if (!next_token(parser, array))
			return false;
	}
}

static bool
read_object(Parser *parser, Json *object, int depth)
{
	JsonLexContext *lex = parser->lex;
	int			room = 0;

	if (depth > JSON_DEPTH_MAX)
		return fail(parser, object, NULL, "it is nested too deeply");
	if (!next_token(parser, object))
		return false;
	if (lex->token_type == JSON_TOKEN_OBJECT_END)
		return true;
	for (;;)
	{
		Json	   *member;

		if (lex->token_type != JSON_TOKEN_STRING)
			return fail(parser, object, NULL, "invalid JSON: a key is missing");
		member = add_member(object, &room, pstrdup(lex->strval->data));
		if (!next_token(parser, member))
			return false;
		if (lex->token_type != JSON_TOKEN_COLON)
			return fail(parser, member, NULL, "invalid JSON: \":\" is missing");
		if (!next_token(parser, member) || !read_value(parser, member, depth))
			return false;
		if (lex->token_type == JSON_TOKEN_OBJECT_END)
			return check_duplicates(parser, object);
		if (lex->token_type != JSON_TOKEN_COMMA)
			return fail(parser, object, NULL, "invalid JSON: \",\" or \"}\" is missing");
		if (!next_token(parser, object))
			return false;
	}
}

static Json *
add_member(Json *parent, int *room, char *key)
{
	Json	   *member = palloc0(sizeof(Json));

	if (parent->count == *room)
	{
		*room = *room == 0 ? 8 : *room * 2;
		parent->members = parent->members == NULL ? palloc(*room * sizeof(Json *)) :
			repalloc(parent->members, *room * sizeof(Json *));
	}
	member->parent = parent;
	member->key = key;
	member->index = parent->count;
	parent->members[parent->count++] = member;
	return member;
}

static bool
check_duplicates(Parser *parser, Json *object)
{
	Json	  **sorted = palloc(object->count * sizeof(Json *));

	memcpy(sorted, object->members, object->count * sizeof(Json *));
	qsort(sorted, object->count, sizeof(Json *), compare_keys);
	for (int i = 1; i < object->count; i++)
	{
		if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
			return fail(parser, sorted[i], NULL, "key \"%s\" stands twice in an object", sorted[i]->key);
	}
	pfree(sorted);
	return true;
}

static int
compare_keys(const void *a, const void *b)
{
	const Json *left = *(Json *const *) a;
	const Json *right = *(Json *const *) b;
	int			order = strcmp(left->key, right->key);

	return order != 0 ? order : left->index - right->index;
}

/* ---- from the tree to nodes ---- */

/* Criteria: a conjunction of what the keys of an object say. */
static bool
parse_criteria(Parser *parser, Json *json, Place place)
{
	int			node;

	if (json->kind != JSON_OBJECT)
		return fail(parser, json, "Write {\"path\": condition, ...}; {} matches everyone.",
					"criteria must be an object");
	if (place.depth > SVC_CRITERIA_DEPTH_MAX)
		return fail(parser, json, NULL, "criteria are nested more than %d deep", SVC_CRITERIA_DEPTH_MAX);
	/* the whole does not count */
	node = json->parent == NULL ? add_node(parser, SVC_CRITERIA_AND, 0, SVC_CRITERIA_NO_PATH) :
		open_node(parser, json, SVC_CRITERIA_AND, 0, SVC_CRITERIA_NO_PATH);
	if (node < 0)
		return false;
	for (int i = 0; i < json->count; i++)
	{
		Json	   *member = json->members[i];
		int			path;

		if (member->key[0] == '$')
		{
			if (!parse_junction(parser, member, place))
				return false;
			continue;
		}
		path = find_path(parser, member);
		if (path < 0 || !parse_condition(parser, member, path, place))
			return false;
	}
	close_node(parser, node);
	return true;
}

static bool
parse_junction(Parser *parser, Json *json, Place place)
{
	const char *key = json->key;

	if (strcmp(key, "$and") == 0)
		return parse_parts(parser, json, place, SVC_CRITERIA_AND, 0);
	if (strcmp(key, "$or") == 0)
		return parse_parts(parser, json, place, SVC_CRITERIA_OR, 0);
	if (strcmp(key, "$nor") == 0)
		return parse_parts(parser, json, place, SVC_CRITERIA_OR, SVC_CRITERIA_NEGATED);
	if (strcmp(key, "$not") == 0)
	{
		int			node = open_node(parser, json, SVC_CRITERIA_AND, SVC_CRITERIA_NEGATED, SVC_CRITERIA_NO_PATH);

		place.depth++;
		if (node < 0 || !parse_criteria(parser, json, place))
			return false;
		close_node(parser, node);
		return true;
	}
	if (place.segments && strcmp(key, "$inSegment") == 0)
		return parse_segments(parser, json, place, 0);
	if (place.segments && strcmp(key, "$notInSegment") == 0)
		return parse_segments(parser, json, place, SVC_CRITERIA_NEGATED);
	if (strcmp(key, "$comment") == 0)
		return json->kind == JSON_STRING || fail(parser, json, NULL, "$comment needs a string");
	if (find_operator(key) != NULL)
		return fail(parser, json, "Write {\"path\": {\"operator\": operand}}.", "%s needs a field", key);
	return fail_unknown(parser, json, false);
}

static bool
parse_parts(Parser *parser, Json *json, Place place, SvcCriteriaOp op, int flags)
{
	int			node;

	if (json->kind != JSON_ARRAY || json->count == 0)
		return fail(parser, json, NULL, "%s needs a non-empty array of criteria", json->key);
	node = open_node(parser, json, op, flags, SVC_CRITERIA_NO_PATH);
	if (node < 0)
		return false;
	place.depth++;
	for (int i = 0; i < json->count; i++)
	{
		if (!parse_criteria(parser, json->members[i], place))
			return false;
	}
	close_node(parser, node);
	return true;
}

static bool
parse_segments(Parser *parser, Json *json, Place place, int flags)
{
	int			node = open_node(parser, json, SVC_CRITERIA_IN_SEGMENT, flags, SVC_CRITERIA_NO_PATH);
	int			count = json->kind == JSON_ARRAY ? json->count : 1;

	if (node < 0)
		return false;
	if (count == 0 || count > SVC_CRITERIA_LIST_MAX)
		return fail(parser, json, NULL, "%s needs the id of a segment, or 1 to %d of them", json->key, SVC_CRITERIA_LIST_MAX);
	for (int i = 0; i < count; i++)
	{
		Json	   *id = json->kind == JSON_ARRAY ? json->members[i] : json;

		if (id->kind != JSON_STRING || id->length == 0)
			return fail(parser, id, NULL, "%s needs the id of a segment, or a list of them", json->key);
		set_bytes(parser, add_node(parser, SVC_CRITERIA_STRING, 0, SVC_CRITERIA_NO_PATH), id->text, id->length);
	}
	parser->flags |= SVC_CRITERIA_USES_SEGMENTS;
	close_node(parser, node);
	return true;
}

/* What a path is to be: operators, or a value, which it equals. */
static bool
parse_condition(Parser *parser, Json *json, int path, Place place)
{
	int			node;

	if (json->kind == JSON_OBJECT && !is_date(json))
	{
		if (is_operator_object(json))
			return parse_operators(parser, json, path, place);
		for (int i = 0; i < json->count; i++)
		{
			if (json->members[i]->key[0] == '$')
				return fail(parser, json, "Write operators only, or a value without keys that begin with \"$\".",
							"operators and fields are mixed in an object");
		}
	}
	node = open_node(parser, json, SVC_CRITERIA_IN, 0, path);
	if (node < 0 || !parse_value(parser, json, 0))
		return false;
	close_node(parser, node);
	return true;
}

static bool
parse_operators(Parser *parser, Json *json, int path, Place place)
{
	for (int i = 0; i < json->count; i++)
	{
		if (!parse_operator(parser, json->members[i], path, place))
			return false;
	}
	return true;
}

static bool
parse_operator(Parser *parser, Json *json, int path, Place place)
{
	const Operator *operator = find_operator(json->key);
	bool		value = true;
	bool		done = false;
	int			node;

	if (operator == NULL)
		return fail_unknown(parser, json, true);
	if (operator->operand == OPERAND_OPTIONS)
	{
		/* (who reads $regex reads it too) */
		if (find_member(json->parent, "$regex") == NULL && find_member(json->parent, "$regexi") == NULL &&
			find_member(json->parent, "$notRegex") == NULL && find_member(json->parent, "$notRegexi") == NULL)
			return fail(parser, json, NULL, "$options needs $regex beside it");
		return true;
	}
	if (operator->operand == OPERAND_ELEMENT)
		return parse_element(parser, json, path, place);
	if (operator->operand == OPERAND_ALL)
		return parse_all(parser, json, path, operator->flags, place);

	node = open_node(parser, json, operator->op, operator->flags,
					 operator->operand == OPERAND_NOT ? SVC_CRITERIA_NO_PATH : path);
	if (node < 0)
		return false;
	switch (operator->operand)
	{
		case OPERAND_VALUE:
			done = parse_value(parser, json, 0);
			break;
		case OPERAND_ORDERED:
			done = parse_ordered(parser, json);
			break;
		case OPERAND_LIST:
			done = parse_list(parser, json, operator->flags & SVC_CRITERIA_FOLDED);
			break;
		case OPERAND_SIZE:
			done = parse_size(parser, json, place);
			break;
		case OPERAND_EXISTS:
		case OPERAND_EMPTY:
			done = parse_flag(parser, json, operator->operand == OPERAND_EXISTS, &value);
			if (value != (operator->operand == OPERAND_EXISTS))
				parser->nodes[node].flags |= SVC_CRITERIA_NEGATED;
			break;
		case OPERAND_TYPE:
			done = parse_type(parser, json, node);
			break;
		case OPERAND_REGEX:
			done = parse_regex(parser, json, node, operator->flags);
			break;
		case OPERAND_TEXT:
			done = (json->kind == JSON_STRING && json->length > 0) ||
				fail(parser, json, NULL, "%s needs a non-empty string", json->key);
			if (done)
				set_bytes(parser, node, json->text, json->length);
			break;
		case OPERAND_MOD:
			done = parse_mod(parser, json);
			break;
		case OPERAND_VERSION:
			done = (json->kind == JSON_STRING && json->length > 0) ||
				fail(parser, json, NULL, "%s needs a version string", json->key);
			if (done)
				set_bytes(parser, node, json->text, json->length);
			break;
		case OPERAND_DURATION:
			done = parse_duration(parser, json, node, operator->op == SVC_CRITERIA_WITHIN_LAST ? '-' : '+');
			break;
		case OPERAND_NOT:
			place.depth++;
			if (json->kind != JSON_OBJECT || !is_operator_object(json))
				return fail(parser, json, "For a value write $ne.", "$not needs an operator object");
			if (place.depth > SVC_CRITERIA_DEPTH_MAX)
				return fail(parser, json, NULL, "criteria are nested more than %d deep", SVC_CRITERIA_DEPTH_MAX);
			done = parse_operators(parser, json, path, place);
			break;
		case OPERAND_ALL:
		case OPERAND_ELEMENT:
		case OPERAND_OPTIONS:
			Assert(false);
	}
	close_node(parser, node);
	return done;
}

/* Values that have an order among themselves. */
static bool
parse_ordered(Parser *parser, Json *json)
{
	bool		wrong = json->kind == JSON_NULL || json->kind == JSON_ARRAY;

	if (json->kind == JSON_OBJECT && !is_date(json))
	{
		wrong = true;
		for (int i = 0; i < json->count; i++)
			wrong &= json->members[i]->key[0] != '$';
	}
	if (wrong)
		return fail(parser, json, NULL, "%s needs a number, string, boolean or date", json->key);
	return parse_value(parser, json, 0);
}

static bool
parse_list(Parser *parser, Json *json, int flags)
{
	if (json->kind != JSON_ARRAY)
		return fail(parser, json, NULL, "%s needs an array", json->key);
	if (json->count > SVC_CRITERIA_LIST_MAX)
		return fail(parser, json, NULL, "%s has more than %d values", json->key, SVC_CRITERIA_LIST_MAX);
	for (int i = 0; i < json->count; i++)
	{
		if (!parse_value(parser, json->members[i], flags))
			return false;
	}
	return true;
}

/*
 * Values, or $elemMatch each: as many conditions on the same path.  None at all is
 * never true, as a list of no values is.
 */
static bool
parse_all(Parser *parser, Json *json, int path, int flags, Place place)
{
	int			matches = 0;

	if (json->kind != JSON_ARRAY)
		return fail(parser, json, NULL, "%s needs an array", json->key);
	if (json->count > SVC_CRITERIA_LIST_MAX)
		return fail(parser, json, NULL, "%s has more than %d values", json->key, SVC_CRITERIA_LIST_MAX);
	if (json->count == 0)
		return open_node(parser, json, SVC_CRITERIA_IN, 0, path) >= 0;
	for (int i = 0; i < json->count; i++)
		matches += is_element_match(json->members[i]);
	if (matches > 0 && matches < json->count)
		return fail(parser, json, NULL, "%s may not mix $elemMatch and values", json->key);
	for (int i = 0; i < json->count; i++)
	{
		int			node;

		if (matches > 0)
		{
			if (!parse_element(parser, json->members[i]->members[0], path, place))
				return false;
			continue;
		}
		node = open_node(parser, json, SVC_CRITERIA_IN, flags, path);
		if (node < 0 || !parse_value(parser, json->members[i], flags))
			return false;
		close_node(parser, node);
	}
	return true;
}

/* Conditions on an element itself, or criteria for a document that is one. */
static bool
parse_element(Parser *parser, Json *json, int path, Place place)
{
	bool		on_itself = json->kind == JSON_OBJECT && json->count > 0;
	int			node;

	if (json->kind != JSON_OBJECT)
		return fail(parser, json, NULL, "$elemMatch needs an object");
	place.depth++;
	place.segments = false;
	if (place.depth > SVC_CRITERIA_DEPTH_MAX)
		return fail(parser, json, NULL, "criteria are nested more than %d deep", SVC_CRITERIA_DEPTH_MAX);
	for (int i = 0; i < json->count; i++)
	{
		Json	   *member = json->members[i];

		if (member->key[0] != '$')
			on_itself = false;
		for (int j = 0; j < lengthof(junctions); j++)
		{
			/* (both know $not: then what it negates decides) */
			if (strcmp(member->key, junctions[j]) == 0 &&
				!(strcmp(member->key, "$not") == 0 && is_operator_object(member) &&
				  find_operator(member->members[0]->key) != NULL))
				on_itself = false;
		}
	}
	node = open_node(parser, json, on_itself ? SVC_CRITERIA_ELEMENT : SVC_CRITERIA_ELEMENT_DOCUMENT, 0, path);
	if (node < 0 ||
		!(on_itself ? parse_operators(parser, json, SVC_CRITERIA_NO_PATH, place) :
		  parse_criteria(parser, json, place)))
		return false;
	close_node(parser, node);
	return true;
}

static bool
parse_size(Parser *parser, Json *json, Place place)
{
	static const char *const allowed[] = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"};
	int			node;

	if (json->kind == JSON_OBJECT && json->count > 0)
	{
		for (int i = 0; i < json->count; i++)
		{
			bool		known = false;

			for (int j = 0; j < lengthof(allowed); j++)
				known |= strcmp(json->members[i]->key, allowed[j]) == 0;
			if (!known)
				return fail(parser, json, NULL, "$size needs a length, or comparisons of one");
		}
		return parse_operators(parser, json, SVC_CRITERIA_NO_PATH, place);
	}
	/* a whole number, perhaps written with a fraction of zeros */
	if (json->kind != JSON_NUMBER || json->text[0] == '-' ||
		strspn(json->text, "0123456789") + strspn(strchr(json->text, '.') != NULL ? strchr(json->text, '.') : "", ".0") != json->length)
		return fail(parser, json, NULL, "$size needs a non-negative integer");
	node = add_node(parser, SVC_CRITERIA_IN, 0, SVC_CRITERIA_NO_PATH);
	if (!parse_value(parser, json, 0))
		return false;
	close_node(parser, node);
	return true;
}

static bool
parse_flag(Parser *parser, Json *json, bool numbers, bool *value)
{
	if (json->kind == JSON_TRUE || json->kind == JSON_FALSE)
		*value = json->kind == JSON_TRUE;
	else if (numbers && json->kind == JSON_NUMBER && (strcmp(json->text, "0") == 0 || strcmp(json->text, "1") == 0))
		*value = json->text[0] == '1';
	else
		return fail(parser, json, NULL, "%s needs true or false", json->key);
	return true;
}

static bool
parse_type(Parser *parser, Json *json, int node)
{
	static const struct
	{
		const char *name;
		SvcCriteriaType type;
	}			types[] = {
		{"null", SVC_CRITERIA_TYPE_NULL}, {"boolean", SVC_CRITERIA_TYPE_BOOLEAN}, {"bool", SVC_CRITERIA_TYPE_BOOLEAN},
		{"number", SVC_CRITERIA_TYPE_NUMBER}, {"string", SVC_CRITERIA_TYPE_STRING},
		{"array", SVC_CRITERIA_TYPE_ARRAY}, {"object", SVC_CRITERIA_TYPE_OBJECT},
	};
	int			count = json->kind == JSON_ARRAY ? json->count : 1;

	if (count == 0)
		return fail(parser, json, NULL, "$type needs at least one type");
	for (int i = 0; i < count; i++)
	{
		Json	   *type = json->kind == JSON_ARRAY ? json->members[i] : json;
		bool		known = false;

		for (int j = 0; j < lengthof(types); j++)
		{
			if (type->kind == JSON_STRING && strcmp(type->text, types[j].name) == 0)
			{
				parser->nodes[node].data |= 1 << types[j].type;
				known = true;
			}
		}
		if (!known)
			return fail(parser, json, "Types are string, number, boolean (or bool), null, object and array.",
						type->text == NULL ? "$type needs the name of a type" : "unknown type \"%s\"", type->text);
	}
	return true;
}

/*
 * A pattern, as PostgreSQL writes it: dot and [^x] stop at a newline unless $options
 * say otherwise, \b is the boundary of a word, as it is elsewhere.
 */
static bool
parse_regex(Parser *parser, Json *json, int node, int flags)
{
	Json	   *options = find_member(json->parent, "$options");
	bool		folded = (flags & SVC_CRITERIA_FOLDED) != 0;
	bool		dot_all = false;
	bool		lines = false;
	bool		expanded = false;
	bool		in_bracket = false;
	StringInfoData pattern;
	char	   *wrong;

	if (json->kind != JSON_STRING)
		return fail(parser, json, NULL, "%s needs a string", json->key);
	if (json->length > SVC_CRITERIA_REGEX_MAX)
		return fail(parser, json, NULL, "invalid regular expression: it is longer than %d bytes", SVC_CRITERIA_REGEX_MAX);
	if (strncmp(json->text, "***", 3) == 0)
		return fail(parser, json, NULL, "invalid regular expression: it begins with ***");
	if (options != NULL)
	{
		if (options->kind != JSON_STRING || strspn(options->text, "imsx") != options->length)
			return fail(parser, json, "Options are i, m, s and x.", "invalid $options");
		folded |= strchr(options->text, 'i') != NULL;
		lines = strchr(options->text, 'm') != NULL;
		dot_all = strchr(options->text, 's') != NULL;
		expanded = strchr(options->text, 'x') != NULL;
	}

	initStringInfo(&pattern);
	appendStringInfo(&pattern, "(?%s%s%c)", folded ? "i" : "", expanded ? "x" : "",
					 dot_all ? (lines ? 'w' : 's') : (lines ? 'n' : 'p'));
	for (const char *c = json->text; *c != '\0'; c++)
	{
		if (*c == '\\' && c[1] != '\0')
		{
			appendStringInfoChar(&pattern, *c++);
			appendStringInfoChar(&pattern, in_bracket ? *c : *c == 'b' ? 'y' : *c == 'B' ? 'Y' : *c);
			continue;
		}
		appendStringInfoChar(&pattern, *c);
		if (!in_bracket && *c == '[')
		{
			in_bracket = true;
			/* a bracket that closes stands for itself, if it is the first */
			if (c[1] == '^')
				appendStringInfoChar(&pattern, *++c);
			if (c[1] == ']')
				appendStringInfoChar(&pattern, *++c);
		}
		else if (in_bracket && *c == '[' && (c[1] == ':' || c[1] == '.' || c[1] == '='))
		{
			char		closing[3] = {c[1], ']', '\0'};
			const char *end = strstr(c + 2, closing);

			if (end != NULL)
			{
				appendBinaryStringInfo(&pattern, c + 1, end + 1 - c);
				c = end + 1;
			}
		}
		else if (*c == ']')
			in_bracket = false;
	}
	wrong = parser->host->check_regex(pattern.data, pattern.len);
	if (wrong != NULL)
		return fail(parser, json, NULL, "invalid regular expression: %s", wrong);
	set_bytes(parser, node, pattern.data, pattern.len);
	return true;
}

static bool
parse_mod(Parser *parser, Json *json)
{
	const char *divisor;

	if (json->kind != JSON_ARRAY || json->count != 2 ||
		json->members[0]->kind != JSON_NUMBER || json->members[1]->kind != JSON_NUMBER)
		return fail(parser, json, NULL, "$mod needs [divisor, remainder]");
	/* both are truncated */
	divisor = json->members[0]->text;
	if (strpbrk(divisor, "eE") != NULL || strpbrk(json->members[1]->text, "eE") != NULL)
		return fail(parser, json, NULL, "$mod needs numbers without an exponent");
	divisor += *divisor == '-';
	if (strspn(divisor, "0") == strcspn(divisor, "."))
		return fail(parser, json, NULL, "$mod divisor may not be 0");
	return parse_value(parser, json->members[0], 0) && parse_value(parser, json->members[1], 0);
}

/* A number and a unit, kept as date math. */
static bool
parse_duration(Parser *parser, Json *json, int node, char sign)
{
	int			digits = json->kind == JSON_STRING ? strspn(json->text, "0123456789") : 0;
	char	   *math;
	int64		instant;

	if (digits == 0 || digits != json->length - 1 || strchr("smhdwMy", json->text[digits]) == NULL)
		return fail(parser, json, "Write a number and a unit: s, m, h, d, w, M or y.",
					"%s needs a duration such as \"30d\"", json->key);
	math = psprintf("now%c%s", sign, json->text);
	if (!svc_criteria_read_date_math(math, strlen(math), 0, &instant))
		return fail(parser, json, NULL, "%s needs a duration that is not so long", json->key);
	set_bytes(parser, node, math, strlen(math));
	parser->flags |= SVC_CRITERIA_TIME_DEPENDENT;
	return true;
}

/* A value to compare with; "flags" are of the comparison. */
static bool
parse_value(Parser *parser, Json *json, int flags)
{
	int			node;

	switch (json->kind)
	{
		case JSON_NULL:
			(void) add_node(parser, SVC_CRITERIA_NULL, 0, SVC_CRITERIA_NO_PATH);
			return true;
		case JSON_FALSE:
			(void) add_node(parser, SVC_CRITERIA_FALSE, 0, SVC_CRITERIA_NO_PATH);
			return true;
		case JSON_TRUE:
			(void) add_node(parser, SVC_CRITERIA_TRUE, 0, SVC_CRITERIA_NO_PATH);
			return true;
		case JSON_NUMBER:
			if (!check_number(parser, json))
				return false;
			set_bytes(parser, add_node(parser, SVC_CRITERIA_NUMBER, 0, SVC_CRITERIA_NO_PATH), json->text, json->length);
			return true;
		case JSON_STRING:
			set_bytes(parser, add_node(parser, SVC_CRITERIA_STRING, flags, SVC_CRITERIA_NO_PATH), json->text, json->length);
			return true;
		case JSON_OBJECT:
			if (is_date(json))
				return parse_date(parser, json->members[0]);
			break;
		case JSON_ARRAY:
			break;
	}
	if (!check_plain(parser, json, 0))
		return false;
	node = add_node(parser, SVC_CRITERIA_JSON, 0, SVC_CRITERIA_NO_PATH);
	set_bytes(parser, node, json->start, json->end - json->start);
	return true;
}

static bool
parse_date(Parser *parser, Json *json)
{
	int64		instant;

	if (json->kind == JSON_STRING && svc_criteria_read_instant(json->text, json->length, &instant))
	{
		set_bytes(parser, add_node(parser, SVC_CRITERIA_INSTANT, 0, SVC_CRITERIA_NO_PATH),
				  (char *) &instant, sizeof(instant));
		return true;
	}
	if (json->kind == JSON_STRING && svc_criteria_read_date_math(json->text, json->length, 0, &instant))
	{
		set_bytes(parser, add_node(parser, SVC_CRITERIA_DATE_MATH, 0, SVC_CRITERIA_NO_PATH), json->text, json->length);
		parser->flags |= SVC_CRITERIA_TIME_DEPENDENT;
		return true;
	}
	return fail(parser, json, "Write ISO 8601, such as \"2026-01-31\" or \"2026-01-31T12:00:00Z\", or date math, such as \"now-30d\".",
				"$date needs a date");
}

/* An array or object as it is: without operators anywhere in it. */
static bool
check_plain(Parser *parser, Json *json, int depth)
{
	if (depth > SVC_CRITERIA_DEPTH_MAX)
		return fail(parser, json, NULL, "a value is nested more than %d deep", SVC_CRITERIA_DEPTH_MAX);
	for (int i = 0; i < json->count; i++)
	{
		Json	   *member = json->members[i];

		if (member->key != NULL && member->key[0] == '$')
			return fail(parser, member, NULL, "%s is not allowed inside a value", member->key);
		if (!check_plain(parser, member, depth + 1))
			return false;
	}
	return json->kind != JSON_NUMBER || check_number(parser, json);
}

/* All that passes is a numeric, and of a reasonable size. */
static bool
check_number(Parser *parser, Json *json)
{
	const char *exponent = strpbrk(json->text, "eE");

	if (json->length > NUMBER_LENGTH_MAX ||
		(exponent != NULL && (strlen(exponent) > 10 || abs(atoi(exponent + 1)) > NUMBER_EXPONENT_MAX)))
		return fail(parser, json, NULL, "a number has more than %d digits, or an exponent beyond %d",
					NUMBER_LENGTH_MAX, NUMBER_EXPONENT_MAX);
	return true;
}

/* ---- looking at the tree ---- */

static const Operator *
find_operator(const char *name)
{
	for (int i = 0; i < lengthof(operators); i++)
	{
		if (strcmp(operators[i].name, name) == 0)
			return &operators[i];
	}
	return NULL;
}

static bool
is_operator_object(const Json *json)
{
	if (json->kind != JSON_OBJECT || json->count == 0)
		return false;
	for (int i = 0; i < json->count; i++)
	{
		if (json->members[i]->key[0] != '$')
			return false;
	}
	return true;
}

static bool
is_date(const Json *json)
{
	return json->kind == JSON_OBJECT && json->count == 1 && strcmp(json->members[0]->key, "$date") == 0;
}

static bool
is_element_match(const Json *json)
{
	return json->kind == JSON_OBJECT && json->count == 1 && strcmp(json->members[0]->key, "$elemMatch") == 0;
}

static Json *
find_member(const Json *object, const char *key)
{
	for (int i = 0; i < object->count; i++)
	{
		if (object->members[i]->key != NULL && strcmp(object->members[i]->key, key) == 0)
			return object->members[i];
	}
	return NULL;
}

/* The number of the path that a key names; -1, when it is none. */
static int
find_path(Parser *parser, Json *json)
{
	StringInfoData components;
	StringInfoData component;
	int			count = 0;

	initStringInfo(&components);
	initStringInfo(&component);
	for (const char *c = json->key;; c++)
	{
		if (*c != '.' && *c != '\0')
		{
			if (*c == '\\' && *++c != '.' && *c != '\\')
			{
				(void) fail(parser, json, "Write \\\\. for a dot and \\\\\\\\ for a backslash, in JSON.",
							"a path has a backslash before neither a dot nor a backslash");
				return -1;
			}
			appendStringInfoChar(&component, *c);
			continue;
		}
		if (component.len == 0 || component.data[0] == '$' || ++count > SVC_CRITERIA_PATH_MAX ||
			component.len > PG_UINT16_MAX)
		{
			(void) fail(parser, json, NULL,
						component.len == 0 ? "a path has an empty component" :
						component.data[0] == '$' ? "a component of a path begins with \"$\"" :
						"a path has more than %d components", SVC_CRITERIA_PATH_MAX);
			return -1;
		}
		appendStringInfoChar(&components, component.len & 0xFF);
		appendStringInfoChar(&components, component.len >> 8);
		appendBinaryStringInfo(&components, component.data, component.len);
		resetStringInfo(&component);
		if (*c == '\0')
			break;
	}
	for (int i = 0; i < parser->path_count; i++)
	{
		const SvcCriteriaPath *path = &parser->paths[i];

		/* (a path is followed by some other bytes: but its own tell where it ends) */
		if (path->count == count && path->data + components.len <= parser->data.len &&
			memcmp(parser->data.data + path->data, components.data, components.len) == 0)
			return i;
	}
	if (parser->path_count == parser->path_room)
	{
		parser->path_room = parser->path_room == 0 ? 8 : parser->path_room * 2;
		parser->paths = parser->paths == NULL ? palloc(parser->path_room * sizeof(SvcCriteriaPath)) :
			repalloc(parser->paths, parser->path_room * sizeof(SvcCriteriaPath));
	}
	parser->paths[parser->path_count].data = parser->data.len;
	parser->paths[parser->path_count].count = count;
	parser->paths[parser->path_count].unused = 0;
	appendBinaryStringInfo(&parser->data, components.data, components.len);
	return parser->path_count++;
}

/* ---- writing ---- */

/* Begin a node that counts for the limit; -1, when there are too many. */
static int
open_node(Parser *parser, Json *json, SvcCriteriaOp op, int flags, int path)
{
	if (++parser->counted > SVC_CRITERIA_NODES_MAX)
	{
		(void) fail(parser, json, "Write alternatives of one field as $in.",
					"criteria are too large: they have more than %d conditions and junctions", SVC_CRITERIA_NODES_MAX);
		return -1;
	}
	return add_node(parser, op, flags, path);
}

static int
add_node(Parser *parser, SvcCriteriaOp op, int flags, int path)
{
	SvcCriteriaNode *node;

	if (parser->node_count == parser->node_room)
	{
		parser->node_room = parser->node_room == 0 ? 16 : parser->node_room * 2;
		parser->nodes = parser->nodes == NULL ? palloc(parser->node_room * sizeof(SvcCriteriaNode)) :
			repalloc(parser->nodes, parser->node_room * sizeof(SvcCriteriaNode));
	}
	node = &parser->nodes[parser->node_count];
	memset(node, 0, sizeof(*node));
	node->op = op;
	node->flags = flags;
	node->path = path;
	node->size = 1;
	return parser->node_count++;
}

/* What was added since it was opened belongs to a node. */
static void
close_node(Parser *parser, int node)
{
	parser->nodes[node].size = parser->node_count - node;
}

static void
set_bytes(Parser *parser, int node, const char *bytes, int length)
{
	parser->nodes[node].data = parser->data.len;
	parser->nodes[node].length = length;
	appendBinaryStringInfo(&parser->data, bytes, length);
}

static SvcCriteria *
assemble(Parser *parser, const char *source, int length)
{
	Size		nodes = parser->node_count * sizeof(SvcCriteriaNode);
	Size		paths = parser->path_count * sizeof(SvcCriteriaPath);
	Size		size = offsetof(SvcCriteria, nodes) + nodes + paths + parser->data.len + length;
	SvcCriteria *criteria = palloc0(size);
	char	   *to = (char *) criteria->nodes;

	SET_VARSIZE(criteria, size);
	criteria->version = SVC_CRITERIA_VERSION;
	criteria->flags = parser->flags;
	criteria->path_count = parser->path_count;
	criteria->node_count = parser->node_count;
	criteria->source_length = length;
	criteria->data_length = parser->data.len;
	memcpy(to, parser->nodes, nodes);
	to += nodes;
	if (paths > 0)
		memcpy(to, parser->paths, paths);
	to += paths;
	memcpy(to, parser->data.data, parser->data.len);
	memcpy(to + parser->data.len, source, length);
	return criteria;
}

/* ---- errors ---- */

/* Say what is wrong, and where; false, so that it can be returned. */
static bool
fail(Parser *parser, const Json *at, char *hint, const char *message,...)
{
	StringInfoData clause;
	StringInfoData pointer;
	int			needed = 1;

	initStringInfo(&clause);
	while (needed != 0)
	{
		va_list		args;

		va_start(args, message);
		needed = appendStringInfoVA(&clause, message, args);
		va_end(args);
		if (needed != 0)
			enlargeStringInfo(&clause, needed);
	}
	initStringInfo(&pointer);
	write_pointer(&pointer, at);
	parser->error->message = clause.data;
	parser->error->pointer = pointer.data;
	parser->error->hint = hint;
	return false;
}

static void
write_pointer(StringInfo pointer, const Json *at)
{
	if (at == NULL || at->parent == NULL)
		return;
	write_pointer(pointer, at->parent);
	appendStringInfoChar(pointer, '/');
	if (at->key == NULL)
		appendStringInfo(pointer, "%d", at->index);
	else
	{
		for (const char *c = at->key; *c != '\0'; c++)
		{
			if (*c == '~' || *c == '/')
				appendStringInfo(pointer, "~%c", *c == '~' ? '0' : '1');
			else
				appendStringInfoChar(pointer, *c);
		}
	}
}

/* Name the nearest operator. */
static bool
fail_unknown(Parser *parser, const Json *json, bool in_condition)
{
	const char *nearest = NULL;
	int			best = 4;

	for (int i = 0; i < (in_condition ? lengthof(operators) : lengthof(junctions)); i++)
	{
		const char *name = in_condition ? operators[i].name : junctions[i];
		int			far = strlen(json->key) > 64 ? best : distance(json->key, name);

		if (far < best)
		{
			best = far;
			nearest = name;
		}
	}
	return fail(parser, json, nearest == NULL ? NULL : psprintf("Perhaps you meant \"%s\".", nearest),
				"unrecognized operator \"%s\"", json->key);
}

/* Levenshtein's distance; neither is longer than 64 bytes. */
static int
distance(const char *a, const char *b)
{
	int			row[66];
	int			columns = strlen(b);

	for (int j = 0; j <= columns; j++)
		row[j] = j;
	for (int i = 1; a[i - 1] != '\0'; i++)
	{
		int			diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= columns; j++)
		{
			int			above = row[j];

			row[j] = Min(Min(row[j] + 1, row[j - 1] + 1), diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[columns];
}
