/*-------------------------------------------------------------------------
 *
 * criteria.c
 *	  A target for libFuzzer: the parser of segment criteria, without a server.
 *
 * Run by test/fuzz.sh.  What is allocated is freed after each document; what an
 * accepted document compiles to must be well formed, and compile to the same again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "../../src/criteria.h"
#include "../../src/criteria_version.h"

/* Every block that is in use, in the place of libpgcommon's fe_memutils.c. */
typedef struct Block
{
	struct Block *next;
	struct Block *previous;
	Size		size;
} Block;

static Block blocks = {&blocks, &blocks, 0};

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static char *take_regex(const char *pattern, int length);
static void check(const SvcCriteria *criteria);
static void check_bytes(const SvcCriteria *criteria, uint32 data, uint32 length);

#define MUST(condition)	do { if (!(condition)) abort(); } while (0)

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	SvcCriteriaHost host = {.encoding = PG_UTF8, .check_regex = take_regex};
	SvcCriteriaError error = {0};
	SvcCriteria *criteria;
	StringInfoData padded;
	int64		instant;

	/* the server lets only valid text come here */
	if (pg_encoding_verifymbstr(PG_UTF8, (const char *) data, size) == (int) size)
	{
		criteria = svc_criteria_parse((const char *) data, size, &host, &error);
		if (criteria == NULL)
			MUST(error.message != NULL && error.pointer != NULL);
		else
		{
			SvcCriteria *again = svc_criteria_parse(svc_criteria_source(criteria), criteria->source_length, &host, &error);

			check(criteria);
			MUST(again != NULL && memcmp(again, criteria, (uint32) criteria->vl_len_ >> 2) == 0);
		}
	}
	if (svc_criteria_read_instant((const char *) data, size, &instant))
		(void) svc_criteria_write_instant(instant);
	(void) svc_criteria_read_date_math((const char *) data, size, INT64CONST(817214400000000), &instant);
	initStringInfo(&padded);
	svc_criteria_pad_version((const char *) data, size, &padded);
	while (blocks.next != &blocks)
		pfree(blocks.next + 1);
	return 0;
}

/* (the server compiles it, which is not what is looked at here) */
static char *
take_regex(const char *pattern, int length)
{
	MUST(strlen(pattern) == length && pattern[0] == '(');
	return NULL;
}

static void
check(const SvcCriteria *criteria)
{
	MUST(criteria->node_count > 0 && criteria->nodes[0].size == criteria->node_count);
	for (uint32 i = 0; i < criteria->node_count; i++)
	{
		const SvcCriteriaNode *node = &criteria->nodes[i];

		MUST(node->size >= 1 && i + node->size <= criteria->node_count && node->op <= SVC_CRITERIA_JSON);
		MUST(node->path == SVC_CRITERIA_NO_PATH || node->path < criteria->path_count);
		if (node->op != SVC_CRITERIA_TYPE)
			check_bytes(criteria, node->data, node->length);
		for (uint32 child = i + 1; child < i + node->size; child += criteria->nodes[child].size)
			MUST(child + criteria->nodes[child].size <= i + node->size);
	}
	for (int i = 0; i < criteria->path_count; i++)
	{
		const SvcCriteriaPath *path = &svc_criteria_paths_of(criteria)[i];
		const char *component = svc_criteria_data(criteria) + path->data;

		for (int j = 0; j < path->count; j++)
		{
			int			length = svc_criteria_component(&component);

			check_bytes(criteria, component - svc_criteria_data(criteria), length);
			component += length;
		}
	}
}

static void
check_bytes(const SvcCriteria *criteria, uint32 data, uint32 length)
{
	MUST(data <= criteria->data_length && length <= criteria->data_length - data);
}

/* (PostgreSQL 15 has it for the server only) */
__attribute__((weak)) char *
json_errdetail(JsonParseErrorType error, JsonLexContext *lex)
{
	return pg_strdup("wrong");
}

/* ---- memory ---- */

void *
pg_malloc_extended(size_t size, int flags)
{
	Block	   *block = flags & MCXT_ALLOC_ZERO ? calloc(1, sizeof(Block) + size) : malloc(sizeof(Block) + size);

	MUST(block != NULL);
	block->size = size;
	block->next = &blocks;
	block->previous = blocks.previous;
	block->previous->next = blocks.previous = block;
	return block + 1;
}

void
pg_free(void *pointer)
{
	Block	   *block = (Block *) pointer - 1;

	if (pointer == NULL)
		return;
	block->next->previous = block->previous;
	block->previous->next = block->next;
	free(block);
}

void *
pg_realloc(void *pointer, size_t size)
{
	void	   *moved = pg_malloc_extended(size, 0);

	if (pointer != NULL)
		memcpy(moved, pointer, Min(size, ((Block *) pointer - 1)->size));
	pg_free(pointer);
	return moved;
}

char *
pnstrdup(const char *string, Size size)
{
	Size		length = strnlen(string, size);
	char	   *copy = pg_malloc_extended(length + 1, 0);

	memcpy(copy, string, length);
	copy[length] = '\0';
	return copy;
}

void *pg_malloc(size_t size) { return pg_malloc_extended(size, 0); }
void *pg_malloc0(size_t size) { return pg_malloc_extended(size, MCXT_ALLOC_ZERO); }
char *pg_strdup(const char *string) { return pnstrdup(string, strlen(string)); }
void *palloc(Size size) { return pg_malloc_extended(size, 0); }
void *palloc0(Size size) { return pg_malloc_extended(size, MCXT_ALLOC_ZERO); }
void *palloc_extended(Size size, int flags) { return pg_malloc_extended(size, flags); }
void *repalloc(void *pointer, Size size) { return pg_realloc(pointer, size); }
char *pstrdup(const char *string) { return pnstrdup(string, strlen(string)); }
void pfree(void *pointer) { pg_free(pointer); }
