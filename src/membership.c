/*-------------------------------------------------------------------------
 *
 * membership.c
 *	  Who is in which segment.
 *
 * Locks: the segment's row, which the caller of svc_membership_change() holds,
 * then the member's; several segments in the order of their ids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "gate.h"
#include "lifecycle.h"
#include "membership.h"
#include "statement.h"

static uint64 lock_segments(Datum customer_id, Datum **ids);

/* Let a customer join or leave a segment; nothing happens if it has already. */
void
svc_membership_change(Datum segment_id, Datum customer_id, bool joins)
{
	static SvcStatement add = {
		"INSERT INTO @extschema@.svc_segment_member (segment_id, customer_id) VALUES ($1, $2)"
		" ON CONFLICT DO NOTHING",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement remove = {
		"DELETE FROM @extschema@.svc_segment_member WHERE segment_id = $1 AND customer_id = $2",
		2, {TEXTOID, TEXTOID}
	};
	static SvcStatement count = {
		"UPDATE @extschema@.svc_customer_segment SET customer_count = customer_count + $2"
		" WHERE id = $1",
		2, {TEXTOID, INT4OID}
	};
	char	   *customer = TextDatumGetCString(customer_id);
	SvcDeed		deed = {.noun = SVC_CUSTOMER_SEGMENT,
		.action = joins ? "addCustomer" : "removeCustomer",
	.note = {"customer_id", joins ? NULL : customer, joins ? customer : NULL}};
	Datum		member[2] = {segment_id, customer_id};
	Datum		step[2] = {segment_id, Int32GetDatum(joins ? 1 : -1)};

	if (svc_statement_run(joins ? &add : &remove, member, NULL) == 0)
		return;
	if (svc_lifecycle_write(&deed, &count, step, NULL) == 0)
		svc_gate_report_suppressed(SVC_CUSTOMER_SEGMENT, segment_id);
}

/* Let one customer take another's places; archived segments stay as they are. */
void
svc_membership_move(Datum from, Datum into)
{
	Datum	   *ids;
	uint64		count = lock_segments(from, &ids);

	for (uint64 i = 0; i < count; i++)
	{
		svc_membership_change(ids[i], from, false);
		svc_membership_change(ids[i], into, true);
	}
}

/* Let a customer leave all segments but archived ones. */
void
svc_membership_leave_all(Datum customer_id)
{
	Datum	   *ids;
	uint64		count = lock_segments(customer_id, &ids);

	for (uint64 i = 0; i < count; i++)
		svc_membership_change(ids[i], customer_id, false);
}

/* Lock the segments that a customer is in, and that can change. */
static uint64
lock_segments(Datum customer_id, Datum **ids)
{
	static SvcStatement segments = {
		"SELECT s.id::text FROM @extschema@.svc_customer_segment s"
		" WHERE s.status <> 'archived' AND EXISTS (SELECT FROM @extschema@.svc_segment_member m"
		"  WHERE m.segment_id = s.id AND m.customer_id = $1)"
		" ORDER BY s.id FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	uint64		count = svc_statement_run(&segments, &customer_id, NULL);
	bool		isnull;

	*ids = palloc(Max(count, 1) * sizeof(Datum));
	for (uint64 i = 0; i < count; i++)
		(*ids)[i] = svc_statement_value(i, 1, &isnull);
	return count;
}
