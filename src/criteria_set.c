/*-------------------------------------------------------------------------
 *
 * criteria_set.c
 *	  Which of many criteria does a document match?
 *
 * The *store* keeps each thing that criteria are made of once, by a number: criteria,
 * prepared, as *steps* (junctions and leaves, in preorder); the *leaves*, conditions
 * that are equal but for their negation; the *paths* of leaves; *keys*, each a path
 * and a value; and *things*, what can change.  A set is made of members, which
 * refer to criteria in the store, and of lists that are found by such numbers:
 *
 *		things		member of the document, or of "attributes" ...; or a segment
 *		   |		mentions: the members that look at it, or have it for a parent
 *		   v
 *		members ->	criteria -> steps -> leaves -> path
 *		   ^								 '-> keys
 *		   |		keyed: the members that cannot match without
 *		keys		path and value, or path with any value
 *
 * A member is given an *access predicate*: keys of which a document must have one for
 * the member to match.  For an equality these are its path with each of its values; for
 * another condition that is false of what is missing, its path with any value; for an
 * OR those of all parts; for an AND those of the one part whose keys the fewest
 * members share.  Negations change AND with OR.  What has no such keys, or has nothing
 * of the kind, is always looked at.
 *
 * This is right, because a path yields the same values to those who look for keys and
 * to the condition: both walk as svc_criteria_visit_values does, for an equality if
 * there is one, which looks at elements of arrays, too.  An equality is true if and
 * only if one of its keys is there: strings are compared by their bytes, numbers as they
 * are written without trailing zeros, which is the same for equal numbers and no
 * others; what is missing counts as null.  What equality compares otherwise, arrays,
 * objects, dates, strings without case, makes no keys.
 *
 * To evaluate, walk the candidates in their order.  A path is visited when it is first
 * needed, which notes the keys that the document has for it, and marks all members
 * with such a key; the candidates that are not marked are false.  For the others leaves
 * are asked, once for a document: of an equality the keys say it, of other conditions
 * svc_criteria_condition_holds, unless the key is missing.  What is known of a document
 * carries the number of the evaluation, so that nothing need be cleared, and what an
 * error has left behind does not count.  An evaluation that takes place within another
 * takes a number of its own, and the outer one then another, too, which makes it forget
 * all but what has been decided.
 *
 * Nothing of the store is removed.  Another set takes it over, and prepares only what
 * is not there; when more than half of it is of no use any more, it begins a new one.
 * Until it is complete nothing happens to the set that it is made from, except that
 * its store may have grown: hence numbers are looked up in lists with care.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "compat.h"
#include "criteria.h"
#include "criteria_match.h"
#include "criteria_set.h"

/* Criteria that are kept though they are of no use, at least. */
#define UNUSED_CRITERIA_MIN		100

/* A cost above those of all equalities, and one that there is not. */
#define COST_PRESENCE	((int64) 1 << 40)
#define COST_NONE		PG_INT64_MAX

/* Stands where a second component would: any. */
static const char *const any_component = "*";

typedef struct Bytes
{
	const char *data;
	uint32		length;
} Bytes;

/* Bytes that have a number. */
typedef struct Word
{
	Bytes		bytes;
	uint32		hash;
	int			number;
	char		status;			/* (of simplehash) */
} Word;

/* (simplehash.h has a variable that hides another) */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#define SH_PREFIX words
#define SH_ELEMENT_TYPE Word
#define SH_KEY_TYPE Bytes
#define SH_KEY bytes
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) (key).data, (key).length)
#define SH_EQUAL(table, a, b) ((a).length == (b).length && memcmp((a).data, (b).data, (a).length) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(table, word) (word)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"
#pragma GCC diagnostic pop

/* A junction with its parts behind it, or a leaf. */
typedef struct Step
{
	uint8		op;				/* SvcCriteriaOp */
	bool		negated;
	int			size;			/* steps, itself included */
	int			leaf;			/* of what is no junction */
} Step;

typedef struct StoredCriteria
{
	SvcPreparedCriteria *prepared;
	Step	   *steps;
	int			step_count;
} StoredCriteria;

/* What of a document must be so for a leaf to be true. */
typedef enum Access
{
	ACCESS_NONE,
	ACCESS_PRESENCE,			/* the path has a value: one key */
	ACCESS_EQUALITY,			/* one of the keys */
} Access;

typedef struct Leaf
{
	uint64		evaluation;		/* in which "holds" was found */
	bool		holds;			/* if it were not negated */
	uint8		access;			/* Access */
	int			node;			/* of these criteria: */
	SvcPreparedCriteria *prepared;
	int			path;			/* or -1 */
	int			key_count;
	int		   *keys;
	int			thing_count;
	int		   *things;			/* that it mentions */
} Leaf;

typedef struct Path
{
	uint64		evaluation;		/* in which it was visited */
	int			presence;		/* the key of any value, or -1 */
	int			null;			/* the key of null and of what is missing, or -1 */
	bool		by_equality;	/* it is visited as by an equality, elements of arrays included */
	int			node;			/* of these criteria: */
	SvcPreparedCriteria *prepared;
} Path;

/* (arrays are by number; who is counted are the words) */
typedef struct Store
{
	MemoryContext memory;
	uint64		evaluation;		/* the last one */
	StringInfoData bytes;		/* of the word that is looked for */
	words_hash *criteria_words;
	StoredCriteria *criteria;
	words_hash *leaf_words;
	Leaf	   *leaves;
	words_hash *path_words;
	Path	   *paths;
	words_hash *key_words;
	uint64	   *seen;			/* of a key: the evaluation whose document has it */
	words_hash *thing_words;
	const char **segments;		/* of a thing: the id of the segment that it is, or NULL */
} Store;

/* A list of numbers for each of "count" numbers. */
typedef struct Lists
{
	int			count;
	int		   *starts;			/* and behind the last the end */
	int		   *numbers;
} Lists;

/* What lists are made of. */
typedef struct Pair
{
	int			list;
	int			number;
} Pair;

typedef struct Pairs
{
	Pair	   *pairs;
	int			count;
} Pairs;

