/*-------------------------------------------------------------------------
 *
 * criteria_set.h
 *	  Which of many criteria does a document match?
 *
 * A *set* holds *members*: criteria, each perhaps those of a segment with an id.
 * Members are numbered in topological order: that of a segment comes after those of
 * its parent and of the segments that its criteria name.  Who has members changed,
 * makes another set from the one he has.
 *
 * To bring memberships up to date: ask for the candidates of a change, build a
 * document with what they and their dependents mention, and evaluate them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SVC_CRITERIA_SET_H
#define SVC_CRITERIA_SET_H

#include "nodes/bitmapset.h"
#include "utils/jsonb.h"

#include "criteria.h"

typedef struct SvcCriteriaSet SvcCriteriaSet;

typedef struct SvcCriteriaMember
{
	const char *id;				/* of its segment; NULL: none can refer to it */
	const char *parent;			/* id of another segment, or NULL */
	const SvcCriteria *criteria;	/* 4-byte header; NULL: matches nothing */
} SvcCriteriaMember;

/*
 * What a set cannot know by itself.  These may ask about the set, but must not free
 * it, nor make another from it.
 */
typedef struct SvcCriteriaSetHost
{
	/*
	 * Has the document's owner been in a segment until now?  It is asked of segments
	 * that are no members, and of members that are not, or not yet, decided on.  NULL:
	 * the document's "segments" say it, for good, as in svc_matches.
	 */
	bool		(*is_member) (const char *segment_id, void *state);

	/* A member matches or not: is the document's owner in its segment from now on? */
	bool		(*decide) (int member, bool matches, void *state);
	void	   *state;
} SvcCriteriaSetHost;

extern SvcCriteriaSet *svc_criteria_set_make(MemoryContext parent, const SvcCriteriaMember *members,
											 int count, SvcCriteriaSet *old);
extern void svc_criteria_set_free(SvcCriteriaSet *set);

extern int	svc_criteria_set_count(const SvcCriteriaSet *set);
extern int	svc_criteria_set_find(const SvcCriteriaSet *set, const char *id);
extern const char *svc_criteria_set_id(const SvcCriteriaSet *set, int member);
extern int	svc_criteria_set_given(const SvcCriteriaSet *set, int member);
extern const SvcCriteria *svc_criteria_set_criteria(const SvcCriteriaSet *set, int member);

extern Bitmapset *svc_criteria_set_candidates(const SvcCriteriaSet *set, const char *const *changed, int count);
extern Bitmapset *svc_criteria_set_with_dependents(const SvcCriteriaSet *set, const Bitmapset *candidates);
extern void svc_criteria_set_evaluate(SvcCriteriaSet *set, const Bitmapset *candidates, const Jsonb *document,
									  int64 now, const SvcCriteriaSetHost *host);
extern int64 svc_criteria_set_next_change(SvcCriteriaSet *set, int member, const Jsonb *document, int64 now);

#endif							/* SVC_CRITERIA_SET_H */
