/*-------------------------------------------------------------------------
 *
 * criteria_sql.h
 *	  Segment criteria as SQL over the table of customers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CRITERIA_SQL_H
#define SVC_CRITERIA_SQL_H

#include "criteria.h"

extern char *svc_criteria_sql_text(const SvcCriteria *criteria);

#endif							/* SVC_CRITERIA_SQL_H */