typedef struct Member
{
	uint64		evaluation;		/* in which its access predicate was found satisfied */
	bool		always;			/* it has none */
	int			criteria;		/* in the store, or -1 */
	int			thing;			/* its segment, or -1 */
	int			given;			/* place among those that were given */
	const char *id;
} Member;

typedef struct SvcCriteriaSet
{
	MemoryContext memory;
	Store	   *store;
	int			count;
	Member	   *members;
	int			thing_count;
	int		   *member_of;		/* of a thing: the member whose segment it is, or -1 */
	Lists		mentions;		/* of a thing: members */
	Lists		keyed;			/* of a key: members whose access predicate has it */
	Lists		paths;			/* of a member: paths of its access predicate */
} Set;

/* An evaluation. */
typedef struct Walk
{
	Set		   *set;
	uint64		evaluation;
	const Jsonb *document;
	int64		now;
	const SvcCriteriaSetHost *host;
	Bitmapset  *candidates;
	Bitmapset  *decided;		/* of those with dependents */
	Bitmapset  *members;		/* of these, the owner is in their segments */
	int			path;			/* that is visited */
	bool		present;		/* it has a value */
	bool		null;			/* it has null, or is missing */
} Walk;

static Store *make_store(MemoryContext memory);
static bool is_worth_keeping(const Store *store, int count);
static void add_members(Set *set, const SvcCriteriaMember *members);
static int	stored_criteria(Store *store, const SvcCriteria *criteria);
static void add_step(Store *store, StoredCriteria *stored, int i);
static int	stored_leaf(Store *store, SvcPreparedCriteria *prepared, int i);
static void describe_leaf(const SvcCriteria *criteria, int i, StringInfo out);
static Bytes path_bytes(const SvcCriteria *criteria, int path);
static void set_things_of_segments(Store *store, Leaf *leaf, const SvcCriteria *criteria);
static void set_things_of_path(Store *store, Leaf *leaf, Bytes path);
static int	stored_thing(Store *store, Bytes first, const Bytes *second);
static void write_thing(StringInfo out, Bytes first, const Bytes *second);
static bool is_group(Bytes component);
static int	stored_path(Store *store, const Leaf *leaf, Bytes path);
static void set_access(Store *store, Leaf *leaf);
static Access access_of(const SvcCriteria *criteria, int i);
static int	stored_value_key(Store *store, int path, const SvcCriteria *criteria, int i);
static int	stored_presence_key(Store *store, int path);
static int	stored_key(Store *store, Bytes bytes);
static Bytes key_bytes(Store *store, int path, const JsonbValue *value);
static void index_mentions(Set *set, const SvcCriteriaMember *members);
static void order_members(Set *set);
static void queue_in_order(const Set *set, int *order);
static void choose_access(Set *set);
static int *count_shares(const Set *set);
static int64 access_cost(const Set *set, const int *shares, const Step *step, bool negated);
static void collect_keys(Set *set, const int *shares, const Step *step, bool negated, int member,
						 Pairs *keyed, Pairs *paths);
static void add_mentioning(const Set *set, Bytes first, const Bytes *second, Bitmapset **members);
static int	read_component(const char **rest, StringInfo out);
static bool may_match(Walk *walk, int member);
static void visit_path(Walk *walk, int path);
static void note_value(const JsonbValue *value, void *state);
static void note_key(Walk *walk, int key);
static bool is_true(Walk *walk, const Step *step);
static bool leaf_holds(Walk *walk, Leaf *leaf);
static bool ask_leaf(Walk *walk, const Leaf *leaf);
static bool has_key(Walk *walk, const Leaf *leaf);
static bool is_in_segment(Walk *walk, const Leaf *leaf);
static bool is_in_segment_of(Walk *walk, int thing);
static void decide(Walk *walk, int member, bool matches);
static void renew_evaluation(Walk *walk);
static const int *dependents_of(const Set *set, int member, int *count);
static const int *list_of(const Lists *lists, int list, int *count);
static void add_pair(Pairs *pairs, int list, int number);
static Lists make_lists(Pairs *pairs, int count);
static StringInfo word_buffer(Store *store);
static Bytes bytes_of(StringInfo buffer);
static Bytes bytes_of_text(const char *string);
static Bytes keep_bytes(Store *store, Bytes bytes);
static int	find_word(words_hash *words, Bytes bytes);
static int	add_word(words_hash *words, Bytes bytes);
static void *with_room(MemoryContext memory, void *array, int count, Size size);

/* ---- sets ---- */

/*
 * Make a set, in a memory context of its own below "parent".  What is given is
 * copied.  If there is an old set, it is freed, and what the new one has in common with
 * it need not be prepared again; after an error the old one is still there.
 *
 * Ids are different.  Segments that refer to each other in a circle, which should not
 * be, are in any order.
 */
SvcCriteriaSet *
svc_criteria_set_make(MemoryContext parent, const SvcCriteriaMember *members, int count, SvcCriteriaSet *old)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "svc criteria set", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Set		   *set = palloc0(sizeof(Set));

	set->memory = memory;
	set->count = count;
	set->store = old != NULL && is_worth_keeping(old->store, count) ? old->store : make_store(memory);
	add_members(set, members);
	index_mentions(set, members);
	order_members(set);
	choose_access(set);
	MemoryContextSwitchTo(caller);

	/* nothing of this fails */
	if (old != NULL)
	{
		MemoryContextSetParent(set->store->memory, memory);
		svc_criteria_set_free(old);
	}
	MemoryContextSetParent(memory, parent);
	return set;
}

void
svc_criteria_set_free(SvcCriteriaSet *set)
{
	MemoryContextDelete(set->memory);
}

int
svc_criteria_set_count(const SvcCriteriaSet *set)
{
	return set->count;
}

/* The member with an id; -1, if there is none. */
int
svc_criteria_set_find(const SvcCriteriaSet *set, const char *id)
{
	StringInfo	word = word_buffer(set->store);
	Bytes		bytes = bytes_of_text(id);
	int			thing;

	write_thing(word, bytes_of_text(SVC_CRITERIA_SEGMENTS), &bytes);
	thing = find_word(set->store->thing_words, bytes_of(word));
	return thing >= 0 && thing < set->thing_count ? set->member_of[thing] : -1;
}

