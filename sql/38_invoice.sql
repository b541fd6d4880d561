-- Invoices.

CREATE FUNCTION svc_create_invoice(customer_id text, properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_create_invoice(text, jsonb) IS
'Creates an invoice from an object of properties, which are columns of svc_invoice, and returns its id; id and what else has a default may be left out. Raises 22004 for null, SV008 for an unknown customer, SV009 for an unknown property, SV010 for a value of the wrong JSON type, SV001 for a status that a new row cannot have, 23502 for a missing property, 23505 when the id exists. Locks the customer FOR SHARE.';

CREATE FUNCTION svc_finalize_invoice(customer_id text, invoice_id text, due_date timestamptz DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_finalize_invoice(text, text, timestamptz, text, bigint, timestamptz) IS
'Action finalize of an invoice: draft to open. Returns the new status; a row that is there already stays, without an event. Gives the invoice its number, without gaps over all invoices, and freezes its lines and amounts. Waits for other transactions that finalize. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_send_invoice(customer_id text, invoice_id text, sent_to text DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_send_invoice(text, text, text, text, bigint, timestamptz) IS
'Action send of an invoice: open to sent; sent, partial, overdue to the same status. Returns the new status; each call that is allowed makes an event. Sent once more it is a reminder. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_pay_invoice(customer_id text, invoice_id text, amount numeric DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_pay_invoice(text, text, numeric, text, bigint, timestamptz) IS
'Action pay of an invoice: open, sent, partial, overdue, uncollectible to paid; open, sent to partial; partial, overdue to the same status. Returns the new status; each call that is allowed makes an event. amount: in the invoice''s currency, greater than 0; null pays all that is due. Raises SV013 when it is more than is due. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_mark_overdue_invoice(customer_id text, invoice_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_mark_overdue_invoice(text, text, text, bigint, timestamptz) IS
'Action markOverdue of an invoice: open, sent, partial to overdue. Returns the new status; a row that is there already stays, without an event. Refused before due_date. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_void_invoice(customer_id text, invoice_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_void_invoice(text, text, text, bigint, timestamptz) IS
'Action void of an invoice: draft, open, sent, overdue, uncollectible to void. Returns the new status; a row that is there already stays, without an event. Refused when money was paid on it and not given back. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_mark_uncollectible_invoice(customer_id text, invoice_id text, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_mark_uncollectible_invoice(text, text, text, bigint, timestamptz) IS
'Action markUncollectible of an invoice: open, sent, partial, overdue to uncollectible. Returns the new status; a row that is there already stays, without an event. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_refund_invoice(customer_id text, invoice_id text, amount numeric DEFAULT NULL, reason text DEFAULT NULL, revision bigint DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_refund_invoice(text, text, numeric, text, bigint, timestamptz) IS
'Action refund of an invoice: paid, partial to the same status. Returns the new status; each call that is allowed makes an event. amount: greater than 0; null gives back all that was paid. Raises SV013 when it is more than was paid and not given back yet. The status stays. reason: kept with the event. at: the instant at which it happens, null for the start of the transaction. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV001 when its status forbids the action. Locks the row.';

CREATE FUNCTION svc_update_invoice(customer_id text, invoice_id text, properties jsonb, revision bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_action';
COMMENT ON FUNCTION svc_update_invoice(text, text, jsonb, bigint) IS
'Changes the columns of an invoice that the object of properties names, a null among them to null, and returns the status. revision: the one that the caller has seen, or null; raises SV005 when it is another. Raises SV008 when there is no such row, SV009 and SV010 for properties, SV001 when the status allows no update. Locks the row.';

CREATE FUNCTION svc_create_invoice_for(
    customer_id text, subscription_id text, in_period timestamptz DEFAULT NULL, discount numeric DEFAULT NULL,
    tax numeric DEFAULT NULL, due_date timestamptz DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_create_invoice_for';
COMMENT ON FUNCTION svc_create_invoice_for(text, text, timestamptz, numeric, numeric, timestamptz, timestamptz) IS
'Makes the invoice, a draft, for one billing period of a subscription, and returns its id; the one that there is already, unless it is void. A draft is brought up to date: its lines are made anew, but those that name no plan_id stay. A period that is over is billed by what was agreed in it. Its lines: price by quantity of plan and add-ons, but not for a trial, and what was used beyond the limits in the period, by the ledger, at overage_price; each rounded to the currency''s digits. in_period: an instant within the period, null for the current one. discount, tax: amounts, null for none. due_date: when it is to be paid; null leaves that open. at: null is the start of the transaction; what was due before is done first. Raises 22004 for null ids, 22023 for an instant in no period or for negative amounts, SV008 for an unknown subscription. Locks the subscription.';
