/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between PostgreSQL 15, 16, 17 and 18; every test of
 *	  PG_VERSION_NUM in svc stands here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_COMPAT_H
#define SVC_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "svc needs PostgreSQL 15 or newer"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#define check_is_member_of_role(member, role)	check_can_set_role(member, role)
#endif

/* Which indexes a new version of a row needs to be entered in. */
#if PG_VERSION_NUM >= 160000
#define SvcIndexUpdate	TU_UpdateIndexes
#define SVC_NO_INDEX	TU_None
#define svc_insert_index_tuples(info, slot, estate, which) \
	ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL, (which) == TU_Summarizing)
#else
#define SvcIndexUpdate	bool
#define SVC_NO_INDEX	false
#define svc_insert_index_tuples(info, slot, estate, which) \
	ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL)
#endif

/* Is a column computed when it is read? */
#if PG_VERSION_NUM >= 180000
#define svc_has_generated_virtual(constr)	((constr)->has_generated_virtual)
#else
#define svc_has_generated_virtual(constr)	false
#endif

#if PG_VERSION_NUM < 180000
#define pg_noreturn		pg_attribute_noreturn()
#define svc_index_beginscan(table, index, snapshot, key_count) \
	index_beginscan(table, index, snapshot, key_count, 0)
#else
#define svc_index_beginscan(table, index, snapshot, key_count) \
	index_beginscan(table, index, snapshot, NULL, key_count, 0)
#endif

/* A lexer of JSON that unescapes strings. */
#if PG_VERSION_NUM >= 170000
#define svc_json_lexer(json, length, encoding)	makeJsonLexContextCstringLen(NULL, json, length, encoding, true)
#else
#define svc_json_lexer(json, length, encoding)	makeJsonLexContextCstringLen(json, length, encoding, true)
#endif

#endif							/* SVC_COMPAT_H */
