/*-------------------------------------------------------------------------
 *
 * segment_rule.h
 *	  The rule that every segment obeys: what _PG_init must know of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_SEGMENT_RULE_H
#define SVC_SEGMENT_RULE_H

extern void svc_segment_rule_init(void);

#endif							/* SVC_SEGMENT_RULE_H */