/* The id of a member, or NULL. */
const char *
svc_criteria_set_id(const SvcCriteriaSet *set, int member)
{
	return set->members[member].id;
}

/* The place of a member among those that were given, from 0. */
int
svc_criteria_set_given(const SvcCriteriaSet *set, int member)
{
	return set->members[member].given;
}

/* The criteria of a member, or NULL. */
const SvcCriteria *
svc_criteria_set_criteria(const SvcCriteriaSet *set, int member)
{
	int			criteria = set->members[member].criteria;

	return criteria < 0 ? NULL : svc_criteria_of(set->store->criteria[criteria].prepared);
}

/* ---- the store ---- */

static Store *
make_store(MemoryContext memory)
{
	MemoryContext own = AllocSetContextCreate(memory, "svc criteria store", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(own);
	Store	   *store = palloc0(sizeof(Store));

	store->memory = own;
	initStringInfo(&store->bytes);
	store->criteria_words = words_create(own, 16, NULL);
	store->leaf_words = words_create(own, 16, NULL);
	store->path_words = words_create(own, 16, NULL);
	store->key_words = words_create(own, 16, NULL);
	store->thing_words = words_create(own, 16, NULL);
	MemoryContextSwitchTo(old);
	return store;
}

/* Is at least half of it, but for a few, of use for so many members? */
static bool
is_worth_keeping(const Store *store, int count)
{
	return store->criteria_words->members <= 2 * ((int64) count + UNUSED_CRITERIA_MIN);
}

static void
add_members(Set *set, const SvcCriteriaMember *members)
{
	Store	   *store = set->store;

	set->members = MemoryContextAllocHuge(set->memory, Max(set->count, 1) * sizeof(Member));
	for (int m = 0; m < set->count; m++)
	{
		Member	   *member = &set->members[m];

		CHECK_FOR_INTERRUPTS();
		memset(member, 0, sizeof(Member));
		member->given = m;
		member->criteria = members[m].criteria == NULL ? -1 : stored_criteria(store, members[m].criteria);
		member->thing = -1;
		if (members[m].id != NULL)
		{
			Bytes		id = bytes_of_text(members[m].id);

			member->id = pstrdup(members[m].id);
			member->thing = stored_thing(store, bytes_of_text(SVC_CRITERIA_SEGMENTS), &id);
		}
	}
}

/* The number of criteria, which are prepared if they are not there yet. */
static int
stored_criteria(Store *store, const SvcCriteria *criteria)
{
	Bytes		bytes = {(const char *) criteria, VARSIZE(criteria)};
	int			number = find_word(store->criteria_words, bytes);
	StoredCriteria stored = {0};
	MemoryContext old;

	if (number >= 0)
		return number;
	old = MemoryContextSwitchTo(store->memory);
	stored.prepared = svc_criteria_prepare(svc_criteria_present(criteria), 0);
	for (int i = 0; i < criteria->node_count;)
	{
		stored.step_count++;
		i += criteria->nodes[i].op <= SVC_CRITERIA_OR ? 1 : criteria->nodes[i].size;
	}
	stored.steps = palloc0(stored.step_count * sizeof(Step));
	stored.step_count = 0;
	add_step(store, &stored, 0);
	store->criteria = with_room(store->memory, store->criteria, store->criteria_words->members, sizeof(StoredCriteria));
	store->criteria[store->criteria_words->members] = stored;
	bytes.data = (const char *) svc_criteria_of(stored.prepared);
	number = add_word(store->criteria_words, bytes);
	MemoryContextSwitchTo(old);
	return number;
}

/* Make steps of a node and what belongs to it. */
static void
add_step(Store *store, StoredCriteria *stored, int i)
{
	const SvcCriteriaNode *nodes = svc_criteria_of(stored->prepared)->nodes;
	int			number = stored->step_count++;
	Step	   *step = &stored->steps[number];

	check_stack_depth();
	step->op = nodes[i].op;
	step->negated = (nodes[i].flags & SVC_CRITERIA_NEGATED) != 0;
	step->leaf = -1;
	if (step->op == SVC_CRITERIA_AND || step->op == SVC_CRITERIA_OR)
	{
		for (int child = i + 1; child < i + nodes[i].size; child += nodes[child].size)
			add_step(store, stored, child);
	}
	else
		step->leaf = stored_leaf(store, stored->prepared, i);
	step->size = stored->step_count - number;
}

/* ---- leaves ---- */

/* The number of a condition. */
static int
stored_leaf(Store *store, SvcPreparedCriteria *prepared, int i)
{
	const SvcCriteria *criteria = svc_criteria_of(prepared);
	const SvcCriteriaNode *node = &criteria->nodes[i];
	Leaf		leaf = {.prepared = prepared, .node = i, .path = -1};
	StringInfo	word = word_buffer(store);
	Bytes		bytes;
	int			number;

	describe_leaf(criteria, i, word);
	number = find_word(store->leaf_words, bytes_of(word));
	if (number >= 0)
		return number;
	bytes = keep_bytes(store, bytes_of(word));
	if (node->op == SVC_CRITERIA_IN_SEGMENT)
		set_things_of_segments(store, &leaf, criteria);
	else
	{
		Assert(node->path != SVC_CRITERIA_NO_PATH);
		set_things_of_path(store, &leaf, path_bytes(criteria, node->path));
		leaf.path = stored_path(store, &leaf, path_bytes(criteria, node->path));
		set_access(store, &leaf);
	}
	store->leaves = with_room(store->memory, store->leaves, store->leaf_words->members, sizeof(Leaf));
	store->leaves[store->leaf_words->members] = leaf;
	return add_word(store->leaf_words, bytes);
}

/* All that a condition depends on, but whether it is negated. */
static void
describe_leaf(const SvcCriteria *criteria, int i, StringInfo out)
{
	for (int n = i; n < i + criteria->nodes[i].size; n++)
	{
		const SvcCriteriaNode *node = &criteria->nodes[n];
		Bytes		path = {NULL, 0};
		uint32		numbers[3] = {node->size, node->length, 0};

		if (node->path != SVC_CRITERIA_NO_PATH)
			path = path_bytes(criteria, node->path);
		numbers[2] = path.length;
		appendStringInfoChar(out, node->op);
		appendStringInfoChar(out, n == i ? node->flags & ~SVC_CRITERIA_NEGATED : node->flags);
		appendBinaryStringInfo(out, (char *) numbers, sizeof(numbers));
		if (path.length > 0)
			appendBinaryStringInfo(out, path.data, path.length);
		/* data is a number, or an offset, which says nothing */
		if (node->op == SVC_CRITERIA_TYPE)
			appendBinaryStringInfo(out, (const char *) &node->data, sizeof(node->data));
		else
			appendBinaryStringInfo(out, svc_criteria_data(criteria) + node->data, node->length);
	}
}

/* The components of a path, one behind the other. */
static Bytes
path_bytes(const SvcCriteria *criteria, int path)
{
	const char *start = svc_criteria_data(criteria) + svc_criteria_paths_of(criteria)[path].data;
	const char *end = start;
	Bytes		bytes = {start, 0};

	for (int left = svc_criteria_paths_of(criteria)[path].count; left > 0; left--)
	{
		int			length = svc_criteria_component(&end);

		end += length;
	}
	bytes.length = end - start;
	return bytes;
}

/* What membership in one of the segments mentions: each, and segments at large. */
static void
set_things_of_segments(Store *store, Leaf *leaf, const SvcCriteria *criteria)
{
	Bytes		segments = bytes_of_text(SVC_CRITERIA_SEGMENTS);
	Bytes		any = {any_component, 1};
	int			end = leaf->node + criteria->nodes[leaf->node].size;

	leaf->things = palloc((end - leaf->node) * sizeof(int));
	for (int i = leaf->node + 1; i < end; i++)
	{
		Bytes		id = {svc_criteria_data(criteria) + criteria->nodes[i].data, criteria->nodes[i].length};

		leaf->things[leaf->thing_count++] = stored_thing(store, segments, &id);
	}
	leaf->things[leaf->thing_count++] = stored_thing(store, segments, &any);
}

/* What a condition on a path mentions: a thing, and, if it is one of a group, any. */
static void
set_things_of_path(Store *store, Leaf *leaf, Bytes path)
{
	const char *component = path.data;
	Bytes		any = {any_component, 1};
	Bytes		first;
	Bytes		second;

	leaf->things = palloc(2 * sizeof(int));
	first.length = svc_criteria_component(&component);
	first.data = component;
	component += first.length;
	if (!is_group(first) || component == path.data + path.length)
	{
		leaf->things[leaf->thing_count++] = stored_thing(store, first, NULL);
		return;
	}
	second.length = svc_criteria_component(&component);
	second.data = component;
	leaf->things[leaf->thing_count++] = stored_thing(store, first, &second);
	leaf->things[leaf->thing_count++] = stored_thing(store, first, &any);
}

static int
stored_thing(Store *store, Bytes first, const Bytes *second)
{
	bool		is_segment = second != NULL && second->data != any_component &&
		first.length == strlen(SVC_CRITERIA_SEGMENTS) && memcmp(first.data, SVC_CRITERIA_SEGMENTS, first.length) == 0;
	StringInfo	word = word_buffer(store);
	int			number;
	Bytes		bytes;

	write_thing(word, first, second);
	number = find_word(store->thing_words, bytes_of(word));
	if (number >= 0)
		return number;
	bytes = keep_bytes(store, bytes_of(word));
	store->segments = with_room(store->memory, store->segments, store->thing_words->members, sizeof(char *));
	store->segments[store->thing_words->members] = NULL;
	if (is_segment)
	{
		char	   *id = MemoryContextAllocZero(store->memory, second->length + 1);

		memcpy(id, second->data, second->length);
		store->segments[store->thing_words->members] = id;
	}
	return add_word(store->thing_words, bytes);
}

static void
write_thing(StringInfo out, Bytes first, const Bytes *second)
{
	appendBinaryStringInfo(out, (char *) &first.length, sizeof(first.length));
	appendBinaryStringInfo(out, first.data, first.length);
	if (second == NULL)
		return;
	/* "any" is no component: those have one "." before them */
	if (second->data != any_component)
		appendStringInfoChar(out, '.');
	appendBinaryStringInfo(out, second->data, second->length);
}

/* Do the members of this member of a document change one by one? */
static bool
is_group(Bytes component)
{
	static const char *const groups[] = {"attributes", "entitlements", "usage", SVC_CRITERIA_SEGMENTS};

	for (int i = 0; i < lengthof(groups); i++)
	{
		if (component.length == strlen(groups[i]) && memcmp(component.data, groups[i], component.length) == 0)
			return true;
	}
	return false;
}

/* The number of the path of a leaf, which is visited as an equality visits it, if there is one. */
static int
stored_path(Store *store, const Leaf *leaf, Bytes path)
{
	bool		by_equality = svc_criteria_of(leaf->prepared)->nodes[leaf->node].op == SVC_CRITERIA_IN;
	int			number = find_word(store->path_words, path);
	Path		added = {.prepared = leaf->prepared, .node = leaf->node, .by_equality = by_equality,
	.presence = -1, .null = -1};

	if (number < 0)
	{
		Bytes		bytes = keep_bytes(store, path);

		store->paths = with_room(store->memory, store->paths, store->path_words->members, sizeof(Path));
		store->paths[store->path_words->members] = added;
		return add_word(store->path_words, bytes);
	}
	if (by_equality && !store->paths[number].by_equality)
	{
		store->paths[number].by_equality = true;
		store->paths[number].node = added.node;
		store->paths[number].prepared = added.prepared;
	}
	return number;
}

/* ---- keys ---- */

static void
set_access(Store *store, Leaf *leaf)
{
	const SvcCriteria *criteria = svc_criteria_of(leaf->prepared);
	int			end = leaf->node + criteria->nodes[leaf->node].size;

	leaf->access = access_of(criteria, leaf->node);
	if (leaf->access == ACCESS_EQUALITY)
	{
		leaf->keys = palloc((end - leaf->node) * sizeof(int));
		for (int i = leaf->node + 1; i < end; i++)
			leaf->keys[leaf->key_count++] = stored_value_key(store, leaf->path, criteria, i);
	}
	else if (leaf->access == ACCESS_PRESENCE)
	{
		leaf->keys = palloc(sizeof(int));
		leaf->keys[leaf->key_count++] = stored_presence_key(store, leaf->path);
	}
}

/* All conditions but equalities with null are false of what is missing. */
static Access
access_of(const SvcCriteria *criteria, int i)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	bool		has_null = false;
	bool		by_key = true;

	if (node->op != SVC_CRITERIA_IN)
		return ACCESS_PRESENCE;
	for (int value = i + 1; value < i + node->size; value++)
	{
		uint8		op = criteria->nodes[value].op;

		has_null |= op == SVC_CRITERIA_NULL;
		by_key &= op == SVC_CRITERIA_NULL || op == SVC_CRITERIA_FALSE || op == SVC_CRITERIA_TRUE ||
			op == SVC_CRITERIA_NUMBER || op == SVC_CRITERIA_STRING;
	}
	if (by_key && !(node->flags & SVC_CRITERIA_FOLDED))
		return ACCESS_EQUALITY;
	return has_null ? ACCESS_NONE : ACCESS_PRESENCE;
}

