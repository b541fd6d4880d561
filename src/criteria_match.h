/*-------------------------------------------------------------------------
 *
 * criteria_match.h
 *	  Does a document match segment criteria?
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CRITERIA_MATCH_H
#define SVC_CRITERIA_MATCH_H

#include "utils/jsonb.h"

#include "criteria.h"

/* Criteria that are ready to be asked about. */
typedef struct SvcPreparedCriteria SvcPreparedCriteria;

/* Is shown a value of a document, NULL for what is missing. */
typedef void (*SvcCriteriaVisit) (const JsonbValue *value, void *state);

/* criteria.c */
extern SvcCriteria *svc_criteria_read(Jsonb *document);

extern SvcPreparedCriteria *svc_criteria_prepare(const SvcCriteria *criteria, int64 now);
extern const SvcCriteria *svc_criteria_of(const SvcPreparedCriteria *prepared);
extern void svc_criteria_set_now(SvcPreparedCriteria *prepared, int64 now);
extern bool svc_criteria_condition_holds(const SvcPreparedCriteria *prepared, int i, const Jsonb *document);
extern void svc_criteria_visit_values(const SvcPreparedCriteria *prepared, int i, const Jsonb *document,
									  SvcCriteriaVisit visit, void *state);
extern int64 svc_criteria_next_change(const SvcPreparedCriteria *prepared, const Jsonb *document);

#endif							/* SVC_CRITERIA_MATCH_H */
