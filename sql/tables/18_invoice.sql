-- Invoices of customers, and the counter of their numbers.
CREATE TABLE IF NOT EXISTS @schema@.svc_invoice (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'draft'
        CHECK (status IN ('draft', 'open', 'sent', 'paid', 'partial', 'overdue', 'void', 'uncollectible')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    subscription_id text COLLATE "C",
    order_id text COLLATE "C",
    number text COLLATE "C",
    description text,
    line_items jsonb,
    subtotal numeric CHECK (subtotal >= 0 AND subtotal < 'Infinity'),
    discount numeric CHECK (discount >= 0 AND discount < 'Infinity'),
    tax numeric CHECK (tax >= 0 AND tax < 'Infinity'),
    total numeric NOT NULL CHECK (total >= 0 AND total < 'Infinity'),
    amount_due numeric NOT NULL,
    amount_paid numeric NOT NULL DEFAULT 0,
    amount_refunded numeric NOT NULL DEFAULT 0,
    currency text,
    period_start timestamptz,
    period_end timestamptz,
    issued_at timestamptz,
    due_date timestamptz,
    paid_at timestamptz,
    sent_at timestamptz,
    sent_to text,
    pdf_url text,
    PRIMARY KEY (customer_id, id),
    FOREIGN KEY (customer_id, subscription_id) REFERENCES @schema@.svc_subscription (customer_id, id),
    FOREIGN KEY (customer_id, order_id) REFERENCES @schema@.svc_order (customer_id, id),
    CHECK (period_start < period_end),
    CHECK (amount_paid BETWEEN 0 AND total),
    CHECK (amount_refunded BETWEEN 0 AND amount_paid),
    CHECK (amount_due BETWEEN 0 AND total)
);
ALTER TABLE @schema@.svc_invoice ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('inv');
CREATE INDEX IF NOT EXISTS svc_invoice_number ON @schema@.svc_invoice (number);
CREATE INDEX IF NOT EXISTS svc_invoice_subscription
    ON @schema@.svc_invoice (customer_id, subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_invoice_due
    ON @schema@.svc_invoice (due_date) WHERE status IN ('open', 'sent', 'partial') AND due_date IS NOT NULL;
CREATE INDEX IF NOT EXISTS svc_invoice_order
    ON @schema@.svc_invoice (customer_id, order_id) WHERE order_id IS NOT NULL;

COMMENT ON TABLE @schema@.svc_invoice IS 'What customers owe and have paid.';
COMMENT ON COLUMN @schema@.svc_invoice.revision IS 'Number of the invoice''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_invoice.number IS 'Given when the invoice is finalized, without gaps; set by svc.';
COMMENT ON COLUMN @schema@.svc_invoice.total IS 'Amount billed, in currency (ISO 4217): subtotal - discount + tax when left out.';
COMMENT ON COLUMN @schema@.svc_invoice.amount_due IS 'Still to pay: total - amount_paid, 0 when void; set by svc.';
COMMENT ON COLUMN @schema@.svc_invoice.amount_paid IS 'Paid so far; set by svc.';
COMMENT ON COLUMN @schema@.svc_invoice.amount_refunded IS 'Given back of what was paid; set by svc.';
COMMENT ON COLUMN @schema@.svc_invoice.period_start IS 'Start of the billed period, included.';
COMMENT ON COLUMN @schema@.svc_invoice.period_end IS 'End of the billed period, excluded.';

-- A row for each sequence of numbers without gaps: who draws one holds the
-- row's lock until the end of his transaction.
CREATE TABLE IF NOT EXISTS @schema@.svc_counter (
    name text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL CHECK (value >= 0)
);
COMMENT ON TABLE @schema@.svc_counter IS 'Numbers without gaps, such as those of invoices: the last that was given; written by svc.';
