/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  Where svc's tables are, who owns them, and how a call into svc enters
 *	  and leaves their owner's rights.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CATALOG_H
#define SVC_CATALOG_H

#include "fmgr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#include "noun.h"

/* The version of the tables that this library works with. */
#define SVC_SCHEMA_VERSION	1

/* What svc_call_begin() changed, for svc_call_end() to put back. */
typedef struct SvcCall
{
	Oid			caller;			/* the role that called */
	int			caller_context; /* its security context */
	int			guc_level;		/* nest level of the settings */
	MemoryContext memory;		/* where the call's result belongs */
} SvcCall;

extern void svc_call_begin(SvcCall *call, FunctionCallInfo fcinfo);
extern void svc_call_begin_inner(SvcCall *call);
extern Datum svc_call_keep(SvcCall *call, Datum value);
extern void svc_call_end(SvcCall *call);

extern void svc_catalog_use(FunctionCallInfo fcinfo);
extern Oid	svc_catalog_schema(void);
extern const char *svc_catalog_schema_name(void);
extern uint64 svc_catalog_generation(void);
extern uint64 svc_catalog_changes(void);
extern Oid	svc_catalog_table(const char *name);
extern Relation svc_catalog_open(const char *name, LOCKMODE lock);
extern int	svc_catalog_installed_version(Oid schema);

#endif							/* SVC_CATALOG_H */