/* The key of a path and a literal. */
static int
stored_value_key(Store *store, int path, const SvcCriteria *criteria, int i)
{
	const SvcCriteriaNode *node = &criteria->nodes[i];
	char	   *bytes = unconstify(char *, svc_criteria_data(criteria) + node->data);
	JsonbValue	value = {.type = jbvNull};
	int			number;

	if (node->op == SVC_CRITERIA_STRING)
	{
		value.type = jbvString;
		value.val.string.val = bytes;
		value.val.string.len = node->length;
	}
	else if (node->op == SVC_CRITERIA_NUMBER)
	{
		bytes = pnstrdup(bytes, node->length);
		value.type = jbvNumeric;
		value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(bytes),
																ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		pfree(bytes);
	}
	else if (node->op != SVC_CRITERIA_NULL)
	{
		value.type = jbvBool;
		value.val.boolean = node->op == SVC_CRITERIA_TRUE;
	}
	number = stored_key(store, key_bytes(store, path, &value));
	if (value.type == jbvNumeric)
		pfree(value.val.numeric);
	if (value.type == jbvNull)
		store->paths[path].null = number;
	return number;
}

static int
stored_presence_key(Store *store, int path)
{
	StringInfo	word = word_buffer(store);

	appendBinaryStringInfo(word, (char *) &path, sizeof(path));
	appendStringInfoChar(word, 'p');
	store->paths[path].presence = stored_key(store, bytes_of(word));
	return store->paths[path].presence;
}

