/*-------------------------------------------------------------------------
 *
 * pool.h
 *	  Pools: grants of credits that several codes spend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_POOL_H
#define SVC_POOL_H

#include "utils/jsonb.h"

#include "grant.h"

extern bool svc_pool_is_needed(const SvcGrantSet *set, Datum amount);
extern void svc_pool_add(SvcGrantSet *set, Datum customer_id, Datum code, SvcInstant instant,
						 SvcGrantReading reading);
extern Datum svc_pool_give_back(SvcGrant *pool, Datum customer_id, Datum rest);

/* for requests of several codes */
extern int	svc_pool_codes(Datum customer_id, Datum **codes);
extern void svc_pool_lock(SvcGrantSet *pot, Datum customer_id, Datum *codes, int code_count,
						  Datum *payees, int payee_count, SvcInstant instant);
extern void svc_pool_draw_own(SvcGrantSet *set, const SvcGrantSet *pot, Datum code);
extern void svc_pool_draw(SvcGrantSet *set, const SvcGrantSet *pot, Datum code);
extern void svc_pool_spend(SvcGrantSet *pot, const SvcGrantSet *set);
extern void svc_pool_describe(SvcDecision *decision, const SvcGrantSet *set,
							  const SvcGrantSet *pot);

extern const char *svc_pool_check_costs(JsonbContainer *costs, const char *own_code,
										char **code);

#endif							/* SVC_POOL_H */
