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

#if PG_VERSION_NUM >= 170000
#define SVC_SAFE_SEARCH_PATH	GUC_SAFE_SEARCH_PATH
#else
#define SVC_SAFE_SEARCH_PATH	"pg_catalog, pg_temp"
#endif

#endif							/* SVC_COMPAT_H */