static int
stored_key(Store *store, Bytes bytes)
{
	int			number = find_word(store->key_words, bytes);

	if (number >= 0)
		return number;
	bytes = keep_bytes(store, bytes);
	store->seen = with_room(store->memory, store->seen, store->key_words->members, sizeof(uint64));
	store->seen[store->key_words->members] = 0;
	return add_word(store->key_words, bytes);
}

/* What the key of a path and a scalar is found by. */
static Bytes
key_bytes(Store *store, int path, const JsonbValue *value)
{
	StringInfo	word = word_buffer(store);

	appendBinaryStringInfo(word, (char *) &path, sizeof(path));
	if (value->type == jbvBool)
		appendStringInfoChar(word, value->val.boolean ? 't' : 'f');
	else if (value->type == jbvNumeric)
	{
		char	   *digits = numeric_normalize(value->val.numeric);

		appendStringInfoChar(word, 'n');
		appendStringInfoString(word, digits);
		pfree(digits);
	}
	else if (value->type == jbvString)
	{
		appendStringInfoChar(word, 's');
		appendBinaryStringInfo(word, value->val.string.val, value->val.string.len);
	}
	else
		appendStringInfoChar(word, 'z');
	return bytes_of(word);
}

/* ---- order ---- */

/* Members are found by what they mention, a parent included, and by their id. */
static void
index_mentions(Set *set, const SvcCriteriaMember *members)
{
	Store	   *store = set->store;
	Pairs		mentions = {0};

	for (int m = 0; m < set->count; m++)
	{
		int			criteria = set->members[m].criteria;
		int			step_count = criteria < 0 ? 0 : store->criteria[criteria].step_count;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < step_count; i++)
		{
			int			number = store->criteria[criteria].steps[i].leaf;
			const Leaf *leaf = &store->leaves[number];

			for (int t = 0; number >= 0 && t < leaf->thing_count; t++)
				add_pair(&mentions, leaf->things[t], m);
		}
		if (members[m].parent != NULL)
		{
			Bytes		parent = bytes_of_text(members[m].parent);

			add_pair(&mentions, stored_thing(store, bytes_of_text(SVC_CRITERIA_SEGMENTS), &parent), m);
		}
	}
	set->thing_count = store->thing_words->members;
	set->mentions = make_lists(&mentions, set->thing_count);
	set->member_of = MemoryContextAllocHuge(set->memory, Max(set->thing_count, 1) * sizeof(int));
	for (int t = 0; t < set->thing_count; t++)
		set->member_of[t] = -1;
	for (int m = 0; m < set->count; m++)
	{
		int			thing = set->members[m].thing;

		if (thing < 0)
			continue;
		if (set->member_of[thing] >= 0)
			elog(ERROR, "two criteria of a set have the id \"%s\"", set->members[m].id);
		set->member_of[thing] = m;
	}
}

/* Renumber the members, which so far are numbered as they were given. */
static void
order_members(Set *set)
{
	int		   *order = MemoryContextAllocHuge(set->memory, Max(set->count, 1) * sizeof(int));
	int		   *places = MemoryContextAllocHuge(set->memory, Max(set->count, 1) * sizeof(int));
	Member	   *members = MemoryContextAllocHuge(set->memory, Max(set->count, 1) * sizeof(Member));

	queue_in_order(set, order);
	for (int m = 0; m < set->count; m++)
	{
		members[m] = set->members[order[m]];
		places[order[m]] = m;
	}
	for (int i = 0; i < set->mentions.starts[set->mentions.count]; i++)
		set->mentions.numbers[i] = places[set->mentions.numbers[i]];
	for (int t = 0; t < set->thing_count; t++)
	{
		if (set->member_of[t] >= 0)
			set->member_of[t] = places[set->member_of[t]];
	}
	pfree(set->members);
	set->members = members;
	pfree(order);
	pfree(places);
}

