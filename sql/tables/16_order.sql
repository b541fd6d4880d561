-- Orders of customers.
CREATE TABLE IF NOT EXISTS @schema@.svc_order (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'confirmed', 'processing', 'in-progress', 'review', 'completed', 'delivered', 'cancelled', 'refunded')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    order_number text COLLATE "C",
    description text,
    requirements jsonb,
    notes text,
    line_items jsonb,
    quantity numeric CHECK (quantity > 0 AND quantity < 'Infinity'),
    subtotal numeric CHECK (subtotal >= 0 AND subtotal < 'Infinity'),
    discount numeric CHECK (discount >= 0 AND discount < 'Infinity'),
    tax numeric CHECK (tax >= 0 AND tax < 'Infinity'),
    total numeric NOT NULL CHECK (total >= 0 AND total < 'Infinity'),
    currency text,
    delivery_method text,
    expected_delivery timestamptz,
    actual_delivery timestamptz,
    priority text,
    ordered_at timestamptz,
    completed_at timestamptz,
    fulfillment_status text NOT NULL DEFAULT 'unfulfilled'
        CHECK (fulfillment_status IN ('unfulfilled', 'partial', 'fulfilled')),
    payment_status text NOT NULL DEFAULT 'unpaid'
        CHECK (payment_status IN ('unpaid', 'partial', 'paid', 'refunded')),
    service_id text COLLATE "C",
    offering_id text COLLATE "C",
    quote_id text COLLATE "C",
    PRIMARY KEY (customer_id, id)
);
ALTER TABLE @schema@.svc_order ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('ord');
CREATE INDEX IF NOT EXISTS svc_order_number ON @schema@.svc_order (order_number);

COMMENT ON TABLE @schema@.svc_order IS 'What customers have ordered, and how far it is.';
COMMENT ON COLUMN @schema@.svc_order.revision IS 'Number of the order''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_order.total IS 'Amount to pay, in currency (ISO 4217): subtotal - discount + tax when left out.';
COMMENT ON COLUMN @schema@.svc_order.fulfillment_status IS 'Delivered share: unfulfilled, partial, fulfilled; a delivered order is fulfilled.';
COMMENT ON COLUMN @schema@.svc_order.payment_status IS 'Paid share: unpaid, partial, paid, refunded; a refunded order is refunded.';
COMMENT ON COLUMN @schema@.svc_order.service_id IS 'The productized service; a key of yours, as offering_id and quote_id.';
