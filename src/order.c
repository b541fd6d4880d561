/*-------------------------------------------------------------------------
 *
 * order.c
 *	  Orders: what their actions imply.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "amount.h"
#include "lifecycle.h"
#include "order.h"
#include "total.h"

static SvcColumn ordered_at_column = {"ordered_at", TIMESTAMPTZOID};
static SvcColumn completed_at_column = {"completed_at", TIMESTAMPTZOID};
static SvcColumn actual_delivery_column = {"actual_delivery", TIMESTAMPTZOID};
static SvcColumn fulfillment_status_column = {"fulfillment_status"};
static SvcColumn payment_status_column = {"payment_status"};

static void imply(SvcRowChange *change, const char *action);

void
svc_order_init(void)
{
	static const SvcLifecycleRules rules = {.check = svc_total_check, .imply = imply};

	svc_lifecycle_set_rules(SVC_ORDER, &rules);
}

/* The second and third axis and the instants follow the status. */
static void
imply(SvcRowChange *change, const char *action)
{
	if (strcmp(action, "create") == 0)
		svc_row_default_now(change, &ordered_at_column);
	else if (strcmp(action, "complete") == 0)
		svc_row_imply_now(change, &completed_at_column);
	else if (strcmp(action, "deliver") == 0)
	{
		svc_row_imply_now(change, &actual_delivery_column);
		svc_row_set_text(change, &fulfillment_status_column, "fulfilled");
	}
	else if (strcmp(action, "refund") == 0)
		svc_row_set_text(change, &payment_status_column, "refunded");
}