/* Who waits for nobody is queued; who is queued lets others wait no longer. */
static void
queue_in_order(const Set *set, int *order)
{
	int		   *waits = MemoryContextAllocExtended(set->memory, Max(set->count, 1) * sizeof(int),
												   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int			queued = 0;
	int			count;

	for (int m = 0; m < set->count; m++)
	{
		const int  *dependents = dependents_of(set, m, &count);

		for (int i = 0; i < count; i++)
			waits[dependents[i]] += dependents[i] != m;
	}
	for (int m = 0; m < set->count; m++)
	{
		if (waits[m] == 0)
			order[queued++] = m;
	}
	for (int next = 0; next < queued; next++)
	{
		const int  *dependents = dependents_of(set, order[next], &count);

		for (int i = 0; i < count; i++)
		{
			if (dependents[i] != order[next] && --waits[dependents[i]] == 0)
				order[queued++] = dependents[i];
		}
	}
	/* circles, and what waits for them */
	for (int m = 0; m < set->count; m++)
	{
		if (waits[m] > 0)
			order[queued++] = m;
	}
	pfree(waits);
}

/* The members that depend on being in a member's segment. */
static const int *
dependents_of(const Set *set, int member, int *count)
{
	*count = 0;
	return set->members[member].thing < 0 ? NULL : list_of(&set->mentions, set->members[member].thing, count);
}

/* ---- access predicates ---- */

static void
choose_access(Set *set)
{
	int		   *shares = count_shares(set);
	Pairs		keyed = {0};
	Pairs		paths = {0};

	for (int m = 0; m < set->count; m++)
	{
		Member	   *member = &set->members[m];

		CHECK_FOR_INTERRUPTS();
		/* (without criteria there are no keys, and it is never true) */
		if (member->criteria < 0)
			continue;
		member->always = access_cost(set, shares, set->store->criteria[member->criteria].steps, false) == COST_NONE;
		if (!member->always)
			collect_keys(set, shares, set->store->criteria[member->criteria].steps, false, m, &keyed, &paths);
	}
	set->keyed = make_lists(&keyed, set->store->key_words->members);
	set->paths = make_lists(&paths, set->count);
	pfree(shares);
}

/* Of each key, how many leaves of members have it. */
static int *
count_shares(const Set *set)
{
	const Store *store = set->store;
	int		   *shares = MemoryContextAllocExtended(set->memory, Max(store->key_words->members, 1) * sizeof(int),
													MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int m = 0; m < set->count; m++)
	{
		int			criteria = set->members[m].criteria;
		int			step_count = criteria < 0 ? 0 : store->criteria[criteria].step_count;

		for (int i = 0; i < step_count; i++)
		{
			int			number = store->criteria[criteria].steps[i].leaf;
			const Leaf *leaf = &store->leaves[number];

			for (int k = 0; number >= 0 && k < leaf->key_count; k++)
				shares[leaf->keys[k]]++;
		}
	}
	return shares;
}

/* How many members share the keys of a step, negated or not; COST_NONE: it has none. */
static int64
access_cost(const Set *set, const int *shares, const Step *step, bool negated)
{
	int64		cost = 0;
	int64		least = COST_NONE;

	check_stack_depth();
	negated ^= step->negated;
	if (step->leaf >= 0)
	{
		const Leaf *leaf = &set->store->leaves[step->leaf];

		if (negated || leaf->access == ACCESS_NONE)
			return COST_NONE;
		for (int k = 0; k < leaf->key_count; k++)
			cost += shares[leaf->keys[k]];
		return cost + (leaf->access == ACCESS_PRESENCE ? COST_PRESENCE : 0);
	}
	for (const Step *part = step + 1; part < step + step->size; part += part->size)
	{
		int64		of_part = access_cost(set, shares, part, negated);

		least = Min(least, of_part);
		cost = cost == COST_NONE || of_part == COST_NONE ? COST_NONE : cost + of_part;
	}
	return (step->op == SVC_CRITERIA_AND) != negated ? least : cost;
}

/* Have the keys of a step, which are those that access_cost has counted. */
static void
collect_keys(Set *set, const int *shares, const Step *step, bool negated, int member, Pairs *keyed, Pairs *paths)
{
	const Step *best = NULL;
	int64		least = COST_NONE;

	negated ^= step->negated;
	if (step->leaf >= 0)
	{
		const Leaf *leaf = &set->store->leaves[step->leaf];

		for (int k = 0; k < leaf->key_count; k++)
			add_pair(keyed, leaf->keys[k], member);
		if (leaf->key_count > 0)
			add_pair(paths, member, leaf->path);
		return;
	}
	for (const Step *part = step + 1; part < step + step->size; part += part->size)
	{
		if ((step->op == SVC_CRITERIA_AND) == negated)
			collect_keys(set, shares, part, negated, member, keyed, paths);
		else
		{
			int64		cost = access_cost(set, shares, part, negated);

			if (cost < least)
				best = part;
			least = Min(least, cost);
		}
	}
	if (best != NULL)
		collect_keys(set, shares, best, negated, member, keyed, paths);
}

/* ---- candidates ---- */

/*
 * The members that mention something that has changed; if "changed" is NULL, all.
 * What has changed is a path, as it is written in criteria, of which the first
 * component counts, and after attributes, entitlements, usage and segments the second:
 * the one that is an attribute's key, a code, a resource, or the id of a segment.
 */
Bitmapset *
svc_criteria_set_candidates(const SvcCriteriaSet *set, const char *const *changed, int count)
{
	Bitmapset  *members = NULL;
	Bytes		any = {any_component, 1};
	StringInfoData components;

	if (changed == NULL)
		return set->count > 0 ? bms_add_range(NULL, 0, set->count - 1) : NULL;
	initStringInfo(&components);
	for (int i = 0; i < count; i++)
	{
		const char *rest = changed[i];
		int			length;
		Bytes		first;
		Bytes		second;

		resetStringInfo(&components);
		length = read_component(&rest, &components);
		first.length = length;
		second.length = *rest == '.' ? (rest++, read_component(&rest, &components)) : 0;
		first.data = components.data;
		second.data = components.data + length;
		add_mentioning(set, first, NULL, &members);
		if (is_group(first))
			add_mentioning(set, first, second.length > 0 ? &second : &any, &members);
	}
	pfree(components.data);
	return members;
}

/* Read up to a dot or the end, and say how many bytes it was without backslashes. */
static int
read_component(const char **rest, StringInfo out)
{
	int			before = out->len;

	for (; **rest != '\0' && **rest != '.'; (*rest)++)
	{
		if (**rest == '\\' && (*rest)[1] != '\0')
			(*rest)++;
		appendStringInfoChar(out, **rest);
	}
	return out->len - before;
}

static void
add_mentioning(const Set *set, Bytes first, const Bytes *second, Bitmapset **members)
{
	StringInfo	word = word_buffer(set->store);
	const int  *mentioning;
	int			count;

	write_thing(word, first, second);
	mentioning = list_of(&set->mentions, find_word(set->store->thing_words, bytes_of(word)), &count);
	for (int i = 0; i < count; i++)
		*members = bms_add_member(*members, mentioning[i]);
}

/* Candidates, and all that may have to be evaluated when answers for them change. */
Bitmapset *
svc_criteria_set_with_dependents(const SvcCriteriaSet *set, const Bitmapset *candidates)
{
	Bitmapset  *members = bms_copy(candidates);

	for (int m = -1; (m = bms_next_member(members, m)) >= 0;)
	{
		int			count;
		const int  *dependents = dependents_of(set, m, &count);

		for (int i = 0; i < count; i++)
		{
			if (dependents[i] > m)
				members = bms_add_member(members, dependents[i]);
		}
	}
	return members;
}

/* ---- evaluation ---- */

/*
 * Decide on the candidates, in their order, at an instant.  When membership in a
 * member's segment is not what it was, the members that depend on it are decided on,
 * too.
 */
void
svc_criteria_set_evaluate(SvcCriteriaSet *set, const Bitmapset *candidates, const Jsonb *document,
						  int64 now, const SvcCriteriaSetHost *host)
{
	Walk		walk = {.set = set, .document = document, .now = now, .host = host};

	walk.evaluation = ++set->store->evaluation;
	walk.candidates = bms_copy(candidates);
	for (int m = -1; (m = bms_next_member(walk.candidates, m)) >= 0;)
	{
		CHECK_FOR_INTERRUPTS();
		decide(&walk, m, may_match(&walk, m) &&
			   is_true(&walk, set->store->criteria[set->members[m].criteria].steps));
	}
	bms_free(walk.candidates);
	bms_free(walk.decided);
	bms_free(walk.members);
}

/* The next instant at which time alone may change a member's answer; DT_NOEND: never. */
int64
svc_criteria_set_next_change(SvcCriteriaSet *set, int member, const Jsonb *document, int64 now)
{
	int			criteria = set->members[member].criteria;

	if (criteria < 0)
		return DT_NOEND;
	svc_criteria_set_now(set->store->criteria[criteria].prepared, now);
	return svc_criteria_next_change(set->store->criteria[criteria].prepared, document);
}

/* Is the access predicate of a member satisfied, if it has one? */
static bool
may_match(Walk *walk, int member)
{
	Set		   *set = walk->set;
	const int  *paths;
	int			count;

	if (set->members[member].always)
		return true;
	paths = list_of(&set->paths, member, &count);
	for (int i = 0; i < count; i++)
		visit_path(walk, paths[i]);
	return set->members[member].evaluation == walk->evaluation;
}

/* Note the keys that a document has for a path, unless that is done. */
static void
visit_path(Walk *walk, int path)
{
	Path	   *visited = &walk->set->store->paths[path];

	if (visited->evaluation == walk->evaluation)
		return;
	visited->evaluation = walk->evaluation;
	walk->path = path;
	walk->present = walk->null = false;
	svc_criteria_visit_values(visited->prepared, visited->node, walk->document, note_value, walk);
	if (walk->present)
		note_key(walk, visited->presence);
	if (walk->null)
		note_key(walk, visited->null);
}

static void
note_value(const JsonbValue *value, void *state)
{
	Walk	   *walk = state;
	Store	   *store = walk->set->store;

	walk->present |= value != NULL;
	if (value == NULL || value->type == jbvNull)
		walk->null = true;
	else if (value->type != jbvBinary && store->paths[walk->path].by_equality)
		note_key(walk, find_word(store->key_words, key_bytes(store, walk->path, value)));
}

/* Note a key, if there is one, and the members for which it is enough. */
static void
note_key(Walk *walk, int key)
{
	int			count;
	const int  *members = list_of(&walk->set->keyed, key, &count);

	if (key < 0)
		return;
	walk->set->store->seen[key] = walk->evaluation;
	for (int i = 0; i < count; i++)
		walk->set->members[members[i]].evaluation = walk->evaluation;
}

static bool
is_true(Walk *walk, const Step *step)
{
	bool		is_and = step->op == SVC_CRITERIA_AND;
	bool		result = is_and;

	check_stack_depth();
	if (step->leaf >= 0)
		result = leaf_holds(walk, &walk->set->store->leaves[step->leaf]);
	else
	{
		for (const Step *part = step + 1; part < step + step->size && result == is_and; part += part->size)
			result = is_true(walk, part);
	}
	return result != step->negated;
}

/* Is a leaf true, were it not negated? */
static bool
leaf_holds(Walk *walk, Leaf *leaf)
{
	if (leaf->path < 0 && walk->host->is_member != NULL)
		return is_in_segment(walk, leaf);
	if (leaf->evaluation != walk->evaluation)
	{
		leaf->holds = ask_leaf(walk, leaf);
		leaf->evaluation = walk->evaluation;
	}
	return leaf->holds;
}

/* Keys say all of an equality, and of other conditions when they are false. */
static bool
ask_leaf(Walk *walk, const Leaf *leaf)
{
	if (leaf->access != ACCESS_NONE && !has_key(walk, leaf))
		return false;
	if (leaf->access == ACCESS_EQUALITY)
		return true;
	svc_criteria_set_now(leaf->prepared, walk->now);
	return svc_criteria_condition_holds(leaf->prepared, leaf->node, walk->document);
}

/* Does the document have one of the keys of a leaf? */
static bool
has_key(Walk *walk, const Leaf *leaf)
{
	const uint64 *seen = walk->set->store->seen;

	visit_path(walk, leaf->path);
	for (int k = 0; k < leaf->key_count; k++)
	{
		if (seen[leaf->keys[k]] == walk->evaluation)
			return true;
	}
	return false;
}

/* In one of the segments that a leaf names? */
static bool
is_in_segment(Walk *walk, const Leaf *leaf)
{
	for (int t = 0; t < leaf->thing_count; t++)
	{
		if (walk->set->store->segments[leaf->things[t]] != NULL && is_in_segment_of(walk, leaf->things[t]))
			return true;
	}
	return false;
}

/* As has been decided, else as it was. */
static bool
is_in_segment_of(Walk *walk, int thing)
{
	int			member = walk->set->member_of[thing];
	bool		result;

	if (member >= 0 && bms_is_member(member, walk->decided))
		return bms_is_member(member, walk->members);
	result = walk->host->is_member(walk->set->store->segments[thing], walk->host->state);
	renew_evaluation(walk);
	return result;
}

static void
decide(Walk *walk, int member, bool matches)
{
	int			count;
	const int  *dependents = dependents_of(walk->set, member, &count);
	bool		has_dependents = count > 0 && walk->host->is_member != NULL;
	bool		before = has_dependents && is_in_segment_of(walk, walk->set->members[member].thing);
	bool		after = walk->host->decide(member, matches, walk->host->state);

	renew_evaluation(walk);
	if (!has_dependents)
		return;
	walk->decided = bms_add_member(walk->decided, member);
	if (after)
		walk->members = bms_add_member(walk->members, member);
	for (int i = 0; i < count && after != before; i++)
	{
		if (dependents[i] > member)
			walk->candidates = bms_add_member(walk->candidates, dependents[i]);
	}
}

/* After a call out of here, in which another evaluation may have taken place. */
static void
renew_evaluation(Walk *walk)
{
	Store	   *store = walk->set->store;

	if (store->evaluation != walk->evaluation)
		walk->evaluation = ++store->evaluation;
}

/* ---- lists ---- */

/* A list; that with a number which there was not when the lists were made is empty. */
static const int *
list_of(const Lists *lists, int list, int *count)
{
	*count = 0;
	if (list < 0 || list >= lists->count)
		return NULL;
	*count = lists->starts[list + 1] - lists->starts[list];
	return lists->numbers + lists->starts[list];
}

static void
add_pair(Pairs *pairs, int list, int number)
{
	Pair		pair = {list, number};

	if (pairs->count == PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many segment criteria"),
				 errdetail("They have more than %d conditions and values.", pairs->count),
				 errhint("Shorten lists of values.")));
	pairs->pairs = with_room(CurrentMemoryContext, pairs->pairs, pairs->count, sizeof(Pair));
	pairs->pairs[pairs->count++] = pair;
}

