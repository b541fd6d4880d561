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
#endif

#if PG_VERSION_NUM < 180000
#define pg_noreturn		pg_attribute_noreturn()
#endif

#endif							/* SVC_COMPAT_H */
