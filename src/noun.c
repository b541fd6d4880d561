/*-------------------------------------------------------------------------
 *
 * noun.c
 *	  The table of nouns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "noun.h"

/*
 * Keys and the revision are maintained for every noun (see
 * MAINTAINED_EVERYWHERE in lifecycle.c) and are not repeated here.
 */
static const SvcNounInfo nouns[SVC_NOUN_COUNT] = {
	[SVC_CUSTOMER] = {
		.name = "customer", .short_name = "customer", .table = "svc_customer",
		.title = "Customer", .key = SVC_KEY_IS_CUSTOMER,
		.counters = "changes_at closed_until has_pools",
		.maintained = "merged_into changes_at closed_until has_pools",
		.personal = "external_id name email phone company billing_email billing_address tax_id payment_method attributes",
	},
	[SVC_ENTITLEMENT] = {
		.name = "entitlement", .short_name = "entitlement", .table = "svc_entitlement",
		.title = "Entitlement", .key = SVC_KEY_OF_CUSTOMER,
		.counters = "used_amount held_amount rollover_amount remaining_amount usage_percent"
		" alerted_percent ledger_seq usage_noted",
		.maintained = "used_amount held_amount rollover_amount alerted_percent ledger_seq"
		" reset_at last_reset_at usage_noted code",
		.personal = "",
	},
	[SVC_CUSTOMER_USAGE] = {
		.name = "customer_usage", .short_name = "customer_usage", .table = "svc_customer_usage",
		.title = "Customer usage", .key = SVC_KEY_OF_CUSTOMER,
		.counters = "",
		.maintained = "is_folded",
		.personal = "",
	},
	[SVC_CUSTOMER_SEGMENT] = {
		.name = "customer_segment", .short_name = "segment", .table = "svc_customer_segment",
		.title = "Customer segment", .key = SVC_KEY_REFERENCE,
		.counters = "",
		.maintained = "customer_count percent_of_total total_revenue avg_revenue avg_lifetime_value avg_engagement_score avg_usage churn_rate last_synced_at",
		.personal = "",
	},
	[SVC_PLAN] = {
		.name = "plan", .short_name = "plan", .table = "svc_plan",
		.title = "Plan", .key = SVC_KEY_REFERENCE,
		.counters = "",
		.maintained = "",
		.personal = "",
	},
	[SVC_SUBSCRIPTION] = {
		.name = "subscription", .short_name = "subscription", .table = "svc_subscription",
		.title = "Subscription", .key = SVC_KEY_OF_CUSTOMER,
		.counters = "on_trial due_at dunned_until next_billing_date usage_this_period",
		.maintained = "terms terms_revision scheduled_at scheduled_action scheduled_price"
		" scheduled_billing_cycle scheduled_carry_usage",
		.personal = "cancellation_reason",
		.silent = "due_at dunned_until usage_this_period terms",
	},
	[SVC_ORDER] = {
		.name = "order", .short_name = "order", .table = "svc_order",
		.title = "Order", .key = SVC_KEY_OF_CUSTOMER,
		.counters = "",
		.maintained = "",
		.personal = "description requirements notes",
	},
	[SVC_INVOICE] = {
		.name = "invoice", .short_name = "invoice", .table = "svc_invoice",
		.title = "Invoice", .key = SVC_KEY_OF_CUSTOMER,
		.counters = "amount_due",
		.maintained = "number amount_paid amount_refunded",
		.personal = "description sent_to",
	},
	[SVC_SUPPORT_TICKET] = {
		.name = "support_ticket", .short_name = "ticket", .table = "svc_support_ticket",
		.title = "Support ticket", .key = SVC_KEY_OF_CUSTOMER,
		.counters = "",
		.maintained = "",
		.personal = "subject description resolution ai_suggested_resolution satisfaction_comment",
	},
	[SVC_USAGE] = {
		.name = "usage", .short_name = "usage", .table = "svc_usage",
		.title = "Usage record", .key = SVC_KEY_OF_CUSTOMER,
		.counters = "",
		.maintained = "booked_at xid cluster consumes consumed overage resource quantity occurred_at"
		" subscription_id adjusts_id idempotency_key",
		.personal = "metadata reason",
	},
};

const SvcNounInfo *
svc_noun_info(SvcNoun noun)
{
	Assert((int) noun >= 0 && (int) noun < SVC_NOUN_COUNT);
	return &nouns[noun];
}

/* Find a noun by its full or short name; false when there is none of that name. */
bool
svc_noun_find(const char *name, SvcNoun *noun)
{
	for (int i = 0; i < SVC_NOUN_COUNT; i++)
	{
		if (strcmp(nouns[i].name, name) == 0 || strcmp(nouns[i].short_name, name) == 0)
		{
			*noun = (SvcNoun) i;
			return true;
		}
	}
	return false;
}

/* Does a space-separated list contain this column name? */
bool
svc_noun_list_has(const char *list, const char *column)
{
	size_t		len = strlen(column);

	for (const char *at = strstr(list, column); at != NULL; at = strstr(at + 1, column))
	{
		bool		starts = at == list || at[-1] == ' ';
		bool		ends = at[len] == '\0' || at[len] == ' ';

		if (starts && ends)
			return true;
	}
	return false;
}