/* Make lists of pairs, and free these.  What stands in a list twice in a row stands there once. */
static Lists
make_lists(Pairs *pairs, int count)
{
	Lists		lists = {.count = count};
	int		   *last = MemoryContextAllocHuge(CurrentMemoryContext, Max(count, 1) * sizeof(int));
	int			start = 0;

	lists.starts = MemoryContextAllocExtended(CurrentMemoryContext, (count + (Size) 1) * sizeof(int),
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	lists.numbers = MemoryContextAllocHuge(CurrentMemoryContext, Max(pairs->count, 1) * sizeof(int));
	memset(last, 0xFF, count * sizeof(int));
	for (int i = 0; i < pairs->count; i++)
	{
		Pair	   *pair = &pairs->pairs[i];

		if (last[pair->list] != pair->number)
			lists.starts[pair->list]++;
		last[pair->list] = pair->number;
	}
	for (int list = 0; list <= count; list++)
	{
		int			length = lists.starts[list];

		lists.starts[list] = start;
		start += length;
	}
	/* fill each list, for which its start moves to its end, and back */
	memset(last, 0xFF, count * sizeof(int));
	for (int i = 0; i < pairs->count; i++)
	{
		Pair	   *pair = &pairs->pairs[i];

		if (last[pair->list] != pair->number)
			lists.numbers[lists.starts[pair->list]++] = pair->number;
		last[pair->list] = pair->number;
	}
	memmove(lists.starts + 1, lists.starts, count * sizeof(int));
	lists.starts[0] = 0;
	pfree(last);
	if (pairs->pairs != NULL)
		pfree(pairs->pairs);
	return lists;
}

/* ---- words ---- */

/* Where the bytes of a word are put together: until the next is. */
static StringInfo
word_buffer(Store *store)
{
	resetStringInfo(&store->bytes);
	return &store->bytes;
}

static Bytes
bytes_of(StringInfo buffer)
{
	Bytes		bytes = {buffer->data, buffer->len};

	return bytes;
}

static Bytes
bytes_of_text(const char *string)
{
	Bytes		bytes = {string, strlen(string)};

	return bytes;
}

static Bytes
keep_bytes(Store *store, Bytes bytes)
{
	Bytes		kept = {memcpy(MemoryContextAlloc(store->memory, bytes.length), bytes.data, bytes.length), bytes.length};

	return kept;
}

/* The number of a word; -1, if there is none. */
static int
find_word(words_hash *words, Bytes bytes)
{
	const Word *word = words_lookup(words, bytes);

	return word == NULL ? -1 : word->number;
}

/* Number a new word: what belongs to that number is there already, in case this fails. */
static int
add_word(words_hash *words, Bytes bytes)
{
	int			number = words->members;
	bool		found;

	words_insert(words, bytes, &found)->number = number;
	Assert(!found);
	return number;
}

/* An array with room for an element behind the last. */
static void *
with_room(MemoryContext memory, void *array, int count, Size size)
{
	if (count == 0)
		return MemoryContextAlloc(memory, 16 * size);
	if (count < 16 || (count & (count - 1)) != 0)
		return array;
	return repalloc_huge(array, (Size) count * 2 * size);
}
